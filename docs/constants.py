"""Writes the last part of verdict.md: every constant of the judge, with the reason beside it.

The reasons are the comments above the constants in the code, so that code and page cannot differ.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "verdict.md"
FOLDERS = ("_checks", "_derivatives")
LONGEST = 120  # characters of a constant as it is written: about a line of the page
MARK = "<!-- Written by docs/constants.py; edit the comments in the code. -->\n"


@dataclass(frozen=True)
class Constant:
    """A number at the top of a module, as it is written there, and the comment above it."""

    module: str
    names: tuple[str, ...]
    source: str
    reason: str


def constants() -> list[Constant]:
    """Return every constant of the judge, in the order of files and lines."""
    paths = [
        path for folder in FOLDERS for path in sorted((ROOT / "fastgrad" / folder).glob("*.py"))
    ]
    return [constant for path in paths for constant in _of_module(path)]


def _of_module(path: Path) -> Iterator[Constant]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.parse(text).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = tuple(n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))
        if all(name.isupper() for name in names) and any(map(_is_number, ast.walk(node.value))):
            source = " ".join((ast.get_source_segment(text, node) or "").split())
            if len(source) > LONGEST:  # a table with functions in it, say: the code shows it better
                source = ", ".join(names)
            module = f"{path.parent.name}.{path.stem}"
            yield Constant(module, names, source, _comment_above(lines, node.lineno - 1))


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)


def _comment_above(lines: list[str], row: int) -> str:
    first = row
    while first and lines[first - 1].startswith("#"):
        first -= 1
    return " ".join(line.lstrip("# ") for line in lines[first:row])


def section() -> str:
    """Return the last part of the page."""
    parts, module = [MARK], ""
    for constant in constants():
        if constant.module != module:
            module = constant.module
            parts.append(f"\n### `{module}`\n\n")
        parts.append(f"* `{constant.source}`: {constant.reason}\n")
    return "".join(parts)


def main() -> None:
    """Replace the last part of the page."""
    head = PAGE.read_text(encoding="utf-8").partition(MARK)[0]
    PAGE.write_text(head + section(), encoding="utf-8")


if __name__ == "__main__":
    main()
