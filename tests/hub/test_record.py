"""A session's record: as written, and from other releases."""

from __future__ import annotations

import orjson
import pytest
from fleet import connect, data, say
from test_node import new_node

from hub.errors import BadWire
from hub.protocol.access import Grant
from hub.protocol.publications import Position, Publication
from hub.record import SessionRecord
from hub.sessions.registry import size_of
from hub.sessions.session import Session


def test_session_is_what_its_record_says() -> None:
    session = Session("c" * 40, 1.0, "alice")
    session.patterns = ["/a", "/b/*"]
    session.delivered = {"/a": Position("e", 3), "/gone": Position("e", 1)}
    session.grant = Grant(("/a",), (), 100.0, "bob")
    session.connected = session.tracks = True
    session.ack = 4
    session.unacked = [(4, [Publication("/a", b"1", Position("e", 4), False, None)])]
    session.answered = "7"
    record = SessionRecord.parse(SessionRecord.of(session).encode())
    again = record.session("c" * 40, 2.0)
    assert (again.user, again.grant, again.connected, again.tracks, again.ack) == (
        "alice",
        session.grant,
        True,
        True,
        4,
    )
    assert again.delivered == {"/a": Position("e", 3)}
    assert list(record.patterns) == ["/a", "/b/*"]
    assert record.sent == {"/a": "e.4"}
    assert record.answered == "7"
    assert not record.ended


@pytest.mark.parametrize("length", [8, 255])
def test_record_is_bounded_by_the_names_of_its_subscriptions(length: int) -> None:
    """What came by a wildcard was in it too: a thousand names of 255 characters for one of three."""
    session = Session("c" * 40, 1.0)
    names = [f"/{number:0{length - 1}}" for number in range(1000)]
    session.delivered, session.lost = {}, set(names)
    session.patterns = ["/**"]
    session.unacked = [(1, [Publication(name, b"1", Position("e", 4), False, None) for name in names[500:]])]
    session.lost = set()
    assert len(SessionRecord.of(session).encode()) < 400
    session.patterns += names
    session.delivered = dict.fromkeys(names, Position("e" * 22, 2**53))
    session.lost = set(names)
    session.unacked = [(1, [Publication(name, b"1", Position("e" * 22, 2**53), False, None) for name in names])]
    assert len(SessionRecord.of(session).encode()) < 4 * size_of(session.patterns) + 400


def test_record_names_the_user_of_an_expired_token() -> None:
    """A worker that took such a session over did not know whose it was, so a kick missed it."""
    session = Session("c" * 40, 1.0)
    session.authorize(Grant(("/a",), (), 100.0, "carol", 50.0))
    assert SessionRecord.of(session).bearer is None
    session.authorize(None)
    again = SessionRecord.parse(SessionRecord.of(session).encode()).session("c" * 40, 2.0)
    assert (again.grant, again.name, again.bearer) == (None, None, ("carol", 50.0))
    session.authorize(Grant((), (), 200.0, None, 150.0))
    again = SessionRecord.parse(SessionRecord.of(session).encode()).session("c" * 40, 2.0)
    assert (again.grant, again.bearer) == (session.grant, ("carol", 50.0))


def test_records_of_other_releases_are_read() -> None:
    """During an upgrade, each release reads the records of the other."""
    session = Session("c" * 40, 1.0)
    session.authorize(Grant(("/a",), (), 100.0, "carol", 50.0))
    known = orjson.loads(SessionRecord.of(session).encode())
    del known["bearer"]
    assert SessionRecord.parse(orjson.dumps(known | {"newer": 1})).session("c" * 40, 2.0).bearer == ("carol", 50.0)


@pytest.mark.parametrize("bearer", [1, [], ["carol"], ["carol", 1.0, 2.0], [None, 1.0], ["carol", "soon"]])
def test_malformed_bearer_is_bad_wire(bearer: object) -> None:
    known = orjson.loads(SessionRecord.of(Session("c" * 40, 1.0)).encode())
    record = SessionRecord.parse(orjson.dumps(known | {"bearer": bearer}))
    with pytest.raises(BadWire):
        record.session("c" * 40, 1.0)


def test_ended_session_keeps_its_user() -> None:
    record = SessionRecord.parse(SessionRecord.of_ended(Session("c" * 40, 1.0, "alice")).encode())
    assert (record.ended, record.user) == (True, "alice")


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"null", b'{"version":2}', b'{"version":1}', b"\xff"])
def test_another_release_s_record_is_bad_wire(text: bytes) -> None:
    with pytest.raises(BadWire):
        SessionRecord.parse(text)


def test_grant_that_is_none_is_bad_wire() -> None:
    known = orjson.loads(SessionRecord.of(Session("c" * 40, 1.0)).encode())
    record = SessionRecord.parse(orjson.dumps(known | {"grant": [1]}))
    with pytest.raises(BadWire):
        record.session("c" * 40, 1.0)


async def test_connect_that_was_older_than_the_one_answered_last_says_nothing_of_that_answer() -> None:
    """Two connects of one client waited at a worker that carried them; their owner answered the second, and died.

    Carried anew to the next owner, the first was taken for a newer one, by which what the second's answer had carried
    had arrived. The simulator met it (seed 302717).
    """
    record = SessionRecord(
        connected=True,
        patterns=["/a"],
        positions={"/a": "e.0"},
        sent={"/a": "e.1"},
        answered="4",
        connects=["1", "2", "4"],
    )
    async with new_node() as node:
        session = record.session("c" * 40, 0.0)
        node.registry.add(session)
        session.enqueue([Publication("/a", b"1", Position("e", 1), False, None)], 10, 1000)
        record.restore_sent(session)
        (late,) = await say(node, connect(session.id, id="2"))
        assert (late["successful"], late["error"][:3]) == (False, "408")
        assert late["advice"]["interval"] > 0, "or both would go on superseding each other"
        assert data(await say(node, connect(session.id, id="4"))) == [1]
        assert data(await say(node, connect(session.id, id="5"))) == []
        assert (await say(node, connect(session.id, id="2")))[-1]["successful"], "a client may count anew"


def test_client_that_counts_anew_is_refused_once() -> None:
    """Its connects have the ids of those before: one that was always refused heard nothing any more."""
    session = Session("c" * 40, 1.0)
    session.enqueue([Publication("/a", b"1", Position("e", 1), False, None)], 10, 1000)
    session.resend({"/a": Position("e", 1)}, "c3", ["c1", "c2", "c3"])
    assert [session.is_older(5.0, "c1") for _ in range(3)] == [True, False, False]


def test_record_names_the_newest_connects_alone() -> None:
    session = Session("c" * 40, 1.0)
    session.delivered = {}
    for number in range(20):
        session.note_connect(float(number), str(number))
        session.note_connect(float(number), str(number))
    record = SessionRecord.parse(SessionRecord.of(session).encode())
    assert list(record.connects) == ["16", "17", "18", "19"]
    assert record.session("c" * 40, 1.0).connects == ("16", "17", "18", "19")


def test_record_of_a_release_that_named_no_connects_is_read() -> None:
    known = orjson.loads(SessionRecord.of(Session("c" * 40, 1.0)).encode())
    del known["connects"]
    assert SessionRecord.parse(orjson.dumps(known)).connects == ()
