"""What the repository promises about itself: packaging, pins, words and files that belong together."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image
from services import ROOT

from hub import settings as hub_settings
from web.app import FEATURES
from web.settings import tables


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def files(*patterns: str) -> list[Path]:
    """Files of the repository that match, known to git or about to be."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    return [ROOT / name for name in listed if name and (ROOT / name).is_file()]


def packaging() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def pins() -> dict[str, str]:
    lines = [line for line in read("constraints.txt").splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def test_every_constraint_is_one_exact_version() -> None:
    """A range, a URL or a host in the pins would install something else tomorrow."""
    for line in read("constraints.txt").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.+!]*", line), line


def test_constraints_pin_every_dependency_and_theirs() -> None:
    """Walks the requirements of what is installed, as pip does."""
    config, pinned = packaging(), pins()
    asked = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
    waiting = [Requirement(line) for line in asked.splitlines() if line.strip() and not line.startswith("#")]
    seen: set[tuple[str, str]] = set()
    missing = set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in pinned:
            missing.add(name)
            continue
        for extra in requirement.extras or {""}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in distribution(name).requires or []:
                each = Requirement(text)
                if each.marker is None or each.marker.evaluate({"extra": extra}) or each.marker.evaluate({"extra": ""}):
                    waiting.append(each)
    assert not missing


def test_installed_packages_are_the_pinned_ones() -> None:
    """What is tested is what constraints.txt promises."""
    other = {}
    for name, version in pins().items():
        try:
            found = distribution(name).version
        except PackageNotFoundError:
            continue
        if found != version:
            other[name] = (found, version)
    assert not other


def test_npm_lock_names_no_hosts() -> None:
    """Packages come from whichever registry npm is told to use, checked by hash."""
    packages = json.loads(read("package-lock.json"))["packages"]
    assert [name for name, facts in packages.items() if "resolved" in facts] == []
    assert [name for name, facts in packages.items() if name and not facts.get("integrity")] == []


def test_npm_packages_are_exact_versions() -> None:
    for name, version in json.loads(read("package.json"))["devDependencies"].items():
        assert re.fullmatch(r"(npm:[a-z]+@)?\d+\.\d+\.\d+", version), name


def test_the_command_exists() -> None:
    scripts = packaging()["options.entry_points"]["console_scripts"].split()
    assert scripts == ["fanfare", "=", "web.cli:main"]
    from web.cli import main

    assert callable(main)


def test_data_files_of_packages_are_packaged() -> None:
    """A file beside the code that packaging forgets is missing only where it is installed for good."""
    patterns = {
        package: [line for line in lines.split("\n") if line]
        for package, lines in packaging()["options.package_data"].items()
    }
    forgotten = []
    for path in files("hub", "web"):
        relative = path.relative_to(ROOT)
        package = relative.parts[0]
        is_code = path.suffix == ".py" and (path.parent / "__init__.py").exists()
        matched = {each for pattern in patterns[package] for each in (ROOT / package).glob(pattern)}
        if not is_code and path not in matched:
            forgotten.append(str(relative))
    assert forgotten == []


def test_tests_are_not_packages() -> None:
    """pytest imports them by path; an __init__ would let two trees of tests shadow each other."""
    packages = {path.parent for path in files("tests/**/__init__.py", "tests/__init__.py")}
    assert [path for path in files("tests/*test_*.py") if path.parent in packages] == []


