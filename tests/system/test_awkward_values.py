"""Values at the ends of the range, everywhere a user can pass or return one: no NumPy warning.

A user who turns warnings into errors would get them as exceptions out of calls that are right.
"""

from __future__ import annotations

import json
import traceback
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")


def awkward(kind):
    """Zero, the smallest number, one whose square overflows, the largest, and what is none."""
    info = np.finfo(kind)
    largest = float(info.max)
    return [0.0, float(info.smallest_subnormal), largest**0.52, -largest, np.inf, np.nan]


def silent(function):
    """A function of the user's that warns of nothing."""

    def quietly(*arguments):
        with np.errstate(all="ignore"):
            return function(*arguments)

    return quietly


@silent
def squares(x):
    return x * x


@silent
def energy(x):
    return np.real(x * np.conj(x)).sum()


@silent
def slopes(x):
    return 2 * x


@silent
def roots(x):
    return np.sqrt(x)


def in_parameters(x, bad):
    """Calls at parameters one of which is the awkward one."""
    one = np.ones_like(x)
    at = x.copy()
    at[1] = bad
    double = 2 * np.eye(len(x))

    @silent
    def forward(x, v):
        return 2 * x * v

    for strategy in "exhaustive", "probe":
        yield (
            f"gradient {strategy}",
            lambda s=strategy: fg.check_gradient(energy, slopes, at, strategy=s),
        )
    yield "roots", lambda: fg.gradient(lambda x: roots(x).sum(), at)
    yield (
        "check roots",
        lambda: fg.check_jacobian(roots, silent(lambda x: np.diag(0.5 / roots(x))), at),
    )
    yield "check_jacobian", lambda: fg.check_jacobian(squares, silent(lambda x: np.diag(2 * x)), at)
    yield "check_hessian", lambda: fg.check_hessian(energy, double, at)
    yield "check_hessian grad", lambda: fg.check_hessian(energy, double, at, slopes)
    yield "check_jvp", lambda: fg.check_jvp(squares, forward, at)
    yield "check_vjp", lambda: fg.check_vjp(squares, forward, at)
    yield "check_hvp", lambda: fg.check_hvp(energy, lambda x, v: 2 * v, at)
    yield "check_hvp grad", lambda: fg.check_hvp(energy, lambda x, v: 2 * v, at, slopes)
    yield "check_adjoint", lambda: fg.check_adjoint(slopes, slopes, at)
    for method in "forward", "central", fg.central(order=4), fg.complex_step():
        yield (
            f"gradient {method}",
            lambda m=method: fg.gradient(lambda x: squares(x).sum(), at, method=m),
        )
        yield f"jacobian {method}", lambda m=method: fg.jacobian(squares, at, method=m)
        yield f"jvp {method}", lambda m=method: fg.jvp(squares, at, one, method=m)
        yield f"derivative {method}", lambda m=method: fg.derivative(squares, at, method=m)
    yield "second", lambda: fg.derivative(squares, at, n=2)
    yield "number", lambda: fg.derivative(squares, float(bad))
    yield "bounds", lambda: fg.gradient(energy, at, bounds=(at, None))
    yield "vjp", lambda: fg.vjp(squares, at, one)
    for grad in None, slopes:
        yield f"hessian {grad}", lambda g=grad: fg.hessian(energy, at, g)
        yield f"hvp {grad}", lambda g=grad: fg.hvp(energy, at, one, g)
    yield "estimate", lambda: fg.estimate(energy, at)
    yield "estimate vector", lambda: fg.estimate(squares, at)
    yield "sparse_jacobian", lambda: fg.sparse_jacobian(squares, at, (0, 0))
    yield "sparse_hessian", lambda: fg.sparse_hessian(slopes, at, (0, 0))
    yield "sparsity", lambda: fg.jacobian_sparsity(squares, at)
    yield "propagate", lambda: fg.propagate(squares, at, one)
    yield "relative_error", lambda: fg.relative_error(at, one)
    yield "relative_error each", lambda: fg.relative_error(at, one, elementwise=True)


