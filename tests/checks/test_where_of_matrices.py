"""`where` of checks of Jacobians, Hessians and products: what it means for gradients."""

from __future__ import annotations

import contextlib
import inspect

import numpy as np
import pytest
from strategies import bits

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")

# What makes no sense is left out: a linear map has no parameters.
TAKES = ("gradient", "jacobian", "hessian", "jvp", "vjp", "hvp")
LEAVES_OUT = ("adjoint",)
OUTPUTS = 5


def parameters(n=7):
    rng = np.random.default_rng(n)
    return {"W": rng.normal(size=(n, 2)), "b": rng.normal(size=3), "s": np.array(0.7)}


def mask(n=7):
    chosen = np.arange(2 * n).reshape(n, 2) % 3 > 0
    return {"W": chosen, "b": False, "s": True}


def chosen_ones(n=7):
    """Positions of the entries that are meant."""
    return np.flatnonzero(np.concatenate([mask(n)["W"].ravel(), [False] * 3, [True]]))


def flat(p):
    return np.concatenate([p["W"].ravel(), p["b"], p["s"].ravel()])


def nested(x, n=7):
    return {"W": x[: 2 * n].reshape(n, 2), "b": x[2 * n : 2 * n + 3], "s": x[-1].reshape(())}


class Problem:
    """Sines of linear forms with all derivatives, on nested parameters, and what is called."""

    def __init__(self, outputs=OUTPUTS, n=7):
        size = 2 * n + 4
        self.A, self.n = np.random.default_rng(3).normal(size=(outputs, size)) / size**0.5, n
        self.params, self.calls, self.moved = parameters(n), 0, np.zeros(size, bool)
        self.start = flat(self.params).copy()
        self.fails_at, self.fault = 0, ZeroDivisionError

    def _seen(self, p):
        x = flat(p)
        self.calls += 1
        if self.calls == self.fails_at:
            raise self.fault
        self.moved |= x != self.start
        return x

    def vector(self, p):
        return np.sin(self.A @ self._seen(p))

    def value(self, p):
        return float(np.sin(self.A @ self._seen(p)).sum())

    def slopes(self, p):
        return nested(self.A.T @ np.cos(self.A @ self._seen(p)), self.n)

    def matrix(self, kind):
        z = self.A @ self.start
        if kind in ("hessian", "hvp"):
            return -(self.A.T * np.sin(z)) @ self.A
        return np.cos(z)[:, np.newaxis] * self.A

    def check(self, kind, M, **options):
        """The report on a claim of this kind, whose entries are those of a matrix."""
        n, p = self.n, self.params
        if kind == "jacobian":
            jac = {key: M[:, k].reshape(len(M), *p[key].shape) for key, k in self.columns().items()}
            return fg.check_jacobian(self.vector, jac, p, **options)
        if kind == "jvp":
            return fg.check_jvp(self.vector, lambda p, v: M @ flat(v), p, **options)
        if kind == "vjp":
            return fg.check_vjp(self.vector, lambda p, u: nested(M.T @ u, n), p, **options)
        grad = options.pop("grad", None)
        if kind == "hvp":
            return fg.check_hvp(self.value, lambda p, v: nested(M @ flat(v), n), p, grad, **options)
        hess = {
            a: {
                b: M[np.ix_(i, k)].reshape(p[a].shape + p[b].shape)
                for b, k in self.columns().items()
            }
            for a, i in self.columns().items()
        }
        return fg.check_hessian(self.value, hess, p, grad, **options)

    def columns(self):
        n, size = self.n, 2 * self.n + 4
        return {"W": np.arange(2 * n), "b": np.arange(2 * n, size - 1), "s": np.array([size - 1])}

    def spoiled(self, kind):
        """The right matrix but for what is left out, where it is anything."""
        M, left_out = self.matrix(kind), np.ones(self.A.shape[1], bool)
        left_out[chosen_ones(self.n)] = False
        M[:, left_out] = 9.0
        if kind in ("hessian", "hvp"):
            M[left_out] = 9.0
        return M


