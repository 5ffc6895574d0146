"""The kernel's functions in plain Python and NumPy: contract, fallback and type stub in one.

`src/_kernel.pyx` has the same names and signatures and gives the same results to the last bit.
With either backend these functions serve the arrays that the kernel cannot: float16, longdouble,
byte-swapped and unaligned ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad import _errors
from fastgrad._memory import (
    Fingerprint,
    all_same,
    any_changed,
    bounds,
    checksum,
    copied,
    is_native,
    is_plain,
    lock,
    locks,
    next_key,
    undo,
)
from fastgrad._outputs import Outputs
from fastgrad._reference_batch import doubtful_entries, small_batch
from fastgrad._reference_beside import held_up_to, third_differences, values_beside
from fastgrad._reference_coloring import color, holds_group, move_group, order_of_rows, spread
from fastgrad._reference_first import (
    agreeing,
    agreement,
    first_bounds,
    first_factors,
    has_tiny,
    odd_moves,
    odd_table,
    steepest,
    survey,
)
from fastgrad._reference_look import first_look, plain_layout, same_bits, take
from fastgrad._reference_loop import (
    central_samples,
    differentiate,
    differentiate_vectors,
    forgiving,
    native_differentiate,
    native_differentiate_vectors,
    native_sample,
    sample,
)
from fastgrad._reference_many import (
    displace,
    draw,
    draw_factors,
    drop_infinities,
    first_differences,
    gather,
    largest_size,
    norm_error,
    quotients,
    scatter,
    shift,
    slope_square,
)
from fastgrad._reference_noise import heights, noise_of, noise_table, relative_step
from fastgrad._reference_steps import estimates, hidden_by_noise, settled, verdicts
from fastgrad._returns import as_scalar, at_base

if TYPE_CHECKING:
    from fastgrad._leaf import Leaf
    from fastgrad._stencils import Stencil, Steps

__all__ = [
    "Fingerprint",
    "agreeing",
    "agreement",
    "all_same",
    "any_changed",
    "bounds",
    "central_samples",
    "checksum",
    "color",
    "copied",
    "differentiate",
    "differentiate_vectors",
    "displace",
    "draw",
    "draw_factors",
    "drop_infinities",
    "estimates",
    "first_bounds",
    "first_differences",
    "first_factors",
    "first_look",
    "forgiving",
    "gather",
    "has_tiny",
    "heights",
    "held_up_to",
    "hidden_by_noise",
    "holds_group",
    "is_native",
    "is_plain",
    "largest_size",
    "move_group",
    "native_differentiate",
    "native_differentiate_vectors",
    "native_sample",
    "noise_of",
    "noise_table",
    "norm_error",
    "odd_moves",
    "odd_table",
    "order_of_rows",
    "plain_layout",
    "quotients",
    "relative_step",
    "same_bits",
    "sample",
    "scatter",
    "settled",
    "shift",
    "slope_square",
    "small_batch",
    "small_gradient",
    "small_gradients",
    "small_jacobian",
    "spread",
    "steepest",
    "survey",
    "take",
    "third_differences",
    "values_beside",
    "verdicts",
]


def small_gradient(
    f: Callable[[Any], Any],
    leaf: Leaf,
    stencil: Stencil,
    steps: Steps,
    native: bool,
    known: Any = None,
) -> tuple[np.ndarray, bool, Any]:
    """Gradient of ``f(array)`` for one small plain array, guarded, and whether it is in doubt.

    And the value of `f` at the array, where it is known or was needed. `native` says that `f` is
    native, for which the compiled kernel has a loop of its own. In doubt are derivatives that are
    no numbers, and those of `small` or `large` entries: see `Steps`.
    """
    (out,), doubt, base = small_gradients(f, leaf.array, [leaf], stencil, [steps], known)
    return out, doubt, base


def small_gradients(
    f: Callable[[Any], Any],
    argument: Any,
    leaves: list[Leaf],
    stencil: Stencil,
    steps: list[Steps],
    known: Any = None,
) -> tuple[list[np.ndarray], bool, Any]:
    """The same by a few small plain arrays, which `f` finds in its argument.

    No two of them may share memory: see `plain_layout`.
    """
    arrays = [leaf.array for leaf in leaves]
    found: list[Fingerprint] = []
    saved: list[np.ndarray] = []
    results: list[np.ndarray] = []
    written, doubt, key = None, False, next_key()
    try:
        lock(key, arrays)
        # Not before: another thread's moves would be taken for the values.
        saved = [array.copy() for array in arrays]
        found = list(map(Fingerprint, arrays))
        base = 0.0
        if stencil.uses_base:
            base = as_scalar(f(argument) if known is None else known, at_base, 0)
        for leaf, each, step in zip(leaves, found, steps, strict=True):
            if each.changed():
                raise _errors.moved_error(leaf.path)
            out = np.empty_like(leaf.array)
            differentiate(f, argument, leaf, stencil, step, base, out, 0, out.size)
            doubt |= doubtful_entries(leaf.array, out, step)
            results.append(out)
        for leaf, each in zip(leaves, found, strict=True):
            if each.changed():  # also while others moved
                raise _errors.moved_error(leaf.path)
    finally:
        try:
            for leaf, each, bits in zip(leaves, found, saved, strict=False):
                error = undo(leaf.path, each, bits)
                written = written or error
        finally:
            locks.pop(key, None)  # inline: a Ctrl-C could come in between a call and its body
    if written is not None:
        raise written
    return results, doubt, base if stencil.uses_base else known


def small_jacobian(
    f: Callable[[Any], Any], leaf: Leaf, stencil: Stencil, steps: Steps, native: bool
) -> tuple[Any, np.ndarray | None]:
    """What `f` returns at one small plain array, and rows of derivatives, guarded.

    The rows are those of `differentiate_vectors`; None unless `f` returns a plain array that is no
    coarser than its input, for which these are the steps.
    """
    array = leaf.array
    out = written = found = None
    key = next_key()
    try:
        lock(key, (array,))
        saved = array.copy()  # not before: another thread's moves would be taken for the values
        found = Fingerprint(array)
        first = f(array)
        if found.changed():
            raise _errors.moved_error(leaf.path)
        plain = type(first) is np.ndarray and is_native(first) and first.flags.c_contiguous
        if plain and first.itemsize >= array.itemsize:
            outputs = Outputs.of(first)
            base = outputs.flat(first, at_base, 0) if stencil.uses_base else None
            out = np.empty((array.size, first.size))
            how = (base, out, 0, array.size, 0, outputs)
            differentiate_vectors(f, array, leaf, stencil, steps, *how)
    finally:
        try:
            if found is not None:
                written = undo(leaf.path, found, saved)
        finally:
            locks.pop(key, None)  # inline: a Ctrl-C could come in between a call and its body
    if written is not None:
        raise written
    return first, out
