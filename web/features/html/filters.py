"""What is let pass: patterns, and a baseline of what was there when one began, each with its reason. Pure."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .verdicts import Message, Verdict, plain


@dataclass(slots=True)
class Filter:
    """Lets messages pass. text: part of the message, or an expression between slashes; source: part of the document's
    address or of the template's place, "" for all. whole: the text is all of the message."""

    text: str
    source: str = ""
    reason: str = ""
    whole: bool = False
    used: int = 0

    def matches(self, message: Message, source: str) -> bool:
        """Whether a message of a document is this one."""
        text = plain(message.text)
        wanted = plain(self.text)
        if self.source and self.source not in source and self.source not in message.place:
            return False
        if self.whole:
            return text == wanted
        if len(wanted) > 2 and wanted[0] == wanted[-1] == "/":
            return re.search(wanted[1:-1], text) is not None
        return wanted in text


class BadBaseline(Exception):
    """A baseline can't be read; the text says why."""


@dataclass(slots=True)
class Filters:
    """All of them. `left` takes what is let pass out of a verdict's messages."""

    filters: list[Filter] = field(default_factory=list)

    def left(self, messages: Iterable[Message], source: str) -> list[Message]:
        """The messages that no filter lets pass."""
        found = []
        for message in messages:
            match = next((each for each in self.filters if each.matches(message, source)), None)
            if match is None:
                found.append(message)
            else:
                match.used += 1
        return found

    def unused(self) -> list[Filter]:
        """Filters that let nothing pass: what they were for is mended."""
        return [each for each in self.filters if not each.used]


def read_baseline(text: str) -> list[Filter]:
    """The filters of a baseline file. Raises BadBaseline; each entry must have its reason."""
    try:
        found = tomllib.loads(text).get("accept", [])
        filters = [
            Filter(entry["message"], entry.get("where", ""), entry.get("reason", "").strip(), whole=True)
            for entry in found
        ]
    except (tomllib.TOMLDecodeError, KeyError, AttributeError, TypeError) as error:
        raise BadBaseline(f"not a baseline: {error}") from None
    for each in filters:
        if not each.reason:
            raise BadBaseline(f"no reason is given for {each.text!r}")
    return filters


def write_baseline(verdicts: Sequence[Verdict], kept: Sequence[Filter] = ()) -> str:
    """A baseline of what was found, and of what a former one let pass that is still there, with its reasons."""
    entries = {(each.text, each.source): each.reason for each in kept if each.used}
    for verdict in verdicts:
        for message in verdict.messages:
            where = message.place.partition(":")[0] or verdict.source
            entries.setdefault((plain(message.text), where), "it was there when the baseline was written")
    pieces = ["# What `fanfare html --baseline` lets pass. Mend it and take it out.\n"]
    for (text, where), reason in sorted(entries.items()):
        pieces.append(f"[[accept]]\nmessage = {_quoted(text)}\nwhere = {_quoted(where)}\nreason = {_quoted(reason)}\n")
    return "\n".join(pieces)


def _quoted(text: str) -> str:
    escaped = "".join(
        f"\\{char}" if char in '"\\' else char if char >= " " and char != "\x7f" else f"\\u{ord(char):04x}"
        for char in text
    )
    return f'"{escaped}"'
