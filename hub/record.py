"""A session as other workers find it in the broker. Pure.

The record has what is needed to go on with a session whose owner is gone: what it subscribes to and what its
client certainly has. It is written by one release of the hub and read by another while a fleet is upgraded, so it has
a version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

from .errors import BadMessage, BadWire
from .protocol.access import Grant
from .protocol.messages import dumps, loads
from .protocol.publications import Position
from .sessions.session import Session

#: Of the form of a record. A release that reads a record of another version does not know the session.
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRecord:
    """What is kept of a session.

    positions: by channel, up to where the client certainly has everything. sent: by channel, up to where the last
    answers went, which the next connect says to have arrived or not; answered: that connect's id; connects: the ids of
    the newest connects over HTTP, oldest first. ack: the number of the newest batch, None without CometD's extension.
    grant: what the client's token allows. bearer: the session's, unless grant says it. opened: when the session
    of a site's visitor was, in seconds since 1970. ended: it is kept only so that other workers know that the session
    is no more.
    """

    user: str | None = None
    ended: bool = False
    connected: bool = False
    tracks: bool = False
    patterns: Sequence[str] = ()
    positions: dict[str, str]
    sent: dict[str, str]
    lost: Sequence[str] = ()
    answered: object = None
    connects: Sequence[object] = ()
    ack: int | None = None
    grant: Sequence[Any] | None = None
    bearer: Sequence[Any] | None = None
    opened: float = 0.0

    @classmethod
    def of(cls, session: Session) -> SessionRecord:
        """The record of a session as it is now."""
        delivered = session.delivered or {}
        positions = {name: str(delivered[name]) for name in session.patterns if name in delivered}
        return cls(
            user=session.user,
            connected=session.connected,
            tracks=session.tracks,
            patterns=session.patterns,
            positions=positions,
            # What came by a wildcard is not recovered, and may be of any number of channels.
            sent={
                item.channel: str(item.position)
                for _, items in session.unacked or ()
                for item in items
                if item.channel in positions
            },
            lost=sorted(session.lost or ()),
            answered=session.answered,
            connects=session.connects,
            ack=session.ack,
            grant=None if session.grant is None else astuple(session.grant),
            bearer=None if session.grant is not None and session.grant.user is not None else session.bearer,
            opened=session.opened,
        )

    @classmethod
    def of_ended(cls, session: Session) -> SessionRecord:
        """The record of a session that has ended."""
        return cls.of_one_that_ended(session.user)

    @classmethod
    def of_one_that_ended(cls, user: str | None) -> SessionRecord:
        """The same, of a session of this user's that is remembered no more."""
        return cls(user=user, ended=True, positions={}, sent={})

    def encode(self) -> bytes:
        """As it is kept."""
        # As `asdict` does, which copies every list on its way.
        return dumps({"version": VERSION} | {name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def parse(cls, record: bytes) -> SessionRecord:
        """Read a record. Raises BadWire for one of another version, and for what is none."""
        try:
            found = loads(record)
            version = found.pop("version")
            if version != VERSION:
                raise BadWire(f"session record of version {version}")
            # What an older release does not write has its default.
            return cls(**{name: found[name] for name in _FIELDS if name in found})
        except (AttributeError, BadMessage, KeyError, TypeError, ValueError) as error:
            raise BadWire(f"session record: {error!r}") from None

    def session(self, session_id: str, now: float) -> Session:
        """The session, without its subscriptions and what waits for it. Raises BadWire."""
        try:
            grant = None
            if self.grant is not None:
                channels, publish, expires, user, made = self.grant
                grant = Grant(tuple(channels), tuple(publish), expires, user, made)
            bearer = None
            if self.bearer is not None:
                user, made = self.bearer
                if not isinstance(user, str) or not isinstance(made, float | int | None):
                    raise BadWire("session record: bearer")
                bearer = user, made
            delivered = {name: Position.parse(position) for name, position in self.positions.items()}
        except (BadMessage, TypeError, ValueError) as error:
            raise BadWire(f"session record: {error!r}") from None
        session = Session(session_id, now, self.user, self.opened)
        session.restore(
            grant=grant,
            bearer=bearer,
            connected=self.connected,
            tracks=self.tracks,
            ack=self.ack,
            delivered=delivered,
            connects=self.connects,
        )
        return session

    def restore_sent(self, session: Session) -> None:
        """Once what the client may not have waits in the session's queue: some of it was sent already."""
        sent = {channel: Position.parse(position) for channel, position in self.sent.items()}
        session.resend(sent, self.answered, self.connects)


_FIELDS = tuple(each.name for each in fields(SessionRecord))
