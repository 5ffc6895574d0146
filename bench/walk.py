"""How far a call walks, and what the source says of the house: ``python bench/walk.py``.

Counts, with `sys.setprofile`, the Python functions of fastgrad that a call enters, and how often
one comes from another file than the one before. README.md, beside this file, says how to read it.
``--source DIR`` counts in the source of another checkout, 0.1's included.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
from measure import HERE, Section, Target, arguments, report, table

import fastgrad as fg

PACKAGE = Path(fg.__file__).resolve().parent
RIGHT, PROBE = "check, right, n = 3", "probe, one wrong entry"
PROBED, WRONG_ENTRY = 30_000, 1234
LONGEST_BODY = 25  # lines, a habit of the house
# Folders from the ground up, each with the modules that 0.1 had in its place, side by side.
ROOMS = {
    "": "_backend _kernel _reference errors values custody trees stencils",
    "_evaluation": "memory blocks batches natives pointers sampling progress",
    "_workers": "executors hands processes threads workshop parcels",
    "_derivatives": "noise ladder derivatives",
    "_report": "entries results advice rendering html figures wording plain",
    "_checks": "objectives survey judging exhaustive readings probing probed patterns diagnosis "
    "samples staleness conclusions interruption checking",
    "public": "testing plots demo torch jax scipy __init__ __main__",
}
FLOOR = {room: floor for floor, room in enumerate(ROOMS)}
ROOM_OF = {name: room for room, names in ROOMS.items() for name in names.split()}
JUDGING, MOVING = ("_checks", "_derivatives"), ("_evaluation", "_workers")
TYPE_TEST = re.compile(
    r"isinstance\([^()]*,[^\n]*\b(Native|Batched)\b"
    r"|\btype\(\w+\) is (not )?(\w+\.)?(Native|Batched)\b"
)
NO_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
SAVED = re.compile(r"\b_?(saved|before|bits)\b")  # names of what a place is put back from


# ------------------------------------------------------------------------------ calls, walked


@dataclass
class Walk:
    """What a call enters. `files` is the sequence of files, one for each function entered."""

    files: list[str] = field(default_factory=list)
    functions: set[tuple[str, str]] = field(default_factory=set)
    depth: int = 0

    @property
    def moves(self) -> int:
        """How often a function is entered in another file than the one entered before it."""
        return sum(a != b for a, b in pairwise(self.files))

    def row(self, name: str) -> list[str]:
        places = len(self.functions), len(set(self.files))
        counts = (len(self.files), *places, self.moves, self.depth)
        return [name, *(f"{count:,}" for count in counts)]


def walk(call: Callable[[], object]) -> Walk:
    """Follow the second call; the first imports modules and fills caches."""
    call()
    found, stack = Walk(), []

    def follow(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            inside = frame.f_code.co_filename.startswith(str(PACKAGE))
            stack.append(inside)
            if inside:
                found.files.append(frame.f_code.co_filename)
                found.functions.add((frame.f_code.co_filename, _name(frame.f_code)))
                found.depth = max(found.depth, sum(stack))
        elif event == "return" and stack:
            stack.pop()

    before = sys.getprofile()
    sys.setprofile(follow)
    try:
        call()
    finally:
        sys.setprofile(before)
    return found


def _name(code: CodeType) -> str:
    """Qualified name, so that the lambdas of one function count once; Python 3.10 has none."""
    return getattr(code, "co_qualname", f"{code.co_name}:{code.co_firstlineno}")


def square(x: np.ndarray) -> float:
    return float((x**2).sum())


def squares(x: np.ndarray) -> np.ndarray:
    return (x**2).sum(axis=1)


def calls() -> dict[str, Callable[[], object]]:
    """The calls that are walked: the shortest first."""
    x, large = np.arange(1.0, 4.0), np.linspace(-1.0, 1.0, PROBED)
    wrong, one_wrong = 2 * x + [0.0, 1.0, 0.0], 2 * large
    one_wrong[WRONG_ENTRY] += 1.0
    failed = fg.check_gradient(square, lambda x: wrong, x)

    def check(grad: np.ndarray, at: np.ndarray, strategy: str = "auto") -> fg.Report:
        return fg.check_gradient(square, lambda x: grad, at, strategy=strategy)

    return {
        "gradient, small array": lambda: fg.gradient(square, x),
        "gradient, array in a dict": lambda: fg.gradient(lambda p: square(p["a"]), {"a": x}),
        "gradient, forward, eps": lambda: fg.gradient(square, x, method="forward", eps=1e-6),
        "gradient, batched": lambda: fg.gradient(fg.batched(squares), x),
        RIGHT: lambda: check(2 * x, x),
        "check, wrong, n = 3": lambda: check(wrong, x),
        f"probe, right, n = {PROBED:,}": lambda: check(2 * large, large, "probe"),
        PROBE: lambda: check(one_wrong, large, "probe"),
        "str(report), wrong": lambda: str(failed),
    }


def walks() -> Section:
    found = {name: walk(call) for name, call in calls().items()}
    head = ["call", "calls", "functions", "files", "moves", "depth"]
    rows = [each.row(name) for name, each in found.items()]
    right, probed = found[RIGHT], found[PROBE]
    targets = [
        Target(f"{RIGHT}: functions", len(right.functions), 70, ""),
        Target(f"{RIGHT}: files", len(set(right.files)), 12, ""),
        Target(f"{RIGHT}: moves between files", right.moves, 60, ""),
        Target(f"{PROBE}: moves between files", probed.moves, 350, ""),
    ]
    return Section("Calls, walked", table(head, rows), targets)


# ---------------------------------------------------------------------------------- the source


@dataclass(frozen=True)
class Module:
    """A module of the package: dotted name below `fastgrad`, text and syntax tree."""

    name: str
    text: str
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder that it lies in, or lay in the place of; new modules on top are ground."""
        first, _, rest = self.name.partition(".")
        return first if rest or first in FLOOR else ROOM_OF.get(first, "")

    @property
    def looks_public(self) -> bool:
        return not any(part.startswith("_") for part in self.name.split("."))