def in_values(x, bad):
    """Calls of functions that return the awkward one, everywhere or at moved parameters."""
    factors = np.array([1.0, bad], x.dtype)
    here = x.copy()
    functions = {
        "scaled": lambda x: factors * x,
        "scaled squares": lambda x: factors * x * x,
        "added": lambda x: factors + x,
        "aside": lambda x: x if (x == here).all() else factors * x,
    }
    one = np.ones_like(x)
    for name, plain in functions.items():
        f = silent(plain)
        total = silent(lambda x, f=plain: f(x).sum())
        product = silent(lambda x, v, f=plain: f(v))
        yield f"{name}: gradient", lambda f=total: fg.gradient(f, x)
        for strategy in "exhaustive", "probe":
            yield (
                f"{name}: check_gradient {strategy}",
                lambda f=total, s=strategy: fg.check_gradient(f, factors, x, strategy=s),
            )
        yield f"{name}: jacobian", lambda f=f: fg.jacobian(f, x)
        yield f"{name}: jvp", lambda f=f: fg.jvp(f, x, one)
        yield f"{name}: vjp", lambda f=f: fg.vjp(f, x, one)
        yield f"{name}: derivative", lambda f=f: fg.derivative(f, x)
        yield f"{name}: hessian", lambda f=total: fg.hessian(f, x)
        yield f"{name}: hessian grad", lambda f=f: fg.hessian(energy, x, f)
        yield f"{name}: hvp", lambda f=total: fg.hvp(f, x, one)
        yield f"{name}: hvp grad", lambda f=f: fg.hvp(energy, x, one, f)
        yield f"{name}: estimate", lambda f=total: fg.estimate(f, x)
        yield f"{name}: estimate vector", lambda f=f: fg.estimate(f, x)
        yield f"{name}: sparse_jacobian", lambda f=f: fg.sparse_jacobian(f, x, (0, 0))
        yield f"{name}: sparse_hessian", lambda f=f: fg.sparse_hessian(f, x, (0, 0))
        yield f"{name}: sparsity", lambda f=f: fg.jacobian_sparsity(f, x)
        yield f"{name}: propagate", lambda f=f: fg.propagate(f, x, one)
        yield f"{name}: check_jacobian", lambda f=f: fg.check_jacobian(f, np.diag(factors), x)
        yield f"{name}: check_hessian", lambda f=total: fg.check_hessian(f, np.eye(2), x)
        yield f"{name}: check_hessian grad", lambda f=f: fg.check_hessian(energy, np.eye(2), x, f)
        yield f"{name}: check_jvp", lambda f=f, p=product: fg.check_jvp(f, p, x)
        yield f"{name}: check_vjp", lambda f=f, p=product: fg.check_vjp(f, p, x)
        yield f"{name}: check_hvp", lambda f=total, p=product: fg.check_hvp(f, p, x)
        yield f"{name}: check_hvp grad", lambda f=f, p=product: fg.check_hvp(energy, p, x, f)
        yield f"{name}: check_adjoint", lambda f=f: fg.check_adjoint(f, slopes, x)


def in_claims(x, bad):
    """Checks of derivatives that hold the awkward one, in one entry or in all."""
    for name, claim in {"one": np.array([2.0, bad]), "all": np.full(2, bad)}.items():
        product = silent(lambda x, v, c=claim: c * v)
        matrices = {"diagonal": np.diag(claim), "full": np.broadcast_to(claim, (2, 2)).copy()}
        for strategy in "exhaustive", "probe":
            yield (
                f"{name}: check_gradient {strategy}",
                lambda c=claim, s=strategy: fg.check_gradient(energy, c, x, strategy=s),
            )
        for kind, matrix in matrices.items():
            yield (
                f"{name}: check_jacobian {kind}",
                lambda m=matrix: fg.check_jacobian(squares, m, x),
            )
            yield f"{name}: check_hessian {kind}", lambda m=matrix: fg.check_hessian(energy, m, x)
            yield (
                f"{name}: check_hessian grad {kind}",
                lambda m=matrix: fg.check_hessian(energy, m, x, slopes),
            )
        yield f"{name}: check_jvp", lambda p=product: fg.check_jvp(squares, p, x)
        yield f"{name}: check_vjp", lambda p=product: fg.check_vjp(squares, p, x)
        yield f"{name}: check_hvp", lambda p=product: fg.check_hvp(energy, p, x)
        yield f"{name}: check_hvp grad", lambda p=product: fg.check_hvp(energy, p, x, slopes)
        adjoint = silent(lambda y, c=claim: c * y)
        yield f"{name}: adjoint", lambda a=adjoint: fg.check_adjoint(slopes, a, x)
        yield f"{name}: both", lambda a=adjoint: fg.check_adjoint(a, a, x)


