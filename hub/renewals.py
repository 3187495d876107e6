"""Tokens that take the place of others, or expire: what a session then may hear is asked in pieces. Pure."""

from __future__ import annotations

from .protocol.access import Access, Grant, Verdicts, Who, allows_all_of
from .sessions.session import Session

#: Names that are asked about in one go, where each takes little (`Access.piece`).
_PIECE = 100


class Renewal:
    """A token that is to take the place of a session's, or none that is, before it does: the rules are asked in pieces.

    To ask about a thousand subscriptions and as much that waits takes 3 ms, and a request may do it two hundred times.
    `known` has the answers; what is subscribed to or comes meanwhile is asked about at the end.
    """

    __slots__ = ("_access", "_asked", "_names", "known")

    def __init__(self, access: Access, session: Session, grant: Grant | None) -> None:
        self._access = access
        self._asked = 0
        self._names = [] if allows_all_of(grant, session.grant) else [*session.patterns, *session.waiting]
        self.known = Verdicts(access, Who(session.user, grant))

    def ask_some(self) -> bool:
        """Ask about some names; whether there are more."""
        some = self._access.piece(self._names, self._asked, _PIECE, self.known.who)
        for name in some:
            self.known[name]
        self._asked += len(some)
        return self._asked < len(self._names)
