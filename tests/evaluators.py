"""Every implementation of an evaluator, by name, around any objective."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product

import numpy as np
from clibrary import callback

import fastgrad as fg
from fastgrad import _memory
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Metered
from fastgrad._tree import flatten, unflatten
from fastgrad._workers.pools import pool_of
from fastgrad._workers.processes import Processes
from fastgrad._workers.scheduler import Scheduler
from fastgrad._workers.threads import threaded

PYTHON = ("in place",)
BATCHED = ("batched", "one by one")
NATIVE = ("native", "threads")
WORKERS = ("processes", "executor", "map")
PLAIN = (*PYTHON, *BATCHED, *NATIVE, *WORKERS)
# With a bar, for which requests are cut into pieces: around one of each kind.
ALL = (*PLAIN, *(f"metered, {name}" for name in ("in place", "batched", "threads", "executor")))
_STATUS = "int (int, const double *, double *, void *)"
_VECTOR = "int (int, const double *, int, double *, void *)"
_FAILED = 7


def among(names):
    """These implementations, with a meter around them and without."""
    return [name for name in ALL if name.rpartition(", ")[2] in names]


def is_one_of(name, names):
    return name.rpartition(", ")[2] in names


class Pools:
    """What runs tasks, started once and used by one evaluator after the other."""

    def __init__(self):
        self._processes = _Kept(2)
        self._executor = ThreadPoolExecutor(2)
        self.factories = {
            "processes": lambda: self._processes,
            "executor": pool_of(self._executor),
            "map": pool_of(map),
        }

    def end(self):
        Processes.close(self._processes)
        self._executor.shutdown()


class _Kept(Processes):
    def close(self):
        """Wait for what nobody waits for any more."""
        while self._busy:
            self.next()


class _Bar:
    """Nobody looks at it."""

    def to(self, evaluations):
        pass

    def expect(self, evaluations):
        pass

    def phase(self, text):
        pass

    def close(self):
        pass


def native_of(f):
    """A Python `f` behind a C function; whatever it raises becomes an error code."""

    def function(n, x, value, user):
        try:
            value[0] = f(np.ctypeslib.as_array(x, (n,)))
        except BaseException:
            return _FAILED
        return 0

    return fg.native(callback(function, _STATUS))


def native_vector_of(f, outputs):
    """The same for an `f` that returns a vector of this many numbers."""

    def function(n, x, m, y, user):
        try:
            np.ctypeslib.as_array(y, (m,))[:] = f(np.ctypeslib.as_array(x, (n,)))
        except BaseException:
            return _FAILED
        return 0

    return fg.native(callback(function, _VECTOR), outputs=outputs)


def in_rows(f, vector=False):
    """`f` for many points, evaluated one after the other."""

    def rows(params):
        stacks = [leaf.array for leaf in flatten(params)]
        trees = (
            unflatten(params, iter([stack[i, ...] for stack in stacks]))
            for i in range(len(stacks[0]))
        )
        values = [f(tree) for tree in trees]
        return np.stack(values) if vector else values

    return rows


def adapted(name, f, vector=False):
    """The objective as this implementation takes it; a native one has three values."""
    if is_one_of(name, NATIVE):
        return native_vector_of(f, 3) if vector else native_of(f)
    if is_one_of(name, BATCHED):
        memory = 1 if name.endswith("one by one") else 2**20
        return fg.batched(in_rows(f, vector), memory=memory)
    return f


class Built:
    """An evaluator, and the guard that it was made with."""

    def __init__(self, name, f, params, pools, *, vector=False, budget=float("inf"), lenient=False):
        self.params = params
        self.before = bits_of(params)
        self.guard = Guard(flatten(params))
        kind = name.rpartition(", ")[2]
        given = Lenient(adapted(name, f, vector)) if lenient else adapted(name, f, vector)
        made = local(given, params, self.guard, vector=vector)
        if kind == "threads":
            made = threaded(made, 2)
        elif kind in WORKERS:
            made = Scheduler(made, pools.factories[kind])
        self.evaluator = made if name == kind else Metered(made, budget, _Bar())

    def assert_left_alone(self):
        """Every bit is back in its place, and nothing is left to be done."""
        assert bits_of(self.params) == self.before
        self.assert_over()

    def assert_over(self):
        assert not self.guard.log.entries
        mine = [leaf.array for leaf in self.guard.leaves]  # threads of a pool may still be at work
        for _, arrays in list(_memory.locks.values()):
            assert not any(a is b for a in arrays for b in mine)


def bits_of(params):
    return [leaf.array.tobytes() for leaf in flatten(params)]


@contextmanager
def running(name, f, params, pools, **options):
    """An evaluator at work, which leaves everything as it was."""
    built = Built(name, f, params, pools, **options)
    with built.evaluator as evaluator:
        yield evaluator
    built.assert_left_alone()


def cases(names, trees):
    """Pairs of an implementation and parameters that it takes: of native ones, one array."""
    return [
        (name, tree)
        for name, tree in product(names, trees)
        if tree == "array" or not is_one_of(name, NATIVE)
    ]
