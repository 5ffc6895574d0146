"""The bar: seen where it can be, gone whatever happens, and without influence on any result."""

from __future__ import annotations

import io
import sys
import time
from contextlib import nullcontext, redirect_stderr

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick, run_on_terminal, run_python

import fastgrad as fg
from fastgrad import _memory
from fastgrad._evaluation import meter
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget, Samples, Single
from fastgrad._stencils import Steps

tqdm = pytest.importorskip("tqdm")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """A terminal of 100 columns to redirect standard error to, and bars that appear at once."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr(meter, "_DELAY", 0.0)
    return Terminal()


def slow(f, seconds=0.004):
    def sleeping(x):
        time.sleep(seconds)
        return f(x)

    return sleeping


def cube(p):
    return float((p["W"] ** 3).sum() + p["b"].sum())


def cube_gradient(p):
    return {"W": 3 * p["W"] ** 2, "b": np.ones_like(p["b"])}


def params():
    return {"W": np.linspace(1, 2, 12).reshape(3, 4), "b": np.zeros(3)}


# ---------------------------------------------------------------- pieces


class Recorded:
    """Stands for an evaluator: remembers what it is asked for, which takes `seconds` for each."""

    leaves = ()

    def __init__(self, batch=1, evaluations=0):
        self.batch, self.evaluations, self.asked = batch, evaluations, []
        self.now = self.seconds = 0.0

    def read(self, leaf, where=...): ...

    def scale(self, leaf, where=...): ...

    def base(self):
        self.evaluations += 1
        return 1.0

    def single(self, request):
        self.asked.append(request.entries.tolist())
        self.evaluations += request.evaluations
        self.now += self.seconds * request.evaluations
        values = np.repeat(request.entries[:, np.newaxis], len(request.offsets), axis=1)
        return Samples(values + 0.5, values)


def request_of(count, each=1):
    return Single(0, np.arange(count), Steps(absolute=1.0), tuple(range(1, each + 1)))


@given(
    st.integers(0, 500),
    st.integers(1, 8),
    st.integers(1, 100),
    st.integers(1, 10**6) | st.none(),
)
@quick(200)
def test_pieces_cover_the_entries_in_order(size, each, batch, done):
    inner = Recorded(batch, done or 0)
    run = Metered(inner)
    if done is not None:
        run.calibrate()
    found = run.single(request_of(size, each))
    assert found.values.shape == found.moved.shape == (size, each)
    assert found.values[:, 0].tolist() == list(range(size))
    assert (found.moved == found.values + 0.5).all()
    assert [entry for piece in inner.asked for entry in piece] == list(range(size))
    grain = max(1, batch // each)
    assert all(len(piece) % grain == 0 for piece in inner.asked[:-1])
    assert all(inner.asked[:-1])
    if done is None:
        assert len(inner.asked) <= 1


def test_pieces_follow_the_time_that_they_take(monkeypatch):
    inner = Recorded()
    monkeypatch.setattr(meter, "perf_counter", lambda: inner.now)
    run = Metered(inner)
    inner.evaluations, inner.now = 1, 0.02
    run.calibrate()  # five evaluations in a tenth of a second
    inner.seconds = 0.01
    run.single(request_of(25))
    sizes = list(map(len, inner.asked))
    assert 4 <= sizes[0] <= 5
    assert 8 <= max(sizes) <= 10
    inner.seconds = 0.0
    inner.asked.clear()
    run.single(request_of(10**5))
    assert sum(map(len, inner.asked)) == 10**5
    assert len(inner.asked) < 40  # they grow where they take none


def test_a_budget_is_kept_to_the_evaluation_and_one_is_left_for_the_last_look():
    inner = Recorded()
    run = Metered(inner, 10)
    run.base()
    run.single(request_of(3, 2))
    with pytest.raises(OutOfBudget):
        run.single(request_of(2, 2))
    assert inner.evaluations == 7
    run.single(request_of(1, 2))
    with pytest.raises(OutOfBudget):
        run.base()
    run.last()
    assert run.evaluations == 10


# ---------------------------------------------------------------- the bar


def test_a_check_shows_evaluations_and_phases(terminal, backend):
    wrong = cube_gradient(params())
    wrong["W"] *= 1.1
    with redirect_stderr(terminal):
        report = fg.check_gradient(slow(cube, 0.02), wrong, params(), progress=True)
    shown = terminal.getvalue()
    for phase in ("baseline", "first pass, W", "first pass, b", "refinement, W", "causes"):
        assert phase in shown
    assert f"{report.evaluations}/{report.evaluations}" in shown
    assert "/39 " in shown  # expected: 2 n + 9
    assert shown.endswith("\n")


def test_a_gradient_shows_evaluations_and_leaves(terminal, backend):
    with redirect_stderr(terminal):
        fg.gradient(slow(cube, 0.02), params(), progress=True)
    shown = terminal.getvalue()
    assert "30/30" in shown
    assert ", W]" in shown
    assert shown.endswith("\n")


def test_a_batched_objective_moves_it_too(terminal, backend):
    sizes = []

    def f(X):
        sizes.append(len(X))
        time.sleep(0.05)
        return (X**3).sum(axis=1)

    x = np.linspace(1, 2, 50)
    plain = fg.gradient(fg.batched(f, memory=21 * x.nbytes), x)
    expected, sizes[:] = sizes[:], []
    with redirect_stderr(terminal):
        shown = fg.gradient(fg.batched(f, memory=21 * x.nbytes), x, progress=True)
    assert shown.tobytes() == plain.tobytes()
    assert sizes == expected
    assert "104/104" in terminal.getvalue()  # four rows show that rows keep to themselves


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("when", [1, 5, 15, 30])
def test_it_is_closed_whatever_happens(terminal, kind, when, backend):
    calls = []

    def f(p):
        calls.append(1)
        if len(calls) == when:
            raise kind("mine")
        time.sleep(0.002)
        return cube(p)

    theta = params()
    for run in (fg.gradient, lambda f, p, **k: fg.check_gradient(f, cube_gradient(p), p, **k)):
        calls.clear()
        # In a check an exception beside the parameters is an edge of the domain of `f`.
        goes_on = run is not fg.gradient and kind is LookupError and when > 1
        ends = nullcontext() if goes_on else pytest.raises(kind, match="mine")
        with redirect_stderr(terminal), ends:
            run(f, theta, progress=True)
        assert terminal.getvalue().endswith("\n")
        assert not tqdm.tqdm._instances
    assert not _memory.locks
    assert all(theta[key].tobytes() == params()[key].tobytes() for key in theta)


def test_results_do_not_depend_on_it(terminal, backend):
    rng = np.random.default_rng(0)
    x = rng.normal(size=700)
    x[::50] = 0.0

    def f(x):
        if rng.random() < 0.002:
            time.sleep(0.01)  # pieces of many sizes
        return float(np.abs(x).sum() + (x**3).sum())

    claimed = np.sign(x) + 3 * x**2
    claimed[7] += 1e-3
    plain = fg.check_gradient(f, claimed, x).to_dict()
    with redirect_stderr(terminal):
        shown = fg.check_gradient(f, claimed, x, progress=True).to_dict()
    assert "evaluations/s" in terminal.getvalue()
    plain.pop("seconds"), shown.pop("seconds")
    assert shown == plain
    with redirect_stderr(terminal):
        with_bar = fg.gradient(f, x, progress=True)
    assert with_bar.tobytes() == fg.gradient(f, x).tobytes()


def test_large_parameters_are_still_looked_at_after_the_first_entry(terminal, backend):
    x = np.zeros(2**15 + 1)

    def f(x):
        x[5] += 1.0
        return 1.0

    with redirect_stderr(terminal):
        with pytest.raises(fg.MutationError, match="the old value was put back"):
            fg.gradient(f, x, progress=True)
        assert not x.any()
        assert fg.gradient(lambda x: x[0], x, progress=True).sum() == pytest.approx(1)


def test_what_is_over_soon_shows_nothing(terminal, monkeypatch):
    monkeypatch.setattr(meter, "_DELAY", 60.0)
    with redirect_stderr(terminal):
        assert fg.check_gradient(slow(cube), cube_gradient, params(), progress=True)
    assert not terminal.getvalue()


def test_silent_where_standard_error_is_no_terminal(terminal):
    stream = io.StringIO()
    with redirect_stderr(stream):
        fg.gradient(slow(cube), params(), progress=True)
    assert not stream.getvalue()


def test_nothing_is_imported_unless_asked_for():
    source = """
    import sys
    import numpy as np, fastgrad as fg
    f = lambda x: float((x**2).sum())
    fg.gradient(f, np.ones(3)), fg.check_gradient(f, lambda x: 2 * x, np.ones(3))
    assert "tqdm" not in sys.modules
    fg.gradient(f, np.ones(3), progress=True)
    assert "tqdm" in sys.modules
    """
    done = run_python(source)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("run", ["gradient", "check_gradient"])
def test_a_missing_tqdm_is_told_before_the_work(monkeypatch, run, backend):
    for name in [name for name in sys.modules if name.split(".")[0] == "tqdm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    calls = []
    more = () if run == "gradient" else (np.ones(3),)
    said = r'tqdm, which cannot be imported; pip install "fastgrad\[progress\]"'
    with pytest.raises(fg.MissingPackageError, match=said):
        getattr(fg, run)(calls.append, *more, np.ones(3), progress=True)
    assert not calls
    assert not _memory.locks


PROGRAM = """
import sys, time
import numpy as np, fastgrad as fg
def f(x):
    time.sleep(0.01)
    return float((x**2).sum())
