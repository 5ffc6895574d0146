"""Energies, forces and adjoints of small simulations."""

from __future__ import annotations

import numpy as np

from .base import Case, Family, rng

physics = Family("physics")


def _pairs(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(n, 1)


def _pair_energy(energy, slope, point) -> Case:
    """A sum over pairs of a function of the distance, gradient = minus the forces."""
    i, j = _pairs(len(point))

    def distance(x):
        return np.sqrt(np.sum((x[i] - x[j]) ** 2, axis=1))

    def grad(x):
        r = distance(x)
        pull = (slope(r) / r)[:, None] * (x[i] - x[j])
        g = np.zeros_like(x)
        np.add.at(g, i, pull)
        np.subtract.at(g, j, pull)
        return g

    return Case(lambda x: np.sum(energy(distance(x))), grad, point)


def _grid(seed: int) -> np.ndarray:
    corners = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], float)
    return 1.15 * corners + 0.1 * rng(seed).normal(size=(8, 3))


physics.add(
    "lennard_jones",
    lambda: _pair_energy(
        lambda r: 4 * (r**-12 - r**-6), lambda r: 4 * (-12 * r**-13 + 6 * r**-7), _grid(300)
    ),
)
physics.add("coulomb", lambda: _pair_energy(lambda r: 1 / r, lambda r: -1 / r**2, _grid(301)))
physics.add(
    "morse_bonds",
    lambda: _pair_energy(
        lambda r: (1 - np.exp(-(r - 1))) ** 2,
        lambda r: 2 * (1 - np.exp(-(r - 1))) * np.exp(-(r - 1)),
        _grid(302),
    ),
)
physics.add(
    "springs",
    lambda: _pair_energy(
        lambda r: 0.5 * (r - 1) ** 2, lambda r: r - 1, rng(303).normal(size=(5, 2))
    ),
)


@physics
def euler_adjoint_lotka_volterra() -> Case:
    """Four rates and two initial values, fitted through 30 Euler steps."""
    steps, h = 30, 0.05
    seen = 1 + 0.3 * rng(304).normal(size=(steps, 2))

    def run(p):
        states, (a, b, c, d) = [p["start"]], p["rates"]
        for _ in range(steps):
            x, y = states[-1]
            states.append(states[-1] + h * np.array([a * x - b * x * y, c * x * y - d * y]))
        return states

    def grad(p):
        states, (a, b, c, d) = run(p), p["rates"]
        back, rates = np.zeros(2), np.zeros(4)
        for k in range(steps - 1, -1, -1):
            back = back + 2 * (states[k + 1] - seen[k])
            (x, y), (u, v) = states[k], back
            rates += h * np.array([u * x, -u * x * y, v * x * y, -v * y])
            back = back + h * np.array([[a - b * y, c * y], [-b * x, c * x - d]]) @ back
        return {"rates": rates, "start": back}

    point = {"rates": np.array([1.1, 0.7, 0.5, 0.9]), "start": np.array([1.2, 0.8])}
    return Case(lambda p: np.sum((np.array(run(p)[1:]) - seen) ** 2), grad, point)


@physics
def leapfrog_adjoint_pendulum() -> Case:
    """End point of a pendulum chain by kick-drift-kick, in its start."""
    h = 0.1

    def run(p):
        path, v = [p["q"]], p["v"]
        for _ in range(20):
            v = v - 0.5 * h * np.sin(path[-1])
            path.append(path[-1] + h * v)
            v = v - 0.5 * h * np.sin(path[-1])
        return path, v

    def f(p):
        path, v = run(p)
        return np.sum((path[-1] - 1) ** 2) + 0.5 * np.sum(v**2)

    def grad(p):
        path, dv = run(p)
        dq = 2 * (path[-1] - 1)
        for k in range(20, 0, -1):
            dq = dq - 0.5 * h * np.cos(path[k]) * dv
            dv = dv + h * dq
            dq = dq - 0.5 * h * np.cos(path[k - 1]) * dv
        return {"q": dq, "v": dv}

    return Case(f, grad, {"q": rng(305).normal(size=4), "v": rng(306).normal(size=4)})


