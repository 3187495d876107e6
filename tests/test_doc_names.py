"""What the pages name in code font is there: commands, modules, files, make's targets, classes, functions, requests.

Settings, links and pictures: tests/test_repository.py. Blocks of code are run by tests of their own.
"""

from __future__ import annotations

import argparse
import ast
import functools
import json
import re
import subprocess
from pathlib import Path

import pytest
from services import ROOT

from hub.cli import COMMON, SERVE, Command, check_command, settings_command
from web.cli import COMMANDS as SITE_COMMANDS

#: Those of `python -m hub`, as `hub.cli.main` has them.
HUB_COMMANDS = (SERVE, *COMMON, check_command(lambda environ: []), settings_command(list))

#: What people read. CHANGELOG.md tells of what is gone.
PAGES = [
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]

#: Folders whose files are named by their whole path.
TOPS = {"hub", "web", "docs", "tests", "benchmarks", "static", "templates", "examples", ".ci"}

#: Names that are also those of other classes than ours: the browser's client, and SQLAlchemy's.
OTHERS = {"Fanout", "Query"}

#: What a page says is answered 404.
NOT_SERVED = {"POST /recover/"}

#: Files with code.
CODE = {".py", ".js", ".mjs", ".cjs", ".ts", ".html", ".css", ".c", ".lua", ".cfg", ".toml", ".sh", ".json"}


@functools.cache
def tracked() -> frozenset[str]:
    """Files and folders of the repository, by their paths in it."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\n")
    there = {name for name in listed if name}
    return frozenset(there | {str(parent) for name in there for parent in Path(name).parents})


@functools.cache
def words_of_code() -> frozenset[str]:
    """Every word that an identifier could be, in what is no page."""
    found: set[str] = set()
    for path in (ROOT / name for name in tracked()):
        if path.suffix in CODE and path.is_file() and path != Path(__file__):
            found |= set(re.findall(r"[A-Za-z_]\w*", path.read_text(encoding="utf-8")))
    return frozenset(found)


def targets(node: ast.AST) -> set[str]:
    """The names, or attributes, that an assignment sets."""
    found = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {
        each.id if isinstance(each, ast.Name) else each.attr
        for each in found
        if hasattr(each, "id") or hasattr(each, "attr")
    }


@functools.cache
def names_of(path: Path) -> frozenset[str]:
    """What a module defines or imports at its top, and `Class.member` of its classes."""
    found: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
        found |= targets(node)
        if isinstance(node, ast.ClassDef):
            for each in ast.walk(node):
                inside = {each.name} if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef) else targets(each)
                found |= {f"{node.name}.{name}" for name in inside}
    return frozenset(found)


@functools.cache
def plain_classes() -> dict[str, set[str]]:
    """The members of the hub's and the site's classes that have no base, so that these are all."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / name for name in tracked() if re.match(r"(hub|web)/.*\.py$", name)):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.bases:
                members = {name.split(".")[1] for name in names_of(path) if name.startswith(f"{node.name}.")}
                found.setdefault(node.name, set()).update(members)
    return found


def is_there(dotted: str) -> bool:
    """Whether a dotted name such as `hub.publisher.SyncPublisher.publish` is one of ours."""
    parts = dotted.split(".")
    for count in range(len(parts), 0, -1):
        place, rest = ROOT.joinpath(*parts[:count]), ".".join(parts[count:])
        for path in (place.with_suffix(".py"), place / "__init__.py"):
            if path.is_file():
                return not rest or rest in names_of(path)
        if place.is_dir() and not rest:
            return True
    return False


def is_known(name: str) -> bool:
    """Whether a class, or a class's member, is one that our code defines or uses."""
    owner, _, member = name.partition(".")
    if member and owner in plain_classes() and owner not in OTHERS:
        return member in plain_classes()[owner]
    return set(name.split(".")) <= words_of_code()


@functools.cache
def routes() -> frozenset[str]:
    """Every path that code of ours spells, parameters as `{}`."""
    found = set()
    for name in tracked():
        if re.match(r"(hub|web)/.*\.py$", name):
            for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    text = "".join(str(each.value) if isinstance(each, ast.Constant) else "{}" for each in node.values)
                    found |= {text, text.removeprefix("{}")}
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.add(node.value)
    return frozenset(re.sub(r"\{[^}]*\}", "{}", each).strip("/") for each in found if "/" in each[:30])


