"""Reports as text: one screen, 80 columns, whatever is in them."""

import pytest
import reports

import fastgrad as fg
from fastgrad._report.format import width
from fastgrad.demo import BUGS, iris_network

CAUSES = {
    "missing-mean": "FACTOR",
    "missing-l2": "MISSING_L2",
    "transposed": "TRANSPOSED",
    "bias-sum": "BROADCAST",
    "wrong-sign": "SIGN",
    "one-entry": "SINGLE",
}


@pytest.mark.parametrize(
    "name", ["right", "wrong", "unclear", "untested", "many", "infinite", "complex_leaf"]
)
def test_text_is_the_golden_one(name):
    reports.golden(f"{name}.txt", f"{reports.PLAIN[name]()}\n")


@pytest.mark.parametrize("name", reports.ALL)
def test_text_fits_one_screen(name):
    report = reports.ALL[name]()
    lines = str(report).splitlines()
    assert len(lines) <= 40
    # Numbers as wide as they get, and an index of ten axes, which is never cut.
    assert max(map(width, lines)) <= (90 if name == "extreme" else 80)
    assert all(line == line.rstrip() for line in lines)
    assert all(character.isprintable() for line in lines for character in line)
    assert lines[0].startswith(report.verdict.name.replace("_", " ") + ": ")


def test_a_usual_failure_fits_24_lines():
    assert len(str(reports.wrong()).splitlines()) <= 24


def test_a_pass_is_a_handful_of_lines():
    report = reports.make({f"layers[{i}].W": reports.leaf(3, 4) for i in range(300)})
    assert len(str(report).splitlines()) <= 8
    assert "300 parameters, among them: layers[0].W 3x4, " in str(report)


def test_verdict_then_cause_then_parameters_then_entries_then_the_run():
    text = str(reports.wrong())
    marks = [
        "WRONG: 12",
        "a factor 2 is missing",
        "next: ",
        "parameter ",
        "wrong entries",
        "kernel",
    ]
    places = [text.index(mark) for mark in marks]
    assert places == sorted(places)


@pytest.mark.parametrize("name", ["wrong", "unclear", "many"])
def test_text_says_what_is_needed_to_repeat_the_check(name):
    text = str(reports.PLAIN[name]())
    for said in ("exhaustive", "compiled kernel", "seed 0", "noise of f 1e-16", "step 6e-06"):
        assert said in text


def test_of_many_leaves_the_worst_are_shown_and_the_others_counted():
    text = str(reports.many())
    assert "and more: 200 right, 91 wrong" in text
    assert "and 97 more in report.causes" in text


def test_nothing_judged_claims_no_detection_limit():
    assert "no entry could be judged" in str(reports.untested())
    assert "in any one judged entry" in str(reports.unclear())


@pytest.mark.parametrize("bug", BUGS)
def test_the_demonstration_names_the_bug_it_was_given(bug, backend):
    problem = iris_network(bug)
    report = fg.check_gradient(problem.cost, problem.grad, problem.params)
    assert report.causes[0].kind.name == CAUSES[bug]
    first = str(report).split("likely cause\n  * ")[1]
    assert " ".join(first.split()).startswith(report.causes[0].sentence)
