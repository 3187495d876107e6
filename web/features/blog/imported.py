"""What the readers of posts and of comments share."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from email.utils import parsedate_to_datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file, or a thing in one, that was not taken, and why."""

    path: str
    reason: str


class Refused(Exception):
    """Why a file is not taken."""


def line_of(value: Any) -> str:
    if value is None or isinstance(value, dict | list):
        return ""
    return " ".join(str(value).split())


_ISO = re.compile(
    r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T ]+(\d{1,2}):(\d{2})(?::(\d{2})(?:\.\d+)?)?)?\s*(Z|UTC|[+-]\d{2}:?\d{2})?"
)


def moment_of(value: Any, what: str) -> datetime:
    """A moment with a zone; UTC where it names none.

    Raises:
        Refused: it is none.
    """
    try:
        if isinstance(value, datetime):
            found = value
        elif isinstance(value, date):
            found = datetime.combine(value, time())
        elif isinstance(value, int | float):
            found = datetime.fromtimestamp(value, UTC)
        elif parts := _ISO.match(str(value).strip()):
            year, month, day, hour, minute, second, zone = parts.groups()
            found = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0))  # noqa: DTZ001
            if zone and zone not in ("Z", "UTC"):
                found = datetime.strptime(f"{found:%Y-%m-%d %H:%M:%S} {zone}", "%Y-%m-%d %H:%M:%S %z")
        else:
            found = parsedate_to_datetime(str(value).strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError, TypeError, IndexError) as error:
        raise Refused(f"its {what} is no date: {str(value)[:60]}") from error