def in_options(x, bad):
    """Calls with the awkward one in vectors, steps, bounds, tolerances and known values."""
    v = np.array([1.0, bad])
    full = np.eye(2)
    full[1, 1] = bad
    for grad in None, slopes:
        yield f"hvp {grad}", lambda g=grad: fg.hvp(energy, x, v, g)
    yield "jvp", lambda: fg.jvp(squares, x, v)
    yield "vjp", lambda: fg.vjp(squares, x, v)
    yield "variances", lambda: fg.propagate(squares, x, np.abs(v))
    yield "covariance", lambda: fg.propagate(squares, x, np.abs(full))
    for name in "eps", "rel_eps":
        step = {name: abs(bad)}
        yield f"gradient {name}", lambda s=step: fg.gradient(energy, x, **s)
        yield f"jacobian {name}", lambda s=step: fg.jacobian(squares, x, **s)
        yield f"jvp {name}", lambda s=step: fg.jvp(squares, x, np.ones(2), **s)
        yield f"vjp {name}", lambda s=step: fg.vjp(squares, x, np.ones(2), **s)
        yield f"hessian {name}", lambda s=step: fg.hessian(energy, x, **s)
        yield f"hvp {name}", lambda s=step: fg.hvp(energy, x, np.ones(2), **s)
        yield f"derivative {name}", lambda s=step: fg.derivative(squares, x, **s)
        yield f"propagate {name}", lambda s=step: fg.propagate(squares, x, np.ones(2), **s)
        yield f"sparse {name}", lambda s=step: fg.sparse_jacobian(squares, x, (0, 0), **s)
    for bounds in (-abs(bad), abs(bad)), (x, np.abs(v) + x), (x - abs(bad), x):
        yield "bounds", lambda b=bounds: fg.gradient(energy, x, bounds=b)
        yield "check bounds", lambda b=bounds: fg.check_gradient(energy, slopes, x, bounds=b)
        yield "estimate bounds", lambda b=bounds: fg.estimate(energy, x, bounds=b)
        yield "hessian bounds", lambda b=bounds: fg.hessian(energy, x, bounds=b)
        yield "jacobian bounds", lambda b=bounds: fg.check_jacobian(squares, np.eye(2), x, bounds=b)
    for name in "rtol", "atol":
        allowed = {name: abs(bad)}
        yield f"check {name}", lambda a=allowed: fg.check_gradient(energy, v, x, **a)
        yield (
            f"probe {name}",
            lambda a=allowed: fg.check_gradient(energy, v, x, strategy="probe", **a),
        )
        yield f"estimate {name}", lambda a=allowed: fg.estimate(energy, x, **a)
        yield f"jacobian {name}", lambda a=allowed: fg.check_jacobian(squares, np.eye(2), x, **a)
        yield f"hvp {name}", lambda a=allowed: fg.check_hvp(energy, lambda x, v: v, x, **a)
    yield "f0", lambda: fg.gradient(energy, x, method="forward", f0=bad)
    yield "f0 of vectors", lambda: fg.jacobian(squares, x, method="forward", f0=v)
    yield "relative_error", lambda: fg.relative_error(v, -v)


PLACES = [in_parameters, in_values, in_claims, in_options]


def rendered(found):
    """What a user looks at."""
    if not isinstance(found, fg.Report):
        return repr(found)
    return str(found), found.to_html(), json.dumps(found.to_dict())


def escaped(call):
    """The NumPy warning that comes out of a call as an error, as the user sees it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("ignore", fg.FastgradWarning)
        try:
            rendered(call())
        except fg.FastgradError:
            return None
        except RuntimeWarning as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return f"{error} ({Path(frame.filename).name}:{frame.lineno})"
    return None


# Each call meets half of the values on either backend, and so all of them: what is not the
# kernel's is the same code. Single precision meets a third of that.
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("kind", "share"), [("f8", 2), ("f4", 6)])
def test_no_warning_of_numpy_escapes(backend, place, kind, share):
    first, found = ["compiled", "pure"].index(backend), []
    for number, bad in enumerate(awkward(kind)):
        calls = enumerate(place(np.array([1.0, 2.0], kind), bad), first + number)
        found += [
            (name, bad, warning)
            for k, (name, call) in calls
            if k % share == 0 and (warning := escaped(call))
        ]
    assert not found
