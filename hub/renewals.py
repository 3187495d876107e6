"""Tokens that are replaced or expire: what the session may then hear is checked in pieces. Pure."""

from __future__ import annotations

from .protocol.access import Access, Grant, Verdicts, Who, allows_all_of
from .sessions.session import Session

#: How many names are checked in one go, where each takes little time (`Access.piece`).
_PIECE = 100


class Renewal:
    """The checks, in pieces, that come before a session's token is replaced by another, or by none.

    To check a thousand subscriptions, and as many publications that wait, takes 3 ms, and a request may ask for that
    two hundred times. known: the decisions so far. What the session subscribes to, or gets, meanwhile is checked at the
    end.
    """

    __slots__ = ("_access", "_asked", "_names", "known")

    def __init__(self, access: Access, session: Session, grant: Grant | None) -> None:
        self._access = access
        self._asked = 0
        self._names = [] if allows_all_of(grant, session.grant) else [*session.patterns, *session.waiting]
        self.known = Verdicts(access, Who(session.user, grant))

    def ask_some(self) -> bool:
        """Check some more names; True if there are others left."""
        some = self._access.piece(self._names, self._asked, _PIECE, self.known.who)
        for name in some:
            self.known[name]
        self._asked += len(some)
        return self._asked < len(self._names)
