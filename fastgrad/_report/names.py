"""Names of parameter arrays in few columns: what is common is left out, and what differs is kept.

A shortened name has ``...`` where something was left out. Read as a pattern, with anything in the
place of the dots that cuts no number in two, it is the name of one array and of no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastgrad._report.format import printable, shorten, width

__all__ = ["NAME", "Names", "names_of"]

NAME = 32  # columns of a name where there is room, the same in all parts of a report
_GAP = "..."
# Words of a name longer than this many columns are cut at underscores, digits and capitals, and
# what is still longer after this many columns: parts of them may differ.
_LONG_WORD = 16
# A name may take so many columns more than it is given, rather than be that of two arrays: a line
# of 80 columns then has at most 120. Half of them buy its last word.
_MORE = 40
# Names from which a word is seen to tell, before it is tried on all; and words in a row that tell
# from none of them, after which it is given up.
_SAMPLE, _FRUITLESS = 64, 3
_KEY_ENDS = ("']", '"]')


class Names:
    """The names of the arrays of one report, each as short as is asked for."""

    def __init__(self, paths: Iterable[str], most: int = NAME) -> None:
        self.most = most  # columns, where nothing else is asked for
        self._all = [printable(path) for path in paths]
        self._known: dict[tuple[str, int], str] = {}

    def short(self, path: str, most: int | None = None) -> str:
        """The name in `most` columns, or in a few more where fewer would not tell it apart."""
        path, most = printable(path), self.most if most is None else most
        if width(path) <= most:
            return path
        found = self._known.get((path, most))
        if found is None:
            found = self._known[path, most] = self._shortened(path, most)
        return found

    def entry(self, path: str, leaf: str, room: int, output: str | None = None) -> str:
        """The name of an entry in `room` columns: that of its array, and its index in full."""
        if output is None:
            index = printable(path[len(leaf) :])
            return self.short(leaf, max(min(self.most, room - width(index)), 4)) + index
        if width(printable(path)) <= room:
            return printable(path)
        index = path[len(f"{output} / {leaf}") :]
        left = max(room - width(index) - len(" / "), 8)
        output = shorten(output, max(left // 2, left - width(leaf)))
        return f"{output} / {shorten(leaf, max(left - width(output), 4))}{printable(index)}"

    def within(self, text: str) -> str:
        """A text in which the long names of arrays are shortened."""
        text, most = printable(text), self.most
        # Longest first: a name may begin with another one.
        long = sorted((p for p in set(self._all) if width(p) > most and p in text), key=len)
        if not long:
            return text
        pattern = "|".join(map(re.escape, reversed(long)))
        return re.sub(pattern, lambda found: self.short(found[0]), text)

    def _shortened(self, path: str, most: int) -> str:
        others = [other for other in self._all if other != path]
        if not others:
            return shorten(path, most)
        tokens = _tokens(path)
        words = [i for i, token in enumerate(tokens) if _is_word(token)] or [len(tokens) - 1]
        # With its last word, which says what it is; without it where that takes too much.
        found = []
        for begin in ({words[-1]}, set[int]()):
            kept = _telling(tokens, others, begin)
            if kept is not None and width(_join(tokens, kept)) <= most:
                return _join(tokens, _filled(tokens, kept, words, most))
            found.append(kept)
        for kept, more in zip(found, (_MORE / 2, _MORE), strict=True):
            if kept is not None and width(_join(tokens, kept)) <= most + more:
                return _join(tokens, kept)
        # The last resort, as for names that differ in their length alone: the array's number.
        number = f" #{self._all.index(path) + 1}"
        return shorten(path, max(most - len(number), 4)) + number


def names_of(report: Mapping[str, Any], most: int = NAME) -> Names:
    """The names of the arrays of a report, from the values of `Report.to_dict`."""
    return Names((leaf["path"] for leaf in report["leaves"]), most)


def _tokens(path: str) -> list[str]:
    """A path as words and single separators, long words in pieces.

    ``params['`` is one word, and so is the index in ``layers[3]``.
    """
    tokens = []
    for word in re.findall(r"^\w+\[['\"]|\[\d+\]|\w+|\W", path):
        if width(word) <= _LONG_WORD:
            tokens.append(word)
            continue
        for part in re.findall(r"_+|\d+|[^\W\d_][^\W\d_A-Z]*", word) or [word]:
            size = len(part) if part.isdigit() else _LONG_WORD // 2  # no number is cut in two
            tokens += [part[i : i + size] for i in range(0, len(part), size)]
    return tokens


def _is_word(token: str) -> bool:
    return any(character.isalnum() or character == "_" for character in token)


def _telling(tokens: Sequence[str], others: Sequence[str], begin: set[int]) -> set[int] | None:
    """Tokens, few of them and `begin` among them, that tell a name from others; None if none do."""
    kept = set(begin)
    left = _like(_join(tokens, kept), others)
    fruitless = 0
    while left and fruitless < _FRUITLESS:
        # What tells a name from many others tells it from most of some of them.
        some = left[:: -(-len(left) // _SAMPLE)]
        counts = {
            i: len(_like(_join(tokens, kept | {i}), some))
            for i, token in enumerate(tokens)
            if i not in kept and token != "."  # which would be lost among the dots
        }
        if not counts:
            break
        kept.add(min(counts, key=lambda i: (counts[i], not _is_word(tokens[i]), -i)))
        remain = _like(_join(tokens, kept), left)
        fruitless = fruitless + 1 if len(remain) == len(left) else 0
        left = remain
    return None if left else kept


def _numbers(token: str) -> bool:
    """Whether it is a number, and says little without the word before it."""
    return token.strip("[]").isdigit()


def _filled(tokens: Sequence[str], kept: set[int], words: Sequence[int], most: int) -> set[int]:
    """More tokens for the room that is left: the most telling first."""
    before = [words[k - 1] for k, i in enumerate(words) if k and i in kept and _numbers(tokens[i])]
    for i in (words[-1], *before, words[0], *reversed(words)):
        if width(_join(tokens, kept | {i})) <= most:
            kept = kept | {i}
    return kept


def _join(tokens: Sequence[str], kept: set[int]) -> str:
    """The kept tokens in order, with dots for the others where that is shorter."""
    said, gap = [], ""
    for i, token in enumerate([*tokens, ""]):
        if i < len(tokens) and i not in kept:
            gap += token
            continue
        said.append(gap if width(gap) <= len(_GAP) else _GAP)
        said.append(token)
        gap = ""
    name = "".join(said)
    # The end of a key whose beginning is left out: ``...layers.2.weight`` without ``']``.
    return name[:-2] if name.startswith(_GAP) and name[-2:] in _KEY_ENDS else name


def _like(name: str, paths: Sequence[str]) -> list[str]:
    """The paths whose name a shortened name, read as a pattern, may be as well."""
    first, *rest = name.split(_GAP)
    if not rest:
        return [path for path in paths if path == name]
    *middle, last = rest
    ends = [last + end for end in ("", *_KEY_ENDS)]
    return [
        path
        for path in paths
        if path.startswith(first) and any(_fits(path, first, middle, end) for end in ends)
    ]


def _fits(path: str, first: str, middle: Sequence[str], last: str) -> bool:
    start, stop = len(first), len(path) - len(last)
    return (
        path.endswith(last)
        and _is_whole(path, 0, start)
        and _is_whole(path, stop, len(path))
        and _in_order(middle, path, start, stop)
    )


def _in_order(pieces: Sequence[str], path: str, at: int, stop: int) -> bool:
    """Whether the pieces follow each other there, each after something that is left out."""
    for piece in pieces:  # the leftmost place leaves most for the others
        found = path.find(piece, at + 1, stop)
        while found >= 0 and not _is_whole(path, found, found + len(piece)):
            found = path.find(piece, found + 1, stop)
        if found < 0:
            return False
        at = found + len(piece)
    return at < stop


def _is_whole(path: str, start: int, stop: int) -> bool:
    """Whether no number is cut where a part of a path begins and ends."""
    before, after = path[max(start - 1, 0) : start + 1], path[max(stop - 1, 0) : stop + 1]
    return start == stop or not (_is_number(before) or _is_number(after))


def _is_number(pair: str) -> bool:
    return len(pair) == 2 and pair.isdecimal()
