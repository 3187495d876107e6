"""Queues, and the merge of history with what comes live."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Sequence
from itertools import chain

import pytest
from conversation import Wire
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.errors import SlowSession
from hub.protocol.channels import matches
from hub.protocol.publications import Position, Publication
from hub.sessions.backlog import Backlog
from hub.sessions.registry import Registry, size_of
from hub.sessions.session import Session


def at(offset: int, channel: str = "/a", hint: bool = False, epoch: str = "e1") -> Publication:
    return Publication(channel, b"%d" % offset, Position(epoch, offset), hint)


def offsets(publications: list[Publication], channel: str = "/a") -> list[int]:
    return [item.position.offset for item in publications if item.channel == channel]


def test_what_the_client_had_before_its_channel_s_top_was_known_is_not_given_again_elsewhere() -> None:
    """The broker's word came late, and the session's record began at it: another worker gave it what it had."""
    session = Session("s", 0.0)
    session.patterns = ["/a"]
    known = session.keep_positions()
    session.got([at(3)])
    session.began("/a", Position("e1", 2))
    assert known["/a"] == Position("e1", 3)
    session.began("/a", Position("e1", 5))
    assert known["/a"] == Position("e1", 5), "what was acknowledged is of an earlier subscription"
    session.began("/a", Position("e2", 1))
    assert known["/a"] == Position("e2", 1)


def test_what_it_does_not_listen_to_any_more_begins_nowhere() -> None:
    session = Session("s", 0.0)
    session.keep_positions()
    session.got([at(3)])
    assert session.delivered == {}


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


NAMES = ("/a", "/b", "/a/b", "/*", "/a/**")
MANY_NAMES = st.lists(st.sampled_from(NAMES), max_size=5)
WHO = st.integers(0, 2)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("subscribe"), WHO, MANY_NAMES),
        st.tuples(st.just("subscribe at once"), WHO, MANY_NAMES),
        st.tuples(st.just("unsubscribe"), WHO, MANY_NAMES),
        st.tuples(st.just("sleep"), WHO, MANY_NAMES),
        st.tuples(st.just("wake"), WHO, st.just([])),
        st.tuples(st.just("end"), WHO, st.just([])),
    ),
    max_size=40,
)


@settings(max_examples=300, deadline=None)
@given(steps=STEPS)
def test_audiences_are_those_of_a_set_for_each_pattern(steps: list[tuple[str, int, list[str]]]) -> None:
    """Patterns of one session alone share one audience, whether they came one by one or a thousand at once."""
    registry, told = Registry(), dict[str, bool]()

    def tell(patterns: Sequence[str], heard: bool) -> None:
        for pattern in patterns:
            assert told.get(pattern, False) is not heard
            told[pattern] = heard

    registry.on_change = tell
    sessions = [Session(f"client{number}", 0.0) for number in range(3)]
    heard: list[list[str]] = [[], [], []]
    for session in sessions:
        registry.add(session)
    for what, number, patterns in steps:
        session, mine = sessions[number], heard[number]
        if what == "subscribe":
            for pattern in patterns:
                assert registry.subscribe(session, pattern) is (pattern not in mine)
                mine += [pattern] if pattern not in mine else []
        elif what == "subscribe at once":
            new = registry.news(session, dict.fromkeys(patterns))
            assert new == [each for each in dict.fromkeys(patterns) if each not in mine]
            registry.subscribe_all(session, new)
            mine += new
        elif what == "unsubscribe":
            removed = registry.unsubscribe_all(session, patterns)
            assert removed == [each for each in dict.fromkeys(patterns) if each in mine]
            heard[number] = [each for each in mine if each not in removed]
        elif what == "sleep":
            for pattern in patterns:
                if session in registry.audiences.get(pattern, ()):
                    registry.sleep(session, pattern, 1, Backlog(10, 1000, 10.0))
        elif what == "wake":
            if session.slept is not None:
                registry.wake(session)
        else:
            registry.end(session)
            heard[number] = []
            session = sessions[number] = Session(f"client{number}", 0.0)
            registry.add(session)
        assert [session.patterns for session in sessions] == heard
        assert {each for each, is_heard in told.items() if is_heard} == set(registry.audiences) == set(chain(*heard))
        assert registry.subscribed == sum(map(size_of, heard))
        for channel in ("/a", "/b", "/a/b", "/c"):
            assert set(registry.subscribers(channel)) == {
                each for each in sessions if any(matches(pattern, channel) for pattern in each.patterns)
            }


def test_subscription_to_nothing_new_begins_nowhere() -> None:
    """The next pong looked for the newest of no beginnings, and failed."""
    registry, session = Registry(), Session("alice", 0.0)
    registry.add(session)
    registry.subscribe(session, "/a")
    registry.attach(session, Wire())
    number = registry.recent.step()
    registry.subscribe_all(session, registry.news(session, ["/a"]))
    registry.recent.written = number
    registry.arrived(session, number)
    assert session.arrived == number


def test_session_that_ended_leaves_nothing_for_the_garbage_collector() -> None:
    registry, session = Registry(), Session("alice", 0.0)
    registry.add(session)
    registry.subscribe_all(session, ["/a", "/b"])
    gone = weakref.ref(session)
    registry.end(session)
    gc.disable()
    try:
        del session
        assert gone() is None
    finally:
        gc.enable()


def test_room_of_a_flood_of_names_is_given_back() -> None:
    """Half a million names left a table of 20 MiB."""
    registry = Registry()
    few, many = Session("alice", 0.0), Session("bob", 0.0)
    for session in (few, many):
        registry.add(session)
    registry.subscribe(few, "/a")
    registry.subscribe_all(many, [f"/n{number}" for number in range(100_000)])
    assert sys.getsizeof(registry.audiences) > 2**20
    assert len({id(each) for each in registry.audiences.values()}) == 2, "a set for each of them was 24 MiB"
    registry.end(many)
    assert sys.getsizeof(registry.audiences) < 2**17
    assert registry.audiences == {"/a": {few}}
