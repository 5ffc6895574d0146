"""More slips: chain rules, masks, formats, single entries, other points and other functions."""

from __future__ import annotations

import numpy as np
from mutant_models import NO_PATTERN, Blocks, Model
from mutations import MOVED, MUTATIONS, Site, Slip, mutation, on

__all__ = ["MUTATIONS"]

# -------------------------------------------------------------------------------------- chain rules


@mutation("exp(parameter) missing")
def _exp_missing(site: Site) -> Slip | None:
    """The derivative by sigma, where the parameter is log sigma."""
    names = tuple(site.model.logs)
    return Slip(on(names, lambda g, p: g / np.exp(p)), names, ("LOG_PARAMETER",)) if names else None


@mutation("exp(parameter) missing in one block")
def _exp_missing_once(site: Site) -> Slip | None:
    if len(site.model.logs) < 2:
        return None
    name = str(site.dice.choice(list(site.model.logs)))
    return Slip(on([name], lambda g, p: g / np.exp(p)), (name,), ("LOG_PARAMETER",))


@mutation("exp(parameter) once too often")
def _exp_twice(site: Site) -> Slip | None:
    name = site.pick(2, among=tuple(site.model.logs))
    return (
        Slip(on([name], lambda g, p: g * np.exp(p)), (name,), ("LOG_PARAMETER",)) if name else None
    )


@mutation("by the logarithm of the parameter")
def _by_log(site: Site) -> Slip | None:
    """The derivative by log sigma, where the parameter is sigma."""
    name = site.pick(among=site.model.rates)
    return Slip(on([name], lambda g, p: g * p), (name,), ("LOG_PARAMETER",)) if name else None


@mutation("normalisation forgotten")
def _not_normalised(site: Site) -> Slip | None:
    """What is along a normalised direction does not count; here the gradient has such a part."""
    if not site.model.unit:
        return None
    name, axis = next(iter(site.model.unit.items()))
    along = site.dice.normal(size=len(site.params[name])) * np.abs(site.gradient[name]).mean()

    def change(g: np.ndarray, p: np.ndarray) -> np.ndarray:
        return g + along[:, None] * p / np.linalg.norm(p, axis=axis, keepdims=True)

    return Slip(on([name], change), (name,), ("NORMALIZATION",), ("NORMALIZATION", "UNKNOWN"))


@mutation("projected on the sphere")
def _projected(site: Site) -> Slip | None:
    name = site.pick(4)
    if name is None or name in site.model.unit:
        return None

    def change(g: np.ndarray, p: np.ndarray) -> np.ndarray:
        return g - (g * p).sum() / (p * p).sum() * p

    return Slip(on([name], change), (name,), ("NORMALIZATION",))


# -------------------------------------------------------------------------------------------- masks


def _both_signs(x: np.ndarray) -> bool:
    return min((x > 0).sum(), (x < 0).sum()) >= 3


@mutation("zero where the parameter is negative")
def _masked(site: Site) -> Slip | None:
    names = [n for n in site.names(8) if _both_signs(site.params[n])]
    if not names:
        return None
    name = str(site.dice.choice(names))
    return Slip(on([name], lambda g, p: g * (p > 0)), (name,), ("ZERO", "MASKED"))


@mutation("L2 missing where the parameter is negative")
def _masked_penalty(site: Site) -> Slip | None:
    names = [n for n in site.model.l2 if site.params[n].size >= 8 and _both_signs(site.params[n])]
    if not names:
        return None
    name = str(site.dice.choice(names))
    c = site.model.l2[name]
    kinds = ("MISSING_L2", "MASKED")
    return Slip(on([name], lambda g, p: g - c * np.fmin(p, 0)), (name,), kinds)


@mutation("absolute value")
def _absolute(site: Site) -> Slip | None:
    names = [n for n in site.names(8) if _both_signs(site.gradient[n])]
    if not names:
        return None
    name = str(site.dice.choice(names))
    return Slip(on([name], lambda g, p: np.abs(g)), (name,), ("ABSOLUTE", "SIGN"))


@mutation("positive part")
def _positive(site: Site) -> Slip | None:
    names = [n for n in site.names(8) if _both_signs(site.gradient[n])]
    if not names:
        return None
    name = str(site.dice.choice(names))
    return Slip(on([name], lambda g, p: np.fmax(g, 0)), (name,), ("ABSOLUTE", "ZERO"))


@mutation("each entry clipped")
def _clipped(site: Site) -> Slip | None:
    name = site.pick(8)
    if name is None:
        return None
    limit = float(1.07 * np.quantile(np.abs(site.gradient[name]), 0.6))
    return Slip(on([name], lambda g, p: np.clip(g, -limit, limit)), (name,), NO_PATTERN)


