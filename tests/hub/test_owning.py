"""What a session remembers changes in two modules only: there every change keeps what must be true of it.

Fields were assigned at sixty places in five modules, each of which had to remember what follows: a link that was lost
while its session's queue was written kept the connect that it held, and the next publication went to answer that.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import hub
from hub.sessions.session import Session

HUB = Path(hub.__file__).parent

#: The modules that change sessions.
OWNERS = {"sessions/session.py", "sessions/registry.py"}

#: What has fields of the same names and is no session.
OTHERS = {"_counters", "counters", "member", "outcome", "request", "self"}

#: Methods that change a list, a set or a dictionary.
CHANGING = {"add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove", "setdefault", "update"}

FIELDS = {name for name in Session.__slots__ if not name.startswith("__")}


def _targets(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement or an expression changes."""
    if isinstance(node, ast.Assign | ast.Delete):
        found = list(node.targets)
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.NamedExpr | ast.For):
        found = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        found = [node.func.value]
    else:
        return
    while found:
        target = found.pop()
        if isinstance(target, ast.Tuple | ast.List):
            found += target.elts
        elif isinstance(target, ast.Subscript | ast.Starred):
            found.append(target.value)
        else:
            yield target


def assigned(source: str) -> list[str]:
    """The changes of sessions' fields in a module, as `line: field`."""
    found = []
    for node in ast.walk(ast.parse(source)):
        for target in _targets(node):
            if isinstance(target, ast.Attribute) and target.attr in FIELDS:
                owner = ast.unparse(target.value).rpartition(".")[2]
                if owner not in OTHERS:
                    found.append(f"{target.lineno}: {ast.unparse(target)}")
    return found


def test_no_other_module_changes_a_session() -> None:
    found = {
        name: changes
        for path in HUB.rglob("*.py")
        if (name := path.relative_to(HUB).as_posix()) not in OWNERS and (changes := assigned(path.read_text()))
    }
    assert not found, "make it a method of Session, with what follows from the change"


@pytest.mark.parametrize(
    "change",
    [
        "session.seen = now",
        "held, session.hold = session.hold, None",
        "change.session.fence = 0",
        "link.session.link = link.session.sink = None",
        "session.recovering += 1",
        "alice.ack: int = 3",
        "del session.floors[channel]",
        "session.delivered[channel] = position",
        "session.patterns.append(pattern)",
        "(session.floors or {}).x, each.lost = 1, None",
    ],
)
def test_that_is_noticed_in_every_form(change: str) -> None:
    assert assigned(change)


def test_what_others_have_under_these_names_is_theirs() -> None:
    assert not assigned("outcome.hold = hold\nself.counters.opened += 1\nrequest.outcome.publishes = []")
