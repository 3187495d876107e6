"""Charts as SVG, made on the server of plain numbers. Pure.

    chart = line("visits", "Visits", ["Mon", "Tue", "Wed"], {"people": [3, 5, None], "robots": [9, 9, 8]})

A view hands charts to its template, which shows each with `components/chart.html`: the picture, and behind it a table
of the same numbers. Colours and sizes of text are the style sheet's (`.plot`, `.c0` to `.c5`), as the site's policy
allows no inline styles. What is no number (None, NaN, an infinity) is a gap.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

#: The view box. Text is 16 units high on a phone, where 480 units are some 330 pixels; less on wider screens.
WIDTH, HEIGHT = 480.0, 240.0
SPARK_WIDTH, SPARK_HEIGHT = 120.0, 32.0

#: Series that can be told apart.
MOST_SERIES = 6

#: Numbers beyond this are drawn there: differences of larger ones are no floats any more.
LARGEST = 1e300
#: Differences below this part of the numbers themselves can't be drawn.
_FINEST = 1e-9

_TOP, _BOTTOM, _EDGE = 14.0, 34.0, 12.0
_CHARACTER = 10.4
_LONGEST_LABEL = 14
#: Points up to which each has a mark of its own, which says its number when pointed at.
_MARKED = 60

_ID = re.compile(r"[a-z][a-z0-9-]*")
#: What neither XML nor HTML can have in a text.
_UNFIT = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
_SCALES = ((1e12, "T"), (1e9, "bn"), (1e6, "M"), (1e3, "k"), (1.0, ""))

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """A picture, and its numbers as a table's texts. names: of its series, where there are several."""

    id: str
    title: str
    unit: str
    svg: Markup
    about: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    names: tuple[str, ...] = ()
    small: bool = False


@dataclass(frozen=True, slots=True)
class _Data:
    labels: list[str]
    series: dict[str, list[float | None]]

    def numbers(self) -> list[float]:
        return [each for values in self.series.values() for each in values if each is not None]


def line(id: str, title: str, labels: Sequence[str], series: Mapping[str, Values], *, unit: str = "") -> Chart:
    """A line a series over labels that are equally far apart. Some hundreds of points.

    id: of the page's element, unique in it. Raises ValueError for series that don't fit the labels.
    """
    data = _checked(id, labels, series)
    about = _about("Line chart", data, unit)
    plot = _plot(data, from_zero=False)
    if plot is None:
        return _chart(id, title, unit, about, data, _no_data())
    count = len(data.labels)
    width = plot.right - plot.left
    xs = [plot.left + (width * at / (count - 1) if count > 1 else width / 2) for at in range(count)]
    parts = [*plot.axes(data.labels, xs)]
    for number, (name, values) in enumerate(data.series.items()):
        points = [(x, None if value is None else plot.y(value)) for x, value in zip(xs, values, strict=True)]
        parts.append(f'<path class="line c{number}" d="{_path(points)}"/>')
        for at, (x, y) in enumerate(points):
            # Between two gaps there is no line to see.
            alone = (at == 0 or points[at - 1][1] is None) and (at == count - 1 or points[at + 1][1] is None)
            if y is not None and (alone or count <= _MARKED):
                said = _said(data, name, at, unit)
                parts.append(f'<circle class="dot c{number}" cx="{_n(x)}" cy="{_n(y)}" r="3">{said}</circle>')
    return _chart(id, title, unit, about, data, parts)


def bars(id: str, title: str, labels: Sequence[str], series: Mapping[str, Values], *, unit: str = "") -> Chart:
    """Bars from zero, side by side for each label. Otherwise as `line`."""
    data = _checked(id, labels, series)
    about = _about("Bar chart", data, unit)
    plot = _plot(data, from_zero=True)
    if plot is None:
        return _chart(id, title, unit, about, data, _no_data())
    band = (plot.right - plot.left) / len(data.labels)
    xs = [plot.left + band * (at + 0.5) for at in range(len(data.labels))]
    # A single one as wide as the picture would be no bar.
    group = min(band * 0.72, 72.0 * len(data.series))
    each = group / len(data.series)
    zero = plot.y(0.0)
    parts = [*plot.axes(data.labels, xs)]
    for number, (name, values) in enumerate(data.series.items()):
        for at, value in enumerate(values):
            if value is None:
                continue
            y, x = plot.y(value), xs[at] - group / 2 + each * number
            high, low = min(y, zero), max(y, zero)
            place = f'x="{_n(x)}" y="{_n(high)}" width="{_n(each * 0.94)}" height="{_n(low - high)}"'
            parts.append(f'<rect class="bar c{number}" {place}>{_said(data, name, at, unit)}</rect>')
    parts.append(_rule("zero", plot.left, plot.right, zero))
    return _chart(id, title, unit, about, data, parts)


