"""Judged Jacobians: what must come out right, wrong or undecided, by output, and at which cost."""

from __future__ import annotations

import signal
from typing import NamedTuple

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause, Verdict
from fastgrad._checks.common_step import common_steps
from fastgrad._checks.jacobian import _OVERHEAD

pytestmark = pytest.mark.usefixtures("backend")

A = np.random.default_rng(0).normal(size=(6, 6))
X = np.linspace(0.1, 0.6, 6)
T = np.linspace(0.1, 2.0, 8)


def f(x):
    return np.sin(A @ x)


def jac(x):
    return np.cos(A @ x)[:, None] * A


def paths(report):
    return {entry.path for entry in report.wrong}


def check(f, jac, x, **options):
    before = x.tobytes() if isinstance(x, np.ndarray) else None
    with np.errstate(all="ignore"):
        report = fg.check_jacobian(f, jac, x, **options)
    if before is not None:
        assert x.tobytes() == before
    return report


def changed(change):
    def wrong(x):
        J = jac(x).copy()
        return J if (new := change(J)) is None else new

    return wrong


# ------------------------------------------------------------------------------------ problems


def rosenbrock(x):
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def rosenbrock_jac(x):
    return np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])


def decay(x):  # SciPy's example of curve fitting
    return x[0] * np.exp(-x[1] * T) + x[2] - 1.0


def decay_jac(x):
    e = np.exp(-x[1] * T)
    return np.stack([e, -x[0] * T * e, np.ones_like(T)], axis=1)


def arm(q):  # position and angle of the hand of a robot's arm of three links
    s = np.cumsum(q)
    return np.array([np.cos(s).sum(), np.sin(s).sum(), s[-1]])


def arm_jac(q):
    s = np.cumsum(q)
    below = lambda v: np.cumsum(v[::-1])[::-1]  # noqa: E731
    return np.stack([below(-np.sin(s)), below(np.cos(s)), np.ones_like(q)])


def bratu(u):  # residual of -u'' = exp(u) on a grid
    padded = np.concatenate([[0.0], u, [0.0]])
    return (2 * u - padded[:-2] - padded[2:]) * 81 - np.exp(u)


def bratu_jac(u):
    n = len(u)
    return 81 * (2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)) - np.diag(np.exp(u))


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


def softmax_jac(x):
    p = softmax(x)
    return np.diag(p) - np.outer(p, p)


