"""The cache in Prometheus's words."""

from __future__ import annotations

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .cache import Cache

#: How answers come about.
HOW = ("local", "redis", "shared", "made")


def figures(cache: Cache) -> dict[str, int]:
    """How answers came about, in this process."""
    return {"local": cache.hits} | {how: cache.counts[how] for how in HOW[1:]}


async def of_cache(cache: Cache) -> list[Metric]:
    """The cache's metrics in this process."""
    answers = CounterMetricFamily(
        "site_cache", "answers: from memory, from Redis, shared with others who asked, made", labels=["how"]
    )
    for how, count in figures(cache).items():
        answers.add_metric([how], count)
    left = CounterMetricFamily(
        "site_cache_left", "values not kept as they are long, and not read as their codec is not here", labels=["why"]
    )
    for why in ("long", "unread"):
        left.add_metric([why], cache.counts[why])
    far = CounterMetricFamily(
        "site_cache_redis",
        "commands that Redis did not answer in time, and that it was not asked after",
        labels=["what"],
    )
    for what in ("failed", "skipped"):
        far.add_metric([what], 0 if cache.far is None else cache.far.counts[what])
    return [
        answers,
        left,
        far,
        GaugeMetricFamily("site_cache_values", "values in memory", value=len(cache.local)),
        GaugeMetricFamily("site_cache_bytes", "bytes of those", value=cache.local.bytes),
    ]
