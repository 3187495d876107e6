"""Pages of frameworks from npm: a page of each, of what the framework is for, and its own sheet.

Where they are is a folder of node_modules; `npm install --ignore-scripts` of `PACKAGES` makes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    "bootstrap",
    "bulma",
    "@picocss/pico",
    "semantic-ui-css",
    "@uswds/uswds",
    "foundation-sites",
    "milligram",
    "purecss",
    "water.css",
    "normalize.css",
    "tailwindcss@2",
    "purgecss",
    "beasties",
)

#: Framework: its sheet, and a body that uses it.
_SHEETS = {
    "bootstrap": "bootstrap/dist/css/bootstrap.css",
    "bulma": "bulma/css/bulma.css",
    "pico": "@picocss/pico/css/pico.css",
    "semantic": "semantic-ui-css/semantic.css",
    "uswds": "@uswds/uswds/dist/css/uswds.css",
    "foundation": "foundation-sites/dist/css/foundation.css",
    "milligram": "milligram/dist/milligram.css",
    "pure": "purecss/build/pure.css",
    "water": "water.css/out/water.css",
    "normalize": "normalize.css/normalize.css",
    "tailwind": "tailwindcss/dist/tailwind.css",
}

_CLASSES = {
    "bootstrap": "container row col-md-6 card card-body btn btn-primary nav nav-link active alert form-control table",
    "bulma": "container columns column card card-content button is-primary navbar navbar-item input table title",
    "pico": "container grid secondary outline contrast",
    "semantic": "ui container grid column card content button primary menu item message input table header",
    "uswds": "usa-button usa-card usa-nav grid-row grid-col tablet:grid-col-6 usa-alert usa-input usa-table",
    "foundation": "grid-container grid-x cell card button primary menu callout table",
    "milligram": "container row column button button-outline",
    "pure": "pure-g pure-u-1-2 pure-button pure-menu pure-menu-item pure-form pure-table",
    "water": "a",
    "normalize": "a",
    "tailwind": "container p-1.5 md:w-1/2 hover:underline dark:text-white bg-blue-500 grid gap-4 space-y-2",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """A page with its sheets as files: a URL below https://bench.example/ to the path."""

    name: str
    html: str
    sheets: dict[str, Path]


def samples(modules: Path) -> Iterator[Sample]:
    """A page for each framework that is there, and the HTML pages that their packages carry."""
    for name, sheet in _SHEETS.items():
        path = modules / sheet
        if path.exists():
            yield Sample(name, _page(sheet, _CLASSES[name].split()), {f"/{sheet}": path})
    yield from _carried(modules)


def _carried(modules: Path, most: int = 10) -> Iterator[Sample]:
    """Real pages: HTML files of packages, with links to sheets that are there too."""
    count = 0
    for path in sorted(modules.rglob("*.html")):
        if count == most:
            return
        if path.stat().st_size > 400_000:
            continue
        html = path.read_text(encoding="utf-8", errors="replace")
        links = re.findall(r"<link[^>]*rel=[\"']?stylesheet[^>]*>", html, re.IGNORECASE)
        hrefs = [match[1] for link in links if (match := re.search(r"href=[\"']?([^\"'\s>]+)", link))]
        files = {href: (path.parent / href).resolve() for href in hrefs if "//" not in href}
        if files and all(file.is_file() for file in files.values()):
            count += 1
            where = path.parent.relative_to(modules)
            # Seen as if the page were at the root.
            html = html.replace("<head>", f'<head><base href="https://bench.example/{where}/">', 1)
            yield Sample(
                str(path.relative_to(modules)), html, {f"/{where}/{href}": file for href, file in files.items()}
            )


def _page(sheet: str, classes: list[str]) -> str:
    pieces = [
        f'<div class="{" ".join(classes[: index + 1])}"><h2 class="{one}">{one}</h2><p class="{one}">Some '
        f'<a class="{one}" href="#">words</a> and <code>code</code>.</p>'
        f'<ul class="{one}"><li class="{one}">one</li><li>two</li></ul></div>'
        for index, one in enumerate(classes)
    ]
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Sample</title>'
        f'<link rel="stylesheet" href="/{sheet}"></head><body><nav><a href="#" aria-current="page">here</a></nav><main>'
        + "".join(pieces)
        + f'<form><label>Name <input class="{classes[-1]}" placeholder="x"></label><select><option>1</select>'
        '<button type="button" disabled>Go</button><textarea></textarea></form>'
        "<details open><summary>More</summary><p>x</p></details><dialog open>x</dialog><hr>"
        '<table class="table"><thead><tr><th>a</th></tr></thead><tbody><tr><td>b</td></tr></tbody></table>'
        "<blockquote>q</blockquote><pre>p</pre></main></body></html>"
    )
