"""Complex steps: exact where `f` is complex-analytic, refused by name where it is not."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from scales import IDS, POINTS, exact_derivative
from strategies import LAYOUTS, bits, lay_out

import fastgrad as fg
from fastgrad._stencils import resolve

pytestmark = pytest.mark.usefixtures("backend")
calm = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
STEP = fg.complex_step()
REFUSED = "`f` is not complex-analytic, so that fg.complex_step"


# NumPy has no cbrt of complex numbers.
ANALYTIC = [
    pytest.param(*each, id=name)
    for name, each in zip(IDS, POINTS, strict=True)
    if each[0] != "cbrt"
]


@calm
@pytest.mark.parametrize(("name", "f", "exact", "x"), ANALYTIC)
def test_exact_to_rounding(name, f, exact, x):
    mpmath = pytest.importorskip("mpmath")
    slope = exact_derivative(mpmath, exact, x)
    condition = 1e3 if name == "1 / x ** 2" else 50
    assert fg.derivative(f, x, method=STEP) == pytest.approx(slope, rel=condition * 2.3e-16)


def cost(x):
    return np.exp(np.sin(x)).sum() + (x**3).prod()


def test_a_gradient_of_nested_parameters():
    tree = {"a": np.array([[0.5, 1.0]]), "b": [np.array(2.0), None]}
    found = fg.gradient(lambda p: cost(p["a"]) * p["b"][0], tree, method=STEP)
    a = tree["a"]
    slopes = 2 * (np.cos(a) * np.exp(np.sin(a)) + 3 * (a**3).prod() / a)
    np.testing.assert_allclose(found["a"], slopes, rtol=1e-14)
    assert found["b"][0] == pytest.approx(float(cost(a)), rel=1e-15)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
def test_every_type_and_layout(dtype, layout):
    x, kinds = lay_out(np.array([[0.5, 2.0], [1.0, 3.0]], dtype), layout), set()
    before = bits(x)

    def f(x):
        kinds.add(x.dtype.char)
        return np.sin(x).sum()

    found = fg.gradient(f, x, method=STEP)
    assert found.dtype == x.dtype
    assert bits(x) == before
    assert {"f2": "F", "f4": "F", "f8": "D", "g": "G"}[dtype] in kinds
    exact = np.cos(x.astype("g"))
    np.testing.assert_allclose(
        found.astype("g"),
        exact,
        rtol=4 * float(max(np.finfo(dtype).eps, np.finfo("f8").eps)) if dtype != "f2" else 2e-3,
    )


def test_evaluations():
    calls = []
    fg.gradient(lambda x: calls.append(x.dtype.kind) or cost(x), np.ones(5), method=STEP)
    assert calls.count("c") == 5
    assert calls.count("f") == 2


def test_an_array_of_points():
    x = np.array([[1e-6, 0.3], [2.0, 40.0]])
    found = fg.derivative(np.log, x, method=STEP)
    np.testing.assert_allclose(found, 1 / x, rtol=1e-15)


def test_types_of_numbers():
    assert type(fg.derivative(lambda t: t * t, 3.0, method=STEP)) is float
    assert type(fg.derivative(lambda t: t * t, np.float32(3), method=STEP)) is np.float32
    assert fg.gradient(lambda t: t * t, 3.0, method=STEP) == 6.0


# ---------------------------------------------------------------- not complex-analytic


def into_buffer(x):
    buffer = np.zeros(len(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer[:] = x
    return (buffer**2).sum()


HIDDEN = np.array([1.0, 2.0, -3.0])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.abs(x).sum(),
        lambda x: abs(x[2]) * x[0] + x[1],
        lambda x: x.conj() @ x,
        lambda x: (x * x.T.conj()).sum(),
        lambda x: (np.real(x) ** 3).sum(),
        lambda x: float(x.real @ x.real),
        lambda x: np.linalg.norm(x),
        into_buffer,
        lambda x: float((HIDDEN**2).sum()),
        lambda x: np.vdot(x, x),
        lambda x: np.hypot(x.real, x[0].imag).sum(),
    ],
    ids=["abs", "one abs", "conj", "T.conj", "real", "float", "norm", "buffer", "elsewhere", "vdot",
         "imag"],
)  # fmt: skip
def test_what_is_refused_by_name(f):
    with pytest.raises(fg.InputValueError, match=REFUSED) as caught:
        fg.gradient(f, HIDDEN, method=STEP)
    assert "fg.central(order=4)" in str(caught.value)
    assert (HIDDEN == [1.0, 2.0, -3.0]).all()


@pytest.mark.parametrize(
    "f", [np.abs, np.conj, lambda t: np.real(t) ** 2], ids=["abs", "conj", "real"]
)
def test_what_is_refused_of_points(f):
    def real(t):
        return np.real(f(t)) if not np.iscomplexobj(t) else f(t)

    with pytest.raises(fg.InputValueError, match=REFUSED):
        fg.derivative(real, np.array([1.0, -2.0]), method=STEP)


@pytest.mark.parametrize("f", [lambda t: math.sin(t), lambda t: max(t, 0.0)], ids=["math", "max"])
def test_an_exception_says_what_f_had(f):
    with pytest.raises(TypeError) as caught:
        fg.derivative(f, 1.0, method=STEP)
    notes = "".join(getattr(caught.value, "__notes__", []))
    assert "complex copy of the parameters" in notes


def test_a_comparison_with_the_right_answer_passes():
    x = np.array([1.0, -2.0, 3.0])
    found = fg.gradient(lambda x: np.where(x.real > 0, x**2, 0 * x).sum(), x, method=STEP)
    np.testing.assert_array_equal(found, [2.0, 0.0, 6.0])


@calm
@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1.0, 1e4])
def test_hard_but_analytic_functions_pass(scale):
    x = scale * np.array([1.0, 2.0, 0.7])
    found = fg.gradient(lambda x: np.log(x).sum() + 1 / x[0], x, method=STEP)
    exact = 1 / x
    exact[0] -= 1 / x[0] ** 2
    np.testing.assert_allclose(found, exact, rtol=1e-14)


# ---------------------------------------------------------------- arguments


def test_where_out_and_bounds():
    x, mask, out = np.array([0.0, 1.0, 2.0]), np.array([True, False, True]), np.ones(3)
    seen = []

    def f(x):
        seen.append(x.real.min())
        return (x**3 + x).sum()

    found = fg.gradient(f, x, method=STEP, where=mask, out=out, bounds=(0, 2))
    assert found is out
    np.testing.assert_array_equal(found, [1.0, np.nan, 13.0])
    assert min(seen) >= 0


@pytest.mark.parametrize(
    "options", [{"eps": 1e-3}, {"rel_eps": 1e-3}, {"f0": 1.0}, {"workers": 2}], ids=repr
)
def test_what_does_not_go_with_it(options):
    (name,) = options
    with pytest.raises(fg.InputValueError, match=rf"`{name}` does not go with fg\.complex_step"):
        fg.gradient(cost, np.ones(2), method=STEP, **options)


@pytest.mark.parametrize(
    ("f", "params", "said"),
    [
        (cost, np.ones(2, complex), "`params` is complex already"),
        (fg.batched(lambda rows: rows.sum(axis=1)), np.ones(2), "got a Batched"),
    ],
)
def test_what_cannot_have_an_imaginary_part(f, params, said):
    with pytest.raises(fg.InputTypeError, match=said):
        fg.gradient(f, params, method=STEP)


def test_higher_derivatives_are_refused():
    with pytest.raises(fg.InputValueError, match=r"for first derivatives; got `n` = 2"):
        fg.derivative(np.sin, 1.0, n=2, method=STEP)


def test_a_function_that_writes_into_its_copy():
    def f(x):
        x[0] += 1
        return x.sum()

    with pytest.raises(fg.MutationError):
        fg.gradient(f, np.ones(2), method=STEP)


def test_it_is_a_value():
    assert fg.complex_step() == fg.complex_step()
    assert repr(STEP) == "complex_step()"
    with pytest.raises(fg.InputTypeError, match=r"got fg\.complex_step\(\), which is for"):
        resolve(STEP)


# ---------------------------------------------------------------- Jacobians


def nested(p):
    w, b = p["w"], p["b"]
    return {"flux": np.sin(w) * b, "total": (w**2).sum() / b, "list": [w[0] * b, np.log(w[1])]}


@pytest.mark.parametrize("kind", ["f8", "f4", ">f8"])
def test_jacobians_are_exact_but_for_rounding(kind):
    w, b = np.array([0.3, 1e-6, -2.0]), np.array(1.5)
    w[1] = abs(w[1])
    p = {"w": w.astype(kind), "b": b.astype(kind)}
    before = {key: array.tobytes() for key, array in p.items()}
    found = fg.jacobian(nested, p, method=fg.complex_step())
    assert {key: array.tobytes() for key, array in p.items()} == before
    x, eps = p["w"].astype(float), float(np.finfo(p["w"].dtype).eps)
    exact = {
        ("flux", "w"): np.diag(np.cos(x) * b),
        ("flux", "b"): np.sin(x),
        ("total", "w"): 2 * x / b,
        ("total", "b"): -(x**2).sum() / b**2,
    }
    for (output, parameter), value in exact.items():
        np.testing.assert_allclose(found[output][parameter], value, rtol=8 * eps, atol=8 * eps)
    assert found["list"]["w"][1, 1] == pytest.approx(1 / x[1], rel=8 * eps)
    assert found["flux"]["w"].dtype == np.result_type(kind)


BAD = {
    "abs": lambda x: np.abs(x) * x,
    "real": lambda x: x.real * 2.0,
    "conj": lambda x: np.conj(x) * x[::-1],
    "in one output": lambda x: np.stack([x[0] ** 2 + 0j, x[1] + 1j * 0 + abs(x[0])]),
}


@pytest.mark.parametrize("name", BAD)
def test_jacobians_of_functions_that_are_not_analytic_are_refused(name):
    def f(x):
        value = BAD[name](x)
        return value if np.iscomplexobj(x) else value.real

    with pytest.raises(fg.InputValueError, match="not complex-analytic"):
        fg.jacobian(f, np.array([1.0, 2.0]), method=fg.complex_step())


def test_what_a_complex_jacobian_refuses():
    x, step = np.array([1.0, 2.0]), fg.complex_step()
    with pytest.raises(fg.InputValueError, match="returns complex numbers as `out`"):
        fg.jacobian(lambda x: 1j * x, x, method=step)
    with pytest.raises(fg.InputValueError, match="`eps` does not go with"):
        fg.jacobian(lambda x: x, x, method=step, eps=1e-3)
    with pytest.raises(fg.InputTypeError, match="neither must change"):
        fg.jacobian(lambda x: x[:1] if np.iscomplexobj(x) else x, x, method=step)
    with pytest.raises(fg.MutationError):
        fg.jacobian(lambda x: x.__iadd__(1.0), x, method=step)
    assert x.tolist() == [1.0, 2.0]


def test_a_complex_jacobian_keeps_to_bounds_and_fills_out():
    x, seen = np.array([1.0, 2.0, 0.0]), []

    def f(x):
        seen.append(x.real.copy())
        return np.array([x[0] * x[1], np.exp(x[2])])

    out = np.empty((2, 3))
    bounds = (np.array([1.0, 0.0, 0.0]), np.array([1.0, 9.0, 9.0]))
    assert fg.jacobian(f, x, method=fg.complex_step(), bounds=bounds, out=out) is out
    np.testing.assert_allclose(out, [[2.0, 1.0, 0.0], [0.0, 0.0, 1.0]], rtol=1e-15)
    assert all((bounds[0] <= each).all() and (each <= bounds[1]).all() for each in seen)


@pytest.mark.parametrize("length", [1e-9, 1.0, 1e9])
def test_products_are_exact_but_for_rounding(length):
    p = {"w": np.array([0.3, 1e-6, -2.0]), "b": np.array(1.5)}
    before = {key: array.tobytes() for key, array in p.items()}
    v = {"w": length * np.array([1.0, 2e-6, 0.5]), "b": length * np.array(-1.0)}
    found = fg.jvp(nested, p, v, method=fg.complex_step())
    assert {key: array.tobytes() for key, array in p.items()} == before
    w, b = p["w"], p["b"]
    flux = np.cos(w) * b * v["w"] + np.sin(w) * v["b"]
    np.testing.assert_allclose(found["flux"], flux, rtol=1e-14)
    total = 2 * w @ v["w"] / b - (w @ w) / b**2 * v["b"]
    assert found["total"] == pytest.approx(total, rel=1e-14)
    assert found["list"][1] == pytest.approx(v["w"][1] / w[1], rel=1e-14)


def test_what_a_complex_product_refuses():
    x, v = np.array([1.0, 2.0]), np.array([1.0, 0.5])
    with pytest.raises(fg.InputValueError, match="not complex-analytic"):
        fg.jvp(np.abs, x, v, method=fg.complex_step())
    with pytest.raises(fg.InputValueError, match=r"`eps` does not go with fg.complex_step"):
        fg.jvp(np.sin, x, v, method=fg.complex_step(), eps=1e-3)
    assert fg.jvp(np.sin, x, 0 * v, method=fg.complex_step()).tolist() == [0.0, 0.0]


def test_its_name_is_refused_with_the_way_out():
    for function in (fg.gradient, fg.derivative, fg.jacobian):
        with pytest.raises(fg.InputValueError, match=r"pass fg\.complex_step\(\)"):
            function(np.sin, 1.0, method="complex_step")
