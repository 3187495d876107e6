"""Times that a claim can be held to: without those in which the machine stood still."""

from __future__ import annotations

import threading
import time
from types import TracebackType

#: How long the watcher sleeps. One that wakes more than LATE after that was not let run, and nobody else was;
#: another thread's Python code holds it up for some milliseconds only, so that no slow code of ours is forgiven.
NAP, LATE = 0.01, 0.05


class Stopwatch:
    """`with Stopwatch() as watch:` begins; `watch.seconds` may be read inside, and stays what it was at the end.

    A virtual machine that is taken off its processor for two seconds made tests red that allow one. What is not
    forgiven is a machine that is merely slow: allow for three times what a fast one takes.
    """

    def __init__(self) -> None:
        self._began = self._asleep = time.monotonic()
        self._still = 0.0
        self._ended: float | None = None
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Stopwatch:
        self._began = self._asleep = time.monotonic()
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._ended = self.seconds
        self._over.set()
        self._watcher.join()

    @property
    def seconds(self) -> float:
        """Since the beginning, less the time that the machine stood still."""
        if self._ended is not None:
            return self._ended
        now = time.monotonic()
        return now - self._began - self._still - _overslept(now - self._asleep)

    def _watch(self) -> None:
        while not self._over.is_set():
            time.sleep(NAP)
            now = time.monotonic()
            self._still, self._asleep = self._still + _overslept(now - self._asleep), now


def _overslept(slept: float) -> float:
    return slept - NAP if slept > NAP + LATE else 0.0
