"""Queues, and the merge of history with what comes live."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import SlowSession
from hub.protocol.publications import Position, Publication
from hub.sessions import Registry, Session


def at(offset: int, channel: str = "/a", hint: bool = False, epoch: str = "e1") -> Publication:
    return Publication(channel, b"%d" % offset, Position(epoch, offset), hint)


def offsets(publications: list[Publication], channel: str = "/a") -> list[int]:
    return [item.position.offset for item in publications if item.channel == channel]


@given(
    since=st.integers(0, 10),
    read_at=st.integers(0, 10),
    end=st.integers(0, 20),
    heard_from=st.integers(0, 10),
    others=st.integers(0, 3),
)
def test_history_and_live_merge_without_gap_or_overlap(
    since: int, read_at: int, end: int, heard_from: int, others: int
) -> None:
    """A client at `since` recovers; the history was read when the channel stood at `since + read_at`.

    Live publications reach the session from the moment it subscribed, some before the read and some
    that the read already returned. The model: it gets since + 1, since + 2, … up to the end, once.
    """
    top = since + read_at
    last = top + end
    # It hears live from some point before the read on; nothing between may be missing.
    first_live = max(since + 1, top + 1 - heard_from)
    session = Session("alice", 0.0)
    session.recovering = 1
    before = [number for number in range(first_live, last + 1) if number <= top]
    session.enqueue([at(number) for number in before], 1000, 10**9)
    session.enqueue([at(number, "/other") for number in range(1, others + 1)], 1000, 10**9)
    session.recovered("/a", [at(number) for number in range(since + 1, top + 1)], Position("e1", top))
    session.recovering = 0
    # The worker's reader may still be behind what the read returned.
    session.enqueue([at(number) for number in range(max(first_live, top - 2), last + 1)], 1000, 10**9)
    taken = session.take()
    assert offsets(taken) == list(range(since + 1, last + 1))
    assert offsets(taken, "/other") == list(range(1, others + 1))


def test_what_was_lost_is_not_replayed_below_the_position_that_was_told() -> None:
    session = Session("alice", 0.0)
    session.enqueue([at(4), at(5)], 10, 10**6)
    session.recovered("/a", [], Position("e1", 5))
    session.enqueue([at(5), at(6)], 10, 10**6)
    assert offsets(session.take()) == [6]


def test_another_epoch_is_never_taken_for_a_repeat() -> None:
    session = Session("alice", 0.0)
    session.recovered("/a", [], Position("e1", 5))
    session.enqueue([at(1, epoch="e2")], 10, 10**6)
    assert len(session.take()) == 1


@pytest.mark.parametrize(("count", "size"), [(3, 10**6), (100, 350)])
def test_full_queue_is_said_and_not_cut(count: int, size: int) -> None:
    session = Session("alice", 0.0)
    session.enqueue([at(number) for number in range(1, 4)], count, size)
    with pytest.raises(SlowSession):
        session.enqueue([at(4)], count, size)


def test_hints_conflate_before_the_queue_counts_as_full() -> None:
    session = Session("alice", 0.0)
    session.enqueue([at(number, hint=True) for number in range(1, 50)], 3, 10**6)
    assert offsets(session.take())[-1] == 49


def test_audience_counts_each_session_once() -> None:
    registry = Registry()
    alice, bob = Session("alice", 0.0), Session("bob", 0.0)
    for session in (alice, bob):
        registry.add(session)
    for pattern in ("/a/b", "/a/*", "/**"):
        registry.subscribe(alice, pattern)
    registry.subscribe(bob, "/a/b")
    assert set(registry.audience("/a/b")) == {alice, bob}
    assert set(registry.audience("/a/c")) == {alice}
    registry.end(alice)
    assert set(registry.audience("/a/b")) == {bob}
    assert set(registry.audiences) == {"/a/b"}
    assert registry.ended_lately("alice")


def test_wildcards_reach_what_they_match_from_their_first_subscriber_to_their_last() -> None:
    """While nobody has one, an audience is one look-up."""
    registry = Registry()
    alice, bob = Session("alice", 0.0), Session("bob", 0.0)
    assert set(registry.audience("/a/b")) == set()
    for session in (alice, bob):
        registry.add(session)
        registry.subscribe(session, "/a/*")
    assert set(registry.audience("/a/b")) == {alice, bob}
    registry.unsubscribe(alice, "/a/*")
    assert set(registry.audience("/a/b")) == {bob}
    registry.end(bob)
    assert set(registry.audience("/a/b")) == set()
