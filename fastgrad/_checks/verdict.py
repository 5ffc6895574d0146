"""The verdict on a leaf and on the whole gradient, and every sentence that gives its reason."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from operator import attrgetter

import numpy as np

from fastgrad._checks.baseline import NO_VALUE, Baseline, Trouble
from fastgrad._checks.bisection import MOST_WRONG
from fastgrad._checks.entry_table import Doubt
from fastgrad._checks.error_model import enough_power
from fastgrad._checks.result import LeafProbe, LeafResult, Result, Stop
from fastgrad._checks.unclear import why_unclear, why_unclear_along
from fastgrad._derivatives.noise import is_single
from fastgrad._report.entries import Entries, LeafSpan, Verdict
from fastgrad._report.format import two_numbers
from fastgrad._words import counted, verb

__all__ = [
    "NO_ENTRIES",
    "conclude",
    "lacks_power_only",
    "listed",
    "of_entries",
    "of_probe",
    "trouble_in_words",
]

_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code
# A bound is that of noise if it is at most this many times as large.
_MOSTLY_NOISE = 10.0
# At most this many paths in a sentence: more are only counted.
_LISTED = 3
# Evaluations that a right gradient of a smooth `f` takes: two for each entry or, in a probe, up to
# five for each parameter array, and some more for those that take another look. Spare are those for
# the baseline and the end, and for the few entries that smoothness by itself does not settle.
_EACH_LEAF, _SPARE = 8, 20
# A gradient of up to this many error bars vanishes: with ten a factor of 1.1 would show.
_VANISHES = 10.0
# Evaluations of an entry that is looked at until nothing is left to try: both sides of some thirty
# steps.
_EACH_UNCLEAR = 100


NO_ENTRIES = "the parameters hold no entries"


def chosen_of(entries: Entries) -> str:
    """A clause about the entries that `where` left out, if it did."""
    if all(span.chosen is None for span in entries.spans):
        return ""
    return f" that `where` chose of {sum(span.whole for span in entries.spans):,}"


# ------------------------------------------------------------------------------------- verdicts


def of_entries(codes: np.ndarray) -> Verdict:
    """The verdict on a leaf of which every entry was judged."""
    if np.count_nonzero(codes == _WRONG):
        return Verdict.WRONG
    return Verdict.CANNOT_TELL if np.count_nonzero(codes == _UNCLEAR) else Verdict.RIGHT


def of_probe(p: LeafProbe, whole: float) -> Verdict:
    """The verdict on a leaf that was probed; `whole` is the size of the whole gradient."""
    codes = p.table.codes
    if p.dense or p.unexplained or (codes == _WRONG).any():
        return Verdict.WRONG
    if p.stopped or p.jumps or p.doubtful or p.kink or p.not_finite:
        return Verdict.CANNOT_TELL
    if p.all_judged:
        return of_entries(codes)
    # Where a gradient vanishes, as at an optimum, what proves something is measured by how fast it
    # grows beside the point.
    enough = enough_power(p.claimed, whole, p.growth)
    return Verdict.RIGHT if p.floor <= enough and p.floor < math.inf else Verdict.CANNOT_TELL


def lacks_power_only(p: LeafProbe, whole: float) -> bool:
    """Whether a leaf is undecided only because its gradient grows too slowly beside the point.

    So it is at an optimum, where noise is all that hides the derivative: bounds of other kinds are
    those of a derivative that may be as large.
    """
    if of_probe(p, whole) is not Verdict.CANNOT_TELL or p.floor > _MOSTLY_NOISE * p.noise:
        return False
    return of_probe(replace(p, growth=math.inf), whole) is Verdict.RIGHT


def conclude(
    result: Result, strategy: str = "exhaustive", budget: float = 0
) -> tuple[Verdict, str]:
    """The verdict on the whole gradient, and the sentence that gives its reason.

    `strategy` and `budget`, where that ran out, tell what budget would have been enough.
    """
    if result.trouble:
        return Verdict.CANNOT_TELL, result.trouble
    if result.baseline is not None and result.baseline.trouble is not None:
        return Verdict.CANNOT_TELL, trouble_in_words(result.baseline)
    verdicts = set(map(attrgetter("verdict"), result.leaves))
    if Verdict.WRONG in verdicts:
        return Verdict.WRONG, _wrong_reason(result)
    if result.measured is not None:  # the budget ran out, and some entries are not judged
        return Verdict.CANNOT_TELL, f"{_stops(result)[0]}; {_raise(result, strategy, budget)}"
    if not verdicts:
        holds = "`where` chose no entry" if chosen_of(result.entries) else NO_ENTRIES
        return Verdict.CANNOT_TELL, f"nothing was tested: {holds}"
    if all(map(attrgetter("still"), result.leaves)):
        return Verdict.CANNOT_TELL, (
            "both gradients are exactly zero: `f` does not move with these parameters, here at "
            "least, and a gradient that was never computed would look the same"
        )
    if Verdict.CANNOT_TELL in verdicts:
        return Verdict.CANNOT_TELL, _unclear_reason(result, strategy, budget)
    return Verdict.RIGHT, _right_reason(result)


# ------------------------------------------------------------------------ what forbids to judge

_TROUBLES = {
    Trouble.NOT_FINITE: "`f` " + NO_VALUE,
    Trouble.NOT_REPEATABLE: (
        "`f` is not deterministic: two calls with the same parameters gave {again[1]} and "
        "{again[0]}, {apart:.2g} apart; fix the seed, switch off dropout"
    ),
    Trouble.OTHER_VALUE: (
        "the value that came with the gradient, {value[0]}, is not that of `f`, {value[1]}: "
        "they are two different functions"
    ),
    Trouble.DRIFTED: (
        "`f` drifted during the check: {last[1]} before and {last[0]} after it at the same "
        "parameters; it keeps a state or a cache"
    ),
}


def trouble_in_words(baseline: Baseline) -> str:
    """Why no difference says anything about the derivative."""
    assert baseline.trouble is not None
    known = {
        name: two_numbers(getattr(baseline, name), baseline.base, digits=9)
        for name in ("again", "value", "last")
        if getattr(baseline, name) is not None
    }
    return _TROUBLES[baseline.trouble].format(
        base=baseline.base, apart=abs(baseline.base - baseline.again), **known
    )


# ---------------------------------------------------------------------------------------- right


def _right_reason(result: Result) -> str:
    entries = result.entries
    if _all_judged(result):
        kinks = _kinks(entries) if np.count_nonzero(entries.kinks) else ""
        n, more = len(entries.codes), _within(result) + kinks + _vanishing(result)
        chosen = chosen_of(entries)
        if n == 1:
            return f"the only entry{chosen} agrees with the central difference{more}"
        return f"all {n:,} entries{chosen} agree with central differences{more}"
    spans, total = entries.spans, sum(span.size for span in entries.spans)
    return (
        f"derivatives along random directions in {counted(len(spans), 'parameter')} with "
        f"{counted(total, 'entry')}{chosen_of(entries)} agree with the gradient{_hidden(result)}"
    )


def _all_judged(result: Result) -> bool:
    """Whether every entry was judged, as in an exhaustive check or a probe of small leaves."""
    if result.leaves[0].probe is None:  # one leaf stands for all
        return True
    return all(leaf.probe is not None and leaf.probe.all_judged for leaf in result.leaves)


def _within(result: Result) -> str:
    """A clause about the largest deviation that only the user's tolerance makes right."""
    entries = result.entries
    if not result.rtol and not result.atol:
        return ""
    off = np.abs(entries.analytic - entries.numeric)
    beyond = off > entries.uncertainty
    if not beyond.any():
        return ""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.where(beyond, off / np.abs(entries.numeric), 0.0)
    at = int(np.argmax(shares if result.rtol else np.where(beyond, off, 0.0)))
    granted = [f"{n} = {v:g}" for n, v in (("rtol", result.rtol), ("atol", result.atol)) if v]
    largest = f"{shares[at]:.1e}" if result.rtol else f"{off[at]:.1e}"
    return (
        f" within {' and '.join(granted)}; the largest deviation is {largest}, beyond the noise "
        f"({entries.at(at).path})"
    )


