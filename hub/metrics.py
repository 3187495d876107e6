"""What /metrics says: the node's counters and gauges in Prometheus's words.

Collected when asked for; the hot paths only add to plain integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from .bayeux.limits import LIMITS
from .inside.insider import Inside, resident
from .node import Node
from .presence.worker import Presence
from .seen import BOUNDS, Spread
from .transports.front import Door

#: The content type of Prometheus's text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_COUNTERS = {
    "opened": "sessions opened",
    "expired": "sessions that expired",
    "adopted": "sessions continued from another worker",
    "carried": "requests carried to the worker that owns their session",
    "moved": "sessions handed to another worker",
    "taken_over": "sessions taken from a worker that is not alive",
    "fenced": "records refused because another worker owns the session",
    "published": "publications accepted from clients of this process",
    "received": "publications received from the broker",
    "delivered": "deliveries to sessions",
    "withheld": "publications that an extension kept from this process's subscribers",
    "flushes": "ticks of fan-out",
    "slow": "sessions ended because their queue was full",
    "lost": "times that publications may have been missed and subscribers were told",
    "recovered": "channels recovered in full",
    "unrecovered": "channels whose subscriber was told to refetch",
    "oversized": "of those, for a history longer than what may wait for a session",
    "held": "items that waited for the one named by their prev-id",
    "overdue": "items published although the one named by their prev-id had not come in time",
    "dropped": "items dropped because another waited for the same prev-id",
    "unheld": "items refused because too many waited for their prev-id",
}
_BROKER_COUNTERS = {
    "reconnects": "reconnections of the reader to the broker",
    "deaf": "times this worker did not hear its own canary",
    "rollbacks": "times logs were found rolled back or emptied",
    "trims": "times entries were trimmed before this worker read them",
}
_RECENT_COUNTERS = {
    "repeated": "publications given again after a connection that died",
    "forgotten": "sessions ended because what their connection lost was forgotten",
}
_REALM_COUNTERS = ("opened", "published", "received", "delivered", "slow", "lost")
_GAUGES: dict[str, tuple[str, Callable[[Node], int]]] = {
    "sessions": ("sessions remembered", lambda node: len(node.registry.sessions)),
    "sessions_asleep": (
        "sessions without a connection, for which what is published waits in common",
        lambda node: node.registry.sleeping,
    ),
    "subscription_bytes": (
        "names of all subscriptions, and 24 bytes for each, of which HUB_SUBSCRIPTION_BYTES allows so many",
        lambda node: node.registry.subscribed,
    ),
    "sockets": ("WebSockets open", lambda node: node.sockets),
    "links": ("WebSockets and event streams open", lambda node: len(node.links)),
    "patterns": ("patterns with subscribers", lambda node: len(node.registry.audiences)),
    "followers": ("pieces of code that follow channels", lambda node: len(node.followers)),
    "followers_waiting": ("publications that wait for them", lambda node: node.followers.waiting),
}
_REALM_GAUGES: dict[str, tuple[str, Callable[[Node], int]]] = _GAUGES | {
    "ready": ("1 while publications get through", lambda node: int(node.health.well)),
}


class HubMetrics(Collector):
    """The metrics of one process's hub, and those of what is beside it.

    nodes: of the realms, by name. What has no label is the sum of them all.
    presences: of the realms that tell who is in a channel.
    extra: metrics that someone else collected for this look, such as `hub.orm.metrics.of_outbox`'s. inside: what looks
    at the process, if anything does.
    """

    def __init__(
        self,
        nodes: Mapping[str, Node],
        door: Door,
        presences: Iterable[Presence] = (),
        extra: Iterable[Metric] = (),
        inside: Inside | None = None,
    ) -> None:
        self._nodes = nodes
        self._presences = list(presences)
        self._door = door
        self._extra = list(extra)
        self._inside = inside
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Called by the registry."""
        nodes = list(self._nodes.values())
        for name, words in _COUNTERS.items():
            yield _counter(name, words, sum(getattr(node.counters, name) for node in nodes))
        for name, words in _BROKER_COUNTERS.items():
            values = [getattr(node.broker, name) for node in nodes if hasattr(node.broker, name)]
            if values:
                yield _counter(f"broker_{name}", words, sum(values))
        yield _counter("upgrades", "WebSockets opened", self._door.upgraded)
        yield _counter("upgrades_refused", "WebSocket upgrades refused", self._door.refused)
        turns = self._door.turns
        yield _counter("turns", "pieces of costly work that waited for their turn", turns.taken)
        yield _counter("turns_cut", "rounds of the loop that left costly work for the next one", turns.cut)
        yield _counter("turns_waited_seconds", "time that costly work waited for its turn", turns.waited)
        yield _gauge("turns_waiting", "pieces of costly work that wait for their turn", len(turns))
        for name, words in LIMITS.items():
            yield _counter(f"{name}_refused", words, sum(node.bayeux.limited[name] for node in nodes))
        for name, words in _RECENT_COUNTERS.items():
            yield _counter(name, words, sum(getattr(node.registry.recent, name) for node in nodes))
        words = "times that a follower was told lost because too much waited for it"
        yield _counter("followers_slow", words, sum(node.followers.slow for node in nodes))
        for name, (words, of) in _GAUGES.items():
            yield _gauge(name, words, sum(of(node) for node in nodes))
        yield _gauge("hears", "1 while this process hears the log", int(all(node.broker.hears for node in nodes)))
        yield _gauge("ready", "1 while publications get through", int(all(node.health.well for node in nodes)))
        if len(nodes) > 1:
            yield from self._by_realm()
        yield _gauge("resident_bytes", "resident memory of the process", resident())
        yield from _seen(nodes)
        if self._inside is not None:
            yield from _inside(self._inside)
        if self._presences:
            yield from self._collect_presence()
        yield from self._extra

    def _collect_presence(self) -> Iterator[Metric]:
        def total(of: Callable[[Presence], int]) -> int:
            return sum(of(presence) for presence in self._presences)

        everywhere = "at all workers"
        yield _gauge(
            "presence_channels",
            f"channels with somebody in them, {everywhere}",
            total(lambda each: len(each.everywhere.rooms)),
        )
        yield _gauge(
            "presence_users", f"users named in each of them, {everywhere}", total(lambda each: each.everywhere.named)
        )
        yield _gauge(
            "presence_workers", "workers that report who is with them", total(lambda each: len(each.everywhere.workers))
        )
        yield _counter("presence_reports", "reports to the other workers", total(lambda each: each.reports))
        yield _counter(
            "presence_held",
            "changes that had to wait until others of their address were told",
            total(lambda each: each.here.held),
        )
        yield _counter("presence_events", "events that tell who came and went", total(lambda each: each.events))
        words = "because there were too many"
        yield _counter(
            "presence_unnamed", f"subscriptions whose user was not named {words}", total(lambda each: each.here.unnamed)
        )
        yield _counter(
            "presence_uncounted", f"subscriptions not counted {words} channels", total(lambda each: each.here.uncounted)
        )

    def _by_realm(self) -> Iterator[Metric]:
        """Who uses what. Names of their own: a sum over `hub_sessions` must not count anyone twice."""
        for name in _REALM_COUNTERS:
            counter = CounterMetricFamily(f"hub_realm_{name}", f"{_COUNTERS[name]}, by realm", labels=["realm"])
            for realm, node in self._nodes.items():
                counter.add_metric([realm], getattr(node.counters, name))
            yield counter
        for name, (words, of) in _REALM_GAUGES.items():
            gauge = GaugeMetricFamily(f"hub_realm_{name}", f"{words}, by realm", labels=["realm"])
            for realm, node in self._nodes.items():
                gauge.add_metric([realm], of(node))
            yield gauge


