"""Derivatives for verifying the corpus: slow, careful, and independent of what it tests."""

from __future__ import annotations

import re

import numpy as np

from .base import leaf_scale, leaves, tree_map

LONG_EPS = float(np.finfo(np.longdouble).eps)
# Where a long double is no longer than a double, differences see less: ask less of them.
POWER = 1e-6 if LONG_EPS < 1e-18 else 1e-4
# The cost itself is coarser than its dtype says: its relative noise.
COARSE = {
    "noisy_last_digits": 1e-10,
    "single_inside_double": 1.2e-7,
    "single_network_inside_double": 4e-7,
}
# The cost is a small difference of large numbers: how much larger.
CANCELS = {"variance_far_from_zero": 1e6}
# The cost is computed in single precision when its parameters are.
SINGLE_COST = {"ridge_float32", "float32_rosenbrock", "complex64_quadratic"}
# The length over which the cost changes, where a step may not exceed it.
LENGTH = {"sine_at_1e10": 1.0, "narrow_bump": 1e-3, "rastrigin_6": 0.05, "maximum_near_tie": 4e-8}


def longest_step(name):
    """No step may reach over a kink that lies near the point."""
    near = re.search(r"near_.*1e-(\d+)$", name)
    return 0.4 * 10.0 ** -int(near[1]) if near else LENGTH.get(name, np.inf)


def noise(name, eps):
    """Relative noise of a cost that is computed with rounding ``eps``."""
    return COARSE.get(name, eps * CANCELS.get(name, 1.0))


def widened(params):
    """Copies in the widest real dtype of the same kind, where a cost follows its argument."""
    return tree_map(
        lambda x: np.array(x, np.clongdouble if np.iscomplexobj(x) else np.longdouble), params
    )


def precision_of(case):
    """Parameters to difference at, and the relative rounding of the cost there."""
    wide = widened(case.params)
    try:
        small = sum(x.size for _, x in leaves(wide)) <= 64
        follows = small and type(case.f(wide)) is np.longdouble
    except (TypeError, ValueError, np.linalg.LinAlgError, RuntimeError, DeprecationWarning):
        follows = False  # SciPy's linear algebra warns from 1.18 on, before it rounds
    if follows:
        return wide, LONG_EPS
    real = tree_map(lambda x: np.array(x, complex if np.iscomplexobj(x) else float), case.params)
    kind = [x.dtype for _, x in leaves(case.params)]
    if all(dtype.kind == "f" and dtype.itemsize == 8 for dtype in kind):
        return case.params, 2.3e-16
    return real, 2.3e-16


def quotients(f, params, place, step):
    """Four-point and two-point central differences of ``f``, and the size of its values."""
    leaf, index, direction = place
    saved = leaf[index]
    values = []
    for k in (-2, -1, 1, 2):
        leaf[index] = saved + k * step * direction
        values.append(f(params))
    leaf[index] = saved
    far_left, left, right, far_right = values
    two = (right - left) / (2 * step)
    size = max(abs(float(v)) for v in values)
    return (8 * (right - left) - (far_right - far_left)) / (12 * step), two, size


def ladder(at, first):
    """Steps by decades, absolute and relative to the entry, the last good one first."""
    steps = [10.0**-k for k in range(1, 15)] + [at * 10.0**-k for k in range(1, 14)] + [1.0, 10.0]
    return [first, *steps] if first else steps


def derivative(f, params, place, eps, goal, first=None, longest=np.inf):
    """Derivative at a place (leaf, index, direction), its error bound and its step.

    The best step of a ladder, or the first whose bound meets the goal.
    """
    leaf, index, _ = place
    at, own = float(abs(leaf[index])), float(np.finfo(leaf.dtype).eps)
    best = (np.nan, np.inf, None)
    for wish in ladder(at, first):
        step = leaf.real.dtype.type(wish)
        if not 1000 * own * at < step <= longest:
            continue
        four, two, size = quotients(f, params, place, step)
        half, _, _ = quotients(f, params, place, step / 2)
        rounding = 8 * eps * size / float(step) + own * at / float(step) * abs(float(two))
        error = abs(float(half - four)) + rounding
        if error < best[1]:
            best = (half, error, wish)
        if error < goal:
            break
    return best


def places(case, params):
    """Every place (leaf, index, direction) and the claimed leaf; complex entries twice."""
    claimed = dict(leaves(case.grad(case.params)))
    for path, leaf in leaves(params):
        for index in np.ndindex(leaf.shape):
            for direction in (1.0, 1j)[: 1 + np.iscomplexobj(leaf)]:
                yield (leaf, index, direction), np.asarray(claimed[path])


def complaints(name, case):
    """Why a gradient is not exact: one line per entry without power or off its bound."""
    params, eps = precision_of(case)
    eps, longest = noise(name, eps), longest_step(name)
    value, first = abs(float(case.f(params))), None
    for place, claimed in places(case, params):
        leaf, index, direction = place
        natural = value / leaf_scale(leaf)
        at_optimum = np.max(np.abs(claimed)) < 1e-10 * natural
        scale = max(leaf_scale(claimed), natural if at_optimum else 0.0)
        d, error, first = derivative(case.f, params, place, eps, 1e-11 * scale, first, longest)
        part = np.imag if direction == 1j else np.real
        allowed = 3 * error + 200 * float(np.finfo(claimed.dtype).eps) * scale
        if error > max(POWER, 1e4 * eps) * scale:
            yield f"{index}: no power, {d} +- {error} at scale {scale}"
        elif not abs(float(d - part(claimed[index]))) <= allowed:
            yield f"{index}: {claimed[index]} is not {d} +- {error}"


def one_sided(f, params, leaf, index, step=1e-5):
    """Backward and forward quotients, each extrapolated once to a vanishing step."""
    step, saved, sides = leaf.dtype.type(step), leaf[index], []
    base = f(params)
    for sign in (-1, 1):
        slopes = []
        for part in (1, 0.5):
            leaf[index] = saved + sign * part * step
            slopes.append((f(params) - base) / (sign * part * step))
        leaf[index] = saved
        sides.append(float(2 * slopes[1] - slopes[0]))
    return min(sides), max(sides)
