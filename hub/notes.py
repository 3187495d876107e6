"""What was published at this worker and by whom, and what became of sessions: the last of each. Pure."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import NamedTuple

from .protocol.publications import Draft, Position, Published

#: Who published, where that is not a client.
SERVER = "a server with the realm's key"
SITE = "the site"

#: Characters of the channel names that nobody is told of.
_META = "/meta/"

#: Sessions without their link of which it is noted when they go on.
_MOST_LOOSE = 10_000


class Note(NamedTuple):
    """Something that was published here. at: seconds since 1970. by: SERVER, SITE, or the key of a client's draft."""

    at: float
    channel: str
    position: Position
    by: str
    repeated: bool


class Event(NamedTuple):
    """Something that happened to a session. at: seconds since 1970. user and address: whose it was, as far as known."""

    at: float
    session: str
    what: str
    user: str
    address: str


class Notes:
    """So many of each, about 250 bytes a note. ends: how often sessions ended, by reason.

    loose: sessions that have lost their link and not been heard of since, some of them.
    """

    __slots__ = ("_most", "_published", "ends", "events", "loose")

    def __init__(self, most: int) -> None:
        self._most = most
        # As `Note`, but plain: to make one of its own class takes three times as long.
        self._published: deque[tuple[float, str, Position, str, bool]] = deque(maxlen=most)
        self.events: deque[Event] = deque(maxlen=most)
        self.ends: Counter[str] = Counter()
        self.loose: dict[str, None] = {}

    def note(self, drafts: Sequence[Draft], published: Sequence[Published], by: str, at: float) -> None:
        """These were published here. by: empty for clients, whose drafts' keys say who they are."""
        if not self._most:
            return
        self._published.extend(
            [
                (at, channel, position, by or draft[2] or "", repeated)
                for draft, (position, repeated) in zip(drafts, published, strict=True)
                if not (channel := draft[0]).startswith(_META)
            ]
        )

    def find(self, channel: str, position: Position) -> Note | None:
        """What was noted of a publication; None if that was nothing, or is forgotten."""
        for note in reversed(self._published):
            if note[2] == position and note[1] == channel:
                return Note(*note)
        return None

    def happened(self, session: str, what: str, at: float, user: str | None = None, address: str = "") -> None:
        """Something happened to a session."""
        self.events.append(Event(at, session, what, user or "", address))

    def unlinked(self, session: str) -> None:
        """A session has lost its link."""
        self.loose[session] = None
        if len(self.loose) > _MOST_LOOSE:
            del self.loose[next(iter(self.loose))]