def scatter(
    id: str,
    title: str,
    axes: tuple[str, str],
    series: Mapping[str, Sequence[tuple[str, float | None, float | None]]],
    *,
    joined: str = "",
) -> Chart:
    """A dot for each of some things: what it is called, and how far it is along both axes, which `axes` names.

    joined: the series whose dots a line joins, in their order. What has no number for one of the axes is in the table
    alone. Otherwise as `line`.
    """
    across = _checked(id, [""], {name: [None] for name in series})
    kept = {
        name: [(_clean(label), _number(x), _number(y)) for label, x, y in marks]
        for name, marks in zip(across.series, series.values(), strict=True)
    }
    rows = tuple((label, full(x), full(y)) for marks in kept.values() for label, x, y in marks)
    drawn = {
        name: [(label, x, y) for label, x, y in marks if x is not None and y is not None]
        for name, marks in kept.items()
    }
    found = [mark for marks in drawn.values() for mark in marks]
    columns = ("", *map(_clean, axes))
    names = tuple(kept) if len(kept) > 1 else ()
    if not found:
        about = _about("Dots", across, "")
        return Chart(
            id, _clean(title), "", _svg(id, title, about, _no_data(), small=False), about, columns, rows, names
        )
    first, last = min(found, key=lambda mark: (mark[1], mark[2])), min(found, key=lambda mark: (mark[2], mark[1]))
    about = (
        f"Dots. Least {columns[1]}: {first[0]}, {full(first[1])}; least {columns[2]}: {last[0]}, {full(last[2])}."
        f" {len(found)} in all."
    )
    up = _plot(_Data([""], {"": [mark[2] for mark in found]}), from_zero=False)
    side = _plot(_Data([""], {"": [mark[1] for mark in found]}), from_zero=False)
    assert up is not None
    assert side is not None
    low, high = side.ticks[0], side.ticks[-1]
    right = up.right - max(map(_wide, side.texts)) / 2

    def x_of(value: float) -> float:
        return up.left + (right - up.left) * _within((value - low) / (high - low))

    parts = [*up.axes(side.texts, [x_of(tick) for tick in side.ticks])]
    # The first lies on top of the others.
    for number, (name, marks) in reversed(list(enumerate(zip(series, drawn.values(), strict=True)))):
        places = [(x_of(x), up.y(y)) for _, x, y in marks]
        if name == joined:
            parts.append(f'<path class="line c{number}" d="{_path(places)}"/>')
        for (label, mark_x, mark_y), (x, y) in zip(marks, places, strict=True):
            said = Markup("<title>{}</title>").format(f"{label}: {full(mark_x)}, {full(mark_y)}")
            parts.append(f'<circle class="dot c{number}" cx="{_n(x)}" cy="{_n(y)}" r="4">{said}</circle>')
    svg = _svg(id, title, about, parts, small=False)
    return Chart(id, _clean(title), "", svg, about, columns, rows, names)


def sparkline(id: str, title: str, labels: Sequence[str], values: Values, *, unit: str = "") -> Chart:
    """A line without axes, as high as a line of text: how it goes, not how much. Otherwise as `line`."""
    data = _checked(id, labels, {title: values})
    about = _about("Small line chart", data, unit)
    numbers = data.numbers()
    if not numbers:
        return _chart(id, title, unit, about, data, [_rule("zero", 3, SPARK_WIDTH - 3, SPARK_HEIGHT / 2)], small=True)
    low, high = _span(numbers)
    count = len(data.labels)
    points: list[tuple[float, float | None]] = []
    for at, value in enumerate(next(iter(data.series.values()))):
        x = 4 + (SPARK_WIDTH - 8) * (at / (count - 1) if count > 1 else 0.5)
        part = 0.5 if value is None or low == high else (value - low) / (high - low)
        points.append((x, None if value is None else 4 + (SPARK_HEIGHT - 8) * (1 - _within(part))))
    x, y = next(point for point in reversed(points) if point[1] is not None)
    assert y is not None
    parts = [
        f'<path class="line c0" d="{_path(points)}"/>',
        f'<circle class="dot c0" cx="{_n(x)}" cy="{_n(y)}" r="2.5"/>',
    ]
    return _chart(id, title, unit, about, data, parts, small=True)


