"""The pictures of the hub's page, as SVG: lines, stacks and a heat map over one axis of time. Pure.

All of a page have the same axis, and the same marks on it: starts of workers, and what people did. Times are UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup, escape

from ...pages.charts import HEIGHT, WIDTH, tick_texts, ticks

_TOP, _BOTTOM, _LEFT, _RIGHT = 14.0, 30.0, 72.0, 10.0
_SPAN = WIDTH - _LEFT - _RIGHT
_DEEP = HEIGHT - _TOP - _BOTTOM

#: Series that can be told apart.
MOST = 6

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened. at: seconds since 1970."""

    at: float
    words: str


@dataclass(frozen=True, slots=True)
class Axis:
    """The times of a page's columns, each `width` seconds long, and its marks."""

    times: Sequence[int]
    width: int
    marks: Sequence[Mark] = ()

    def x(self, at: float) -> float:
        """Where a time is."""
        start, end = self._ends
        return _LEFT + _SPAN * min(1.0, max(0.0, (at - start) / (end - start)))

    @property
    def _ends(self) -> tuple[float, float]:
        if not self.times:
            return 0.0, 1.0
        return float(self.times[0]), float(self.times[-1] + self.width)

    def label(self, at: float) -> str:
        """A time, as finely as the axis needs it."""
        start, end = self._ends
        when = datetime.fromtimestamp(at, UTC)
        return f"{when:%-d %b}" if end - start > 2 * 86_400 else f"{when:%H:%M}"

    def parts(self) -> Iterable[str]:
        """Its labels and marks."""
        start, end = self._ends
        for at in _round_times(start, end):
            place = f'x="{self.x(at):.1f}" y="{HEIGHT - 8:.1f}" text-anchor="middle"'
            yield f'<text class="tick" {place}>{self.label(at)}</text>'
        for mark in self.marks:
            if start <= mark.at < end:
                said = f"<title>{escape(mark.words)}</title>"
                yield f'<path class="mark" d="M{self.x(mark.at):.1f} {_TOP:.1f}V{HEIGHT - _BOTTOM:.1f}">{said}</path>'


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture. names: of its series; queries: what Prometheus is asked for the same; rows: its latest numbers."""

    id: str
    title: str
    unit: str
    svg: Markup
    names: tuple[str, ...]
    queries: tuple[str, ...]
    rows: tuple[tuple[str, str, str], ...]


def lines(
    id: str, title: str, axis: Axis, series: Mapping[str, Values], *, unit: str = "", queries: Sequence[str] = ()
) -> Figure:
    """A line for each series; a gap where nothing is known."""
    some = dict(list(series.items())[:MOST])
    top = _top(value for values in some.values() for value in values)
    parts = [*_grid(top), *axis.parts()]
    for number, values in enumerate(some.values()):
        parts.append(f'<path class="line c{number}" d="{_line(axis, values, top[-1])}"/>')
    return _figure(id, title, unit, some, parts, queries)


def stack(
    id: str, title: str, axis: Axis, series: Mapping[str, Values], *, unit: str = "", queries: Sequence[str] = ()
) -> Figure:
    """Areas one on the other: how much in all, and of what."""
    some = dict(list(series.items())[:MOST])
    floor = [0.0] * len(axis.times)
    layers = []
    for values in some.values():
        roof = [low + (value or 0.0) for low, value in zip(floor, values, strict=True)]
        layers.append((floor, roof))
        floor = roof
    known = [any(values[at] is not None for values in some.values()) for at in range(len(axis.times))]
    top = _top(floor)
    parts = [*_grid(top), *axis.parts()]
    for number, (low, high) in enumerate(layers):
        parts += (f'<path class="area c{number}" d="{_area(axis, low, high, run, top[-1])}"/>' for run in _runs(known))
    return _figure(id, title, unit, some, parts, queries)


def heat(
    id: str, title: str, axis: Axis, names: Sequence[str], rows: Sequence[Sequence[int]], queries: Sequence[str] = ()
) -> Figure:
    """How many there were of each kind at each time, the last kind on top; darker is more."""
    parts = [*axis.parts()]
    height = _DEEP / len(rows)
    most = max((count for row in rows for count in row), default=0)
    step = _SPAN / max(1, len(axis.times))
    for number, (name, row) in enumerate(zip(names, rows, strict=True)):
        y = HEIGHT - _BOTTOM - height * (number + 1)
        place = f'x="{_LEFT - 6:.1f}" y="{y + height / 2 + 5:.1f}" text-anchor="end"'
        parts.append(f'<text class="tick" {place}>{escape(name)}</text>')
        for at, count in enumerate(row):
            if count:
                shade = 1 + min(4, int(5 * math.log1p(count) / (math.log1p(most) * 1.0001)))
                said = f"<title>{axis.label(axis.times[at])}, {escape(name)}: {count}</title>"
                place = f'x="{_LEFT + step * at:.1f}" y="{y:.1f}" width="{step:.1f}" height="{height - 1:.1f}"'
                parts.append(f'<rect class="heat-{shade}" {place}>{said}</rect>')
    if not most:
        parts.append(_words("No browser has said anything in this time"))
    sums = {name: [float(sum(row))] for name, row in zip(names, rows, strict=True)}
    figure = _figure(id, title, "", sums, parts, queries, said="in all")
    return Figure(id, title, "", figure.svg, (), figure.queries, figure.rows)


def _figure(
    id: str,
    title: str,
    unit: str,
    series: Mapping[str, Values],
    parts: Sequence[str],
    queries: Sequence[str],
    said: str = "",
) -> Figure:
    rows = []
    for name, values in series.items():
        known = [value for value in values if value is not None]
        last = "–" if not known else text(known[-1])
        rows.append((name, last, "–" if not known else text(max(known))))
    told = "; ".join(f"{name}: {said or 'now'} {last}{unit}" for name, last, _ in rows)
    about = f"{title}. {told or 'nothing is known yet'}."
    head = f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(about)}">'
    return Figure(
        id,
        title,
        unit,
        Markup(head + "".join(parts) + "</svg>"),  # made of numbers, and of texts that are escaped
        tuple(series),
        tuple(queries),
        tuple(rows),
    )


def text(value: float) -> str:
    """A number, short."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _top(values: Iterable[float | None]) -> tuple[float, ...]:
    most = max((value for value in values if value is not None), default=0.0)
    return ticks(0.0, most if most > 1e-9 else 1.0, most=4)