def cases(*sizes):
    kinds = [(kind, {}) for kind in TAKES[1:]]
    kinds += [("hessian", {"grad": "slopes"}), ("hvp", {"grad": "slopes"})]
    return [
        pytest.param(kind, size, how, id=f"{kind}{'_of_grad' * bool(how)}_{size[0]}x{size[1]}")
        for kind, how in kinds
        for size in sizes
    ]


def problem_of(size, how):
    problem = Problem(*size)
    return problem, {name: getattr(problem, value) for name, value in how.items()}


FEW, MANY = (OUTPUTS, 7), (80, 60)


def test_the_checks_that_take_it():
    for kind in TAKES + LEAVES_OUT:
        for function in (
            getattr(fg, f"check_{kind}"),
            getattr(fg.testing, f"assert_{kind}"),
        ):
            assert ("where" in inspect.signature(function).parameters) == (kind in TAKES)


@pytest.mark.parametrize(("kind", "size", "how"), cases(FEW, MANY))
def test_only_what_is_meant_is_moved_and_judged(kind, size, how):
    if kind in ("hessian", "hvp") and size is MANY and not how:
        return  # thousands of evaluations for each column show nothing that gradients do not
    problem, how = problem_of(size, how)
    before = {key: bits(value) for key, value in problem.params.items()}
    n = problem.n
    report = problem.check(kind, problem.spoiled(kind), where=mask(n), **how)
    assert report, str(report)
    assert "that `where` chose of" in report.reason
    assert problem.calls >= report.evaluations
    meant = np.zeros(problem.moved.size, bool)
    meant[chosen_ones(n)] = True
    assert not problem.moved[~meant].any()
    assert problem.moved[meant].all()
    assert {key: bits(value) for key, value in problem.params.items()} == before


@pytest.mark.parametrize(("kind", "size", "how"), cases(FEW, MANY))
def test_a_wrong_entry_is_named_as_it_is_without(kind, size, how):
    if kind in ("hessian", "hvp") and size is MANY and not how:
        return
    problem, how = problem_of(size, how)
    n = problem.n
    M = problem.spoiled(kind)
    column = chosen_ones(n)[3]
    row = column if kind in ("hessian", "hvp") else 2
    M[row, column] += 1.0
    report = problem.check(kind, M, where=mask(n), **how)
    assert report.verdict is fg.Verdict.WRONG
    entry = f"W[{column // 2}, {column % 2}]"
    (wrong,) = report.wrong
    assert wrong.path.endswith(f" / {entry}")
    assert wrong.path.startswith("W[" if kind in ("hessian", "hvp") else "out[2]")


@pytest.mark.parametrize(("kind", "size", "how"), cases(FEW))
def test_numbers_stand_in_their_places(kind, size, how):
    problem, how = problem_of(size, how)
    report = problem.check(kind, problem.spoiled(kind), where=mask(), **how)
    outer = report.numeric if kind in ("hessian", "hvp") else {"out": report.numeric}
    rows = [
        np.concatenate([part[key].reshape(-1, problem.columns()[key].size) for key in part], axis=1)
        for part in outer.values()
    ]
    numeric, meant = np.concatenate(rows), np.zeros(problem.A.shape[1], bool)
    meant[chosen_ones()] = True
    right = problem.matrix(kind)
    known = np.broadcast_to(meant, right.shape)
    if kind in ("hessian", "hvp"):
        known = known & meant[:, np.newaxis]
    np.testing.assert_array_equal(np.isnan(numeric), ~known)
    np.testing.assert_allclose(numeric[known], right[known], rtol=1e-5, atol=1e-6)
    assert len(report.entries) == known.sum()
    assert report.to_dict()["n_chosen"] == known.sum()
    assert report.to_dict()["n_entries"] == known.size
    for leaf in report.leaves:
        if "b" in leaf.path.split(" / "):
            assert leaf.judged == leaf.chosen == 0
            assert leaf.verdict is fg.Verdict.CANNOT_TELL
        else:
            assert leaf.verdict is fg.Verdict.RIGHT