@functools.cache
def described() -> frozenset[str]:
    """The paths of docs/openapi.json, which a test of its own compares with the routes."""
    return frozenset(json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"])


def is_served(path: str) -> bool:
    shape = re.sub(r"\{[^}]*\}", "{}", path).strip("/")
    return bool({shape, shape.removeprefix("realm/{}/")} & routes()) or path in described()


def options_of(command: Command) -> set[str]:
    """The options of a command, or of a group's commands."""
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    waiting, found = [parser], set()
    while waiting:
        for action in waiting.pop()._actions:
            found |= set(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return found


def in_code_font(page: Path) -> list[str]:
    """Short texts in backticks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)]


def wrong_command(program: str, name: str, rest: str) -> str | None:
    known = {command.name: command for command in (SITE_COMMANDS if program == "fanfare" else HUB_COMMANDS)}
    if name not in known:
        return "no such command"
    if known[name].raw:
        # It parses its arguments elsewhere.
        return None
    unknown = set(re.findall(r"(?<=\s)--[a-z][a-z-]*", rest)) - options_of(known[name])
    return f"no such option: {', '.join(sorted(unknown))}" if unknown else None


def problem(text: str) -> str | None:
    """What is wrong with a text in code font; None if nothing is, or nothing is known of such texts."""
    if found := re.fullmatch(r"make ([a-z-]+)( .*)?", text):
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        return None if re.search(rf"^{found[1]}:", makefile, re.MULTILINE) else "no such target"
    if found := re.match(r"(?:\S*/)?(fanfare|python -m hub) ([a-z][a-z-]*)\b(.*)", text):
        return wrong_command(found[1], found[2], found[3])
    if found := re.search(r"\bpython3? -m ((?:hub|web|benchmarks|tests)[\w.]*)", text):
        return None if is_there(found[1]) else "no such module"
    if re.fullmatch(r"(hub|web|benchmarks|tests)(\.\w+)+(\(\))?", text) and not text.endswith(".py"):
        name = text.removesuffix("()")
        # Or of the object that code of the site calls `hub`: `hub.followers`.
        own = name.startswith("hub.") and f"Hub.{name[4:]}" in names_of(ROOT / "hub" / "app.py")
        return None if own or is_there(name) else "no such module, class or function"
    if re.fullmatch(r"[\w.-]+(/[\w.-]+)+/?", text) and text.split("/")[0] in TOPS:
        return None if text.rstrip("/") in tracked() else "no such file"
    if re.fullmatch(r"[A-Z][a-z0-9]+[A-Z]\w*(\(\))?|[A-Z][a-z0-9]\w*\.\w+(\(\))?", text):
        return None if is_known(text.removesuffix("()")) else "no such class"
    if found := re.fullmatch(r"([a-z_][a-z0-9_]+)\(\)", text):
        return None if found[1] in words_of_code() else "no such function"
    if found := re.fullmatch(r"(GET|POST|PUT|DELETE|HEAD|OPTIONS) (/[^\s?#]*)(\?.*)?", text):
        return None if text in NOT_SERVED or is_served(found[2]) else "no such request"
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_code_font_are_there(page: Path) -> None:
    assert {text: why for text in in_code_font(page) if (why := problem(text))} == {}


@pytest.mark.parametrize(
    "text",
    [
        "make tea",
        "fanfare dance",
        "fanfare publish --loudly a 1",
        "python -m benchmarks.nothing",
        "hub.nothing",
        "hub.node.Nothing",
        "hub/nothing.py",
        "NoSuchThing",
        "Node.nothing",
        "no_such_function()",
        "GET /no/such/page",
    ],
)
def test_name_of_nothing_is_found(text: str) -> None:
    assert problem(text) is not None


@pytest.mark.parametrize(
    "text",
    [
        "make run PORT=8001",
        ".venv/bin/fanfare publish --url http://localhost:8000 a 1",
        "python -m benchmarks.two_browsers",
        "hub.publisher.SyncPublisher",
        "hub.followers",
        "hub/errors.py",
        "Node.publish",
        "GET /ready",
        "anything else",
    ],
)
def test_name_of_something_is_let_pass(text: str) -> None:
    assert problem(text) is None