PROBLEMS = {
    "rosenbrock": (rosenbrock, rosenbrock_jac, np.array([-1.2, 1.0])),
    "decay": (decay, decay_jac, np.array([2.0, 0.7, 0.3])),
    "arm": (arm, arm_jac, np.array([0.3, -0.8, 1.1])),
    "bratu": (bratu, bratu_jac, np.linspace(0.1, 0.4, 8)),
    "softmax": (softmax, softmax_jac, np.array([0.3, -1.0, 2.0, 0.1])),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_right_jacobians_are_right(name):
    g, right, x = PROBLEMS[name]
    report = check(g, right, x.copy())
    assert report, report
    assert len(report.entries) == right(x).size
    assert np.allclose(report.numeric, right(x), rtol=1e-6, atol=1e-6 * np.abs(right(x)).max())


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("times", [-1.0, 0.0, 1.01])
def test_each_single_wrong_entry_is_the_one_that_is_named(name, times):
    g, right, x = PROBLEMS[name]
    where = np.argwhere(np.abs(right(x)) > 0.05)
    i, k = where[len(where) // 2]

    def wrong(x):
        J = right(x)
        J[i, k] *= times
        return J

    report = check(g, wrong, x.copy())
    assert report.verdict is Verdict.WRONG
    assert paths(report) == {f"out[{i}] / params[{k}]"}


# --------------------------------------------------------------------------------------- causes


CAUSES = {
    "transposed": (lambda J: J.T.copy(), Cause.TRANSPOSED, "`out / params` is the transpose"),
    "row of the wrong sign": (
        lambda J: J.__setitem__(3, -J[3]),
        Cause.SIGN,
        "`out[3] / params` has the wrong sign in all 6 entries",
    ),
    "column doubled": (
        lambda J: J.__setitem__((slice(None), 2), 2 * J[:, 2]),
        Cause.FACTOR,
        "`out / params[2]` is 2 x the numeric Jacobian",
    ),
    "everything halved": (lambda J: J / 2, Cause.FACTOR, "`out / params` is 0.5 x"),
    "zero row": (
        lambda J: J.__setitem__(1, 0.0),
        Cause.ZERO,
        "`out[1] / params` is zero",
    ),
    "rows swapped": (
        lambda J: J[[1, 0, 2, 3, 4, 5]],
        Cause.PERMUTED,
        "slices 0 and 1 exchanged along `out`",
    ),
    "columns swapped": (
        lambda J: J[:, [0, 1, 2, 4, 3, 5]],
        Cause.PERMUTED,
        "slices 3 and 4 exchanged along `params`",
    ),
    "factor of each output": (
        lambda J: J * np.arange(2.0, 8.0)[:, None],
        Cause.FACTOR,
        "a factor for each entry of `out`",
    ),
    "factor of each parameter": (
        lambda J: J * np.arange(2.0, 8.0),
        Cause.FACTOR,
        "a factor for each entry of `params`",
    ),
    "chain rule forgotten": (lambda J: A, Cause.FACTOR, "a factor for each entry of `out`"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_causes_are_named_by_output_and_parameter(name):
    change, kind, sentence = CAUSES[name]
    report = check(f, changed(change), X.copy())
    assert report.verdict is Verdict.WRONG
    assert report.causes[0].kind is kind
    assert sentence in report.causes[0].sentence, report.causes[0].sentence


def test_the_words_are_those_of_a_jacobian():
    report = check(f, changed(lambda J: J.T.copy()), X.copy())
    assert "gradient" not in str(report)
    assert "gradient" not in report.to_html()
    assert report.to_dict()["derivative"] == "Jacobian"
    named = {"my_gradient": X.copy()}
    report = fg.check_jacobian(
        lambda p: f(p["my_gradient"]), lambda p: {"my_gradient": 2 * jac(p["my_gradient"])}, named
    )
    assert "`out / my_gradient` is 2 x the numeric Jacobian" in report.causes[0].sentence


def test_small_outputs_beside_large_ones_have_causes_of_their_own():
    size = np.array([1e-12, 1.0, 1e12])
    x = np.array([1.0, 2.0, 3.0])

    def g(x):
        return size * np.sin(x.sum() * np.arange(1.0, 4.0))

    def right(x):
        k = np.arange(1.0, 4.0)
        return np.outer(size * k * np.cos(x.sum() * k), np.ones(3))

    assert check(g, right, x)
    report = check(g, lambda x: right(x) * np.array([[1.001], [1.0], [1.0]]), x)
    assert paths(report) == {f"out[0] / params[{k}]" for k in range(3)}
    assert report.causes[0].kind is Cause.FACTOR
    assert "out[0] / params" in report.causes[0].sentence
    assert report.leaves[0].worst.output == "out[0]"


# ----------------------------------------------------------------------- structures and names


class Pair(NamedTuple):
    flux: object
    total: object


def nested():
    params = {"W": np.linspace(0.1, 0.6, 6).reshape(3, 2), "b": np.array(0.3)}
    z = np.array([0.3, 0.7])

    def g(p):
        y = np.tanh(p["W"] @ z + p["b"])
        return Pair(flux=y, total=y.sum())

    def right(p):
        d = 1 - np.tanh(p["W"] @ z + p["b"]) ** 2
        W = np.zeros((3, 3, 2))
        W[range(3), range(3)] = d[:, None] * z
        return Pair({"W": W, "b": d}, {"W": W.sum(0), "b": d.sum()})

    return g, right, params


def test_structures_are_those_of_jax_jacobian():
    g, right, params = nested()
    report = fg.check_jacobian(g, right, params)
    assert report, report
    assert isinstance(report.numeric, Pair)
    assert report.numeric.flux["W"].shape == (3, 3, 2)
    assert [leaf.path for leaf in report.leaves] == [
        "out.flux / W",
        "out.flux / b",
        "out.total / W",
        "out.total / b",
    ]


def test_entries_are_named_by_output_and_parameter():
    g, right, params = nested()

    def wrong(p):
        J = right(p)
        J.flux["W"][1, 1, 0] += 1.0
        return Pair(J.flux, {"W": J.total["W"], "b": -J.total["b"]})

    report = fg.check_jacobian(g, wrong, params)
    assert paths(report) == {"out.flux[1] / W[1, 0]", "out.total / b"}
    entry = next(each for each in report.wrong if each.leaf == "W")
    assert (entry.output, entry.leaf, entry.index) == ("out.flux[1]", "W", (1, 0))
    assert "out.flux[1] / W[1, 0]" in str(report)
    other = next(each for each in report.wrong if each.leaf == "b")
    assert (other.output, other.index) == ("out.total", ())


def test_one_number_out_is_a_gradient():
    x = np.array([1.0, 2.0])
    report = check(lambda x: np.sin(x).sum(), lambda x: np.cos(x), x)
    assert report
    assert report.entries[0].path == "out / params[0]"


def test_complex_outputs_are_pairs_of_rows():
    x = np.array([0.3, 1.0])
    right = lambda x: np.diag(1j * np.exp(1j * x))  # noqa: E731
    assert check(lambda x: np.exp(1j * x), right, x)
    report = check(lambda x: np.exp(1j * x), lambda x: right(x).conj(), x)
    assert report.causes[0].kind is Cause.CONJUGATE
    assert paths(report) == {"out[0].imag / params[0]", "out[1].imag / params[1]"}


def test_sparse_claims_are_judged_entry_by_entry():
    sparse = pytest.importorskip("scipy.sparse")
    g, right, u = PROBLEMS["bratu"]
    assert check(g, lambda u: sparse.csr_array(right(u)), u.copy())
    report = check(g, sparse.coo_matrix(np.tril(right(u))), u.copy())
    assert paths(report) == {f"out[{k}] / params[{k + 1}]" for k in range(7)}


SHAPES = {
    "transposed": (lambda x: jac(x)[:4].T, r"got \(6, 4\): it is the transposed Jacobian"),
    "flat": (lambda x: jac(x)[:4].ravel(), r"must have shape \(4, 6\).*got \(24,\)"),
    "gradient": (lambda x: jac(x)[0], r"must have shape \(4, 6\).*got \(6,\)"),
    "nothing": (lambda x: None, "must be an array"),
    "complex": (lambda x: jac(x)[:4] * 1j, "must hold real numbers"),
    "a dict": (lambda x: {"x": jac(x)}, "must be an array"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_other_shapes_are_refused_with_the_one_expected(name):
    claim, said = SHAPES[name]
    with pytest.raises((fg.InputTypeError, fg.InputValueError), match=said):
        check(lambda x: f(x)[:4], claim, X.copy())


def test_arguments_in_the_wrong_place_are_refused_by_name():
    with pytest.raises(fg.InputTypeError, match="the order of the arguments is f, jac, params"):
        fg.check_jacobian(f, X, jac)
    with pytest.raises(fg.InputTypeError, match="`jac` must be a function"):
        fg.check_jacobian(f, None, X)
    with pytest.raises(fg.InputTypeError, match=r"both\(p\)\[0\]"):
        fg.check_jacobian(f, True, X)
    with pytest.raises(fg.InputTypeError, match="is complex"):
        fg.check_jacobian(lambda z: z.real, lambda z: np.eye(2), np.ones(2, complex))
    with pytest.raises(fg.InputTypeError, match=r"fg\.check_jacobian"):
        fg.check_gradient(f, lambda x: x, X.copy())
    with pytest.raises(fg.InputValueError, match=r"fg\.check_jacobian"):
        fg.check_gradient(lambda x: f(x).sum(), jac, X.copy())


# ------------------------------------------------------------------------------ output by output


def test_a_kink_in_one_output_is_a_kink_there():
    def g(x):
        return np.array([abs(x[0] - 1.0), x[1] ** 2, x[0] * x[1]])

    def claimed(slope):
        return lambda x: np.array([[slope, 0], [0, 2 * x[1]], [x[1], x[0]]])

    x = np.array([1.0, 2.0])
    report = check(g, claimed(0.5), x)
    assert report
    assert report.entries.kinks.sum() == 1
    assert "out[0] / params[0]" in report.reason
    assert paths(check(g, claimed(1.5), x)) == {"out[0] / params[0]"}


def test_noise_of_one_output_leaves_the_others_sharp():
    def g(x):
        rough = 1e-6 * np.sin(1e9 * x.sum() + np.cos(3e8 * x[0]))
        return np.array([x[0] ** 2 + rough, np.sin(x[1])])

    def right(x):
        return np.array([[2 * x[0], 0.0], [0.0, np.cos(x[1])]])

    x = np.array([1.0, 2.0])
    report = check(g, right, x)
    assert report.verdict is not Verdict.WRONG
    bars = report.uncertainty
    assert bars[1, 1] < 1e-6 < bars[0, 0]
    off = check(g, lambda x: right(x) + np.array([[0, 0], [0, 1e-5]]), x)
    assert paths(off) == {"out[1] / params[1]"}


def test_steps_of_outputs_are_few_and_suit_each():
    best = np.array([6e-6, 8e-6, 2e-5, 5e-3, 6e-3])
    steps = common_steps(best)
    assert [mine.tolist() for _, mine in steps] == [[0, 1, 2], [3, 4]]
    for step, mine in steps:
        assert np.all((step <= np.maximum(2 * best[mine], 1.9e-5)) & (step > 1e-9))
    assert len(common_steps(np.geomspace(1e-6, 1e-5, 50))) == 1


def test_short_types_are_judged_by_their_own_rounding():
    def g(x):
        return np.sin(x).astype(np.float32)

    x = np.array([1.0, 2.0, 3.0])
    assert check(g, lambda x: np.diag(np.cos(x)), x)
    report = check(g, lambda x: np.diag(np.cos(x) * [1, 1.1, 1]), x)
    assert paths(report) == {"out[1] / params[1]"}
    assert check(lambda x: np.sin(x), lambda x: np.diag(np.cos(x)), x.astype(np.float32))


def test_an_output_that_is_not_finite_is_named_and_others_are_judged():
    def g(x):
        return np.array([np.nan, x[0] ** 2])

    x = np.array([3.0])
    report = check(g, lambda x: np.array([[0.0], 2 * x]), x)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "`out[0]` is nan at the unperturbed parameters" in report.reason
    report = check(g, lambda x: np.array([[0.0], 3 * x]), x)
    assert paths(report) == {"out[1] / params[0]"}
    assert "besides, `out[0]` is nan" in report.reason


def test_outputs_that_nothing_moves_agree_with_zero_rows():
    x = np.array([1.0, 2.0])

    def g(x):
        return np.array([3.0, x[0] * x[1], x[0]])

    report = check(g, lambda x: np.array([[0, 0], [x[1], x[0]], [1, 0]]), x)
    assert report, report
    report = check(g, lambda x: np.array([[1.0, 0], [x[1], x[0]], [1, 0]]), x)
    assert paths(report) == {"out[0] / params[0]"}


def test_stairs_in_one_output_cannot_be_judged():
    x = np.array([1.0, 2.0])

    def g(x):
        return np.array([np.floor(40 * x[0]) / 40, x[0] * x[1]])

    report = check(g, lambda x: np.array([[0.0, 0.0], [x[1], x[0]]]), x)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "out[0] / params[0]" in report.reason


def test_what_nothing_moves_is_said_once():
    x = np.array([1.0, 2.0])
    other = x.copy()
    report = check(lambda x: np.sin(other), lambda x: np.diag(np.cos(x)), x)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "nothing that is done to the parameters moves `f`" in report.reason
    report = check(lambda x: np.zeros(2), lambda x: np.zeros((2, 2)), x)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "both Jacobians are exactly zero" in report.reason


def test_random_values_and_random_claims_are_told():
    rng = np.random.default_rng(0)
    report = check(lambda x: rng.random(3), lambda x: np.zeros((3, 6)), X.copy())
    assert report.verdict is Verdict.CANNOT_TELL
    assert "not deterministic" in report.reason
    assert "all 3 outputs" in report.reason
    report = check(f, lambda x: jac(x) * rng.random(), X.copy())
    assert "at its second call, with the same parameters, `jac` gave other values" in report.reason
    total = np.zeros((6, 6))

    def adds(x):
        total[...] += jac(x)
        return total

    assert "it adds to its last result" in check(f, adds, X.copy()).reason


# ------------------------------------------------------------------------- cost and invariances


def counted(f):
    def g(x):
        g.calls += 1
        return f(x)

    g.calls = 0
    return g


def test_a_right_jacobian_takes_two_evaluations_for_each_parameter():
    rng = np.random.default_rng(1)
    for m, n in ((1, 5), (40, 5), (3, 30)):
        B = rng.normal(size=(m, n))
        g = counted(lambda x, B=B: np.sin(B @ x))
        x = rng.normal(size=n)
        report = check(g, lambda x, B=B: np.cos(B @ x)[:, None] * B, x)
        assert report
        assert report.evaluations == g.calls == 2 * n + _OVERHEAD


def test_sparse_rows_cost_nothing_beside():
    n = 60
    g = counted(lambda u: bratu(u))
    report = check(g, bratu_jac, np.linspace(0.1, 0.4, n))
    assert report
    assert g.calls <= 2 * n + 3 * _OVERHEAD


def test_rows_that_are_wrong_share_their_evaluations():
    rng = np.random.default_rng(2)
    n = 30
    B = rng.normal(size=(n, n)) / np.sqrt(n)
    g = counted(lambda x: np.sin(B @ x))
    report = check(g, lambda x: np.cos(B @ x)[:, None] * B * 2, rng.normal(size=n))
    assert len(report.wrong) == n * n
    assert g.calls < 1500  # seventy for each wrong entry would be 63,000


def test_verdicts_do_not_depend_on_seed_or_size():
    wrong = changed(lambda J: J.__setitem__((2, 1), 1.001 * J[2, 1]))
    seen = set()
    for seed in range(4):
        for size in (1e-9, 1.0, 1e9):
            right = check(lambda x, s=size: s * f(x), lambda x, s=size: s * jac(x), X.copy())
            assert right
            report = check(
                lambda x, s=size: s * f(x), lambda x, s=size: s * wrong(x), X.copy(), seed=seed
            )
            seen.add((report.verdict, frozenset(paths(report))))
    assert seen == {(Verdict.WRONG, frozenset({"out[2] / params[1]"}))}


def test_tolerances_are_granted_to_each_entry():
    off = changed(lambda J: J * 1.001)
    assert check(f, off, X.copy()).verdict is Verdict.WRONG
    assert check(f, off, X.copy(), rtol=2e-3)
    assert check(f, off, X.copy(), atol=1e-2)


def test_a_budget_that_runs_out_says_what_is_known():
    report = check(f, jac, X.copy(), budget=14)
    assert report.verdict is Verdict.CANNOT_TELL
    assert report.evaluations <= 14
    assert "budget" in report.reason
    assert check(f, jac, X.copy(), budget=3).verdict is Verdict.CANNOT_TELL
    with pytest.raises(fg.InputValueError, match="`budget`"):
        check(f, jac, X.copy(), budget=0)


def test_bounds_are_respected():
    x = np.array([0.0, 1.0])

    def g(x):
        assert (x >= 0).all()
        return np.array([np.exp(x[0]) + x[1], x[0] * x[1]])

    report = check(g, lambda x: np.array([[np.exp(x[0]), 1.0], [x[1], x[0]]]), x, bounds=(0, None))
    assert report, report


def test_every_fault_leaves_the_bits_where_they_were():
    x = X.copy()
    whole = fg.check_jacobian(f, changed(lambda J: J * 2), x).evaluations
    for fault in (0, 1, 4, 9, 15, whole // 2, whole - 1):
        g = counted(f)

        def broken(x, fault=fault, g=g):
            value = g(x)
            if g.calls > fault:
                raise KeyboardInterrupt
            return value

        with pytest.raises(KeyboardInterrupt):
            fg.check_jacobian(broken, changed(lambda J: J * 2), x)
        assert x.tobytes() == X.tobytes()


def test_exceptions_beside_the_parameters_are_an_edge_of_the_domain():
    x = np.array([0.0, 2.0])

    def g(x):
        if x[0] < 0:
            raise ValueError("outside")
        return np.array([x[0] ** 1.5 + x[1], x[1] ** 2])

    report = check(g, lambda x: np.array([[1.5 * x[0] ** 0.5, 1.0], [0.0, 2 * x[1]]]), x)
    assert report.verdict is not Verdict.WRONG
    with pytest.raises(ValueError, match="at home"):
        fg.check_jacobian(_raises, jac, X.copy())
    with pytest.raises(fg.MutationError):
        fg.check_jacobian(f, _writes, X.copy())


def _raises(x):
    raise ValueError("at home")


def _writes(x):
    x[0] += 1.0
    return jac(x)


def test_an_interrupt_says_what_was_known():
    g = counted(f)

    def slow(x):
        value = g(x)
        if g.calls == 25:
            signal.raise_signal(signal.SIGINT)
        return value

    x = X.copy()
    with pytest.raises(KeyboardInterrupt) as caught:
        fg.check_jacobian(slow, changed(lambda J: J * 2), x)
    assert "36 of 36 entries" in caught.value.__notes__[0] if _HAS_NOTES else True
    assert x.tobytes() == X.tobytes()


_HAS_NOTES = hasattr(BaseException, "add_note")
