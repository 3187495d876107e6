"""What is counted of counting, in Prometheus's words."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .service import views

#: What becomes of a view that a service is to be told of.
OUTCOMES = ("sent", "full", "refused", "failed", "ignored", "left")


async def metrics_of(app: web.Application) -> Sequence[Metric]:
    """The metrics of views in this process."""
    here = app[views]
    counting = here.counting
    counted = CounterMetricFamily(
        "site_views",
        "views written; recovered from a process that was killed; dropped since too many waited; of whose callers there"
        " were too many; looked at no closer than at a glance; without room in the file that outlives a kill",
        labels=["what"],
    )
    for what in ("written", "recovered", "dropped", "uncalled"):
        counted.add_metric([what], counting.counts[what])
    counted.add_metric(["glanced"], here.kinds.glances)
    counted.add_metric(["unsafe"], counting.unsafe)
    told = CounterMetricFamily(
        "site_views_told", "views that services were told of, by what became of them", labels=["target", "outcome"]
    )
    waiting = GaugeMetricFamily("site_views_waiting", "views that wait, by for whom", labels=["target"])
    waiting.add_metric(["tables"], counting.waiting)
    resting = GaugeMetricFamily("site_views_resting", "1 while a service fails, and is left alone", labels=["target"])
    resting.add_metric(["tables"], float(counting.is_away))
    for sender in here.senders:
        for outcome in OUTCOMES:
            told.add_metric([sender.target.name, outcome], sender.counts[outcome])
        waiting.add_metric([sender.target.name], sender.waiting)
        resting.add_metric([sender.target.name], float(sender.breaker.is_open))
    received = CounterMetricFamily(
        "site_views_received", "events of POST /views: counted, ignored, and requests refused", labels=["what"]
    )
    for what in ("counted", "ignored", "refused"):
        received.add_metric([what], here.received[what])
    failed = CounterMetricFamily("site_views_failed", "writings that failed", value=counting.counts["failed"])
    return [counted, told, waiting, resting, received, failed]
