"""What the page shows: numbers and words that mean nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ...pages.charts import Chart, Values, bars, line, sparkline
from ...pages.sorting import Sorting


@dataclass(frozen=True, slots=True)
class Show:
    """A row of the sample table."""

    name: str
    hours: float
    week: tuple[float | None, ...]


SHOWS = (
    Show("Brass Weekly", 12.5, (3, 4, 4, 6, 5, 7, 9)),
    Show("The Long Interview", 1240, (30, 24, None, None, 18, 12, 9)),
    Show("Nightly", 0.4, (1, 1, 1, 1, 1, 1, 1)),
)
COLUMNS = ("name", "hours")
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TABS = (("Everything", "all", 12), ("Live", "live", 3), ("Upcoming", "upcoming", 9), ("Past", "past", 0))

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def shows(sorting: Sorting) -> list[Show]:
    """The sample table's rows."""
    return sorting.sort(SHOWS, (lambda show: show.name) if sorting.by == "name" else (lambda show: show.hours))


def sparks() -> Mapping[str, Chart]:
    """By show, its small chart."""
    return {
        show.name: sparkline(f"spark-{number}", f"Plays of {show.name}", DAYS, show.week)
        for number, show in enumerate(SHOWS)
    }


def charts() -> list[Chart]:
    """Every kind, with what is usual and what is not."""
    waves = [[round(60 + 40 * math.sin(at / 2 + more) + 3 * at, 1) for at in range(24)] for more in (0, 2, 4)]
    ways = dict(zip(("WebSocket", "Polling", "SSE"), waves, strict=True))
    hours = [f"{hour:02d}:00" for hour in range(24)]
    visits = [820, 932, 901, 934, 1290, 1330, 1320, 1210, 980, 870, 760, 905]
    balance: dict[str, Values] = {"gained": [12, 5, 0, 7, 3, 9, 4], "lost": [-2, -8, 0, -1, -4, None, -3]}
    names = ["A name that is far too long to be shown", "B", "C"]
    return [
        line("chart-lines", "Deliveries", hours, ways, unit="thousand"),
        bars("chart-bars", "Visits by month", _MONTHS, {"visits": visits}),
        line("chart-gaps", "With gaps", DAYS, {"listened": [2.5, None, 1.0, 3.5, math.nan, None, 4.0]}, unit="hours"),
        bars("chart-negative", "Gained and lost", DAYS, balance),
        line("chart-one", "One number", ["Today"], {"visits": [42]}),
        line("chart-equal", "All equal", DAYS, {"depth": [7, 7, 7, 7, 7, 7, 7]}, unit="ms"),
        bars("chart-huge", "Huge and long-named", names, {"bytes": [9.7e18, 1.2e19, 4]}),
        line("chart-empty", "Nothing yet", [], {"visits": []}),
        sparkline("chart-small", "A small one", DAYS, SHOWS[0].week),
    ]
