"""Is this vector-Jacobian product right? `check_vjp`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from fastgrad._checks.claim import check_arguments
from fastgrad._checks.jacobian import judge_jacobian
from fastgrad._checks.linearity import with_linearity
from fastgrad._checks.options import Options
from fastgrad._checks.product_claims import by_rows
from fastgrad._checks.vjp_judge import ProjectionJudge
from fastgrad._checks.vjp_look import AskedProduct, ProductLook
from fastgrad._checks.wording import Wording
from fastgrad._errors import InputTypeError
from fastgrad._evaluation.shared import Shared
from fastgrad._report.report import Report
from fastgrad._tree import Params, as_params, check_places, describe

__all__ = ["check_vjp"]

# Outputs up to which `vjp` is called with each unit vector, so that the whole Jacobian is judged:
# two calls each. And entries of the parameters: 2 evaluations each, as in `check_gradient`.
MOST_UNITS, MOST_ENTRIES = 64, 10_000


def check_vjp(
    f: Callable[[Any], Any],
    vjp: Callable[[Any, Any], Any],
    params: Params,
    *,
    strategy: str = "auto",
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    bounds: Any = None,
    where: Any = None,
    workers: Any = None,
    progress: bool = False,
    seed: int = 0,
) -> Report:
    """Judge a vector-Jacobian product, the backward pass of a vector-valued function.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns an array of any shape, a number, or a nest of these.
    vjp : callable
        ``vjp(params, u)`` returns the gradient of the inner product of `u` with ``f(params)``, in
        the structure of `params`. `u` has the structure, shapes and float types of what `f`
        returns; where that is complex, the inner product is that of its real and imaginary parts.
        Of a function of JAX's: ``lambda p, u: jax.vjp(f, p)[1](u.conj())[0]``, as jax.vjp takes the
        conjugate of this `u` (in a nest ``jax.tree.map(jnp.conj, u)``; of real outputs `u` itself
        does), and its conjugate where the parameters are complex; of PyTorch's autograd
        ``torch.autograd.grad(outputs, inputs, grad_outputs=u)``.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        The point at which to check. The entries are moved in place; afterwards every bit is as
        it was.
    strategy, budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_gradient`. The budget holds for each of the two or more gradients that are
        judged.

    Returns
    -------
    Report
        Where the Jacobian is small it is that of `check_jacobian`. Where it is not, its entries are
        those of the gradient of ``<u, f(params)>``; if that is wrong, those of the derivatives of
        one or a few outputs, named as ``out[3] / W[2, 0]``.

    Raises
    ------
    InputTypeError, InputValueError
        As for `check_gradient`; `vjp` does not return the structure and shapes of `params`.

    See Also
    --------
    check_jvp, check_jacobian, check_adjoint

    Notes
    -----
    With up to 64 outputs and 10,000 parameters, `vjp` is called with each unit vector, and all
    entries of the Jacobian are judged, from ``2 n + 9`` evaluations.

    With more, two random cotangents are drawn, in which each output has the weight that makes it
    count as much as any other, and the gradients of the numbers ``<u, f(params)>`` are judged as
    by `check_gradient`: along random directions where the parameters are many. An error is in one
    of these numbers whatever output it belongs to. Evaluations of `f` are shared by all of them.

    Along one direction `f` shows the derivatives of all outputs, and `vjp` says what it claims of
    any of their sums: weights and halves of the cotangent tell which outputs are wrong, by calls of
    `vjp` alone, and these are judged by themselves. A right product takes some twenty evaluations,
    and one wrong entry some sixty, whatever the numbers of parameters and outputs.

    A product is linear in its vector. Five calls more, with random vectors, their sum and
    multiples, tell how exactly: a power of two changes no digit of a linear product, and its
    rounding shows at another multiple. What it misses by more is WRONG if differences would have
    seen as much, and is said in the reason if not.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> A = np.arange(6.0).reshape(3, 2)
    >>> x = np.array([0.3, 0.5])
    >>> bool(fg.check_vjp(lambda x: np.sin(A @ x), lambda x, u: A.T @ (u * np.cos(A @ x)), x))
    True
    >>> report = fg.check_vjp(lambda x: np.sin(A @ x), lambda x, u: A.T @ u, x)
    >>> report.wrong[0].output
    'out[2]'
    """
    check_arguments(f, vjp, params, "vjp")
    if not callable(vjp):
        raise InputTypeError(f"`vjp` must be callable as vjp(params, u); got {describe(vjp)}")
    options = Options.of(budget, rtol, atol, bounds, workers, progress, seed, where)
    argument = as_params(params)
    asked = AskedProduct.of(f, vjp, argument, options, strategy, budget)
    look = ProductLook.at(asked)
    entries = sum(leaf.real.size for leaf in look.leaves)
    is_complex = any(leaf.is_complex for leaf in asked.leaves)
    small = look.outputs.size <= MOST_UNITS and entries <= MOST_ENTRIES and not is_complex
    if small and strategy != "probe":
        report = judge_jacobian(f, partial(by_rows, vjp), argument, options, "vjp")
        report = replace(report, evaluations=report.evaluations + look.evaluations)
        return with_linearity(report, look.linearity)
    return with_linearity(_on_projections(asked, look), look.linearity)


def _on_projections(asked: AskedProduct, look: ProductLook) -> Report:
    """The report on projections of a large Jacobian."""
    started = time.perf_counter()
    run = asked.run(asked.options)
    try:
        with run:
            judge = ProjectionJudge(asked, look, run, Shared(run, whole=asked.limits is not None))
            report = judge.report()
            check_places(asked.argument, asked.leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    words = Wording((), "product", "vjp")
    return replace(
        report,
        reason=words.said(report.reason),
        causes=words.all(report.causes),
        evaluations=look.evaluations + run.evaluations + judge.beyond,
        seconds=time.perf_counter() - started,
        derivative="product",
    )