x = np.ones(60)
report = fg.check_gradient(f, 2 * x, x, progress=True)
print(report.verdict.name)
"""


def test_on_a_real_terminal():
    done, shown = run_on_terminal([sys.executable, "-c", PROGRAM])
    assert done.stdout == b"RIGHT\n"
    assert "first pass, params" in shown
    assert "129/129" in shown


# ---------------------------------------------------------------- Ctrl-C during a check


def interrupted(f, grad, theta, **options):
    with pytest.raises(KeyboardInterrupt) as caught:
        fg.check_gradient(f, grad, theta, **options)
    (note,) = caught.value.__notes__
    return note


class Stopping:
    """A slow cost that is interrupted at one of its evaluations."""

    def __init__(self, when, seconds=0.01):
        self.calls, self.when, self.seconds = 0, when, seconds

    def __call__(self, x):
        self.calls += 1
        if self.calls == self.when:
            raise KeyboardInterrupt
        time.sleep(self.seconds)
        return float((x**3).sum())


def test_an_interrupt_carries_what_was_known(backend):
    x = np.linspace(1, 2, 60)
    claimed = 3 * x**2
    note = interrupted(Stopping(90), claimed, x)
    assert note.startswith("the check had looked at ")
    assert note.endswith(" of 60 entries, and none of them disagreed")
    assert 10 < int(note.split()[5]) <= 41
    claimed[[3, 8]] *= (1.01, 1.5)
    note = interrupted(Stopping(90), claimed, x)
    assert note.endswith("not settled: 2 (params[8], params[3])")
    assert x.tolist() == np.linspace(1, 2, 60).tolist()


def test_an_interrupt_of_the_refinement_tells_what_is_settled(backend):
    theta = {"a": np.linspace(1, 2, 4), "b": np.linspace(1, 2, 9)}
    claimed = {key: 3 * value**2 for key, value in theta.items()}
    claimed["a"][2] *= 2
    claimed["b"][:8] *= 1.2
    calls = []

    def f(p):
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return float((p["a"] ** 3).sum() + (p["b"] ** 3).sum())

    stop = 0
    assert not fg.check_gradient(f, claimed, theta)
    notes = set()
    for when in range(1, len(calls)):
        stop = when
        calls.clear()
        with pytest.raises(KeyboardInterrupt) as caught:
            fg.check_gradient(f, claimed, theta)
        notes.update(getattr(caught.value, "__notes__", ()))
    head = "the check had looked at 13 of 13 entries; "
    loose = "at odds with their first difference, and not settled: "
    some = "8 (b[7], b[6], b[5], b[4], b[3], ...)"
    assert f"{head}{loose}9 (a[2], b[7], b[6], b[5], b[4], ...)" in notes
    assert f"{head}wrong: 1 (a[2]); {loose}{some}" in notes
    assert f"{head}wrong: 9 (a[2], b[7], b[6], b[5], b[4], ...)" in notes


def test_before_the_first_entry_there_is_nothing_to_tell():
    with pytest.raises(KeyboardInterrupt) as caught:
        fg.check_gradient(Stopping(3, 0), np.ones(3), np.ones(3))
    assert not getattr(caught.value, "__notes__", ())
