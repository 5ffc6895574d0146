"""Other people's models as two problems each: nested parameters, and all of them in one vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

# Parameters and gradients: one array for each block.
Blocks = dict[str, np.ndarray]
# A backward pass with a slip of its own, and the causes that name it.
Careless = tuple[Callable[[Blocks], Blocks], Sequence[str]]
# What may be said where there is no relation: nothing, or where, how many and how large.
NO_PATTERN = ("UNKNOWN", "SINGLE", "SLICE", "NEARBY", "MASKED")
# Step of the plain central differences that a model is compared with, over max(1, |x|): the cube
# root of the spacing of float64, where rounding and truncation balance.
STEP = float(np.cbrt(np.finfo(float).eps))


@dataclass(frozen=True)
class Model:
    """A loss with its gradient; `l2` and `l1` say what penalties the loss holds.

    Where `memory` is given, the parameters are views of it and `f` reads them there, whatever it is
    called with, as a module of torch does.
    """

    name: str
    f: Callable[[Blocks], float]
    grad: Callable[[Blocks], Blocks]
    params: Blocks
    l2: Mapping[str, float] = field(default_factory=dict)  # c for each block, of c/2 |x|^2
    l1: Mapping[str, float] = field(default_factory=dict)  # c for each block, of c |x|
    logs: Mapping[str, Any] = field(default_factory=dict)  # blocks that hold logarithms
    rates: tuple[str, ...] = ()  # blocks whose positive entries could be given as logarithms
    kernels: tuple[str, ...] = ()  # blocks that are convolved with something
    unit: Mapping[str, int] = field(default_factory=dict)  # normalised blocks, and along which axis
    careless: Mapping[str, Careless] = field(default_factory=dict)  # backward passes with a slip
    nearby: Callable[[Blocks], Blocks] | None = None  # gradient of a slightly different loss
    symmetric: tuple[str, ...] = ()  # matrices of which the loss means the symmetric part
    memory: np.ndarray | None = None

    @property
    def slices(self) -> dict[str, slice]:
        """Where each block lies in the vector."""
        ends = np.cumsum([block.size for block in self.params.values()])
        return {
            name: slice(int(end) - block.size, int(end))
            for (name, block), end in zip(self.params.items(), ends, strict=True)
        }

    def split(self, vector: np.ndarray) -> Blocks:
        """Views of a vector, one for each block."""
        return {
            name: vector[place].reshape(self.params[name].shape)
            for name, place in self.slices.items()
        }

    def vector(self) -> np.ndarray:
        return join(self.params)

    def gradient_at(self, vector: np.ndarray) -> np.ndarray:
        if self.memory is None:
            return join(self.grad(self.split(vector)))
        with _moved(self.memory, vector):
            return join(self.grad(self.params))

    def value_at(self, vector: np.ndarray) -> float:
        if self.memory is None:
            return float(self.f(self.split(vector)))
        with _moved(self.memory, vector):
            return float(self.f(self.params))

    def plain_differences(self) -> np.ndarray:
        """Central differences with one step each, as anyone would take them."""
        x = self.vector()
        found = np.empty(x.size)
        for i, entry in enumerate(x):
            step = STEP * max(1.0, abs(entry))
            up, down = x.copy(), x.copy()
            up[i], down[i] = entry + step, entry - step
            found[i] = (self.value_at(up) - self.value_at(down)) / (up[i] - down[i])
        return found


@dataclass(frozen=True)
class Problem:
    """What a checker is given."""

    f: Callable[[Any], float]
    grad: Callable[[Any], Any]
    params: Any


def nested(model: Model, grad: Callable[[Blocks], Blocks]) -> Problem:
    params = model.params
    if model.memory is None:
        params = {name: block.copy() for name, block in params.items()}
    return Problem(model.f, grad, params)


def in_one_vector(model: Model, grad: Callable[[Blocks], Blocks]) -> Problem:
    params = model.vector() if model.memory is None else model.memory
    return Problem(lambda x: model.f(model.split(x)), lambda x: join(grad(model.split(x))), params)


LAYOUTS = {"nested": nested, "vector": in_one_vector}


def random_of(name: str) -> np.random.Generator:
    """Random numbers of a model, the same in each run."""
    return np.random.default_rng(list(name.encode()))


def join(blocks: Blocks) -> np.ndarray:
    return np.concatenate([np.ravel(block) for block in blocks.values()]).astype(float)


@contextmanager
def _moved(memory: np.ndarray, vector: np.ndarray) -> Iterator[None]:
    before = memory.copy()
    memory[:] = vector
    try:
        yield
    finally:
        memory[:] = before


def penalised(
    model: Model, l2: Mapping[str, float], l1: Mapping[str, float] | None = None
) -> Model:
    """The same loss with penalties, as users add them to what a library gives."""
    l1 = l1 or {}

    def f(p: Blocks) -> float:
        squares = sum(c / 2 * float((p[name] ** 2).sum()) for name, c in l2.items())
        return (
            model.f(p) + squares + sum(c * float(np.abs(p[name]).sum()) for name, c in l1.items())
        )

    def with_penalties(plain: Callable[[Blocks], Blocks]) -> Callable[[Blocks], Blocks]:
        def grad(p: Blocks) -> Blocks:
            g = dict(plain(p))
            for name, c in l2.items():
                g[name] = g[name] + c * p[name]
            for name, c in l1.items():
                g[name] = g[name] + c * np.sign(p[name])
            return g

        return grad

    return replace(
        model,
        f=f,
        grad=with_penalties(model.grad),
        nearby=with_penalties(model.nearby) if model.nearby else None,
        careless={k: (with_penalties(g), kinds) for k, (g, kinds) in model.careless.items()},
        l2={**model.l2, **l2},
        l1=l1,
    )
