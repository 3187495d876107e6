"""The outbox in Prometheus's words, for the /metrics of whoever serves one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .away import brief, trace
from .sqlalchemy import AsyncNotifier

logger = logging.getLogger(__name__)

#: Seconds that /metrics waits for the database.
PATIENCE = 1.0


async def of_outbox(notify: AsyncNotifier, clock: Callable[[], float] = time.time) -> list[Metric]:
    """What waits, is parked, and was told. Never raises: a database that is away takes the rows' gauges with it.

    The rows are counted in the database, and so are the same from every process that shares it;
    told is this process's own.
    """
    found: list[Metric] = [
        CounterMetricFamily("hub_outbox_told", "changes this process told the hub", value=notify.told)
    ]
    try:
        async with asyncio.timeout(PATIENCE):
            counts = await notify.counts()
    # The database's errors are its driver's, and /metrics has more to say than its own trouble.
    except Exception as error:
        logger.warning("outbox can't be counted: %s", brief(error), exc_info=trace(error))
        return found
    age = 0.0 if counts.oldest is None else max(clock() - counts.oldest, 0.0)
    return [
        *found,
        GaugeMetricFamily("hub_outbox_waiting", "changes in the outbox that wait to be told", value=counts.waiting),
        GaugeMetricFamily("hub_outbox_parked", "changes that the hub refuses, kept", value=counts.parked),
        GaugeMetricFamily("hub_outbox_oldest_seconds", "age of the oldest change that waits", value=age),
    ]
