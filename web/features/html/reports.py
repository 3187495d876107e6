"""Verdicts as text, as JSON, or as annotations of GitHub's. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence

from .filters import Filter
from .verdicts import Message, Verdict

#: Places of one message that are shown: one broken template makes thousands alike.
PLACES = 3

#: The checker stops there, and says "Too many messages."
MANY = 1000


def as_text(verdicts: Sequence[Verdict], unused: Sequence[Filter] = ()) -> str:
    """Lines for people: each message once, with where it is."""
    lines = []
    for verdict in verdicts:
        if verdict.outcome == "unchecked":
            lines.append(f"{verdict.source}: could not be checked: {verdict.why}")
        for (level, text), messages in _grouped(verdict.messages):
            places = ", ".join(_place(each, verdict) for each in messages[:PLACES])
            more = f" and {len(messages) - PLACES} more" if len(messages) > PLACES else ""
            extract = f" {messages[0].extract.strip()!r}" if messages[0].extract.strip() else ""
            lines.append(f"{places}{more}: {level}: {text}{extract}")
        if len(verdict.messages) >= MANY:
            lines.append(f"{verdict.source}: {MANY:,} messages or more")
    for each in unused:
        lines.append(f"let pass, and not there any more: {each.text!r}{f' in {each.source}' if each.source else ''}")
    counts = [sum(each.outcome == outcome for each in verdicts) for outcome in ("valid", "invalid", "unchecked")]
    version = next((each.version for each in verdicts if each.version), "")
    of = f" (vnu {version})" if version else ""
    lines.append(f"{counts[0]} valid, {counts[1]} invalid, {counts[2]} could not be checked{of}")
    return "\n".join(lines)


def as_json(verdicts: Sequence[Verdict]) -> str:
    """All of it, for programs."""
    found = [
        {
            "source": verdict.source,
            "outcome": verdict.outcome,
            "why": verdict.why,
            "messages": [
                {
                    "level": each.level,
                    "message": each.text,
                    "line": each.line,
                    "column": each.column,
                    "place": each.place,
                    "extract": each.extract,
                }
                for each in verdict.messages
            ],
        }
        for verdict in verdicts
    ]
    version = next((each.version for each in verdicts if each.version), "")
    return json.dumps({"version": version, "documents": found}, ensure_ascii=False, indent=1)


def as_github(verdicts: Sequence[Verdict]) -> str:
    """Workflow commands, which GitHub shows beside the lines that they name."""
    lines = []
    for verdict in verdicts:
        if verdict.outcome == "unchecked":
            lines.append(f"::error title=Could not be checked::{_escaped(f'{verdict.source}: {verdict.why}')}")
        for message in verdict.messages:
            file, _, line = message.place.rpartition(":")
            if not line.isdigit():
                file, line = message.place or verdict.source, str(message.line or 1)
            command = {"error": "error", "warning": "warning"}.get(message.level, "notice")
            text = f"{verdict.source}: {message.text}" if file != verdict.source else message.text
            lines.append(f"::{command} file={_property(file)},line={line},title=HTML::{_escaped(text)}")
    return "\n".join(lines)


def _grouped(messages: Sequence[Message]) -> list[tuple[tuple[str, str], list[Message]]]:
    found: dict[tuple[str, str], list[Message]] = {}
    for message in messages:
        found.setdefault((message.level, message.text), []).append(message)
    return list(found.items())


def _place(message: Message, verdict: Verdict) -> str:
    here = verdict.source if message.line is None else f"{verdict.source}:{message.line}:{message.column or 1}"
    return f"{message.place} ({here})" if message.place else here


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