@mutation("norm clipped")
def _norm_clipped(site: Site) -> Slip | None:
    norm = np.sqrt(sum((g**2).sum() for g in site.gradient.values()))
    c = float(site.dice.uniform(0.2, 0.8))

    def apply(g: Blocks, p: Blocks) -> Blocks:
        now = np.sqrt(sum((each**2).sum() for each in g.values()))
        return {name: each * min(1.0, c * norm / now) for name, each in g.items()}

    return Slip(apply, tuple(site.params), ("FACTOR",), what=f"{c:.3g}")


# ------------------------------------------------------------------------------------------ formats


@mutation("float16 on the way")
def _half(site: Site) -> Slip | None:
    size = max(np.abs(g).max() for g in site.gradient.values())
    if not 1e-2 < size < 1e4:  # beyond, float16 is zero or infinite
        return None
    apply = on(list(site.params), lambda g, p: g.astype(np.float16))
    # Of few values, chance may make the last bits zero.
    few = ("NEARBY",) if len(site.model.vector()) <= 4 else ()
    return Slip(apply, tuple(site.params), ("PRECISION", *few))


@mutation("float32 on the way")
def _single_format(site: Site) -> Slip | None:
    apply = on(list(site.params), lambda g, p: g.astype(np.float32))
    return Slip(apply, tuple(site.params), ("PRECISION",), granted=True)


# --------------------------------------------------------------------------- one entry, row, column


def _one_entry(name: str, change: object, kinds: tuple[str, ...]) -> None:
    @mutation(name)
    def make(site: Site) -> Slip | None:
        block = site.pick(6)
        if block is None:
            return None
        # Among the larger ones: an error in an entry that vanishes cannot be seen.
        size = np.abs(site.gradient[block])
        at = int(site.dice.choice(np.flatnonzero(size.ravel() >= np.median(size))))

        def spoil(g: np.ndarray, p: np.ndarray) -> np.ndarray:
            new = g.copy()
            new.flat[at] = change(g.flat[at])
            return new

        return Slip(on([block], spoil), (block,), kinds, what=f"{block} at {at}")


_one_entry("one entry twice too large", lambda v: 2 * v, ("SINGLE", "FACTOR"))
_one_entry("one entry of the wrong sign", lambda v: -v, ("SINGLE", "SIGN"))
_one_entry("one entry zero", lambda v: 0.0, ("SINGLE", "ZERO"))
_one_entry("one entry off", lambda v: 1.137 * v + 0.0173 * abs(v), ("SINGLE", "UNKNOWN"))


def _one_line(name: str, change: object, kinds: tuple[str, ...]) -> None:
    """A row or a column of a matrix."""

    @mutation(name)
    def make(site: Site) -> Slip | None:
        blocks = [n for n in site.names(9, 2) if min(site.params[n].shape[:2]) >= 3]
        if not blocks:
            return None
        block, axis = str(site.dice.choice(blocks)), int(site.dice.integers(2))
        at = int(site.dice.integers(site.params[block].shape[axis]))
        here = (at,) if axis == 0 else (slice(None), at)

        def spoil(g: np.ndarray, p: np.ndarray) -> np.ndarray:
            new = g.copy()
            new[here] = change(g[here])
            return new

        return Slip(on([block], spoil), (block,), kinds, what=f"{block}, axis {axis}, at {at}")


_one_line("one line twice too large", lambda v: 2 * v, ("FACTOR",))
_one_line("one line of the wrong sign", lambda v: -v, ("SIGN",))
_one_line("one line zero", lambda v: 0 * v, ("ZERO",))
_one_line("one line off by a constant", lambda v: v + np.abs(v).mean(), ("OFFSET",))


@mutation("random entries off at random")
def _scattered(site: Site) -> Slip | None:
    name = site.pick(12)
    if name is None:
        return None
    g = site.gradient[name]
    where = site.dice.random(g.shape) < 0.4
    errors = where * site.dice.normal(size=g.shape) * np.abs(g).mean()
    return Slip(on([name], lambda g, p: g + errors), (name,), NO_PATTERN)


@mutation("all entries off at random")
def _all_random(site: Site) -> Slip | None:
    name = site.pick(6)
    if name is None:
        return None
    scale = site.dice.choice([0.01, 0.3])
    errors = scale * site.dice.normal(size=site.gradient[name].shape)
    return Slip(on([name], lambda g, p: g * (1 + errors)), (name,), NO_PATTERN)


# ---------------------------------------------------------------- other points, functions and terms


@mutation("gradient of the previous iterate")
def _stale(site: Site) -> Slip | None:
    model, x = site.model, site.model.vector()
    if len(x) < 4:  # a rate would fit anything
        return None
    rate = float(site.dice.choice([0.01, 0.1])) * np.abs(x).max()
    rate /= max(np.abs(g).max() for g in site.gradient.values())
    kept = _before_a_step(model, rate)
    while kept is None:
        rate /= 2
        kept = _before_a_step(model, rate)
    return Slip(lambda g, p: kept, tuple(site.params), ("STALE",), what=f"rate {rate:.3g}")


