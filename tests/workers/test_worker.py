"""What a worker does with a task: parcels it knows, copies it keeps, proofs it gives."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import sendable
from strategies import PATIENCE, bits, complex_specials, specials

import fastgrad as fg
from fastgrad import _backend
from fastgrad._errors import WorkerError
from fastgrad._evaluation.guard import Guard
from fastgrad._stencils import central
from fastgrad._tree import flatten
from fastgrad._workers.payload import pack
from fastgrad._workers.worker import Blocks, Failure, Rule, Slice, deposit, perform, prove, withdraw


@pytest.fixture
def token():
    yield "token"
    for each in ("token", "second", "third"):
        withdraw(each)


def slice_of(*entries, steps=1e-3):
    entries = np.array(entries, dtype=np.intp)
    return Slice(0, 0, entries, np.full(len(entries), steps), Rule(central()))


def parcel(f=sendable.cubes, x=None):
    return pack(f, np.arange(3.0) if x is None else x)


def test_a_parcel_is_asked_for_once(token, backend):
    task = slice_of(0, 2)
    assert perform(token, None, backend, task) is None
    first = perform(token, parcel(), backend, task)
    again = perform(token, None, backend, task)
    assert first.values.tobytes() == again.values.tobytes()
    assert first.values.shape == (2, 2, 2)
    assert (first.evaluations, again.evaluations) == (4 + 2, 4)
    assert first.proof is not None
    assert again.proof is None


def test_of_many_parcels_the_latest_are_kept(token):
    for name in (token, "second", "third"):
        deposit(name, parcel())
    asked = [name for name in (token, "second", "third") if not known(name)]
    assert asked == [token]


def known(name):
    return perform(name, None, _backend.backend, slice_of(0)) is not None


def test_tasks_at_the_same_time_have_copies_of_their_own(token):
    deposit(token, parcel(meeting))
    sendable_barrier.reset()
    answers = []

    def work():
        answers.append(perform(token, None, _backend.backend, slice_of(1)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.failure for answer in answers] == [None, None]
    assert answers[0].values.tobytes() == answers[1].values.tobytes()


sendable_barrier = threading.Barrier(2)


def meeting(x):
    """Both threads are at every evaluation together."""
    sendable_barrier.wait(PATIENCE)
    return sendable.cubes(x)


def test_a_copy_that_was_spoilt_is_not_used_again(token, backend):
    f = sendable.Returning(None, 1)
    x = np.arange(3.0)
    failed = perform(token, parcel(f, x), backend, slice_of(1))
    assert isinstance(failed.failure.error(), fg.InputTypeError)
    fine = perform(token, None, backend, slice_of(0, 2))
    assert fine.proof is not None
    spoilt = perform("second", parcel(sendable.resizes, x), backend, slice_of(0))
    assert isinstance(spoilt.failure.error(), fg.MutationError)


def test_a_write_beside_the_slice_is_noticed(token, backend):
    outcome = perform(token, parcel(sendable.writes_later), backend, slice_of(0))
    error = outcome.failure.error()
    assert isinstance(error, fg.MutationError)
    assert "params[2]" in str(error)


def test_the_callers_kernel_is_the_workers(token, backend):
    other = {"pure": "compiled", "compiled": "pure"}[backend]
    try:
        outcome = perform(token, parcel(), other, slice_of(0))
    finally:
        _backend.use(backend)
    assert outcome.failure is None


def test_a_worker_without_the_kernel_says_so(token, monkeypatch):
    def use(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(_backend, "use", use)
    monkeypatch.setattr(_backend, "backend", "pure")
    error = perform(token, parcel(), "compiled", slice_of(0)).failure.error()
    assert isinstance(error, fg.InputValueError)
    assert "FASTGRAD_BACKEND=pure" in str(error)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g", "c8", "c16"])
def test_a_proof_moves_every_entry_and_puts_it_back(dtype):
    usual = np.linspace(-3, 3, 7).astype(dtype)
    table = complex_specials(dtype) if dtype[0] == "c" else specials(dtype)
    for x in (usual, np.array(usual[2]), np.concatenate([usual, table])):
        before, seen = bits(x), []
        leaves = flatten({"x": x})
        with Guard(leaves):
            proof = prove(lambda p, seen=seen: seen.append(p["x"].copy()) or 1.5, {"x": x}, leaves)
        assert (proof.base, proof.moved) == (1.5, 1.5)
        assert bits(x) == before
        start, moved = (np.atleast_1d(each)[: usual.size] for each in seen)
        assert (start != moved).all()


def test_a_proof_holds_exceptions_by_name():
    x = np.arange(3.0)

    def f(_):
        raise KeyError

    proof = prove(f, x, flatten(x))
    assert (proof.base, proof.moved) == ("KeyError", "KeyError")


def test_blocks_come_back_whatever_happens():
    x = np.arange(6.0).reshape(2, 3)[:, ::-1]
    leaves, before = flatten(x), bits(x)
    box = (slice(0, 1), slice(0, 2))
    task = Blocks(0, 0, box, (np.array([[7.0, 8.0]]), np.zeros((1, 2))))
    seen = []
    with Guard(leaves):
        values = task.run(lambda x: seen.append(x.copy()) or float(x.sum()), x, leaves)
        with pytest.raises(fg.InputTypeError, match="a point near the parameters"):
            task.run(lambda x: None, x, leaves)
    assert values.tolist() == [float(each.sum()) for each in seen]
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