@pytest.mark.parametrize("path", files("hub/*.py", "web/*.py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is(path: Path) -> None:
    # Django wants folders to be packages, and an empty file has nothing to say.
    source = path.read_text(encoding="utf-8")
    if source and "versions" not in path.parts:
        assert ast.get_docstring(ast.parse(source))


def test_our_javascript_never_sets_html_from_text() -> None:
    """What people write stays text: nodes are built, or fetched as whole fragments made by the server's templates."""
    banned = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function\(")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files("static/*.js")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if banned.search(line)
    ]
    assert found == []


def test_templates_hold_no_inline_code() -> None:
    """The site's Content-Security-Policy would refuse it."""
    inline = re.compile(
        r"<script(?![^>]*\b(src\b|type=\"application/(ld\+)?json\"))[^>]*>|\son[a-z]+=|\sstyle=|<style|\|\s*safe\b"
    )
    found = [
        str(path.relative_to(ROOT)) for path in files("templates/*") if inline.search(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_ci_runs_make_test() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert read(".ci/run").rstrip().endswith("exec make test")


def test_make_explains_its_commands() -> None:
    shown = subprocess.run(["make", "-C", str(ROOT)], check=True, capture_output=True, text=True).stdout
    for command in ("run", "test", "lint", "bench", "lock", "clean"):
        assert f"make {command} " in shown


def test_changelog_keeps_its_form() -> None:
    headings = re.findall(r"^## (.*)$", read("CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])
    kinds = set(re.findall(r"^### (.*)$", read("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_site_fetches_by_its_guarded_client_only() -> None:
    """Any other would follow a stranger's URL, or a redirect, to the machines of our own network."""
    clients = re.compile(r"\b(ClientSession|urlopen|http\.client|requests\.(get|post|request)|httpx|urllib3)\b")
    found = [path for path in (ROOT / "web").rglob("*.py") if clients.search(path.read_text(encoding="utf-8"))]
    assert [str(path.relative_to(ROOT)) for path in sorted(found)] == [
        # These ask a validator at 127.0.0.1, on a port of their own, and nothing else.
        "web/features/html/keeper.py",
        "web/features/html/server.py",
        "web/services/outbound.py",
    ]


def settings_table() -> str:
    """docs/settings.md as it should be."""
    rows = {}
    for table in (hub_settings.Settings, *tables(FEATURES)):
        for setting in hub_settings.describe(table):
            default = "" if setting.default is None else setting.kind.show(setting.default)
            shown = f"`{default}`" if default else ""
            cells = (f"`{setting.variable}`", setting.kind.name.replace("|", "or"), shown, setting.help)
            rows.setdefault(setting.variable, f"| {' | '.join(cells)} |")
    head = "# Settings\n\nRead once from the environment; `fanfare settings` shows them with their values here.\n"
    return head + "\n| setting | kind | default | what |\n|---|---|---|---|\n" + "\n".join(rows.values()) + "\n"


def test_settings_are_documented() -> None:
    """UPDATE_DOCS=1 writes the page."""
    if os.environ.get("UPDATE_DOCS"):
        (ROOT / "docs" / "settings.md").write_text(settings_table(), encoding="utf-8")
    assert read("docs/settings.md") == settings_table()


#: What people read. CHANGELOG.md tells of settings that are gone.
PAGES = sorted(
    str(path.relative_to(ROOT)) for path in [ROOT / "README.md", ROOT / "SECURITY.md", *ROOT.glob("docs/*.md")]
)


@pytest.mark.parametrize("page", PAGES)
def test_pages_name_only_settings_that_exist(page: str) -> None:
    known = {name for table in (hub_settings.Settings, *tables(FEATURES)) for name in hub_settings.variables(table)}
    known |= {
        # What Django's settings module may have.
        *("FANOUT_URL", "FANOUT_PUBLIC_URL", "FANOUT_REDIS_URL", "FANOUT_LISTEN", "FANOUT_INTEGRITY"),
        "FANOUT_KEY_FILE",
    }
    named = set(re.findall(r"`((?:HUB|FANOUT|SITE)_[A-Z_]+[A-Z])(?:=[^`]*)?`", read(page)))
    assert named <= known


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """To files and folders that are there, pictures among them, and to headings that their pages have."""
    for link in re.findall(r"\]\((?![a-z]+:)([^)\s]+)\)", read(page)):
        path, _, anchor = link.partition("#")
        place = (ROOT / page).parent / path if path else ROOT / page
        assert place.exists(), link
        if anchor and place.suffix == ".md":
            assert anchor in anchors(place.read_text(encoding="utf-8")), link


def test_pictures_of_pages_are_small_and_the_moving_one_moves() -> None:
    """README's moving one is made by `python -m benchmarks.two_browsers`."""
    assert "](docs/images/two-browsers.webp)" in read("README.md")
    for path in files("docs/images/*"):
        assert path.stat().st_size < 500_000, path
    with Image.open(ROOT / "docs" / "images" / "two-browsers.webp") as film:
        assert getattr(film, "n_frames", 1) > 1


def test_every_page_is_in_the_index() -> None:
    named = set(re.findall(r"\]\(([\w-]+\.\w+)", read("docs/README.md")))
    there = {path.name for path in ROOT.glob("docs/*") if path.suffix in {".md", ".json"}}
    # The figures behind the table and the pictures.
    assert there - named == {"README.md", "benchmarks.json"}


#: Packages of the hub; those of orm/django are Django's.
MAPPED = sorted(
    str(path.parent.relative_to(ROOT)) for path in ROOT.glob("hub/**/__init__.py") if "orm/d" not in str(path)
)


@pytest.mark.parametrize("package", MAPPED)
def test_map_of_a_package_has_every_module(package: str) -> None:
    words = set(re.findall(r"[a-z_]+", read(f"{package}/__init__.py")))
    there = {
        path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there - words <= {"__init__", "__main__"}


def test_dependencies_are_not_older_than_their_known_faults() -> None:
    """An installation that is allowed an older one may have it; each version is the first without the fault."""
    wanted = {"aiohttp": (3, 14, 3), "PyJWT": (2, 12), "idna": (3, 7), "Pillow": (12, 0)}
    lines = (ROOT / "setup.cfg").read_text().splitlines()
    for name, first in wanted.items():
        floors = [line.split(">=")[1].split(",")[0] for line in lines if line.strip().startswith(f"{name}>=")]
        assert floors, name
        for floor in floors:
            assert tuple(int(part) for part in floor.split(".")) >= first, f"{name}>={floor}"
