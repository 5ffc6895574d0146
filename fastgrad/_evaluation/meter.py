"""Shows how far a run is: evaluations done of those expected, and what is being looked at."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from time import perf_counter
from types import TracebackType
from typing import Any

from fastgrad._errors import missing_package_error

__all__ = ["Progress"]

# Seconds that a piece of the work shall take: short for the eye, long against a look at the clock.
_PIECE = 0.1
_GROWTH = 8.0
# Seconds before a bar appears: what is over sooner needs none.
_DELAY = 0.5


class Progress:
    """Context in which a run tells its evaluations; closes the bar whatever happens.

    Without a bar, as by default or where standard error is no terminal, it only counts.
    """

    def __init__(self, expected: int, *, shown: bool, batch: int = 1) -> None:
        self._bar = _bar(expected) if shown else None
        self._batch = batch
        self._done = 0
        # Evaluations in a piece.
        self._pace = math.inf if self._bar is None else 1.0
        self._started = perf_counter()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    def phase(self, text: str) -> None:
        """Say what is being looked at."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    def update(self, evaluations: int) -> None:
        """Tell that so many evaluations were made since the last time."""
        self._done += evaluations
        if self._bar is not None:
            self._bar.total = max(self._bar.total, self._done)
            self._bar.update(evaluations)

    def calibrate(self) -> None:
        """Take the evaluations so far for the measure of how long the next ones take."""
        if self._done:
            self._pace = _PIECE * self._done / max(perf_counter() - self._started, 1e-9)

    def pieces(
        self, start: int, stop: int, each: int, most: int | None = None
    ) -> Iterable[tuple[int, int]]:
        """Cut a range into pieces that take about a tenth of a second.

        Each position takes `each` evaluations. Pieces hold `most` positions, and fill batches.
        Without a bar and without calibration any range takes no time.
        """
        if self._bar is not None:
            self._bar.total = max(self._bar.total, self._done + (stop - start) * each)
        if (most is None or stop - start <= most) and (stop - start) * each <= self._pace:
            return ((start, stop),) if start < stop else ()
        return self._cut(start, stop, each, most)

    def _cut(self, start: int, stop: int, each: int, most: int | None) -> Iterator[tuple[int, int]]:
        grain = max(1, self._batch // each)
        while start < stop:
            size = stop - start
            if self._pace < size * each:
                size = min(size, max(grain, int(self._pace / each) // grain * grain))
            end = start + min(size, most or size)
            began = perf_counter()
            yield start, end
            made = (end - start) * each
            rate = made / max(perf_counter() - began, 1e-9)
            if self._pace < math.inf:
                self._pace = min(_PIECE * rate, _GROWTH * max(self._pace, made))
            start = end


def _bar(expected: int) -> Any:
    """A bar of tqdm's, or None where it would not be seen."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise missing_package_error("tqdm", "progress=True", "progress") from None
    # None: not unless standard error is a terminal; tqdm's bar for notebooks takes it for a yes.
    # Pieces are few, so that each of them may look at the clock.
    bar = tqdm(total=expected, unit=" evaluations", delay=_DELAY, miniters=1, disable=None)
    return None if bar.disable else bar
