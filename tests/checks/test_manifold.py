"""Gradients on manifolds: right, not tangent, and wrong ones, by their retraction alone."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from strategies import bits

import fastgrad as fg
from fastgrad import _memory

pytestmark = pytest.mark.usefixtures("backend")


def drawn(*shape):
    """The same numbers in every test, in whatever order they run."""
    return np.random.default_rng(len(shape) + sum(shape)).normal(size=shape)


class Manifold:
    """A function on a manifold: its Euclidean and its Riemannian gradient, and a retraction."""

    def __init__(self, x, f, euclidean, project, retraction):
        self.x, self.f, self.euclidean, self.retraction = x, f, euclidean, retraction
        self.grad = lambda x: project(x, euclidean(x))


def sphere():
    a = drawn(6, 6)
    a = a + a.T
    x = drawn(6)
    return Manifold(
        x / np.linalg.norm(x),
        lambda x: float(x @ a @ x),
        lambda x: 2 * a @ x,
        lambda x, g: g - (x @ g) * x,
        lambda x, v: (x + v) / np.linalg.norm(x + v),
    )


def great_circles():
    """The sphere, along geodesics: of a move that is projected."""
    made = sphere()

    def retraction(x, v):
        v = v - (x @ v) * x
        size = np.linalg.norm(v)
        return x.copy() if size == 0 else np.cos(size) * x + np.sin(size) / size * v

    made.retraction = retraction
    return made


def log_simplex():
    """Logarithms of probabilities, which sum up to one; moves are not projected orthogonally."""
    x, c = drawn(5), drawn(5, 1)[:, 0]

    def project(x, g):
        p = np.exp(x)
        return g - p * (p @ g) / (p @ p)

    return Manifold(
        x - np.log(np.exp(x).sum()),
        lambda x: float(np.exp(x) @ c + x @ x),
        lambda x: np.exp(x) * c + 2 * x,
        project,
        lambda x, v: x + v - np.log(np.exp(x + v).sum()),
    )


def rotations(how):
    q, m = np.linalg.qr(drawn(3, 3))[0], drawn(3, 3, 1)[..., 0]

    def euclidean(x):
        return m + np.vstack([3 * x[:1] ** 2, np.zeros((2, 3))])

    def by_qr(x, v):
        q, r = np.linalg.qr(x + v)
        return q * np.sign(np.diag(r))

    def polar(x, v):
        u, _, w = np.linalg.svd(x + v)
        return u @ w

    return Manifold(
        q * np.linalg.det(q),
        lambda x: float((x * m).sum() + (x[0] ** 3).sum()),
        euclidean,
        lambda x, g: x @ (x.T @ g - g.T @ x) / 2,
        {"qr": by_qr, "polar": polar}[how],
    )


def fixed_rank():
    target = drawn(5, 4)

    def factors(x):
        u, s, w = np.linalg.svd(x, full_matrices=False)
        return u[:, :2], s[:2], w[:2]

    def project(x, g):
        u, _, w = factors(x)
        left, right = u @ u.T, w.T @ w
        return left @ g + g @ right - left @ g @ right

    def retraction(x, v):
        u, s, w = factors(x + v)
        return u * s @ w

    return Manifold(
        drawn(5, 2) @ drawn(2, 4),
        lambda x: float(((x - target) ** 2).sum() / 2),
        lambda x: x - target,
        project,
        retraction,
    )


MANIFOLDS = {
    "sphere": sphere(),
    "great circles": great_circles(),
    "log-simplex": log_simplex(),
    "rotations, QR": rotations("qr"),
    "rotations, polar": rotations("polar"),
    "fixed rank": fixed_rank(),
}
every = pytest.mark.parametrize("m", MANIFOLDS.values(), ids=MANIFOLDS)
ways = pytest.mark.parametrize("strategy", ["exhaustive", "probe"])


def check(m, grad, **options):
    before = bits(m.x)
    report = fg.check_gradient(m.f, grad, m.x, retraction=m.retraction, **options)
    assert bits(m.x) == before
    assert not _memory.locks
    return report


# ---------------------------------------------------------------- verdicts


@every
@ways
def test_right(m, strategy):
    for grad in (m.grad, m.grad(m.x)):
        report = check(m, grad, strategy=strategy)
        assert report
        assert "tangent" not in report.reason


@every
@ways
def test_a_euclidean_gradient_is_right_and_said_not_to_be_tangent(m, strategy):
    report = check(m, m.euclidean, strategy=strategy)
    assert report
    assert "the gradient is not tangent to the manifold" in report.reason
    assert "is not tangent to the manifold" in " ".join(str(report).split())


@every
@ways
@pytest.mark.parametrize(
    ("factor", "cause"), [(-1.0, fg.Cause.SIGN), (2.0, fg.Cause.FACTOR)], ids=["sign", "factor"]
)
def test_wrong(m, strategy, factor, cause):
    report = check(m, lambda x: factor * m.grad(x), strategy=strategy)
    assert report.verdict is fg.Verdict.WRONG
    assert report.causes[0].kind is cause
    leaf = "params" if strategy == "exhaustive" else "directions"
    assert {entry.leaf for entry in report.wrong} == {leaf}


@every
def test_a_normal_part_that_is_off_is_no_error_and_a_tangent_one_is(m):
    claimed = m.grad(m.x)
    claimed.flat[1] += 0.01
    assert check(m, claimed).verdict is fg.Verdict.WRONG


def test_entries_are_those_of_the_move():
    m = MANIFOLDS["log-simplex"]
    numeric = check(m, m.grad).numeric
    p = np.exp(m.x)
    g = m.euclidean(m.x)
    np.testing.assert_allclose(numeric, g - p * g.sum(), rtol=1e-6)


def test_a_retraction_that_does_not_project():
    """Along geodesics by the formula for tangent vectors, with moves that are not."""
    m = sphere()

    def geodesic(x, v):
        size = np.linalg.norm(v)
        return x.copy() if size == 0 else np.cos(size) * x + np.sin(size) / size * v

    m.retraction = geodesic
    report = check(m, m.grad)
    assert report.verdict is fg.Verdict.WRONG
    assert "let it project v first" in report.reason
    assert check(m, m.euclidean).reason == "all 6 entries agree with central differences"


# ---------------------------------------------------------------- options


def test_entries_of_a_mask_alone():
    m = MANIFOLDS["sphere"]
    some = np.array([True, False] * 3)
    for strategy, count in (("exhaustive", 3), ("probe", 16)):
        report = check(m, m.grad, where=some, strategy=strategy)
        assert report
        assert len(report.entries) == count
    report = check(m, m.grad, where=False, strategy="probe")
    assert report.verdict is fg.Verdict.CANNOT_TELL


def test_evaluations():
    m, calls = MANIFOLDS["sphere"], []

    def f(x):
        calls.append(0)
        return m.f(x)

    report = fg.check_gradient(f, m.grad, m.x, retraction=m.retraction)
    assert report.evaluations == len(calls) == 2 * 6 + 9

    def pairs(x):
        calls.append(0)
        return m.f(x), m.grad(x)

    calls.clear()
    report = fg.check_gradient(pairs, True, m.x, retraction=m.retraction)
    assert report
    assert report.evaluations == len(calls) == 2 * 6 + 9 + 2


def test_nested_and_complex_parameters():
    """A sphere, and phases of complex numbers of size one."""
    p = {"x": MANIFOLDS["sphere"].x, "z": np.exp(1j * np.array([0.3, 2.0]))}
    w = np.array([1 + 2j, -0.5j])

    def f(p):
        return MANIFOLDS["sphere"].f(p["x"]) + float((np.conj(w) * p["z"]).real.sum())

    def grad(p):
        along = 1j * p["z"]
        return {
            "x": MANIFOLDS["sphere"].grad(p["x"]),
            "z": (np.conj(w) * along).real * along,
        }

    def retraction(p, v):
        z = p["z"] + v["z"]
        return {"x": MANIFOLDS["sphere"].retraction(p["x"], v["x"]), "z": z / abs(z)}

    for strategy in ("exhaustive", "probe"):
        report = fg.check_gradient(f, grad, p, retraction=retraction, strategy=strategy)
        assert report
        assert "tangent" not in report.reason
        wrong = {**grad(p), "z": 3 * grad(p)["z"]}
        report = fg.check_gradient(f, wrong, p, retraction=retraction, strategy=strategy)
        assert report.verdict is fg.Verdict.WRONG


@pytest.mark.parametrize("dtype", ["f4", ">f8", "g"])
def test_other_types(dtype):
    m = sphere()
    m.x = (m.x / np.linalg.norm(m.x)).astype(dtype)
    m.x.flags.writeable = False  # nothing is moved in place
    report = check(m, lambda x: m.grad(x.astype(float)))
    assert report
    assert "tangent" not in report.reason


def normalized(x, v):
    return (x + v) / np.linalg.norm(x + v)


def cubes(x):
    return float((x**3).sum())


def test_workers():
    x = MANIFOLDS["sphere"].x
    grad = 3 * x**2 - (x @ (3 * x**2)) * x
    plain = fg.check_gradient(cubes, grad, x, retraction=normalized)
    shared = fg.check_gradient(cubes, grad, x, retraction=normalized, workers=map)
    assert plain
    np.testing.assert_array_equal(plain.entries.numeric, shared.entries.numeric)
    rows = fg.batched(lambda x: (x**3).sum(axis=1))
    assert fg.check_gradient(rows, grad, x, retraction=normalized)
    fg.testing.assert_gradient(cubes, grad, x, retraction=normalized)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("retraction", "kind", "said"),
    [
        (3, fg.InputTypeError, "`retraction` must be callable as retraction.params, v."),
        (lambda x, v: x + v + 1, fg.InputValueError, r"move of zero; `params\[\d\]` was off by 1:"),
        (lambda x, v: (x + v)[:2], fg.InputValueError, r"shape \(6,\) is expected.*\(2,\)"),
        (lambda x, v: None, fg.InputValueError, "it returned None"),
        (lambda x, v: {"a": x}, fg.InputValueError, "it returned a dict"),
    ],
    ids=["number", "offset", "shape", "None", "dict"],
)
def test_what_is_no_retraction(retraction, kind, said):
    m = MANIFOLDS["sphere"]
    with pytest.raises(kind, match=said):
        fg.check_gradient(m.f, m.grad, m.x, retraction=retraction)


def test_parameters_that_lie_elsewhere():
    m = MANIFOLDS["sphere"]
    with pytest.raises(fg.InputValueError, match="do the parameters lie on the manifold"):
        fg.check_gradient(m.f, m.grad, 1.001 * m.x, retraction=m.retraction)


def test_bounds_are_refused():
    m = MANIFOLDS["sphere"]
    with pytest.raises(fg.InputValueError, match="`bounds` cannot be combined with `retraction`"):
        check(m, m.grad, bounds=(-1, 1))


def test_a_gradient_that_is_random():
    m = MANIFOLDS["sphere"]
    random = np.random.default_rng(3)
    report = check(m, lambda x: random.normal(size=6))
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert "at its second call" in report.reason


def test_a_claim_that_is_not_finite():
    m = MANIFOLDS["sphere"]
    claimed = m.grad(m.x)
    claimed[2] = np.nan
    report = check(m, claimed)
    assert report.verdict is fg.Verdict.WRONG
    assert report.wrong[0].path == "params[2]"


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("what", ["f", "grad", "retraction"])
def test_writes_into_the_parameters_are_undone(what):
    m = MANIFOLDS["great circles"]
    x = m.x.copy()

    def write(value):
        x[0] += 0.5
        return value

    calls = {
        "f": (lambda y: write(m.f(y)), m.grad, m.retraction),
        "grad": (m.f, lambda y: write(m.grad(y)), m.retraction),
        "retraction": (m.f, m.grad, lambda y, v: write(m.retraction(y, v))),
    }
    f, grad, retraction = calls[what]
    with pytest.raises(fg.MutationError, match="wrote into its input"):
        fg.check_gradient(f, grad, x, retraction=retraction)
    assert bits(x) == bits(m.x)
    assert not _memory.locks


@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt])
def test_a_fault_at_every_call(kind):
    m = MANIFOLDS["sphere"]

    class Faulty:
        def __init__(self, function, at):
            self.function, self.left = function, at

        def __call__(self, *given):
            self.left -= 1
            if not self.left:
                raise kind
            return self.function(*given)

    for at in range(1, 60):
        for f, retraction in (
            (Faulty(m.f, at), m.retraction),
            (m.f, Faulty(m.retraction, at)),
        ):
            # What is no interrupt counts as a point outside of the domain.
            with contextlib.suppress(kind):
                fg.check_gradient(f, m.grad, m.x, retraction=retraction)
            assert not _memory.locks
