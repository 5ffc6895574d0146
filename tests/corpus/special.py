"""Special functions, by way of scipy.special."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Family, rng

special = Family("special", requires=("scipy",))


def _sum_of(f: str, df: Callable, point: np.ndarray) -> Callable[[], Case]:
    """A sum over the entries of the scipy.special function named ``f``."""

    def make() -> Case:
        import scipy.special as sp

        function = getattr(sp, f)
        return Case(lambda x: np.sum(function(x)), lambda x: df(sp, x), point.copy())

    return make


for _name, _f, _df, _at in [
    ("gammaln", "gammaln", lambda sp, x: sp.psi(x), rng(130).uniform(0.3, 6, 6)),
    ("erf", "erf", lambda sp, x: 2 / np.sqrt(np.pi) * np.exp(-(x**2)), rng(131).normal(size=6)),
    ("bessel_j0", "j0", lambda sp, x: -sp.j1(x), rng(132).uniform(0.5, 8, 5)),
    ("bessel_i0e", "i0e", lambda sp, x: sp.i1e(x) - sp.i0e(x), rng(133).uniform(0.5, 5, 4)),
    (
        "log_normal_cdf",
        "log_ndtr",
        lambda sp, x: np.exp(-(x**2) / 2 - sp.log_ndtr(x)) / np.sqrt(2 * np.pi),
        np.array([-20.0, -5.0, -0.3, 1.0, 4.0]),
    ),
    ("expit", "expit", lambda sp, x: sp.expit(x) * sp.expit(-x), rng(134).normal(0, 3, 6)),
    (
        "lambert_like_exprel",
        "exprel",
        lambda sp, x: (np.exp(x) * (x - 1) + 1) / x**2,
        rng(135).uniform(0.5, 2, 4),
    ),
    ("dawson", "dawsn", lambda sp, x: 1 - 2 * x * sp.dawsn(x), rng(136).normal(size=5)),
    (
        "elliptic_k",
        "ellipk",
        lambda sp, m: (sp.ellipe(m) - (1 - m) * sp.ellipk(m)) / (2 * m * (1 - m)),
        rng(137).uniform(0.1, 0.9, 5),
    ),
    ("entropy", "entr", lambda sp, x: -np.log(x) - 1, rng(138).uniform(0.1, 2, 5)),
]:
    special.add(f"special_{_name}", _sum_of(_f, _df, _at))


@special
def special_betaln() -> Case:
    import scipy.special as sp

    def grad(p):
        both = sp.psi(p["a"] + p["b"])
        return {"a": sp.psi(p["a"]) - both, "b": sp.psi(p["b"]) - both}

    return Case(
        lambda p: np.sum(sp.betaln(p["a"], p["b"])),
        grad,
        {"a": rng(139).uniform(0.5, 4, 4), "b": rng(140).uniform(0.5, 4, 4)},
    )
