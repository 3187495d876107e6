"""Publications of meta channels, which are for the node itself, and what waits until all before was delivered.

So a publisher can have the connections of a channel closed: each ends once it has what was published before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from .protocol.channels import home
from .protocol.messages import loads
from .protocol.publications import Publication
from .sending import Sending
from .sessions.registry import Registry
from .sessions.session import Session

#: Sessions that are sent away at once; then others have their turn.
CLOSED_AT_ONCE = 100


class Closings:
    """What publications of meta channels tell one node, and who waits until everything before was delivered.

    told_first: meta channels that take effect before the rest of a flush is delivered.
    """

    def __init__(
        self,
        registry: Registry,
        sending: Sending,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        told_first: Sequence[str],
    ) -> None:
        self._registry = registry
        self._leaving = sending.leaving
        self._flush_queue = sending.flush_queue
        self._spawn = spawn
        self.told_first = told_first
        # What takes the publications of meta channels.
        self._takers: dict[str, Callable[[Sequence[Publication]], None]] = {}
        # What publishers said of connections, each with the number of the batch that it comes after.
        self._closings: list[tuple[int, Publication]] = []
        # Who waits until what came before a batch's number has been delivered.
        self._undelivered: list[tuple[int, asyncio.Future[None]]] = []

    def take_from(self, channel: str, taker: Callable[[Sequence[Publication]], None]) -> None:
        """Hand what comes on a meta channel to `taker`, in order; it must not wait or raise."""
        self._takers[channel] = taker

    def told(self, channel: str, publications: Sequence[Publication]) -> None:
        """Another node, or this one, says what all are to do."""
        taker = self._takers.get(channel)
        if taker is not None:
            taker(publications)
        elif home(channel) != channel:
            # Later: what was published to the channel before may still be on its way.
            number = self._registry.recent.newest
            self._closings += ((number, publication) for publication in publications)

    def done(self) -> None:
        """Some of what came has been delivered to all: now connections end that are to end after it."""
        if self._closings:
            self._close_links()
        if self._undelivered:
            written = self._registry.recent.written
            for number, future in self._undelivered:
                if number <= written and not future.done():
                    future.set_result(None)
            self._undelivered = [each for each in self._undelivered if not each[1].done()]

    async def delivered(self) -> None:
        """Until what this node has received by now was written to the sessions' links, or waits for them."""
        recent = self._registry.recent
        if recent.written < recent.newest:
            entry = (recent.newest, asyncio.get_running_loop().create_future())
            self._undelivered.append(entry)
            await entry[1]

    def _close_links(self) -> None:
        """End the connections of plain clients, by channel and format, as their publishers said."""
        written = self._registry.recent.written
        closings = [publication for number, publication in self._closings if number <= written]
        self._closings = [each for each in self._closings if each[0] > written]
        for publication in closings:
            told = loads(publication.data)
            sessions = [
                session
                for session in self._registry.audiences.get(home(publication.channel), ())
                if session.link is not None and session.link.closed_by in told
            ]
            if sessions:
                self._spawn(self._close_each(sessions, told))

    async def _close_each(self, sessions: Sequence[Session], told: dict[str, tuple[int, str]]) -> None:
        for number, session in enumerate(sessions, 1):
            if session.link is not None:
                code, words = told[session.link.closed_by]
                self._leaving[session] = (code, words)
                self._flush_queue(session)
            if number % CLOSED_AT_ONCE == 0:
                await asyncio.sleep(0)
