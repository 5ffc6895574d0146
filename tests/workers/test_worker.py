"""What a worker does with a task: payloads it knows, copies it keeps, verifications it gives."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import sendable
from strategies import PATIENCE, bits, complex_specials, specials

import fastgrad as fg
from fastgrad import _backend
from fastgrad._errors import WorkerError
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.inplace import InPlace
from fastgrad._evaluation.protocol import Along, Single
from fastgrad._stencils import Steps
from fastgrad._tree import flatten
from fastgrad._workers.payload import pack
from fastgrad._workers.worker import Failure, forget, remember, run_task, verify


@pytest.fixture
def token():
    yield "token"
    for each in ("token", "second", "third"):
        forget(each)


def single(*entries):
    return Single(0, np.array(entries, dtype=np.intp), Steps(absolute=1e-3))


def payload(f=sendable.cubes, x=None):
    return pack(f, (np.arange(3.0) if x is None else x, None, False))  # no bounds, no vectors


def test_a_payload_is_asked_for_once(token, backend):
    task = single(0, 2)
    assert run_task(token, None, backend, task) is None
    first = run_task(token, payload(), backend, task)
    again = run_task(token, None, backend, task)
    assert first.answer.values.tobytes() == again.answer.values.tobytes()
    assert first.answer.moved.tobytes() == again.answer.moved.tobytes()
    assert first.answer.values.shape == (2, 2)
    assert (first.evaluations, again.evaluations) == (4 + 2, 4)
    assert first.verification is not None
    assert again.verification is None


def test_of_many_payloads_the_latest_are_kept(token):
    for name in (token, "second", "third"):
        remember(name, payload())
    asked = [name for name in (token, "second", "third") if not known(name)]
    assert asked == [token]


def known(name):
    return run_task(name, None, _backend.backend, single(0)) is not None


def test_tasks_at_the_same_time_have_copies_of_their_own(token):
    remember(token, payload(meeting))
    sendable_barrier.reset()
    answers = []

    def work():
        answers.append(run_task(token, None, _backend.backend, single(1)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.failure for answer in answers] == [None, None]
    assert answers[0].answer.values.tobytes() == answers[1].answer.values.tobytes()


sendable_barrier = threading.Barrier(2)


def meeting(x):
    """Both threads are at every evaluation together."""
    sendable_barrier.wait(PATIENCE)
    return sendable.cubes(x)


def test_a_copy_that_was_spoilt_is_not_used_again(token, backend):
    f = sendable.Returning(None, 1)
    x = np.arange(3.0)
    failed = run_task(token, payload(f, x), backend, single(1))
    assert isinstance(failed.failure.error(), fg.InputTypeError)
    fine = run_task(token, None, backend, single(0, 2))
    assert fine.verification is not None
    spoilt = run_task("second", payload(sendable.resizes, x), backend, single(0))
    assert isinstance(spoilt.failure.error(), fg.MutationError)


def test_a_write_beside_the_entries_is_noticed(token, backend):
    outcome = run_task(token, payload(sendable.writes_later), backend, single(0))
    error = outcome.failure.error()
    assert isinstance(error, fg.MutationError)
    assert "params[2]" in str(error)


def test_the_callers_kernel_is_the_workers(token, backend):
    other = {"pure": "compiled", "compiled": "pure"}[backend]
    try:
        outcome = run_task(token, payload(), other, single(0))
    finally:
        _backend.use(backend)
    assert outcome.failure is None


def test_a_worker_without_the_kernel_says_so(token, monkeypatch):
    def use(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(_backend, "use", use)
    monkeypatch.setattr(_backend, "backend", "pure")
    error = run_task(token, payload(), "compiled", single(0)).failure.error()
    assert isinstance(error, fg.InputValueError)
    assert "FASTGRAD_BACKEND=pure" in str(error)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "c8", "c16"])
def test_a_verification_moves_every_entry_and_puts_it_back(dtype):
    usual = np.linspace(-3, 3, 7).astype(dtype)
    table = complex_specials(dtype) if dtype[0] == "c" else specials(dtype)
    for x in (usual, np.array(usual[2]), np.concatenate([usual, table])):
        before, seen = bits(x), []
        params, f = {"x": x}, lambda p, seen=seen: seen.append(p["x"].copy()) or 1.5
        with InPlace(f, params, Guard(flatten(params))) as run:
            found = verify(run)
            assert bits(x) == before
        assert (found.base, found.moved) == (1.5, 1.5)
        start, moved = (np.atleast_1d(each)[: usual.size] for each in seen)
        assert (start != moved).all()


def test_a_verification_holds_exceptions_by_name():
    x = np.arange(3.0)

    def f(_):
        raise KeyError

    with InPlace(f, x, Guard(flatten(x))) as run:
        found = verify(run)
    assert (found.base, found.moved) == ("KeyError", "KeyError")


def test_what_moves_along_a_direction_comes_back_whatever_happens():
    x = np.arange(6.0).reshape(2, 3)[:, ::-1]
    before, seen = bits(x), []
    box = (slice(0, 1), slice(0, 2))
    direction = Given((Region(0, box, (2, 3)),), (np.array([[7.0, 8.0]]) - x[box],))
    request = Along(direction, (1.0, 0.0))
    with InPlace(lambda x: seen.append(x.copy()) or float(x.sum()), x, Guard(flatten(x))) as run:
        values = request.run(run).values
        assert bits(x) == before
    with InPlace(lambda x: None, x, Guard(flatten(x))) as run:
        with pytest.raises(fg.InputTypeError, match="a point near the parameters"):
            request.run(run)
        assert bits(x) == before
    assert list(values) == [float(each.sum()) for each in seen]
    assert seen[0][0, :2].tolist() == [7, 8]
    assert bits(x) == before


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return Failure.of(caught).error()


def test_failures_bring_type_notes_and_traceback():
    error = sendable.Noted("text")
    if hasattr(error, "add_note"):
        error.add_note("where")
    back = raised(error)
    assert (type(back), back.args) == (sendable.Noted, ("text",))
    assert getattr(back, "__notes__", None) == getattr(error, "__notes__", None)
    assert isinstance(back.__cause__, WorkerError)
    assert "in raised" in str(back.__cause__)


def test_failures_that_cannot_be_pickled_come_as_text():
    back = raised(sendable.Unpicklable("one", threading.Lock()))
    assert type(back) is WorkerError
    assert "Unpicklable: one" in str(back)
