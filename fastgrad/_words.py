"""Nouns and verbs as English says them: one entry agrees, two entries agree, an int."""

from __future__ import annotations

__all__ = ["counted", "verb", "with_article"]

_SINGULAR = {"are": "is", "were": "was", "have": "has"}


def counted(n: int, noun: str) -> str:
    """``1 entry``, ``2,000 entries``."""
    if n == 1:
        return f"1 {noun}"
    many = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{n:,} {many}"


def verb(n: int, plural: str) -> str:
    """The form of a verb for `n` subjects, from that for many."""
    return plural if n != 1 else _SINGULAR.get(plural, f"{plural}s")


def with_article(noun: str) -> str:
    """``an int``, ``a float``: by the first letter, which is right for the names of types."""
    return f"{'an' if noun.startswith(tuple('aeioAEIO')) else 'a'} {noun}"
