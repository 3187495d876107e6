"""Whether a client may subscribe to what it asks for; of a long message, in pieces ahead of the step that takes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

from ..errors import BadMessage, ForbiddenChannel, InvalidChannel, ProtocolError
from ..protocol.access import Access, Action, Decision, Grant, Who, refusal
from ..protocol.channels import Grammar, is_meta, is_service
from ..protocol.dialects import Dialect
from ..protocol.messages import Message
from ..protocol.publications import Position
from ..renewals import Renewal
from ..sessions.registry import Registry
from ..sessions.session import Session
from .asked import asked_positions, shows_token
from .grants import Grants
from .limits import Limits
from .names import SUBSCRIBE
from .outcome import Checked, Incoming, Request

#: How many patterns of a message `Checks.check` checks at a time: they take 1.5 µs each, and fewer are checked at a
#: time where each takes longer (`Access.piece`). Of messages with more patterns than this the decisions are not
#: remembered.
FEW_PATTERNS = 100

#: How many names may be checked against the access rules in one go, whatever the rules and claims are.
FEW_GRANTED = 10


class Checks:
    """Checks the subscriptions of one realm's clients."""

    def __init__(
        self,
        registry: Registry,
        access: Access,
        grammar: Grammar,
        dialect: Dialect,
        limits: Limits,
        grants: Grants,
        incoming: Sequence[Incoming],
    ) -> None:
        self._registry = registry
        self.access = access
        self._grammar = grammar
        self._dialect = dialect
        self._limits = limits
        self._grants = grants
        self._incoming = incoming

    def is_long(self, message: object) -> bool:
        """Whether a message asks for so much that `check` should be called for it before `step`, until it is done."""
        if not isinstance(message, dict) or message.get("channel") != SUBSCRIBE:
            return False
        return self._asks_much(message) or self._renews_much(message)

    def _asks_much(self, message: Message) -> bool:
        asked = message.get("subscription")
        if not isinstance(asked, list) or not FEW_GRANTED < len(asked) <= self._limits.max_subscriptions:
            return False
        if len(asked) > FEW_PATTERNS or shows_token(message):
            return True
        session = self._registry.peek(message.get("clientId"))
        if session is None or self.access.is_short(len(asked), session.who):
            return False
        names = [each for each in asked if isinstance(each, str)]
        return len(self.access.piece(names, 0, len(names), session.who)) < len(names)

    def _renews_much(self, message: Message) -> bool:
        if not shows_token(message) or (session := self._registry.peek(message.get("clientId"))) is None:
            return False
        unacked = sum(len(items) for _, items in session.unacked or ())
        return len(session.patterns) + len(session.queue or ()) + unacked > FEW_GRANTED

    def check(self, request: Request) -> bool:
        """If the next message is long, check a part of it ahead of `step`. True if there is more to check.

        `step` then has less to do at once, and does the same as without: it uses what was found only if the message and
        its sender are still the same. Changes no state, raises nothing.
        """
        number = request.taken
        if number >= min(len(request.messages), self._limits.max_messages):
            return False
        message = request.messages[number]
        if not isinstance(message, dict) or message.get("channel") != SUBSCRIBE or request.handshake is not None:
            return False
        if request.renewal is None and self._renews_much(message):
            request.renewal = self._begin_renewal(message)
        if request.renewal is not None and request.renewal.ask_some():
            return True
        checked = request.checked
        if checked is None:
            checked = request.checked = self._begin_check(message, request.patterns)
        elif checked.refused is not None or checked.forbidden is not None:
            return False
        return checked is not None and self._check_some(checked, request)

    def _begin_renewal(self, message: Message) -> Renewal | None:
        session = self._registry.peek(message.get("clientId"))
        try:
            return None if session is None else self._grants.renewal(session, message["ext"]["token"])
        except ProtocolError:
            # `step` meets it too.
            return None

    def _begin_check(self, message: Message, patterns: int) -> Checked | None:
        # What will be refused anyway, without looking into it, needs no check either.
        if (
            not self._asks_much(message)
            or self._registry.peek(message.get("clientId")) is None
            or patterns + len(message["subscription"]) > 2 * self._limits.max_subscriptions
        ):
            return None
        return Checked(tuple(message["subscription"]))

    def _check_some(self, checked: Checked, request: Request) -> bool:
        """Check up to FEW_PATTERNS more: first the form of all patterns, then whether they are allowed."""
        return self._check_allowances(checked, request) if checked.whole else self._check_grammar(checked)

    def _check_grammar(self, checked: Checked) -> bool:
        some = checked.asked[checked.looked : checked.looked + FEW_PATTERNS]
        checked.looked += len(some)
        try:
            checked.names += self._grammar.check_patterns(some)
        except InvalidChannel as error:
            checked.refused = error
            return False
        if checked.whole:
            checked.names = list(dict.fromkeys(checked.names))
        return True

    def _check_allowances(self, checked: Checked, request: Request) -> bool:
        message = request.messages[request.taken]
        if not isinstance(message, dict) or (session := self._registry.peek(message.get("clientId"))) is None:
            return False
        if checked.who is None:
            try:
                checked.who = self.asking(session, self._grants.shown_grant(session, message, request))
            except ProtocolError:
                # `step` meets it too.
                return False
        some = self.access.piece(checked.names, checked.decided, FEW_PATTERNS, checked.who)
        decide = self.access.decide_once if len(checked.names) > FEW_PATTERNS else self.access.decide
        try:
            for pattern in some:
                self._check_allowed(pattern, checked.who, decide)
        except ForbiddenChannel as error:
            checked.forbidden = error
            return False
        if checked.positions is not None:
            found = asked_positions(message, some)
            if all(self._may_recover(channel, checked.who) for channel in found):
                checked.positions |= found
            else:
                checked.positions = None
        checked.decided += len(some)
        return checked.decided < len(checked.names)

    def _may_recover(self, channel: str, who: Who) -> bool:
        return self.access.decide_once("history", channel, who).allowed

    # What a step asks

    def patterns(self, message: Message, request: Request) -> list[str]:
        subscription = message.get("subscription")
        if subscription is None:
            raise BadMessage("subscription", text="Missing field")
        if isinstance(subscription, str):
            return [self._grammar.check_pattern(subscription)]
        asked = subscription if isinstance(subscription, list) else [subscription]
        if not asked:
            raise BadMessage("subscription", text="Empty list")
        # Bounded for a whole request too, else a body of 200 such messages would be half a second's work. Twice the
        # limit, for a client that unsubscribes from all it has and subscribes to as many others.
        request.patterns += len(asked)
        if len(asked) > self._limits.max_subscriptions or request.patterns > 2 * self._limits.max_subscriptions:
            raise ForbiddenChannel(text="Too many subscriptions", limit="subscriptions")
        checked = request.checked
        # An extension may have changed the message since it was checked.
        if checked is not None and checked.asked == tuple(asked):
            if checked.refused is not None:
                raise checked.refused
            if checked.whole:
                return checked.names
        if len(asked) > FEW_PATTERNS:
            return list(dict.fromkeys(self._grammar.check_patterns(asked)))
        return list(dict.fromkeys(map(self._grammar.check_pattern, asked)))

    def asking(self, session: Session, grant: Grant | None) -> Who:
        """Whose rights count for a message. grant: that of the token in the message, if there is one."""
        return session.who if grant is None else Who(session.user, grant)

    def check_all_allowed(self, patterns: list[str], who: Who, request: Request) -> None:
        """Raise ForbiddenChannel for the first pattern that may not be subscribed to."""
        checked = request.checked
        decide, begin = self.access.decide, 0
        if len(patterns) > FEW_PATTERNS:
            decide = self.access.decide_once
        # A decision holds for one `who`: never use one that was made before the session's grant changed.
        if checked is not None and checked.names is patterns and checked.who == who:
            if checked.forbidden is not None:
                raise checked.forbidden
            begin = checked.decided
        for pattern in islice(patterns, begin, None):
            self._check_allowed(pattern, who, decide)

    def _check_allowed(self, pattern: str, who: Who, decide: Callable[[Action, str, Who], Decision]) -> None:
        if is_meta(pattern) or (is_service(pattern) and self._dialect == "faye"):
            raise ForbiddenChannel(pattern)
        decision = decide("subscribe", pattern, who)
        if not decision.allowed:
            raise refusal(decision, pattern)

    def positions(
        self, message: Message, patterns: list[str], who: Who, request: Request
    ) -> tuple[dict[str, Position | None], bool]:
        """As `asked_positions`; and whether `check` has found already that the client may ask for all of them."""
        checked = request.checked
        # An extension may have changed the message since it was checked.
        if checked is None or self._incoming or checked.names is not patterns or checked.who != who:
            return asked_positions(message, patterns), False
        if checked.positions is None or checked.decided < len(patterns):
            return asked_positions(message, patterns), False
        return checked.positions, True
