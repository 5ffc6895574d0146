"""Objectives in a module that workers can import, whatever started them."""

from __future__ import annotations

import os
import random
import threading
import time

import numpy as np

import fastgrad as fg

table = np.linspace(0.5, 2.0, 12)


def cubes(x):
    return float((x**3).sum())


def nested(p):
    return float((p["a"] ** 2).sum() + np.abs(p["z"]).sum() + p["s"])


def bounded(p):
    """Refuses to be called outside of its box."""
    if (p["w"] < 0).any() or (p["w"] > 1).any() or p["s"] < 2:
        raise KeyboardInterrupt
    return float((p["w"] ** 2 + p["w"]).sum() + p["s"] ** 2)


def guarded(x):
    """Defined inside of a box alone."""
    if (x < 0).any() or (x > 1).any():
        raise ValueError("outside")
    return float((x**3).sum() + x.prod())


def guarded_gradient(x):
    return 3 * x**2 + np.array([x[1] * x[2], x[0] * x[2], x[0] * x[1]])


def global_table(_):
    """Reads a module's array, of which every process has its own."""
    return cubes(table)


def one_square(x):
    return float(x[7] ** 2)


tried = threading.Event()


def patient(x):
    """Lasts until another thread has tried what it wants."""
    tried.wait()
    return cubes(x)


def endless(x):
    while True:
        time.sleep(1)


class Net:
    """Parameters are views into one vector, as in many small libraries."""

    def __init__(self):
        self.flat = np.linspace(-1.0, 1.0, 10)
        self.w = self.flat[3:7]

    def loss(self, _):
        return cubes(self.flat)


class Killer:
    """Ends its process at one entry, as often as `lives` says; counts in a file."""

    def __init__(self, path, entry, lives):
        self.path, self.entry, self.lives, self.home = str(path), entry, lives, os.getpid()

    def __call__(self, x):
        moved = x[self.entry] != np.float64(self.entry)
        if moved and os.getpid() != self.home and (np.delete(x, self.entry) % 1 == 0).all():
            with open(self.path, "a+") as file:
                file.seek(0)
                if len(file.read()) < self.lives:
                    file.write("x")
                    file.flush()
                    os.kill(os.getpid(), 9)
        return cubes(x)


class Raising:
    """Raises where an entry has moved."""

    def __init__(self, error, *entries):
        self.error, self.entries = error, entries

    def __call__(self, x):
        start = np.arange(len(x), dtype=float)
        moved = np.flatnonzero(x != start)
        if len(moved) == 1 and moved[0] in self.entries:
            time.sleep(0.1 * (moved[0] == self.entries[0]))  # so that a later one is known first
            raise self.error
        return cubes(x)


class Returning:
    """Returns something else where only one entry has moved."""

    def __init__(self, value, entry):
        self.value, self.entry = value, entry

    def __call__(self, x):
        moved = np.flatnonzero(x != np.arange(len(x), dtype=float))
        return self.value if moved.tolist() == [self.entry] else cubes(x)


class Unpicklable(Exception):
    def __init__(self, first, second):
        super().__init__(first)
        self.second = second


def raise_unpicklable(entry, x):
    if np.flatnonzero(x != np.arange(len(x))).tolist() == [entry]:
        raise Unpicklable("too many arguments", threading.Lock())
    return cubes(x)


class Noted(Exception):
    """Loses its notes on the way."""

    def __reduce__(self):
        return Noted, self.args


def moved_singly(x):
    return np.count_nonzero(x != np.arange(len(x), dtype=float)) == 1


def writes(x):
    value = cubes(x)
    x[2] = 5.0
    return value


def writes_later(x):
    """Not where a worker's copy is compared with the original."""
    return writes(x) if moved_singly(x) else cubes(x)


def slopes_that_call_later(x):
    """A gradient with a call of fastgrad's own in it that fails, once a parameter has moved."""
    if not np.array_equal(x, np.ones(12)):
        fg.gradient(writes, np.ones(3))
    return 2 * x


def slopes_that_write_later(x):
    found = 2 * x
    if not np.array_equal(x, np.ones(12)):
        x[0] = 0.0
    return found


def replaces_later(p):
    if moved_singly(p["a"]):
        p["a"] = p["a"].copy()
    return float((p["a"] ** 2).sum())


def resizes(x):
    x.resize((2,), refcheck=False)
    return 1.0


def replaces(p):
    p["a"] = p["a"].copy()
    return float((p["a"] ** 2).sum())


def random_value(x):
    return cubes(x) * random.SystemRandom().random()


class Rounding:
    """As a sum in another order would: off by a few units in the last place elsewhere."""

    def __init__(self, size=1e-15):
        self.home, self.size = os.getpid(), size

    def __call__(self, x):
        return cubes(x) * (1.0 if os.getpid() == self.home else 1.0 + self.size)


def where(_):
    """A slope of zero, in every process another value."""
    return float(os.getpid())
