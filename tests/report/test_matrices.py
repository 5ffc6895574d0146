"""What is said of Jacobians, Hessians, products and adjoints, to the letter.

The functions are products and sums of short binary fractions, which every machine rounds alike.
"""

from dataclasses import replace

import numpy as np
import pytest
import reports

import fastgrad as fg

T = np.array([0.25, 0.5, 1.0])
PARAMS = {"amplitude": np.array([1.5, 0.75]), "rate": np.array(0.5)}


def curves(p):
    """Two parabolas at three times, and a penalty."""
    a, r = p["amplitude"], p["rate"]
    return {"flux": a * (T[:, None] * r) ** 2, "penalty": r * r}


def of_curves(p, sign=1.0):
    a, r = p["amplitude"], p["rate"]
    flux = np.zeros((3, 2, 2))
    flux[:, 0, 0] = flux[:, 1, 1] = (T * r) ** 2
    return {
        "flux": {"amplitude": flux, "rate": sign * 2 * r * T[:, None] ** 2 * a},
        "penalty": {"amplitude": np.zeros(2), "rate": 2 * r},
    }


def one_off(p):
    jac = of_curves(p)
    jac["flux"]["amplitude"][2, 1, 1] += 0.3125
    return jac


X = np.array([0.5, 1.25, -0.75])


def cost(x):
    return x[0] * x[1] * x[2] + x[0] ** 3 + x[1] ** 3


def grad(x):
    return np.array([x[1] * x[2] + 3 * x[0] ** 2, x[0] * x[2] + 3 * x[1] ** 2, x[0] * x[1]])


def hess(x):
    return np.array([[6 * x[0], x[2], x[1]], [x[2], 6 * x[1], x[0]], [x[1], x[0], 0.0]])


def squares(x):
    return np.array([x[0] * x[1], x[1] * x[2], x[2] * x[0]])


def of_squares(x):
    return np.array([[x[1], x[0], 0.0], [0.0, x[2], x[1]], [x[2], 0.0, x[0]]])


def pulled(x, u):
    return (of_squares(x) * u[:, None]).sum(0)


def pushed(x, v):
    return (of_squares(x) * v).sum(1)


M = np.array([[1.0, 2.0, 0.0, -1.0], [0.0, 3.0, 1.0, 2.0], [4.0, 0.0, -2.0, 1.0]])


def forward(x):
    return (M * x).sum(1)


def adjoint(y):
    return (M * y[:, None]).sum(0)


def of_entry(y):
    return adjoint(y) + np.array([0.0, 0.0, y[1], 0.0])


REPORTS = {
    "jacobian_right": lambda: fg.check_jacobian(curves, of_curves, PARAMS),
    "jacobian_sign": lambda: fg.check_jacobian(curves, lambda p: of_curves(p, -1.0), PARAMS),
    "jacobian_entry": lambda: fg.check_jacobian(curves, one_off, PARAMS),
    "jacobian_budget": lambda: fg.check_jacobian(curves, of_curves, PARAMS, budget=11),
    "jacobian_nan": lambda: fg.check_jacobian(
        lambda p: {**curves(p), "penalty": p["rate"] * np.nan}, of_curves, PARAMS
    ),
    "hessian_right": lambda: fg.check_hessian(cost, hess, X, grad),
    "hessian_triangle": lambda: fg.check_hessian(cost, lambda x: np.triu(hess(x)), X, grad),
    "hessian_uneven": lambda: fg.check_hessian(
        cost, lambda x: hess(x) + 2.0**-31 * np.eye(3, k=1), X, grad
    ),
    "hvp_factor": lambda: fg.check_hvp(cost, lambda x, v: (hess(x) * v).sum(1) / 2, X, grad),
    "vjp_right": lambda: fg.check_vjp(squares, pulled, X),
    "vjp_transposed": lambda: fg.check_vjp(squares, pushed, X),
    "jvp_right": lambda: fg.check_jvp(squares, pushed, X),
    "adjoint_right": lambda: fg.check_adjoint(forward, adjoint, np.zeros(4)),
    "adjoint_sign": lambda: fg.check_adjoint(forward, lambda y: -adjoint(y), np.zeros(4)),
    "adjoint_entry": lambda: fg.check_adjoint(forward, of_entry, np.zeros(4)),
    "adjoint_affine": lambda: fg.check_adjoint(lambda x: forward(x) + 1, adjoint, np.zeros(4)),
}


def report(name):
    """The report, with what differs between runs and backends as one of them has it."""
    return replace(REPORTS[name](), seconds=0.0125, backend="compiled")


@pytest.mark.parametrize("name", REPORTS)
def test_text_is_the_golden_one(name, backend):
    found = report(name)
    assert name.endswith("_right") == bool(found)
    reports.golden(f"{name}.txt", f"{found}\n")


@pytest.mark.parametrize("name", REPORTS)
def test_text_fits_one_screen(name):
    lines = str(report(name)).splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 80


def test_a_hessian_says_where_its_numbers_come_from():
    found = str(fg.check_hessian(cost, hess, X))
    assert found.startswith("RIGHT: all 9 entries agree with second differences of `f`\n")
    assert " evaluations of f in " in found
    both = fg.check_hessian(lambda x: (cost(x), grad(x)), hess, X, True)
    assert "central differences of `grad`" in both.reason
    assert both.function == "f"


def test_page_is_the_golden_one():
    reports.golden("jacobian_entry.html", report("jacobian_entry").to_html())


def test_columns_of_an_adjoint_are_named_after_both_maps():
    page = report("adjoint_sign").to_html()
    assert '<th scope="col">adjoint</th><th scope="col">forward</th>' in page
    assert "analytic" not in page


def test_words_of_pictures():
    pytest.importorskip("matplotlib")
    from matplotlib.text import Text

    def words(name):
        return {text.get_text() for text in report(name).plot().findobj(Text)}

    said = words("jacobian_sign")
    assert {"Error by block", "error / largest entry of the block", "noise of f / step"} <= said
    assert "noise of grad / step" in words("hessian_triangle")
    assert "Adjoint against forward" in words("adjoint_sign")
