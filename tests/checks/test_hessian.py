"""Hessians: judged by gradients and by values, with what is known of them alone."""

import numpy as np
import pytest
from kinds import RIGHT, UNCLEAR, WRONG, expect

import fastgrad as fg
from fastgrad import Cause

X = np.array([1.0, 2.0, 0.5])
RNG = np.random.default_rng(3)
A = RNG.normal(size=(4, 4))


def f(x):
    return x[0] ** 2 * x[1] + np.sin(x[1] * x[2])


def grad(x):
    c = np.cos(x[1] * x[2])
    return np.array([2 * x[0] * x[1], x[0] ** 2 + x[2] * c, x[1] * c])


def hess(x):
    c, s = np.cos(x[1] * x[2]), np.sin(x[1] * x[2])
    mixed = c - x[1] * x[2] * s
    return np.array(
        [[2 * x[1], 2 * x[0], 0], [2 * x[0], -(x[2] ** 2) * s, mixed], [0, mixed, -(x[1] ** 2) * s]]
    )


GRADIENTS = {"gradients": grad, "values": None}
by = pytest.mark.parametrize("how", GRADIENTS)


def check(claim, x=X, how="gradients", verdict=RIGHT, **options):
    x = np.array(x)
    before = x.tobytes()
    report = fg.check_hessian(f, claim, x, GRADIENTS[how], **options)
    assert x.tobytes() == before
    expect(report, verdict)
    assert "gradient" not in report.to_dict()["sentence"]
    return report


@by
def test_a_right_one(how, backend):
    report = check(hess, how=how)
    assert report.evaluations == (15 if how == "gradients" else 205)
    assert report.derivative == "Hessian"
    assert report.detection_limit < 1e-5
    assert np.allclose(report.numeric, hess(X), atol=1e-6)
    check(hess(X), how=how)
    check(hess, X.astype("f4"), how=how)


def test_pairs_of_value_and_gradient():
    for pairs in (lambda x: (f(x), grad(x)), lambda x: (f(x), grad(x).tolist())):
        expect(fg.check_hessian(pairs, hess, X.copy(), True), RIGHT)
        expect(fg.check_hessian(f, hess, X.copy(), pairs), RIGHT)


@by
def test_one_wrong_entry_is_named(how, backend):
    def wrong(x):
        H = hess(x)
        H[1, 2] *= 1.001
        return H

    report = check(wrong, how=how, verdict=WRONG)
    assert [entry.path for entry in report.wrong] == ["params[1] / params[2]"]
    assert report.wrong[0].output == "params[1]"


@by
@pytest.mark.parametrize(
    ("slip", "kind", "words"),
    [
        (np.triu, Cause.ASYMMETRIC, "upper triangle alone"),
        (np.tril, Cause.ASYMMETRIC, "lower triangle alone"),
        (
            lambda H: H * (1 - 0.5 * np.eye(3)),
            Cause.FACTOR,
            "0.5 x the numeric one on its diagonal",
        ),
        (lambda H: H * (2 - np.eye(3)), Cause.FACTOR, "2 x the numeric one beside its diagonal"),
        (lambda H: H * np.eye(3), Cause.ZERO, "zero beside its diagonal"),
        (lambda H: H / 2, Cause.FACTOR, "0.5 x"),
        (lambda H: -H, Cause.SIGN, "wrong sign"),
        (lambda H: H + np.triu(H, 1) - np.tril(H, -1), Cause.ASYMMETRIC, "(H + H.T) / 2"),
        (lambda H: np.triu(H) - 0.5 * H * np.eye(3), Cause.ASYMMETRIC, "H + H.T is right"),
    ],
)
def test_what_is_known_of_hessians(slip, kind, words, how):
    report = check(lambda x: slip(hess(x)), how=how, verdict=WRONG)
    assert report.causes[0].kind is kind, str(report)
    assert words in report.causes[0].sentence


def test_a_matrix_that_is_not_symmetrized():
    x = RNG.normal(size=4)
    report = fg.check_hessian(lambda x: x @ A @ x / 2, lambda x: A, x)
    expect(report, WRONG)
    assert report.causes[0].kind is Cause.ASYMMETRIC
    assert "(H + H.T) / 2" in report.causes[0].sentence
    expect(fg.check_hessian(lambda x: x @ A @ x / 2, lambda x: (A + A.T) / 2, x), RIGHT)


def test_gauss_newton_is_told_where_curvature_is_negative():
    t = np.linspace(0, 1, 7)

    def cost(x):
        return ((np.exp(x[0] * t) * x[1] - 3) ** 2).sum() / 2

    def approximation(x):
        e = np.exp(x[0] * t)
        J = np.stack([t * e * x[1], e], axis=1)
        return J.T @ J

    report = fg.check_hessian(cost, approximation, np.array([0.1, 0.2]))
    expect(report, WRONG)
    assert report.causes[0].kind is Cause.APPROXIMATION


