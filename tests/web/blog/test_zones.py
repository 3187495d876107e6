"""Times of a writer's clock."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from web.features.blog.zones import BadTime, BadZone, parse_local, show_local


def test_a_time_is_of_its_zone() -> None:
    assert parse_local("2030-05-17T18:30", "Europe/Berlin") == datetime(2030, 5, 17, 16, 30, tzinfo=UTC)
    assert parse_local("2030-01-17T18:30:20", "America/New_York") == datetime(2030, 1, 17, 23, 30, 20, tzinfo=UTC)
    assert parse_local("2030-05-17T18:30", "") == datetime(2030, 5, 17, 18, 30, tzinfo=UTC)
    assert show_local(datetime(2030, 5, 17, 16, 30, tzinfo=UTC), "Europe/Berlin") == "2030-05-17T18:30"


def test_an_hour_that_comes_twice_is_the_first_and_one_that_is_left_out_is_none() -> None:
    # In 2026 clocks of Berlin go back on 25 October, and on on 29 March.
    assert parse_local("2026-10-25T02:30", "Europe/Berlin") == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    with pytest.raises(BadTime, match="There is no such time in Europe/Berlin: clocks go on to 03:30 then"):
        parse_local("2026-03-29T02:30", "Europe/Berlin")


@pytest.mark.parametrize(
    "text", ["", "tomorrow", "2030-13-01T10:00", "9999-12-31T23:59", "0001-01-01T00:00", "1969-01-01T00:00"]
)
def test_what_is_no_time_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadTime, match=r"^Give a date"):
        parse_local(text, "America/New_York")


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "/etc/passwd", "Europe", "x\0", "a" * 300])
def test_a_zone_is_one_of_those_that_there_are(zone: str) -> None:
    with pytest.raises(BadZone):
        parse_local("2030-05-17T18:30", zone)
