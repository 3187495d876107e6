"""The laboratory in Prometheus's words."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .service import lab


async def metrics_of(app: web.Application) -> list[Metric]:
    """The laboratory's metrics in this process."""
    here = app[lab]
    counted = CounterMetricFamily(
        "site_lab_redis",
        "measurements made here, refused for their number, refused as too many wait, failed; processes started",
        labels=["what"],
    )
    for what in ("measured", "refused", "crowded", "failed", "started"):
        counted.add_metric([what], here.counts[what])
    return [counted, GaugeMetricFamily("site_lab_redis_waiting", "measurements that wait", value=here.waiting)]
