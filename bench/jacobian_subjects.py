"""All checks that are made: of right and of wrong Jacobians, Hessians, products and adjoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
from jacobian_problems import Problem, Second, problems, random_of
from jacobian_second import functions as second_functions
from jacobian_slips import OF_HESSIANS, OF_JACOBIANS, OF_SOME, Make, Site, Slip

import fastgrad as fg

# Of the slips that a problem has a place for, one in so many: all of them would take half an hour.
ONE_IN = {"jacobian": 14, "vjp": 60, "jvp": 60, "adjoint": 40}
SECOND = {"hessian": 5, "hessian from values": 8, "hvp": 12, "hvp from values": 20}
# An error is visible beyond this many times what plain central differences miss in its row.
VISIBLE = 30.0


@dataclass(frozen=True)
class Subject:
    """One check, and what is known of it."""

    name: str
    kind: str
    check: Callable[[], fg.Report]
    claimed: np.ndarray  # the matrix that is claimed, (outputs, parameters)
    right: np.ndarray
    floor: np.ndarray  # of each entry: smaller errors are not seen
    place: Callable[[fg.Entry], tuple[int, int]]  # row and column of an entry
    held_out: bool
    slip: str = ""
    kinds: frozenset[str] = frozenset()

    @property
    def error(self) -> np.ndarray:
        return np.abs(self.claimed - self.right)


def subjects() -> Iterator[Subject]:
    for problem in problems():
        yield from _of_problem(problem)
    for second in second_functions():
        yield from _of_second(second)


def _is_held_out(name: str) -> bool:
    """Every other problem, in an order that means nothing; both points of it alike."""
    return bool(crc32(name.removesuffix(", elsewhere").encode()) // 8 % 2)


def _chosen(name: str, one_in: int) -> bool:
    return crc32(name.encode()) // 2 % one_in == 0


# --------------------------------------------------------------------------------------- Jacobians


@dataclass(frozen=True)
class _Laid:
    """How the arrays of a problem make rows and columns of a matrix."""

    shapes: dict[str, tuple[int, ...]]  # of the parameters; the key of a single array is empty
    out: tuple[int, ...]

    @property
    def columns(self) -> dict[str, slice]:
        found, start = {}, 0
        for key, shape in self.shapes.items():
            found[key] = slice(start, start + int(np.prod(shape)))
            start = found[key].stop
        return found

    def matrix(self, jacobian: Any) -> np.ndarray:
        rows = int(np.prod(self.out))
        parts = jacobian.values() if isinstance(jacobian, dict) else [jacobian]
        return np.concatenate([np.reshape(part, (rows, -1)) for part in parts], axis=1)

    def nested(self, matrix: np.ndarray) -> Any:
        parts = {
            key: matrix[:, side].reshape(*self.out, *self.shapes[key])
            for key, side in self.columns.items()
        }
        return parts.get("", parts)

    def vector(self, tangent: Any) -> np.ndarray:
        parts = tangent.values() if isinstance(tangent, dict) else [tangent]
        return np.concatenate([np.ravel(part) for part in parts])

    def params(self, vector: np.ndarray) -> Any:
        parts = {key: vector[side].reshape(self.shapes[key]) for key, side in self.columns.items()}
        return parts.get("", parts)

    def place(self, entry: fg.Entry) -> tuple[int, int]:
        key = entry.leaf.removeprefix("x").lstrip(".") if "" not in self.shapes else ""
        column = int(np.ravel_multi_index(entry.index, self.shapes[key])) if entry.index else 0
        return _number(entry.output or "", self.out), self.columns[key].start + column


def _number(path: str, shape: tuple[int, ...]) -> int:
    found = re.search(r"\[([\d, ]+)\]$", path)
    if found is None or not shape:
        return 0
    return int(np.ravel_multi_index(tuple(map(int, found[1].split(","))), shape))


def _of_problem(problem: Problem) -> Iterator[Subject]:
    params = problem.params
    shapes = (
        {k: v.shape for k, v in params.items()} if isinstance(params, dict) else {"": params.shape}
    )
    laid = _Laid(shapes, np.shape(problem.f(params)))
    right = laid.matrix(problem.jacobian(params))
    floor = _floor(laid, problem, right)
    asks = {"jacobian": _ask_jacobian, "vjp": _ask_vjp, "jvp": _ask_jvp, "adjoint": _ask_adjoint}
    for kind, ask in asks.items():
        if kind != "jacobian" and not hasattr(fg, f"check_{kind}"):
            continue
        # Products at one of the two points: at the other one they would say the same.
        if kind in ("vjp", "adjoint") and problem.name.endswith("elsewhere"):
            continue
        if kind == "jvp" and not problem.name.endswith("elsewhere"):
            continue
        exact = kind == "adjoint"  # no difference is taken
        plain = Subject(
            f"{problem.name} | {kind}",
            kind,
            ask(laid, problem, right, right),
            right,
            right,
            1e-11 * np.abs(right).max() + 0 * right if exact else floor,
            laid.place,
            _is_held_out(problem.name),
        )
        yield plain
        yield from _wrong(
            plain,
            OF_JACOBIANS,
            ONE_IN[kind],
            lambda w, a=ask: a(laid, problem, w, right),
            _site(laid, problem, right),
        )


def _site(laid: _Laid, problem: Problem, right: np.ndarray) -> Callable[[str], Site]:
    def make(name: str) -> Site:
        dice = random_of(name)
        x = laid.vector(problem.params)
        moved = laid.params(x * dice.uniform(0.95, 1.05, x.shape))
        outputs = np.ravel(problem.f(problem.params))
        there = laid.matrix(problem.jacobian(moved))
        shape = laid.shapes.get("", x.shape)
        return Site(right, x, outputs, there, dice, laid.out or (1,), shape)

    return make


def _wrong(
    plain: Subject,
    slips: dict[str, Make],
    one_in: int,
    ask: Callable[[np.ndarray], Callable[[], fg.Report]],
    site: Callable[[str], Site],
) -> Iterator[Subject]:
    for slip, make in slips.items():
        name = f"{plain.name} | {slip}"
        if not _chosen(name, one_in):
            continue
        made = make(site(name))
        if made is not None:
            yield from _spoiled(plain, slip, made, ask)


def _spoiled(
    plain: Subject, slip: str, made: Slip, ask: Callable[[np.ndarray], Callable[[], fg.Report]]
) -> Iterator[Subject]:
    """The subject with a slip; nothing where too little of it can be seen."""
    error = np.abs(made.wrong - plain.right)
    if not (error > 10 * plain.floor).any():
        return
    name = f"{plain.name} | {slip}"
    yield replace(
        plain,
        name=name,
        check=ask(made.wrong),
        claimed=made.wrong,
        slip=slip,
        kinds=made.kinds,
        held_out=plain.held_out,
    )


def _floor(laid: _Laid, problem: Problem, right: np.ndarray) -> np.ndarray:
    """What plain central differences miss, row by row."""
    x, columns = laid.vector(problem.params), []
    for k in range(x.size):
        step = 6e-6 * max(1.0, abs(x[k]))
        ends = []
        for sign in (1, -1):
            moved = x.copy()
            moved[k] += sign * step
            ends.append(np.ravel(problem.f(laid.params(moved))))
        columns.append((ends[0] - ends[1]) / (2 * step))
    error = np.abs(np.stack(columns, axis=1) - right)
    scale = np.abs(right).max(axis=1, keepdims=True)
    return VISIBLE * (error.max(axis=1, keepdims=True) + 1e-11 * scale) + 0 * right


def _ask_jacobian(laid: _Laid, problem: Problem, claimed: np.ndarray, right: np.ndarray) -> Any:
    shift = claimed - right

    def jac(params: Any) -> Any:
        return laid.nested(laid.matrix(problem.jacobian(params)) + shift)

    return lambda: fg.check_jacobian(problem.f, jac, problem.params)


def _ask_vjp(laid: _Laid, problem: Problem, claimed: np.ndarray, right: np.ndarray) -> Any:
    def vjp(params: Any, u: Any) -> Any:
        return laid.params(np.ravel(u) @ claimed)

    return lambda: fg.check_vjp(problem.f, vjp, problem.params)


def _ask_jvp(laid: _Laid, problem: Problem, claimed: np.ndarray, right: np.ndarray) -> Any:
    def jvp(params: Any, v: Any) -> Any:
        return (claimed @ laid.vector(v)).reshape(laid.out)

    return lambda: fg.check_jvp(problem.f, jvp, problem.params)


def _ask_adjoint(laid: _Laid, problem: Problem, claimed: np.ndarray, right: np.ndarray) -> Any:
    """The Jacobian as a linear map, with what is claimed as its adjoint."""

    def forward(v: Any) -> Any:
        return (right @ laid.vector(v)).reshape(laid.out)

    def adjoint(u: Any) -> Any:
        return laid.params(np.ravel(u) @ claimed)

    return lambda: fg.check_adjoint(forward, adjoint, problem.params)


# ---------------------------------------------------------------------------------------- Hessians


def _of_second(second: Second) -> Iterator[Subject]:
    right = second.hess(second.params)
    n = len(second.params)

    def site(name: str) -> Site:
        dice = random_of(name)
        moved = second.params * dice.uniform(0.95, 1.05, n)
        x, slopes = second.params, second.grad(second.params)
        return Site(right, x, slopes, second.hess(moved), dice, x.shape, x.shape)

    special = {
        slip: lambda s, slip=slip: Slip(second.slips[slip](s.x), OF_SOME[slip])
        for slip in second.slips
    }
    for kind, one_in in SECOND.items():
        if not hasattr(fg, f"check_{kind.split()[0]}"):
            continue
        # Of values fewer digits are left than of gradients.
        floor = (1e-3 if kind.endswith("values") else 1e-6) * np.abs(right).max() + 0 * right
        plain = Subject(
            f"{second.name} | {kind}",
            kind,
            _ask_second(kind, second, right),
            right,
            right,
            floor,
            lambda entry: (_number(entry.output or "", (n,)), entry.index[0]),
            _is_held_out(second.name),
        )
        yield plain

        def ask(wrong: np.ndarray, kind: str = kind) -> Callable[[], fg.Report]:
            return _ask_second(kind, second, wrong)

        yield from _wrong(plain, OF_HESSIANS, one_in, ask, site)
        yield from _wrong(plain, special, 1, ask, site)


def _ask_second(kind: str, second: Second, claimed: np.ndarray) -> Callable[[], fg.Report]:
    grad = None if kind.endswith("values") else second.grad
    if kind.startswith("hvp"):
        return lambda: fg.check_hvp(second.f, lambda x, v: claimed @ v, second.params, grad=grad)
    return lambda: fg.check_hessian(second.f, lambda x: claimed.copy(), second.params, grad=grad)
