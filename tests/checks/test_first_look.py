"""A first look changes nothing but the time that a check takes."""

from __future__ import annotations

import pickle
import re
import weakref

import numpy as np
import pytest
from corpus import bugs, problems
from corpus.base import leaves
from hypothesis import given
from hypothesis import strategies as st
from strategies import one_backend, quick

import fastgrad as fg
from fastgrad import Verdict
from fastgrad._checks import check as checks

pytestmark = pytest.mark.usefixtures("backend")


def counted(f):
    calls = []

    def call(*arguments):
        calls.append(None)
        return f(*arguments)

    return call, calls


def without(monkeypatch):
    monkeypatch.setattr(checks, "may_look", lambda *_: False)


def looks(monkeypatch):
    """How many looks were taken, and how many of them settled the check."""
    seen = []
    original = checks.FirstLook.seen

    def look(self):
        seen.append(False)
        seen[-1] = original(self)
        return seen[-1]

    monkeypatch.setattr(checks.FirstLook, "seen", look)
    return seen


def everything(report):
    told = report.to_dict()
    del told["seconds"]
    columns = [report.entries.analytic, report.entries.numeric, report.entries.uncertainty]
    columns += [report.entries.codes, report.entries.kinks]
    return told, [column.tobytes() for column in columns], str(report).partition(" in ")[0]


def asked(item, **options):
    case = item.make()
    f, calls = counted(case.f)
    before = [leaf.tobytes() for _, leaf in leaves(case.params)]
    with np.errstate(all="ignore"):
        report = fg.check_gradient(f, case.grad, case.params, **options)
    assert [leaf.tobytes() for _, leaf in leaves(case.params)] == before
    assert len(calls) == report.evaluations
    return everything(report)


def items():
    return [each for each in (*problems(), *bugs()) if not each.requires]


@pytest.mark.slow
@one_backend
@pytest.mark.parametrize("part", range(4))
def test_the_corpus_comes_out_the_same(part, monkeypatch):
    seen = looks(monkeypatch)
    mine = items()[part::8]  # half of them
    first = [asked(item) for item in mine]
    assert len(seen) > len(mine) / 2  # most are small
    assert sum(seen) > len(mine) / 12  # and of these some are right and smooth
    without(monkeypatch)
    count = len(seen)
    for item, told in zip(mine, first, strict=True):
        assert asked(item) == told, item.name
    assert len(seen) == count


def smooth(rng, dtype):
    a = rng.normal(size=4)
    x = {"u": rng.normal(size=(2, 2)).astype(dtype), "v": np.array(rng.normal(), dtype)}

    def f(p):
        return float(np.sin(p["u"].ravel().astype(float) * a).sum() * np.exp(float(p["v"]) / 3))

    def g(p):
        u, v = p["u"].ravel().astype(float), float(p["v"])
        outer = np.exp(v / 3)
        inner = (np.cos(u * a) * a).reshape(2, 2) * outer
        return {"u": inner, "v": np.sin(u * a).sum() * outer / 3}

    return f, g, x


@quick(60)
@given(
    seed=st.integers(0, 10**6),
    dtype=st.sampled_from(["f8", "f4"]),
    off=st.sampled_from([0.0, 1e-9, 1e-4, 1.0]),
    check_seed=st.integers(0, 3),
    granted=st.sampled_from([0.0, 1e-3]),
)
def test_nested_parameters_come_out_the_same(seed, dtype, off, check_seed, granted):
    f, g, x = smooth(np.random.default_rng(seed), dtype)
    claimed = g(x)
    claimed["u"][1, 0] += off
    options = {"seed": check_seed, "rtol": granted}
    with pytest.MonkeyPatch.context() as patch:
        first = everything(fg.check_gradient(f, claimed, x, **options))
        without(patch)
        assert everything(fg.check_gradient(f, claimed, x, **options)) == first


