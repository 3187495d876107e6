"""What the tokens that clients show allow their sessions, and when a newer one takes an older one's place."""

from __future__ import annotations

from collections.abc import Callable

from ..protocol.access import Access, Grant, Verdicts, allows_all_of
from ..protocol.messages import Message
from ..renewals import Renewal
from ..sessions.registry import Registry
from ..sessions.session import Session
from .asked import shows_token
from .outcome import Request


class Grants:
    """The grants of one realm's sessions. wall: gives the seconds since 1970."""

    def __init__(self, registry: Registry, access: Access, wall: Callable[[], float]) -> None:
        self._registry = registry
        self.access = access
        self.wall = wall

    def shown_grant(self, session: Session, message: Message, request: Request) -> Grant | None:
        """What the token of a message allows its session, None without one. Raises as `newer_grant`."""
        if not shows_token(message):
            return None
        return self.newer_grant(session, message["ext"]["token"], _known(request))

    def take_shown(self, session: Session, grant: Grant | None, request: Request) -> None:
        """Let a session do what the token of a request allows, if there is one (`shown_grant`)."""
        if grant is not None and self.take_grant(session, grant, _known(request)):
            request.outcome.granted += (session,)

    def renewal(self, session: Session, token: object) -> Renewal:
        """What is to be asked before a session may have this token, in pieces. Raises BadToken."""
        return Renewal(self.access, session, self.access.grant(token, self.wall()))

    def newer_grant(self, session: Session, token: object, known: Verdicts | None = None) -> Grant:
        """What a token allows that may take the place of the session's. Raises BadToken, or ForbiddenChannel if the
        session subscribes to what an older token allowed and this one does not. known: of a `renewal`.
        """
        grant = self.access.grant(token, self.wall())
        if grant != session.grant:
            self.access.check_newer(grant, session.grant, session.patterns, session.user, known)
        return grant

    def take_grant(self, session: Session, grant: Grant, known: Verdicts | None = None) -> bool:
        """Let a session do what a newer token allows, and nothing else; whether that is new. known: of a `renewal`."""
        older = session.grant
        if grant == older:
            return False
        session.authorize(grant)
        if not allows_all_of(grant, older):
            self._registry.judge_again(session, known)
        return True


def _known(request: Request) -> Verdicts | None:
    return None if request.renewal is None else request.renewal.known
