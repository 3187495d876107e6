"""Memory of the process: what the C library keeps of it, and when the rest goes back to the kernel.

Freed memory is kept for what comes next, KEPT_BYTES of it while there is work. What lies in holes between what lives
the C library never gives back by itself: a flood of bodies of a megabyte left 37 MiB resident for good. So once the
process is calm again it is asked to (malloc_trim(3)): that takes about a millisecond for every ten MiB, and waits of
others for memory with it, which is why it is done then, and in a thread.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

#: Bytes of freed memory that a process keeps; and how glibc calls the two settings (its malloc.h).
KEPT_BYTES = 16 * 1024 * 1024
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3

#: Bytes of it that are kept once the process is calm: the next flood takes the rest anew in some milliseconds.
CALM_BYTES = 4 * 1024 * 1024

#: Seconds between two looks at whether the process is calm, and the part of a core below which it is.
LOOK_SECONDS = 2.0
CALM_SHARE = 0.25

#: The part of the time that a look may take.
LOOK_SHARE = 0.002

#: CPU seconds of work after which there may be something to give back, and at most so many where there never was.
FIRST_WORK = 1.0
MOST_WORK = 64.0


class _Mallinfo(ctypes.Structure):
    """What mallinfo2(3) answers: of ten sizes the ninth is of what is free in the C library's heaps."""

    _fields_ = [(f"_{number}", ctypes.c_size_t) for number in range(8)] + [
        ("fordblks", ctypes.c_size_t),
        ("_keepcost", ctypes.c_size_t),
    ]


@dataclass(frozen=True, slots=True)
class Held:
    """Bytes that are resident, and bytes that the C library has free, whether they are resident or not."""

    resident: int
    free: int = 0


@dataclass(slots=True)
class Trimming:
    """When freed memory is given back. Pure.

    last: at the start, and after the last time. work: CPU seconds after which it is tried again; more each time that
    little came of it, so that a process that is merely used does not walk its heap in vain.

    Either of both may grow alone. What hundreds of sockets left unread was resident at the last time already, and
    only freed since; what was free by then and not resident has been used since, and freed again.
    """

    last: Held
    work: float = FIRST_WORK
    worked: float = 0.0

    def is_calm(self, worked: float, seconds: float) -> bool:
        """Whether the process has time for it. worked: CPU seconds since it was asked last, `seconds` ago."""
        self.worked += worked
        return worked < CALM_SHARE * seconds

    def is_due(self, now: Held) -> bool:
        """Whether there may be something to give back."""
        grown = max(now.resident - self.last.resident, now.free - self.last.free)
        return self.worked >= self.work or grown > KEPT_BYTES // 2

    def done(self, before: Held, after: Held) -> None:
        """It was given back: what was held before and after."""
        gain = before.resident - after.resident
        self.work = FIRST_WORK if gain > KEPT_BYTES // 4 else min(2 * self.work, MOST_WORK)
        self.worked = 0.0
        self.last = after


def resident() -> int:
    """Bytes of resident memory; 0 where the kernel has no /proc."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def keep_memory() -> None:
    """Have the C library keep freed memory for what comes next: 16 MiB, and blocks of up to that size among it.

    glibc gives back what is larger than 128 KiB, or a few MiB at the end of the heap, and takes it again page by page:
    2 MiB bodies cost three times as much for it, and held up a round of the loop for 2.8 ms instead of 1. The decoder
    of JSON takes a block of twelve times the text's size: taken from the kernel each time, a text of a megabyte cost
    half a millisecond more. glibc's own way to adapt is off from here on. Other C libraries are left as they are.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return
    mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)


def held() -> Held:
    """What the process holds; nothing free where the C library can't tell (before glibc 2.33)."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except (OSError, AttributeError):
        return Held(resident())
    mallinfo.restype = _Mallinfo
    return Held(resident(), mallinfo().fordblks)


async def give_back(seconds: float = LOOK_SECONDS) -> None:
    """Give freed memory back whenever the process is calm again; ends at once where the C library can't.

    seconds: between two looks.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return
    # Both wait for others' allocations, so they run without the interpreter's lock.
    trimming = Trimming(await asyncio.to_thread(held))
    looked, spent, pause = time.monotonic(), time.process_time(), seconds
    while True:
        await asyncio.sleep(pause)
        now, cpu = time.monotonic(), time.process_time()
        is_calm = trimming.is_calm(cpu - spent, now - looked)
        looked, spent, pause = now, cpu, seconds
        if not is_calm:
            continue
        before = await asyncio.to_thread(held)
        # The walk over what is free halts who allocates, for 26 ms where 200,000 blocks are.
        pause = max(seconds, (time.monotonic() - now) / LOOK_SHARE)
        if trimming.is_due(before):
            await asyncio.to_thread(trim, CALM_BYTES)
            after = await asyncio.to_thread(held)
            trimming.done(before, after)
            given = max(0, before.resident - after.resident)
            logger.debug("memory given back", extra={"bytes": given, "resident": after.resident})
