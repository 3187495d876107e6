"""What a sample of a worker's second has in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ..seen import BOUNDS

#: How two seconds become one number. sum: what happened in both; mean: what it was like; most: the worse of them.
Kind = Literal["sum", "mean", "most"]


@dataclass(frozen=True, slots=True)
class Field:
    """One number of a sample. words: what it is, in a few words. query: the same as Prometheus is asked for it."""

    name: str
    kind: Kind
    words: str
    query: str = ""


def _rate(metric: str) -> str:
    return f"sum(rate({metric}[1m]))"


#: Why sessions end, as they are counted together; what is not named here is "other".
ENDINGS: Mapping[str, str] = {
    "disconnect": "left",
    "closed": "left",
    "expired": "expired",
    "lost": "lost",
    "not recovered": "lost",
    "slow": "slow",
    "kicked": "kicked",
    "token expired": "kicked",
}

#: Which refusals belong together: the names are those of `bayeux.LIMITS`.
REFUSALS: Mapping[str, Sequence[str]] = {
    "refused_rate": ("handshakes", "publishes"),
    "refused_many": ("sessions", "subscriptions", "connections", "claims", "unread"),
    "refused_large": ("messages", "large", "deep", "values", "channels"),
    "refused_late": ("heads", "bodies"),
}

FIELDS: tuple[Field, ...] = (
    Field("starts", "sum", "starts of this worker"),
    Field("sockets", "mean", "WebSockets", "sum(hub_sockets)"),
    Field("streams", "mean", "event streams", "sum(hub_links) - sum(hub_sockets)"),
    Field("polling", "mean", "sessions without a connection of their own", "sum(hub_sessions) - sum(hub_links)"),
    Field("opened", "sum", "sessions opened", _rate("hub_opened_total")),
    Field("adopted", "sum", "sessions taken on from another worker", _rate("hub_adopted_total")),
    *(
        Field(f"ended_{each}", "sum", f"sessions ended: {each}", f'sum(rate(hub_ended_total{{why="{each}"}}[1m]))')
        for each in ("left", "expired", "lost", "slow", "kicked", "other")
    ),
    Field("published", "sum", "publications accepted from clients and servers", _rate("hub_published_total")),
    Field("received", "sum", "publications received from the log", _rate("hub_received_total")),
    Field("delivered", "sum", "deliveries", _rate("hub_delivered_total")),
    Field("lost", "sum", "times that publications may have been missed", _rate("hub_lost_total")),
    Field("recovered", "sum", "channels recovered in full", _rate("hub_recovered_total")),
    Field("unrecovered", "sum", "channels whose subscriber had to refetch", _rate("hub_unrecovered_total")),
    Field("refused_rate", "sum", "refused: too often", _rate("hub_handshakes_refused_total")),
    Field("refused_many", "sum", "refused: too many", _rate("hub_connections_refused_total")),
    Field("refused_large", "sum", "refused: too large", _rate("hub_large_refused_total")),
    Field("refused_late", "sum", "refused: too slow to ask", _rate("hub_heads_refused_total")),
    Field("refused_door", "sum", "refused: upgrades of a wrong origin or form", _rate("hub_upgrades_refused_total")),
    Field("lag", "most", "loop late, seconds", "max(hub_loop_lag_seconds)"),
    Field("cpu", "mean", "part of a core", "sum(rate(process_cpu_seconds_total[1m]))"),
    Field("resident", "mean", "resident memory, bytes", "sum(hub_resident_bytes)"),
    Field("log_lag", "most", "way through the log, seconds", "max(hub_log_lag_seconds)"),
    Field("reconnects", "sum", "reconnections to Redis", _rate("hub_broker_reconnects_total")),
    Field("hears", "mean", "part of the time in which the log was heard", "min(hub_hears)"),
    Field("database", "most", "the database's answer, seconds", "max(hub_probe_seconds)"),
    Field("waiting", "most", "publications waiting to be written"),
    Field("own", "mean", "part of a core spent on looking inside", "sum(rate(hub_inside_cpu_seconds_total[1m]))"),
    # Of each bound, and beyond the last one.
    *(Field(f"seen_{number}", "sum", "acknowledged in time") for number in range(len(BOUNDS) + 1)),
)

NAMES: tuple[str, ...] = tuple(field.name for field in FIELDS)

#: Where each is in a sample.
PLACE: Mapping[str, int] = {name: number for number, name in enumerate(NAMES)}

#: Where the first count of acknowledgements is.
SEEN = PLACE["seen_0"]
