"""A job that only counts, to see a bar move."""

from __future__ import annotations

import asyncio

from ...services.jobs.kinds import Job, Kind

STEPS = 40
_PAUSE = 0.25


async def _count(job: Job) -> None:
    for step in range(STEPS):
        job.progress(step, STEPS, f"step {step + 1} of {STEPS}")
        await asyncio.sleep(_PAUSE)
    job.progress(STEPS, STEPS, f"{STEPS} steps")


COUNTING = Kind(name="components", run=_count, at_once=1, attempts=1)
