"""The place of a finding as a mask over its leaf."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

_TEST = re.compile(
    r" where (its absolute value|the parameter|the right gradient) is "
    r"(?:(above|below) )?(negative|positive|[-+.\de]+)$"
)
# A threshold is printed with three digits, so values this close to it may lie on either side.
PRINTED = 5e-3


def mask_of(finding: Any, x: np.ndarray, g: np.ndarray) -> np.ndarray | None:
    """The entries of a place, in the shape of the leaf; None where it is a list or unknown.

    Entries beside a printed threshold count as inside, for their place is not certain.
    """
    if not finding.place.startswith(finding.leaf):
        return None
    rest = finding.place[len(finding.leaf) :]
    if not rest:
        return np.ones(x.shape, dtype=bool)
    if found := _TEST.match(rest):
        return _tested(found, x, g)
    if rest.endswith(" the diagonal") and x.ndim == 2:
        return _beside_diagonal(rest, x)
    if rest.startswith(" at "):
        parts = [_indexed(part, x) for part in re.findall(r"\[[^\]]*\]", rest)]
        return np.any([part for part in parts if part is not None], axis=0) if parts else None
    return _indexed(rest, x)


def _tested(found: re.Match[str], x: np.ndarray, g: np.ndarray) -> np.ndarray:
    name, side, word = found.groups()
    if word in ("negative", "positive"):
        return g < 0 if word == "negative" else g > 0
    values = np.abs(x) if name == "its absolute value" else x.real
    limit = float(word)
    slack = PRINTED * abs(limit)
    if side == "above":
        return np.asarray(values >= limit - slack)
    if side == "below":
        return np.asarray(values <= limit + slack)
    return np.asarray(np.abs(values - limit) <= slack)


def _beside_diagonal(rest: str, x: np.ndarray) -> np.ndarray | None:
    row, column = np.arange(x.shape[0])[:, None], np.arange(x.shape[1])
    masks = {"on": row == column, "off": row != column, "above": row < column}
    return {**masks, "below": row > column}.get(rest.split()[0])


def _indexed(text: str, x: np.ndarray) -> np.ndarray | None:
    """``[2, 3:5]``, ``[1::2]``, ``[[0, 2], :]``; nothing else is understood."""
    if not re.fullmatch(r"\[[\d:,\[\] -]*\]", text):
        return None
    mask = np.zeros(x.shape, dtype=bool)
    lists = re.findall(r"\[[\d, ]+\]|[^,\[\]]+", text[1:-1])
    index: list[Any] = []
    for part in (each.strip() for each in lists):
        if part.startswith("["):
            index.append([int(each) for each in part[1:-1].split(",")])
        elif ":" in part:
            index.append(slice(*(int(each) if each else None for each in part.split(":"))))
        elif part:
            index.append(int(part))
    try:
        mask[tuple(index)] = True
    except IndexError:
        return None
    return mask
