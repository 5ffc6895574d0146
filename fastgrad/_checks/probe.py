"""Probes all leaves, and concludes: entries, causes, verdict and detection limit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np

from fastgrad import _errors
from fastgrad._checks.baseline import Survey, moves_in_jumps
from fastgrad._checks.bisection import Probed, probe_leaf
from fastgrad._checks.claim import Analytic
from fastgrad._checks.directional import Prober
from fastgrad._checks.judge import Columns, Terms
from fastgrad._checks.samples import Sample, box_text, find_cause
from fastgrad._derivatives.noise import is_single
from fastgrad._evaluation.blocks import spacing
from fastgrad._evaluation.sampling import Sampler
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Block, Entries, Probe, Verdict
from fastgrad._report.report import Cause, Finding

__all__ = ["Outcome", "conclude_probe", "probe"]

# A leaf can be judged if what its directions leave open is below this share of its own gradient,
# or of the whole one.
_POWER_LEAF, _POWER_WHOLE = 0.1, 1e-4
_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code


@dataclass(frozen=True)
class Outcome:
    """What probing found: the probes of the leaves, and what a report shows of them."""

    leaves: Sequence[Leaf]
    probes: Sequence[Probed]
    verdicts: Sequence[Verdict]
    entries: Entries
    seen: Survey
    causes: tuple[Finding, ...]

    @property
    def limit(self) -> float:
        """Smallest error in a single entry that would have been seen, in any leaf."""
        return max((p.limit for p in self.probes if p.limit < math.inf), default=0.0)


def probe(
    sampler: Sampler,
    leaves: Sequence[Leaf],
    blocks: Sequence[Block],
    claimed: Analytic,
    seen: Survey,
    seed: int,
) -> Outcome:
    """Probe every leaf."""
    random = np.random.default_rng(seed)
    probers = _probers(sampler, leaves, claimed, seen)
    probes: list[Probed] = []
    try:
        for k, prober in enumerate(probers):
            sampler.progress.phase(f"probe, {prober.leaf.path}")
            in_jumps = partial(moves_in_jumps, sampler, leaves, k, seen.base, seed)
            probes.append(probe_leaf(prober, random, in_jumps))
    except KeyboardInterrupt as error:
        _errors.note(error, _so_far(probers, len(probes)))
        raise
    looked_at = zip(probers, claimed.eps, strict=True)
    samples = [Sample(p.leaf, p.analytic, p.judged, p.columns, eps) for p, eps in looked_at]
    whole = max((p.claimed for p in probes), default=0.0)
    verdicts = [_verdict(p, whole) for p in probes]
    causes = _causes(probes, samples)
    entries = _entries(blocks, leaves, probes, verdicts)
    return Outcome(leaves, probes, verdicts, entries, seen, causes)


def _probers(
    sampler: Sampler, leaves: Sequence[Leaf], claimed: Analytic, seen: Survey
) -> list[Prober]:
    probers, start = [], 0
    for k, leaf in enumerate(leaves):
        known = (seen.base, seen.noise, seen.unit, seen.relative[k], claimed.eps[k], spacing(leaf))
        column = claimed.column[start : start + leaf.real.size]
        probers.append(Prober(sampler, leaf, column, Terms(*known)))
        start += leaf.real.size
    return probers


def _so_far(probers: Sequence[Prober], done: int) -> str:
    """What is known when a probe is interrupted."""
    wrong = [p.leaf.name(int(entry)) for p in probers for entry in p.wrong]
    said = f"wrong: {_listed(wrong)}" if wrong else "nothing wrong was found"
    return f"the probe had finished {done:,} of {len(probers):,} parameters; {said}"


def _verdict(p: Probed, whole: float) -> Verdict:
    """The verdict on a leaf; `whole` is the size of the whole gradient."""
    codes = p.columns.codes
    if p.dense or p.unexplained or (codes == _WRONG).any():
        return Verdict.WRONG
    # Where a gradient vanishes, as at an optimum, the measure is how fast it grows beside it.
    enough = max(_POWER_LEAF * p.claimed, _POWER_WHOLE * whole, _POWER_WHOLE * p.growth)
    weak = not (math.isfinite(p.floor) and p.floor <= enough)
    if p.stopped or weak or (p.directions == 0 and (codes == _UNCLEAR).any()):
        return Verdict.CANNOT_TELL
    return Verdict.RIGHT


def _entries(
    blocks: Sequence[Block],
    leaves: Sequence[Leaf],
    probes: Sequence[Probed],
    verdicts: Sequence[Verdict],
) -> Entries:
    """The judged entries of all leaves, as one set of columns."""
    placed, start = [], 0
    for block, leaf, p, verdict in zip(blocks, leaves, probes, verdicts, strict=True):
        stop = start + len(p.entries)
        told = Probe(
            judged=p.entries,
            verdict=verdict,
            directions=p.directions,
            limit=p.limit,
            relative_error=_relative(p),
            blocks=tuple(leaf.path + box_text(d.box, leaf.array.shape) for d in p.dense),
        )
        shape = (block.path, block.shape, block.dtype, start, stop, block.is_complex)
        placed.append(Block(*shape, probe=told))
        start = stop
    names = [each.name for each in fields(Columns) if each.name != "gaps"]
    columns = {n: np.concatenate([getattr(p.columns, n) for p in probes]) for n in names}
    return Entries(tuple(placed), **columns)


def _relative(p: Probed) -> float:
    size = p.claimed + p.numeric
    return p.error / size if size else 0.0


def _causes(probes: Sequence[Probed], samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """The likely bugs, those that concern most entries first."""
    dense, single = [], []
    others = [s for s, p in zip(samples, probes, strict=True) if p.dense]
    for p, sample in zip(probes, samples, strict=True):
        found = [find_cause(sample, block.box, block.grid, others) for block in p.dense]
        dense += _unlike(found)
        if p.unexplained:
            dense.append(_diffuse(p, sample.leaf))
        elif not p.dense and (p.columns.codes == _WRONG).any():
            single.append(find_cause(sample, None, None, ()))
    return (*dense, *single)


def _unlike(findings: list[Finding]) -> list[Finding]:
    """One of those that say the same."""
    kinds = {(each.kind, str(each.evidence.get("inside"))): each for each in reversed(findings)}
    return list(reversed(kinds.values()))


def _diffuse(p: Probed, leaf: Leaf) -> Finding:
    """Wrong along every direction, while noise hides it in single entries."""
    if math.isfinite(p.factor):
        sentence = (
            f"`{leaf.path}` is {p.factor:.4g} x the derivative along every direction tried, though "
            "noise hides that in single entries"
        )
        return Finding(Cause.FACTOR, leaf.path, sentence, {"factor": p.factor})
    sentence = f"`{leaf.path}` is wrong along every direction tried, but in no single entry clearly"
    return Finding(Cause.UNKNOWN, leaf.path, sentence, {})


def conclude_probe(outcome: Outcome) -> tuple[Verdict, str]:
    """The verdict on the whole gradient, and the sentence that gives its reason."""
    verdicts = outcome.verdicts
    if Verdict.WRONG in verdicts:
        return Verdict.WRONG, _wrong_reason(outcome)
    probes = outcome.probes
    if not any(p.moves or p.claimed or p.jumps for p in probes):
        return Verdict.CANNOT_TELL, (
            "both gradients are exactly zero: `f` does not move with these parameters, here at "
            "least, and a gradient that was never computed would look the same"
        )
    if Verdict.CANNOT_TELL in verdicts:
        return Verdict.CANNOT_TELL, _unclear_reason(outcome)
    total = sum(leaf.real.size for leaf in outcome.leaves)
    plural = "s" * (len(probes) > 1)
    reason = (
        f"derivatives along random directions in {len(probes):,} parameter{plural} with {total:,} "
        "entries agree with the gradient"
    )
    return Verdict.RIGHT, reason + _hidden(outcome)


def _wrong_reason(outcome: Outcome) -> str:
    entries = outcome.entries.only(Verdict.WRONG)
    dense = [path for block in outcome.entries.blocks if block.probe for path in block.probe.blocks]
    parts = []
    for leaf, p in zip(outcome.leaves, outcome.probes, strict=True):
        if p.unexplained:
            parts.append(f"{leaf.path} disagrees along every random direction")
    if dense:
        parts.append(f"{_listed(dense)} {'are' if len(dense) > 1 else 'is'} wrong throughout")
    if entries:
        worst, judged = entries[0], len(outcome.entries)
        said = "1 entry disagrees" if len(entries) == 1 else f"{len(entries):,} entries disagree"
        if dense:
            said = f"{len(entries):,} of {judged:,} entries judged disagree"
        parts.append(
            f"{said}; the worst is {worst.path}: analytic {worst.analytic:.6g}, numeric "
            f"{worst.numeric:.6g}"
        )
    still = [
        leaf.path
        for leaf, p, verdict in zip(outcome.leaves, outcome.probes, outcome.verdicts, strict=True)
        if verdict is Verdict.WRONG and not p.moves
    ]
    if still:
        parts.append(f"{still[0]} does not move `f` at all, which may read another copy of it")
    parts += _stops(outcome)
    return "; ".join(parts)


def _stops(outcome: Outcome) -> list[str]:
    """Why the search ended early, where it did."""
    pairs = zip(outcome.leaves, outcome.probes, strict=True)
    stopped = [(p.stopped, leaf.path) for leaf, p in pairs if p.stopped]
    return [
        f"{why} (in {_listed([path for each, path in stopped if each == why])})"
        for why in dict.fromkeys(why for why, _ in stopped)
    ]


def _listed(paths: Sequence[str]) -> str:
    shown = ", ".join(paths[:3])
    return shown + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "")


def _unclear_reason(outcome: Outcome) -> str:
    seen = outcome.seen
    triples = list(zip(outcome.leaves, outcome.probes, outcome.verdicts, strict=True))
    jumps = [leaf.path for leaf, p, _ in triples if p.jumps]
    if jumps:
        return (
            f"`f` moves in jumps only with {', '.join(jumps)}: it is piecewise constant (an "
            "accuracy, a count, something rounded), and its derivative says nothing; check a "
            "smooth loss"
        )
    stops = _stops(outcome)
    if stops:
        return f"{stops[0]}, and nothing wrong was found until then; raise `budget`"
    leaf, p = next((leaf, p) for leaf, p, v in triples if v is Verdict.CANNOT_TELL)
    if not math.isfinite(p.floor):
        return (
            f"the derivative of `f` along random directions in {leaf.path} does not converge as "
            "the step shrinks: it is not finite, jumps or has kinks there; try "
            'strategy="exhaustive"'
        )
    if p.kink:
        return (
            f"`f` has a kink at the parameters: along a direction in {leaf.path} all derivatives "
            f"within {p.floor:.1e} are right, too wide to judge its gradient by; try "
            'strategy="exhaustive", or parameters beside the kink'
        )
    if seen.base != seen.again:
        return (
            f"`f` is not deterministic: two calls differ by {abs(seen.base - seen.again):.1e}, "
            f"too much to see the gradient in {leaf.path}; fix the seed"
        )
    return (
        f"the noise of `f`, {seen.noise:.1e}, leaves +/- {p.floor:.1e} along a direction in "
        f"{leaf.path}, too much beside its gradient, {p.claimed:.1e}; evaluate in float64, or "
        "subtract large constants from `f`"
    )


def _hidden(outcome: Outcome) -> str:
    """What may be hidden where the limit is above a typical entry, and what would show it."""
    worst, size = None, 1.0
    for leaf, p in zip(outcome.leaves, outcome.probes, strict=True):
        typical = p.claimed / math.sqrt(max(leaf.real.size, 1))
        if typical and p.limit > size * typical:
            worst, size = (leaf, typical), p.limit / typical
    if worst is None:
        return ""
    leaf, typical = worst
    said = (
        f"; but single entries of {leaf.path} could be wrong by up to {size:.2g} times their "
        "typical size unseen"
    )
    if is_single(outcome.seen.unit):
        said += f"; evaluated in float64, errors above {typical:.1g} would be seen, and smaller"
    return said
