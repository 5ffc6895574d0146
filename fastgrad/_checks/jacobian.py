"""Is this Jacobian right? `check_jacobian`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._checks.by_rows import judge_rows
from fastgrad._checks.claim import Analytic, check_arguments, compared, raised
from fastgrad._checks.jacobian_claim import check_claim, claimed, given
from fastgrad._checks.jacobian_result import Told, told, untold
from fastgrad._checks.layout import Layout
from fastgrad._checks.options import Options
from fastgrad._checks.stale_jacobian import name_other_point
from fastgrad._checks.wording import Wording
from fastgrad._errors import FastgradError
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._evaluation.selected import Selection, selection_of
from fastgrad._evaluation.shared import Shared
from fastgrad._outputs import Outputs
from fastgrad._report.entries import Verdict
from fastgrad._report.report import Report
from fastgrad._returns import at_block
from fastgrad._tree import Params, as_params, check_places, flatten

__all__ = ["check_jacobian", "claim_of", "judge_jacobian", "judged", "report_of", "seen"]

# Evaluations beside two for each parameter: two at the parameters, six for the noise, one at the
# end.
_OVERHEAD = 9


def check_jacobian(
    f: Callable[[Any], Any],
    jac: Any,
    params: Params,
    *,
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    bounds: Any = None,
    where: Any = None,
    workers: Any = None,
    progress: bool = False,
    seed: int = 0,
) -> Report:
    """Judge an analytic Jacobian against central differences, entry by entry.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns an array of any shape, a number, or a nest of these, real or complex.
        Where it returns one number, the Jacobian is the gradient, in the structure of `params`.
    jac : callable or Jacobian
        ``jac(params)``, or the Jacobian itself, as `jax.jacobian` returns it: the structure of what
        `f` returns, each array in it replaced by the structure of `params`, with arrays of the
        shape ``out.shape + leaf.shape``. For one array in and one out it is an array, or a sparse
        matrix of SciPy's. It is copied before `f` is called again. A function is called twice: the
        report says whether it adds to its last result or is random, and smaller differences are
        part of the error bar.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        The point at which to check, of real numbers. The entries are moved in place; afterwards
        every bit is as it was.
    budget : int, optional
        Largest number of evaluations. If it is used up, the report says what is known by then. By
        default there is no limit.
    rtol, atol, bounds, workers, progress, seed
        As for `check_gradient`; `rtol` is relative to each entry.
    where : structure of `params` of bool arrays, optional
        Which entries of the parameters to check, as for `check_gradient`: only these are moved, and
        derivatives by others may be claimed to be anything.

    Returns
    -------
    Report
        Its entries are named by output and parameter, as ``out.flux[3] / layers[1].W[2, 0]``, and
        have an attribute `output`. Its `leaves` are the blocks of the Jacobian: one array that `f`
        returned by one parameter array.

    Raises
    ------
    InputTypeError, InputValueError
        The parameters cannot be moved in place, or are complex; or the Jacobian does not have the
        structure and shapes asked for: the error says so of a transposed one.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError
        As for `check_gradient`.

    See Also
    --------
    check_vjp, check_jvp : for functions that multiply by a Jacobian, and for Jacobians too large to
        be stored.

    Notes
    -----
    Each output is judged as a function of its own, as by `check_gradient`: by its own noise, with
    kinks, jumps, detection limits and *cannot tell* of its own. Outputs may differ in size by any
    factor. Evaluations serve all outputs at once: a right Jacobian of a smooth `f` takes about
    ``2 n + 9`` for n parameters, whatever the number of outputs. Outputs whose noise differs much
    need steps of different sizes, each of which takes ``2 n``.

    An output that nothing moves, with zeros in its row, agrees: it does not depend on the
    parameters. If no output is moved the verdict is CANNOT_TELL.

    The memory taken is about 40 bytes for each entry of the Jacobian.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> t = np.linspace(0.0, 1.0, 5)
    >>> def residual(x):
    ...     return x[0] * np.exp(-x[1] * t) - 1.0
    >>> def jac(x):
    ...     e = np.exp(-x[1] * t)
    ...     return np.stack([e, -x[0] * t * e], axis=1)
    >>> x = np.array([2.0, 0.5])
    >>> report = fg.check_jacobian(residual, jac, x)
    >>> bool(report), report.evaluations
    (True, 13)
    >>> def wrong(x):
    ...     J = jac(x)
    ...     J[3, 1] *= -1
    ...     return J
    >>> [entry.path for entry in fg.check_jacobian(residual, wrong, x).wrong]
    ['out[3] / params[1]']
    """
    check_arguments(f, jac, params, "jac")
    check_claim(jac)
    options = Options.of(budget, rtol, atol, bounds, workers, progress, seed, where)
    return judge_jacobian(f, partial(claim_of, jac), params, options, "jac")


def judge_jacobian(
    f: Callable[[Any], Any],
    make: Callable[[Metered, Layout, Params], Analytic],
    params: Params,
    options: Options,
    name: str,
) -> Report:
    """Judge every entry of the Jacobian that `make` makes of functions that `name` names."""
    started = time.perf_counter()
    argument = as_params(params)
    leaves = flatten(argument)
    limits = bounds_of(options.bounds, argument, leaves)
    selection = selection_of(options.where, argument, leaves)
    chosen = leaves if selection is None else selection.leaves
    expected = 2 * sum(leaf.real.size for leaf in chosen) + _OVERHEAD
    how: dict[str, Any] = {"vector": True, "expected": expected, "selection": selection}
    options.needs_a_value()
    run = options.evaluator(Lenient(f), argument, leaves, limits, **how)
    try:
        with run:
            shared = Shared(run, whole=limits is not None)
            shared.base(0)
            assert run.outputs is not None
            layout = Layout(run.outputs, argument, leaves, selection)
            claim = make(run, layout, argument)
            claim = replace(claim, rtol=options.rtol, atol=options.atol)
            found = judged(run, shared, layout, claim, options.seed)
            found = name_other_point(found, run, layout)
            found = seen(found, Watched(run, f, argument, limits, selection))
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    wording = Wording(layout.parts, "Jacobian", name)
    seconds = time.perf_counter() - started
    return report_of(found, layout, wording, run.evaluations, options.seed, seconds, "Jacobian")


def claim_of(jac: Any, run: Metered, layout: Layout, argument: Params) -> Analytic:
    """The Jacobian, with what a second call of a function shows."""
    whole = layout.whole
    run.guard.check()
    claim = layout.part_of(claimed(given(jac, argument), whole, argument))
    if not callable(jac):
        return claim
    run.guard.check("jac")
    try:
        second = layout.part_of(claimed(given(jac, argument), whole, argument))
    except FastgradError:
        raise
    except Exception as error:
        return replace(claim, trouble=raised(error))
    run.guard.check("jac")
    return compared(claim, second.column)


def judged(
    run: Metered,
    shared: Shared,
    layout: Layout,
    claim: Analytic,
    seed: int,
) -> Told:
    """Judge all entries, and explain what is wrong."""
    if claim.trouble is not None or not len(claim.column):
        return untold(layout, claim)
    try:
        rows = judge_rows(run, shared, layout, claim, seed)
    except OutOfBudget:  # before anything was judged
        return untold(layout, claim, measured=0)
    return told(rows, layout, claim, run)


@dataclass(frozen=True, eq=False)
class Watched:
    """What differences are taken of, of which it may have to be asked whether it sees the moves."""

    run: Metered
    f: Callable[[Any], Any]
    argument: Params
    bounds: Bounds | None
    selection: Selection | None

    def sees(self) -> Sees:
        """What moves its value, a number or a vector, at the parameters."""
        base, outputs = self.run.base(), self.run.outputs
        value = self.f if outputs is None else partial(_flat, self.f, outputs)
        return sees_moves(self.run, value, self.argument, base, self.bounds, self.selection)


def seen(found: Told, watched: Watched) -> Told:
    """The same, or why nothing is known where no parameter moves any output."""
    result = found.result
    if not result.leaves or any(leaf.moves or leaf.jumps for leaf in result.leaves):
        return found
    try:
        sees = watched.sees()
    except OutOfBudget:
        return found
    claimed = any(not leaf.still for leaf in result.leaves)
    if sees is Sees.CACHED or (sees is Sees.UNRELATED and claimed):
        return found.distrusted(sees.value)
    # `f` is a number, and what was differenced is its gradient: zero as of one that is linear.
    linear = sees is Sees.MOVES and watched.run.outputs is None and not claimed
    if linear and result.measured is None:
        said = "both gradients are exactly zero here, and `f` does move with these parameters"
        return replace(found, conclusion=(Verdict.RIGHT, said))
    return found


def _flat(f: Callable[[Any], Any], outputs: Outputs, params: Params) -> np.ndarray:
    return outputs.flat(f(params), at_block, 0)


def report_of(
    found: Told,
    layout: Layout,
    wording: Wording,
    evaluations: int,
    seed: int,
    seconds: float,
    derivative: str,
) -> Report:
    """The report on what was found, in its words."""
    verdict, reason = found.conclusion
    result = found.result
    return Report(
        verdict=verdict,
        reason=wording.said(reason),
        causes=wording.all(result.causes),
        entries=result.entries,
        evaluations=evaluations,
        noise=found.noise,
        detection_limit=found.detection_limit,
        strategy="exhaustive",
        backend=_backend.backend,
        seed=seed,
        seconds=seconds,
        curve=result.curve,
        steps=found.steps,
        rtol=result.rtol,
        atol=result.atol,
        structure=layout.structure,
        derivative=derivative,
    )