@pytest.mark.parametrize("bad", [np.inf, np.nan, 5.0])
def test_an_asymmetry_beside_what_is_no_number(bad):
    def slip(x):
        H = np.triu(hess(x))
        H[2, 2] = bad
        return H

    report = check(slip, verdict=WRONG)
    assert Cause.ASYMMETRIC in {cause.kind for cause in report.causes}, str(report)


@by
def test_an_asymmetry_that_differences_cannot_see(how):
    def uneven(x):
        H = hess(x)
        H[0, 1] *= 1 + 1e-11
        return H

    report = check(uneven, how=how, verdict=WRONG)
    assert "not symmetric" in report.reason
    said = report.causes[0].sentence
    assert "params[0] / params[1]" in said
    one, other = (part.rpartition(" is ")[2] for part in said.split(", and "))
    assert one != other  # to as many digits as it takes
    check(uneven, how=how, rtol=1e-9)
    rounded = hess(X) * (1 + 1e-16 * RNG.normal(size=(3, 3)))
    check(rounded, how=how)


def nested(p):
    return (p["w"] ** 2).sum() * p["b"][0] + np.exp(p["b"][1])


def nested_grad(p):
    return {"w": 2 * p["w"] * p["b"][0], "b": np.array([(p["w"] ** 2).sum(), np.exp(p["b"][1])])}


def nested_hess(p):
    w, b = p["w"], p["b"]
    mixed = np.zeros((2, 2, 2))
    mixed[..., 0] = 2 * w
    return {
        "w": {"w": 2 * b[0] * np.einsum("ik,jl->ijkl", np.eye(2), np.eye(2)), "b": mixed},
        "b": {"w": np.moveaxis(mixed, -1, 0).copy(), "b": np.diag([0, np.exp(b[1])])},
    }


@pytest.mark.parametrize("gradient", [nested_grad, None])
def test_nested_parameters(gradient):
    params = {"w": np.array([[0.5, 1.5], [-1.0, 2.0]]), "b": np.array([0.7, 0.2])}
    assert fg.check_hessian(nested, nested_hess, params, gradient)

    def wrong(p):
        H = nested_hess(p)
        H["w"]["b"][0, 1, 0] += 1.0
        return H

    report = fg.check_hessian(nested, wrong, params, gradient)
    assert [entry.path for entry in report.wrong] == ["w[0, 1] / b[0]"]


def test_truncation_of_values_is_no_alarm():
    """It varies on a scale of 1e-3, where steps for a function of scale 1 say nothing."""

    def fast(x):
        return np.sin(1e3 * x[0]) + x[0] * x[1]

    x = np.array([0.3, 0.7])
    right = np.array([[-1e6 * np.sin(1e3 * x[0]), 1.0], [1.0, 0.0]])
    report = fg.check_hessian(fast, right, x)
    expect(report, RIGHT, UNCLEAR)


@pytest.mark.parametrize("rest", [0.0, 0.03, 0.3])
@pytest.mark.parametrize("claim", [0.5, 0.9, -1.0])
def test_rounding_of_values_is_known_where_it_does_not_show(claim, rest):
    """At the bottom of a square all differences are rounded alike, or are mere rounding."""

    def square(x):
        return rest + ((x - 1) ** 2).sum() / 2

    x = np.ones(3)
    report = fg.check_hessian(square, claim * np.eye(3), x)
    expect(report, WRONG)
    assert len(report.wrong) == 3, str(report)
    expect(fg.check_hessian(square, np.eye(3), x), RIGHT)


@pytest.mark.parametrize("seed", range(8))
def test_all_wrong_entries_are_named(seed):
    """Noise of a numeric gradient never passes for a function as steep as is claimed."""
    rng = np.random.default_rng(seed)
    X, x = rng.normal(size=(12, 4)), rng.normal(size=4) / 2

    def cost(x):
        return np.log(1 + np.exp(X @ x)).sum()

    p = 1 / (1 + np.exp(-X @ x))
    report = fg.check_hessian(cost, X.T @ (X * (p * (1 - p))[:, None]) / 2, x)
    expect(report, WRONG)
    assert len(report.wrong) == 16, str(report)


SMALL = {
    **{
        f"sin {k:g} x": (lambda t, k=k: np.sin(k * t), lambda t, k=k: -k * k * np.sin(k * t), 0.3)
        for k in (30.0, 1e2, 1e4)
    },
    **{f"log {x:g}": (np.log, lambda t: -(t**-2.0), x) for x in (1e-2, 1e-4, 1e-6)},
    "kink near by": (lambda t: abs(t - 1e-4) + t**2, lambda t: 2.0, 0.0),
    "pole near by": (lambda t: 1 / (t - 1e-3), lambda t: 2 / (t - 1e-3) ** 3, 0.0),
    "bell": (lambda t: np.exp(-(t**2) * 1e8), lambda t: -2e8 + 0 * t, 0.0),
}


