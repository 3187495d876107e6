"""Who is told what happens to sessions: code that embeds the hub, and presence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, Protocol

from ..protocol.access import Who
from .session import Session

logger = logging.getLogger(__package__)
EventName = Literal["handshake", "subscribe", "unsubscribe", "publish", "disconnect"]

#: Called with the session's id, the channel or pattern (empty if it is about the session itself), and who the client
#: is.
Watcher = Callable[[str, str, Who], None]


class Events:
    """Tells code that embeds the hub what happens to sessions. Watchers must not wait; what they raise is logged."""

    def __init__(self) -> None:
        self._watchers: dict[EventName, list[Watcher]] = {}

    def on(self, name: EventName, watcher: Watcher) -> None:
        """Call `watcher` for each of these from now on."""
        self._watchers.setdefault(name, []).append(watcher)

    def tell(self, name: EventName, session: Session, channel: str = "") -> None:
        """Call the watchers: this happened to a session."""
        for watcher in self._watchers.get(name, ()):
            try:
                watcher(session.id, channel, session.who)
            except Exception:
                # Code of the site must not stop the hub.
                logger.exception("watcher failed", extra={"event": name})


class Attendance(Protocol):
    """Counts who is in which channel (`reporter`). It is told about every session, and must not wait or raise."""

    def came(self, session: Session, pattern: str) -> None:
        """A session has a new subscription."""

    def went(self, session: Session, pattern: str) -> None:
        """A session does not have a subscription any more."""

    def away(self, session: Session) -> None:
        """A session lost its connection; it may come back."""

    def back(self, session: Session) -> None:
        """A session has a connection; it may have had one before."""

    def renamed(self, session: Session) -> None:
        """A session may be another user's now."""

    def adopted(self, session: Session) -> None:
        """A session of another worker goes on at this one."""

    def lost(self) -> None:
        """Reports of other workers may have been missed."""

    def start(self) -> None:
        """The log is open."""

    async def stop(self) -> None:
        """The log is about to be closed."""
