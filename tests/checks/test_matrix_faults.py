"""A fault or an interrupt at every call of every function leaves all bits as they were.

Of the checks of Jacobians, Hessians, products and adjoints, right ones and wrong ones.
"""

import numpy as np
import pytest

import fastgrad as fg


class Faulty:
    """Counts the calls of several functions, and raises at one of them."""

    def __init__(self, at=-1, error=None):
        self.at, self.error, self.calls = at, error, 0

    def __call__(self, function):
        def called(*arguments):
            self.calls += 1
            if self.calls - 1 == self.at:
                raise self.error
            return function(*arguments)

        return called


def params():
    """Arrays of two types; one is strided, and its zero is negative."""
    a = np.array([0.3, 7.0, -0.0, 7.0])[::2]
    return {"a": a, "b": np.array(0.7, np.float32)}


def one_param():
    return {"a": np.array([0.3, 7.0])[::2]}


def bits(p):
    return [
        array.tobytes() for each in p.values() for array in (each, each.base) if array is not None
    ]


def f(p):
    """Two outputs; their Jacobian is below."""
    a, b = p["a"], float(p["b"])
    return np.array([a[0] * b + a[1] ** 2, a[1] + b * b])


def jac(p):
    a, b = p["a"], float(p["b"])
    return {"a": np.array([[b, 2 * a[1]], [0.0, 1.0]]), "b": np.array([a[0], 2 * b])}


def cost(p):
    a, b = p["a"], float(p["b"])
    return float(a[0] ** 2 * a[1] + b * a[0] + a[1] ** 3 + b**3)


def grad(p):
    a, b = p["a"], float(p["b"])
    slopes = np.array([2 * a[0] * a[1] + b, a[0] ** 2 + 3 * a[1] ** 2])
    return {"a": slopes, "b": a[0] + 3 * b * b}


def hess(p):
    a, b = p["a"], float(p["b"])
    whole = np.array([[2 * a[1], 2 * a[0]], [2 * a[0], 6 * a[1]]])
    mixed = np.array([1.0, 0.0])
    return {"a": {"a": whole, "b": mixed}, "b": {"a": mixed, "b": 6 * b}}


def vjp(p, u):
    J = jac(p)
    return {"a": u @ J["a"], "b": u @ J["b"]}


def jvp(p, v):
    J = jac(p)
    return J["a"] @ v["a"] + J["b"] * v["b"]


def hvp(p, v):
    H = hess(p)
    return {"a": H["a"]["a"] @ v["a"] + H["a"]["b"] * v["b"], "b": H["b"]["a"] @ v["a"]
            + H["b"]["b"] * v["b"]}  # fmt: skip


def spoilt(claim):
    """The claim with one number off."""

    def wrong(*arguments):
        found = claim(*arguments)
        if isinstance(found, dict):
            return {**found, "b": _off(found["b"])}
        return _off(found)

    return wrong


def _off(found):
    if isinstance(found, dict):
        return {**found, "b": found["b"] + 1}
    return found + np.eye(1, np.size(found)).reshape(np.shape(found))


N = 70  # parameters: more than are looked at one by one
WEIGHTS = np.linspace(0.5, 1.5, N)


def long_params():
    return {"a": np.linspace(-1.0, 1.0, 2 * N)[::2], "b": np.array(0.0, np.float32)}


def long_f(p):
    return np.array([WEIGHTS @ p["a"] ** 2 + float(p["b"]), p["a"].sum()])


def long_jvp(p, v):
    return np.array([2 * (WEIGHTS * p["a"]) @ v["a"] + v["b"], v["a"].sum()])


def long_vjp(p, u):
    return {"a": u[0] * 2 * WEIGHTS * p["a"] + u[1], "b": u[0]}


def long_cost(p):
    return float(WEIGHTS @ p["a"] ** 3 + float(p["b"]) ** 2)


def long_grad(p):
    return {"a": 3 * WEIGHTS * p["a"] ** 2, "b": 2 * p["b"]}


def long_hvp(p, v):
    return {"a": 6 * WEIGHTS * p["a"] * v["a"], "b": 2 * v["b"]}


def of_jacobian(call, p, claim=jac):
    return fg.check_jacobian(call(f), call(claim), p)


def of_hessian(call, p, claim=hess):
    return fg.check_hessian(cost, call(claim), p, call(grad))


def of_values(call, p, claim=lambda p: {"a": {"a": 6 * p["a"][:, None]}}):
    return fg.check_hessian(call(lambda p: p["a"][0] ** 3), call(claim), p)


def of_vjp(call, p, claim=vjp):
    return fg.check_vjp(call(f), call(claim), p)


def of_jvp(call, p, claim=jvp):
    return fg.check_jvp(call(f), call(claim), p)


def of_hvp(call, p, claim=hvp):
    return fg.check_hvp(cost, call(claim), p, call(grad))


def of_long_vjp(call, p, claim=long_vjp):
    return fg.check_vjp(call(long_f), call(claim), p, strategy="probe")


def of_long_jvp(call, p, claim=long_jvp):
    return fg.check_jvp(call(long_f), call(claim), p)


def of_long_hvp(call, p, claim=long_hvp):
    return fg.check_hvp(long_cost, call(claim), p, call(long_grad))


def of_adjoint(call, p, claim=lambda y: {"a": np.array([y, 2 * y]), "b": -y}):
    def forward(x):
        return x["a"][0] + 2 * x["a"][1] - float(x["b"])

    return fg.check_adjoint(call(forward), call(claim), p)


SHORT = (of_jacobian, of_hessian, of_values, of_vjp, of_jvp, of_hvp, of_adjoint)
LONG = (of_long_vjp, of_long_jvp, of_long_hvp)
MAKES = {of_values: one_param, **dict.fromkeys(LONG, long_params)}


def faults(check, make, error, *claim):
    """Run a check with a fault at each call; give the errors and reports that came of it."""
    counted = Faulty()
    check(counted, make(), *claim)
    assert counted.calls > 5
    for at in range(counted.calls):
        p = make()
        before = bits(p)
        try:
            yield check(Faulty(at, error), p, *claim)
        except type(error) as raised:
            yield raised
        assert bits(p) == before, at
    check(Faulty(), p, *claim)  # no lock is left behind


@pytest.mark.parametrize("check", SHORT + LONG)
def test_interrupts_at_every_call_come_through(check, backend):
    make = MAKES.get(check, params)
    found = list(faults(check, make, KeyboardInterrupt()))
    assert all(isinstance(each, KeyboardInterrupt) for each in found)


@pytest.mark.parametrize("check", [of_jacobian, of_hessian, of_adjoint])
def test_interrupts_while_a_wrong_one_is_looked_at(check):
    claim = spoilt(check.__defaults__[0])
    found = list(faults(check, params, KeyboardInterrupt(), claim))
    assert all(isinstance(each, KeyboardInterrupt) for each in found)


@pytest.mark.parametrize("check", SHORT + LONG)
def test_errors_at_every_call_are_raised_or_told_and_never_called_wrong(check):
    make = MAKES.get(check, params)
    error = ValueError("no value here")
    for each in faults(check, make, error):
        assert each is error or each.verdict is not fg.Verdict.WRONG
