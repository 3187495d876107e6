"""From results to words and pictures: the table, the targets, the plot, and the pages they go into."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from .calm import LIMIT
from .scenarios import SCENARIOS, TARGETS, Figures, Results, Scenario, disturbed
from .servers import ROOT, Subject

SERVERS = ("Fanfare", "Faye", "Nchan", "send(2)")

#: The page that --write updates, between its marks.
PAGE = ROOT / "docs/benchmarks.md"
MARKS = ("<!-- benchmarks begin -->", "<!-- benchmarks end -->")

RESULTS = ROOT / "docs/benchmarks.json"
PLOT = ROOT / "docs/benchmarks.svg"


def circumstances(subjects: Sequence[Subject]) -> dict[str, str]:
    """When, of which commit and on what this was measured."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _git("rev-parse", "--short=12", "HEAD")
        + (" and changes" if _git("status", "--porcelain", "-uno") else ""),
        "machine": f"{_cpu()}, {_cores()}, Linux {platform.release().partition('-')[0]}",
        **{subject.name: subject.version() for subject in subjects if subject.version()},
    }


def _git(*words: str) -> str:
    result = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else ""


def _cpu() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def _cores() -> str:
    count = Path("/proc/cpuinfo").read_text().count("processor\t")
    return f"{count} cores" if count != 1 else "1 core"


def figure(value: float) -> str:
    """A number with three significant digits, and commas between thousands."""
    if value >= 1000:
        digits = max(0, len(str(int(value))) - 3)
        return f"{round(value / 10**digits) * 10**digits:,}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def medians(runs: Sequence[Figures]) -> Figures:
    """The medians of the calm runs, or of all when none was."""
    counted = [run for run in runs if run["others"] <= LIMIT] or list(runs)
    return {name: median(run[name] for run in counted) for name in counted[0]}


def cell(row: Scenario, figures: Figures | None) -> str:
    """One server's figure in a row. Time on the clock means nothing beside other work, and is not shown then."""
    if figures is None:
        return ""
    if not disturbed(figures):
        return figure(figures[row.figure])
    return "disturbed" if row.timed else figure(figures[row.figure]) + "\\*"


def table(results: Results) -> str:
    """The figures of all servers, in Markdown."""
    lines = ["| | unit | " + " | ".join(SERVERS) + " |", "|---|---|" + "---:|" * len(SERVERS)]
    for row in SCENARIOS:
        if row.name in results:
            cells = [cell(row, results[row.name].get(server)) for server in SERVERS]
            lines.append(f"| {row.title} | {row.unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def targets(results: Results) -> str:
    """What was promised and what came out, in Markdown; what was not measured is left out."""
    lines = ["| target | promised | measured | |", "|---|---:|---:|---|"]
    for target in TARGETS:
        try:
            value = target.value(results)
        except KeyError:
            continue
        word = "at most" if target.most else "at least"
        shown = f"{value:.2f}" if abs(value) < 100 else figure(value)
        if target.unclear(results):
            shown, outcome = "", "not measured: disturbed"
        else:
            outcome = "met" if target.met(results) else "**missed**"
            if target.disturbed(results):
                outcome += "\\*"
        lines.append(f"| {target.text} | {word} {target.limit:,g} | {shown} | {outcome} |")
    return "\n".join(lines)


def missed(results: Results) -> list[str]:
    """The texts of the targets that were measured and missed."""
    texts = []
    for target in TARGETS:
        try:
            if not target.unclear(results) and not target.met(results):
                texts.append(target.text)
        except KeyError:
            continue
    return texts


def page(results: Results, about: Mapping[str, str]) -> str:
    """What goes between the marks of a page."""
    versions = "; ".join(f"{name} {about[name]}" for name in SERVERS if name in about)
    others = [figures["others"] for row in results.values() for figures in row.values() if disturbed(figures)]
    note = (
        f"\n\\* Disturbed: in every round of it, other programs had more than {LIMIT:.0%} of the cores that measured "
        f"(up to {max(others):.0%}). CPU seconds grow then, as caches are shared.\n"
        if others
        else ""
    )
    return (
        f"Measured on {about['date']} at commit {about['commit']}: {about['machine']}. {versions}. "
        f"Server on one core, load generator on another; {about.get('rounds', 'medians')}, "
        f"{about.get('took', '')} in all.\n\n{table(results)}\n\n{targets(results)}\n{note}"
    )


def write_pages(text: str) -> list[Path]:
    """Put `text` between the marks of the page; returns the pages that were written."""
    return [PAGE] if put(PAGE, MARKS, text) else []


def put(path: Path, marks: tuple[str, str], text: str) -> bool:
    """Put lines between the marks of a page; False if there is no such page, or it does not have them."""
    begin, end = marks
    before, found, rest = path.read_text(encoding="utf-8").partition(begin) if path.exists() else ("", "", "")
    if not found or end not in rest:
        return False
    path.write_text(f"{before}{begin}\n{text}{end}{rest.partition(end)[2]}", encoding="utf-8")
    return True


def plot(results: Results, path: Path) -> bool:
    """Bars of the rows that can be compared, as SVG. False when matplotlib is not installed."""
    try:
        import matplotlib as mpl

        mpl.use("svg")
        from matplotlib import pyplot
    except ImportError:
        sys.stderr.write("No plot: matplotlib is not installed (pip install 'fanfare[bench]').\n")
        return False
    # The same results give the same bytes, and text stays text.
    mpl.rcParams.update({"svg.hashsalt": "fanfare", "svg.fonttype": "none", "font.size": 9})
    rows = [row for row in SCENARIOS if len(results.get(row.name, {})) > 1]
    if not rows:
        return False
    columns = 2
    figure_, axes = pyplot.subplots(
        -(-len(rows) // columns), columns, figsize=(9.5, 1.7 * -(-len(rows) // columns)), squeeze=False
    )
    colours = {"Fanfare": "#b3202c", "Faye": "#7a8794", "Nchan": "#9aa5b1", "send(2)": "#c3cbd3"}
    for axis in axes.flat[len(rows) :]:
        axis.set_visible(False)
    for axis, row in zip(axes.flat, rows, strict=False):
        _draw(
            axis,
            row.title,
            row.unit,
            {s: results[row.name][s][row.figure] for s in SERVERS if s in results[row.name]},
            colours,
        )
    figure_.tight_layout()
    figure_.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure_)
    return True


def _draw(axis: Any, title: str, unit: str, values: Mapping[str, float], colours: Mapping[str, str]) -> None:
    names = list(values)
    axis.barh(names, list(values.values()), color=[colours[name] for name in names])
    axis.invert_yaxis()
    axis.set_title(f"{title}\n{unit}", loc="left", fontsize=9)
    axis.margins(x=0.22)
    axis.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    for place, value in enumerate(values.values()):
        axis.text(value, place, f" {figure(value)}", va="center")
