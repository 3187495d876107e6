"""The text table with its bars, as the post had it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from .figures import Figures

_WIDTH = 15
_BAR = 60


def summary(names: Sequence[str], found: Mapping[str, Figures], *, part: str = "read") -> str:
    """The table of configurations in their order, and bars below it. part: "read" or "write" times.

    One without measurements has a line that says so.
    """
    wide = max([_WIDTH, *map(len, names)])
    head = " " * wide + "".join(f"{word:>{_WIDTH}}" for word in ("TIMES", "AVERAGE", "MEDIAN", "STDDEV"))
    lines = [head.rstrip()]
    for name in names:
        if name not in found:
            lines.append(f"Nothing for {name}")
            continue
        each = found[name]
        times = getattr(each, part)
        cells = [f"{each.count}", *(f"{value:.3f}ms" for value in (times.mean, times.median, times.sd))]
        lines.append(f"{name:<{wide}}" + "".join(f"{cell:>{_WIDTH}}" for cell in cells))
    there = [name for name in names if name in found]
    if there:
        averages = {name: getattr(found[name], part).mean for name in there}
        medians = {name: getattr(found[name], part).median for name in there}
        sizes = {name: float(found[name].size) for name in there}
        lines += bars("Best Averages (shorter better)", averages, lambda value: f"{value:.3f}")
        lines += bars("Best Medians (shorter better)", medians, lambda value: f"{value:.3f}")
        lines += bars("Size of Data Saved (shorter better)", sizes, short_bytes)
    return "\n".join(lines) + "\n"


def bars(title: str, values: Mapping[str, float], say: Callable[[float], str]) -> list[str]:
    """A title, and a bar for each value, the shortest first."""
    most = max(values.values()) or 1.0
    wide = max(map(len, values))
    lines = ["", title, "#" * len(title)]
    said = {name: say(value) for name, value in values.items()}
    right = max(map(len, said.values()))
    for name, value in sorted(values.items(), key=lambda pair: (pair[1], pair[0])):
        bar = "█" * max(1, round(_BAR * value / most))
        lines.append(f"{bar:<{_BAR}}  {said[name]:>{right}}  {name:<{wide}}".rstrip())
    return lines


def short_bytes(size: float) -> str:
    """Bytes in SI units: 35K."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if size >= factor:
            return f"{size / factor:.0f}{unit}"
    return f"{size:.0f}B"
