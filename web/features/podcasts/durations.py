"""How long an episode is, as feeds say it, and as pages do. Pure.

Feeds say it in every way there is: `3600`, `1:02:03`, `62:03`, `01:02:03.5`, `12:34;`, `NaN`, `-5`, an hour as a
word, a day too much. What can't be used is None: unknown, which is neither 0 nor an error.
"""

from __future__ import annotations

import re

#: Seconds: nothing lasts longer than a day; what says so has another unit.
MOST = 86400

#: Characters of a text that may be a duration.
_MAX_TEXT = 100

# ASCII digits only: int() would take those of any script, and float() takes NaN, inf and 1e3.
_FIELD = re.compile(r"([0-9]*)(?:\.[0-9]*)?", re.ASCII)

#: Publishers' tools write a second into the tag when they know nothing. Below so many seconds a file of so many bytes
#: says otherwise.
_PLACEHOLDER, _PLACEHOLDER_BYTES = 10, 1_000_000


def parse_duration(text: str | None, length: int | None = None) -> int | None:
    """Seconds, from 1 to MOST; None for what can't be used. length: bytes of the file, if the feed says so.

    Digits are seconds, two fields M:S, three H:M:S; more are ignored. Fields may pass 59, an empty one is 0, fractions
    are cut; white space around it, '>' and ';' don't count.
    """
    if text is None or len(text) > _MAX_TEXT:
        return None
    cleaned = text.replace(">", "").replace(";", "").strip()
    fields = cleaned.split(":")[:3]
    numbers = []
    for field in fields:
        match = _FIELD.fullmatch(field)
        if match is None or (not match[1] and field):
            return None
        numbers.append(int(match[1] or 0))
    seconds = 0
    for number in numbers:
        seconds = seconds * 60 + number
    if not 0 < seconds <= MOST or is_placeholder(seconds, length):
        return None
    return seconds


def is_placeholder(seconds: int, length: int | None) -> bool:
    """Whether a duration only stands for one that nobody knew."""
    return seconds < _PLACEHOLDER and length is not None and length > _PLACEHOLDER_BYTES


def clock(seconds: int) -> str:
    """A duration as players show it: 1:02:03, 62:03 never."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def amount(hours: float) -> tuple[str, str]:
    """A number and its unit: minutes up to two hours, hours above, one decimal."""
    if hours <= 2:
        return f"{hours * 60:.1f}", "minutes"
    return f"{hours:,.1f}", "hours"


def words(hours: float) -> str:
    """The same in a sentence: 12.3 hours."""
    return " ".join(amount(hours))
