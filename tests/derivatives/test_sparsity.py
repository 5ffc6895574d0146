"""`jacobian_sparsity`: no entry too few, none too many, in few evaluations, and every bit back."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LAYOUTS, REAL, bits, lay_out, on, one_backend, quick

import fastgrad as fg

sparse = pytest.importorskip("scipy.sparse")

pytestmark = pytest.mark.usefixtures("backend")


def smooth(pattern, seed=0):
    """A map with this pattern whose derivatives are not zero by structure alone."""
    mask = sparse.csr_array(pattern).astype(bool).tocsr()
    random = np.random.default_rng(seed)
    first, second = (
        sparse.csr_array((random.uniform(0.5, 2, mask.nnz), mask.indices, mask.indptr), mask.shape)
        for _ in range(2)
    )

    def f(x):
        flat = np.ravel(x).astype(float)
        return np.sin(first @ flat) + second @ flat**2

    return f, mask


def wrong(found, mask):
    """Entries too many and too few."""
    return (found.pattern.astype(int) != mask.astype(int)).nnz


def drawn(seed, m, n, density):
    return np.random.default_rng(seed).random((m, n)) < density


def band(n, width):
    return sparse.diags_array(
        [np.ones(n - abs(k)) for k in range(-width, width + 1)], offsets=range(-width, width + 1)
    )


def arrow(n, hub):
    found = sparse.eye_array(n).tolil()
    found[hub] = 1
    found[:, hub] = np.ones((n, 1))
    return found


@given(
    st.integers(0, 99), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 0.05, 0.3, 1])
)
@quick(50)
def test_patterns_of_any_kind(seed, m, n, density):
    f, mask = smooth(drawn(seed, m, n, density), seed)
    x = np.zeros(n) if seed % 2 else np.random.default_rng(seed).uniform(-3, 3, n)
    before = bits(x)
    found = fg.jacobian_sparsity(f, x)
    assert isinstance(found.pattern, sparse.csr_array)
    assert found.pattern.dtype == bool
    assert wrong(found, mask) == 0
    assert bits(x) == before


@one_backend
@pytest.mark.parametrize(
    ("pattern", "most"),
    [(band(2000, 1), 100), (band(2000, 3), 140),
     (sparse.kron(sparse.eye_array(500), np.ones((4, 4))), 110),
     (arrow(2000, 0), 250), (arrow(2000, 1234), 250),
     (sparse.random_array((2000, 2000), density=1e-3, rng=3), 500),
     (np.ones((30, 1000)), 220), (np.tri(200), 2100)],
    ids=["tridiagonal", "band", "blocks", "arrow", "another arrow", "random", "full", "triangle"],
)  # fmt: skip
def test_evaluations(pattern, most):
    calls = []
    f, mask = smooth(pattern)
    found = fg.jacobian_sparsity(lambda x: calls.append(0) or f(x), np.zeros(mask.shape[1]))
    assert wrong(found, mask) == 0
    assert found.evaluations == len(calls) <= most


@one_backend
def test_evaluations_grow_with_the_logarithm():
    counts = []
    for n in (500, 1000, 2000, 4000):
        f, _ = smooth(band(n, 2))
        counts.append(fg.jacobian_sparsity(f, np.zeros(n)).evaluations)
    assert max(np.diff(counts)) <= 6


def test_what_is_found_is_taken_as_sparsity():
    f, mask = smooth(band(30, 1))
    found = fg.jacobian_sparsity(f, np.zeros(30))
    x = np.linspace(-1, 1, 30)
    given = fg.sparse_jacobian(f, x, mask)
    assert np.array_equal(fg.sparse_jacobian(f, x, found).toarray(), given.toarray())
    assert np.array_equal(fg.color_columns(found), fg.color_columns(mask))
    assert repr(found).startswith("Sparsity: 88 entries of 30 x 30, found in ")
    assert found.widths == (0.125, -0.125, 2**-10, 1.0, -1.0)
    assert found.missed == pytest.approx(2.0**-52)
    assert found.full_rows.tolist() == []
    with pytest.raises(AttributeError):
        found.pattern = None
    again = pickle.loads(pickle.dumps(found))
    assert np.array_equal(again.pattern.toarray(), found.pattern.toarray())
    assert repr(again) == repr(found)


def test_a_full_row_is_told_of():
    f, mask = smooth(arrow(300, 7))
    found = fg.jacobian_sparsity(f, np.zeros(300))
    assert found.full_rows.tolist() == [7]
    assert wrong(found, mask) == 0


# Functions whose derivatives vanish at the point, in ways that no entry should be lost by.
ACCIDENTS = {
    "squares": (lambda x: np.roll(x, 1) ** 2, np.zeros(20)),
    "fourth powers": (lambda x: np.roll(x, 1) ** 4, np.zeros(20)),
    "products": (lambda x: np.roll(x, 1) ** 3 + 1.0, np.zeros(20)),
    "a kink": (lambda x: np.maximum(np.roll(x, 1), 0), np.zeros(20)),
    "an inactive side": (lambda x: np.maximum(np.roll(x, 1), 0), np.full(20, -0.5)),
    "saturated": (lambda x: np.tanh(10 * np.roll(x, 1)), np.full(20, 1.5)),
    "equal steps": (lambda x: (np.roll(x, 1) - 1) ** 2, np.ones(20)),
    "large": (lambda x: np.roll(x, 1) ** 2, np.full(20, 1e6)),
    "beside a large constant": (lambda x: 1e8 + np.roll(x, 1) ** 2, np.zeros(20)),
}


@pytest.mark.parametrize("name", ACCIDENTS)
@pytest.mark.parametrize("seed", range(3))
def test_an_accidental_zero_is_not_taken_for_a_structural_one(name, seed):
    f, x = ACCIDENTS[name]
    found = fg.jacobian_sparsity(f, x, seed=seed)
    assert wrong(found, sparse.csr_array(np.roll(np.eye(20), 1, axis=0))) == 0


def test_a_product_of_zeros():
    def f(x):
        return x * np.roll(x, 1)

    found = fg.jacobian_sparsity(f, np.zeros(20))
    assert wrong(found, sparse.csr_array(np.eye(20) + np.roll(np.eye(20), 1, axis=0))) == 0


@pytest.mark.parametrize("kind", ["NaN", "raises"])
@pytest.mark.parametrize("edge", [1e-3, 1e-6])
def test_beside_the_edge_of_the_domain(kind, edge):
    def f(x):
        if kind == "raises" and (x <= 0).any():
            raise ZeroDivisionError
        return np.log(x) + np.roll(x, 1)

    x = np.ones(20)
    x[3] = edge
    before = bits(x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fg.jacobian_sparsity(f, x)
    assert wrong(found, sparse.csr_array(np.eye(20) + np.roll(np.eye(20), 1, axis=0))) == 0
    assert abs(found.widths[0]) < 2 * edge
    assert bits(x) == before


@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_type_and_layout(dtype, layout):
    f, mask = smooth(band(6, 1))
    x = lay_out((np.arange(6).reshape(2, 3) / 4).astype(dtype), layout)
    before = bits(x)
    assert wrong(fg.jacobian_sparsity(f, x), mask) == 0
    assert bits(x) == before


def test_backends_agree():
    f, _ = smooth(drawn(4, 40, 50, 0.1))
    one, other = (
        on(name, lambda: fg.jacobian_sparsity(f, np.zeros(50))) for name in ("compiled", "pure")
    )
    assert np.array_equal(one.pattern.toarray(), other.pattern.toarray())
    assert one.evaluations == other.evaluations


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (2, 1)])
def test_small_and_empty(shape):
    m, n = shape
    found = fg.jacobian_sparsity(lambda x: np.ones(m) * x.sum() ** 2, np.ones(n))
    assert found.pattern.shape == shape
    assert found.pattern.toarray().all()


def test_nothing_depends_on_anything():
    found = fg.jacobian_sparsity(lambda x: np.ones(4), np.ones(3))
    assert found.pattern.nnz == 0


def test_rounding_that_spreads_adds_entries_and_loses_none():
    found = fg.jacobian_sparsity(lambda x: np.diff(np.cumsum(x), prepend=0.0), np.ones(40))
    assert found.pattern.toarray()[np.eye(40, dtype=bool)].all()


# ---------------------------------------------------------------- faults


class Stop(BaseException):
    pass


@one_backend
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 9, 17, 30, 45])
def test_an_interrupt_at_any_evaluation(number):
    f, _ = smooth(band(12, 1))
    x, calls = np.linspace(0, 1, 12), []
    before = bits(x)

    def stopped(x):
        calls.append(0)
        if len(calls) == number:
            raise Stop
        return f(x)

    with pytest.raises(Stop):
        fg.jacobian_sparsity(stopped, x)
    assert bits(x) == before


@pytest.mark.parametrize("number", [1, 2, 4, 30])
def test_f_that_writes_into_its_input(number):
    x, calls = np.linspace(0, 1, 12), []

    def f(x):
        calls.append(0)
        if len(calls) == number:
            x[3] += 1.0
        return x**2

    before = bits(x)
    with pytest.raises(fg.MutationError, match="`f` wrote into its input"):
        fg.jacobian_sparsity(f, x)
    assert bits(x) == before


def test_large_parameters_come_back():
    f, mask = smooth(band(2**15 + 8, 1))
    x = np.linspace(-1, 1, 2**15 + 8)
    before = bits(x)
    assert wrong(fg.jacobian_sparsity(f, x), mask) == 0
    assert bits(x) == before


@pytest.mark.parametrize(
    ("f", "x", "said"),
    [(lambda x: x + np.random.default_rng().random(3), np.ones(3), "must be repeatable; `out"),
     (lambda x: np.log(x), -np.ones(3), "must be finite at `x`; `out.0.` is nan"),
     (lambda x: np.where(x == 1, x, np.nan), np.ones(3), "was at no point beside it"),
     (lambda x: None, np.ones(3), "`f` returned None"),
     (lambda x: x, np.ones(3, complex), "complex"),
     (lambda x: 1j * x, np.ones(3), "`f` returned complex numbers"),
     (3, np.ones(3), "`f` must be callable")],
)  # fmt: skip
def test_what_cannot_be_found(f, x, said):
    with pytest.raises(fg.FastgradError, match=said), np.errstate(all="ignore"):
        fg.jacobian_sparsity(f, x)


@pytest.mark.parametrize("seed", [-1, 1.0, True, None])
def test_seeds(seed):
    with pytest.raises(fg.FastgradError, match="`seed` must be"):
        fg.jacobian_sparsity(lambda x: x, np.ones(2), seed=seed)
