"""One word per thing, as docs/glossary.md has them; and no module imports another in a circle."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
from services import ROOT

#: Names with such words that are older than the list. They may go, and then from here too; none may come.
OLDER = {
    "Crowd",
    "Deaf",
    "Door",
    "Room",
    "Teller",
    "ThreadTeller",
    "ViewCrowd",
    "room",
    "teller",
}


def banned() -> set[str]:
    """The words of the second column under "Words we don't use"."""
    text = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("## Words we don't use")[2]
    return {
        word for row in re.findall(r"^\| [^|]+ \| ([a-z, ]+) \|$", text, re.MULTILINE)[1:] for word in row.split(", ")
    }


def words_of(name: str) -> set[str]:
    """The words that a name is made of, such as `RedisBroker` or `session_store`."""
    return {each.lower() for each in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names() -> set[str]:
    """What modules, packages and classes of the hub and the site are called."""
    found = set()
    for path in (each for top in ("hub", "web") for each in Path(ROOT, top).rglob("*.py")):
        found |= {path.stem, path.parent.name}
        found |= {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)}
    return found


def test_no_name_has_a_word_that_the_glossary_bans() -> None:
    words = banned()
    assert words, "no table of words in docs/glossary.md"
    found = {name for name in names() if words & words_of(name)}
    assert found - OLDER == set(), "docs/glossary.md has the word to use"
    assert OLDER - found == set(), "gone, so take it out of OLDER"


def test_no_word_of_the_glossary_is_banned() -> None:
    chosen = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").partition("## Words we don't use")[0]
    rows = re.findall(r"^\| ([^|]+) \|", chosen, re.MULTILINE)
    assert banned() & {word for row in rows for word in re.findall(r"[a-z]+", row)} == set()


def test_no_module_imports_another_in_a_circle() -> None:
    """Contracts in setup.cfg say which way imports point between packages; within those that have none, this does."""
    graph = grimp.build_graph("hub", "web", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as circle:
        raise AssertionError(" <- ".join(circle.args[1])) from None
