"""What the workers said, put together: one history of all, what is well, and how far the limits are. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hub.inside.fields import FIELDS

Answer = Mapping[str, Any]
Values = list[float | None]

_KINDS = {field.name: field.kind for field in FIELDS}

#: When a number is no good, in seconds and parts of a limit.
LATE, LOOP_LATE, LOG_LATE, DATABASE_LATE, CLOCKS, NEAR, FRESH = 1.0, 0.25, 0.25, 1.0, 2.0, 0.8, 300.0

#: Points that a forecast takes at least, and how much of the movement a straight line must explain.
_POINTS, _STRAIGHT = 10, 0.6


@dataclass(frozen=True, slots=True)
class Past:
    """The histories of workers over the same times. times: when each column begins; width: seconds of one."""

    times: list[int]
    width: int
    workers: list[str]
    _columns: list[list[Sequence[Any]]]
    _places: Mapping[str, int]

    def of(self, worker: int, name: str) -> Values:
        """A number of one worker; what is counted is a second's."""
        place = self._places.get(name)
        found: Values = []
        for column in self._columns[worker]:
            value = None if place is None or len(column) <= place + 2 else column[place + 2]
            found.append(value / column[1] if value is not None and _KINDS[name] == "sum" else value)
        return found

    def total(self, name: str) -> Values:
        """Of all workers together."""
        return _fold([self.of(worker, name) for worker in range(len(self.workers))], lambda one, other: one + other)

    def worst(self, name: str) -> Values:
        """The largest of all workers."""
        return _fold([self.of(worker, name) for worker in range(len(self.workers))], max)

    def counted(self, name: str) -> float:
        """How often it happened in all this time."""
        place = self._places[name] + 2
        return float(sum(column[place] or 0 for columns in self._columns for column in columns if len(column) > place))

    def counts(self, name: str) -> list[int]:
        """How often it happened, by column."""
        place = self._places[name] + 2
        found = [0] * len(self.times)
        for columns in self._columns:
            for at, column in enumerate(columns):
                if len(column) > place:
                    found[at] += int(column[place] or 0)
        return found


def _fold(rows: Sequence[Values], how: Callable[[float, float], float]) -> Values:
    found: Values = []
    for values in zip(*rows, strict=True):
        known = [value for value in values if value is not None]
        result: float | None = known[0] if known else None
        for value in known[1:]:
            assert result is not None
            result = how(result, value)
        found.append(result)
    return found


def past(answers: Iterable[Answer]) -> Past:
    """One history of all workers that answered; those of another release have the names that they have."""
    known = [each for each in answers if each.get("columns")]
    known.sort(key=lambda each: (str(each["machine"]), each["number"], str(each["worker"])))
    times = sorted({column[0] for each in known for column in each["columns"]})
    width = times[1] - times[0] if len(times) > 1 else 1
    rows = []
    places: Mapping[str, int] = {field.name: at for at, field in enumerate(FIELDS)}
    for each in known:
        by_time = {column[0]: _as_ours(column, each["names"]) for column in each["columns"]}
        rows.append([by_time.get(at, [at, 0]) for at in times])
    machines = {each["machine"] for each in known}
    names = [
        f"{each['machine']} {each['number']}" if len(machines) > 1 else f"worker {each['number']}" for each in known
    ]
    return Past(times, width, names, rows, places)


def _as_ours(column: Sequence[Any], names: Sequence[str]) -> Sequence[Any]:
    if len(column) <= 2 or len(names) == len(FIELDS):
        return column
    theirs = dict(zip(names, column[2:], strict=False))
    return [*column[:2], *(theirs.get(field.name) for field in FIELDS)]


# Health


@dataclass(frozen=True, slots=True)
class Check:
    """Something that is well or not, in words, with what to do if it is not."""

    name: str
    well: bool
    words: str


