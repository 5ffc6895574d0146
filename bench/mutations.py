"""Slips that people make in a gradient, applied to right gradients of other people's models.

A mutation looks at a model, chooses where to err, and yields a `Slip`, or None where the model has
nothing to err in. `kinds` are the causes that name the slip, by their names in `fastgrad.Cause`.
Those for all parameters in one vector are given where they differ, because a vector does not tell
the shapes of its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TypeAlias

import numpy as np
from mutant_models import Blocks, Model

Apply: TypeAlias = Callable[[Blocks, Blocks], Blocks]

MOVED = ("PERMUTED",)  # any rearrangement may be called so where the shape is not known


@dataclass(frozen=True)
class Slip:
    """One wrong gradient: `apply` makes it of the right one and the parameters."""

    apply: Apply
    blocks: tuple[str, ...]
    kinds: tuple[str, ...]
    in_vector: tuple[str, ...] = ()  # instead of `kinds`, for one vector
    what: str = ""
    alone: tuple[str, ...] = ()  # as well as `kinds`, where the block is a single number
    granted: bool = False  # whether the gradient may be called right: it is, to its rounding

    def accepted(self, model: Model, layout: str) -> frozenset[str]:
        kinds = (layout == "vector" and self.in_vector) or self.kinds
        if kinds and sum(model.params[name].size for name in self.blocks) == 1:
            # Of one entry of a vector it is enough to name it; a scalar has no other place.
            kinds = (*kinds, *self.alone, *["SINGLE"] * (layout == "vector" and bool(self.alone)))
        return frozenset(kinds)


@dataclass(frozen=True)
class Site:
    """A model where it is checked: its right gradient there, and dice."""

    model: Model
    gradient: Blocks
    dice: np.random.Generator

    @property
    def params(self) -> Blocks:
        return self.model.params

    def names(self, least: int = 1, ndim: int = 0, among: Sequence[str] | None = None) -> list[str]:
        """Blocks with at least so many entries and axes whose gradient does not vanish."""
        every = {name: np.abs(g).max() for name, g in self.gradient.items()}
        largest = max(every.values())
        return [
            name
            for name, size in every.items()
            if size > 1e-6 * largest
            and self.params[name].size >= least
            and self.params[name].ndim >= ndim
            and (among is None or name in among)
        ]

    def pick(self, *args: int, among: Sequence[str] | None = None) -> str | None:
        names = self.names(*args, among=among)
        return str(self.dice.choice(names)) if names else None


Mutation: TypeAlias = Callable[[Site], "Slip | None"]
MUTATIONS: dict[str, Mutation] = {}


def mutation(name: str) -> Callable[[Mutation], Mutation]:
    def add(make: Mutation) -> Mutation:
        MUTATIONS[name] = make
        return make

    return add


def on(blocks: Sequence[str], change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Apply:
    """Change the gradients of some blocks, each by itself and its parameters."""

    def apply(g: Blocks, p: Blocks) -> Blocks:
        new = {name: np.asarray(change(g[name], p[name]), dtype=float) for name in blocks}
        return {**g, **{name: block.reshape(g[name].shape) for name, block in new.items()}}

    return apply


def one_block(site: Site, change: Callable, kinds: Sequence[str], least: int = 1) -> Slip | None:
    name = site.pick(least)
    return Slip(on([name], change), (name,), tuple(kinds), alone=tuple(kinds)) if name else None


# -------------------------------------------------------------------------------- factors and signs


def _factor(name: str, values: Sequence[float], where: str) -> None:
    """A factor everywhere, in one block, or in some of the blocks."""

    @mutation(f"factor {name}, {where}")
    def make(site: Site) -> Slip | None:
        c, names = float(site.dice.choice(values)), site.names()
        if where == "one block":
            chosen = [str(site.dice.choice(names))]
        elif where == "some blocks":
            if len(names) < 3:
                return None
            chosen = sorted(site.dice.choice(names, size=len(names) - 1, replace=False).tolist())
        else:
            chosen = list(site.params)
        return Slip(
            on(chosen, lambda g, p: c * g),
            tuple(chosen),
            ("FACTOR",),
            what=f"{c:g}",
            alone=("FACTOR",) if c in SIMPLE else ("UNKNOWN",),  # any number is some factor
        )


# Of a scalar any number is some factor: only these are a reason to say so.
SIMPLE = (0.5, 2.0)
SAMPLES = [20, 32, 50, 64, 100, 442]
_factor("1/m", [1 / m for m in SAMPLES], "everywhere")
_factor("1/m", [1 / m for m in SAMPLES], "some blocks")
_factor("m", SAMPLES, "one block")
_factor("2", [2.0], "everywhere")
_factor("2", [2.0], "one block")
_factor("1/2", [0.5], "one block")
_factor("1.5", [1.5], "some blocks")
_factor("0.9", [0.9, 0.999, 0.995], "everywhere")
_factor("sigma", [0.37, 2.72, 0.148, 7.4], "one block")


@mutation("factor 2 in a part of a block")
def _factor_in_part(site: Site) -> Slip | None:
    return _in_part(site, lambda g, p: 2 * g, ("FACTOR",))


@mutation("sign in one block")
def _sign(site: Site) -> Slip | None:
    return one_block(site, lambda g, p: -g, ("SIGN",))


@mutation("sign everywhere")
def _sign_everywhere(site: Site) -> Slip | None:
    return Slip(on(list(site.params), lambda g, p: -g), tuple(site.params), ("SIGN",))


@mutation("sign in the second half of a block")
def _sign_in_part(site: Site) -> Slip | None:
    return _in_part(site, lambda g, p: -g, ("SIGN",))


def _in_part(site: Site, change: Callable, kinds: Sequence[str]) -> Slip | None:
    name = site.pick(6, 1)
    if name is None or len(site.params[name]) < 4:
        return None
    start = len(site.params[name]) // 2

    def in_part(g: np.ndarray, p: np.ndarray) -> np.ndarray:
        return np.concatenate([g[:start], change(g[start:], p[start:])])

    return Slip(on([name], in_part), (name,), tuple(kinds), what=f"from {start} on")


# ----------------------------------------------------------------------------------- never computed


@mutation("block never computed")
def _zero(site: Site) -> Slip | None:
    return one_block(site, lambda g, p: 0 * g, ("ZERO",))


@mutation("last rows never computed")
def _zero_in_part(site: Site) -> Slip | None:
    return _in_part(site, lambda g, p: 0 * g, ("ZERO",))


@mutation("several blocks never computed")
def _zeros(site: Site) -> Slip | None:
    names = site.names()
    if len(names) < 4:
        return None
    chosen = names[: len(names) // 2]
    return Slip(on(chosen, lambda g, p: 0 * g), tuple(chosen), ("ZERO",))


# ---------------------------------------------------------------------------------------- penalties


def _penalty(name: str, times: float, which: str) -> None:
    """The gradient holds another multiple of the penalty than 1, in all arrays or in one."""

    @mutation(name)
    def make(site: Site) -> Slip | None:
        held, kind = (getattr(site.model, which), f"MISSING_{which.upper()}")
        names = [n for n in held if site.params[n].size > 1]
        if not names:
            return None
        if name.endswith("one block"):
            if len(names) < 2:
                return None
            names = [str(site.dice.choice(names))]

        def apply(g: Blocks, p: Blocks) -> Blocks:
            shape = {n: p[n] if which == "l2" else np.sign(p[n]) for n in names}
            return {**g, **{n: g[n] + (times - 1) * held[n] * shape[n] for n in names}}

        return Slip(apply, tuple(names), (kind,), what=f"{(times - 1) * held[names[0]]:.3g}")


_penalty("L2 missing", 0, "l2")
_penalty("L2 doubled", 2, "l2")
_penalty("L2 without its half, one block", 0.5, "l2")
_penalty("L2 of another strength", 1.1, "l2")
_penalty("L2 missing, one block", 0, "l2")
_penalty("L1 missing", 0, "l1")
_penalty("L1 doubled", 2, "l1")


@mutation("L2 on the biases too")
def _l2_on_biases(site: Site) -> Slip | None:
    names = [n for n in site.names() if n not in site.model.l2 and site.params[n].size > 1]
    if not site.model.l2 or not names:
        return None
    c = next(iter(site.model.l2.values()))
    return Slip(on(names, lambda g, p: g + c * p), tuple(names), ("MISSING_L2",), what=f"{c:g}")


@mutation("weight decay added to one block")
def _decay(site: Site) -> Slip | None:
    name = site.pick(3)
    if name is None or np.ptp(np.abs(site.params[name])) < 0.1:
        return None
    c = float(np.abs(site.gradient[name]).mean() * site.dice.choice([0.01, 0.1, 0.5]))
    return Slip(on([name], lambda g, p: g + c * p), (name,), ("MISSING_L2",), what=f"{c:.3g}")


@mutation("constant added to one block")
def _offset(site: Site) -> Slip | None:
    name = site.pick(3)
    if name is None:
        return None
    c = float(np.abs(site.gradient[name]).mean() * site.dice.choice([0.01, -0.3, 1]))
    return Slip(on([name], lambda g, p: g + c), (name,), ("OFFSET",), what=f"{c:.3g}")


# ------------------------------------------------------------------------------ values out of place


@mutation("transposed")
def _transposed(site: Site) -> Slip | None:
    names = [
        n for n in site.names(4, 2) if site.params[n].ndim == 2 and min(site.params[n].shape) > 1
    ]
    if not names:
        return None
    name = str(site.dice.choice(names))
    shape = site.params[name].shape
    return Slip(
        on([name], lambda g, p: g.T.reshape(shape)),
        (name,),
        ("TRANSPOSED",),
        ("TRANSPOSED", *MOVED),
    )


@mutation("axes exchanged")
def _axes(site: Site) -> Slip | None:
    name = site.pick(8, 3)
    if name is None:
        return None
    shape = site.params[name].shape
    orders = [o for o in permutations(range(len(shape))) if o != tuple(range(len(shape)))]
    order = orders[site.dice.integers(len(orders))]
    kinds = ("TRANSPOSED", *MOVED)
    return Slip(on([name], lambda g, p: g.transpose(order).reshape(shape)), (name,), kinds)


@mutation("reshaped for a transpose")
def _reshaped(site: Site) -> Slip | None:
    """Computed in the transposed layout, and put into shape by a reshape."""
    names = [n for n in site.names(4, 2) if len(set(site.params[n].shape)) > 1]
    names = [n for n in names if min(site.params[n].shape) > 1]
    if not names:
        return None
    name = str(site.dice.choice(names))
    return Slip(
        on([name], lambda g, p: g.ravel(order="F").reshape(g.shape)),
        (name,),
        ("TRANSPOSED", *MOVED),
    )


def _alike(site: Site) -> list[tuple[str, str]]:
    names, shapes = site.names(), {n: p.shape for n, p in site.params.items()}
    return [(a, b) for a, b in combinations(names, 2) if shapes[a] == shapes[b]]


@mutation("two blocks swapped")
def _swapped(site: Site) -> Slip | None:
    pairs = _alike(site)
    if not pairs:
        return None
    a, b = pairs[site.dice.integers(len(pairs))]
    return Slip(lambda g, p: {**g, a: g[b], b: g[a]}, (a, b), ("SWAPPED",), ("SWAPPED", *MOVED))


@mutation("gradient of another block")
def _another(site: Site) -> Slip | None:
    pairs = _alike(site)
    if not pairs:
        return None
    a, b = pairs[site.dice.integers(len(pairs))]
    apply = lambda g, p: {**g, a: g[b]}  # noqa: E731
    return Slip(apply, (a,), ("SWAPPED",), what=f"{a} has that of {b}", alone=("SWAPPED",))


def _rearranged(name: str, change: Callable, kinds: Sequence[str], least: int = 3) -> None:
    @mutation(name)
    def make(site: Site) -> Slip | None:
        names = [n for n in site.names(least, 1) if len(site.params[n]) >= least]
        if not names:
            return None
        chosen, seed = str(site.dice.choice(names)), int(site.dice.integers(1000))
        apply = on([chosen], lambda g, p: change(g, np.random.default_rng(seed)))
        moved = () if site.params[chosen].ndim == 1 else MOVED
        return Slip(apply, (chosen,), tuple(kinds), (*kinds, *moved))


_rearranged("shifted by one", lambda g, dice: np.roll(g, 1, axis=0), ("SHIFTED",))
_rearranged(
    "shifted by one, a zero first",
    lambda g, dice: np.concatenate([0 * g[:1], g[:-1]]),
    ("SHIFTED", "SWAPPED"),
    least=4,
)
_rearranged("reversed", lambda g, dice: g[::-1], ("REVERSED",))
_rearranged("rows permuted", lambda g, dice: g[_mixed(len(g), dice)], ("PERMUTED",), least=4)


def _mixed(n: int, dice: np.random.Generator) -> np.ndarray:
    """An order that is no shift and no reversal."""
    plain = [np.roll(np.arange(n)[::step], by) for step in (1, -1) for by in range(n)]
    while any(np.array_equal(order := dice.permutation(n), each) for each in plain):
        pass
    return order


@mutation("kernel flipped")
def _flipped(site: Site) -> Slip | None:
    name = site.pick(among=site.model.kernels)
    if name is None:
        return None
    axes = (-1,) if site.params[name].ndim == 3 else (-2, -1)
    apply = on([name], lambda g, p: np.flip(g, axes))
    return Slip(apply, (name,), ("REVERSED",), ("REVERSED", *MOVED))


@mutation("summed over the wrong axis")
def _broadcast(site: Site) -> Slip | None:
    name = site.pick(4, 1)
    if name is None:
        return None
    axis = int(site.dice.integers(site.params[name].ndim))
    mean = bool(site.dice.integers(2))

    def change(g: np.ndarray, p: np.ndarray) -> np.ndarray:
        total = g.mean(axis=axis, keepdims=True) if mean else g.sum(axis=axis, keepdims=True)
        return np.broadcast_to(total, g.shape)

    return Slip(on([name], change), (name,), ("BROADCAST",))