def ticks(low: float, high: float, *, most: int = 5, whole: bool = False) -> tuple[float, ...]:
    """Round numbers, equally far apart, from one at or below `low` to one at or above `high`; 2 to `most` + 2 of them.

    low, high: less than `LARGEST`, and further apart than can't be drawn. whole: only whole numbers.
    """
    raw = (high - low) / most
    size = 10.0 ** math.floor(math.log10(raw))
    step = next((size * by for by in (1, 2, 5) if size * by >= raw * (1 - _FINEST)), size * 10)
    if whole:
        step = max(1.0, step)
    first, last = math.floor(low / step + _FINEST), math.ceil(high / step - _FINEST)
    # 3 * 0.1 is not 0.3.
    return tuple(float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1))


def tick_texts(found: Sequence[float]) -> list[str]:
    """Ticks as short texts that all differ: 0, 20k, 40k."""
    step, top = found[1] - found[0], max(map(abs, found))
    for scale, suffix in _SCALES:
        if top < (1e4 if scale == 1e3 else scale) and scale > 1:
            continue
        for digits in range(3 if scale > 1 else 7):
            part = step / scale
            if top / scale < 1e6 and part > 0.5e-6 and math.isclose(round(part, digits), part, rel_tol=1e-6):
                return [_minus(f"{each / scale:,.{digits}f}{suffix if each else ''}") for each in found]
    digits = 0
    while digits < 16 and any(abs(float(f"{each:.{digits}e}") - each) > step * 1e-6 for each in found):
        digits += 1
    return [_exponent(each, digits) for each in found]


def full(value: float | None) -> str:
    """A number as a table says it."""
    if value is None:
        return "–"
    if value.is_integer() and abs(value) < 1e15:
        return _minus(f"{value:,.0f}")
    return _minus(f"{value:,.6g}" if 1e-4 <= abs(value) < 1e15 else f"{value:.6g}")


@dataclass(frozen=True, slots=True)
class _Plot:
    """Where the axes are, in the view box."""

    left: float
    right: float
    ticks: tuple[float, ...]
    texts: list[str]

    def y(self, value: float) -> float:
        low, high = self.ticks[0], self.ticks[-1]
        return _TOP + (HEIGHT - _TOP - _BOTTOM) * (1 - _within((value - low) / (high - low)))

    def axes(self, labels: Sequence[str], xs: Sequence[float]) -> Iterable[str]:
        for value, text in zip(self.ticks, self.texts, strict=True):
            y = self.y(value)
            yield _rule("grid", self.left, self.right, y)
            yield f'<text class="tick" x="{_n(self.left - 8)}" y="{_n(y + 5)}" text-anchor="end">{escape(text)}</text>'
        shown = [_short(label) for label in labels]
        room = max(map(_wide, shown)) + 12
        # Each so many-th, so that none lies on the next.
        every = max(1, math.ceil(room * len(labels) / (self.right - self.left)))
        for at in range(0, len(labels), every):
            place = f'x="{_n(xs[at])}" y="{_n(HEIGHT - 10)}" text-anchor="middle"'
            yield f'<text class="tick" {place}>{escape(shown[at])}</text>'


def _plot(data: _Data, *, from_zero: bool) -> _Plot | None:
    numbers = data.numbers()
    if not numbers:
        return None
    low, high = _span(numbers)
    # Where zero is near enough, a line says how much, too.
    if from_zero or low == high or 0 < low < 0.6 * high or 0.6 * low > high > low:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = 1.0
    found = ticks(low, high, whole=all(each.is_integer() for each in numbers))
    texts = tick_texts(found)
    half = max((_wide(_short(label)) for label in data.labels), default=0.0) / 2 + 2
    left = max(max(map(_wide, texts)) + 14, half)
    return _Plot(left, WIDTH - max(_EDGE, half), found, texts)


def _checked(id: str, labels: Sequence[str], series: Mapping[str, Values]) -> _Data:
    if not _ID.fullmatch(id):
        raise ValueError(f"no id for a chart: {id!r}")
    if not 0 < len(series) <= MOST_SERIES:
        raise ValueError(f"{id}: a chart has 1 to {MOST_SERIES} series")
    for name, values in series.items():
        if len(values) != len(labels):
            raise ValueError(f"{id}: {name} has {len(values)} values for {len(labels)} labels")
    found: dict[str, list[float | None]] = {}
    for name, values in series.items():
        # What can't be shown is left out of a name, which two may share then.
        clean = _clean(name)
        while clean in found:
            clean += "’"
        found[clean] = [_number(each) for each in values]
    return _Data([_clean(label) for label in labels], found)


