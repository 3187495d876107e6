"""How the search is, in Prometheus's words, and whether it answers."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from .engine import EngineAway, EngineError
from .service import Search, search


async def metrics_of(app: web.Application) -> list[Metric]:
    """The search's metrics in this process."""
    here = app[search]
    state = here.indexer.state
    try:
        documents = float(await here.engine.count()) if state.ready else 0.0
    except EngineError:
        documents = 0.0
    found = [
        GaugeMetricFamily("site_search_ready", "1 where search answers", value=float(state.ready and not state.reason)),
        GaugeMetricFamily("site_search_documents", "documents that can be found", value=documents),
        GaugeMetricFamily(
            "site_search_building", "1 while a new index is built", value=float(state.building is not None)
        ),
    ]
    behind = GaugeMetricFamily(
        "site_search_behind_seconds",
        "from hearing of a change to finding it, of the newest thousand",
        labels=["quantile"],
    )
    ordered = sorted(state.behind) or [0.0]
    for share in (0.5, 0.99, 1.0):
        behind.add_metric([f"{share:g}"], ordered[min(len(ordered) - 1, int(len(ordered) * share))])
    counted = CounterMetricFamily(
        "site_search_index", "changes put into the index, builds of it, losses, and ghosts that it had", labels=["what"]
    )
    for what in ("changes", "builds", "lost", "ghosts"):
        counted.add_metric([what], state.counts[what])
    asked = CounterMetricFamily(
        "site_search_queries",
        "searches; those that found nothing, were too many, too long, or came before the index had all",
        labels=["what"],
    )
    for what in ("searches", "nothing", "refused", "long", "behind"):
        asked.add_metric([what], here.counts[what])
    dropped = here.intents.dropped if here.intents is not None else 0
    return [
        *found,
        behind,
        counted,
        asked,
        CounterMetricFamily("site_search_unnoted", "searches not noted: too many", value=dropped),
    ]


async def check(here: Search) -> None:
    """Raise EngineAway if a server of ours does not answer: `/ready` says so. One that is being built is no fault."""
    state = here.indexer.state
    if here.engine.shared and state.reason is not None:
        raise EngineAway(f"ELASTICSEARCH_URL: {state.reason}")