def _grid(top: Sequence[float]) -> Iterable[str]:
    for value, words in zip(top, tick_texts(top), strict=True):
        y = _y(value, top[-1])
        yield f'<path class="grid" d="M{_LEFT:.1f} {y:.1f}H{WIDTH - _RIGHT:.1f}"/>'
        yield f'<text class="tick" x="{_LEFT - 6:.1f}" y="{y + 5:.1f}" text-anchor="end">{words}</text>'


def _y(value: float, top: float) -> float:
    return _TOP + _DEEP * (1 - min(1.0, max(0.0, value / top)))


def _line(axis: Axis, values: Values, top: float) -> str:
    found, pen = [], "M"
    for at, value in zip(axis.times, values, strict=True):
        if value is None:
            pen = "M"
            continue
        x, y = axis.x(at + axis.width / 2), _y(value, top)
        # A point that stands alone is as wide as its column.
        found.append(f"{pen}{x:.1f} {y:.1f}" + ("h0.1" if pen == "M" else ""))
        pen = "L"
    return "".join(found)


def _runs(known: Sequence[bool]) -> Iterable[range]:
    begun = None
    for at, yes in enumerate([*known, False]):
        if yes and begun is None:
            begun = at
        elif not yes and begun is not None:
            yield range(begun, at)
            begun = None


def _area(axis: Axis, low: Sequence[float], high: Sequence[float], run: range, top: float) -> str:
    there = [(axis.x(axis.times[at]), axis.x(axis.times[at] + axis.width), at) for at in run]
    over = "".join(
        f"L{left:.1f} {_y(high[at], top):.1f}L{right:.1f} {_y(high[at], top):.1f}" for left, right, at in there
    )
    under = "".join(
        f"L{right:.1f} {_y(low[at], top):.1f}L{left:.1f} {_y(low[at], top):.1f}" for left, right, at in reversed(there)
    )
    return f"M{over[1:]}{under}Z"


def _words(words: str) -> str:
    place = f'x="{(_LEFT + WIDTH) / 2:.1f}" y="{HEIGHT / 2:.1f}" text-anchor="middle"'
    return f'<text class="none" {place}>{escape(words)}</text>'


def _round_times(start: float, end: float) -> list[int]:
    """Four to six round times between two."""
    for step in (60, 180, 300, 600, 1800, 3600, 7200, 14_400, 43_200, 86_400, 172_800, 432_000, 864_000):
        if (end - start) / step <= 6:
            first = -(-int(start) // step) * step
            # Not at the very edge, where half of it would be cut off.
            return [at for at in range(first, int(end), step) if at - start > step / 5 and end - at > step / 5]
    return []
