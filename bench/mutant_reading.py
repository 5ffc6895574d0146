"""What a cause says, as a relation and the entries of the vector in which it is said to hold."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from mutant_truth import Region, holds, index_of, partly

import fastgrad as fg

# Kinds that are about a place: without one that can be read, they name no whole array.
PLACES = ("SINGLE", "SLICE", "MASKED", "UNKNOWN")
_COUNTED = re.compile(r"([\d,]+) of [\d,]+ entries of ")


@dataclass(frozen=True)
class Data:
    """The claimed and the right gradient and what is known of them, as vectors."""

    claimed: np.ndarray
    right: np.ndarray
    params: np.ndarray
    floor: np.ndarray
    leaves: Mapping[str, np.ndarray]  # the numbers of a leaf's entries, in its shape

    @property
    def visible(self) -> np.ndarray:
        flags: np.ndarray = np.abs(self.claimed - self.right) > self.floor
        return flags

    def region(self, there: np.ndarray) -> Region:
        """The entries with these numbers, in the shape that the numbers have."""
        columns = (self.claimed, self.right, self.params, self.visible, self.floor)
        return Region(*(column[there] for column in columns), self.right)


@dataclass(frozen=True)
class Said:
    """A cause as read: `stated` marks the entries that it names, if its place can be read."""

    kind: str
    evidence: dict[str, Any]
    regions: tuple[Region, ...]
    stated: np.ndarray | None
    count: int = 0  # of entries that are only counted

    def is_true(self) -> bool:
        if self.count:
            return all(partly(self.kind, r, self.evidence, self.count) for r in self.regions)
        return all(holds(self.kind, r, self.evidence) for r in self.regions)


def read(finding: fg.Finding, data: Data) -> Said:
    """Relation and place of a finding."""
    evidence, kind = dict(finding.evidence), finding.kind.name
    named = [leaf for leaf in evidence.get("leaves", [finding.leaf]) if leaf in data.leaves]
    parts, counts = [], [0]
    for part in _parts(finding.place.replace("`", ""), named):
        if counted := _COUNTED.match(part):
            counts.append(int(counted[1].replace(",", "")))
        parts.append(_numbers(part, data, kind))
    if not parts or None in [each if each is None else 0 for each in parts]:
        # In words: the relation is tested where there are errors, nothing is known of the place.
        every = np.concatenate([data.leaves[leaf].ravel() for leaf in named])
        there = every if kind in PLACES else every[data.visible[every]]
        return Said(kind, evidence, (data.region(there),), None, max(counts))
    found = [each for each in parts if each is not None]
    stated = np.isin(np.arange(data.right.size), np.concatenate([each.ravel() for each in found]))
    return Said(kind, evidence, tuple(map(data.region, found)), stated)


def _parts(text: str, named: list[str]) -> list[str]:
    """A place in several leaves, or several in one, are listed one after the other."""
    starts = "|".join(re.escape(leaf) for leaf in named)
    return re.split(rf", (?={starts})", text)


def _numbers(part: str, data: Data, kind: str) -> np.ndarray | None:
    # The longest: one path may begin with another.
    leaf = max((leaf for leaf in data.leaves if part.startswith(leaf)), key=len, default=None)
    if leaf is None:
        return None
    words, numbers = part.removeprefix(leaf), data.leaves[leaf]
    if not words:
        return None if kind in PLACES else numbers
    index = index_of(words, numbers.shape)
    return None if index is None else np.asarray(numbers[index])
