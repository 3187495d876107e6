"""Times as a writer says them: of a clock on a wall in a time zone. Pure, but for the files of the time zones."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

_LOCAL = "%Y-%m-%dT%H:%M"

#: Characters of a time zone's name; the longest has 32.
MAX_ZONE = 60


class BadTime(ValueError):
    """What was written is no time; as a string: a sentence for who wrote it."""


class BadZone(BadTime):
    """What was written is no time zone."""


@cache
def names() -> tuple[str, ...]:
    """The names of time zones; reads a folder the first time."""
    return tuple(sorted(available_timezones() | {"UTC"}))


def zone_of(name: str) -> ZoneInfo:
    """A time zone by its name, "" being UTC; reads a file the first time. Raises BadTime."""
    if name and name not in names():
        raise BadZone("There is no such time zone. Write one such as Europe/Berlin, or UTC.")
    return ZoneInfo(name or "UTC")


def parse_local(text: str, zone: str) -> datetime:
    """A moment, in UTC, of a time such as 2030-05-17T18:30 in a zone. Of a time that a clock shows twice, the first.

    Raises BadTime, also for a time that the clock leaves out when summer time begins.
    """
    place = zone_of(zone)
    found = None
    # With seconds too: some browsers add them.
    for pattern in (_LOCAL, _LOCAL + ":%S"):
        try:
            found = datetime.strptime(text, pattern).replace(tzinfo=place)
        except ValueError:
            continue
    if found is None:
        raise BadTime("Give a date and a time, such as 2030-05-17T18:30.")
    try:
        moment = found.astimezone(UTC)
        again = moment.astimezone(place)
    except OverflowError:
        raise BadTime("Give a date between 1970 and 2200.") from None
    if not 1970 <= moment.year < 2200:
        raise BadTime("Give a date between 1970 and 2200.")
    if again.replace(tzinfo=None) != found.replace(tzinfo=None):
        # The clock is put on by the difference: what it shows then is the time that was meant, or near it.
        raise BadTime(f"There is no such time in {zone}: clocks go on to {again:%H:%M} then.")
    return moment


def show_local(when: datetime, zone: str) -> str:
    """A moment as the clock in a zone shows it, to the minute, as a form's field has it. Raises BadTime."""
    return when.astimezone(zone_of(zone)).strftime(_LOCAL)