def _vanishing(result: Result) -> str:
    """A clause about a gradient that vanishes, of which nothing but that can be seen."""
    entries = result.entries
    if not len(entries.codes) or entries.kinks.any():
        return ""
    bounds = _VANISHES * entries.uncertainty
    if (np.fmax(np.abs(entries.numeric), np.abs(entries.analytic)) > bounds).any():
        return ""
    return (
        "; but the gradient vanishes here, so that a factor or a sign could not be seen: check at "
        "other parameters as well"
    )


def _kinks(entries: Entries) -> str:
    """A clause that says at how many entries the analytic value is one of many right ones."""
    count = int(np.count_nonzero(entries.kinks))
    first = entries.at(int(np.argmax(entries.kinks)))
    if count == 1:
        return (
            f"; at {first.path} `f` has a kink, and the analytic value lies between the one-sided "
            "derivatives"
        )
    return (
        f"; at {count:,} of them `f` has a kink, and the analytic value lies between the "
        f"one-sided derivatives (for example {first.path})"
    )


def _hidden(result: Result) -> str:
    """A clause about the leaf whose typical entry is farthest below its detection limit, if any."""
    path, typical, size = "", 0.0, 1.0
    for span, leaf in _pairs(result):
        if leaf.probe is None:
            continue
        # Typical: the root mean square of the entries.
        own = leaf.probe.claimed / math.sqrt(max(span.size, 1))
        if own and leaf.probe.limit > size * own:
            path, typical, size = span.path, own, leaf.probe.limit / own
    if not path:
        return ""
    said = (
        f"; but single entries of {path} could be wrong by up to {size:.2g} times their typical "
        "size unseen"
    )
    if result.baseline is not None and is_single(result.baseline.unit):
        said += f"; evaluated in float64, errors above {typical:.1g} would be seen, and smaller"
    return said


