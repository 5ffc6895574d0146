"""Robot arms, rotations, cameras and orbits: outputs of other kinds than the parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Function = tuple[str, Callable[[Any], Any], Any]


def functions() -> Iterator[Function]:
    yield from _arms()
    yield from _rotations()
    yield from _cameras()
    yield from _motion()


def _planar(lengths: Any) -> Callable[[Any], Any]:
    def f(q: Any) -> Any:
        angles = np.cumsum(q)
        x, y = (lengths * np.cos(angles)).sum(), (lengths * np.sin(angles)).sum()
        return np.array([x, y, angles[-1]])

    return f


def _link(q: Any, d: float, a: float, alpha: float) -> Any:
    """Denavit and Hartenberg's transform of one joint."""
    c, s, ca, sa = np.cos(q), np.sin(q), np.cos(alpha), np.sin(alpha)
    return np.array(
        [[c, -s * ca, s * sa, a * c], [s, c * ca, -c * sa, a * s], [0, sa, ca, d], [0, 0, 0, 1]]
    )


# Of a PUMA 560: offsets, lengths and twists of the links, in meters and radians.
PUMA = [
    (0.0, 0.0, np.pi / 2),
    (0.0, 0.4318, 0.0),
    (0.15005, 0.0203, -np.pi / 2),
    (0.4318, 0.0, np.pi / 2),
    (0.0, 0.0, -np.pi / 2),
    (0.0, 0.0, 0.0),
]


def _arms() -> Iterator[Function]:
    def puma(q: Any) -> Any:
        T = np.eye(4)
        for angle, link in zip(q, PUMA, strict=True):
            T = T @ _link(angle, *link)
        return T[:3]

    def delta(q: Any) -> Any:
        """The constraints of a parallel robot: joints and the platform, as one vector."""
        arms, at = q[:3], q[3:]
        turn = np.arange(3) * 2 * np.pi / 3
        radial, up = 0.2 + 0.3 * np.cos(arms), -0.3 * np.sin(arms)
        elbow = np.stack([radial * np.cos(turn), radial * np.sin(turn), up], axis=1)
        foot = np.stack([0.05 * np.cos(turn), 0.05 * np.sin(turn), 0 * turn], axis=1) + at
        return ((elbow - foot) ** 2).sum(axis=1) - 0.8**2

    for n in (2, 3, 5):
        lengths = np.linspace(1.0, 0.4, n)
        yield f"planar arm of {n} links", _planar(lengths), np.linspace(0.3, 0.9, n)
    yield "puma 560", puma, np.array([0.3, -0.8, 0.5, 0.2, 1.1, -0.4])
    yield "delta robot", delta, np.array([0.2, 0.4, 0.3, 0.02, -0.03, -0.7])


def _cross(v: Any) -> Any:
    zero = 0 * v[0]
    return np.array([[zero, -v[2], v[1]], [v[2], zero, -v[0]], [-v[1], v[0], zero]])


def _rodrigues(v: Any) -> Any:
    angle = np.sqrt((v**2).sum())
    K = _cross(v / angle)
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * (K @ K)


POINTS = np.array([[0.3, -0.5, 1.0], [1.2, 0.4, -0.3], [-0.7, 0.9, 0.2], [0.1, 0.2, 0.8]])


def _rotations() -> Iterator[Function]:
    def quaternion(q: Any) -> Any:
        w, x, y, z = q / np.sqrt((q**2).sum())
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )

    def euler(a: Any) -> Any:
        (cx, cy, cz), (sx, sy, sz) = np.cos(a), np.sin(a)
        return np.array(
            [
                [cy * cz, sx * sy * cz - cx * sz, cx * sy * cz + sx * sz],
                [cy * sz, sx * sy * sz + cx * cz, cx * sy * sz - sx * cz],
                [-sy, sx * cy, cx * cy],
            ]
        )

    def cayley(v: Any) -> Any:
        K = _cross(v)
        return np.linalg.solve(np.eye(3) - K, np.eye(3) + K)

    yield "rotation by a vector", _rodrigues, np.array([0.4, -0.7, 1.1])
    yield (
        "points, turned by a vector",
        lambda v: POINTS @ _rodrigues(v).T,
        np.array([0.9, 0.3, -0.5]),
    )
    yield "rotation by a quaternion", quaternion, np.array([0.9, 0.2, -0.4, 0.3])
    yield "rotation by angles", euler, np.array([0.4, -0.6, 1.2])
    yield "cayley transform", cayley, np.array([0.3, 0.5, -0.2])