TROUBLES = {
    "raises beside": lambda x: float(np.log(x).sum()) if (x > 0).all() else 1 / 0,
    "NaN beside": lambda x: float(np.sqrt(x - 1e-7).sum()) if (x >= 1e-7).all() else np.nan,
    "infinite": lambda x: np.inf,
    "a kink": lambda x: float(np.abs(x - 0.5).sum()),
    "steps": lambda x: float(np.round(x, 2).sum()),
    "constant": lambda x: 1.0,
    "float32": lambda x: float(np.float32(np.sin(x).sum())),
    "an integer": lambda x: int(np.floor(x[0])),
    "large": lambda x: float(np.sin(x).sum() + 1e9),
    "tiny": lambda x: float(1e-200 * np.sin(x).sum()),
}


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.parametrize("at", [0.0, 0.5, 1e-7, 1e-12, 3.7])
def test_troubles_come_out_the_same(name, at, monkeypatch):
    x, f = np.array([at, 1.2]), TROUBLES[name]
    with np.errstate(all="ignore"):
        try:
            first = everything(fg.check_gradient(f, np.cos(x), x))
        except ZeroDivisionError:
            first = None
        without(monkeypatch)
        if first is None:
            with pytest.raises(ZeroDivisionError):
                fg.check_gradient(f, np.cos(x), x)
        else:
            assert everything(fg.check_gradient(f, np.cos(x), x)) == first


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, fg.InputTypeError])
def test_a_fault_at_any_evaluation_comes_out_the_same(error, monkeypatch):
    x = np.array([0.3, -1.2, 2.0])
    before = x.tobytes()

    def fails_at(fatal):
        calls = iter(range(10**6))

        def f(x):
            if next(calls) == fatal:
                raise error("here")
            return float(np.sin(x).sum())

        try:
            return everything(fg.check_gradient(f, np.cos(x), x))
        except BaseException as raised:
            # How many entries were looked at: an ordinary check loses the piece that it is at.
            notes = [re.sub(r"at \d of", "at some of", n) for n in getattr(raised, "__notes__", ())]
            return type(raised), str(raised), notes
        finally:
            assert x.tobytes() == before

    first = [fails_at(fatal) for fatal in range(16)]
    without(monkeypatch)
    assert [fails_at(fatal) for fatal in range(16)] == first


@pytest.mark.parametrize("at", range(15))
def test_writes_of_f_are_undone_and_named_alike(at, monkeypatch):
    x = np.array([0.3, -1.2, 2.0])
    before = x.tobytes()

    def outcome():
        calls = iter(range(10**6))

        def f(x):
            value = float(np.sin(x).sum())
            if next(calls) == at:
                x[2] += 1.0
            return value

        try:
            return everything(fg.check_gradient(f, np.cos(x), x))
        except fg.MutationError as error:
            return str(error)
        finally:
            assert x.tobytes() == before

    first = outcome()
    # A write into what a direction moves is undone, and not seen.
    assert isinstance(first, str) == (not 2 <= at < 8)
    without(monkeypatch)
    assert outcome() == first


@pytest.mark.parametrize("name", ["a", "b"])
def test_arrays_that_f_resizes_are_named_alike(name, monkeypatch):
    def outcome(at):
        p = {"a": np.array([0.3, -1.2]), "b": np.array([2.0, 0.1, 0.7])}
        right = {key: np.cos(value) for key, value in p.items()}
        calls = iter(range(10**6))

        def f(p):
            value = float(np.sin(p["a"][:2]).sum() + np.sin(p["b"][:3]).sum())
            if next(calls) == at:
                p[name].resize(100_000, refcheck=False)
            return value

        with pytest.raises(fg.MutationError) as caught:
            fg.check_gradient(f, right, p)
        return str(caught.value)

    first = [outcome(at) for at in range(19)]
    without(monkeypatch)
    assert [outcome(at) for at in range(19)] == first


def test_a_gradient_is_called_twice_whichever_way_it_ends():
    x = np.array([0.3, -1.2])
    for factor in (1.0, 2.0):
        grad, calls = counted(lambda x, factor=factor: factor * np.cos(x))
        report = fg.check_gradient(lambda x: float(np.sin(x).sum()), grad, x)
        assert (bool(report), len(calls)) == (factor == 1, 2)


def test_a_report_keeps_neither_function_nor_parameters_alive():
    class Held:
        def __call__(self, x):
            return float(np.sin(x).sum())

    f, x = Held(), np.array([0.3, -1.2]).view()
    alive = weakref.ref(f), weakref.ref(x)
    report = fg.check_gradient(f, np.cos, x)
    del f, x
    assert [each() for each in alive] == [None, None]
    assert report.reason == "all 2 entries agree with central differences"


def test_a_report_makes_its_sentences_when_they_are_asked_for(monkeypatch):
    x = np.array([0.3, -1.2])
    seen = looks(monkeypatch)

    def check():
        return fg.check_gradient(lambda x: float(np.sin(x).sum()), np.cos, x)

    report = check()
    assert seen == [True]
    assert report.verdict is Verdict.RIGHT
    assert "reason" not in vars(report)
    assert report.reason == "all 2 entries agree with central differences"
    assert "_rest" not in vars(report)
    copy = pickle.loads(pickle.dumps(check()))
    assert everything(copy) == everything(report)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = check().nothing
    assert check().leaves[0].path == "params"
