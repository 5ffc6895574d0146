"""Nouns and verbs for one and for many."""

import pytest

from fastgrad._words import counted, verb, with_article


@pytest.mark.parametrize(
    ("n", "noun", "said"),
    [
        (0, "entry", "0 entries"),
        (1, "entry", "1 entry"),
        (2_000, "entry", "2,000 entries"),
        (1, "evaluation", "1 evaluation"),
        (3, "array", "3 arrays"),
        (3, "kink", "3 kinks"),
    ],
)
def test_one_and_many(n, noun, said):
    assert counted(n, noun) == said


@pytest.mark.parametrize(
    ("n", "plural", "said"),
    [
        (1, "disagree", "disagrees"),
        (2, "disagree", "disagree"),
        (1, "were", "was"),
        (0, "are", "are"),
    ],
)
def test_verbs_agree_with_their_subjects(n, plural, said):
    assert verb(n, plural) == said


@pytest.mark.parametrize(
    ("noun", "said"),
    [("int", "an int"), ("float", "a float"), ("object", "an object"), ("uint8", "a uint8")],
)
def test_articles(noun, said):
    assert with_article(noun) == said
