"""Sample pages: one page for each CSS framework on npm, which uses the framework's components and its sheet; and HTML
pages that are included in npm packages.

They are read from a node_modules folder, which `fetch` fills.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PACKAGES = (
    "bootstrap@5.3.9",
    "bulma@1.0.4",
    "@picocss/pico@2.1.1",
    "semantic-ui-css@2.5.0",
    "@uswds/uswds@3",
    "foundation-sites@6",
    "milligram@1",
    "purecss@3",
    "water.css@2",
    "normalize.css@8",
    "tailwindcss@2.2.19",
    "tailwindcss4@npm:tailwindcss@4",
    "@tailwindcss/cli@4",
    "purgecss@8.0.0",
    "beasties@0.5.4",
)

#: Pages that packages carry: the package, the folder in it that is the site's root, and the page.
PAGES = (
    ("startbootstrap-creative@7.0.7", "dist", "index.html"),
    ("startbootstrap-resume@7.0.6", "dist", "index.html"),
    ("startbootstrap-sb-admin@7.0.7", "dist", "index.html"),
    ("startbootstrap-sb-admin-2@4.1.4", ".", "index.html"),
    ("gentelella@4.2.0", "dist", "production/landing.html"),
    ("gentelella@4.2.0", "dist", "production/profile.html"),
    ("sneat-bootstrap-html-admin-template-free@1.0.0", ".", "html/ui-toasts.html"),
    ("sneat-bootstrap-html-admin-template-free@1.0.0", ".", "html/cards-basic.html"),
    ("98.css@0.1.21", "dist", "index.html"),
    ("stisla@2.3.0", ".", "bootstrap-buttons.html"),
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
    """A page and its sheets. sheets: text by the address that the page uses. path: the page's path below
    https://bench.example."""

    name: str
    html: str
    path: str
    sheets: dict[str, Path]


def samples(modules: Path) -> Iterator[Sample]:
    """One page for each framework that is installed, then the pages included in packages."""
    for name, sheet in _SHEETS.items():
        path = modules / sheet
        if path.exists():
            yield Sample(name, _page(sheet, _CLASSES[name].split()), "/sample.html", {f"/{sheet}": path})
    yield from _compiled(modules)
    for package, inner, page in PAGES:
        folder = modules / package.rpartition("@")[0] / inner
        if (folder / page).exists():
            yield _carried(package, folder, page)


def _compiled(modules: Path) -> Iterator[Sample]:
    """The sheet that Tailwind 4 generates for the page: with layers, @property and nesting, and few unused rules."""
    program, sheet = modules / ".bin" / "tailwindcss", "tailwind-4.css"
    if not program.exists():
        return
    html = _page(sheet, _CLASSES["tailwind"].split())
    (modules / "tailwind-4.in.html").write_text(html, encoding="utf-8")
    (modules / "tailwind-4.in.css").write_text(
        '@import "tailwindcss4" source(none);\n@source "./tailwind-4.in.html";\n'
    )
    subprocess.run(
        [program, "-i", "tailwind-4.in.css", "-o", sheet], cwd=modules, check=True, capture_output=True, timeout=300
    )
    yield Sample("tailwind 4, compiled", html, "/sample.html", {f"/{sheet}": modules / sheet})


def fetch(modules: Path) -> None:
    """Install all packages into a node_modules folder with npm. Packages that contain pages are unpacked without their
    dependencies."""
    modules.mkdir(parents=True, exist_ok=True)
    options = ["--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(["npm", "install", *options, "--prefix", modules.parent, *PACKAGES], check=True)
    for package in dict.fromkeys(package for package, _, _ in PAGES):
        folder = modules / package.rpartition("@")[0]
        if folder.exists():
            continue
        with tempfile.TemporaryDirectory() as packed:
            subprocess.run(["npm", "pack", "--silent", *options, package], cwd=packed, check=True)
            with tarfile.open(next(Path(packed).glob("*.tgz"))) as archive:
                archive.extractall(packed, filter="data")
            shutil.move(next(path for path in Path(packed).iterdir() if path.is_dir()), folder)


_LINK = re.compile(r"<link[^>]*rel=[\"']?stylesheet[^>]*>", re.IGNORECASE)
_HREF = re.compile(r"href=[\"']?([^\"'\s>]+)")


def _carried(package: str, folder: Path, page: str) -> Sample:
    """A page of a package, with the sheets in the package. Sheets on other servers are missing in both versions."""
    html = (folder / page).read_text(encoding="utf-8", errors="replace")
    sheets = {}
    for link in _LINK.findall(html):
        match = _HREF.search(link)
        if match is None or "//" in match[1]:
            continue
        path = (folder / match[1].lstrip("/")) if match[1].startswith("/") else (folder / page).parent / match[1]
        if path.is_file():
            sheets[match[1]] = path.resolve()
    return Sample(f"{package}: {page}", html, f"/{page}", sheets)


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
