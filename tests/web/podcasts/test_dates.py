"""When an episode was published, in every way that feeds say it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.features.podcasts.dates import parse_date

VECTORS = [
    ("Thu, 15 Feb 2018 11:24:50 +0000", "2018-02-15 11:24:50"),
    # feedparser gives None for this and the next.
    ("Thu, 15 Feb 2018 11:24:50", "2018-02-15 11:24:50"),
    ("Di, 06 Feb 2018 10:00:00 +0100", "2018-02-06 09:00:00"),
    # A wrong weekday makes Java fail (AntennaPod 2269).
    ("Mon, 15 Feb 2018 11:24:50 GMT", "2018-02-15 11:24:50"),
    # No seconds, and every episode was dated today (AntennaPod 545).
    ("Thu, 15 Feb 2018 10:10 GMT", "2018-02-15 10:10:00"),
    ("Fri, 1 Mar 2019 05:00:00 PST", "2019-03-01 13:00:00"),
    ("Wed, 03 Apr 2013 16:00:00 GMT-0400 (EDT)", "2013-04-03 20:00:00"),
    # The month first (NetNewsWire 2109).
    ("Mon, May 25 2020", "2020-05-25 00:00:00"),
    ("Mon, May 25, 2020 10:00 EST", "2020-05-25 15:00:00"),
    ("10 Jan 99 10:10 GMT", "1999-01-10 10:10:00"),
    ("10 Jan 49 10:10 GMT", "2049-01-10 10:10:00"),
    ("10 Jan 50 10:10 GMT", "1950-01-10 10:10:00"),
    # Zones that libraries take for UTC.
    ("Thu, 15 Feb 2018 11:24:50 BST", "2018-02-15 10:24:50"),
    ("Thu, 15 Feb 2018 11:24:50 CEST", "2018-02-15 09:24:50"),
    ("Thu, 15 Feb 2018 11:24:50 MSK", "2018-02-15 08:24:50"),
    ("Thu, 15 Feb 2018 11:24:50 -0000", "2018-02-15 11:24:50"),
    ("Thu, 15 Feb 2018 11:24:50 +02:00", "2018-02-15 09:24:50"),
    ("Thu, 15 Feb 2018 11:24:50 Mars/Olympus", "2018-02-15 11:24:50"),
    ("Thu Feb 15 11:24:50 2018", "2018-02-15 11:24:50"),
    ("2018-02-15T11:24:50.123+02:00", "2018-02-15 09:24:50"),
    ("2018-02-15T11:24:50Z", "2018-02-15 11:24:50"),
    ("2018-02-15", "2018-02-15 00:00:00"),
    ("20180215T112450Z", "2018-02-15 11:24:50"),
    # Before 1970, and long after now: legal.
    ("1895-05-05", "1895-05-05 00:00:00"),
    ("Fri, 15 Feb 2041 11:00:00 +0530", "2041-02-15 05:30:00"),
    ("Thu, 15 Feb 2018 23:59:60 GMT", "2018-02-15 23:59:59"),
    # podcastparser makes the 3rd of March of this, and 1970 of the next; feedparser the years 1712 and -1.
    ("31 Feb 2018 10:00", None),
    ("yesterday", None),
    ("1712345678", None),
    ("0000-00-00 00:00:00", None),
    ("Thu, 15 Feb 2018 25:00:00 GMT", None),
    ("0001-01-01T00:00:00+14:00", None),
    ("", None),
    (None, None),
    ("1" * 200, None),
]


@pytest.mark.parametrize(("text", "expected"), VECTORS)
def test_text_of_a_feed_is_a_time_in_utc_or_unknown(text: str | None, expected: str | None) -> None:
    found = parse_date(text)
    assert (None if found is None else f"{found:%Y-%m-%d %H:%M:%S}") == expected
    assert found is None or found.tzinfo is UTC


@given(st.text(max_size=120))
def test_any_text_is_a_time_or_unknown(text: str) -> None:
    assert parse_date(text) is None or isinstance(parse_date(text), datetime)


@given(st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_what_is_written_as_the_standards_say_is_read_back(when: datetime) -> None:
    when = when.replace(microsecond=0, tzinfo=UTC)
    assert parse_date(f"{when:%a, %d %b %Y %H:%M:%S} +0000") == when
    assert parse_date(when.isoformat()) == when


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(["GMT", "+0000", "-0000", "+0530", "-1100", "+9999", "+1400", "-0060"]),
    st.sampled_from(["", "Thu, ", "Xyz, "]),
    st.integers(0, 61),
)
def test_the_form_that_most_have_is_read_as_it_is_with_blanks_around_it(
    when: datetime, zone: str, weekday: str, second: int
) -> None:
    """Without them it is read by a shorter way, which has to lead to the same."""
    for month in (f"{when:%b}", "Mai", "Xxx"):
        text = f"{weekday}{when.day:02} {month} {when.year:04} {when:%H:%M}:{second:02} {zone}"
        assert parse_date(text) == parse_date(f" {text} ")
