"""Every evaluator answers every request with the bits of the oracle, and puts everything back."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from evaluators import ALL, WORKERS, Built, cases, is_one_of, running
from oracle import Oracle, weigh
from strategies import STENCILS, lay_out, same, specials

import fastgrad as fg
from fastgrad._evaluation.direction import Given, Jumps, OddMultiples, Proportional, Region, Uniform
from fastgrad._evaluation.protocol import (
    Along,
    Displaced,
    Gradient,
    Grouped,
    Samples,
    Single,
    Steps,
    Target,
)
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


# ---------------------------------------------------------------- parameters


def array():
    return np.array([0.5, -2.0, 3.25, 0.0, 1e3, -1e-9, 7.5])


def nested():
    return {
        "W": np.array([[1.0, -2.5], [0.1, 40.0], [-0.0, 3.0]], "f4", order="F"),
        "more": [np.array(2.5), np.zeros((0, 3)), np.array([-1.25], "f2")],
        "z": np.array([1 - 2j, 0.3 + 50j]),
        "w": np.array(-1 + 1j, "c8"),
    }


def layouts():
    values = np.array([[0.7, -30.0], [1.0 / 3, 5.0]])
    long = lay_out(values.astype("g") / 3, "fortran")
    return [
        lay_out(values, "strided"),
        lay_out(values.astype("f4"), "unaligned"),
        lay_out(values, "swapped"),
        lay_out(values.astype("f4"), "swapped"),
        lay_out(values.astype("f2"), "reversed"),
        lay_out(values.astype("c16"), "swapped"),
        lay_out(np.array(4.0), "unaligned"),
        long,
        lay_out(values.astype("g"), "swapped"),
    ]


def special():
    """Without signalling NaNs, of which arithmetic warns."""
    return [specials(kind)[:-2] for kind in ("f8", "f4", "f2", "g")]


TREES = {"array": array, "nested": nested, "layouts": layouts, "special": special}
every = pytest.mark.parametrize(("name", "tree"), cases(ALL, TREES))
finite = pytest.mark.parametrize(("name", "tree"), cases(ALL, ["array", "nested", "layouts"]))


def both(name, tree, pools, f=weigh, **options):
    """An oracle, and an evaluator at work."""
    return Oracle(f, TREES[tree]()), running(name, f, TREES[tree](), pools, **options)


@cache
def answers(tree, requests, method):
    """Requests with what the oracle says of them, which no implementation and backend changes."""
    oracle = Oracle(weigh, TREES[tree]())
    with np.errstate(all="ignore"):
        return [
            (request, getattr(oracle, method)(*request))
            for request in map(_arguments, requests(flatten(TREES[tree]())))
        ]


def _arguments(request):
    return request if isinstance(request, tuple) else (request,)


# ---------------------------------------------------------------- requests


def steps_for(size, seed=0):
    """Every form of steps: absolute, relative, both, and given entry by entry."""
    drawn = np.random.default_rng(seed).uniform(0.1, 0.5, size)
    return [Steps(0.25), Steps(relative=0.125), Steps(0.1, 0.1), Steps(given=drawn)]


def entries_for(leaf):
    """Out of order."""
    return np.arange(leaf.real.size)[::-1].astype(np.intp)


def some(items, number, leaves):
    """All of the items for one leaf alone; of many leaves each gets a third of them."""
    return items if len(leaves) == 1 else items[number % 3 :: 3]


def singles(leaves):
    for number, leaf in enumerate(leaves):
        entries = entries_for(leaf)
        for steps in some(steps_for(len(entries)), number, leaves):
            yield Single(number, entries, steps)
            yield Single(number, entries[:2], steps, (1, -1, 2, -3))


def groups(leaves):
    for number, leaf in enumerate(leaves):
        entries = entries_for(leaf)
        starts = np.unique([0, min(1, len(entries)), len(entries) // 2, len(entries)])
        for steps in some(steps_for(len(entries)), number, leaves):
            yield Grouped(number, entries, starts.astype(np.intp), steps, (1, -2, 3))


def gradients(leaves):
    for number, leaf in enumerate(leaves):
        size = leaf.real.size
        pairs = list(zip(STENCILS, steps_for(size) * len(STENCILS), strict=False))
        for stencil, steps in some(pairs, number, leaves):
            yield Gradient(number, 0, size, stencil, steps, 1.5, leaf.real.dtype)
        yield Gradient(number, 0, size, STENCILS[0], Steps(0.25), 1.5, np.float32)


def whole(number, leaf):
    shape = leaf.real.shape
    return Region(number, tuple(slice(0, n) for n in shape), shape)


def boxes(leaves):
    """Each region that a direction may have: leaves, and a part of those that have axes."""
    for number, leaf in enumerate(leaves):
        shape = leaf.real.shape
        if leaf.real.size:
            yield whole(number, leaf)
            yield Region(number, tuple(slice(n // 2, n) for n in shape), shape)


def directions(regions, leaves):
    regions = tuple(regions)
    own = tuple(leaves[region.leaf].real[region.box].astype(float) for region in regions)
    return [
        Uniform(3, 1, regions, tuple(0.1 * (k + 1) for k in range(len(regions)))),
        OddMultiples(4, regions, 0.01),
        OddMultiples(4, regions, 0.0, same_sign=True),
        Jumps(5, regions),
        Proportional(regions, 0.125),
        Given(regions, tuple(np.asarray(np.sign(part) * 0.3) for part in own)),
    ]


def alongs(leaves):
    """Pairs of a request and the claims of its regions, or None."""
    every_leaf = [whole(k, leaf) for k, leaf in enumerate(leaves) if leaf.real.size]
    random = np.random.default_rng(2)
    each = [np.asarray(random.normal(size=leaves[region.leaf].real.shape)) for region in every_leaf]
    for direction in directions(every_leaf, leaves):
        yield Along(direction, (1.0, -0.5, 2.0)), None
        yield Along(direction, (0.25, -2.0)), each
    for number, region in enumerate(boxes(leaves)):
        shape = leaves[region.leaf].real[region.box].shape
        claim = np.asarray(np.random.default_rng(1).normal(size=shape))
        for direction in some(directions([region], leaves), number, leaves):
            yield Along(direction, (0.5, -1.0)), [claim]


def claimless(leaves):
    return [request for request, _ in alongs(leaves)]


# ---------------------------------------------------------------- answers


@every
def test_base_scale_and_read(name, tree, pools):
    oracle, run = both(name, tree, pools)
    with run as evaluator:
        assert evaluator.base() == evaluator.base() == oracle.base()
        assert [leaf.path for leaf in evaluator.leaves] == [
            leaf.path for leaf in flatten(TREES[tree]())
        ]
        for number, leaf in enumerate(evaluator.leaves):
            box = tuple(slice(n // 3, None) for n in leaf.real.shape)
            for where in (..., box, entries_for(leaf)[::2]):
                assert same(evaluator.scale(number, where), oracle.scale(number, where))
                assert same(evaluator.read(number, where), oracle.read(number, where))


@every
@pytest.mark.parametrize("requests", [singles, groups])
def test_samples(name, tree, requests, pools):
    method = {singles: "single", groups: "grouped"}[requests]
    with running(name, weigh, TREES[tree](), pools) as evaluator:
        for (request,), (moved, values) in answers(tree, requests, method):
            found = getattr(evaluator, method)(request)
            assert same(found.moved.ravel(), moved.ravel())
            assert same(found.values.ravel(), values.ravel())
            assert len(found.moved) == len(request.entries)
            assert found.values.shape == (request.count, len(request.offsets))


@every
def test_along(name, tree, pools):
    with running(name, weigh, TREES[tree](), pools) as evaluator:
        for (request, claim), (values, claimed, norm) in answers(tree, alongs, "along"):
            found = evaluator.along(request, claim)
            assert same(found.values, values)
            assert all(type(value) is float for value in found.values)
            assert found.claimed == pytest.approx(claimed, rel=1e-12, abs=1e-12 * norm, nan_ok=True)
            assert found.norm == pytest.approx(norm, rel=1e-12, nan_ok=True)
            if claim is None:
                continue
            before = evaluator.evaluations
            claims = evaluator.claimed(request, claim)
            assert same(claims.claimed, found.claimed)
            assert same(claims.norm, found.norm)
            assert claims.values == ()
            assert evaluator.evaluations == before


@finite
def test_gradient(name, tree, pools):
    requests = [request for (request,), _ in answers(tree, gradients, "gradient")]
    targets = [Target(np.empty(request.count, request.store)) for request in requests]
    with running(name, weigh, TREES[tree](), pools) as evaluator:
        evaluator.gradient(requests, targets)
    for target, (_, expected) in zip(targets, answers(tree, gradients, "gradient"), strict=True):
        assert same(target.array, expected)


@pytest.mark.parametrize("name", ALL)
def test_derivatives_are_stored_in_arrays_of_any_kind(name, pools):
    """Not only where they would be at once: from any entry on, and in any layout."""
    oracle, run = both(name, "array", pools)
    with run as evaluator:
        request = Gradient(0, 2, 6, fg.central(), Steps(0.25))
        for layout in ("strided", "swapped", "unaligned", "reversed"):
            for kind in ("f8", "f4", "f2", "g"):
                out = lay_out(np.zeros(6, kind), layout)
                evaluator.gradient((request,), (Target(out, 1),))
                expected = oracle.gradient(request).astype(kind)
                assert same(out.astype(kind), np.array([0, *expected, 0], kind))


@finite
def test_displaced(name, tree, pools):
    oracle, run = both(name, tree, pools)
    with run as evaluator:
        regions = [whole(k, leaf) for k, leaf in enumerate(evaluator.leaves) if leaf.real.size]
        direction = Uniform(1, 2, tuple(regions), (0.5,) * len(regions))
        there = oracle.moved(oracle.path(direction, -1.0))
        single = next(singles(evaluator.leaves))
        along = Along(Jumps(2, tuple(regions)), (1.0, -1.0))
        with evaluator.displaced(direction, -1.0) as displaced:
            assert displaced.base() == there.base()
            assert same(displaced.read(0), there.read(0))
            assert same(displaced.single(single).values, there.single(single)[1])
            assert same(displaced.along(along).values, there.along(along)[0])
        assert evaluator.base() == oracle.base()


@finite
def test_beside(name, tree, pools):
    """Each request at displaced parameters of its own, of one leaf or of several."""
    oracle, run = both(name, tree, pools)
    leaves = flatten(TREES[tree]())
    regions = [whole(k, leaf) for k, leaf in enumerate(leaves) if leaf.real.size]
    directions = [Uniform(1, 2, tuple(regions), (0.5,) * len(regions))]
    directions += [Jumps(3, (region,)) for region in regions]
    requests = [
        Displaced(direction, time, single)
        for direction, time, single in zip(
            directions * 9, (-1.0, 0.5, 2.0) * 9, singles(leaves), strict=False
        )
    ]
    with run as evaluator:
        found = evaluator.beside(requests)
        assert len(found) == len(requests)
        for request, answer in zip(requests, found, strict=True):
            there = oracle.moved(oracle.path(request.direction, request.time))
            moved, values = there.single(request.request)
            assert same(answer.moved.ravel(), moved.ravel())
            assert same(answer.values.ravel(), values.ravel())
        assert evaluator.base() == oracle.base()


# ---------------------------------------------------------------- laws


@finite
def test_the_parts_of_a_request_are_the_whole(name, tree, pools):
    _, run = both(name, tree, pools)
    with run as evaluator:
        leaves = evaluator.leaves
        for kind in (singles, groups, gradients, claimless):
            request = max(list(kind(leaves))[:8], key=lambda each: each.count)
            whole = request.run(evaluator)
            for cut in range(1, request.count):
                parts = request.part(0, cut), request.part(cut, request.count)
                found = [part.run(evaluator) for part in parts]
                assert same(whole.values, np.concatenate([each.values for each in found]))
                if isinstance(whole, Samples):
                    assert same(whole.moved, np.concatenate([each.moved for each in found]))


@every
def test_groups_of_one_are_single(name, tree, pools):
    _, run = both(name, tree, pools)
    with run as evaluator:
        for request in singles(evaluator.leaves):
            alone = np.arange(len(request.entries) + 1)
            group = Grouped(request.leaf, request.entries, alone, request.steps, request.offsets)
            one, other = evaluator.single(request), evaluator.grouped(group)
            assert same(one.moved, other.moved)
            assert same(one.values, other.values)


@pytest.mark.parametrize("name", ALL)
def test_a_still_function_ends_a_walk(name, pools):
    calls = Along(
        OddMultiples(0, (whole(0, flatten(array())[0]),), 0.01), (1.0, 2.0, 3.0, 4.0), 1.5
    )
    for claim in (None, [np.ones(7)]):
        with running(name, still, array(), pools) as evaluator:
            found = evaluator.along(calls, claim)
            assert found.values == (1.5, 1.5)
            assert len(found.claimed) == 2
        with running(name, weigh, array(), pools) as evaluator:
            assert len(evaluator.along(calls, claim).values) == 4


def still(params):
    return 1.5


@pytest.mark.parametrize("name", ALL)
def test_long_walks(name, pools):
    """Longer than a pool has tasks."""
    oracle, run = both(name, "array", pools)
    request = Along(
        Proportional((whole(0, flatten(array())[0]),), 0.5), tuple(np.linspace(-1, 1, 150))
    )
    with run as evaluator:
        for claim in (None, [np.ones(7)]):
            assert same(evaluator.along(request, claim).values, oracle.along(request)[0])


@pytest.mark.parametrize("name", ALL)
def test_nothing_to_do(name, pools):
    with running(name, weigh, array(), pools) as evaluator:
        none = np.empty(0, np.intp)
        single = evaluator.single(Single(0, none, Steps(0.25)))
        grouped = evaluator.grouped(Grouped(0, none, np.zeros(1, np.intp), Steps(0.25)))
        for found in (single, grouped):
            assert found.moved.shape == found.values.shape == (0, 2)
        assert evaluator.along(Along(Proportional((), 0.5), ())).values == ()
        evaluator.gradient((), ())
        assert evaluator.beside(()) == []
        still = Displaced(Proportional((), 0.5), 1.0, Single(0, none, Steps(0.25)))
        assert evaluator.beside((still,))[0].values.shape == (0, 2)


@pytest.mark.parametrize("name", ALL)
def test_counts(name, pools):
    """What is told is what is made; copies in workers are compared at two points each."""
    built = Built(name, weigh, array(), pools)
    leaves = built.guard.leaves
    requests = [*singles(leaves), *groups(leaves), *gradients(leaves), *claimless(leaves)]
    with built.evaluator as evaluator:
        evaluator.base()
        assert built.evaluator.evaluations in (1, 5)  # a batched one has looked at its rows
        for request in requests:
            before = built.evaluator.evaluations
            request.run(evaluator)
            more = built.evaluator.evaluations - before - request.evaluations
            assert more in ((0, 2, 4, 6) if is_one_of(name, WORKERS) else (0,))
