"""When an episode was published, as feeds say it. Pure.

Always an aware time in UTC, or None: never the time now, never the machine's own zone. The weekday, which is often
wrong and in any language, is ignored; years of two digits are 19xx from 50 on; month and day may be swapped; the
seconds, the time and the zone may be missing.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_MAX_TEXT = 100

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan ene gen",
            "feb fev fév",
            "mar mär mrz",
            "apr abr avr",
            "may mai mag maj",
            "jun giu",
            "jul lug",
            "aug ago",
            "sep set",
            "oct okt ott out",
            "nov",
            "dec dez dic déc",
        ),
        1,
    )
    for name in names.split()
}

#: Minutes east of Greenwich, of zones that feeds name; an unknown name is UTC.
_ZONES = {
    "est": -300, "edt": -240, "cst": -360, "cdt": -300, "mst": -420, "mdt": -360, "pst": -480, "pdt": -420,
    "ast": -240, "adt": -180, "nst": -210, "ndt": -150, "akst": -540, "akdt": -480, "hst": -600, "brt": -180,
    "wet": 0, "west": 60, "bst": 60, "ist": 330, "cet": 60, "cest": 120, "met": 60, "mest": 120, "mez": 60,
    "mesz": 120, "eet": 120, "eest": 180, "msk": 180, "msd": 240, "sast": 120, "jst": 540, "kst": 540, "sgt": 480,
    "hkt": 480, "awst": 480, "acst": 570, "acdt": 630, "aest": 600, "aedt": 660, "nzst": 720, "nzdt": 780,
}  # fmt: skip

_TIME = r"(?P<hour>\d{1,2})[:.](?P<minute>\d{1,2})(?:[:.](?P<second>\d{1,2})(?:[.,]\d+)?)?(?:\s*(?P<half>[ap]m)\b)?"
_ZONE = r"(?P<zone>[^\d\s(+-]*\s*(?:[+-]\s*\d{1,2}:?\d{0,2})?)"
_REST = rf"(?:[,\s]+{_TIME})?\s*{_ZONE}"
_WEEKDAY = r"(?:[^\W\d_]+\.?,?\s+|[^\W\d_]+\.?,)?"
_WORD = r"(?P<month>[^\W\d_]{3,})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?\.?"
_YEAR = r"(?P<year>\d{4}|\d{2})"
_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        # 2018-02-15T11:24:50Z
        rf"(?P<year>\d{{4}})-(?P<number>\d{{1,2}})-(?P<day>\d{{1,2}})(?:[Tt\s]\s*{_TIME})?\s*{_ZONE}",
        r"(?P<year>\d{4})(?P<number>\d{2})(?P<day>\d{2})"
        r"(?:[Tt]?(?P<hour>\d{2})(?P<minute>\d{2})(?P<second>\d{2})?)?(?P<half>)" + _ZONE,
        # Thu, 15 Feb 2018 11:24:50 +0000
        rf"{_WEEKDAY}\s*{_DAY}[\s-]+{_WORD},?[\s-]+{_YEAR}{_REST}",
        # Mon, May 25 2020 10:00 EST
        rf"{_WEEKDAY}\s*{_WORD}\s+{_DAY},?\s+{_YEAR}{_REST}",
        # Thu Feb 15 11:24:50 EST 2018
        rf"{_WEEKDAY}\s*{_WORD}\s+{_DAY}\s+{_TIME}\s+{_ZONE}\s*(?P<year>\d{{4}})",
    )
)
#: The form of RFC 2822, which most feeds have; it is one of those above, and read without what those have to try.
_USUAL = re.compile(
    r"(?:[A-Za-z]{3}, )?(\d\d?) ([A-Za-z]{3}) (\d{4}) (\d\d):(\d\d):(\d\d) (?:GMT|([+-]\d\d)(\d\d))", re.ASCII
)
_OFFSET = re.compile(r"([+-])\s*(\d{1,2}):?(\d{2})?")
_COMMENT = re.compile(r"\([^)]*\)")


def parse_date(text: str | None) -> datetime | None:
    """The time in UTC, or None for what can't be read."""
    if text is None or len(text) > _MAX_TEXT:
        return None
    usual = _USUAL.fullmatch(text)
    if usual is not None:
        return _usual(usual)
    cleaned = _COMMENT.sub(" ", text).strip()
    for form in _FORMS:
        match = form.fullmatch(cleaned)
        if match is not None:
            return _made(match)
    return None


def _usual(match: re.Match[str]) -> datetime | None:
    day, name, year, hour, minute, second, hours, minutes = match.groups()
    try:
        local = datetime(
            int(year), _MONTHS.get(name.lower(), 0), int(day), int(hour), int(minute), min(int(second), 59), tzinfo=UTC
        )
        if hours is None or (hours[1:] == "00" and minutes == "00"):
            return local
        return local - timedelta(minutes=_minutes_east(hours + minutes))
    except (ValueError, OverflowError):
        return None


def _made(match: re.Match[str]) -> datetime | None:
    found = match.groupdict()
    year = int(found["year"])
    if len(found["year"]) == 2:
        year += 2000 if year < 50 else 1900
    if found.get("number"):
        month = int(found["number"])
    else:
        month = _MONTHS.get(found["month"][:3].lower(), 0)
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    if found["half"]:
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    try:
        # A leap second is the one before it.
        local = datetime(year, month, int(found["day"]), hour, minute, min(second, 59), tzinfo=UTC)
        return local - timedelta(minutes=_minutes_east(found["zone"]))
    except (ValueError, OverflowError):
        return None


def _minutes_east(zone: str) -> int:
    match = _OFFSET.search(zone)
    if match is None:
        return _ZONES.get(zone.strip().lower(), 0)
    sign, hours, minutes = match.groups()
    east = int(hours) * 60 + int(minutes or 0)
    # Nowhere is further from Greenwich than 14 hours; what says so means something else.
    return 0 if east > 24 * 60 else (-east if sign == "-" else east)
