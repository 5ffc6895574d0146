"""Planted errors: the tables of single leaves, and those that need more than one."""

from __future__ import annotations

from collections.abc import Iterator

from . import errors as e
from .base import Bug, Problem
from .planting import (
    everywhere,
    exchanged,
    in_leaves,
    leaf_late,
    momentum_late,
    one_step_late,
    plant,
)
from .tables import PARTS, TABLES, W0, W1

LEAVES_SWAPPED = [
    ("even_gradient_matrix", "c", "d"),
    ("attention", "Q", "K"),
    ("attention", "V", "O"),
    ("batch_norm", "gamma", "beta"),
    ("layer_norm", "gamma", "beta"),
    ("residual_network", "[0].in", "[0].out"),
    ("residual_network", "[0].in", "[1].in"),
    ("mlp_square_layers", W0, W1),
    ("gaussian_mixture", "mean", "log_sd"),
    ("normal_group_scales", "mean", "sd"),
    ("zero_inflated_poisson", "rate", "zero"),
    ("leapfrog_adjoint_pendulum", "q", "v"),
    ("variational_bottleneck", "mean", "log_sd"),
]
STALE = [
    ("logistic_l2", "sgd", one_step_late(0.5)),
    ("quadratic_5", "sgd", one_step_late(0.1)),
    ("rastrigin_6", "sgd", one_step_late(1e-4)),
    ("mlp_tanh", "sgd", one_step_late(0.1)),
    ("logsumexp_20", "sgd_small", one_step_late(0.02)),
    ("mlp_swish", "sgd", one_step_late(0.5)),
    ("poisson", "sgd", one_step_late(1e-3)),
    ("logsumexp_20", "sgd", one_step_late(1.0)),
    ("geometric_mean", "sgd", one_step_late(0.3)),
    ("even_gradient", "sgd_small", one_step_late(1e-3)),
    ("even_gradient", "sgd", one_step_late(0.05)),
    ("bradley_terry", "sgd", one_step_late(0.1)),
    ("quadratic_5", "momentum", momentum_late(0.1, 0.9)),
    ("softmax_regression", "momentum", momentum_late(0.5, 0.9)),
    ("low_rank_factors", "V_first", leaf_late("V", 0.05)),
    ("attention", "V_first", leaf_late("V", 0.02)),
    ("student_t", "scale_first", leaf_late("s", 0.02)),
]
ALL_LEAVES = [
    ("FACTOR", "mlp_tanh", "all_over_m", e.factor(1 / 12)),
    ("FACTOR", "attention", "all_twice", e.factor(2.0)),
    ("SIGN", "classifier_softmax", "all", e.sign()),
    ("SIGN", "gaussian_mixture", "all", e.sign()),
    ("ZERO", "graph_convolution", "all", e.zero()),
    ("SIGN", "layout_deep_nest", "all", e.sign()),
]
# On shipped gradients: the size is written down, for computing it would need the package.
LIBRARY = [
    ("FACTOR", "sklearn_linear_logistic", "", "twice", e.factor(2.0), 1.0),
    ("FACTOR", "special_gammaln", "", "half", e.factor(0.5), 0.5),
    ("SIGN", "statsmodels_logit", "", "all", e.sign(), 2.0),
    ("ZERO", "torch_network", "b", "leaf", e.zero(), 1.0),
    ("OFFSET", "scipy_rosen_der", "", "tenth", e.offset(0.1), 0.1),
]


def _label(leaf: str, label: str) -> str:
    return f"{leaf}_{label}" if leaf else label


def planted(named: dict[str, Problem]) -> Iterator[Bug]:
    """Every planted error, on the problems given by name."""
    for cause, table in TABLES.items():
        for problem, leaf, label, spoil in table:
            yield plant(named[problem], cause, _label(leaf, label), in_leaves({leaf: spoil}))
    for place, table in PARTS.items():
        for cause, problem, leaf, label, spoil in table:
            spoiler = in_leaves({leaf: spoil})
            yield plant(named[problem], cause, _label(leaf, label), spoiler, place=place)
    for problem, first, second in LEAVES_SWAPPED:
        yield plant(named[problem], "SWAPPED", f"{first}_{second}", exchanged(first, second))
    for problem, label, spoil in STALE:
        yield plant(named[problem], "STALE", label, spoil)
    for cause, problem, leaf, label, spoil, size in LIBRARY:
        yield plant(named[problem], cause, _label(leaf, label), in_leaves({leaf: spoil}), size=size)
    for cause, problem, label, spoil in ALL_LEAVES:
        yield plant(named[problem], cause, label, everywhere(spoil))
