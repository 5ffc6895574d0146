"""The three lists of the corpus."""

from __future__ import annotations

from functools import cache

from .base import Bug, Problem
from .dtypes import dtypes
from .kinks import kinks
from .latent import latent
from .layers import layers
from .layouts import layouts
from .libraries import scipy_ones, sklearn_ones, statsmodels_ones, torch_ones
from .likelihoods import likelihoods
from .linalg import linalg
from .near_misses import near_misses
from .networks import networks
from .physics import physics
from .planted import planted
from .public import rebuilt
from .public_costs import public_costs
from .scaled import scaled
from .smooth import smooth
from .special import special

FAMILIES = [
    smooth,
    scaled,
    dtypes,
    kinks,
    special,
    likelihoods,
    latent,
    networks,
    layers,
    physics,
    linalg,
    layouts,
    scipy_ones,
    sklearn_ones,
    statsmodels_ones,
    torch_ones,
    near_misses,
    public_costs,
]


def problems() -> list[Problem]:
    """Every cost with a correct gradient."""
    return [problem for family in FAMILIES for problem in family.problems]


@cache
def _built() -> tuple[tuple[Bug, ...], tuple[Bug, ...]]:
    named = {problem.name: problem for problem in problems()}
    return tuple(planted(named)), tuple(rebuilt(named))


def bugs() -> list[Bug]:
    """Every planted error."""
    return list(_built()[0])


def public_bugs() -> list[Bug]:
    """Errors rebuilt from public trackers, each with its ``source``."""
    return list(_built()[1])
