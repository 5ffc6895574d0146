"""Products that are not linear in their vector: told where that is large, and where it is small."""

import numpy as np
import pytest
from numpy.linalg import norm

import fastgrad as fg
from fastgrad import Cause, Verdict

RNG = np.random.default_rng(11)
A = RNG.normal(size=(3, 4))
X = RNG.normal(size=4)
B = RNG.normal(size=(80, 90))
Y = RNG.normal(size=90)


def f(x):
    return np.sin((A if len(x) == 4 else B) @ x)


def jac(x):
    M = A if len(x) == 4 else B
    return np.cos(M @ x)[:, None] * M


def vjp(x, u):
    return u @ jac(x)


def jvp(x, v):
    return jac(x) @ v


def cost(x):
    return (x**4).sum()


def hvp(x, v):
    return 12 * x**2 * v


def of_hvp(g, product, x, **how):
    return fg.check_hvp(cost, product, x, lambda x: 4 * x**3, **how)


CHECKS = {"vjp": (fg.check_vjp, vjp), "jvp": (fg.check_jvp, jvp), "hvp": (of_hvp, hvp)}
every = pytest.mark.parametrize("name", CHECKS)
of_both_sizes = pytest.mark.parametrize("x", [X, Y], ids=["small", "large"])


def check(name, slip, x, **how):
    """Check a product that `slip` makes of the right one."""
    function, right = CHECKS[name]
    return function(f, lambda x, v: slip(right, x, v), x, **how)


@every
@of_both_sizes
def test_right_products_say_how_exactly_they_are_linear(name, x, backend):
    report = check(name, lambda right, x, v: right(x, v), x)
    assert report.verdict is Verdict.RIGHT
    said, exactly = report.reason.split("; ")[-1].rsplit(" ", 1)
    assert said == f"`{name}` is linear to a relative"
    assert float(exactly) < 1e-14


@every
@of_both_sizes
@pytest.mark.parametrize(
    ("slip", "words"),
    [
        (lambda right, x, v: right(x, v * np.abs(v)), "(-256 v) is not -256"),
        (lambda right, x, v: right(x, np.clip(v, -1, 1)), "(-256 v) is not -256"),
        (lambda right, x, v: right(x, v) + 0.1, "(0) is not 0"),
        (lambda right, x, v: right(x, np.sort(v)), "(-256 v) is not -256"),
        (lambda right, x, v: right(x, v) * (1 + abs(v[0]) / norm(v)), "(u + v) is not"),
    ],
    ids=["square", "clip", "constant", "sorted", "normalized"],
)
def test_what_is_clearly_not_linear_is_wrong(name, x, slip, words):
    report = check(name, slip, x)
    assert report.verdict is Verdict.WRONG
    assert report.causes[0].kind is Cause.NOT_LINEAR
    assert f"`{name}` is not linear in its vector: {name}{words}" in report.reason


@every
@pytest.mark.parametrize("size", [3e-12, 1e-11])
@pytest.mark.parametrize("kind", ["constant", "absolute"])
def test_what_differences_cannot_see_is_said(name, kind, size):
    def slip(right, x, v):
        return right(x, v) + size * (1.0 if kind == "constant" else np.abs(v).sum())

    report = check(name, slip, X)
    assert report.verdict is Verdict.RIGHT
    assert not report.causes
    assert f"though `{name}` is not linear in its vector" in report.reason
    assert report.reason.endswith("which is less than differences see")


def test_what_is_between_is_wrong_where_differences_would_see_it():
    """A term that no unit vector shows, of twice what an entry may be off by."""
    limit = check("vjp", lambda right, x, v: right(x, v), X).detection_limit

    def slip(right, x, v, times):
        hidden = np.prod(np.minimum(np.abs(v[:2]), 1)) * np.abs(v).sum()
        return right(x, v) + times * limit * hidden

    for times, verdict in ((0.01, Verdict.RIGHT), (300.0, Verdict.WRONG)):
        report = check("vjp", lambda *given, times=times: slip(*given, times), X)
        assert report.verdict is verdict
        assert "is not linear" in report.reason


@every
def test_rounding_is_not_taken_for_more(name):
    """Products whose rounding is large, of short types, large sums and ill-conditioned systems."""

    def short(right, x, v):
        return right(x, v).astype(np.float32)

    def short_inside(right, x, v):
        return right(x.astype(np.float32), v.astype(np.float32)).astype(float)

    def canceling(right, x, v):
        large = 1e6 * np.tanh(x).sum() * v.sum()
        return right(x, v) + (large + right(x, v)) - large - right(x, v)

    for slip in (short, short_inside, canceling):
        report = check(name, slip, X, rtol=1e-6)
        assert report.verdict is Verdict.RIGHT, str(report)
        assert "not linear" not in report.reason


def test_a_solver_that_stops_early_is_granted_its_tolerance():
    def slip(right, x, u):
        return right(x, u) * (1 + 1e-9 * np.sin(7 * u[0] / norm(u)))

    with np.errstate(invalid="ignore"):
        report = check("vjp", slip, X)
        assert report.verdict is Verdict.RIGHT
        assert "vjp(u + v) is not vjp(u) + vjp(v)" in report.reason
        report = check("vjp", slip, X, rtol=1e-8)
    assert "is linear to a relative" in report.reason


def test_products_that_are_not_finite_or_not_repeatable_are_not_called_nonlinear():
    def overflows(right, x, u):
        with np.errstate(over="ignore", invalid="ignore"):
            return right(x, u) * (np.exp(1e3 * max(0, np.abs(u).max() - 2)) * 0 + 1)

    assert "linear" not in check("vjp", overflows, X).reason
    noise = np.random.default_rng(0)
    report = check("vjp", lambda right, x, u: right(x, u) * (1 + 1e-10 * noise.normal()), X)
    assert "not linear" not in report.reason


def test_outputs_of_all_sizes_count_alike():
    sizes = np.logspace(-6, 6, 3)

    def product(x, u):
        return (u * sizes + [1e-9, 0, 0]) @ jac(x)

    report = fg.check_vjp(lambda x: sizes * f(x), product, X)
    assert "vjp(0) is not 0" in report.reason


@every
def test_it_costs_seven_calls_at_most_and_none_that_writes(name):
    calls = []

    def slip(right, x, v):
        calls.append(v.tobytes())
        return right(x, v)

    before = X.tobytes()
    check(name, slip, X)
    units = 3 if name == "vjp" else 4
    assert len(calls) - 2 * units <= 5
    assert X.tobytes() == before

    def writes(right, x, v):
        if np.abs(v).max() > 100:
            x[0] += 1
        return right(x, v)

    with pytest.raises(fg.MutationError, match=name):
        check(name, writes, X)
    assert X.tobytes() == before


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_short_types_are_judged_by_their_own_spacing(dtype):
    x = np.array([0.5, 1.25, -0.75], dtype)
    for report in (
        fg.check_vjp(lambda x: x**2, lambda x, u: 2 * x * u, x),
        fg.check_jvp(lambda x: x**2, lambda x, v: 2 * x * v, x),
    ):
        assert "not linear" not in report.reason
