"""A report as HTML, from the values of `Report.to_dict` alone: a page, or a notebook's fragment.

It has no script and loads nothing; all text that comes from the user is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any
from urllib.parse import quote

from fastgrad._report.causes import Cause
from fastgrad._report.format import (
    HEADLINES,
    compared,
    count,
    derivative_named,
    facts,
    headline_of,
    is_left_out,
    number,
    printable,
    relative_error,
    shape,
    where,
    worst_first,
)
from fastgrad._words import counted

__all__ = ["fragment", "index", "joint_page", "page"]

# A page scrolls, and may hold more than a terminal; a model of thousands of arrays still fits.
MOST_LEAVES = 100
MOST_CAUSES = 20

Values = Mapping[str, Any]
Row = Sequence[str]  # a path, then cells that are HTML already

# Blue, vermilion and purple of Okabe and Ito's palette, which color-blind readers can tell apart;
# darker on white and lighter on black, for a contrast of at least 4.5 : 1 (WCAG 2.1, 1.4.3).
_STYLE = """
.fastgrad { --ink: #1f2328; --soft: #59636e; --line: #d1d9e0; --ground: #fff; --tint: #f6f8fa;
  --right: #00639c; --wrong: #b34700; --unclear: #8b3f75; color: var(--ink);
  background: var(--ground); font: 15px/1.5 system-ui, sans-serif; max-width: 56rem;
  padding: 1rem 1.25rem; box-sizing: border-box; color-scheme: light; }
