"""The corpus itself: exact gradients are exact, planted errors are where their masks say."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from corpus import bugs, problems, public_bugs, split
from corpus.base import leaf_scale, leaves
from corpus.explain import explanations, of_entries
from corpus.verify import (
    COARSE,
    SINGLE_COST,
    complaints,
    derivative,
    longest_step,
    noise,
    one_sided,
    places,
    precision_of,
)

pytestmark = pytest.mark.once


def needs(item) -> None:
    for name in item.requires:
        pytest.importorskip(name)


def by_name(items):
    return [pytest.param(item, id=item.name) for item in items]


@pytest.mark.parametrize("problem", by_name([p for p in problems() if not p.kinks]))
def test_gradient_is_exact(problem):
    needs(problem)
    with np.errstate(all="ignore"):
        assert not list(complaints(problem.name, problem.make()))


@pytest.mark.parametrize("problem", by_name([p for p in problems() if p.kinks]))
def test_subgradient_lies_between_one_sided_quotients(problem):
    needs(problem)
    case = problem.make()
    params, _ = precision_of(case)
    kinked = 0
    for (leaf, index, _), claimed in places(case, params):
        low, high = one_sided(case.f, params, leaf, index)
        slack = 1e-6 * leaf_scale(claimed)
        assert low - slack <= claimed[index] <= high + slack, (index, low, claimed[index], high)
        kinked += high - low > 1e-3 * leaf_scale(claimed)
    assert kinked, "no entry sits at a kink"


BY_NAME = {problem.name: problem for problem in problems()}
ALL_BUGS = bugs() + public_bugs()


@cache
def exact_and_planted(bug):
    """Leaves of the exact gradient, the planted one, the mask and the parameters, in step."""
    case = bug.make()
    exact = BY_NAME[bug.problem].make().grad(case.params)
    trees = exact, case.grad(case.params), bug.mask(), case.params
    found = [[np.asarray(leaf) for _, leaf in leaves(tree)] for tree in trees]
    for each in chain.from_iterable(found):
        each.flags.writeable = False  # several tests read it
    return found


def least_visible(name, exact):
    """The smallest error, relative to the leaf, that counts as materially wrong."""
    coarse = COARSE.get(name, 0) > 1e-9 or np.finfo(exact.dtype).eps > 1e-9
    return 0.02 if coarse else 9e-6


@pytest.mark.parametrize("bug", by_name(ALL_BUGS))
def test_planted_entries_are_wrong_or_right_never_in_between(bug):
    needs(bug)
    wrong = 0
    for exact, planted, mask, params in zip(*exact_and_planted(bug), strict=True):
        assert planted.shape == exact.shape == mask.shape == params.shape
        assert planted.dtype == exact.dtype
        assert mask.dtype == bool
        error = np.abs(planted - exact) / leaf_scale(exact)
        assert np.all(np.isfinite(planted))
        assert np.all(error[~mask] <= 4 * np.finfo(exact.dtype).eps)
        assert np.all(error[mask] >= least_visible(bug.problem, exact)), error[mask].min()
        wrong += int(mask.sum())
    assert wrong


# Causes that fit wherever a more special one does: the special one is the name to give.
IMPLIED = {
    "SHIFTED": {"PERMUTED"},
    "REVERSED": {"PERMUTED"},
    "SWAPPED": {"FACTOR"},
    "OFFSET": {"MISSING_L1"},  # of parameters of one sign
    "ZERO": {"MISSING_L2"},  # of a square
    "NORMALIZATION": {"MISSING_L2"},
    "ABSOLUTE": {"SIGN", "ZERO"},
}
NAMED_BY_FORMULA = {
    "FACTOR",
    "SIGN",
    "ZERO",
    "TRANSPOSED",
    "SHIFTED",
    "REVERSED",
    "PERMUTED",
    "MISSING_L2",
    "MISSING_L1",
    "BROADCAST",
    "OFFSET",
    "CONJUGATE",
    "LOG_PARAMETER",
    "SYMMETRIC",
}


@pytest.mark.parametrize("bug", by_name(ALL_BUGS))
def test_cause_is_the_only_simple_explanation(bug):
    needs(bug)
    part = bug.place or bug.source  # may be in some entries of a leaf
    fits = [
        explanations(exact, planted, params)
        | (of_entries(exact[mask], planted[mask], params[mask]) if part else set())
        for exact, planted, mask, params in zip(*exact_and_planted(bug), strict=True)
        if mask.sum() > 1
    ]
    shared = set.intersection(*fits) if fits else set()
    assert shared <= {bug.cause} | IMPLIED.get(bug.cause, set()), shared
    if bug.cause in NAMED_BY_FORMULA and fits:
        assert shared, "the named cause does not fit"


def visible_at(bug, case, leaf, index, error):
    """Whether central differences in the parameters' own precision can see an error."""
    eps = 1.2e-7 if bug.problem in SINGLE_COST else noise(bug.problem, 2.3e-16)
    for direction in (1.0, 1j)[: 1 + np.iscomplexobj(leaf)]:
        _, bound, _ = derivative(
            case.f,
            case.params,
            (leaf, index, direction),
            eps,
            0.1 * error,
            longest=longest_step(bug.problem),
        )
        assert bound <= 0.2 * error, (index, bound, error)


