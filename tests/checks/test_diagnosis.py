"""Each cause with a planted bug, and with a healthy near-miss that may not be accused of it."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause, Verdict

pytestmark = pytest.mark.usefixtures("backend")

RANDOM = np.random.default_rng(7)
SLOPES = {
    "W": RANDOM.normal(size=(5, 4)),
    "V": RANDOM.normal(size=(5, 4)),
    "S": RANDOM.normal(size=(4, 4)),
    "b": RANDOM.normal(size=12),
}
POINT = {key: RANDOM.normal(size=slopes.shape) for key, slopes in SLOPES.items()}


def cost(p):
    return float(sum((SLOPES[key] * np.sin(p[key])).sum() for key in p))


def gradient(p):
    return {key: SLOPES[key] * np.cos(p[key]) for key in p}


def diagnosed(leaf, spoil):
    """The causes found in one leaf when its gradient is spoilt, all others being right."""
    point = {key: value.copy() for key, value in POINT.items()}
    g = gradient(point)
    g[leaf] = np.asarray(spoil(g[leaf], point[leaf]), float).reshape(g[leaf].shape)
    report = fg.check_gradient(cost, g, point)
    assert report.verdict is Verdict.WRONG, str(report)
    assert {finding.leaf for finding in report.causes} == {leaf}
    return report.causes[0]


def at(index, change):
    def spoil(g, _):
        g = g.copy()
        g[index] = change(g[index])
        return g

    return spoil


def few_bits(g, _):
    mantissa, exponent = np.frexp(g)
    return np.ldexp(np.round(mantissa * 2**7), exponent - 7)


def one_triangle(g, _):
    return np.tril(g + g.T - np.diag(np.diag(g)))


PLANTED = {
    Cause.FACTOR: [
        ("W", lambda g, t: 2 * g),
        ("b", lambda g, t: g / 12),
        ("b", lambda g, t: 1.001 * g),
        ("W", lambda g, t: -3 * g),
    ],
    Cause.SIGN: [("W", lambda g, t: -g), ("b", lambda g, t: -g)],
    Cause.ZERO: [("W", lambda g, t: 0 * g), ("b", lambda g, t: 0 * g)],
    Cause.TRANSPOSED: [("S", lambda g, t: g.T), ("W", lambda g, t: g.T.reshape(g.shape))],
    Cause.SHIFTED: [
        ("b", lambda g, t: np.roll(g, 1)),
        ("W", lambda g, t: np.roll(g, -1, 0)),
        ("W", lambda g, t: np.roll(g, 2, 1)),
        ("W", lambda g, t: np.roll(g, 3)),
    ],
    Cause.REVERSED: [
        ("b", lambda g, t: g[::-1]),
        ("W", lambda g, t: g[:, ::-1]),
        ("W", lambda g, t: g[::-1, ::-1]),
    ],
    Cause.PERMUTED: [
        ("b", lambda g, t: g[[1, 0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 10]]),
        ("W", lambda g, t: g[[2, 0, 1, 4, 3]]),
        ("W", lambda g, t: g[:, [1, 0, 2, 3]]),
    ],
    Cause.MISSING_L2: [
        ("W", lambda g, t: g - 0.1 * t),
        ("b", lambda g, t: g + 1e-3 * t),
    ],
    Cause.MISSING_L1: [
        ("W", lambda g, t: g - 0.1 * np.sign(t)),
        ("b", lambda g, t: g + 1e-3 * np.sign(t)),
    ],
    Cause.BROADCAST: [
        ("b", lambda g, t: np.full(g.shape, g.sum())),
        ("W", lambda g, t: np.broadcast_to(g.mean(axis=0), g.shape)),
        ("W", lambda g, t: np.broadcast_to(g.sum(axis=1, keepdims=True), g.shape)),
    ],
    Cause.SLICE: [
        ("W", at(2, lambda g: g**3 + 0.1)),
        ("b", at(slice(6, None), lambda g: g**3 + 0.1)),
    ],
    Cause.MASKED: [("W", lambda g, t: np.where(t < 0, g**3 + 0.1, g))],
    Cause.OFFSET: [("W", lambda g, t: g + 0.3), ("b", lambda g, t: g - 1e-3)],
    Cause.SINGLE: [
        ("b", at(3, lambda g: g + 1)),
        ("W", at((2, 1), lambda g: 1.001 * g)),
        ("W", at(([0, 3], [1, 2]), lambda g: g**3 + 0.1)),
    ],
    Cause.PRECISION: [("W", few_bits), ("b", few_bits)],
    Cause.LOG_PARAMETER: [("W", lambda g, t: g * t), ("b", lambda g, t: g / t)],
    Cause.SYMMETRIC: [
        ("S", lambda g, t: g + g.T - np.diag(np.diag(g))),
        ("S", one_triangle),
    ],
    Cause.CHAIN_RULE: [
        ("W", lambda g, t: g * (1 + np.exp(-t))),
        ("b", lambda g, t: g / np.cosh(t) ** 2),
        ("b", lambda g, t: g / (2 * t)),
    ],
    Cause.NORMALIZATION: [
        ("W", lambda g, t: g - t * (g * t).sum() / (t * t).sum()),
        ("b", lambda g, t: (g - t * (g @ t) / (t @ t)) / np.sqrt(t @ t)),
    ],
    Cause.ABSOLUTE: [
        ("W", lambda g, t: np.abs(g)),
        ("b", lambda g, t: np.maximum(g, 0)),
    ],
    Cause.NEARBY: [
        ("W", lambda g, t: g * (1 + 1e-4 * np.sin(1e3 * t))),
        ("b", lambda g, t: g + 1e-6 * np.sin(1e3 * t)),
    ],
    Cause.UNKNOWN: [
        ("W", lambda g, t: g**3),
        ("b", lambda g, t: g * (1 + 0.1 * np.sin(1e3 * t))),
    ],
}
CASES = [
    pytest.param(cause, leaf, spoil, id=f"{cause.name}-{i}")
    for cause, bugs in PLANTED.items()
    for i, (leaf, spoil) in enumerate(bugs)
]


@pytest.mark.parametrize(("cause", "leaf", "spoil"), CASES)
def test_planted_bug_is_named(cause, leaf, spoil):
    finding = diagnosed(leaf, spoil)
    assert finding.kind is cause, finding.sentence
    assert finding.sentence.startswith((f"`{leaf}`", f"`{leaf}["))
    assert finding.place.startswith(leaf) or leaf in finding.place
    assert 0 < finding.evidence["wrong"] <= finding.evidence["entries"] == SLOPES[leaf].size


def test_every_cause_is_planted_somewhere():
    elsewhere = {Cause.SWAPPED, Cause.KINK, Cause.CONJUGATE, Cause.STALE}
    # Of matrices: see `test_adjoint.py` and `test_hessian.py`.
    elsewhere |= {Cause.NOT_CONJUGATED, Cause.INVERSE, Cause.APPROXIMATION, Cause.ASYMMETRIC}
    elsewhere |= {Cause.NOT_LINEAR}  # of products: see `test_linearity.py`
    assert set(PLANTED) | elsewhere == set(Cause)


def test_exchanged_leaves():
    def spoilt(p):
        g = gradient(p)
        return {**g, "W": g["V"], "V": g["W"]}

    report = fg.check_gradient(cost, spoilt, {k: v.copy() for k, v in POINT.items()})
    assert [(c.kind, c.leaf, c.evidence["with"]) for c in report.causes] == [
        (Cause.SWAPPED, "W", "V"),
        (Cause.SWAPPED, "V", "W"),
    ]


def test_one_leaf_with_the_gradient_of_another():
    def spoilt(p):
        return {**gradient(p), "W": gradient(p)["V"]}

    report = fg.check_gradient(cost, spoilt, {k: v.copy() for k, v in POINT.items()})
    (cause,) = report.causes
    assert (cause.kind, cause.leaf, cause.evidence["with"]) == (Cause.SWAPPED, "W", "V")
    assert cause.sentence == "`W` holds the gradient of `V`"


def test_kink_with_a_value_outside():
    f, x = lambda x: float(np.abs(x).sum()), np.array([0.0, 1.0, -2.0])
    report = fg.check_gradient(f, np.array([3.0, 1.0, -1.0]), x)
    assert [c.kind for c in report.causes] == [Cause.KINK]
    healthy = fg.check_gradient(f, np.array([0.5, 1.0, -1.0]), x)
    assert healthy.verdict is Verdict.RIGHT
    assert [c.kind for c in healthy.causes] == [Cause.KINK]


def test_kink_elsewhere_does_not_explain_a_smooth_error():
    f, x = lambda x: float(np.abs(x).sum()), np.array([0.0, 1.0, -2.0, 3.0, 1.5, 2.5])
    report = fg.check_gradient(f, np.array([0.5, 1.234, -1.0, 1.0, 1.0, 1.0]), x)
    assert [c.kind for c in report.causes] == [Cause.SINGLE]


def test_conjugate_and_its_near_miss():
    def f(z):
        return float((np.abs(z) ** 2).sum() + z.real.sum())

    z = np.array([1 + 2j, -0.5j, 3.0 + 1e-3j])
    report = fg.check_gradient(f, 2 * z.conj() + 1, z)
    assert [c.kind for c in report.causes] == [Cause.CONJUGATE]
    assert not fg.check_gradient(f, 2 * z + 1, z).causes
    halved = fg.check_gradient(f, z + 0.5, z)
    assert [c.kind for c in halved.causes] == [Cause.FACTOR]


# ----------------------------------------------------------------------------------- near-misses

LINEAR = {
    "symmetric": SLOPES["S"] + SLOPES["S"].T,
    "constant": np.full((3, 4), 0.7),
    "equal_rows": np.tile(SLOPES["W"][0], (3, 1)),
    "zeros_but_one": np.eye(1, 9).reshape(3, 3),
    "palindrome": np.array([1.0, 2.0, 3.0, 2.0, 1.0]),
    "few_bits": np.array([0.5, 0.25, -1.0, 3.0, 0.75]),
    "periodic": np.tile([1.0, -2.0], 4),
    "negative_where_small": np.array([-1.0, -2.0, 3.0, 4.0]),
}


@pytest.mark.parametrize("name", LINEAR)
def test_right_gradient_that_looks_like_a_bug_is_right(name):
    slopes = LINEAR[name]
    x = np.random.default_rng(8).normal(size=slopes.shape)
    report = fg.check_gradient(lambda x: float((slopes * x).sum()), lambda x: slopes.copy(), x)
    assert report.verdict is Verdict.RIGHT
    assert not report.causes


SCATTERED = np.isin(np.arange(12), [1, 2, 6, 7, 9, 11])
NEARLY = {
    "nearly_transposed": ("S", lambda g, t: g.T * (1 + 0.1 * np.eye(4)), Cause.TRANSPOSED),
    "nearly_shifted": ("b", lambda g, t: np.append(np.roll(g, 1)[:-1], 5.0), Cause.SHIFTED),
    "nearly_reversed": ("b", lambda g, t: g[::-1] * (1 + 0.05 * t), Cause.REVERSED),
    "missing_squares": ("b", lambda g, t: g - 0.1 * t**3, Cause.MISSING_L2),
    "uneven_signs": ("b", lambda g, t: g - 0.1 * np.sign(t) * (1 + t**2), Cause.MISSING_L1),
    "uneven_offset": ("b", lambda g, t: g + 0.1 * (1 + t**2), Cause.OFFSET),
    "nearly_constant": ("b", lambda g, t: 1 + 0.01 * g, Cause.BROADCAST),
    "half_the_entries": ("b", lambda g, t: np.where(SCATTERED, g, g**3), Cause.SLICE),
    "all_entries": ("b", lambda g, t: np.where(t < 0, 2 * g, g**3), Cause.MASKED),
    "every_entry": ("b", lambda g, t: g * (1 + 0.1 * np.sin(1e3 * t)), Cause.SINGLE),
    "scattered_at_full_precision": ("b", lambda g, t: g * (1 + 1e-3 * t), Cause.PRECISION),
    "times_the_square": ("b", lambda g, t: g * t**2, Cause.LOG_PARAMETER),
    "diagonal_doubled_too": ("S", lambda g, t: g + g.T, Cause.SYMMETRIC),
}


@pytest.mark.parametrize("name", NEARLY)
def test_near_miss_is_not_accused_of_it(name):
    leaf, spoil, cause = NEARLY[name]
    assert diagnosed(leaf, spoil).kind is not cause


SOME = {
    "factor_in_all_but_one": (lambda g, k: np.where(k == 3, g, 2 * g), Cause.FACTOR, "11 of 12"),
    "sign_in_half": (lambda g, k: np.where(k % 2, g, -g), Cause.SIGN, "b[::2]"),
    "zero_in_all_but_one": (lambda g, k: np.where(k == 4, g, 0), Cause.ZERO, "11 of 12"),
    "lacks_the_term_but_in_the_last": (
        lambda g, k: g - 0.3 * POINT["b"] * (k < 11),
        Cause.MISSING_L2,
        "b[0:11]",
    ),
    "sign_in_the_second_half": (lambda g, k: np.where(k > 5, -g, g), Cause.SIGN, "b[6:12]"),
}


@pytest.mark.parametrize("name", SOME)
def test_relation_in_a_part_is_named_with_its_place(name):
    spoil, kind, place = SOME[name]
    found = diagnosed("b", lambda g, t: spoil(g, np.arange(12)))
    assert found.kind is kind
    assert place in found.place


@pytest.mark.parametrize(("factor", "words"), [
    (1 / 12, "a factor 12 is missing"),
    (3.0, "a factor 3 is too much"),
    (0.37, "a factor 2.703 is missing"),
    (1.1, "too large by 0.1 of its value"),
    (1.00001, "1.00001 x the numeric gradient"),
    (0.99999, "0.99999 x the numeric gradient"),
])  # fmt: skip
def test_factor_is_told(factor, words):
    finding = diagnosed("b", lambda g, t: factor * g)
    assert words in finding.sentence
    assert finding.evidence["factor"] == pytest.approx(factor)


def test_coefficient_of_the_missing_term_is_told():
    finding = diagnosed("W", lambda g, t: g - 0.02 * t)
    assert finding.evidence["coefficient"] == pytest.approx(-0.02, rel=1e-4)
    assert "an L2 term is missing" in finding.sentence


def test_most_wrong_entries_first_and_the_unexplained_last():
    def spoilt(p):
        g = gradient(p)
        return {**g, "W": g["W"] ** 3, "S": 2 * g["S"], "b": at(1, lambda x: x + 1)(g["b"], None)}

    report = fg.check_gradient(cost, spoilt, {k: v.copy() for k, v in POINT.items()})
    assert [(c.leaf, c.kind) for c in report.causes] == [
        ("S", Cause.FACTOR),
        ("W", Cause.UNKNOWN),
        ("b", Cause.SINGLE),
    ]


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
@pytest.mark.parametrize("leaf", ["f4", "f8", "c8", "c16"])
@pytest.mark.parametrize(("kind", "spread", "same"), [
    ("f", 2.0**-21, True),
    ("f", 2.0**-17, False),
    ("d", 1e-13, True),
    ("d", 2.0**-21, False),
])  # fmt: skip
def test_values_are_the_same_by_the_spacing_of_the_gradients_type(
    strategy, leaf, kind, spread, same
):
    """Of which type the parameters are says nothing about what rounding did to the gradient."""
    x = np.random.default_rng(1).normal(size=8).astype(leaf)
    claimed = (1 + spread * np.linspace(-0.5, 0.5, 8)).astype(kind)

    def f(x):
        return float((SLOPES["b"][:8] * np.sin(x.real.astype("f8"))).sum())

    report = fg.check_gradient(f, claimed, x, strategy=strategy)
    assert (report.causes[0].kind is Cause.BROADCAST) is same