def _before_a_step(model: Model, rate: float) -> Blocks | None:
    """The gradient at the point from which gradient descent has led to where the model is."""
    x = model.vector()
    g = model.gradient_at(x)
    for _ in range(200):
        before, g = g, model.gradient_at(x + rate * g)
        if np.abs(g - before).max() <= 1e-14 * np.abs(g).max():
            return {name: block.copy() for name, block in model.split(g).items()}
    return None


@mutation("symmetric argument counted twice")
def _symmetric(site: Site) -> Slip | None:
    if not site.model.symmetric:
        return None
    name = site.model.symmetric[0]
    apply = on([name], lambda g, p: g + g.T - np.diag(np.diag(g)))
    return Slip(apply, (name,), ("SYMMETRIC",), ("SYMMETRIC", "FACTOR", "UNKNOWN"))


@mutation("one triangle of a symmetric argument")
def _triangle(site: Site) -> Slip | None:
    if not site.model.symmetric:
        return None
    name = site.model.symmetric[0]
    apply = on([name], lambda g, p: np.tril(g))
    kinds = ("ZERO", "SYMMETRIC")
    return Slip(apply, (name,), kinds)


@mutation("gradient of a nearby function")
def _nearby(site: Site) -> Slip | None:
    near = site.model.nearby
    if near is None:
        return None
    return Slip(lambda g, p: near(p), tuple(site.params), ("NEARBY", "UNKNOWN"))


def _careless(number: int) -> None:
    """A backward pass of the model's own: what was forgotten there has no simple relation."""

    @mutation(f"backward pass with a slip, {number + 1}")
    def make(site: Site) -> Slip | None:
        if len(site.model.careless) <= number:
            return None
        what, (grad, kinds) = list(site.model.careless.items())[number]
        return Slip(lambda g, p: grad(p), tuple(site.params), tuple(kinds), what=what)


_careless(0)
_careless(1)


@mutation("one block updated before the others")
def _updated(site: Site) -> Slip | None:
    """As after ``W -= rate * dW``, with the gradient of `b` computed after that."""
    names, model = site.names(), site.model
    if len(names) < 2:
        return None
    first = names[0]
    if sum(site.params[name].size for name in names) - site.params[first].size < 3:
        return None  # a rate would fit anything
    x = model.vector()
    part, g = x[model.slices[first]], site.gradient[first].ravel()
    part -= 0.1 * np.abs(part).max() / np.abs(g).max() * g
    kept = {k: v.copy() for k, v in model.split(model.gradient_at(x)).items()}
    others = [n for n in site.params if n != first]
    return Slip(
        lambda g, p: {**g, **{n: kept[n] for n in others}},
        tuple(others),
        ("STALE",),
        what=f"{first} was updated",
    )


@mutation("tiny errors at random")
def _tiny(site: Site) -> Slip | None:
    size = float(site.dice.choice([1e-6, 1e-5, 1e-4]))
    errors = {n: 1 + size * site.dice.normal(size=g.shape) for n, g in site.gradient.items()}
    apply = lambda g, p: {n: g[n] * errors[n] for n in g}  # noqa: E731
    return Slip(apply, tuple(site.params), NO_PATTERN, what=f"{size:g}")


@mutation("a constant with few digits")
def _rounded_constant(site: Site) -> Slip | None:
    """Pi as 3.14159, or a mean over one sample too few: a factor close to 1."""
    c = float(site.dice.choice([3.14159 / np.pi, 1.0001, 49 / 50, 1.00002]))
    apply = on(list(site.params), lambda g, p: c * g)
    return Slip(apply, tuple(site.params), ("FACTOR", "NEARBY"), what=f"{c:.7g}")


@mutation("constant added where parameters have one sign")
def _offset_of_one_sign(site: Site) -> Slip | None:
    """A constant, and a multiple of the sign, are the same there: the simpler one is to be said."""
    names = [n for n in site.names(3) if abs(np.sign(site.params[n]).sum()) == site.params[n].size]
    if not names:
        return None
    name = str(site.dice.choice(names))
    c = float(np.abs(site.gradient[name]).mean() / 3)
    return Slip(on([name], lambda g, p: g + c), (name,), ("OFFSET",), what=f"{c:.3g}")


@mutation("order of concatenation")
def _concatenated(site: Site) -> Slip | None:
    """``np.concatenate([db, dW])`` for parameters that are ``[W, b]``."""
    names = list(site.params)
    if len(names) < 2:
        return None

    def apply(g: Blocks, p: Blocks) -> Blocks:
        vector = np.concatenate([np.ravel(g[n]) for n in reversed(names)])
        return site.model.split(vector)

    return Slip(apply, tuple(names), (), ("SHIFTED", "SWAPPED", *MOVED))
