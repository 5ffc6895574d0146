"""Properties of causes: what is planted is named, what chance explains is not, nothing raises."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import Cause
from fastgrad._checks.case import Case
from fastgrad._checks.diagnosis import diagnose

NOISE = 1e-9  # of the numeric values, relative


def case_of(analytic, numeric, parameters, path="W"):
    """A leaf as it is judged, its numeric values off by their noise."""
    random = np.random.default_rng(analytic.size)
    bound = NOISE * (np.abs(numeric) + 0.1 * np.abs(numeric).max(initial=0.0))
    measured = numeric + bound * random.uniform(-0.5, 0.5, numeric.shape)
    wrong = np.abs(analytic - measured) > 2 * bound
    kinks = np.zeros(numeric.shape, bool)
    return Case(path, analytic, measured, bound, parameters, wrong, kinks, 2.0**-52)


# ------------------------------------------------------------------------ relations in places

# Of a gradient g at parameters t, with a free number c.
RELATIONS = {
    Cause.FACTOR: lambda g, t, c: c * g,
    Cause.SIGN: lambda g, t, c: -g,
    Cause.ZERO: lambda g, t, c: 0 * g,
    Cause.MISSING_L2: lambda g, t, c: g - c * t,
    Cause.MISSING_L1: lambda g, t, c: g - c * np.sign(t),
    Cause.OFFSET: lambda g, t, c: g + c,
    Cause.LOG_PARAMETER: lambda g, t, c: g * np.exp(-t),
    Cause.CHAIN_RULE: lambda g, t, c: g * (1 + np.exp(-t)),
}
NUMBERS = (Cause.MISSING_L2, Cause.MISSING_L1, Cause.OFFSET)  # c is in units of the gradient
PLACES = ["everywhere", "slice", "threshold", "scattered"]


def chosen(place, t, random):
    """The entries of a place, in a vector."""
    n = len(t)
    inside = np.ones(n, bool)
    if place == "slice":
        start = random.integers(0, n - 3)
        inside[:] = False
        inside[start : random.integers(start + 3, n + 1)] = True
    elif place == "threshold":
        inside = t > np.sort(t)[n // 2]
    elif place == "scattered":
        inside = np.isin(np.arange(n), random.choice(n, max(3, n // 3), replace=False))
    return inside


@given(
    kind=st.sampled_from(list(RELATIONS)),
    place=st.sampled_from(PLACES),
    n=st.integers(8, 60),
    c=st.floats(0.05, 0.9),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    seed=st.integers(0, 10**6),
)
def test_relation_planted_in_a_place_of_a_vector(kind, place, n, c, scale, seed):
    random = np.random.default_rng(seed)
    t, g = random.normal(size=n), scale * random.normal(size=n)
    inside = chosen(place, t, random)
    size = scale * c
    spoilt = RELATIONS[kind](g, t, size if kind in NUMBERS else c)
    (found, *more) = diagnose([case_of(np.where(inside, spoilt, g), g, t)])
    one_sign = kind is Cause.MISSING_L1 and abs(np.sign(t[inside]).sum()) == inside.sum()
    assert found.kind is (Cause.OFFSET if one_sign else kind), found.sentence
    assert not more
    assert found.evidence["wrong"] == inside.sum()
    if kind is Cause.FACTOR:
        assert found.evidence["factor"] == pytest.approx(c, rel=1e-6)
    elif kind in NUMBERS:
        sign = 1 if kind is Cause.OFFSET else -1
        coefficient = abs(found.evidence["coefficient"]) if one_sign else None
        assert (coefficient or sign * found.evidence["coefficient"]) == pytest.approx(
            size, rel=1e-6
        )
    said_where(found, place, inside)


def said_where(found, place, inside):
    """Whether the place that is told is the one that was planted."""
    at = np.flatnonzero(inside)
    if len(at) == len(inside):
        assert found.place == "W"
    elif at[-1] - at[0] + 1 == len(at):
        assert found.place == f"W[{at[0]}:{at[-1] + 1}]"
    elif place == "threshold" and len(inside) >= 12:  # one of C(12, 6) = 924
        assert "where the parameter is above" in found.place


@given(
    kinds=st.lists(
        st.sampled_from([Cause.SIGN, Cause.ZERO, Cause.FACTOR]), min_size=2, max_size=2, unique=True
    ),
    n=st.integers(12, 40),
    cut=st.floats(0.3, 0.7),
    seed=st.integers(0, 10**6),
)
def test_two_relations_in_two_places_are_two_findings(kinds, n, cut, seed):
    random = np.random.default_rng(seed)
    t, g = random.normal(size=n), random.normal(size=n)
    middle = int(cut * n)
    spoilt = [RELATIONS[kind](g, t, 0.7) for kind in kinds]
    claimed = np.where(np.arange(n) < middle, *spoilt)
    found = diagnose([case_of(claimed, g, t)])
    assert {each.kind: each.place for each in found} == {
        kinds[0]: f"W[0:{middle}]",
        kinds[1]: f"W[{middle}:{n}]",
    }


@given(
    kind=st.sampled_from([Cause.FACTOR, Cause.SIGN, Cause.ZERO, Cause.MISSING_L2]),
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=5),
    seed=st.integers(0, 10**6),
)
def test_one_relation_of_several_leaves_is_said_once(kind, sizes, seed):
    random = np.random.default_rng(seed)
    cases = []
    for k, n in enumerate(sizes):
        t, g = random.normal(size=n), random.normal(size=n)
        cases.append(case_of(RELATIONS[kind](g, t, 1 / 12), g, t, path=f"W{k}"))
    right = random.normal(size=3)
    found = diagnose([*cases, case_of(right, right, right, path="b")])
    if sum(sizes) > 2:
        assert [each.kind for each in found] == [kind]
        assert set(found[0].evidence["leaves"]) == {f"W{k}" for k in range(len(sizes))}


MOVES = {
    "rows": (lambda g: np.roll(g, 1, 0), Cause.SHIFTED),
    "columns": (lambda g: np.roll(g, -1, -1), Cause.SHIFTED),
    "pushed": (lambda g: np.concatenate([0 * g[:1], g[:-1]]), Cause.SHIFTED),
    "reversed": (lambda g: g[::-1], Cause.REVERSED),
    "turned": (lambda g: np.flip(g, (0, g.ndim - 1)), Cause.REVERSED),
    "transposed": (lambda g: g.T.reshape(g.shape), Cause.TRANSPOSED),
    "reshaped": (lambda g: g.reshape(g.shape[::-1]).T, Cause.TRANSPOSED),
}


@given(
    name=st.sampled_from(list(MOVES)),
    shape=st.lists(st.integers(3, 6), min_size=2, max_size=4),
    seed=st.integers(0, 10**6),
)
def test_right_values_in_wrong_places(name, shape, seed):
    random = np.random.default_rng(seed)
    t, g = random.normal(size=shape), random.normal(size=shape)
    move, kind = MOVES[name]
    (found,) = diagnose([case_of(np.ascontiguousarray(move(g)), g, t)])
    assert found.kind is kind, found.sentence


@given(
    length=st.integers(3, 12), start=st.integers(0, 5), forward=st.booleans(),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_stretch_of_a_vector_is_shifted_and_a_zero_filled_in(length, start, forward, seed):
    random = np.random.default_rng(seed)
    t, g = random.normal(size=20), random.normal(size=20)
    claimed, side = g.copy(), slice(start, start + length)
    moved = np.append(0, g[side][:-1]) if forward else np.append(g[side][1:], 0)
    claimed[side] = moved
    (found,) = diagnose([case_of(claimed, g, t)])
    assert (found.kind, found.place) == (Cause.SHIFTED, f"W[{side.start}:{side.stop}]")
    assert found.evidence["shift"] == (1 if forward else -1)


@given(
    shape=st.tuples(st.integers(3, 5), st.integers(3, 5)), axis=st.integers(0, 1),
    start=st.integers(0, 7), seed=st.integers(0, 10**6),
)  # fmt: skip
def test_matrix_in_a_vector_is_summed_over_the_wrong_axis(shape, axis, start, seed):
    random = np.random.default_rng(seed)
    size = shape[0] * shape[1]
    t, g = random.normal(size=size + 12), random.normal(size=size + 12)
    claimed, side = g.copy(), slice(start, start + size)
    total = g[side].reshape(shape).sum(axis=axis, keepdims=True)
    claimed[side] = np.broadcast_to(total, shape).ravel()
    (found,) = diagnose([case_of(claimed, g, t)])
    assert (found.kind, found.place) == (Cause.BROADCAST, f"W[{side.start}:{side.stop}]")


@given(
    rows=st.integers(2, 5), columns=st.integers(2, 5), start=st.integers(0, 7),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_matrix_in_a_vector_is_transposed(rows, columns, start, seed):
    random = np.random.default_rng(seed)
    size = rows * columns
    t, g = random.normal(size=size + 12), random.normal(size=size + 12)
    claimed = g.copy()
    claimed[start : start + size] = g[start : start + size].reshape(rows, columns).T.ravel()
    (found,) = diagnose([case_of(claimed, g, t)])
    assert found.kind in (Cause.TRANSPOSED, Cause.PERMUTED), found.sentence
    if size >= 9:
        assert found.kind is Cause.TRANSPOSED, found.sentence
        # Its first and its last entry are right, and are part of it.
        assert found.place == f"W[{start}:{start + size}]"


@given(
    length=st.integers(2, 8), first=st.integers(0, 5), gap=st.integers(0, 5),
    seed=st.integers(0, 10**6),
)  # fmt: skip
def test_blocks_of_a_vector_are_exchanged(length, first, gap, seed):
    random = np.random.default_rng(seed)
    second = first + length + gap
    n = second + length + 4
    t, g = random.normal(size=n), random.normal(size=n)
    claimed = g.copy()
    claimed[first : first + length] = g[second : second + length]
    claimed[second : second + length] = g[first : first + length]
    (found,) = diagnose([case_of(claimed, g, t)])
    small = length <= 3 and gap == 0  # what a shift by as much looks like as well
    assert found.kind in (Cause.SWAPPED, *((Cause.SHIFTED, Cause.PERMUTED) if small else ()))
    if not small:
        ends = first + length, second + length
        assert found.place == f"W[{first}:{ends[0]}], W[{second}:{ends[1]}]"


# ------------------------------------------------------------------------------ chance

QUIET = (Cause.SINGLE, Cause.UNKNOWN, Cause.NEARBY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "count"),
    [((2,), 1), ((3,), 2), ((5,), 3), ((8,), 4), ((3, 3), 4), ((2, 4), 3), ((30,), 7), ((6, 7), 9)],
)
def test_random_errors_have_no_pattern(shape, count):
    """Of a hundred sets of random errors at most one has a pattern that is no place alone."""
    named = places = 0
    for seed in range(300):
        random = np.random.default_rng(seed)
        t, g = random.normal(size=shape), random.normal(size=shape)
        claimed = g.copy()
        at = random.choice(g.size, count, replace=False)
        claimed.flat[at] += random.normal(size=count)
        kind = diagnose([case_of(claimed, g, t)])[0].kind
        named += kind not in (*QUIET, Cause.SLICE, Cause.MASKED)
        places += kind in (Cause.SLICE, Cause.MASKED)
    assert named <= 3
    assert places <= 9  # boxes and thresholds: one of a hundred each


@pytest.mark.parametrize("share", [1e-3, 1e-2])
def test_random_errors_of_two_entries_have_no_pattern_where_noise_is_large(share):
    """As of float32, where a prediction is met by chance in one of a thousand to a hundred."""
    named = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        t, g, claimed = random.normal(size=(3, 2))
        bound = np.full(2, share)
        wrong = np.abs(claimed - g) > bound
        case = Case("W", claimed, g, bound, t, wrong, np.zeros(2, bool), 2.0**-23)
        named += wrong.all() and diagnose([case])[0].kind not in QUIET
    assert named <= 2


@pytest.mark.parametrize("factor", [2.0, 0.5, 3.0])
def test_a_whole_factor_is_named_in_two_entries_of_float32(factor):
    """Of two entries that are off by one whole factor each is evidence, and none is fitted."""
    found = 0
    for seed in range(40):
        random = np.random.default_rng(seed)
        x, w = random.normal(size=(2, 2)).astype("f4")
        claimed = np.float32(factor) * w * np.cos(x)
        report = fg.check_gradient(lambda x, w=w: (w * np.sin(x)).sum(), claimed, x)
        (finding,) = report.causes
        found += finding.kind is Cause.FACTOR and finding.evidence["factor"] == factor
    assert found >= 34


# ---------------------------------------------------------------------------- robustness

VALUES = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, 1.0, -1.0, 1e300, -1e300, 1e-300, 5e-324, np.inf, -np.inf, np.nan]),
)
SHAPES = st.sampled_from([(), (0,), (1,), (2,), (5,), (2, 2), (0, 3), (3, 3), (2, 3, 2), (1, 1, 4)])


@st.composite
def cases(draw, path="W"):
    shape = draw(SHAPES)
    size = int(np.prod(shape))
    is_complex = draw(st.booleans())

    def values():
        column = np.array(draw(st.lists(VALUES, min_size=size, max_size=size)), float)
        if is_complex:
            column = column + 1j * np.array(draw(st.lists(VALUES, min_size=size, max_size=size)))
        return column.reshape(shape)

    def flags():
        drawn = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        return np.array(drawn, bool).reshape(shape)

    with np.errstate(all="ignore"):
        analytic, numeric = values(), values()
        numeric = draw(st.sampled_from([numeric, analytic, 2 * analytic, 0 * analytic]))
        bound = np.abs(draw(st.sampled_from([values(), 1e-9 * analytic, 0 * analytic])))
        numbers = (analytic, numeric, bound, values())
    sampled = draw(st.booleans())
    return Case(path, *numbers, flags(), flags(), 2.0**-52, sampled)


@given(st.lists(cases(), min_size=1, max_size=3))
def test_whatever_is_judged_is_diagnosed_without_a_warning(some):
    """Warnings are errors here."""
    with np.errstate(all="raise"):
        found = diagnose(some)
    for each in found:
        assert isinstance(each.kind, Cause)
        assert each.sentence
        assert each.place
    if any(case.wrong.any() for case in some):
        assert found
