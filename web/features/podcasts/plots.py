"""The plot of episodes: their lengths over time, a line a podcast; and the heat map of when they come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from markupsafe import Markup, escape

from ...pages.charts import HEIGHT, WIDTH, tick_texts, ticks

#: Lines that can be told apart; those after them begin anew, with other marks.
LINES = 6

#: Points of one podcast that are drawn, and rows of the table behind the plot: of more, the latest.
POINTS, ROWS = 300, 200

#: Points of all podcasts, of which each has the same share: enough for 300 of 20 podcasts, or 60 of a hundred.
_ALL_POINTS = 6000

#: Points of one podcast that are marked.
_MARKS = 100

#: Half of a month's text, in the largest letters that a plot has.
_HALF = 40.0

_TOP, _BOTTOM, _LEFT, _RIGHT = 14.0, 34.0, 56.0, 12.0

Lengths = Sequence[tuple[datetime, int]]


@dataclass(frozen=True, slots=True)
class Line:
    """A podcast in the legend. style: of its line, c0 to c5."""

    name: str
    style: str


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture, its legend, and its numbers: date, podcast, minutes, the latest first.

    most: of podcasts with more episodes so many are drawn; 0 if all are.
    """

    svg: Markup
    lines: tuple[Line, ...]
    rows: tuple[tuple[str, str, str], ...]
    about: str
    most: int = 0


def most_points(podcasts: int) -> int:
    """Points of each of so many podcasts that are drawn."""
    return min(POINTS, _ALL_POINTS // max(podcasts, 1))


def plot(podcasts: Sequence[tuple[str, Lengths]], start: datetime, end: datetime, most: int = 0) -> Plot | None:
    """Lengths in minutes over time; None without a single point.

    podcasts: names, and dates with seconds in order, no more than `most_points`. most: as `Plot` has it.
    """
    everything = [(when, seconds, name) for name, points in podcasts for when, seconds in points]
    if not everything:
        return None
    longest = max(seconds for _, seconds, _ in everything) / 60
    found = ticks(0.0, max(longest, 1.0))
    texts = tick_texts(found)
    span = max((end - start).total_seconds(), 1.0)

    def x(when: datetime) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * min(max((when - start).total_seconds() / span, 0.0), 1.0)

    def y(minutes: float) -> float:
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - minutes / found[-1])

    parts = []
    for value, text in zip(found, texts, strict=True):
        parts.append(f'<path class="grid" d="M{_LEFT:.1f} {y(value):.1f}H{WIDTH - _RIGHT:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 8:.1f}" y="{y(value) + 5:.1f}" text-anchor="end">{text}</text>')
    for when in _months(start, end):
        # The middle of a text so near to the edge would leave its end outside.
        place, anchor = (WIDTH, "end") if x(when) > WIDTH - _HALF else (x(when), "middle")
        parts.append(
            f'<text class="tick" x="{place:.1f}" y="{HEIGHT - 10:.1f}" text-anchor="{anchor}">{when:%b %Y}</text>'
        )
    for number, (_, points) in enumerate(podcasts):
        style = f"c{number % LINES}"
        path = "".join(
            f"{'L' if place else 'M'}{x(when):.1f} {y(seconds / 60):.1f}"
            for place, (when, seconds) in enumerate(points)
        )
        if path:
            parts.append(f'<path class="line {style}" d="{path}"/>')
        # All along the line: of the latest alone, what is before them looks like another podcast's.
        for when, seconds in points[:: -(-len(points) // _MARKS) or 1]:
            parts.append(_mark(number // LINES, style, x(when), y(seconds / 60)))
    total = len(everything)
    about = (
        f"Lengths of {total} episodes of {len(podcasts)} podcasts, {start:%-d %b %Y} to {end:%-d %b %Y}:"
        f" up to {longest:.0f} minutes."
    )
    head = f'<svg class="plot" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(about)}">'
    latest = sorted(everything, key=lambda each: each[0], reverse=True)[:ROWS]
    return Plot(
        Markup(head + "".join(parts) + "</svg>"),
        tuple(Line(name, f"c{number % LINES}") for number, (name, _) in enumerate(podcasts)),
        tuple((f"{when:%-d %b %Y}", name, f"{seconds / 60:.0f}") for when, seconds, name in latest),
        about,
        most,
    )


def _mark(shape: int, style: str, x: float, y: float) -> str:
    if shape % 2:
        return f'<path class="dot {style}" d="M{x - 3.5:.1f} {y + 3:.1f}h7l-3.5 -6.5z"/>'
    return f'<circle class="dot {style}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _months(start: datetime, end: datetime) -> list[datetime]:
    """Firsts of months, three or four of them."""
    first = (start.replace(day=1, hour=0, minute=0, second=0, microsecond=0) + timedelta(days=32)).replace(day=1)
    found = []
    while first < end:
        found.append(first)
        first = (first + timedelta(days=32)).replace(day=1)
    every = max(1, -(-len(found) // 4))
    return found[::every]


@dataclass(frozen=True, slots=True)
class Heat:
    """The heat map. rows: weekday, and for each hour the count and its shade, 0 to 5."""

    rows: tuple[tuple[str, tuple[tuple[int, int], ...]], ...]
    most: int
    words: str


_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def heat(counts: Sequence[Sequence[int]]) -> Heat | None:
    """The heat map of `times.by_hour`; None without an episode."""
    most = max(max(row) for row in counts)
    if not most:
        return None
    rows = tuple(
        (day, tuple((count, 0 if not count else 1 + min(4, (count * 5 - 1) // most)) for count in row))
        for day, row in zip(_DAYS, counts, strict=True)
    )
    sums = [sum(row) for row in counts]
    busiest = max(range(7), key=lambda day: sums[day])
    hours = [sum(row[hour] for row in counts) for hour in range(24)]
    hour = max(range(24), key=lambda each: hours[each])
    return Heat(rows, most, f"Most come on {_DAYS[busiest]}s, and around {hour}:00 UTC.")
