"""The manners: when a feed is fetched, what is asked, what an answer means."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from web.features.podcasts.schedule import (
    DAY,
    HOUR,
    WEEK,
    Answer,
    Host,
    Outage,
    Outcome,
    State,
    after,
    conditions,
    good_for,
    host_after,
    interval,
    median_gap,
    outcome_of_status,
    seen_move,
)

NOW = 1_000_000_000.0


def answered(state: State, outcome: Outcome, now: float = NOW, dice: float = 0.5, **answer: object) -> State:
    return after(state, Answer(outcome=outcome, **answer), now, dice, 1)  # type: ignore[arg-type]  # as in a call


@pytest.mark.parametrize(
    ("gap", "seconds"), [(None, DAY), (0.0, HOUR), (4 * HOUR, HOUR), (DAY, 6 * HOUR), (WEEK, DAY), (100 * WEEK, DAY)]
)
def test_a_quarter_of_the_median_gap_from_an_hour_to_a_day(gap: float | None, seconds: float) -> None:
    assert interval(gap) == seconds
    assert answered(State(gap=gap), Outcome.NEW).next == NOW + seconds


def test_the_median_gap_is_of_the_latest_fifty() -> None:
    start = datetime(2020, 1, 1, tzinfo=UTC)
    dates = [start + timedelta(days=number) for number in range(100)]
    dates += [dates[-1] + timedelta(days=7 * number) for number in range(1, 60)]
    assert median_gap(dates) == WEEK
    assert median_gap(dates[:1]) is None


def test_a_server_that_says_how_long_its_answer_is_good_is_asked_later_but_within_a_day() -> None:
    assert answered(State(gap=0.0), Outcome.SAME, wait=5 * HOUR).next == NOW + 5 * HOUR
    assert answered(State(gap=0.0), Outcome.NEW, wait=30 * DAY).next == NOW + DAY
    assert good_for({"Cache-Control": 'public, max-age="7200"'}, None) == 7200
    assert good_for({"Cache-Control": "max-age=x"}, 60) == 3600
    assert good_for({}, None) is None


def test_failures_wait_twice_as_long_each_time_up_to_a_week_and_a_success_ends_that() -> None:
    state, pauses = State(), []
    for _ in range(14):
        state = answered(state, Outcome.NETWORK)
        assert state.next is not None
        pauses.append(state.next - NOW)
    assert pauses[:4] == [600, 1200, 2400, 4800]
    assert pauses[-1] == WEEK
    assert state.since == NOW
    well = answered(state, Outcome.NEW)
    assert (well.failures, well.since) == (0, None)


@pytest.mark.parametrize(
    ("outcome", "least"),
    [
        (Outcome.FORBIDDEN, 6 * HOUR),
        (Outcome.MISSING, HOUR),
        (Outcome.BUSY, HOUR),
        (Outcome.NOT_FEED, HOUR),
        (Outcome.UNREADABLE, HOUR),
        (Outcome.TOO_LARGE, DAY),
        (Outcome.BLOCKED, DAY),
        (Outcome.TOO_SLOW, 600),
        (Outcome.SERVER, 600),
    ],
)
def test_each_class_of_failure_has_its_least_pause(outcome: Outcome, least: float) -> None:
    state = answered(State(), outcome)
    assert state.next == NOW + least


def test_jitter_is_a_fifth_to_both_sides() -> None:
    assert answered(State(), Outcome.NETWORK, dice=0.0).next == NOW + 480
    assert answered(State(), Outcome.NETWORK, dice=1.0).next == NOW + 720


def test_retry_after_is_never_cut_short() -> None:
    """FreshRSS 7571: ignored; 7920: capped wrongly. Jitter only adds to it."""
    for dice in (0.0, 0.5, 1.0):
        found = answered(State(), Outcome.BUSY, dice=dice, wait=5 * HOUR).next
        assert found is not None
        assert 5 * HOUR <= found - NOW <= 6 * HOUR


def test_410_is_gone_at_once_and_404_after_five_in_a_row() -> None:
    """FreshRSS PR 3561: polled for ever."""
    assert answered(State(), Outcome.GONE).is_gone
    state = State()
    for number in range(5):
        assert not state.is_gone, number
        state = answered(state, Outcome.MISSING)
    assert state.is_gone
    mixed = State()
    for outcome in [Outcome.MISSING] * 4 + [Outcome.SERVER] + [Outcome.MISSING] * 4:
        mixed = answered(mixed, outcome)
    assert not mixed.is_gone


def test_validators_go_back_as_they_came_and_never_after_a_failure() -> None:
    """FreshRSS 4477: a 304 after a parse that failed never recovers; gpodder 231: nor after the parser got better."""
    state = answered(State(), Outcome.NEW, etag='W/"x"', modified="yesterday, about noon")
    assert conditions(state, NOW, 1) == ('W/"x"', "yesterday, about noon")
    assert conditions(state, NOW, 2) is None
    failed = answered(state, Outcome.UNREADABLE)
    assert conditions(failed, NOW, 1) is None
    # But who asks us for less is not asked for more.
    assert conditions(answered(state, Outcome.BUSY), NOW, 1) is not None


def test_both_validators_are_renewed_on_each_reply_a_304_too() -> None:
    """commafeed 1746, miniflux 2675: the stored value is not renewed."""
    state = answered(State(), Outcome.NEW, etag="a", modified="1")
    state = answered(state, Outcome.SAME, etag="b", modified="2", conditional=True)
    assert (state.etag, state.modified) == ("b", "2")
    kept = answered(state, Outcome.SAME, conditional=True)
    assert (kept.etag, kept.modified) == ("b", "2")
    gone = answered(state, Outcome.NEW)
    assert (gone.etag, gone.modified) == ("", "")


def test_once_a_week_the_whole_feed_is_asked_for() -> None:
    """FreshRSS 1020: an ETag of 2041, always 304."""
    state = answered(State(), Outcome.NEW, etag="a")
    assert conditions(state, NOW + 6.9 * DAY, 1) is not None
    assert conditions(state, NOW + 7 * DAY, 1) is None
    state = answered(state, Outcome.SAME, NOW + 7 * DAY, etag="a", conditional=False)
    assert conditions(state, NOW + 8 * DAY, 1) is not None


def test_a_feed_that_is_pushed_is_asked_weekly() -> None:
    assert answered(State(gap=0.0, pushed=True), Outcome.NEW).next == NOW + WEEK


def test_a_move_is_believed_after_three_fetches_over_two_days() -> None:
    """RssBandit 1374: a hotel's portal answers 301, and all subscriptions are rewritten."""
    state, believed = seen_move(State(), "http://new/", NOW)
    assert not believed
    for hours in (1, 2, 3, 40):
        state, believed = seen_move(state, "http://new/", NOW + hours * HOUR)
        assert not believed
    _, believed = seen_move(state, "http://new/", NOW + 48 * HOUR)
    assert believed
    other, believed = seen_move(state, "http://portal/", NOW + 48 * HOUR)
    assert (other.moves, believed) == (1, False)
    back, _ = seen_move(state, "", NOW)
    assert (back.move, back.moves) == ("", 0)


