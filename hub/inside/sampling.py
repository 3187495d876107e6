"""A sample of what a worker did since the last one, out of numbers that it counts anyway. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..node import Node
from .fields import ENDINGS, FIELDS, NAMES, PLACE, REFUSALS, SEEN


class Doorway(Protocol):
    """What the front door counts."""

    refused: int
    max_connections: int

    @property
    def clients(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Machine:
    """What the process and its machine say. lag, cpu_seconds and own_seconds: since the last sample.

    probes: seconds that the others took which this process leans on, such as the database.
    """

    lag: float
    seconds: float
    cpu_seconds: float
    own_seconds: float
    resident: float
    probes: Mapping[str, float]


_SUMS = tuple(field.name for field in FIELDS if field.kind == "sum")


class Sampler:
    """Takes samples of a process's nodes."""

    def __init__(self, door: Doorway) -> None:
        self._door = door
        self._before: dict[str, float] | None = None

    def take(self, nodes: Sequence[Node], machine: Machine) -> tuple[float, ...]:
        """The values of FIELDS, in their order. The first one says that this worker has started."""
        totals = _totals(nodes, self._door)
        before = self._before
        self._before = totals
        values = dict.fromkeys(NAMES, 0.0)
        for name in _SUMS:
            # What went down belongs to a node that was made anew.
            values[name] = max(0.0, totals[name] - (before or totals)[name])
        values["starts"] = 1.0 if before is None else 0.0
        values |= _gauges(nodes)
        values["lag"] = machine.lag
        values["cpu"] = machine.cpu_seconds / machine.seconds if machine.seconds else 0.0
        values["own"] = machine.own_seconds / machine.seconds if machine.seconds else 0.0
        values["resident"] = machine.resident
        values["database"] = machine.probes.get("database", math.nan)
        return tuple(values[name] for name in NAMES)


def _totals(nodes: Iterable[Node], door: Doorway) -> dict[str, float]:
    found: dict[str, float] = dict.fromkeys(_SUMS, 0.0)
    for node in nodes:
        counters = node.counters
        for name in ("opened", "adopted", "published", "received", "delivered", "lost", "recovered", "unrecovered"):
            found[name] += getattr(counters, name)
        for reason, count in node.notes.ends.items():
            found[f"ended_{ENDINGS.get(reason, 'other')}"] += count
        limited = node.bayeux.limited
        for name, limits in REFUSALS.items():
            found[name] += sum(limited[limit] for limit in limits)
        found["reconnects"] += getattr(node.broker, "reconnects", 0)
        for number, count in enumerate(node.bayeux.seen.counts()):
            found[NAMES[SEEN + number]] += count
    found["refused_door"] = door.refused
    return found


def _gauges(nodes: Sequence[Node]) -> dict[str, float]:
    sessions = sum(len(node.registry.sessions) for node in nodes)
    links = sum(len(node.links) for node in nodes)
    sockets = sum(node.sockets for node in nodes)
    lags = [node.broker.lag for node in nodes if node.broker.keeps_sessions]
    return {
        "sockets": sockets,
        "streams": max(0, links - sockets),
        "polling": max(0, sessions - links),
        "hears": float(all(node.broker.hears for node in nodes)),
        "log_lag": max(lags) if lags else math.nan,
        "waiting": sum(node.delivery.waiting for node in nodes),
    }


def named(values: Sequence[float]) -> dict[str, float | None]:
    """A sample by its names; None for what is not known, as JSON can't say it otherwise."""
    return {name: None if math.isnan(values[PLACE[name]]) else round(values[PLACE[name]], 6) for name in NAMES}