@physics
def heat_equation_adjoint() -> Case:
    """Explicit heat flow with a conductivity per cell wall and a free initial profile."""
    steps, target = 15, np.sin(np.linspace(0, 3, 10))

    def run(p):
        states = [p["start"]]
        for _ in range(steps):
            flux = p["wall"] * np.diff(states[-1])
            states.append(states[-1] + 0.2 * np.diff(flux, prepend=0.0, append=0.0))
        return states

    def grad(p):
        states, wall = run(p), np.zeros(9)
        back = 2 * (states[-1] - target)
        for u in reversed(states[:-1]):
            wall -= 0.2 * np.diff(back) * np.diff(u)
            back = back + 0.2 * np.diff(p["wall"] * np.diff(back), prepend=0.0, append=0.0)
        return {"start": back, "wall": wall}

    return Case(
        lambda p: np.sum((run(p)[-1] - target) ** 2),
        grad,
        {"start": rng(307).normal(size=10), "wall": rng(308).uniform(0.5, 1.5, 9)},
    )


@physics
def poisson_equation_adjoint() -> Case:
    """Implicit: solve K(c) u = s, compare u with data, differentiate by one adjoint solve."""
    load, seen = np.ones(8), rng(309).normal(size=8)

    def matrix(c):
        return np.diag(c[:-1] + c[1:]) - np.diag(c[1:-1], 1) - np.diag(c[1:-1], -1)

    def grad(c):
        u = np.linalg.solve(matrix(c), load)
        lift = np.linalg.solve(matrix(c), 2 * (u - seen))
        return -np.diff(u, prepend=0.0, append=0.0) * np.diff(lift, prepend=0.0, append=0.0)

    return Case(
        lambda c: np.sum((np.linalg.solve(matrix(c), load) - seen) ** 2),
        grad,
        rng(310).uniform(1, 3, 9),
    )


def growth_step(x: float, r: float, h: float = 0.3) -> tuple[float, list]:
    """One classical fourth-order step of logistic growth, and the points it looked at."""
    slope, stages, at = 0.0, [], x
    for weight, move in zip((1, 2, 2, 1), (0.5, 0.5, 1.0, 0.0), strict=True):
        k = r * at * (1 - at)
        stages.append(at)
        slope, at = slope + weight * k / 6, x + move * h * k
    return x + h * slope, stages


def growth_back(r: float, stages: list, back: float, h: float = 0.3) -> tuple[float, float]:
    """Adjoint of one step: to its start value and to its rate."""
    to_x, to_r, later = back, 0.0, 0.0
    for at, weight, move in zip(reversed(stages), (1, 2, 2, 1), (0.0, 1.0, 0.5, 0.5), strict=True):
        to_k = weight * h * back / 6 + move * h * later
        later = to_k * r * (1 - 2 * at)
        to_x, to_r = to_x + later, to_r + to_k * at * (1 - at)
    return to_x, to_r


@physics
def runge_kutta_adjoint_logistic() -> Case:
    """Growth by the classical fourth-order scheme, one rate per step."""

    def run(rates):
        x, tape = 0.1, []
        for r in rates:
            x, stages = growth_step(x, r)
            tape.append(stages)
        return x, tape

    def grad(rates):
        (x, tape), g = run(rates), np.zeros_like(rates)
        back = 2 * (x - 0.9)
        for k in range(len(rates) - 1, -1, -1):
            back, g[k] = growth_back(rates[k], tape[k], back)
        return g

    return Case(lambda rates: (run(rates)[0] - 0.9) ** 2, grad, rng(311).uniform(0.8, 2, 6))


@physics
def hanging_chain() -> Case:
    """Gravity and stiff links between two posts."""
    left, right = np.zeros(2), np.array([4.0, 0.5])

    def links(x):
        return np.diff(np.vstack([left, x, right]), axis=0)

    def grad(x):
        d = links(x)
        length = np.sqrt(np.sum(d**2, axis=1, keepdims=True))
        pull = 100 * (length - 1) * d / length
        return pull[:-1] - pull[1:] + np.array([0.0, 1.0])

    def f(x):
        length = np.sqrt(np.sum(links(x) ** 2, axis=1))
        return np.sum(x[:, 1]) + 50 * np.sum((length - 1) ** 2)

    return Case(f, grad, np.column_stack([np.linspace(0.7, 3.3, 5), -rng(312).random(5)]))


@physics
def ising_mean_field() -> Case:
    """Free energy of magnetisations in (-1, 1)."""
    r = rng(313)
    couple = r.normal(size=(7, 7))
    couple = (couple + couple.T) / 4

    def f(m):
        mixing = (1 + m) * np.log1p(m) + (1 - m) * np.log1p(-m)
        return -0.5 * (m @ couple @ m) + 0.5 * np.sum(mixing)

    return Case(f, lambda m: -couple @ m + np.arctanh(m), r.uniform(-0.9, 0.9, 7))
