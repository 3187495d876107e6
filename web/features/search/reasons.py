"""Why a hit is one, in words: "title, 1 letter changed, ×2.0". Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .blend import HEADING, LABEL, TEXT, TITLE, WHOLE_TITLE, WORD
from .entries import PER_YEAR, popularity
from .spelling import Change, Spelling
from .tokens import STOP_WORDS, all_parts, stem

#: Reasons that are given for one hit, those that count most.
_MOST = 5

_PHRASE = "phrase"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why: where, how it was read, and what it counted."""

    where: str
    how: str
    counts: float

    @property
    def is_phrase(self) -> bool:
        """Whether it has what was typed, as it was typed, in that order."""
        return self.how == _PHRASE

    def __str__(self) -> str:
        return ", ".join(each for each in (self.where, self.how, f"×{self.counts:.1f}") if each)


def explain(
    stored: Mapping[str, Any],
    text_runs: Sequence[tuple[str, ...]],
    spellings: Sequence[Spelling],
    boosts: Sequence[float],
) -> list[Reason]:
    """What of a query's readings a document has, the weightiest first; then what else counts.

    text_runs: of its text, the stems of words that were found one after the other.
    """
    fields = (
        ("title", [_stems(stored["title"])], TITLE),
        ("heading", [_stems(each) for each in stored["headings"]], HEADING),
        ("category or keyword", [_stems(each) for each in (*stored["categories"], *stored["keywords"])], LABEL),
        ("text", list(text_runs), TEXT),
    )
    found: list[Reason] = []
    for where, runs, factor in fields:
        for spelling, boost in zip(spellings, boosts, strict=True):
            stems = tuple(map(stem, spelling.words))
            if where == "title" and runs == [stems]:
                found.append(Reason("whole title", read_as(spelling), WHOLE_TITLE * boost))
            if any(_has(run, stems) for run in runs):
                phrase = _PHRASE if len(stems) > 1 else ""
                how = ", ".join(each for each in (phrase, read_as(spelling)) if each)
                found.append(Reason(where, how, factor * boost))
            else:
                there = {each for run in runs for each in run}
                words = [word for word in spelling.words if stem(word) in there and word not in STOP_WORDS]
                if words and len(stems) > 1:
                    changed = {word for change in spelling.changes for word in change.now}
                    how = f"“{' '.join(words)}”"
                    if changed & set(words) and (said := read_as(spelling)):
                        how += f", {said}"
                    found.append(Reason(where, how, WORD * factor * boost * len(words)))
    found.sort(key=lambda each: -each.counts)
    unique = {(each.where, each.how): each for each in reversed(found)}
    return sorted(unique.values(), key=lambda each: -each.counts)[:_MOST]


def factors(stored: Mapping[str, Any], now: datetime) -> list[str]:
    """What else a hit was multiplied by."""
    found = []
    years = (now - datetime.fromtimestamp(stored["at"], UTC)).days / 365.25
    if years >= 1:
        found.append(
            f"{years:.0f} year{'' if round(years) == 1 else 's'} old, ×{2.718281828 ** (-PER_YEAR * years):.2f}"
        )
    if stored["comments"]:
        count = stored["comments"]
        found.append(f"{count} comment{'' if count == 1 else 's'}, ×{popularity(count):.2f}")
    if stored["weight"] != 1:
        found.append(f"this kind, ×{stored['weight']:.2f}")
    return found


def read_as(spelling: Spelling) -> str:
    """How a reading differs from what was typed; "" if it does not."""
    return ", ".join(_change(change) for change in spelling.changes)


def _change(change: Change) -> str:
    match change.how:
        case "spelt":
            return f"{change.edits} letter{'' if change.edits == 1 else 's'} changed"
        case "begun":
            return "not typed to its end"
        case "split":
            return f"read as {len(change.now)} words"
        case "synonym":
            return "a synonym"
        case "joined":
            return "read as one word"


def _stems(text: str) -> tuple[str, ...]:
    return tuple(stem(word) for parts in all_parts(text) for word in parts.stream)


def _has(run: tuple[str, ...], stems: tuple[str, ...]) -> bool:
    size = len(stems)
    return size > 0 and any(run[at : at + size] == stems for at in range(len(run) - size + 1))
