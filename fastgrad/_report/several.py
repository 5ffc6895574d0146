"""Reports on several derivatives of one problem, by what each is of: one value, page or picture.

A single report, of which nothing needs to be said, is rendered as it is everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fastgrad._report import figure, html
from fastgrad._report.entries import Verdict
from fastgrad._report.format import ORDER
from fastgrad._report.leaves import columns_of
from fastgrad._report.report import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot", "to_dict", "to_html", "worst"]

Reports = Mapping[str, Report]  # by what each is of


def worst(reports: Iterable[Report]) -> Verdict:
    """The verdict on all of them."""
    verdicts = (report.verdict for report in reports)
    return min(verdicts, key=lambda verdict: ORDER.index(verdict.name))


def to_dict(reports: Reports) -> dict[str, Any]:
    """As `Report.to_dict`, or the worst verdict and the list of these."""
    if len(reports) == 1:
        (report,) = reports.values()
        return report.to_dict()
    listed = [{"title": title, **report.to_dict()} for title, report in reports.items()]
    return {"verdict": worst(reports.values()).name, "reports": listed}


def to_html(reports: Reports) -> str:
    """As `Report.to_html`, or one page of all."""
    if len(reports) == 1:
        (report,) = reports.values()
        return report.to_html()
    values = {title: report.to_dict() for title, report in reports.items()}
    return html.joint_page(values, worst(reports.values()).name)


def plot(reports: Reports) -> Figure:
    """As `Report.plot`, one above the other."""
    many = len(reports) > 1
    drawn = [
        figure.Drawn(report.to_dict(), columns_of(report.entries), title if many else "")
        for title, report in reports.items()
    ]
    return figure.reports_figure(drawn, [each.name for each in Verdict])
