"""`Estimate`, what `estimate` returns: in the structure of the derivative, and shown."""

# Without `annotations` from `__future__`, for the reason given in `_report/causes.py`.

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._derivatives.many_steps import Outcome
from fastgrad._derivatives.surroundings import Surroundings
from fastgrad._evaluation.protocol import Evaluator
from fastgrad._evaluation.selected import Selection
from fastgrad._leaf import Leaf, entry_path
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._tree import Params, unflatten
from fastgrad._words import counted

__all__ = ["Columns", "Estimate", "assemble", "columns_of"]

# What is known of an entry, from good to bad: of the parts of a complex number the worse one is
# told. Each with the sentence that explains it.
_STATUSES = {
    "converged": "known to the tolerance",
    "flat": "`f` did not move at any step; the derivative is 0 within the error bar",
    "noisy": "the noise of `f`, or rounding, allows no smaller error bar",
    "kink": "the one-sided derivatives differ; the value is their mean",
    "divergent": "differences have no limit: a jump, a steep edge, or noise beyond measure",
    "not finite": "a parameter, or the value of `f` there or on either side, is not finite",
    "left out": "`where` chose other entries",
}
_CONVERGED, _FLAT, _NOISY, _KINK, _DIVERGENT, _NOT_FINITE, _LEFT_OUT = range(len(_STATUSES))
_NAMES = np.array(list(_STATUSES))
# Rows of a table that is printed.
_MOST_ROWS = 20
# Digits that are shown beyond the error bar, and at most and least.
_MORE_DIGITS, _MOST_DIGITS, _LEAST_DIGITS = 1, 17, 2


@dataclass(frozen=True, eq=False)
class _Block:
    """Derivatives of one array that `f` returns by one parameter array, for printing."""

    output: str  # path; empty for one real number
    output_shape: tuple[int, ...]
    leaf: str
    leaf_shape: tuple[int, ...]
    value: np.ndarray
    uncertainty: np.ndarray
    codes: np.ndarray

    def name(self, k: int) -> str:
        """Path of an entry in C order."""
        index = np.unravel_index(k, self.output_shape + self.leaf_shape)
        split = len(self.output_shape)
        name = entry_path(self.leaf, index[split:])
        return f"{entry_path(self.output, index[:split])} / {name}" if self.output else name