def test_a_host_that_asks_for_less_gets_nothing_and_then_one_at_a_time() -> None:
    host = host_after(Host(), Answer(outcome=Outcome.BUSY, wait=600.0), NOW)
    assert [host.places(NOW + seconds) for seconds in (0, 599, 601, 600 + DAY - 1, 601 + DAY)] == [0, 0, 1, 1, 2]
    assert host_after(Host(), Answer(outcome=Outcome.SERVER), NOW) == Host()


def test_our_own_outage_is_known_by_hosts_that_are_all_away() -> None:
    """miniflux 306: three errors of the reader's own line, and feeds are never fetched again."""
    outage = Outage(3)
    for host in ("a", "a", "a", "b"):
        outage.note(host, Outcome.NETWORK)
    assert not outage.is_ours
    outage.note("c", Outcome.NETWORK)
    assert outage.is_ours
    outage.note("d", Outcome.MISSING)
    assert not outage.is_ours


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, Outcome.BUSY),
        (503, Outcome.BUSY),
        (500, Outcome.SERVER),
        (502, Outcome.SERVER),
        (404, Outcome.MISSING),
        (410, Outcome.GONE),
        (401, Outcome.FORBIDDEN),
        (403, Outcome.FORBIDDEN),
        (304, Outcome.STATUS),
        (418, Outcome.STATUS),
    ],
)
def test_what_a_status_means(status: int, outcome: Outcome) -> None:
    assert outcome_of_status(status) is outcome