@pytest.mark.filterwarnings("ignore:invalid value encountered in log")
@pytest.mark.parametrize("name", SMALL)
def test_functions_that_vary_on_a_small_scale(name, backend):
    """Differences of values at steps for a function of scale 1 say nothing of them."""
    part, second, at = SMALL[name]
    x = np.array([at, 0.7])

    def cost(x):
        return part(x[0]) + x[0] * x[1] ** 2

    right = np.array([[second(at), 2 * x[1]], [2 * x[1], 2 * x[0]]])
    expect(fg.check_hessian(cost, right, x), RIGHT)
    wrong = right.copy()
    wrong[0, 0] *= 0.9
    report = fg.check_hessian(cost, wrong, x)
    expect(report, WRONG)
    assert [entry.path for entry in report.wrong] == ["params[0] / params[0]"]


@by
@pytest.mark.parametrize("at", [0, 1, 7, 13])
def test_an_exception_puts_every_bit_back(how, at, backend):
    x, left = X.copy(), [at]

    def counted(function):
        def call(v):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            return function(v)

        return call

    functions = (f, counted(grad)) if how == "gradients" else (counted(f), None)
    with pytest.raises(KeyboardInterrupt):
        fg.check_hessian(functions[0], hess, x, functions[1])
    assert x.tobytes() == X.tobytes()


def test_a_budget_is_kept():
    for budget in (1, 20, 100, 180):
        report = fg.check_hessian(f, hess, X.copy(), budget=budget)
        assert report.evaluations <= budget
        expect(report, UNCLEAR)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((f, True, X), TypeError, "`hess` must be a function"),
        ((f, None, X), TypeError, "`hess` must be a function"),
        ((f, hess, X, 3.0), TypeError, "`grad` must be callable"),
        ((f, lambda x: hess(x)[0], X), ValueError, r"`hess` at `params / params` must have shape"),
        ((f, hess, X + 0j), TypeError, "complex"),
        ((f, X, hess), TypeError, "f, hess, params"),
    ],
)
def test_what_is_refused(arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        fg.check_hessian(*arguments)
    assert isinstance(caught.value, fg.FastgradError)


def test_assert_hessian():
    fg.testing.assert_hessian(f, hess, X.copy(), grad)
    with pytest.raises(AssertionError, match="2 x") as caught:
        fg.testing.assert_hessian(f, lambda x: 2 * hess(x), X.copy())
    assert caught.value.report.verdict is WRONG


# ---------------------------------------------------------------------------------------- products


@by
def test_a_product(how, backend):
    def product(x, v):
        return hess(x) @ v

    report = fg.check_hvp(f, product, X.copy(), GRADIENTS[how])
    expect(report, RIGHT)
    assert "gradient" not in report.to_dict()["sentence"]
    report = fg.check_hvp(f, lambda x, v: np.triu(hess(x)) @ v, X.copy(), GRADIENTS[how])
    expect(report, WRONG)
    assert report.causes[0].kind is Cause.ASYMMETRIC


@pytest.mark.parametrize("gradient", [lambda x: x**3 / 3 + x.sum(), None])
def test_a_product_of_many_parameters(gradient):
    n = 80
    x = np.linspace(0.5, 1.5, n)

    def cost(x):
        return (x**4).sum() / 12 + x.sum() ** 2 / 2

    def product(x, v):
        return x**2 * v + v.sum()

    report = fg.check_hvp(cost, product, x, gradient)
    expect(report, RIGHT)
    assert report.evaluations < (60 if gradient else 64 * 4 * n)

    def wrong(x, v):
        out = product(x, v)
        out[7] += 0.5 * v[33]
        return out

    report = fg.check_hvp(cost, wrong, x, gradient)
    expect(report, WRONG)
    assert [entry.path for entry in report.wrong] == ["params[7] / params[33]"]


@pytest.mark.parametrize(
    ("product", "error", "words"),
    [
        (3.0, TypeError, "`hvp` must be callable"),
        (lambda x, v: v[:2], ValueError, "`hvp` at `params` must have shape"),
        (lambda x, v: None, TypeError, "`hvp`"),
    ],
)
def test_what_products_are_refused(product, error, words):
    with pytest.raises(error, match=words):
        fg.check_hvp(f, product, X.copy())


def test_assert_hvp():
    fg.testing.assert_hvp(f, lambda x, v: hess(x) @ v, X.copy(), grad)
    with pytest.raises(AssertionError, match="WRONG"):
        fg.testing.assert_hvp(f, lambda x, v: hess(x) @ v * 2, X.copy())


def test_a_budget_must_reach_for_one_gradient():
    x = np.ones(80)
    with pytest.raises(fg.InputValueError, match="at least 819 evaluations"):
        fg.check_hvp(lambda x: (x**2).sum(), lambda x, v: 2 * v, x, budget=100)
    report = fg.check_hvp(lambda x: (x**2).sum(), lambda x, v: 2 * v, x, budget=900)
    expect(report, UNCLEAR)
    assert report.evaluations <= 900
    with pytest.raises(fg.InputValueError, match="more than 900 evaluations to find"):
        fg.check_hvp(lambda x: np.sin(1e4 * x).sum(), lambda x, v: v, x, budget=900)
    assert (x == 1).all()
