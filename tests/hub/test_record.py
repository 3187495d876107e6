"""A session's record: as written, and from other releases."""

from __future__ import annotations

import orjson
import pytest

from hub.errors import BadWire
from hub.protocol.access import Grant
from hub.protocol.publications import Position, Publication
from hub.record import SessionRecord
from hub.sessions import Session, size_of


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
