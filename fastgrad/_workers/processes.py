"""Processes of our own, each given one task at a time through a pipe.

Unlike a ProcessPoolExecutor this tells which task a process died of, replaces that process alone,
and starts no threads, which a fork would lose. A process whose pipe closes, as when the caller is
killed, ends by itself.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import Any

from fastgrad._workers.worker import TaskResult, run_task

__all__ = ["Lost", "Processes"]

_PATIENCE = 1.0  # seconds that a process may take to end by itself


@dataclass(frozen=True)
class Lost:
    """In place of an answer: the worker has died, or its executor has."""

    how: str


class _Process:
    """One process, and our end of the pipe to it."""

    def __init__(self) -> None:
        # Here and below: it is slow to import, and most who import fastgrad need no processes.
        import multiprocessing

        # Not the platform's default: a fork of a process in which a library has started threads,
        # as torch does, may wait for one of them for ever.
        context: Any = multiprocessing.get_context("spawn")
        self.pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,))
        self._process.start()
        there.close()  # or the pipe would stay open when the process dies
        self.sentinel = self._process.sentinel
        self.used = False

    def send(self, message: Any) -> None:
        self.used = True
        # If the process has died, `next` will say so.
        with contextlib.suppress(OSError):
            self.pipe.send(message)

    def end(self, patience: float) -> int:
        """Wait for it to end, kill it if it takes too long; return its exit code."""
        self._process.join(patience)
        self._process.kill()
        self._process.join()
        self.pipe.close()
        code: int = self._process.exitcode
        self._process.close()
        return code


def _serve(pipe: Any) -> None:
    """Run the tasks that come through the pipe until it is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the caller's, who ends this process
    with contextlib.suppress(EOFError, OSError):
        while (message := pipe.recv()) is not None:
            pipe.send(run_task(*message))
    _leave()


def _leave() -> None:
    """Exit at once: the caller waits, and need not see every module taken down."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # closed, None, or of the user's own making
            stream.flush()
    os._exit(0)


class Processes:
    """Up to `size` processes, started when there is work for them, or before by `open`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._idle: list[_Process] = []
        self._busy: dict[_Process, int] = {}

    def open(self) -> None:
        """Start them all, without waiting until they can work."""
        while len(self._idle) + len(self._busy) < self.size:
            self._idle.append(_Process())

    def has_room(self) -> bool:
        """Whether one more task would not have to wait."""
        return len(self._busy) < self.size

    def submit(self, number: int, message: tuple[Any, ...]) -> None:
        """Have `run_task` called with the message."""
        process = self._idle.pop() if self._idle else _Process()
        self._busy[process] = number
        process.send(message)

    def next(self) -> tuple[int, TaskResult | Lost | None]:
        """Wait for a task; return its number and what `run_task` returned."""
        from multiprocessing.connection import wait

        # A process that dies may leave its pipe open in a child: its sentinel tells as well.
        watched = {process.pipe: process for process in self._busy}
        watched |= {process.sentinel: process for process in self._busy}
        process = watched[wait(list(watched))[0]]
        try:
            # It may have answered before it died.
            answer = process.pipe.recv() if process.pipe.poll() else Lost("")
        except (EOFError, OSError):
            answer = Lost("")
        number = self._busy.pop(process)
        if isinstance(answer, Lost):
            return number, Lost(f"exit code {process.end(_PATIENCE)}")
        self._idle.append(process)
        return number, answer

    def close(self) -> None:
        """End them all; kill those at work, and those not used, which may still be starting."""
        # All are asked first and then waited for, so that they end at the same time.
        rested = [process for process in self._idle if process.used]
        for process in rested:
            process.send(None)
        for process in {*self._busy, *self._idle}.difference(rested):
            process.end(0.0)
        for process in rested:
            process.end(_PATIENCE)
        self._busy.clear()
        self._idle.clear()