def modules(source: Path) -> dict[str, Module]:
    package, found = source / "fastgrad", {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts if parts[-1] != "__init__" or len(parts) == 1 else parts[:-1])
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name, text, ast.parse(text))
    return found


def imports(module: Module, names: set[str]) -> Iterator[tuple[str, str, bool]]:
    """Module imported from, name, and whether the import is for the type checker alone."""
    guarded = {
        child
        for node in ast.walk(module.tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in ast.walk(module.tree):
        if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("fastgrad"):
            continue
        place = node.module.partition(".")[2]
        for alias in node.names:
            whole = f"{place}.{alias.name}".strip(".")
            if whole in names:  # a module: what counts is what is used of it
                yield from ((whole, used, node in guarded) for used in _used(module, alias))
            else:
                yield place or "__init__", alias.name, node in guarded


def _used(module: Module, alias: ast.alias) -> set[str]:
    name = alias.asname or alias.name
    return {
        node.attr
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == name
    }


def crossing(house: dict[str, Module]) -> set[tuple[str, str]]:
    """Names that modules which judge, or know differences, import from those that move."""
    return {
        (place, name)
        for module in house.values()
        if module.room in JUDGING
        for place, name, _ in imports(module, set(house))
        if place in house and house[place].room in MOVING
    }


def upward(house: dict[str, Module]) -> list[str]:
    """Imports at run time from a folder above."""
    return sorted(
        {
            f"{module.name} > {place}"
            for module in house.values()
            for place, _, typing_only in imports(module, set(house))
            if place in house and not typing_only
            if FLOOR[house[place].room] > FLOOR[module.room]
        }
    )


def circles(house: dict[str, Module]) -> list[str]:
    """Modules that import themselves, by whatever way, at run time."""
    edges = {
        name: {place for place, _, typing_only in imports(each, set(house)) if not typing_only}
        for name, each in house.items()
    }
    return [name for name in house if name in _reachable(edges, name)]


def _reachable(edges: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = set(edges[start])
    while waiting:
        each = waiting.pop()
        if each not in seen:
            seen.add(each)
            waiting |= edges.get(each, set())
    return seen


def type_tests(texts: dict[str, str]) -> tuple[int, int]:
    """Lines that ask whether `f` is native or batched, and files with any."""
    counts = [
        sum(bool(TYPE_TEST.search(line)) for line in text.split("\n")) for text in texts.values()
    ]
    return sum(counts), sum(count > 0 for count in counts)


def restores(texts: dict[str, str]) -> list[str]:
    """Functions that write saved bits back: ``view[...] = saved``, ``memcpy(place, &saved, 8)``."""
    found = []
    for name, text in texts.items():
        owner = ""
        for line in text.split("\n"):
            if heading := re.match(r"\s*(?:cdef|cpdef|def)\b[^=]*?\b(\w+)\(", line):
                owner = heading[1]
            code = line.split("#")[0]
            assigned = re.match(r"\s*[^=]*\]\s*=\s*([\w.\[\]]+)\s*$", code)
            copied = re.match(r"\s*memcpy\([^,]*,([^,]*saved[^,]*),", code)
            if (assigned and SAVED.search(assigned[1])) or copied:
                found.append(f"{name}:{owner}")
    return list(dict.fromkeys(found))


def comments(house: dict[str, Module]) -> float:
    """Lines with a comment, for each hundred lines of code; docstrings are neither."""
    lines = code = 0
    for module in house.values():
        tokens = list(tokenize.generate_tokens(io.StringIO(module.text).readline))
        lines += len({token.start[0] for token in tokens if token.type == tokenize.COMMENT})
        code += len({token.start[0] for token in tokens if token.type not in NO_CODE})
        code -= sum(map(_docstring_lines, ast.walk(module.tree)))
    return 100 * lines / code


def _docstring_lines(node: ast.AST) -> int:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        return 0
    return 1 if ast.get_docstring(node) else 0  # a string is one token, on the line of its start


def long_bodies(house: dict[str, Module]) -> tuple[int, int]:
    """Functions longer than a body should be, and all functions. Docstrings do not count."""
    lengths = [
        _length(node)
        for module in house.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sum(length > LONGEST_BODY for length in lengths), len(lengths)


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = node.body[1:] if ast.get_docstring(node) else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def source_facts(source: Path) -> Section:
    house = modules(source)
    texts = {name.replace(".", "/") + ".py": each.text for name, each in house.items()}
    kernel = sorted((source / "src").glob("*.p[yx]*"))
    texts |= {path.name: path.read_text(encoding="utf-8") for path in kernel}
    tests, files = type_tests(texts)
    crossed = crossing(house)
    places, climbing, round_ = restores(texts), upward(house), circles(house)
    public = [m for m in house.values() if m.looks_public and m.room != "public"]
    long, functions = long_bodies(house)
    rows = [
        ["modules", str(len(house))],
        ["modules that look public but are not", str(len(public))],
        ["modules in a circle of imports", str(len(round_))],
        ["imports from a folder above", str(len(climbing)) if "_checks" in house else "no folders"],
        ["names that cross from judging to moving", str(len(crossed))],
        ["type tests on the kind of f", f"{tests} in {files} files"],
        ["functions that write saved bits back", str(len(places))],
        [f"function bodies above {LONGEST_BODY} lines", f"{long} of {functions:,}"],
        ["comments for 100 lines of code", f"{comments(house):.1f}"],
    ]
    text = table(["in the source", ""], rows)
    named = {
        "Put bits back": places,
        "From above": climbing if "_checks" in house else [],
        "In a circle": round_,
        "Cross": sorted(f"{place}.{name}" for place, name in crossed),
    }
    lists = [
        f"{what}: {', '.join(f'`{each}`' for each in names)}."
        for what, names in named.items()
        if names
    ]
    targets = [
        Target("names that cross from judging to moving", len(crossed), 10, ""),
        Target("type tests on the kind of f", tests, 1, ""),
    ]
    return Section("The house", "\n\n".join([text, *lists]), targets)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--source", type=Path, default=HERE.parent, help="a checkout of fastgrad")
    options = parser.parse_args()
    sections = [walks(), source_facts(options.source)]
    report("walk.md", "How far calls walk", sections, options, ("fastgrad", "numpy"))


if __name__ == "__main__":
    main()
