"""Who is told what happens to sessions: code that embeds the hub, and presence."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Literal, Protocol

from ..protocol.access import Who
from .session import Session

logger = logging.getLogger(__package__)
EventName = Literal["handshake", "subscribe", "unsubscribe", "publish", "disconnect"]
#: Told what happened: the session's id, the channel or pattern (empty for a session), and who it is.
Watcher = Callable[[str, str, Who], None]


class Events:
    """What code that embeds the hub is told. Watchers must not wait; one that raises is logged."""

    def __init__(self) -> None:
        self._watchers: dict[EventName, list[Watcher]] = {}

    def on(self, name: EventName, watcher: Watcher) -> None:
        """Call `watcher` at each of these from now on."""
        self._watchers.setdefault(name, []).append(watcher)

    def tell(self, name: EventName, session: Session, channel: str = "") -> None:
        """Something happened to a session."""
        for watcher in self._watchers.get(name, ()):
            try:
                watcher(session.id, channel, session.who)
            except Exception:
                # Code of the site must not stop the hub.
                logger.exception("watcher failed", extra={"event": name})


class Attendance(Protocol):
    """Keeps account of who is in which channel (`reporter`). Told of every session; must not wait or raise."""

    def came(self, session: Session, pattern: str) -> None:
        """A session has a new subscription."""

    def went(self, session: Session, pattern: str) -> None:
        """A session has a subscription no more."""

    def away(self, session: Session) -> None:
        """A session lost its connection; it may come back."""

    def back(self, session: Session) -> None:
        """A session has a connection; maybe it had one all the time."""

    def renamed(self, session: Session) -> None:
        """A session is perhaps another user's now."""

    def adopted(self, session: Session) -> None:
        """A session that another worker had goes on here."""

    def lost(self) -> None:
        """What other workers said may have been missed."""

    def start(self) -> None:
        """The log is open."""

    async def stop(self) -> None:
        """The log is about to be closed."""
