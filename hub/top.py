"""The hub in a terminal: `fanfare top` and `fanfare trace`, as texts. Pure.

Plain ANSI: bold and colours where the terminal takes them, nothing else is drawn than letters and blocks.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

BOLD, RED, YELLOW, DIM, PLAIN = "\x1b[1m", "\x1b[31m", "\x1b[33m", "\x1b[2m", "\x1b[0m"

_BLOCKS = "▁▂▃▄▅▆▇█"

#: Rows of the tables of channels and clients.
_ROWS = 8

Worker = Mapping[str, Any]


class Style:
    """How a text is shown: with colours or without."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours

    def __call__(self, code: str, text: str) -> str:
        return f"{code}{text}{PLAIN}" if self._colours else text


def screen(now: Mapping[str, Any], history: Mapping[str, Any] | None, width: int, style: Style) -> list[str]:
    """The whole view. now, history: what the hub answered."""
    workers: list[Worker] = list(now["workers"])
    lines = [*_health(workers, now.get("silent", ()), style), ""]
    lines += _totals(workers, history, width, style)
    lines += ["", *_latency(workers, style)]
    lines += ["", *_workers(workers, style)]
    lines += ["", *_channels(workers, width, style)]
    slow = sorted((row for each in workers for row in each["slow"]), key=lambda row: -row["unsent"])
    if slow:
        lines += ["", *_slow(slow[:_ROWS], style)]
    return [_cut(line, width) for line in lines]


def _health(workers: Sequence[Worker], silent: Iterable[str], style: Style) -> list[str]:
    ill = [f"worker {each['number']} ({each['worker']}): {each['reason']}" for each in workers if each["reason"]]
    ill += [f"{each}: does not answer" for each in silent]
    if ill:
        return [style(RED + BOLD, "NOT WELL"), *(f"  {line}" for line in ill)]
    count = len(workers)
    return [style(BOLD, f"All well: {count} worker{'' if count == 1 else 's'}, log in {workers[0]['log']}")]


def total(workers: Iterable[Worker], name: str) -> float:
    """A number of the last second, of all workers."""
    return float(sum(each["sample"].get(name) or 0 for each in workers))


def worst(workers: Iterable[Worker], name: str) -> float | None:
    """Likewise, the largest; None where nobody knows."""
    known = [value for each in workers if (value := each["sample"].get(name)) is not None]
    return max(known) if known else None


def _totals(workers: Sequence[Worker], history: Mapping[str, Any] | None, width: int, style: Style) -> list[str]:
    rows = (
        ("deliveries/s", "delivered", ""),
        ("publishes/s", "received", ""),
        ("WebSockets", "sockets", ""),
        ("streams", "streams", ""),
        ("polling", "polling", ""),
        ("connects/s", "opened", ""),
        ("loop late", "lag", "s"),
        ("core used", "cpu", "%"),
        ("log's way", "log_lag", "s"),
    )
    lines = []
    for words, name, unit in rows:
        is_worst = name in ("lag", "log_lag")
        value = worst(workers, name) if is_worst else total(workers, name)
        if value is None:
            continue
        shown = seconds(value) if unit == "s" else f"{value * 100:.1f} %" if unit == "%" else count(value)
        bars = spark(_series(history, name, worst=is_worst), max(10, min(60, width - 30))) if history else ""
        lines.append(f"{words:<13} {style(BOLD, f'{shown:>10}')}  {style(DIM, bars)}")
    return lines


def _series(history: Mapping[str, Any], name: str, *, worst: bool) -> list[float | None]:
    found: list[float | None] = []
    for worker in history["workers"]:
        place = worker["names"].index(name) + 2
        for at, column in enumerate(worker["columns"]):
            value = column[place] if len(column) > place else None
            if at == len(found):
                found.append(None)
            if value is not None:
                known = found[at]
                found[at] = value if known is None else max(known, value) if worst else known + value
    return found


def spark(values: Sequence[float | None], width: int) -> str:
    """A row of blocks, the newest right; a gap is a blank."""
    some = list(values)[-width:]
    most = max((value for value in some if value is not None), default=0.0)
    return "".join(
        " " if value is None else _BLOCKS[min(7, int(value / most * 7.999))] if most > 0 else _BLOCKS[0]
        for value in some
    )


def _latency(workers: Sequence[Worker], style: Style) -> list[str]:
    found: dict[str, list[Mapping[str, float]]] = {}
    for each in workers:
        for transport, times in each["latency"].items():
            found.setdefault(transport, []).append(times)
    if not found:
        return [style(DIM, "Lateness in browsers: none has said anything in the last quarter of an hour")]
    lines = [style(BOLD, f"{'late in browsers':<20}{'said':>8}{'p50':>10}{'p99':>10}{'longest':>10}")]
    for transport, some in sorted(found.items()):
        said = sum(each["count"] for each in some)
        p50 = sum(each["p50"] * each["count"] for each in some) / said
        p99, most = max(each["p99"] for each in some), max(each["max"] for each in some)
        lines.append(f"{transport:<20}{count(said):>8}{seconds(p50):>10}{seconds(p99):>10}{seconds(most):>10}")
    return lines


