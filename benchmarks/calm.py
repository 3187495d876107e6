"""Whether the machine was calm while something was measured: what others used of the cores that measured it.

Others are processes that are none of ours, and a hypervisor that gave the time to another machine (steal).
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import Self

from hub.bench import cores

#: The part of its cores that others may have in a round that counts as calm.
LIMIT = 0.1

_TICKS = os.sysconf("SC_CLK_TCK")


class Watch:
    """Measures from its `with` to the end of it. `others` is the part of the cores that was not ours, 0 to 1.

    Children count as ours once they were waited for: start and end them within.
    """

    def __init__(self) -> None:
        self.others = 0.0
        self._cores = set(cores())

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._used, self._own = _used(self._cores), _own()
        return self

    def __exit__(self, *exc_info: object) -> None:
        room = (time.monotonic() - self._began) * len(self._cores)
        spent = _used(self._cores) - self._used - (_own() - self._own)
        self.others = min(1.0, max(0.0, spent / room)) if room else 0.0


def used(stat: str, cores: set[int]) -> float:
    """Seconds for which these cores were not idle or were taken away, by the text of /proc/stat."""
    total = 0
    for line in stat.splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
            user, nice, system, _idle, _waiting, interrupts, soft, stolen = map(int, numbers[:8])
            total += user + nice + system + interrupts + soft + stolen
    return total / _TICKS


def _used(cores: set[int]) -> float:
    return used(Path("/proc/stat").read_text(encoding="ascii"), cores)


def _own() -> float:
    ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in ours)
