"""The checker on the whole corpus: false alarms, misses, wrongly named entries, wrong causes."""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from functools import cache

import numpy as np
import pytest

import fastgrad as fg
from corpus import bugs, problems, public_bugs
from corpus.base import leaves
from fastgrad import Cause, Verdict

# Gradients that are zero everywhere where f does not move: nothing can be told, and that is said.
BLIND = {"near_miss_dead_units", "near_miss_all_gradients_zero"}


def available(items, backend):
    """What can be run here; on the pure backend a sixth of it, to save time."""
    missing = cache(lambda name: importlib.util.find_spec(name) is None)
    # A sixth of all, so that it is the same ones whatever is installed.
    chosen = items if backend == "compiled" else items[::6]
    return [item for item in chosen if not any(map(missing, item.requires))]


def checked(item, **options):
    case = item.make()
    before = [leaf.tobytes() for _, leaf in leaves(case.params)]
    with np.errstate(all="ignore"):
        report = fg.check_gradient(case.f, case.grad, case.params, **options)
    assert [leaf.tobytes() for _, leaf in leaves(case.params)] == before, item.name
    return report


def named_wrong(report):
    """The entries called wrong as one column; of a complex entry it is enough that a part is."""
    columns = []
    for block in report.entries.spans:
        wrong = report.entries.codes[block.start : block.stop] == Verdict.WRONG.code
        columns.append(wrong.reshape(-1, 2).any(axis=1) if block.is_complex else wrong)
    return np.concatenate(columns)


def planted_wrong(bug):
    return np.concatenate([np.asarray(mask).ravel() for _, mask in leaves(bug.mask())])


@pytest.fixture(scope="module")
def correct():
    """Reports on correct gradients, by backend."""
    return cache(lambda backend: {p: checked(p) for p in available(problems(), backend)})


@pytest.fixture(scope="module")
def planted():
    """Reports on planted bugs, by backend."""
    return cache(
        lambda backend: {b: checked(b) for b in available(bugs() + public_bugs(), backend)}
    )


@pytest.fixture(scope="module")
def probed_bugs():
    """Reports on the same, of probing only."""
    return cache(lambda backend: {b: probed(b) for b in available(bugs() + public_bugs(), backend)})


def test_no_false_alarm(correct, backend):
    reports = correct(backend)
    assert [p.name for p, r in reports.items() if r.verdict is Verdict.WRONG] == []
    undecided = {p.name for p, r in reports.items() if r.verdict is Verdict.CANNOT_TELL}
    assert undecided <= BLIND
    assert len(undecided) <= 0.02 * len(problems())


def test_kinks_are_labelled_where_there_are_some(correct, backend):
    for problem, report in correct(backend).items():
        kinks = {cause.kind for cause in report.causes}
        assert kinks == ({Cause.KINK} if problem.kinks else set()), problem.name


def test_economy(correct, backend):
    """Two evaluations per entry and at most twenty, but where steps must be sought."""
    extra = {p: r.evaluations - 2 * len(r.entries) for p, r in correct(backend).items()}
    smooth = [more for p, more in extra.items() if not p.kinks and p.family != "kinks"]
    assert np.median(smooth) <= 10
    assert np.mean(np.array(smooth) > 20) <= 0.03
    assert max(smooth) <= 80


def test_no_miss(planted, backend):
    missed = [bug.name for bug, report in planted(backend).items() if not is_wrong(report)]
    assert missed == []


def is_wrong(report):
    return report.verdict is Verdict.WRONG


def test_exactly_the_planted_entries_are_named(planted, backend):
    off = [
        bug.name
        for bug, report in planted(backend).items()
        if not np.array_equal(named_wrong(report), planted_wrong(bug))
    ]
    assert off == []


def test_cause_is_named(planted, backend):
    verdicts = Counter()
    for bug, report in planted(backend).items():
        said = report.causes[0].kind.name
        none = said in ("UNKNOWN", "NEARBY")
        verdicts["right" if said == bug.cause else "none" if none else "wrong"] += 1
    assert verdicts["none"] <= 3
    assert verdicts["wrong"] <= 1
    assert verdicts["right"] >= 0.98 * verdicts.total()


def test_every_finding_says_where_and_what(planted, backend):
    for report in planted(backend).values():
        spoilt = {leaf.path for leaf in report.leaves if leaf.wrong}
        told = [(f.leaf, *f.evidence.get("leaves", ())) for f in report.causes]
        assert {leaf for leaves in told for leaf in leaves} == spoilt
        assert all(re.search(rf"`{re.escape(f.leaf)}[`\[]", f.sentence) for f in report.causes)
        assert all(f.place.startswith(f.leaf) or f.leaf in f.place for f in report.causes)
        assert re.search(r"\d of [\d,]+ entries disagrees?; (it|the worst) is ", report.reason)


# ---------------------------------------------------------- the same problems, but only probed


def probed(item):
    return checked(item, strategy="probe")


def test_probing_raises_no_false_alarm(backend):
    reports = {p.name: probed(p) for p in available(problems(), backend)}
    assert [name for name, r in reports.items() if r.verdict is Verdict.WRONG] == []
    # Kinks and edges of the domain can often not be judged along directions.
    assert np.mean([r.verdict is Verdict.CANNOT_TELL for r in reports.values()]) <= 0.1


def test_probing_misses_nothing_above_its_limit_and_names_no_right_entry(probed_bugs, backend):
    for bug, report in probed_bugs(backend).items():
        assert report.verdict is not Verdict.RIGHT, bug.name
        mask = dict(leaves(bug.mask()))
        for entry in report.wrong:
            path = entry.leaf if entry.leaf in mask else entry.leaf.removeprefix("params")
            assert np.asarray(mask[path])[entry.index], (bug.name, entry.path)


# What holds of the few entries that were found, where the cause is a relation of the whole leaf:
# a negative entry has the wrong sign, rows that are parallel are multiples of each other, and of
# some entries alone nobody knows whether they are orthogonal to the parameters.
OF_FEW = {
    "ABSOLUTE": {"SIGN", "ZERO"},
    "PERMUTED": {"FACTOR"},
    "SWAPPED": {"FACTOR"},
    "NORMALIZATION": {"MISSING_L2"},
}


def test_probing_names_no_wrong_cause(probed_bugs, backend):
    for bug, report in probed_bugs(backend).items():
        if report.causes and report.verdict is Verdict.WRONG:
            said = report.causes[0].kind.name
            true = {bug.cause, "UNKNOWN", "SINGLE", "NEARBY"} | OF_FEW.get(bug.cause, set())
            assert said in true, (bug.name, said)
