"""Sentences about a gradient, said of a Jacobian.

Relations, places and reasons are found for arrays, whatever these hold. A block of a Jacobian is
such an array; here its entries get the names of an output and of a parameter, and the derivative
its own name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from fastgrad._report.causes import Finding
from fastgrad._report.entries import LeafSpan
from fastgrad._report.format import derivative_named

__all__ = ["Wording"]

# An index as `box_text` writes it: in brackets, with lists of rows in it.
_INDEX = r"(\[(?:[^\[\]]|\[[^\[\]]*\])*\])?"
_AXIS = re.compile(r"(each index of |along )axis (\d+)")
_SIDES = re.compile(r"\[[^\[\]]*\]|[^,\s]+")


class Wording:
    """The words for a derivative whose blocks are these."""

    def __init__(self, spans: Sequence[LeafSpan], derivative: str, claim: str) -> None:
        self.derivative, self._claim = derivative, claim
        self._by_path = {span.path: span for span in spans}
        # Longest first: a path may begin with another one.
        paths = sorted(self._by_path, key=len, reverse=True)
        self._named = re.compile(f"({'|'.join(map(re.escape, paths))}){_INDEX}")

    def said(self, text: str) -> str:
        """A sentence in these words."""
        if not self._by_path:
            return self._reworded(text)
        done, at = [], 0
        for found in self._named.finditer(text):
            done += [self._reworded(text[at : found.start()]), self._entry(found)]
            at = found.end()
        return "".join([*done, self._reworded(text[at:])])

    def all(self, findings: Iterable[Finding]) -> tuple[Finding, ...]:
        """Findings in these words."""
        return tuple(
            replace(each, sentence=self.said(self._with_axes(each)), place=self.said(each.place))
            for each in findings
        )

    def _with_axes(self, finding: Finding) -> str:
        """The sentence of a finding, with axes of a block as those of one of its two arrays."""
        span = self._by_path.get(finding.leaf)
        if span is None:
            return finding.sentence
        axes, whole = span.output_axes, len(span.shape)

        def named(found: re.Match[str]) -> str:
            axis = int(found[2])
            first, count = (0, axes) if axis < axes else (axes, whole - axes)
            array = f"`{span.output if axis < axes else span.leaf}`"
            if count > 1:
                return f"{found[1]}axis {axis - first} of {array}"
            return {"each index of ": "each entry of ", "along ": "along "}[found[1]] + array

        return _AXIS.sub(named, finding.sentence)

    def _entry(self, found: re.Match[str]) -> str:
        """``out / W[3, 2, 0]`` becomes ``out[3] / W[2, 0]``."""
        span, index = self._by_path[found[1]], found[2]
        if not index or not span.output_axes:
            return found[0]
        sides = _SIDES.findall(index[1:-1])
        if len(sides) != len(span.shape):  # words of the user's
            return found[0]
        mine, theirs = sides[: span.output_axes], sides[span.output_axes :]
        return f"{span.output}{_joined(mine)} / {span.leaf}{_joined(theirs)}"

    def _reworded(self, text: str) -> str:
        return derivative_named(text, self.derivative).replace("`grad`", f"`{self._claim}`")


def _joined(sides: Sequence[str]) -> str:
    """An index, or nothing where it is all of an array."""
    return f"[{', '.join(sides)}]" if any(side != ":" for side in sides) else ""