def _seen(nodes: Iterable[Node]) -> Iterator[Metric]:
    """How late publications were in browsers, and why sessions ended."""
    late = HistogramMetricFamily(
        "hub_seen_seconds",
        "from hearing a publication until a browser has said that it has got it",
        labels=["transport"],
    )
    spreads: dict[str, list[Spread]] = {}
    ended = CounterMetricFamily("hub_ended", "sessions that ended, by reason", labels=["why"])
    ends: dict[str, int] = {}
    lag = 0.0
    for node in nodes:
        lag = max(lag, node.broker.lag)
        for transport, spread in node.bayeux.seen.spreads.items():
            spreads.setdefault(transport, []).append(spread)
        for why, count in node.notes.ends.items():
            ends[why] = ends.get(why, 0) + count
    for transport, some in spreads.items():
        counts = [sum(each) for each in zip(*(spread.counts for spread in some), strict=True)]
        bounds = [*(f"{bound:g}" for bound in BOUNDS), "+Inf"]
        buckets = [(bound, float(sum(counts[: at + 1]))) for at, bound in enumerate(bounds)]
        late.add_metric([transport], buckets, sum(spread.total for spread in some))
    for why, count in ends.items():
        ended.add_metric([why], count)
    yield late
    yield ended
    yield _gauge("log_lag_seconds", "from saying something to the log until this process hears it", lag)


def _inside(inside: Inside) -> Iterator[Metric]:
    yield _gauge("loop_lag_seconds", "how late timers were at most in the last second", inside.lag)
    yield _counter("inside_cpu_seconds", "CPU time spent on looking at the hub from inside", inside.own_seconds)
    probes = GaugeMetricFamily("hub_probe_seconds", "the last answer of what the process leans on", labels=["what"])
    for name, seconds in inside.took.items():
        probes.add_metric([name], seconds)
    yield probes


def labelled(texts: Mapping[int, bytes | None]) -> bytes:
    """The metrics of several workers as one text, each sample with its worker; None for one that gives none.

    They are not summed: a worker that is replaced begins at nought, and a sum would fall with it.
    """
    heads: dict[bytes, bytes] = {}
    samples: dict[bytes, list[bytes]] = {}
    for worker, text in sorted(texts.items()):
        label = b'worker="%d"' % worker
        for block in (text or b"").split(b"# HELP ")[1:]:
            words, kind, *lines = block.splitlines()
            name = words.partition(b" ")[0]
            heads.setdefault(name, b"# HELP %b\n%b\n" % (words, kind))
            samples.setdefault(name, []).extend(_with_label(line, label) for line in lines if line)
    up = b"# HELP hub_worker_up 1 if the worker gave its metrics\n# TYPE hub_worker_up gauge\n"
    up += b"".join(b'hub_worker_up{worker="%d"} %d\n' % (worker, text is not None) for worker, text in texts.items())
    return up + b"".join(head + b"\n".join(samples[name]) + b"\n" for name, head in heads.items())


def _with_label(line: bytes, label: bytes) -> bytes:
    # A name has no brace or space in it, and neither stands before the labels.
    name, brace, rest = line.partition(b"{")
    if brace and b" " not in name:
        return b"%b{%b,%b" % (name, label, rest)
    name, _, value = line.partition(b" ")
    return b"%b{%b} %b" % (name, label, value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(f"hub_{name}", words, value=value)


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(f"hub_{name}", words, value=value)
