"""Jobs in Prometheus's words, for /metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from hub.orm.away import brief, trace

from . import rows
from .rows import Count
from .runner import Runner

logger = logging.getLogger(__name__)

#: Seconds that /metrics waits for the database.
PATIENCE = 1.0

#: What kinds are called that no worker here knows: there may be any number of them.
UNKNOWN = "unknown"


async def of_jobs(runner: Runner) -> list[Metric]:
    """What waits, runs and was given up, and what this process did. Never raises: a database that is away takes them.

    The rows are counted in the database, and so are the same from every process that shares it; what was done, and how
    long it took, is this process's own.
    """
    found = _own(runner)
    now = runner.clock()
    try:
        async with asyncio.timeout(PATIENCE), runner.saves.engine.connect() as connection:
            counts = await connection.run_sync(rows.counts, now)
    # The database's errors are its driver's, and /metrics has more to say than its own trouble.
    except Exception as error:
        logger.warning("jobs can't be counted: %s", brief(error), exc_info=trace(error))
        return found
    return [*found, *_gauges(together(counts, runner.kinds), now)]


def together(counts: Mapping[str, Count], kinds: Collection[str]) -> dict[str, Count]:
    """Counts by kind, those of unknown kinds added up."""
    found = {kind: counts.get(kind, Count()) for kind in kinds}
    strange = [count for kind, count in counts.items() if kind not in found]
    if strange:
        found[UNKNOWN] = Count(
            sum(each.waiting for each in strange),
            sum(each.due for each in strange),
            sum(each.running for each in strange),
            sum(each.given_up for each in strange),
            min((each.oldest for each in strange if each.oldest is not None), default=None),
        )
    return found


def _own(runner: Runner) -> list[Metric]:
    done = CounterMetricFamily("site_jobs_done", "jobs this process has done", labels=["kind"])
    failed = CounterMetricFamily("site_jobs_failed", "attempts that failed here, to be made again", labels=["kind"])
    given_up = CounterMetricFamily("site_jobs_gave_up", "jobs this process has given up", labels=["kind"])
    lost = CounterMetricFamily("site_jobs_lost", "jobs whose lease this process has lost", labels=["kind"])
    took = SummaryMetricFamily("site_jobs_seconds", "seconds that attempts took here", labels=["kind"])
    for kind, stats in runner.stats.items():
        done.add_metric([kind], stats.done)
        failed.add_metric([kind], stats.failed)
        given_up.add_metric([kind], stats.given_up)
        lost.add_metric([kind], stats.lost)
        took.add_metric([kind], count_value=stats.ended, sum_value=stats.seconds)
    threads = GaugeMetricFamily(
        "site_jobs_threads_left", "threads of jobs that go on after their time", value=runner.threads.left_behind
    )
    return [done, failed, given_up, lost, took, threads]


def _gauges(counts: Mapping[str, Count], now: float) -> list[Metric]:
    waiting = GaugeMetricFamily("site_jobs_waiting", "jobs that wait, for their time or for a worker", labels=["kind"])
    due = GaugeMetricFamily("site_jobs_due", "jobs that could be begun now", labels=["kind"])
    running = GaugeMetricFamily("site_jobs_running", "jobs that a worker has", labels=["kind"])
    given_up = GaugeMetricFamily("site_jobs_given_up", "jobs that were given up, and are kept", labels=["kind"])
    oldest = GaugeMetricFamily("site_jobs_oldest_due_seconds", "for how long the oldest has been due", labels=["kind"])
    for kind, count in counts.items():
        waiting.add_metric([kind], count.waiting)
        due.add_metric([kind], count.due)
        running.add_metric([kind], count.running)
        given_up.add_metric([kind], count.given_up)
        oldest.add_metric([kind], 0.0 if count.oldest is None else max(now - count.oldest, 0.0))
    return [waiting, due, running, given_up, oldest]