@media (prefers-color-scheme: dark) { .fastgrad { --ink: #e6edf3; --soft: #9da7b1;
  --line: #3d444d; --ground: #0d1117; --tint: #161b22; --right: #6cb6ec; --wrong: #ff9a56;
  --unclear: #e08fc4; color-scheme: dark; } }
.fastgrad .verdict { font-size: 1.5rem; font-weight: 700; margin: 0; }
.fastgrad .RIGHT { color: var(--right); } .fastgrad .WRONG { color: var(--wrong); }
.fastgrad .CANNOT_TELL { color: var(--unclear); }
.fastgrad p { margin: .25rem 0 .75rem; overflow-wrap: anywhere; }
.fastgrad .causes { background: var(--tint); border-left: 4px solid var(--wrong);
  padding: .6rem 1rem; margin: 1rem 0; }
.fastgrad .causes ul { margin: .25rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.fastgrad .causes p { margin: .4rem 0 0; }
.fastgrad .scroll { overflow-x: auto; margin: 1.25rem 0; }
.fastgrad table { border-collapse: collapse; font-size: .9rem; color: inherit; margin: 0; }
.fastgrad caption { text-align: left; font-weight: 600; padding-bottom: .3rem; color: var(--ink); }
.fastgrad th, .fastgrad td { padding: .25rem .8rem .25rem 0; text-align: right;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums;
  background: var(--ground); white-space: nowrap; }
.fastgrad thead th { color: var(--soft); font-weight: 500; }
.fastgrad tbody th { font-family: ui-monospace, monospace; font-weight: 500;
  min-width: 7rem; max-width: 24rem; white-space: normal; overflow-wrap: anywhere; }
.fastgrad tr > :first-child { text-align: left; }
.fastgrad code { font-family: ui-monospace, monospace; font-size: .92em; }
.fastgrad .run { color: var(--soft); font-size: .85rem; margin: 1rem 0 0; }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ margin: 0; background: #fff; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #0d1117; }} }}
body > main {{ margin: 0 auto; max-width: 56rem; }}
</style>
</head>
<body>
<main>
{body}</main>
</body>
</html>
"""
_MARKS = {"RIGHT": "✓", "WRONG": "✗", "CANNOT_TELL": "?"}


def page(report: Values, title: str | None = None) -> str:
    """A whole page; a `title` says what the report is of."""
    named = f"fastgrad: {HEADLINES[report['verdict']].lower()}"
    body = _block(report, "<h1", "h1>")
    if title is not None:
        named += f", {_text(title)}"
        body = f'<div class="fastgrad"><p><code>{_text(title)}</code></p></div>\n{body}'
    return _PAGE.format(title=named, body=body)


def joint_page(reports: Mapping[str, Values], worst: str) -> str:
    """A page of several reports, by what each is of, and the worst of their verdicts."""
    headline = HEADLINES[worst].lower()
    parts = [
        f'<div class="fastgrad">\n<p><code>{_text(title)}</code></p></div>\n'
        f"{_block(report, '<h2', 'h2>')}"
        for title, report in reports.items()
    ]
    title = f"fastgrad: {headline}"
    summary = f'<div class="fastgrad">\n<h1>{counted(len(parts), "derivative")}: {headline}</h1>\n'
    return _PAGE.format(title=title, body="".join([f"{summary}</div>\n", *parts]))


def index(pages: Sequence[tuple[str, str, str]]) -> str:
    """A page that leads to others, each given as its file, what it is of, and its headline."""
    rows = "".join(
        f'<tr><th scope="row"><a href="{quote(file)}">{_text(of)}</a></th>'
        f"<td>{_text(headline)}</td></tr>\n"
        for file, of, headline in pages
    )
    title = f"fastgrad: {counted(len(pages), 'gradient check')} that failed"
    body = (
        f'<div class="fastgrad">\n<style>{_STYLE}</style>\n<h1 class="verdict">{title}</h1>\n'
        f"{_scrolled('Reports', ('test', 'verdict'), rows)}</div>\n"
    )
    return _PAGE.format(title=title, body=body)


def fragment(report: Values) -> str:
    """A part of another page; its styles do not reach what is outside it."""
    return _block(report, '<p role="heading" aria-level="3"', "p>")


def _block(report: Values, opening: str, closing: str) -> str:
    parts = [
        _verdict(report, opening, closing),
        _causes(report),
        _leaves(report["leaves"]),
        _entries("wrong", report),
        _entries("unclear", report),
        _run(report),
    ]
    return f'<div class="fastgrad">\n<style>{_STYLE}</style>\n{"".join(parts)}</div>\n'


def _text(value: Any) -> str:
    # Paths and dtypes come from the user, and may hold anything.
    return escape(printable(str(value)))


def _prose(sentence: str) -> str:
    """A sentence as HTML: escaped, with the words between backticks marked as code."""
    pieces = _text(sentence).split("`")  # every second one is code
    if len(pieces) % 2 == 0:  # one backtick belongs to a path: no telling which
        return "`".join(pieces)
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(pieces))


def _verdict(report: Values, opening: str, closing: str) -> str:
    name = report["verdict"]
    mark = f'<span aria-hidden="true">{_MARKS[name]}</span>'
    return (
        f'{opening} class="verdict {name}">{mark} {HEADLINES[name]}</{closing}\n'
        f"<p>{_prose(report['reason'])}</p>\n"
    )


def _causes(report: Values) -> str:
    causes, verdict = report["causes"], report["verdict"]
    if not causes:
        return ""
    items = "".join(f"<li>{_prose(each['sentence'])}</li>\n" for each in causes[:MOST_CAUSES])
    if len(causes) > MOST_CAUSES:
        items += f"<li>and {len(causes) - MOST_CAUSES:,} more</li>\n"
    title, what = "Kinks that were met", ""
    if verdict == "WRONG":
        title = "Likely cause"
        advice = derivative_named(Cause[causes[0]["kind"]].advice, report["derivative"])
        what = f"<p>Next: {_prose(advice)}.</p>\n"
    return f'<div class="causes">\n<strong>{title}</strong>\n<ul>\n{items}</ul>\n{what}</div>\n'


def _leaves(leaves: Sequence[Values]) -> str:
    if not leaves:
        return ""
    many = len(leaves) > MOST_LEAVES
    shown = worst_first(list(leaves))[:MOST_LEAVES] if many else leaves
    rows = [
        (
            leaf["path"],
            _cell(shape(leaf)),
            _cell(leaf["dtype"]),
            _cell(count(leaf)),
            _cell(relative_error(leaf)),
            _cell(where(leaf)),
            _verdict_cell(leaf),
        )
        for leaf in shown
    ]
    of = "Parameters" if leaves[0]["output"] is None else "Blocks"
    title = f"{of}, the worst {len(shown)} of {len(leaves):,}" if many else of
    header = ("path", "shape", "type", "wrong", "relative error", "worst entry", "verdict")
    return _table(title, header, rows)


def _entries(kind: str, report: Values) -> str:
    shown, total = report[kind], report[f"n_{kind}"]
    if not shown or report["verdict"] == "RIGHT":
        return ""
    rows = [
        (
            entry["path"],
            _cell(number(entry["analytic"], 9)),
            _cell(number(entry["numeric"], 9)),
            _cell(number(entry["uncertainty"], 1)),
        )
        for entry in shown
    ]
    title = f"{kind.capitalize()} " + ("entries, worst first" if total > 1 else "entry")
    if total > len(shown):
        title += f" ({len(shown)} of {total:,})"
    return _table(title, ("entry", *compared(report), "± uncertainty"), rows)


def _table(title: str, header: Sequence[str], rows: Iterable[Row]) -> str:
    """A table in a region of its own, which scrolls where the page is narrow."""
    return _scrolled(title, header, "".join(f"<tr>{_row(row)}</tr>\n" for row in rows))


def _scrolled(title: str, header: Sequence[str], body: str) -> str:
    head = "".join(f'<th scope="col">{_text(cell)}</th>' for cell in header)
    return (
        f'<div class="scroll" role="region" aria-label="{_text(title)}" tabindex="0">\n<table>\n'
        f"<caption>{_text(title)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n</div>\n"
    )


def _row(row: Row) -> str:
    path, *cells = row
    return f'<th scope="row">{_text(path)}</th>' + "".join(cells)


def _cell(value: str) -> str:
    return f"<td>{_text(value)}</td>"


def _verdict_cell(leaf: Values) -> str:
    """In color, and with a mark and the word for those who cannot see the color."""
    name = leaf["verdict"]
    if is_left_out(leaf):
        return _cell(headline_of(leaf).lower())
    return f'<td class="{name}">{_MARKS[name]} {HEADLINES[name].lower()}</td>'


def _run(report: Values) -> str:
    # Not `capitalize()`, which would lower all other letters.
    sentences = (_text(each[:1].upper() + each[1:]) for each in facts(report))
    return f'<p class="run">{".<br>".join(sentences)}.</p>\n'
