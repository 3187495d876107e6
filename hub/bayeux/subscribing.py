"""Subscribe and unsubscribe."""

from __future__ import annotations

import math
from collections.abc import Collection

from ..errors import ForbiddenChannel
from ..protocol.access import Access
from ..protocol.channels import is_service
from ..protocol.messages import Message
from ..sessions.registry import Registry, size_of
from ..sessions.session import Session
from ..tentative import Tentative
from .asked import asked_replays, session_of
from .checks import Checks
from .grants import Grants
from .limits import Crowd, Limits
from .outcome import Change, Recovery, Request


class Subscribing:
    """The subscriptions of one realm's clients.

    tentative: subscriptions that are not saved in the broker yet; None where sessions are not saved.
    """

    def __init__(
        self, registry: Registry, access: Access, limits: Limits, crowd: Crowd, checks: Checks, grants: Grants
    ) -> None:
        self._registry = registry
        self.access = access
        self._limits = limits
        self._crowd = crowd
        # Bound once: each is needed for every subscribe.
        self._patterns = checks.patterns
        self._asking = checks.asking
        self._check_all_allowed = checks.check_all_allowed
        self._positions = checks.positions
        self._shown_grant = grants.shown_grant
        self._take_shown = grants.take_shown
        self.tentative: Tentative | None = None

    # MUST: channel, clientId, subscription (string or array). MAY: ext, id.
    def subscribe(self, message: Message, reply: Message, request: Request) -> None:
        session = session_of(self._registry, message)
        # All are checked before any is added, so that a refused message has changed nothing.
        patterns = self._patterns(message, request)
        grant = self._shown_grant(session, message, request)
        who = self._asking(session, grant)
        self._check_all_allowed(patterns, who, request)
        asked, is_allowed = self._positions(message, patterns, who, request)
        replays = asked_replays(message, patterns)
        for channel in replays if is_allowed else (*asked, *replays):
            if not self.access.may_recover(channel, who):
                raise ForbiddenChannel(channel, text="Forbidden channel - no history")
        new = self.check_room(session, patterns)
        # Only now: after a refused message the session is not saved, and a worker that takes it over would have the
        # older grant.
        self._take_shown(session, grant, request)
        session.touch(request.now)
        # A service channel has no subscribers, but CometD clients subscribe to be tidy.
        heard = [pattern for pattern in new if pattern[:8] != "/service" or not is_service(pattern)]
        self._registry.subscribe_all(session, heard)
        self._change(request, session, reply, patterns, new, on=True)
        reply["clientId"] = session.id
        reply["subscription"] = message["subscription"]
        if asked or replays:
            reply["ext"] = {"position": {}, "recovered": {}}
            # A client that asks only for a replay keeps no positions; it is told of lost publications another way.
            if asked:
                session.track()
            for channel, since in asked.items():
                session.begin_recovery()
                request.outcome.recoveries.append(Recovery(session, channel, since, reply))
            for channel, replay in replays.items():
                if channel not in asked:
                    session.begin_recovery()
                    request.outcome.recoveries.append(Recovery(session, channel, None, reply, replay))
        request.outcome.replies.append(reply)

    # As subscribe.
    def unsubscribe(self, message: Message, reply: Message, request: Request) -> None:
        session = session_of(self._registry, message)
        patterns = self._patterns(message, request)
        session.touch(request.now)
        removed = self._registry.unsubscribe_all(session, patterns)
        self._change(request, session, reply, patterns, removed, on=False)
        reply["clientId"] = session.id
        reply["subscription"] = message["subscription"]
        request.outcome.replies.append(reply)

    def check_room(self, session: Session, patterns: Collection[str]) -> list[str]:
        """The patterns that a session does not have yet; raises ForbiddenChannel if they would be too many."""
        new = self._registry.news(session, patterns)
        if len(session.patterns) + len(new) > self._limits.max_subscriptions:
            raise ForbiddenChannel(new[0], text="Too many subscriptions", limit="subscriptions")
        share = self._crowd.share(self._limits.subscription_bytes)
        if new and share < math.inf and size_of(session.patterns) + size_of(new) > share:
            raise ForbiddenChannel(new[0], text="Too many subscriptions at this server", limit="subscriptions")
        return new

    def _change(
        self, request: Request, session: Session, reply: Message, asked: list[str], changed: list[str], *, on: bool
    ) -> None:
        """Note a change of subscriptions, for the node to save it; undone if that fails (`Tentative`)."""
        flips = [] if self.tentative is None else self.tentative.begin(session, asked, changed, on=on)
        request.outcome.changed.append(Change(session, reply, flips))