def _number(value: float | None) -> float | None:
    if value is None:
        return None
    try:
        value = float(value)
    except OverflowError:
        value = LARGEST if value > 0 else -LARGEST
    if not math.isfinite(value):
        return None
    return 0.0 if abs(value) < 1 / LARGEST else max(-LARGEST, min(LARGEST, value))


def _span(numbers: Sequence[float]) -> tuple[float, float]:
    low, high = min(numbers), max(numbers)
    return (low, low) if high - low <= _FINEST * max(abs(low), abs(high)) else (low, high)


def _about(kind: str, data: _Data, unit: str) -> str:
    if not data.numbers():
        return f"{kind}. No data yet."
    told = [f"{kind}, from {data.labels[0]} to {data.labels[-1]}." if len(data.labels) > 1 else f"{kind}."]
    after = f" {_clean(unit)}" if unit else ""
    for name, values in data.series.items():
        known = [(value, label) for value, label in zip(values, data.labels, strict=True) if value is not None]
        if not known:
            told.append(f"{name}: no data.")
            continue
        (low, at_low), (high, at_high) = min(known, key=_first), max(known, key=_first)
        if low == high:
            told.append(f"{name}: {full(low)}{after} throughout.")
        else:
            last, at_last = known[-1]
            told.append(
                f"{name}: lowest {full(low)}{after} ({at_low}), highest {full(high)}{after} ({at_high}),"
                f" last {full(last)}{after} ({at_last})."
            )
    return " ".join(told)


def _first(pair: tuple[float, str]) -> float:
    return pair[0]


def _chart(
    id: str, title: str, unit: str, about: str, data: _Data, parts: Iterable[str], *, small: bool = False
) -> Chart:
    title, unit = _clean(title), _clean(unit)
    after = f", {unit}" if unit else ""
    several = len(data.series) > 1
    return Chart(
        id=id,
        title=title,
        unit=unit,
        svg=_svg(id, title, about, parts, small=small),
        about=about,
        columns=("", *(f"{name}{after}" for name in data.series)),
        rows=tuple(
            (label, *(full(values[at]) for values in data.series.values()))
            for at, label in enumerate(data.labels)
            if data.numbers()
        ),
        names=tuple(data.series) if several else (),
        small=small,
    )


def _svg(id: str, title: str, about: str, parts: Iterable[str], *, small: bool) -> Markup:
    width, height = (SPARK_WIDTH, SPARK_HEIGHT) if small else (WIDTH, HEIGHT)
    shape = f'class="{"plot small" if small else "plot"}" viewBox="0 0 {_n(width)} {_n(height)}"'
    head = f'{shape} role="img" aria-labelledby="{id}-title {id}-about"'
    said = f'<title id="{id}-title">{escape(_clean(title))}</title><desc id="{id}-about">{escape(about)}</desc>'
    return Markup(f"<svg {head}>{said}{''.join(parts)}</svg>")


def _no_data() -> list[str]:
    return [
        _rule("zero", _EDGE, WIDTH - _EDGE, HEIGHT - _BOTTOM),
        f'<text class="none" x="{_n(WIDTH / 2)}" y="{_n(HEIGHT / 2)}" text-anchor="middle">No data yet</text>',
    ]


def _said(data: _Data, name: str, at: int, unit: str) -> Markup:
    """What a point says when pointed at."""
    which = f"{data.labels[at]}, {name}" if len(data.series) > 1 else data.labels[at]
    after = f" {_clean(unit)}" if unit else ""
    return Markup("<title>{}</title>").format(f"{which}: {full(data.series[name][at])}{after}")


def _path(points: Iterable[tuple[float, float | None]]) -> str:
    found, pen = [], "M"
    for x, y in points:
        if y is None:
            pen = "M"
            continue
        found.append(f"{pen}{_n(x)} {_n(y)}")
        pen = "L"
    return "".join(found)


def _rule(name: str, left: float, right: float, y: float) -> str:
    return f'<line class="{name}" x1="{_n(left)}" x2="{_n(right)}" y1="{_n(y)}" y2="{_n(y)}"/>'


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def _within(part: float) -> float:
    return max(0.0, min(1.0, part))


def _minus(text: str) -> str:
    return text.replace("-", "−")  # the sign, which is as wide as a digit


def _exponent(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    mantissa, _, exponent = f"{value:.{digits}e}".partition("e")
    return _minus(f"{mantissa}e{int(exponent)}")


def _clean(text: str) -> str:
    return _UNFIT.sub("�", text)


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _wide(text: str) -> float:
    """Units that a text takes, about."""
    return sum(_CHARACTER * (1.75 if unicodedata.east_asian_width(each) in "WF" else 1.0) for each in text)