def checks(now: Sequence[Answer], silent: Sequence[str], latest: Past) -> list[Check]:
    """What is well, and what is not, of all workers. latest: the last quarter of an hour."""
    found = []
    for each in now:
        name = f"Worker {each['number']}"
        if each["draining"]:
            found.append(Check(name, False, "is draining: it sends its clients elsewhere and takes none"))
        elif each["reason"]:
            found.append(Check(name, False, str(each["reason"])))
        else:
            found.append(Check(name, True, "publications get through"))
    found += [Check(f"Worker {name}", False, "does not answer; is it gone, or stuck?") for name in silent]
    times = [each["latency"] for each in now]
    p99 = max((one["p99"] for each in times for one in each.values()), default=None)
    if p99 is not None:
        words = f"99 of 100 browsers have it within {ms(p99)}"
        found.append(Check("Lateness", p99 < LATE, words if p99 < LATE else f"{words}: see what is slow or hot below"))
    found += _check_numbers(now, latest)
    lost = latest.counted("lost")
    words = "nothing is known to have been missed in this time"
    if lost:
        words = f"{lost:.0f} times something may have been missed: readers were told to refetch. See Redis below"
    found.append(Check("Losses", not lost, words))
    clocks = [each["clock"] for each in now]
    apart = max(clocks) - min(clocks) if clocks else 0.0
    if apart > CLOCKS:
        found.append(Check("Clocks", False, f"workers' clocks are {apart:.0f} s apart: tokens may be refused. Use NTP"))
    return found


def _check_numbers(now: Sequence[Answer], latest: Past) -> Iterable[Check]:
    lag = _largest(latest.worst("lag"))
    if lag is not None:
        words = f"turned within {ms(lag)} all the time"
        if lag >= LOOP_LATE:
            words = (
                f"stood still for {ms(lag)} at the worst: something in this process takes long, or the machine is full"
            )
        yield Check("Event loop", lag < LOOP_LATE, words)
    log = _largest(latest.worst("log_lag"))
    if log is not None:
        words = f"Redis gave back what was written within {ms(log)}"
        yield Check("Log", log < LOG_LATE, words if log < LOG_LATE else f"{words}: is Redis busy, or far away?")
    database = _largest(latest.worst("database"))
    if database is not None:
        words = f"answered within {ms(database)}"
        yield Check("Database", database < DATABASE_LATE, words)
    for each in now:
        most = each["max_connections"]
        if most and each["clients"] >= NEAR * most:
            words = f"worker {each['number']} has {each['clients']:,} of {most:,} connections: raise LimitNOFILE"
            yield Check("Connections", False, words)


def _largest(values: Values) -> float | None:
    known = [value for value in values if value is not None]
    return max(known) if known else None


# Limits


@dataclass(frozen=True, slots=True)
class Limit:
    """How far something is from its limit. reached: in words, when it is at this span's slope."""

    name: str
    value: str
    limit: str
    part: float
    reached: str


def limits(now: Sequence[Answer], past: Past) -> list[Limit]:
    """How far all of it is from what it can bear, and when that is reached as things go."""
    found = []
    most = sum(each["max_connections"] for each in now)
    clients = sum(each["clients"] for each in now)
    connected = _sum_of(past, ("sockets", "streams", "polling"))
    if most:
        found.append(
            Limit("Connections", f"{clients:,}", f"{most:,}", clients / most, when(past.times, connected, float(most)))
        )
    cpu = [value for each in now if (value := each["sample"].get("cpu")) is not None]
    if cpu:
        found.append(
            Limit(
                "Core of the busiest worker",
                f"{max(cpu):.0%}",
                "100%",
                max(cpu),
                when(past.times, past.worst("cpu"), 1.0),
            )
        )
    resident = sum(each["sample"].get("resident") or 0 for each in now)
    machines = {each["machine"]: each["memory"] for each in now}
    memory = sum(machines.values())
    if memory and resident:
        reached = when(past.times, past.total("resident"), float(memory))
        found.append(Limit("Memory", size(resident), size(memory), resident / memory, reached))
    return found


def per_session(past: Past) -> Values:
    """Bytes of memory for each session, where there are enough to tell: what the process has by itself is in it."""
    sessions = _sum_of(past, ("sockets", "streams", "polling"))
    return [
        None if count is None or memory is None or count < 100 else memory / count
        for count, memory in zip(sessions, past.total("resident"), strict=True)
    ]


def _sum_of(past: Past, names: Iterable[str]) -> Values:
    return _fold([past.total(name) for name in names], lambda one, other: one + other)


