"""Words and numbers in few characters, and advice for every cause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgrad._report.advice import advice
from fastgrad._report.format import compact, limit, number, printable, shorten, steps, width, wrap
from fastgrad._report.report import Cause

TEXT = st.text(max_size=300)


@given(TEXT, st.integers(8, 60))
def test_shortened_text_fits(text, most):
    short = shorten(text, most)
    assert width(short) <= most
    assert short.isprintable()


@given(TEXT, st.integers(12, 90), st.integers(1, 5))
def test_wrapped_lines_fit_and_are_few(text, most, lines):
    done = wrap(text, most, "  next: ", "    ", lines=lines)
    assert len(done) <= lines
    assert all(width(line) <= most for line in done)


@given(TEXT, st.integers(12, 90))
def test_wrapping_loses_nothing(text, most):
    joined = "".join(wrap(text, most, "", "", lines=10**6)).replace(" ", "")
    assert joined == "".join(printable(text).split()).replace(" ", "")


def test_both_ends_of_a_path_survive():
    short = shorten("network.blocks[12].attention.query.weight[3, 2]", 28)
    assert short.startswith("network.")
    assert short.endswith("weight[3, 2]")
    assert len(short) == 28


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("層", 2), ("e\u0301", 1), ("🙂", 2), ("", 0)]
)
def test_width_is_that_on_a_terminal(text, columns):
    assert width(text) == columns


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10k"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (1_230_000, "1.23M"),
        (5 * 10**9, "5G"),
        (10**13, "1e+13"),
    ],
)
def test_compact_counts(n, said):
    assert compact(n) == said


def test_numbers_that_are_not_finite_come_as_words():
    assert number("nan") == "nan"
    assert number(1 / 3, 2) == "0.33"


def test_steps_are_one_number_or_a_range():
    assert steps({"steps": []}) == ""
    assert steps({"steps": [1e-5, 1e-5]}) == ", relative step 1e-05"
    assert steps({"steps": [1e-3, 1e-5]}) == ", relative step 1e-05 to 0.001"


def test_a_limit_of_zero_is_none():
    report = {"n_unclear": 0, "n_judged": 3, "detection_limit": 0.0, "miss_probability": 0.0}
    assert limit({**report, "leaves": [{"blocks": []}]}) == "no entry could be judged"


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_its_advice(cause):
    said = advice(cause.name)
    assert len(said) < 140
    assert (said == advice("anything")) == (cause is Cause.UNKNOWN)
