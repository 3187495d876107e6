"""What a validator said of a document, as one of three outcomes. Pure.

Every refusal of the Nu Html Checker (too large, a type that it doesn't know, an address that it may not fetch) is an
answer with status 200 and no error in it: who counts errors takes such a page for valid.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Outcome = Literal["valid", "invalid", "unchecked"]
Level = Literal["error", "warning", "info"]

LEVELS: tuple[Level, ...] = ("error", "warning", "info")

#: Words of errors that are about the checker and not the page: its stack, or its memory, was too small.
_TROUBLE = ("StackOverflowError", "OutOfMemoryError", "stack size of at least")

#: Curly quotes and blanks that people type otherwise.
_ALIKE = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\u00a0": " "})


@dataclass(frozen=True, slots=True)
class Message:
    """One of its messages. Lines and columns begin with 1; None for one that is of the whole document. place: where
    that is in what the document was made of, as `templates/x.html:12`, "" where nobody knows."""

    level: Level
    text: str
    line: int | None = None
    column: int | None = None
    extract: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a document. why: why it could not be checked. source: which one it was."""

    outcome: Outcome
    source: str
    messages: tuple[Message, ...] = ()
    why: str = ""
    #: Of the checker, as it says it.
    version: str = ""


class Unchecked(Exception):
    """A document could not be checked; the text is one line that says why."""


def plain(text: str) -> str:
    """A text with straight quotes and plain blanks: people paste those."""
    return text.translate(_ALIKE)


def read(status: int, body: bytes) -> tuple[list[Message], str]:
    """The messages of an answer, and the checker's version. Raises Unchecked for what is no verdict."""
    try:
        found: Any = json.loads(body)
        given = found["messages"]
        if status != 200 or not isinstance(given, list):
            raise ValueError
    except (ValueError, KeyError, TypeError):
        said = body[:200].decode("utf-8", "replace").strip()
        raise Unchecked(f"the validator answered {status}: {said or 'nothing'}") from None
    for message in given:
        kind, text = message.get("type"), str(message.get("message", ""))
        if kind == "non-document-error" or any(word in text for word in _TROUBLE):
            raise Unchecked(f"the validator says: {text.strip() or message.get('subType', 'nothing')}")
    return [each for each in map(_message, given) if each is not None], str(found.get("version", ""))


def _message(given: dict[str, Any]) -> Message | None:
    kind = given.get("type")
    if kind not in {"error", "info"}:
        return None
    level: Level = "error" if kind == "error" else ("warning" if given.get("subType") == "warning" else "info")
    line = given.get("firstLine", given.get("lastLine"))
    column = given.get("firstColumn", given.get("lastColumn"))
    return Message(level, str(given.get("message", "")), line, column, str(given.get("extract", "")))


def judged(messages: Sequence[Message], level: Level) -> Outcome:
    """Valid, unless there is a message of this level or a graver one."""
    worst = LEVELS.index(level)
    return "invalid" if any(LEVELS.index(each.level) <= worst for each in messages) else "valid"


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 if all are valid, 1 if one is invalid, else 2: one could not be checked. (Not how many: 256 would be none.)"""
    outcomes = {verdict.outcome for verdict in verdicts}
    return 1 if "invalid" in outcomes else 2 if "unchecked" in outcomes or not verdicts else 0