@pytest.mark.parametrize(("kind", "size", "how"), cases(FEW))
def test_nothing_and_everything(kind, size, how):
    problem, how = problem_of(size, how)
    M = problem.matrix(kind)
    none = problem.check(kind, M, where=False, **how)
    assert none.verdict is fg.Verdict.CANNOT_TELL
    assert none.reason == "nothing was tested: `where` chose no entry"
    assert not problem.moved.any()
    everything, plain = (problem.check(kind, M, **how, **o) for o in ({"where": True}, {}))
    assert everything.reason == plain.reason
    assert everything.evaluations == plain.evaluations


@pytest.mark.parametrize(("kind", "size", "how"), cases(FEW))
@pytest.mark.parametrize("kind_of_fault", [ZeroDivisionError, KeyboardInterrupt])
def test_bits_are_back_after_a_fault_anywhere(kind, size, how, kind_of_fault):
    problem, how = problem_of(size, how)
    problem.fault = kind_of_fault
    before = {key: bits(value) for key, value in problem.params.items()}
    problem.check(kind, problem.matrix(kind), where=mask(), **how)
    total = problem.calls
    for at in sorted({1, 2, 3, total // 3, total // 2, total - 1, total}):
        problem.calls, problem.fails_at = 0, at
        with contextlib.suppress(kind_of_fault):
            problem.check(kind, problem.matrix(kind), where=mask(), **how)
        assert {key: bits(value) for key, value in problem.params.items()} == before


def test_complex_outputs_and_bounds_and_workers():
    x = np.array([0.5, 1.5, 2.5])
    some = np.array([True, False, True])

    def f(x):
        return {"a": np.array([x[0] ** 2 + 1j * x[2], x[1] * x[2]]), "b": x.sum()}

    J = {"a": np.array([[1, 7, 1j], [0, 7, 1.5]]), "b": np.array([1, 7, 1])}
    for options in ({}, {"bounds": (0.5, 2.5)}, {"workers": map}):
        report = fg.check_jacobian(f, J, x, where=some, **options)
        assert report, str(report)
        assert "all 10 entries that `where` chose of 15" in report.reason
    J["a"][0, 2] = 2j
    report = fg.check_jacobian(f, J, x, where=some)
    assert [entry.path for entry in report.wrong] == ["out.a[0].imag / params[2]"]
    with pytest.raises(fg.InputValueError, match="`where` at `params` must be"):
        fg.check_jacobian(f, J, x, where=some[:2])


def test_what_is_left_out_may_be_random():
    """Two calls of a claim differ there."""
    x, rng = np.array([0.5, 1.5, 2.5]), np.random.default_rng(0)
    some = np.array([True, False, True])

    def loose(right):
        return lambda *_: np.where(some, right, rng.normal(size=np.shape(right)))

    assert fg.check_gradient(lambda x: (x**2).sum(), loose(2 * x), x, where=some)
    assert fg.check_jacobian(np.sin, loose(np.diag(np.cos(x))), x, where=some)


def test_arrays_that_are_left_out_are_not_called_right():
    problem = Problem()
    M = problem.matrix("jacobian")
    M[0, -1] += 1.0
    report = problem.check("jacobian", M, where=mask())
    text = str(report)
    (line,) = (each for each in text.splitlines() if each.strip().startswith("out / b"))
    assert line.split()[-2:] == ["not", "judged"]
    assert "not judged" in report.to_html()
    # It comes after all that was judged, whichever verdict that has.
    wide = {f"w{k}": np.ones(1) for k in range(12)}
    left_out = {key: key in ("w3", "w4") for key in wide}
    claim = {key: np.full(1, 5.0 if key == "w4" else 2.0) for key in wide}
    report = fg.check_gradient(
        lambda p: sum(float((x**2).sum()) for x in p.values()), claim, wide, where=left_out
    )
    lines = str(report).splitlines()
    table = next(k for k, each in enumerate(lines) if each.split()[:1] == ["parameter"])
    assert [each.split()[0] for each in lines[table + 1 : table + 3]] == ["w4", "w3"]
    assert "and more: 3 not judged" in str(report)