@dataclass(frozen=True, repr=False, eq=False)
class Estimate:
    """Derivatives with error bars, as `estimate` returns them.

    Attributes but the last four have the structure of the derivative: see `estimate`. Arrays are
    of float64, or complex128.

    Attributes
    ----------
    value : number, array or nest of arrays
        The derivatives; at a kink the mean of both sides. NaN where `f` is not finite, and where
        `where` left an entry out. By an entry of a complex array ``df/dRe + 1j * df/dIm``.
    uncertainty : the same structure, real
        Error bars: bounds on the distance of each value from the exact derivative. At a kink they
        reach both one-sided derivatives. Infinite where no limit was found, `f` is not finite, or
        an entry was left out.
    status : the same structure, of str
        ``"converged"``: known to the tolerance. ``"flat"``: `f` did not move at any step.
        ``"noisy"``: noise or rounding allow no smaller error bar. ``"kink"``: the one-sided
        derivatives differ. ``"divergent"``: differences have no limit. ``"not finite"``: the
        parameter, or the value of `f` there or on either side of it, is not finite.
        ``"left out"``: by `where`.
    forward, backward : the same structure
        The derivatives on either side: they differ at a kink, and one is NaN at the edge of the
        domain of `f`, or at a bound.
    converged : bool
        Whether all entries that were not left out are ``"converged"`` or ``"flat"``. One that is
        flat counts where a change of `rtol` times the value of `f`, over the entry's length
        ``max(1, |x|)``, would have been seen.
    evaluations : int
        How often `f` was evaluated.
    noise : number, array or nest of arrays
        Standard deviation of the noise in each number that `f` returns, in the structure of what it
        returns.
    raised : str
        The first exception of `f` at a moved point, in words; empty without one.

    Examples
    --------
    >>> import math, fastgrad as fg
    >>> found = fg.estimate(math.exp, 0.0)
    >>> bool(abs(found.value - 1) <= found.uncertainty), found.status, found.converged
    (True, 'converged', True)
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    value: Any
    uncertainty: Any
    status: Any
    forward: Any
    backward: Any
    converged: bool
    evaluations: int
    noise: Any
    raised: str
    _blocks: tuple[_Block, ...]

    def __repr__(self) -> str:
        count = whole = sum(block.value.size for block in self._blocks)
        count -= sum(int((block.codes == _LEFT_OUT).sum()) for block in self._blocks)
        if count == whole == 1:
            (block,) = (each for each in self._blocks if each.value.size)
            value, bar = _with_bar(block.value.item(), block.uncertainty.item())
            said = f"{value} ± {bar}, {_NAMES[block.codes.item()]}"
        else:
            said = f"{count:,} of " * (count < whole) + counted(whole, "entry")
            told = {name: int(n) for name, n in _counts(self._blocks) if n}
            said += "".join(f", {n} {name}" for name, n in told.items())
        return f"Estimate({said}, {counted(self.evaluations, 'evaluation')})"

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def _counts(blocks: Sequence[_Block]) -> Iterator[tuple[str, int]]:
    """How many entries have each status."""
    for code, name in enumerate(list(_STATUSES)[:_LEFT_OUT]):
        yield name, sum(int((block.codes == code).sum()) for block in blocks)


def _with_bar(value: complex, bar: float) -> tuple[str, str]:
    """A value with the digits that its error bar leaves, and the bar."""
    digits = _LEAST_DIGITS
    if bar == 0:
        digits = _MOST_DIGITS
    elif 0 < bar < abs(value) < math.inf:
        digits += max(math.ceil(math.log10(abs(value) / bar)) - 1 + _MORE_DIGITS, 0)
    return f"{value:.{min(digits, _MOST_DIGITS)}g}", f"{bar:.2g}"


def _lines(found: Estimate) -> Iterator[str]:
    """The printed estimate: a row for each entry, the worst first if there are many."""
    yield repr(found)
    codes = np.concatenate([block.codes.ravel() for block in found._blocks] or [np.empty(0, int)])
    meant = chosen = np.flatnonzero(codes != _LEFT_OUT)
    if len(meant) > _MOST_ROWS:
        chosen = np.sort(meant[np.argsort(-codes[meant], kind="stable")[:_MOST_ROWS]])
    cells = [("", "value", "uncertainty", "status")]
    starts = np.cumsum([0, *(block.codes.size for block in found._blocks)])
    for at in chosen.tolist():
        number = int(np.searchsorted(starts, at, side="right")) - 1
        block, k = found._blocks[number], at - int(starts[number])
        value, bar = _with_bar(block.value.flat[k].item(), block.uncertainty.flat[k].item())
        cells.append((block.name(k), value, bar, str(_NAMES[codes[at]])))
    if len(cells) > 1:
        widths = [max(len(row[i]) for row in cells) for i in range(3)]
        for row in cells:
            name, value, bar = (cell.ljust(w) for cell, w in zip(row, widths, strict=False))
            yield f"  {name}  {value}  {bar}  {row[3]}"
    if len(meant) > len(chosen):
        yield f"  ... and {counted(len(meant) - len(chosen), 'entry')} more"
    for code in np.unique(codes[(codes > _FLAT) & (codes < _LEFT_OUT)]).tolist():
        yield f"{_NAMES[code]}: {_STATUSES[str(_NAMES[code])]}"
    if found.raised:
        yield f"`f` raised at a moved point: {found.raised}"


_FIELDS = ("value", "uncertainty", "codes", "forward", "backward")


class Columns:
    """Derivatives of all outputs by the real numbers of one leaf: arrays of shape (n, m).

    Where some of these were chosen, `found` holds them alone.
    """

    def __init__(self, leaf: Leaf, found: Outcome, chosen: np.ndarray | None) -> None:
        self._path, self._shape, self._is_complex = leaf.path, leaf.array.shape, leaf.is_complex
        half_gap = np.where(found.kink, np.abs(found.forward - found.backward) / 2, 0.0)
        bar = np.where(np.isnan(found.bound), np.inf, found.bound + half_gap)
        codes = _codes(found)
        columns: tuple[np.ndarray, ...] = (found.value, bar, codes, found.forward, found.backward)
        if chosen is not None:
            blanks = (np.nan, np.inf, _LEFT_OUT, np.nan, np.nan)
            columns = tuple(
                _spread(column, chosen, leaf.real.size, blank)
                for column, blank in zip(columns, blanks, strict=True)
            )
        self.met = bool(found.met.all())
        self._columns = dict(zip(_FIELDS, columns, strict=True))

    def shaped(self, name: str, out: OutputLeaf) -> np.ndarray:
        """One of them for one array that `f` returns: of shape ``out.shape + leaf.shape``."""
        part = self._columns[name][:, out.start : out.stop]
        if out.is_complex:
            part = _joined(name, part[:, ::2], part[:, 1::2])
        if self._is_complex:
            part = _joined(name, part[::2], part[1::2])
        return np.ascontiguousarray(part.T).reshape(out.shape + self._shape)

    def block(self, out: OutputLeaf, outputs: Outputs) -> _Block:
        """The same for printing."""
        three = (self.shaped(name, out) for name in _FIELDS[:3])
        output = "" if outputs.is_number else out.path
        return _Block(output, out.shape, self._path, self._shape, *three)


def _spread(column: np.ndarray, chosen: np.ndarray, size: int, blank: float) -> np.ndarray:
    """The rows of some entries among those of all."""
    wide = np.full((size, *column.shape[1:]), blank, column.dtype)
    wide[chosen] = column
    return wide


def columns_of(
    leaves: Sequence[Leaf], selection: Selection | None, outcomes: Sequence[Outcome]
) -> list[Columns]:
    """What was found of the chosen entries, for each leaf."""
    return [
        Columns(leaf, found, None if selection is None else selection.chosen(k))
        for k, (leaf, found) in enumerate(zip(leaves, outcomes, strict=True))
    ]


def _codes(found: Outcome) -> np.ndarray:
    """The status of each entry, as its number."""
    choices = [
        (np.isnan(found.value), _NOT_FINITE),
        (found.kink, _KINK),
        (~np.isfinite(found.bound), _DIVERGENT),
        (~found.moves, _FLAT),
        (found.met, _CONVERGED),
    ]
    return np.select([each for each, _ in choices], [code for _, code in choices], _NOISY)


def _joined(name: str, real: np.ndarray, imaginary: np.ndarray) -> np.ndarray:
    """What is said of a complex number, from what is said of its parts."""
    if name == "uncertainty":
        return np.asarray(np.hypot(real, imaginary))
    if name == "codes":
        worse = np.maximum(real, imaginary)
        # A number of which one part stands still moves as the other one does.
        return np.where((worse == _FLAT) & (real != imaginary), _CONVERGED, worse)
    return np.asarray(real + 1j * imaginary)


def assemble(
    run: Evaluator,
    argument: Params,
    outputs: Outputs,
    columns: Sequence[Columns],
    around: Surroundings,
    *,
    is_number: bool,
) -> Estimate:
    """Put together what was found of each leaf; `is_number`: the parameter was a number."""

    def nest(name: str, make: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Any:
        def of(out: OutputLeaf) -> Any:
            arrays = [make(each.shaped(name, out)) for each in columns]
            if is_number and not out.shape:
                return arrays[0].item()
            return unflatten(argument, iter(arrays))

        each = map(of, outputs.leaves)
        return next(each) if outputs.is_number else outputs.tree(each)

    return Estimate(
        nest("value"),
        nest("uncertainty"),
        nest("codes", _NAMES.__getitem__),
        nest("forward"),
        nest("backward"),
        converged=all(each.met for each in columns),
        evaluations=run.evaluations,
        noise=_noise(around, outputs),
        raised=run.raised,
        _blocks=tuple(each.block(out, outputs) for out in outputs.leaves for each in columns),
    )


def _noise(around: Surroundings, outputs: Outputs) -> Any:
    """The noise, in the structure of what `f` returns."""

    def of(out: OutputLeaf) -> Any:
        part = around.noise[out.start : out.stop]
        if out.is_complex:
            part = np.hypot(part[::2], part[1::2])
        return part.reshape(out.shape) if out.shape else part.item()

    each = map(of, outputs.leaves)
    return next(each) if outputs.is_number else outputs.tree(each)