def _pairs(result: Result) -> Iterable[tuple[LeafSpan, LeafResult]]:
    return zip(result.entries.spans, result.leaves, strict=True)


# ---------------------------------------------------------------------------------------- wrong


def _wrong_reason(result: Result) -> str:
    parts = [
        f"{span.path} disagrees along every random direction"
        for span, leaf in _pairs(result)
        if leaf.probe is not None and leaf.probe.unexplained
    ]
    spans = result.entries.spans
    dense = [path for span in spans if span.probe for path in span.probe.blocks]
    if dense:
        parts.append(f"{listed(dense)} {'are' if len(dense) > 1 else 'is'} wrong throughout")
    parts += _worst(result.entries, dense)
    return "; ".join(parts + _stops(result)) + _unmoved(result)


def _worst(entries: Entries, dense: Sequence[str]) -> list[str]:
    """How many entries are wrong, and the worst of them; nothing if none is."""
    wrong = entries.only(Verdict.WRONG)
    if not len(wrong):
        return []
    worst, count, judged = wrong[0], len(wrong), len(entries)
    disagree = verb(count, "disagree")
    said = f"{counted(count, 'entry')} {disagree}"
    # A share is told of all entries, or of the examples of what is wrong throughout. Otherwise the
    # judged entries are those that were suspected, and their number says nothing.
    if judged == sum(span.size for span in entries.spans):
        of = f"{count:,} of {judged:,} entries" if judged > 1 else "the only entry"
        said = f"{of}{chosen_of(entries)} {disagree}"
    elif dense:
        said = f"{count:,} of {counted(judged, 'entry')} judged {disagree}"
    analytic, numeric = two_numbers(worst.analytic, worst.numeric)
    which = "the worst" if count > 1 else "it"
    return [f"{said}; {which} is {worst.path}: analytic {analytic}, numeric {numeric}"]


def _unmoved(result: Result) -> str:
    """A sentence about the wrong leaves that `f` does not seem to read."""
    paths = [
        span.path
        for span, leaf in _pairs(result)
        if leaf.verdict is Verdict.WRONG and not leaf.moves
    ]
    if not paths:
        return ""
    arrays = "those arrays" if len(paths) > 1 else "that array"
    return f". No entry of {listed(paths)} moves `f`: it may be reading another copy of {arrays}"


_STOPS = {
    Stop.BUDGET: "the budget ran out",
    Stop.WRONG: f"the search stopped after {MOST_WRONG} wrong entries",
    Stop.KINKS: f"the search stopped after {MOST_WRONG} kinks of `f`",
    Stop.JUMPS: "`f` moves in jumps only",
}