def _cameras() -> Iterator[Function]:
    def project(p: Any) -> Any:
        at = POINTS @ _rodrigues(p["turn"]).T + p["shift"]
        flat = at[:, :2] / at[:, 2:]
        r2 = (flat**2).sum(axis=1, keepdims=True)
        bent = flat * (1 + p["lens"][1] * r2 + p["lens"][2] * r2**2)
        return p["lens"][0] * bent

    def homography(h: Any) -> Any:
        at = POINTS @ np.concatenate([h, [1.0]]).reshape(3, 3).T
        return at[:, :2] / at[:, 2:]

    def triangulate(x: Any) -> Any:
        baselines = np.array([[0.0, 0, 0], [1.0, 0, 0], [0.0, 1, 0]])
        at = x - baselines
        return at[:, :2] / at[:, 2:]

    camera = {
        "turn": np.array([0.1, -0.2, 0.15]),
        "shift": np.array([0.2, -0.1, 4.0]),
        "lens": np.array([500.0, -0.1, 0.02]),
    }
    yield "bundle adjustment", project, camera
    yield "homography", homography, np.array([1.1, 0.1, 0.2, -0.1, 0.9, 0.3, 0.05, 0.02])
    yield "triangulation", triangulate, np.array([0.4, -0.3, 3.0])


def _motion() -> Iterator[Function]:
    def pendulums(y: Any) -> Any:
        """The right side of a double pendulum."""
        a, b, u, v = y
        d = a - b
        den = 2 - np.cos(d) ** 2
        du = (
            -9.81 * (2 * np.sin(a) - np.sin(b) * np.cos(d)) - np.sin(d) * (v**2 + u**2 * np.cos(d))
        ) / den
        dv = (
            9.81 * 2 * (np.sin(a) * np.cos(d) - np.sin(b))
            + np.sin(d) * (2 * u**2 + v**2 * np.cos(d))
        ) / den
        return np.array([u, v, du, dv])

    def bodies(x: Any) -> Any:
        d = x[:, None] - x[None]
        r2 = (d**2).sum(axis=2) + np.eye(len(x))
        return -(d / r2[..., None] ** 1.5).sum(axis=1)

    def kepler(e: Any) -> Any:
        """Position on an orbit after a time, from its elements, by 30 steps of Newton's method."""
        a, ecc, m = e
        big = m + 0
        for _ in range(30):
            big = big - (big - ecc * np.sin(big) - m) / (1 - ecc * np.cos(big))
        return np.array([a * (np.cos(big) - ecc), a * np.sqrt(1 - ecc**2) * np.sin(big)])

    def geodetic(p: Any) -> Any:
        lat, lon, height = p
        n = 6378137.0 / np.sqrt(1 - 0.00669438 * np.sin(lat) ** 2)
        flat = (n + height) * np.cos(lat)
        z = (n * (1 - 0.00669438) + height) * np.sin(lat)
        return np.array([flat * np.cos(lon), flat * np.sin(lon), z])

    yield "double pendulum", pendulums, np.array([0.9, -0.4, 0.5, 1.2])
    yield "four bodies", bodies, POINTS[:, :2].copy()
    yield "kepler's orbit", kepler, np.array([1.5, 0.3, 0.8])
    yield "geodetic coordinates", geodetic, np.array([0.8, 0.2, 1200.0])
