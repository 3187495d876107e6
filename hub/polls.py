"""A poll: one HTTP request of a Bayeux client, and where its answer goes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .peers import UNKNOWN, Peer
from .protocol.publications import Publication
from .sessions.session import Session

logger = logging.getLogger(__name__)


class Poll:
    """Where the answer to one HTTP request goes. The transport waits for `parts`.

    peer: whose request it is. session, taken and told_lost: whose queue the answer carries, and which channels it says
    have lost something, for `Node.abandon`. gone: whether the client is. carried: the worker that has the request, and
    its number there. hurried: whether it must not be held. began: when it came to the first worker that it reached, by
    the node's clock, None if that was just now.
    status: that the answer has in HTTP, where the transport can say it: 503 if it is to be sent again. Mostly nothing
    was done; what is on its way to another worker perhaps will be.
    """

    __slots__ = (
        "_sent",
        "began",
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
        self.began: float | None = None
        self.carried: tuple[str, int] | None = None
        self.session: Session | None = None
        self.taken: list[Publication] = []
        self.told_lost: list[str] = []
        self._sent: Callable[[list[bytes]], None] | None = None
        self.parts: list[bytes] | None = None

    @property
    def is_counted(self) -> bool:
        """Whether it matters if the client gets this answer: with it something counts as arrived."""
        return bool(self.taken or self.told_lost or self.carried)

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