def when(times: Sequence[float], values: Sequence[float | None], limit: float) -> str:
    """When a limit is reached if it goes on like this, in words."""
    known = [(at, value) for at, value in zip(times, values, strict=True) if value is not None]
    if len(known) < _POINTS:
        return "not enough is known yet"
    if known[-1][1] >= limit:
        return "now"
    mean_x = sum(at for at, _ in known) / len(known)
    mean_y = sum(value for _, value in known) / len(known)
    xx = sum((at - mean_x) ** 2 for at, _ in known)
    xy = sum((at - mean_x) * (value - mean_y) for at, value in known)
    yy = sum((value - mean_y) ** 2 for _, value in known)
    if xx == 0 or yy == 0 or xy <= 0 or xy * xy / (xx * yy) < _STRAIGHT:
        return "not in sight: it does not grow steadily"
    left = (limit - known[-1][1]) / (xy / xx)
    return f"in {span(left)}" if left < 366 * 86_400 else "not within a year"


# Tables


def hot(now: Sequence[Answer], most: int = 20) -> list[dict[str, Any]]:
    """Channels of all workers: each hears every publication, and delivers to its own."""
    found: dict[str, dict[str, Any]] = {}
    for each in now:
        for row in each["hot"]:
            sums = found.setdefault(
                row["channel"], {"channel": row["channel"], "published": 0.0, "delivered": 0.0, "bytes": 0.0}
            )
            sums["published"] = max(sums["published"], row["published"])
            sums["delivered"] += row["delivered"]
            sums["bytes"] += row["bytes"]
    return sorted(found.values(), key=lambda row: -row["delivered"])[:most]


def slow(now: Sequence[Answer], most: int = 20) -> list[dict[str, Any]]:
    """The clients for which most waits."""
    return sorted((row for each in now for row in each["slow"]), key=lambda row: -row["unsent"])[:most]


def summed(now: Sequence[Answer], name: str) -> list[tuple[str, float]]:
    """Numbers by reason, of all workers; the most frequent first, and nothing that never happened."""
    found: dict[str, float] = {}
    for each in now:
        for reason, count in each[name].items():
            found[reason] = found.get(reason, 0) + count
    return sorted(((reason, count) for reason, count in found.items() if count), key=lambda item: -item[1])


def addresses(now: Sequence[Answer], most: int = 20) -> list[tuple[str, int]]:
    """Who has most connections."""
    found: dict[str, int] = {}
    for each in now:
        for row in each["addresses"]:
            found[row["address"]] = found.get(row["address"], 0) + row["connections"]
    return sorted(found.items(), key=lambda item: -item[1])[:most]


def realms(now: Sequence[Answer]) -> list[dict[str, Any]]:
    """The realms of all workers, the busiest first."""
    found: dict[str, dict[str, Any]] = {}
    for each in now:
        for name, row in each["realms"].items():
            sums = found.setdefault(name, {"realm": name, **dict.fromkeys(row, 0)})
            for key, value in row.items():
                sums[key] = sums.get(key, 0) + value
    return sorted(found.values(), key=lambda row: -row["delivered"])


def latency(now: Sequence[Answer]) -> list[dict[str, Any]]:
    """By transport: said, p50, p99, max; of several workers the median is their mean by weight, the rest the worst."""
    found: dict[str, list[Mapping[str, float]]] = {}
    for each in now:
        for transport, times in each["latency"].items():
            found.setdefault(transport, []).append(times)
    rows = []
    for transport, some in sorted(found.items()):
        count = sum(each["count"] for each in some)
        rows.append(
            {
                "transport": transport,
                "count": count,
                "p50": sum(each["p50"] * each["count"] for each in some) / count,
                "p99": max(each["p99"] for each in some),
                "max": max(each["max"] for each in some),
            }
        )
    return rows


def acts(now: Sequence[Answer], most: int = 20) -> list[dict[str, Any]]:
    """What people did here, the latest first; workers of a machine share a file."""
    found = {(each["at"], each["who"], each["what"]): each for one in now for each in one["acts"]}
    return sorted(found.values(), key=lambda each: -each["at"])[:most]


# Words


def ms(value: float) -> str:
    """A short time as people read it."""
    if value < 0.9995:
        return f"{value * 1000:.{0 if value >= 0.1 else 1}f} ms"
    return f"{value:.1f} s" if value < 100 else span(value)


def span(value: float) -> str:
    """A long time."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if value >= 2 * length:
            return f"{value / length:.0f} {unit}"
    return f"{value:.0f} seconds"


def size(value: float) -> str:
    """Bytes."""
    for unit, length in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if value >= length:
            return f"{value / length:.1f} {unit}"
    return f"{value:.0f} B"


def number(value: float) -> str:
    """A count, or so many a second."""
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"