def _stops(result: Result) -> list[str]:
    """Why the check ended early, where it did."""
    if result.measured is not None:
        known, whole = result.measured, len(result.entries)
        when = "before any entry was"
        if known:
            when = f"when {known:,} of {counted(whole, 'entry')} {verb(known, 'were')}"
        return [f"{_STOPS[Stop.BUDGET]} {when} measured"]
    return [f"{_STOPS[stop]} (in {listed(paths)})" for stop, paths in _stopped(result).items()]


def _stopped(result: Result) -> dict[Stop, list[str]]:
    """The leaves in which a search ended early, by the reason."""
    stopped: dict[Stop, list[str]] = {}
    for span, leaf in _pairs(result):
        if leaf.probe is not None and leaf.probe.stopped is not None:
            stopped.setdefault(leaf.probe.stopped, []).append(span.path)
    return stopped


def _raise(result: Result, strategy: str, budget: float) -> str:
    """Advice to raise the budget, to a number that would do."""
    entries = sum(span.size for span in result.entries.spans)
    if math.isinf(budget):  # of matrices, whose entries share evaluations, the number is not known
        return "raise `budget`"
    enough = 2 * entries + _SPARE
    if strategy == "probe":
        enough = _EACH_LEAF * len(result.entries.spans) + _SPARE
    second_look = entries > 0 and result.measured == entries
    if enough > budget and not second_look:
        return f"raise `budget`: {enough:,} evaluations do for a right gradient of a smooth `f`"
    # It ran out in the second look at entries that are at odds: how many of the open ones need
    # one is not known, but what each takes at most.
    unclear = int(np.count_nonzero(result.entries.codes == _UNCLEAR))
    if strategy == "probe" or not unclear:
        return "raise `budget`"
    return f"raise `budget`: {enough + _EACH_UNCLEAR * unclear:,} evaluations would do"


def listed(paths: Sequence[str]) -> str:
    """A few paths, and how many there are besides."""
    shown = ", ".join(paths[:_LISTED])
    return shown + (f" and {len(paths) - _LISTED:,} more" if len(paths) > _LISTED else "")


# ---------------------------------------------------------------------------------- cannot tell


def _unclear_reason(result: Result, strategy: str, budget: float) -> str:
    jumps = [span.path for span, leaf in _pairs(result) if leaf.jumps]
    if jumps:
        return (
            f"`f` moves in jumps only with {', '.join(jumps)}: it is piecewise constant (an "
            "accuracy, a count, something rounded), and its derivative says nothing; check a "
            "smooth loss"
        )
    stopped = _stopped(result)
    if stopped:
        # More evaluations help where they ran out, and not where all that is looked for was found.
        way = 'try strategy="exhaustive"'
        if Stop.BUDGET in stopped:
            way = _raise(result, strategy, budget)
        return f"{'; '.join(_stops(result))}, and nothing wrong was found until then; {way}"
    assert result.baseline is not None
    # The first unclear leaf gives the reason: those of the others are in the report.
    unclear = (pair for pair in _pairs(result) if pair[1].verdict is Verdict.CANNOT_TELL)
    span, leaf = next(unclear)
    if leaf.probe is None:
        return _unclear_entry(result, 0, len(result.entries))
    if leaf.probe.all_judged:
        return _unclear_entry(result, span.start, span.stop)
    return why_unclear_along(span.path, leaf.probe, result.baseline)


def _unclear_entry(result: Result, start: int, stop: int) -> str:
    """Why the first of the unclear ones of these entries cannot be judged."""
    entries, baseline = result.entries, result.baseline
    assert baseline is not None
    unclear = start + np.flatnonzero(entries.codes[start:stop] == _UNCLEAR)
    at = int(unclear[0])
    entry = entries.at(at)
    doubt = Doubt.WEAK if result.doubts is None else Doubt(int(result.doubts[at]))
    leaf = next(k for k, span in enumerate(entries.spans) if at < span.stop)
    why = why_unclear(entry, doubt, baseline, baseline.relative[leaf])
    if stop - start == len(entries) == 1:
        return f"the only entry cannot be judged, {entry.path}: {why}"
    example = "for example " * (len(unclear) > 1)
    return (
        f"{len(unclear):,} of {stop - start:,} entries cannot be judged, {example}{entry.path}: "
        f"{why}"
    )
