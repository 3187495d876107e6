"""One client's requests in the order in which they arrived, though some of them have to wait.

A client may have several requests under way, on connections of their own: Faye cuts a burst of publishes into bodies
of 2 KB and sends them all at once. Some wait for their turn to be decoded (`turns`), some for Redis, and large ones
are worked off in pieces; meanwhile the next, which need not wait for anything, must not be taken before them. So a
client has a lane while something of it waits or is under way, and what it sends then joins the lane. A client without
one costs nothing, and other clients' lanes delay nobody.

A request has arrived when its last byte was read (a WebSocket's message: when its frame was parsed). A client is known
by its clientId; of a request that names several, the first counts, and one that names none is in the order of its
connection alone. A WebSocket has a queue besides (`link_queues`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from .turns import Turns


class _Lane:
    """holds: how many things of the client are under way. waiting: what begins when none is."""

    __slots__ = ("holds", "waiting")

    def __init__(self) -> None:
        self.holds = 0
        self.waiting: deque[Callable[[], object]] = deque()


class Lanes:
    """The clients of a node that have something under way. `taken`: their lanes, by clientId.

    What begins something that goes on later (a task, pieces of work) must `hold` the lane before it returns, and
    `free` it when the messages have been taken.
    """

    __slots__ = ("_turns", "taken")

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.taken: dict[str, _Lane] = {}

    def add(self, client: str | None, work: Callable[[], object]) -> None:
        """Have `work` called once, in a turn (`Turns.add`), after all that this client has under way or waiting.

        The lane is held meanwhile. None is a client that has nothing to wait for but the turn.
        """
        lane = None if client is None else self.taken.get(client)
        if lane is not None:
            lane.waiting.append(work)
        elif client is not None:
            self._order(client, work)
        else:
            self._turns.add(partial(_once, work))

    async def wait(self, client: str | None) -> None:
        """As `add`, for a task: return when it may go on, with the lane held, which the caller must free.

        Nobody else is let in for the rest of the round.
        """
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            if not granted.done():
                self.hold(client)
                granted.set_result(None)
                self._turns.end_round()

        self.add(client, grant)
        try:
            await granted
        except asyncio.CancelledError:
            if not granted.cancelled():
                # Cancelled after it was let in.
                self.free(client)
            raise

    def hold(self, client: str | None) -> None:
        """Something of this client goes on later: what it sends next waits until that frees the lane."""
        if client is not None:
            lane = self.taken.get(client)
            if lane is None:
                lane = self.taken[client] = _Lane()
            lane.holds += 1

    def free(self, client: str | None) -> None:
        """That has been done."""
        if client is None:
            return
        lane = self.taken[client]
        lane.holds -= 1
        if lane.holds:
            return
        if lane.waiting:
            self._order(client, lane.waiting.popleft())
        else:
            del self.taken[client]

    async def finish(self, client: str | None, work: Coroutine[Any, Any, None]) -> None:
        """Do what a held lane waits for, and free it, whatever becomes of the work."""
        try:
            await work
        finally:
            self.free(client)

    def _order(self, client: str, work: Callable[[], object]) -> None:
        # In a turn, though the lane is free: a client could else have any number of requests wait, and then have them
        # all taken in one round.
        self.hold(client)
        self._turns.add(partial(self._go, client, work))

    def _go(self, client: str, work: Callable[[], object]) -> bool:
        try:
            work()
        finally:
            self.free(client)
        return False


def _once(work: Callable[[], object]) -> bool:
    work()
    return False
