"""A poll: one HTTP request of a Bayeux client, and where its answer goes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .peers import UNKNOWN, Peer
from .protocol.publications import Publication
from .sessions import Session

logger = logging.getLogger(__name__)


class Poll:
    """Where the answer to one HTTP request goes. The transport waits for `parts`.

    peer: whose request it is. session, taken and told_lost: whose queue the answer carries, and which channels it says
    have lost something, for `Node.abandon`. gone: whether the client is. carried: the worker that has the request, and
    its number there. hurried: whether it must not be held.
    status: that the answer has in HTTP, where the transport can say it: 503 if nothing was done.
    """

    __slots__ = (
        "_sent",
        "carried",
        "gone",
        "hurried",
        "parts",
        "peer",
        "session",
        "status",
        "taken",
        "told_lost",
    )

    def __init__(self, peer: Peer = UNKNOWN) -> None:
        self.peer = peer
        self.gone = False
        self.hurried = False
        self.status = 200
        self.carried: tuple[str, int] | None = None
        self.session: Session | None = None
        self.taken: list[Publication] = []
        self.told_lost: list[str] = []
        self._sent: Callable[[list[bytes]], None] | None = None
        self.parts: list[bytes] | None = None

    def send(self, parts: list[bytes]) -> None:
        """Keep the answer, and wake who waits for it. A second answer is a bug and is dropped with a log line."""
        if self.parts is not None:
            logger.error("request answered twice")
            return
        self.parts = parts
        if self._sent is not None:
            self._sent(parts)

    def when_sent(self, callback: Callable[[list[bytes]], None]) -> None:
        """Call back with the answer, at once if there is one already."""
        if self.parts is not None:
            callback(self.parts)
        else:
            self._sent = callback
