"""A dict, list or tuple of a few small arrays takes a shorter way, and all comes out the same."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import one_backend, quick

import fastgrad as fg
from fastgrad import _backend, _memory
from fastgrad._derivatives import gradient as module

pytestmark = pytest.mark.usefixtures("backend")

MAKE = {
    "dict": lambda arrays: dict(zip("abcdefgh", arrays, strict=False)),
    "list": list,
    "tuple": tuple,
    "odd keys": lambda arrays: dict(
        zip([0, "a b", ("c", 1), 2.5, "d", b"e"], arrays, strict=False)
    ),
}


def parts(params):
    return list(params.values()) if isinstance(params, dict) else list(params)


def bits(params):
    return [(part.dtype.str, part.shape, part.tobytes()) for part in parts(params)]


def outcome(f, params, **options):
    """All that can be seen of a call: result, error, warnings, points, bits left behind."""
    before, seen = bits(params), []

    def recorded(p):
        seen.append(b"".join(part.tobytes() for part in parts(p)))
        return f(p, len(seen))

    held = parts(params)
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            found = fg.gradient(recorded, params, **options)
            told = (type(found), list(found) if isinstance(found, dict) else None, bits(found))
        except Exception as error:
            told = (type(error), str(error), getattr(error, "__notes__", []))
    left = [(part.dtype.str, part.shape, part.tobytes()) for part in held]
    assert not _memory.locks
    return told, [str(each.message) for each in caught], seen, left == before


def both_ways(f, make, **options):
    """The outcomes of the shorter way, which must be taken, and of the usual one."""
    taken = []
    with pytest.MonkeyPatch.context() as patch:
        shorter = module.small_gradients

        def noted(*arguments):
            taken.append(None)
            return shorter(*arguments)

        patch.setattr(module, "small_gradients", noted)
        short = outcome(f, make(), **options)
        patch.setattr(module, "small_gradients", lambda *_: None)
        usual = outcome(f, make(), **options)
    assert taken
    return short, usual


def smooth(p, _):
    total = 1.0
    for k, part in enumerate(parts(p)):
        total *= 1 + 0.1 * float(np.sin((k + 1) * part.astype(float)).sum())
    return total


@quick(80)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(sorted(MAKE)),
    dtypes=st.lists(st.sampled_from(["f8", "f4"]), min_size=1, max_size=4),
    method=st.sampled_from(["central", "forward", "backward", fg.central(4), fg.forward(2)]),
    scale=st.sampled_from([1.0, 1.0, 1e-6, 1e7]),
    known=st.booleans(),
)
def test_values_points_and_bits(seed, kind, dtypes, method, scale, known):
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 4, rng.integers(0, 3))) for _ in dtypes]
    arrays = [
        np.asarray(rng.normal(size=shape) * scale).astype(dtype)
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]

    def make():
        return MAKE[kind]([array.copy() for array in arrays])

    options = {"f0": smooth(make(), 0)} if known else {}
    short, usual = both_ways(smooth, make, method=method, **options)
    assert short == usual
    assert short[3]


def make():
    return {"w": np.array([[0.3, -1.0], [0.5, 2.0]]), "b": np.array(0.7), "c": np.ones(2, "f4")}


def raising(when, error):
    def f(p, turn):
        if turn == when:
            raise error
        return smooth(p, turn)

    return f


@pytest.mark.parametrize("kind", list(MAKE))
@pytest.mark.parametrize("when", range(1, 16))
def test_f_raises(when, kind):
    """At each evaluation, with the path of the entry that was moved."""

    def again():
        return MAKE[kind](list(make().values()))

    short, usual = both_ways(raising(when, ValueError("no")), again, method="forward")
    assert short == usual
    assert short[3]


@pytest.mark.parametrize("when", range(1, 16))
def test_ctrl_c(when):
    params = make()
    before = bits(params)
    calls = []

    def f(p):
        calls.append(None)
        return raising(when, KeyboardInterrupt)(p, len(calls))

    if when <= 14:
        with pytest.raises(KeyboardInterrupt):
            fg.gradient(f, params)
    else:
        fg.gradient(f, params)
    assert bits(params) == before
    assert not _memory.locks


def write(p, turn, when=9):
    if turn == when:
        p["w"][1, 1] = 5.0
    return smooth(p, turn)


def write_beside(p, turn):
    if turn == 9:
        p["b"][...] = 5.0
    return smooth(p, turn)


def reshape(p, turn):
    if turn == 3:
        p["c"].shape = (2, 1)
    return smooth(p, turn)


def change_other(change):
    """An `f` that changes an array while the entries of another one are moved."""
    calls = []

    def f(p):
        calls.append(None)
        if len(calls) == 10:  # `b` is moved
            change(p["w"])
        return smooth({name: p[name].astype(float) for name in "wbc"}, len(calls))

    return f


OTHERS = {
    "shape": lambda w: setattr(w, "shape", (4,)),
    "dtype": lambda w: setattr(w, "dtype", ">f8"),
    "strides": lambda w: setattr(w, "shape", (1, 4)),
    "flags": lambda w: w.setflags(write=False),
}


WAYS = {
    "short": fg.gradient,
    "steps": lambda f, x: fg.gradient(f, x, rel_eps=1e-6),
    "bounds": lambda f, x: fg.gradient(f, x, rel_eps=1e-6, bounds=(-9, 9)),
    "jacobian": lambda f, x: fg.jacobian(lambda p: np.array([f(p)]), x, rel_eps=1e-6),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of setting a shape or a type
def test_what_becomes_of_an_array_while_others_move_is_found(way, name):
    with pytest.raises(fg.MutationError, match="`w`"):
        WAYS[way](change_other(OTHERS[name]), make())
    assert not _memory.locks


def replace(p, turn):
    if turn == 4:
        p["b"] = np.array(0.7)
    return smooth(p, turn)


def drop(p, turn):
    if turn == 14:
        del p["b"]
    return smooth(p, turn)


def add(p, turn):
    p["more"] = np.ones(1)
    return smooth({name: p[name] for name in "wbc"}, turn)


def text(p, turn):
    return "3.0" if turn == 5 else smooth(p, turn)


def constant(p, turn):
    return 2.0


def hard(p, turn):
    return float(np.log(np.abs(p["w"])).sum() + 1e-6 / np.abs(p["b"] - 0.7 + 1e-9))


@pytest.mark.parametrize("f", [write, reshape, replace, drop, add, text, constant, hard])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of setting a shape
def test_troubles_come_out_the_same(f):
    short, usual = both_ways(f, make)
    assert short[:2] == usual[:2]
    assert short[3] == usual[3]


def write_beside_twice(p, turn):
    if turn == 9:
        p["c"][...] = 5.0
    return write_beside(p, turn)


@pytest.mark.parametrize("f", [write_beside, write_beside_twice])
def test_a_write_beside_the_moved_entry_is_found_and_undone(f):
    short, usual = both_ways(f, make)
    assert short[0] == usual[0]
    assert short[0][0] is fg.MutationError
    assert short[3]
    assert usual[3]


@one_backend
@pytest.mark.parametrize(
    "params",
    [
        {},
        [],
        {"a": np.empty(0), "b": np.ones(2)},
        {"a": np.ones(2), "b": {"c": np.ones(2)}},
        [np.ones(3)[::2], np.ones(2)],
        {"a": np.ones(2), "b": 3.0},
        {"a": np.ones(2, complex)},
        {"a": np.ones(2, np.longdouble)},
        [np.ones(40_000)],
        [np.ones(1) for _ in range(40)],
    ],
    ids=str,
)
def test_what_is_not_small_and_plain_goes_the_usual_way(params, monkeypatch):
    monkeypatch.setattr(module._errors, "warn", lambda *_: None)
    monkeypatch.setattr(_backend.kernel, "small_gradients", lambda *_: pytest.fail("taken"))
    leaves = parts(params)
    fg.gradient(lambda p: float(np.real(leaves[0]).sum()) if leaves else 1.0, params)


def test_arrays_that_share_memory_are_refused_by_name():
    x = np.ones(4)
    for params in ({"a": x[:3], "b": x[2:]}, [x, x]):
        with pytest.raises(fg.InputValueError, match="share memory"):
            fg.gradient(lambda p: 0.0, params)


def test_another_thread_at_work_is_refused():
    x = {"a": np.ones(3), "b": np.ones(2)}
    inside, go_on, errors = threading.Event(), threading.Event(), []

    def f(p):
        inside.set()
        go_on.wait(60)
        return smooth(p, 0)

    worker = threading.Thread(target=lambda: fg.gradient(f, x))
    worker.start()
    inside.wait(60)
    try:
        fg.gradient(lambda p: smooth(p, 0), {"z": x["b"]})
    except fg.ConcurrencyError as error:
        errors.append(error)
    finally:
        go_on.set()
        worker.join()
    assert errors


def test_it_nests():
    x = make()

    def f(p):
        inner = fg.gradient(lambda q: smooth(q, 0), p)
        return float(sum(np.sum(part.astype(float) ** 2) for part in inner.values()))

    before = bits(x)
    fg.gradient(f, x)
    assert bits(x) == before