@pytest.mark.parametrize("bug", by_name([b for b in ALL_BUGS if b.cause != "KINK"]))
def test_error_stands_out_of_the_noise(bug):
    needs(bug)
    case = bug.make()
    live = [leaf for _, leaf in leaves(case.params)]
    with np.errstate(all="ignore"):
        for leaf, exact, planted, mask, _ in zip(live, *exact_and_planted(bug), strict=True):
            error = np.abs(planted - exact)
            for index in sorted(map(tuple, np.argwhere(mask)), key=lambda i: error[i])[:3]:
                visible_at(bug, case, leaf, index, float(error[index]))


@pytest.mark.parametrize("bug", by_name([b for b in ALL_BUGS if b.cause == "KINK"]))
def test_planted_value_at_kink_is_no_subgradient(bug):
    case = bug.make()
    for (_, leaf), (_, planted), (_, mask) in zip(
        leaves(case.params), leaves(case.grad(case.params)), leaves(bug.mask()), strict=True
    ):
        for index in map(tuple, np.argwhere(mask)):
            low, high = one_sided(case.f, case.params, leaf, index)
            margin = 0.02 * leaf_scale(planted)
            assert not low - margin <= planted[index] <= high + margin, (index, low, high)


@pytest.mark.parametrize("bug", by_name([b for b in ALL_BUGS if b.cause != "KINK"]))
def test_verification_would_have_caught_it(bug):
    """The check that passes every problem above fails on every bug: it has power."""
    needs(bug)
    with np.errstate(all="ignore"):
        assert any(complaints(bug.problem, bug.make()))


@pytest.mark.parametrize("item", by_name(problems() + ALL_BUGS))
def test_case_is_fresh_deterministic_and_read_only(item):
    needs(item)
    case, other = item.make(), item.make()
    before = [leaf.tobytes() for _, leaf in leaves(case.params)]
    value, gradient = case.f(case.params), case.grad(case.params)
    assert isinstance(value, float)
    assert np.isfinite(value)
    assert case.f(case.params) == value == other.f(other.params)
    assert [leaf.tobytes() for _, leaf in leaves(case.params)] == before
    for (path, leaf), (same, g) in zip(leaves(case.params), leaves(gradient), strict=True):
        assert path == same
        assert isinstance(g, np.ndarray)
        assert g.shape == leaf.shape
        assert leaf.flags.writeable
        assert not np.shares_memory(g, leaf)
        assert not any(np.shares_memory(leaf, b) for _, b in leaves(other.params))


def test_names_are_unique_and_the_corpus_is_as_large_as_promised():
    names = [item.name for item in problems() + ALL_BUGS]
    assert len(set(names)) == len(names)
    assert len(problems()) >= 120
    assert len(bugs()) >= 200
    assert len(public_bugs()) >= 25


def test_every_cause_has_planted_errors_of_many_sizes():
    causes = Counter(bug.cause for bug in ALL_BUGS)
    assert len(causes) == 26
    assert min(causes.values()) >= 5
    sizes = [bug.size for bug in bugs()]
    assert min(sizes) <= 1.5e-4
    assert max(sizes) > 1
    assert sum(size < 1e-2 for size in sizes) >= 30


@pytest.mark.parametrize("bug", by_name([b for b in ALL_BUGS if b.place]))
def test_mask_follows_the_parameters_or_the_position_not_both(bug):
    needs(bug)
    for exact, _, mask, params in zip(*exact_and_planted(bug), strict=True):
        counted = exact != 0 if bug.place == "MASKED" else np.ones_like(mask)
        tests = [params, -params, np.abs(params), -np.abs(params)]
        ordered = any(
            t[mask & counted].min() > t[~mask & counted].max()
            for t in tests
            if mask.any() and (~mask & counted).any()
        )
        assert ordered == (bug.place == "MASKED" and mask.any())


@pytest.mark.parametrize("bug", by_name(ALL_BUGS))
def test_size_is_the_largest_relative_error(bug):
    needs(bug)
    pairs = list(zip(*exact_and_planted(bug), strict=True))
    largest = max(np.max(np.abs(p - e)) / leaf_scale(e) for e, p, _, _ in pairs if e.size)
    assert bug.size == pytest.approx(largest, rel=1e-9)


def test_public_errors_name_their_source():
    sources = [bug.source for bug in public_bugs()]
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", source) for source in sources)
    assert len(set(sources)) == len(sources)
    assert all(bug.source is None for bug in bugs())


def test_split_is_a_stable_partition():
    for items in (problems(), bugs(), public_bugs()):
        tune, report = split(items)
        assert sorted(x.name for x in tune + report) == sorted(x.name for x in items)
        assert split(items[::-1])[0] == tune[::-1]
        assert min(len(tune), len(report)) >= 0.35 * len(items)


def test_import_needs_numpy_only():
    code = (
        "import sys, corpus; corpus.bugs(); corpus.public_bugs();"
        "print({'scipy', 'sklearn', 'statsmodels', 'torch', 'fastgrad'} & set(sys.modules))"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "set()"
