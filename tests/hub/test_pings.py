"""When a quiet WebSocket is pinged, and when it is cut."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hub.transports.websocket import Connection, _ping_due, intervals


class Transport:
    """Counts what is written, and says whether it was cut."""

    def __init__(self) -> None:
        self.pings = 0
        self.cut = False

    def is_closing(self) -> bool:
        return self.cut

    def write(self, data: bytes) -> None:
        self.pings += 1

    def abort(self) -> None:
        self.cut = True


class Clock:
    """A node's time and wheel: the wheel is up to a tenth of a second late."""

    def __init__(self) -> None:
        self.now = 0.0
        self.due = 0.0
        self.wheel = SimpleNamespace(add=self.add, awake=0.0)

    def time(self) -> float:
        return self.now

    def add(self, when: float, callback: Any, thing: Any) -> None:
        self.due = when


@pytest.mark.parametrize("late", [0.0, 0.05, 0.1])
@pytest.mark.parametrize("step", range(1, 240))
def test_peer_that_answers_pings_is_never_cut_whenever_else_it_speaks(step: int, late: float) -> None:
    """A fixed beat found 11.75 s of silence, did not ping, and cut at 23.8: one connect in a hundred did that."""
    clock, transport = Clock(), Transport()
    connection = Connection(cast(Any, clock), limit=1000, interval=12.0)
    connection.transport = cast(Any, transport)
    said = step / 20
    clock.due = 12.0
    while clock.now < 100:
        due = clock.due + late
        if connection.seen < said <= due:
            connection.seen = said
        clock.now = due
        pings = transport.pings
        _ping_due(connection)
        assert not transport.cut
        if transport.pings > pings:
            connection.seen = clock.now + 0.01


def test_peer_that_answers_nothing_is_cut_after_two_intervals() -> None:
    clock, transport = Clock(), Transport()
    connection = Connection(cast(Any, clock), limit=1000, interval=12.0)
    connection.transport = cast(Any, transport)
    clock.due = 12.0
    while not transport.cut:
        clock.now = clock.due
        _ping_due(connection)
    assert (transport.pings, clock.now) == (1, 24.0)


def test_peer_is_not_cut_while_it_is_not_read_from_for_what_it_sent_before() -> None:
    clock, transport = Clock(), Transport()
    connection = Connection(cast(Any, clock), limit=1000, interval=12.0)
    connection.transport = cast(Any, transport)
    connection.busy = True
    clock.due = 12.0
    while clock.now < 60:
        clock.now = clock.due
        _ping_due(connection)
    connection.busy = False
    connection.seen = clock.now
    while not transport.cut:
        clock.now = clock.due
        _ping_due(connection)
    assert 60 + 24 <= clock.now <= 60 + 36


def test_peer_is_not_cut_for_what_was_not_read_while_the_process_stood_still() -> None:
    """A machine that stood still for 40 s cut 3,671 of 4,500 sockets as it went on, before it read their pongs."""
    clock, transport = Clock(), Transport()
    connection = Connection(cast(Any, clock), limit=1000, interval=12.0)
    connection.transport = cast(Any, transport)
    clock.now = 12.0
    _ping_due(connection)
    clock.now = clock.wheel.awake = 52.0
    _ping_due(connection)
    assert not transport.cut
    for expected in (64.0, 76.0):
        assert clock.due == expected
        clock.now = clock.due
        _ping_due(connection)
    assert transport.cut, "still silent, two intervals later"


def test_sockets_that_were_opened_together_are_not_pinged_together() -> None:
    given = intervals(12.0)
    found = [next(given) for _ in range(160)]
    assert max(found) == 12.0
    assert min(found) > 9.0
    assert {found.count(each) for each in found} == {10}
    # One object for all that have the same.
    assert len({id(each) for each in found}) == 16