def _workers(workers: Sequence[Worker], style: Style) -> list[str]:
    head = f"{'worker':<22}{'up':>9}{'clients':>9}{'sent/s':>9}{'core':>8}{'late':>9}{'memory':>10}{'own':>8}"
    lines = [style(BOLD, head)]
    for each in sorted(workers, key=lambda worker: (str(worker["machine"]), worker["number"])):
        sample = each["sample"]
        up = span(each["clock"] - each["started"])
        state = style(YELLOW, " draining") if each["draining"] else ""
        lines.append(
            f"{each['number']} {each['worker'][:19]:<20}{up:>9}{count(each['clients']):>9}"
            f"{count(sample.get('delivered') or 0):>9}{(sample.get('cpu') or 0) * 100:>6.1f} %"
            f"{seconds(sample.get('lag') or 0):>9}{size(sample.get('resident') or 0):>10}"
            f"{(sample.get('own') or 0) * 100:>6.2f} %{state}"
        )
    return lines


def _channels(workers: Sequence[Worker], width: int, style: Style) -> list[str]:
    found: dict[str, list[float]] = {}
    for each in workers:
        for row in each["hot"]:
            sums = found.setdefault(row["channel"], [0.0, 0.0, 0.0])
            # Each worker hears each publication.
            sums[0] = max(sums[0], row["published"])
            sums[1] += row["delivered"]
            sums[2] += row["bytes"]
    if not found:
        return [style(DIM, "No channel was heard in the last minute")]
    name = max(20, min(44, width - 36))
    lines = [style(BOLD, f"{'hot channels':<{name}}{'publ./s':>10}{'sent/s':>10}{'bytes/s':>12}")]
    top = sorted(found.items(), key=lambda item: -item[1][1])[:_ROWS]
    for channel, (published, delivered, sent) in top:
        lines.append(f"{_cut(channel, name):<{name}}{count(published):>10}{count(delivered):>10}{size(sent):>12}")
    return lines


def _slow(rows: Sequence[Mapping[str, Any]], style: Style) -> list[str]:
    lines = [style(BOLD, f"{'slow clients':<14}{'who':<24}{'unsent':>10}{'messages':>10}{'for':>9}")]
    for row in rows:
        who = row["user"] or row["address"] or "–"
        age = "–" if row["age"] is None else seconds(row["age"])
        lines.append(f"{row['session'][:12]:<14}{who[:22]:<24}{size(row['unsent']):>10}{row['messages']:>10}{age:>9}")
    return lines


# Trace


def way(found: Mapping[str, Any], style: Style) -> list[str]:
    """The way of one message, step by step."""
    lines = [style(BOLD, f"{found['channel']} {found['position']}")]
    published = found.get("published")
    if published is not None:
        repeated = ", a repeat" if published["repeated"] else ""
        lines.append(f"published    {clock(published['at'])}  by {published['by']}{repeated}")
    elif found["workers"]:
        lines.append("published    by whom is not known: straight into the log, or longer ago than is noted")
    log = found["log"]
    words = log["state"]
    if "bytes" in log:
        words += f", {log['bytes']} bytes{', a hint' if log['hint'] else ''}"
    lines.append(f"in the log   {words}")
    for each in found["workers"]:
        lines += _at_worker(each, None if published is None else published["at"])
    for name in found.get("silent", ()):
        lines.append(f"worker       {name}: does not answer")
    if "data" in log:
        lines.append(f"says         {log['data']}")
    return lines


def _at_worker(each: Mapping[str, Any], published: float | None) -> list[str]:
    if not each["heard"]:
        words = (
            f"has not heard it, or longer ago than it remembers; {each.get('listeners', 0)} hear the channel there now"
        )
        return [f"worker       {each['worker']}: {words}"]
    if each["reach"] is None:
        words = f"heard it; nobody listened there, or it was long ago; {each['listeners']} hear the channel there now"
        return [f"worker       {each['worker']}: {words}"]
    after = "" if published is None else f", {seconds(max(0.0, each['at'] - published))} after"
    done = "written to" if each["written"] else "is being written to"
    lines = [f"worker       {each['worker']}: heard {clock(each['at'])}{after}; {done} {each['reach']}"]
    known = f"of {each['listeners']} that hear the channel now {each['acknowledged']} are known to have it"
    if each["waiting"]:
        known += f", for {each['waiting']} it waits"
    lines.append(f"             {known}")
    for sight in each["seen"]:
        lines.append(
            f"             {sight['session'][:8]} said so after {seconds(sight['late'])} ({sight['transport']})"
        )
    return lines


# Numbers as people read them


def seconds(value: float) -> str:
    """A short time: 1.2 ms, 3.4 s."""
    if value < 0.9995:
        return f"{value * 1000:.{0 if value >= 0.1 else 1}f} ms"
    return f"{value:.1f} s" if value < 100 else span(value)


def span(value: float) -> str:
    """A long time: 3 min, 2.5 h, 12 d."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if value >= length:
            return f"{value / length:.{0 if value >= 10 * length else 1}f} {unit}"
    return f"{value:.0f} s"


def count(value: float) -> str:
    """A number: 12, 3.4, 15,000, 1.2M."""
    if value >= 1e6:
        return f"{value / 1e6:.1f}M"
    return f"{value:,.0f}" if value >= 100 or float(value).is_integer() else f"{value:.1f}"


def size(value: float) -> str:
    """Bytes: 120 B, 3.4 kB, 1.2 MB."""
    if value < 1000:
        return f"{value:.0f} B"
    power = min(4, int(math.log10(value) // 3))
    return f"{value / 1000**power:.1f} {'kMGT'[power - 1]}B"


def clock(at: float) -> str:
    """A moment, to the millisecond, UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}.{int(at * 1000) % 1000:03d} UTC"


def _cut(text: str, width: int) -> str:
    # Colours take no room; lines that have them are short.
    return text if len(text) <= width or "\x1b" in text else text[: width - 1] + "…"
