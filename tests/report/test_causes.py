"""Causes: each says what is wrong and what to do about it."""

import pickle

import pytest

import fastgrad as fg
from fastgrad._report.causes import Cause

pytestmark = pytest.mark.once


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_meaning_and_its_advice(cause):
    assert cause is fg.Cause(cause.value)
    assert cause is pickle.loads(pickle.dumps(cause))
    assert isinstance(cause.value, str)
    assert 10 < len(cause.advice) < 140
    others = {each.advice for each in Cause if each is not cause}
    assert cause.advice not in others or cause.name.startswith("MISSING_")


@pytest.mark.parametrize("cause", Cause)
def test_every_rendering_gives_the_advice(cause):
    import reports

    report = reports.make({"W": reports.leaf(2, factor=2)}, causes=[reports.finding("W", cause)])
    assert " ".join(str(report).split()).count("next: " + cause.advice.split(";")[0]) == 1
    page = report.to_html().replace("&#x27;", "'")
    assert f"<p>Next: {cause.advice}.</p>" in page
