"""`sparse_jacobian` and `sparse_hessian`: entries, evaluations, verified patterns, faults."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LAYOUTS, REAL, STENCIL_IDS, STENCILS, bits, lay_out, on, quick, same

import fastgrad as fg

sparse = pytest.importorskip("scipy.sparse")

pytestmark = pytest.mark.usefixtures("backend")


class Map:
    """A smooth map with a given pattern: row `i` sums ``c * sin(x_j + i)`` over its entries."""

    def __init__(self, mask, seed=0):
        self.mask = np.asarray(mask) != 0
        random = np.random.default_rng(seed)
        self.factors = np.where(self.mask, random.uniform(0.5, 2, self.mask.shape), 0.0)
        self.phases = np.arange(self.mask.shape[0])[:, np.newaxis]
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return (self.factors * np.sin(x.reshape(-1).astype(float) + self.phases)).sum(axis=1)

    def jacobian(self, x):
        return self.factors * np.cos(x.reshape(-1).astype(float) + self.phases)


def band(n, lower, upper):
    return np.tri(n, k=upper) - np.tri(n, k=-lower - 1)


def drawn(m, n, density, seed=0):
    return np.random.default_rng(seed).random((m, n)) < density


def point(n, seed=5):
    return np.random.default_rng(seed).uniform(-2, 2, n)


# ---------------------------------------------------------------- entries


@given(st.integers(0, 50), st.integers(1, 25), st.integers(1, 25), st.sampled_from([0.05, 0.3, 1]))
@quick(40)
def test_entries_are_those_of_the_jacobian(seed, m, n, density):
    f, x = Map(drawn(m, n, density, seed)), point(n)
    before = bits(x)
    found = fg.sparse_jacobian(f, x, f.mask)
    assert isinstance(found, sparse.csr_array)
    assert found.dtype == np.float64
    assert found.has_canonical_format
    assert np.array_equal(found.astype(bool).toarray() | (found.toarray() != 0), f.mask)
    np.testing.assert_allclose(found.toarray(), f.jacobian(x), atol=2e-9)
    assert bits(x) == before


@pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)
def test_every_method(stencil):
    f, x = Map(band(12, 1, 1)), point(12)
    found = fg.sparse_jacobian(f, x, (1, 1), method=stencil)
    accuracy = np.finfo(float).eps ** (stencil.order / (stencil.order + 1))
    np.testing.assert_allclose(found.toarray(), f.jacobian(x), atol=100 * accuracy)
    verified = 1 if stencil.uses_base else 2  # the value at `x` is known to one-sided ones
    assert f.calls == 3 * stencil.evaluations + stencil.uses_base + verified


@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (0, 0), (2, 1), (0, 4)])
def test_evaluations_are_two_for_each_color_and_two_more(lower, upper):
    f, x = Map(band(60, lower, upper)), point(60)
    fg.sparse_jacobian(f, x, (lower, upper))
    assert f.calls == 2 * (lower + upper + 1) + 2


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_and_layout(dtype, layout):
    f = Map(band(6, 1, 1))
    x = lay_out((np.arange(6).reshape(2, 3) / 4).astype(dtype), layout)
    before = bits(x)
    found = fg.sparse_jacobian(f, x, (1, 1)).toarray()
    np.testing.assert_allclose(
        found, f.jacobian(x), atol=40 * float(np.finfo(dtype).eps) ** (2 / 3)
    )
    assert bits(x) == before


def test_outputs_of_any_shape_and_numbers_for_x():
    found = fg.sparse_jacobian(
        lambda x: np.stack([x**2, x**3]), [1.0, 2.0], np.vstack([np.eye(2)] * 2)
    )
    np.testing.assert_allclose(found.toarray(), [[2, 0], [0, 4], [3, 0], [0, 12]], atol=1e-8)
    found = fg.sparse_jacobian(lambda x: [x[()] ** 2], 3.0, (0, 0))
    np.testing.assert_allclose(found.toarray(), [[6]], atol=1e-8)
    found = fg.sparse_jacobian(lambda x: x.astype(np.float32), np.ones(3), (0, 0), eps=0.25)
    assert np.array_equal(found.toarray(), np.eye(3))


@pytest.mark.parametrize("returned", ["own buffer", "its input"])
def test_f_may_return_memory_that_it_uses_again(returned):
    buffer = np.zeros(8)

    def f(x):
        if returned == "its input":
            return x
        np.multiply(x, 3.0, out=buffer)
        return buffer

    for method in ("central", "forward"):
        found = fg.sparse_jacobian(f, point(8), (0, 0), method=method)
        factor = 1.0 if returned == "its input" else 3.0
        np.testing.assert_allclose(found.toarray(), factor * np.eye(8), atol=1e-6)


@pytest.mark.parametrize("differentiate", [fg.sparse_jacobian, fg.sparse_hessian])
@pytest.mark.parametrize("method", ["forward", "backward", "central"])
@pytest.mark.parametrize("eps", [1e-14, 1.0, 1e150, 1e200, 1e300])
def test_steps_of_any_length(differentiate, method, eps):
    found = differentiate(lambda x: 2 * x, np.zeros(3), (1, 1), method=method, eps=eps)
    np.testing.assert_allclose(found.toarray(), 2 * np.eye(3), rtol=1e-14)


def test_steps():
    seen = []

    def f(x):
        seen.append(x.copy())
        return x**2

    fg.sparse_jacobian(f, np.ones(3), (0, 0), eps=[0.5, 0.25, 0.125], method="forward")
    assert seen[1].tolist() == [1.5, 1.25, 1.125]
    found = fg.sparse_jacobian(f, np.ones((1, 3)), (0, 0), eps=0.25)
    np.testing.assert_allclose(found.toarray(), 2 * np.eye(3), atol=1e-12)
    with pytest.raises(fg.InputValueError, match="`eps` = 1e-20 vanishes at `x"):
        fg.sparse_jacobian(f, np.ones(3), (0, 0), eps=1e-20)


def test_backends_agree_to_the_last_bit():
    f, x = Map(drawn(30, 20, 0.2)), point(20)
    for method in (fg.central(4), "backward"):
        one, other = (
            on(name, lambda: fg.sparse_jacobian(f, x, f.mask, method=method))  # noqa: B023
            for name in ("compiled", "pure")
        )
        assert same(one.data, other.data)
        assert np.array_equal(one.indices, other.indices)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_nothing_to_differentiate(shape):
    calls = []
    found = fg.sparse_jacobian(lambda x: calls.append(x), np.ones(shape[1]), np.ones(shape))
    assert found.shape == shape
    assert not calls


def test_large_parameters_take_no_copy_for_the_whole_run():
    f, x = Map(band(1, 0, 0)), np.linspace(0, 1, 2**16)
    before = bits(x)
    found = fg.sparse_jacobian(lambda x: x**2, x, (1, 1))
    np.testing.assert_allclose(found.diagonal(), 2 * x, atol=1e-8)
    assert bits(x) == before
    assert f.calls == 0


# ---------------------------------------------------------------- bounds


def test_within_bounds():
    f, x = Map(band(9, 1, 1)), point(9)
    lower, upper = x - 1.0, x + 1.0
    lower[2], upper[5], lower[7], upper[7] = x[2], x[5], x[7], x[7]
    seen = []

    def watched(x):
        seen.append(bool(((x >= lower) & (x <= upper)).all()))
        return f(x)

    expected = f.jacobian(x)
    found = fg.sparse_jacobian(watched, x, (1, 1), bounds=(lower, upper)).toarray()
    assert all(seen)
    assert np.array_equal(np.isnan(found), (band(9, 1, 1) != 0) & (np.arange(9) == 7))
    np.testing.assert_allclose(np.where(np.isnan(found), expected, found), expected, atol=1e-8)


def test_an_undeclared_entry_beside_a_bound():
    f = Map(np.eye(5) + np.eye(5, k=2))
    with pytest.raises(fg.InputValueError, match=r"lacks the entry in row 1, column 3"):
        fg.sparse_jacobian(
            f, np.ones(5), np.eye(5) + np.eye(5, k=2) * [0, 0, 1, 0, 1], bounds=(1, 2)
        )


# ---------------------------------------------------------------- the pattern is verified


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("method", ["central", "forward", fg.central(4)], ids=str)
def test_an_undeclared_entry_is_named(seed, method):
    random = np.random.default_rng(seed)
    f, x = Map(drawn(40, 30, 0.1, seed), seed), point(30, seed)
    row, column = random.choice(np.argwhere(f.mask))
    declared = f.mask.copy()
    declared[row, column] = False
    before = bits(x)
    text = (
        rf"`sparsity` lacks the entry in row {row}, column {column}: .* depends on `x\[{column}\]`"
    )
    with pytest.raises(fg.InputValueError, match=text):
        fg.sparse_jacobian(f, x, declared, method=method)
    assert bits(x) == before
    assert f.calls < 60


def test_one_of_many_undeclared_entries_is_named():
    f = Map(np.ones((6, 6)))
    with pytest.raises(fg.InputValueError, match="lacks the entry") as caught:
        fg.sparse_jacobian(f, point(6), (1, 1))
    row, column = map(int, re.search(r"row (\d+), column (\d+)", str(caught.value)).groups())
    assert abs(row - column) > 1


def test_a_small_undeclared_entry_beside_large_ones():
    def f(x):
        y = 100 * x
        y[3] += 1e-2 * x[7]
        return y

    with pytest.raises(fg.InputValueError, match=r"row 3, column 7"):
        fg.sparse_jacobian(f, point(10), (0, 0))


def test_no_entry_at_all_is_declared():
    with pytest.raises(fg.InputValueError, match="lacks the entry in row 2, column 1"):
        fg.sparse_jacobian(lambda x: x[[0, 0, 1]] * [0, 0, 1], np.ones(2), np.zeros((3, 2)))


RIGHT = {
    "rounding that spreads": lambda x: np.diff(np.cumsum(x + 100), prepend=0.0) ** 2,
    "single precision": lambda x: np.sin(x.astype("f4")),
    "cancellation": lambda x: (x + 1e8) - 1e8,
    "steep": lambda x: np.exp(5 * x),
    "sharply bent": lambda x: np.sin(300 * x),
    "a power of a tiny number": lambda x: (1e-5 * x) ** 3,
    "huge": lambda x: 1e200 * np.cosh(x),
    "tiny": lambda x: 1e-200 * np.cosh(x),
    "NaN in places": lambda x: np.where(x > 0, x, np.nan),
    "infinite in places": lambda x: np.where(x > 0, x, np.inf),
    "a transform and back": lambda x: np.fft.irfft(np.fft.rfft(x), len(x)),
}


@pytest.mark.parametrize("name", RIGHT)
@pytest.mark.parametrize("seed", range(3))
def test_a_complete_pattern_is_never_refused(name, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.FastgradWarning)
        found = fg.sparse_jacobian(RIGHT[name], point(40, seed), (0, 0))
    assert found.nnz == 40


@pytest.mark.parametrize("name", ["kink", "jump", "noise"])
def test_rows_that_mislead_are_told_of(name):
    random, x = np.random.default_rng(0), point(20)
    x[4] = 2e-6
    f = {
        "kink": lambda x: np.maximum(x, 0.0),
        "jump": lambda x: np.where(x > 0, x + 1, x),
        "noise": lambda x: x + 1e-6 * random.standard_normal(20),
    }[name]
    with pytest.warns(fg.FastgradWarning, match=r"row \d+ of the Jacobian, `out.*differs by .*%"):
        fg.sparse_jacobian(f, x, (0, 0))


def test_where_f_is_not_finite():
    x = np.array([1.0, -1.0, 2.0])
    with np.errstate(invalid="ignore"):
        found = fg.sparse_jacobian(lambda x: np.log(x), x, (0, 0))
    np.testing.assert_allclose(found.toarray(), np.diag([1, np.nan, 0.5]), atol=1e-8)


def test_an_f_that_does_not_see_its_input_move():
    cache = {}
    with pytest.raises(fg.InputValueError, match="keeps its value"):
        fg.sparse_jacobian(lambda x: cache.setdefault(id(x), (x**2, x))[0], np.ones(3), (0, 0))
    with pytest.warns(fg.FastgradWarning, match="nothing that is done to the parameters moves `f`"):
        found = fg.sparse_jacobian(lambda x: np.ones(3), np.ones(3), (0, 0))
    assert found.nnz == 3
    assert not found.data.any()


# ---------------------------------------------------------------- every bit comes back


class Stop(Exception):
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_a_fault_at_any_evaluation(error):
    mask = band(6, 1, 1)
    for declared in (mask, band(6, 1, 0)):
        for number in range(1, 30):
            f, x = Map(mask), point(6)
            before = bits(x)

            def faulty(x, f=f, number=number):
                if f.calls + 1 == number:
                    raise error
                return f(x)

            try:
                fg.sparse_jacobian(faulty, x, declared)
            except (error, fg.InputValueError) as raised:
                assert bits(x) == before
                if isinstance(raised, fg.InputValueError):
                    break
            else:
                break
        assert number > 8


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("size", [6, 2**16])
def test_f_that_writes_into_its_input(number, size):
    x = np.linspace(0, 1, size)
    calls = []

    def f(x):
        calls.append(0)
        if len(calls) == number:
            x[3] += 1.0
        return x**2

    before = bits(x)
    with pytest.raises(fg.MutationError, match="`f` wrote into its input"):
        fg.sparse_jacobian(f, x, (1, 1))
    assert bits(x) == before or size > 2**15


@pytest.mark.parametrize(
    ("x", "said"),
    [({"a": np.ones(2)}, "must be one array of real numbers"), (None, "must be one array"),
     (np.ones(2, complex), r"x\.view\(float\)"), (np.ones(2, int), "`x` has dtype int64"),
     ([np.ones(2), np.ones(2)], "must be one array"), ("text", "not an array")],
    ids=repr,
)  # fmt: skip
def test_what_x_must_be(x, said):
    with pytest.raises(fg.InputTypeError, match=said):
        fg.sparse_jacobian(lambda x: x, x, (0, 0))


@pytest.mark.parametrize(
    ("f", "sparsity", "error", "said"),
    [(lambda x: x[:3], (0, 0), ValueError, "4 rows, and `f` returned 3 numbers"),
     (lambda x: None, (0, 0), TypeError, "`f` returned None"),
     (lambda x: 1j * x, (0, 0), TypeError, "`f` returned complex numbers"),
     (lambda x: x, np.ones((4, 5)), ValueError, r"4 entries of `x`; got shape \(4, 5\)"),
     (3, (0, 0), TypeError, "`f` must be callable")],
)  # fmt: skip
def test_what_f_and_the_pattern_must_be(f, sparsity, error, said):
    with pytest.raises(error, match=said) as caught:
        fg.sparse_jacobian(f, np.ones(4), sparsity)
    assert isinstance(caught.value, fg.FastgradError)


def test_f_may_not_change_its_size():
    sizes = iter([4, 4, 3])
    with pytest.raises(fg.InputValueError, match=r"returned shape \(3,\)"):
        fg.sparse_jacobian(lambda x: x[: next(sizes)], np.ones(4), (0, 0))


def test_a_batched_f():
    f = fg.batched(lambda x: np.sin(x))
    found = fg.sparse_jacobian(f, point(9), (1, 1))
    np.testing.assert_allclose(found.toarray(), np.diag(np.cos(point(9))), atol=1e-8)
    more = fg.batched(lambda x: x + x[:, :1] * (np.arange(9) == 8))
    with pytest.raises(fg.InputValueError, match="lacks the entry in row 8, column 0"):
        fg.sparse_jacobian(more, point(9), (1, 1))


def test_outputs_of_any_structure_are_named():
    def f(x):
        return {"flux": x.reshape(2, 3) ** 2, "rest": [x[:1] * x[5]]}

    mask = np.vstack([np.eye(6), [[1, 0, 0, 0, 0, 1]]])
    assert fg.sparse_jacobian(f, point(6), mask).shape == (7, 6)
    mask[4] = np.eye(6)[0]
    with pytest.raises(fg.InputValueError, match=r"row 4, column 4: `out.flux\[1, 1\]` depends on"):
        fg.sparse_jacobian(f, point(6), mask)
    with pytest.raises(fg.InputValueError, match=r"`out.rest\[0\]\[0\]` depends on `x\[1, 2\]`"):
        fg.sparse_jacobian(lambda x: f(x.ravel()), point(6).reshape(2, 3), np.eye(7, 6))


class Bent:
    """It can be sent to workers."""

    def __call__(self, x):
        return np.sin(x) + np.roll(x, 1) * (np.arange(len(x)) > 0)


@pytest.mark.parametrize("workers", [2, "map"])
def test_workers(workers):
    x = point(12)
    alone = fg.sparse_jacobian(Bent(), x, (1, 0))
    shared = fg.sparse_jacobian(Bent(), x, (1, 0), workers=map if workers == "map" else workers)
    assert same(alone.data, shared.data)


# ---------------------------------------------------------------- Hessians


def hessian_problem(mask, seed=0):
    """``sum c_ij sin(x_i) sin(x_j)`` over the pattern: its gradient and its Hessian."""
    c = np.where(mask, np.random.default_rng(seed).uniform(0.5, 2, mask.shape), 0)
    c = c + c.T

    def grad(x):
        return np.cos(x) * (c @ np.sin(x))

    def hess(x):
        return np.outer(np.cos(x), np.cos(x)) * c - np.diag(np.sin(x) * (c @ np.sin(x)))

    return grad, hess


@given(st.integers(0, 50), st.integers(1, 30), st.sampled_from([0.05, 0.2, 1]))
@quick(30)
def test_hessians(seed, n, density):
    mask = drawn(n, n, density, seed)
    x = point(n, seed)
    grad, hess = hessian_problem(mask, seed)
    found = fg.sparse_hessian(grad, x, mask | np.eye(n, dtype=bool))
    np.testing.assert_allclose(found.toarray(), hess(x), atol=2e-8)
    assert np.array_equal(found.toarray(), found.toarray().T)


def test_the_hessian_of_an_arrow_takes_two_colors():
    arrow = np.eye(40, dtype=bool)
    arrow[0] = True
    grad, hess = hessian_problem(arrow)
    calls = []
    found = fg.sparse_hessian(lambda x: calls.append(0) or grad(x), point(40), arrow)
    np.testing.assert_allclose(found.toarray(), hess(point(40)), atol=1e-7)
    assert len(calls) == 2 * 2 + 2


def test_a_hessian_with_an_undeclared_entry():
    mask = np.eye(20, dtype=bool)
    mask[3, 11] = True
    grad, _ = hessian_problem(mask)
    with pytest.raises(fg.InputValueError, match=r"row (3, column 11|11, column 3)"):
        fg.sparse_hessian(grad, point(20), np.eye(20))


def test_what_a_hessian_needs():
    with pytest.raises(fg.InputValueError, match=r"must be square; got shape \(3, 4\)"):
        fg.sparse_hessian(lambda x: x, np.ones(4), np.ones((3, 4)))
    with pytest.raises(fg.InputTypeError, match="`grad` must be callable"):
        fg.sparse_hessian(None, np.ones(4), (0, 0))
    with pytest.warns(fg.FastgradWarning, match="row"):  # not symmetric
        fg.sparse_hessian(lambda x: np.array([x[1], 3 * x[0]]), np.ones(2), np.ones((2, 2)))
