"""Settings of jobs."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, FLAG, SECONDS, setting

from .runner import Options

_USUAL = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """How jobs are done. Times are seconds."""

    serve: bool = setting(
        "JOBS_SERVE", FLAG, True, "do jobs in `fanfare serve` too; false where `fanfare work` does them"
    )
    at_once: int = setting(
        "JOBS_AT_ONCE", COUNT, _USUAL.at_once, "jobs in work at a time in one process", minimum=1, maximum=1000
    )
    processes: int = setting(
        "JOBS_PROCESSES",
        COUNT,
        _USUAL.processes,
        "processes beside each worker, begun when needed, for jobs that take the processor",
        minimum=1,
        maximum=64,
    )
    poll: float = setting(
        "JOBS_POLL",
        SECONDS,
        _USUAL.poll,
        "how often to look for jobs of which no hint came: how late one is that another process has added",
        minimum=0.1,
        maximum=3600,
    )
    lease: float = setting(
        "JOBS_LEASE",
        SECONDS,
        _USUAL.lease,
        "after so long without a sign of its worker a job is another's: how late one is whose worker was killed; many"
        " times what the machines' clocks differ",
        minimum=1,
        maximum=3600,
    )
    grace: float = setting(
        "JOBS_GRACE", SECONDS, _USUAL.grace, "how long jobs in work may take when the process stops", maximum=3600
    )
    keep: float = setting("JOBS_KEEP", SECONDS, _USUAL.keep, "how long jobs that are done are kept, without their data")
    keep_given_up: float = setting(
        "JOBS_KEEP_GIVEN_UP", SECONDS, _USUAL.keep_given_up, "how long jobs are kept that were given up"
    )
    kept: int = setting("JOBS_KEPT", COUNT, _USUAL.kept, "of each of these, how many are kept at most", minimum=0)
    unknown: float = setting(
        "JOBS_UNKNOWN", SECONDS, _USUAL.unknown, "how long a job waits for a worker that knows its kind"
    )

    @property
    def options(self) -> Options:
        """These settings as the worker takes them."""
        return Options(
            at_once=self.at_once,
            processes=self.processes,
            poll=self.poll,
            lease=self.lease,
            grace=self.grace,
            keep=self.keep,
            keep_given_up=self.keep_given_up,
            kept=self.kept,
            unknown=self.unknown,
        )
