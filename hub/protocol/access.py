"""Who may do what: rules by channel pattern. Pure; the caller says who asks and what time it is.

A *rule* names channels and says, for each *action* (subscribe, publish, history, presence), what it takes:
`open` nothing, `token` a token whose claims name the channel, `session` a visitor whom the site
knows, `closed` is for nobody but holders of the realm's key. The first rule that matches a name and
says something of the action decides. What no rule decides: anyone subscribes, nobody publishes
from a browser, `private-*` takes a token, and nobody sees who is there.

A rule's pattern is a channel pattern whose segments may have `*` within: `private-*`, `team/*/news`,
`team/**`. A subscription with a wildcard is decided by the first rule that covers all of it; names
in it that take more are not delivered to who lacks it (`Access.guards`, `Access.may_hear`).

Once a rule lets somebody see who is in a channel `/x`, names under `/presence/` are the hub's: hearing
`/presence/x` takes what `presence` of `/x` takes, and only the hub publishes there.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeGuard, get_args
from weakref import WeakValueDictionary

from ..errors import BadToken, ForbiddenChannel, SettingsError
from . import tokens
from .channels import MAX_CHARS, is_meta, is_service, is_whole, is_wild, overlaps
from .remembered import Remembered

Action = Literal["subscribe", "publish", "history", "presence"]
Need = Literal["open", "token", "session", "closed"]

ACTIONS: tuple[Action, ...] = get_args(Action)
NEEDS: tuple[Need, ...] = get_args(Need)

#: Where the hub says who comes to a channel and goes: this and the channel's name.
PRESENCE = "/presence"

#: Patterns a token may name; more is a mistake, and would be kept for as long as the session.
MAX_CLAIMED = 100

#: Users whose older tokens are refused; beyond that the first are let in again.
MAX_REVOKED = 10_000

#: Of a token's patterns so many are compared one by one.
_FEW_CLAIMS = 4

#: Microseconds that judging names takes in one piece, and what each takes (`Access.piece`): beside the look-up, for
#: each pattern of a rule half of one, and four if what is asked about is a wildcard of many segments (`hides` too).
_PIECE_COST = 500

_RULE_PATTERN = re.compile(r"(?:/[^/\x00-\x1f\x7f]+)+")


class Claims:
    """What a token's patterns cover. They are found by what they begin with: to compare a hundred took 20 µs a name.

    weight: how long asking takes, about in microseconds.
    """

    __slots__ = ("__weakref__", "_exact", "_few", "_heads", "_last", "weight")

    def __init__(self, patterns: tuple[str, ...]) -> None:
        self._few = patterns if len(patterns) <= _FEW_CLAIMS else ()
        heads: dict[int, dict[str, list[tuple[str, str]]]] = {}
        exact = set()
        for pattern in () if self._few else patterns:
            head, star, _ = pattern.partition("*")
            if star:
                heads.setdefault(len(head), {}).setdefault(head, []).append((pattern, pattern.rpartition("*")[2]))
            else:
                exact.add(pattern)
        self._exact = frozenset(exact)
        self._heads = tuple(heads.items())
        # The last answer: thousands of sessions share these claims and ask about the same name.
        self._last = ("", False)
        longest = max((len(found) for by_head in heads.values() for found in by_head.values()), default=0)
        self.weight = 1 + len(self._few) + len(heads) // 4 + longest

    def cover(self, pattern: str) -> bool:
        """Whether one of them covers a name or a pattern (`covers`)."""
        last, covered = self._last
        if last != pattern:
            covered = pattern in self._exact or self._finds(pattern)
            self._last = (pattern, covered)
        return covered

    def _finds(self, pattern: str) -> bool:
        for size, by_head in self._heads:
            # A pattern covers nothing that does not begin with what is before its first star, and end with what is
            # behind its last.
            for claim, tail in by_head.get(pattern[:size], ()):
                if pattern.endswith(tail) and covers(claim, pattern):
                    return True
        return any(covers(claim, pattern) for claim in self._few)


#: Claims by patterns, shared by tokens that name the same, as most tokens of a site do.
_CLAIMS: WeakValueDictionary[tuple[str, ...], Claims] = WeakValueDictionary()


def _claims_of(patterns: tuple[str, ...]) -> Claims:
    claims = _CLAIMS.get(patterns)
    if claims is None:
        claims = _CLAIMS[patterns] = Claims(patterns)
    return claims


class _Indexed:
    """Slots for the claims of a grant: made on first use, as most grants serve one request, and never compared."""

    __slots__ = ("_hears", "_publishes")

    _hears: Claims
    _publishes: Claims


@dataclass(frozen=True, slots=True)
class Grant(_Indexed):
    """What a listener's token allows: patterns to hear and to publish to, until `expires` (seconds since 1970).

    made: when, if it says so (`iat`).
    """

    channels: tuple[str, ...]
    publish: tuple[str, ...]
    expires: float
    user: str | None = None
    made: float | None = None

    @property
    def hears(self) -> Claims:
        """What it names to be heard."""
        try:
            return self._hears
        except AttributeError:
            object.__setattr__(self, "_hears", _claims_of(self.channels))
            return self._hears

    @property
    def publishes(self) -> Claims:
        """What it names to be published to."""
        try:
            return self._publishes
        except AttributeError:
            object.__setattr__(self, "_publishes", _claims_of(self.publish))
            return self._publishes


@dataclass(frozen=True, slots=True)
class Who:
    """Who asks: the site's visitor, if it knows one, and what a token of theirs allows."""

    visitor: str | None = None
    grant: Grant | None = None


NOBODY = Who()


@dataclass(frozen=True, slots=True)
class Rule:
    """What it takes to do something with the channels that match. `source` says where it was written."""

    patterns: tuple[str, ...]
    needs: Mapping[Action, Need]
    source: str

    def matches(self, name: str) -> bool:
        """Whether a name, or everything a subscription's pattern matches, is this rule's."""
        return any(covers(pattern, name) for pattern in self.patterns)

    def touches(self, pattern: str) -> bool:
        """Whether some name of a subscription's pattern is this rule's."""
        return any(_touch(own, pattern) for own in self.patterns)

    def __str__(self) -> str:
        return f"{self.source}: {', '.join(pattern[1:] for pattern in self.patterns)}"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, by which rule, and in words why."""

    allowed: bool
    need: Need
    rule: Rule
    why: str


_TO_STRANGERS: Mapping[Need, str] = {
    "open": "open to anyone",
    "closed": "closed: only servers with the realm's key",
    "session": "needs to be signed in",
    "token": "needs a token",
}

DEFAULTS = (
    Rule(("/private-*", "/private-*/**"), {"subscribe": "token", "publish": "closed"}, "default"),
    Rule(("/**",), {"subscribe": "open", "publish": "closed", "presence": "closed"}, "default"),
)

#: Nobody but the hub says who is where, and nobody is told who asks that.
_PRESENCE_RULE = Rule((PRESENCE + "/**",), {"publish": "closed", "presence": "closed"}, "presence")


class Access:
    """Decides about subscribing and publishing of clients. Publishing with the realm's key is not its business.

    client_publish: patterns that any browser may publish to. rules: as `parse_rules` gives them.
    realm, keys, leeway: what listeners' tokens are checked with. place: where client_publish is written.
    """

    def __init__(
        self,
        client_publish: Sequence[str] = (),
        rules: Sequence[Rule] = (),
        *,
        realm: str = "",
        keys: Sequence[bytes] = (),
        leeway: float = 0.0,
        place: str = "HUB_CLIENT_PUBLISH",
    ) -> None:
        own = (Rule(tuple(client_publish), {"publish": "open"}, place),) if client_publish else ()
        self.rules = (*own, *rules, *DEFAULTS)
        #: Whether some rule lets somebody see who is in some channel.
        self.has_presence = any(rule.needs.get("presence", "closed") != "closed" for rule in self.rules)
        if self.has_presence:
            self.rules = (_PRESENCE_RULE, *self.rules)
        self._realm = realm
        self._keys = tuple(keys)
        self._leeway = leeway
        self._revoked: dict[str, float] = {}
        # The rules that say something of an action, each as one expression for the names that are its own, with what
        # it decides about strangers.
        self._deciding = {action: tuple(_deciding(self.rules, action)) for action in ACTIONS}
        # Names repeat; a rule's patterns are looked at once for each.
        self._of_stranger = {action: Remembered[str, Decision](partial(self._find, action)) for action in ACTIONS}
        self._guarded = Remembered[str, bool](self._guards)
        # What else it takes to hear all that a wildcard stands for: to look at every rule took 30 to 120 µs.
        self._within = Remembered[str, tuple[Need, ...]](self._find_within)
        self._patterns = sum(len(rule.patterns) for rule in self.rules)

    def decide(self, action: Action, pattern: str, who: Who = NOBODY) -> Decision:
        """Whether `who` may do this with a channel or, for subscriptions, with a pattern."""
        action, pattern = self._meant(action, pattern)
        return self._for(self._of_stranger[action][pattern], action, pattern, who)

    def decide_once(self, action: Action, pattern: str, who: Who = NOBODY) -> Decision:
        """As `decide`, for one of many names, which are not remembered (see `Grammar.check_patterns`)."""
        action, pattern = self._meant(action, pattern)
        return self._for(self._find(action, pattern), action, pattern, who)

    def _for(self, decision: Decision, action: Action, pattern: str, who: Who) -> Decision:
        """What is decided about somebody, by what is decided about strangers."""
        rule, need, grant = decision.rule, decision.need, who.grant
        if need == "session" and who.visitor is not None:
            return Decision(True, need, rule, "the site knows the visitor")
        if need == "token" and grant is not None:
            claims = grant.publishes if action == "publish" else grant.hears
            named = claims.cover(pattern)
            return Decision(named, need, rule, "the token names it" if named else "the token does not name it")
        return decision

    def piece(self, names: Sequence[str], begin: int, most: int, who: Who = NOBODY) -> Sequence[str]:
        """Those of some names, from a place on, that are judged in one go: `most` where rules and claims are few."""
        some = names[begin : begin + most]
        if self.is_short(len(some), who):
            return some
        left, costs = _PIECE_COST, self._costs(who)
        for number, name in enumerate(some):
            left -= costs["*" in name]
            if left <= 0:
                return some[: number + 1]
        return some

    def is_short(self, count: int, who: Who = NOBODY) -> bool:
        """Whether so many are judged in one go, wildcards all of them."""
        return count * self._costs(who)[True] <= _PIECE_COST

    def _costs(self, who: Who) -> tuple[int, int]:
        """About how many microseconds a name takes, and a wildcard."""
        claims = 1 if who.grant is None else 1 + who.grant.hears.weight
        return claims + self._patterns // 2, claims + 4 * self._patterns

    def may_subscribe(self, pattern: str, who: Who = NOBODY) -> bool:
        """Whether a client may subscribe. A pattern may match names it does not hear then: see `may_hear`."""
        action, meant = self._meant("subscribe", pattern)
        decision = self._of_stranger[action][meant]
        # To put it in words, as `decide` does, takes longer than to find it out.
        if decision.need == "token" and who.grant is not None:
            return who.grant.hears.cover(meant)
        return decision.allowed or (decision.need == "session" and who.visitor is not None)

    def may_publish(self, channel: str, who: Who = NOBODY) -> bool:
        """Whether a client may publish to this channel."""
        return self.decide("publish", channel, who).allowed

    def may_recover(self, channel: str, who: Who = NOBODY) -> bool:
        """Whether a client may have what was published before it subscribed."""
        return self.decide("history", channel, who).allowed

    def may_hear(self, channel: str, who: Who = NOBODY) -> bool:
        """Whether what is published to this channel may be delivered to a subscriber with a wildcard."""
        return self.may_subscribe(channel, who)

    def guards(self, channel: str) -> bool:
        """Whether a channel is not for every subscriber: wildcards then reach only those who may hear it."""
        return self._guarded[channel]

    def _guards(self, channel: str) -> bool:
        action, meant = self._meant("subscribe", channel)
        return self._of_stranger[action][meant].need != "open"

    def unheard(self, pattern: str) -> list[str]:
        """What a subscriber with a wildcard may not hear of all that it stands for, in words, a rule each."""
        action, meant = self._meant("subscribe", pattern)
        found = [f"what takes {need} in [{rule}]" for rule, need in self._closer(action, meant)]
        if self.has_presence and pattern == "/**":
            # The only pattern that has `/presence/…` in it and other names too.
            found += [f"who is in what takes {need} in [{rule}]" for rule, need in self._closer("presence", pattern)]
        return found

    def hides(self, pattern: str, who: Who) -> bool:
        """Whether a subscription with a wildcard does not hear some of the names that it stands for.

        Those that say who is in a channel don't count: they are the hub's own.
        """
        for need in self._within[pattern]:
            allowed = need == "session" and who.visitor is not None
            if not allowed and not (need == "token" and who.grant is not None and who.grant.hears.cover(pattern)):
                return True
        return False

    def _find_within(self, pattern: str) -> tuple[Need, ...]:
        return tuple(dict.fromkeys(need for _, need in self._closer(*self._meant("subscribe", pattern))))

    def _closer(self, action: Action, pattern: str) -> Iterator[tuple[Rule, Need]]:
        for rule in self.rules:
            need = rule.needs.get(action, "open")
            own = rule is _PRESENCE_RULE
            if need != "open" and rule.touches(pattern) and not rule.matches(pattern) and not own:
                yield rule, need

    def keeps_presence(self, channel: str) -> bool:
        """Whether account is kept of who is in this channel: somebody may see it, and it is a name of a site's own."""
        return (
            self.has_presence
            and not (is_wild(channel) or is_meta(channel) or is_service(channel))
            and self._of_stranger["presence"][channel].need != "closed"
        )

    def is_presence(self, pattern: str) -> bool:
        """Whether this is where the hub says who is in a channel."""
        return self.has_presence and pattern.startswith(PRESENCE + "/")

    def _meant(self, action: Action, pattern: str) -> tuple[Action, str]:
        """The action and the channel that rules are asked about: to hear `/presence/x` is to see who is in `/x`."""
        if self.is_presence(pattern) and action in ("subscribe", "history"):
            return "presence", pattern[len(PRESENCE) :]
        return action, pattern

    def grant(self, token: object, now: float) -> Grant:
        """What a listener's token allows; raises BadToken. now: seconds since 1970.

        Its claims: `iss`, the realm; `exp`; `channels` and, for publishing, `publish`, each a list of
        names or patterns; `sub`, the user, if there is one.
        """
        if not isinstance(token, str):
            raise BadToken(text="Token must be a string")
        claims = tokens.verify(token, self._realm, self._keys, now, leeway=self._leeway)
        # Sites write "" for visitors who are not signed in, and no kick can name it.
        user = None if claims.all.get("sub") == "" else claims.all.get("sub")
        if user is not None and not (isinstance(user, str) and len(user) <= MAX_CHARS and is_whole(user)):
            raise BadToken(text="sub of the token is not a short string")
        made = claims.all.get("iat")
        # An `iat` in the future is ignored: in milliseconds, as JavaScript has them, it would outlive every kick. So is
        # one that a session's record can't hold: -1e400, or 2,500 digits. RFC 7519 §4.1.6 has no token refused for it.
        if not _is_number(made) or not -tokens.MAX_SECONDS < made <= now + self._leeway:
            made = None
        if self.is_revoked(user, made):
            raise BadToken(text="Token revoked")
        return Grant(
            _claimed(claims.all, "channels"), _claimed(claims.all, "publish"), claims.expires + self._leeway, user, made
        )

    def is_revoked(self, user: str | None, made: float | None) -> bool:
        """Whether this user was sent away since then; None counts as long ago. made: seconds since 1970."""
        revoked = None if user is None else self._revoked.get(user)
        return revoked is not None and (made is None or made <= revoked)

    def check_newer(
        self,
        grant: Grant,
        older: Grant | None,
        patterns: Iterable[str],
        visitor: str | None,
        known: Verdicts | None = None,
    ) -> None:
        """Raise unless a token may take the place of another, which allowed what is subscribed to.

        A subscription must not outlive the token that allowed it, nor a session the name by which it can be sent away:
        raises BadToken for another user's token, ForbiddenChannel for one that does not allow some pattern. known: what
        was asked already.
        """
        if older is None:
            return
        if older.user is not None and grant.user != older.user:
            raise BadToken(text="Token is of another user - handshake first")
        if allows_all_of(grant, older):
            return
        if known is None or known.who != Who(visitor, grant):
            known = Verdicts(self, Who(visitor, grant))
        for pattern in patterns:
            if not known[pattern]:
                raise ForbiddenChannel(pattern, text="Forbidden channel - subscribed and not named by the newer token")

    def revoke(self, user: str, at: float) -> None:
        """Refuse this user's tokens that were made (`iat`) up to `at`, or don't say when; for MAX_REVOKED users."""
        self._revoked[user] = max(at, self._revoked.pop(user, at))
        if len(self._revoked) > MAX_REVOKED:
            del self._revoked[next(iter(self._revoked))]

    def _find(self, action: Action, pattern: str) -> Decision:
        """What is decided about somebody of whom nothing is known."""
        wild = "*" in pattern
        for names, decision in self._deciding[action]:
            if decision.rule.matches(pattern) if wild else names.fullmatch(pattern):
                return decision
        raise AssertionError("the last rule matches everything")


class Verdicts(dict[str, bool]):
    """What somebody may hear, asked once for each name or pattern. For as long as a request: it has no bound."""

    def __init__(self, access: Access, who: Who) -> None:
        super().__init__()
        self._access = access
        self.who = who

    def __missing__(self, name: str) -> bool:
        allowed = self[name] = self._access.may_subscribe(name, self.who)
        return allowed


def allows_all_of(grant: Grant | None, older: Grant | None) -> bool:
    """Whether one token allows to hear whatever another does, seen by the patterns alone."""
    if older is None or not older.channels:
        return True
    return grant is not None and (grant.channels == older.channels or {*grant.channels}.issuperset(older.channels))


def _deciding(rules: Iterable[Rule], action: Action) -> Iterator[tuple[re.Pattern[str], Decision]]:
    for rule in rules:
        # Who says nothing of history means: as one may subscribe.
        need = rule.needs.get(action) or (rule.needs.get("subscribe") if action == "history" else None)
        if need is not None:
            unkept = need == "closed" and action == "presence"
            why = "closed: no account is kept" if unkept else _TO_STRANGERS[need]
            names = re.compile("|".join(map(_names, rule.patterns)))
            yield names, Decision(need == "open", need, rule, why)


def refusal(decision: Decision, pattern: str) -> ForbiddenChannel:
    """The error that tells a client about a decision."""
    if decision.need == "token":
        return ForbiddenChannel(pattern, text=f"Forbidden channel - {decision.why}")
    return ForbiddenChannel(pattern)


def covers(rule: str, pattern: str) -> bool:
    """Whether every name that a subscription's pattern matches is matched by a rule's pattern."""
    # Those of tokens are compared as they are: to make expressions of a hundred took 4 ms, and 15 with many stars.
    head, star, tail = rule.partition("*")
    if not star:
        return rule == pattern
    if "*" not in pattern:
        if not pattern.startswith(head):
            return False
        return (tail == "*" and head[-1] == "/") or _covers_name(rule, pattern)
    own, asked = rule.split("/")[1:], pattern.split("/")[1:]
    for at, segment in enumerate(own):
        if segment == "**" and at == len(own) - 1:
            return len(asked) > at
        if at >= len(asked) or asked[at] == "**":
            return False
        if asked[at] == "*" and is_wild(pattern) and at == len(asked) - 1:
            if segment != "*":
                return False
        elif not _fits(segment, asked[at]):
            return False
    return len(own) == len(asked)


def _covers_name(rule: str, name: str) -> bool:
    own, asked = rule.split("/"), name.split("/")
    if own[-1] == "**":
        own.pop()
        if len(asked) <= len(own):
            return False
    elif len(asked) != len(own):
        return False
    return all(map(_fits, own, asked))


def _fits(glob: str, segment: str) -> bool:
    """Whether a segment of a rule's pattern matches one of a name: what is between stars, where it comes first."""
    first, *rest = glob.split("*")
    if not rest:
        return glob == segment
    if not segment.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        at = segment.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return len(segment) - at >= len(rest[-1]) and segment.endswith(rest[-1])


def parse_rules(text: str, source: str = "HUB_RULES") -> tuple[Rule, ...]:
    """The rules of a TOML file, in order; raises SettingsError that says which rule and why.

    [[rule]]
    channels = ["team-*", "team/**"]
    subscribe = "token"
    publish = "closed"
    history = "closed"
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{source}: not TOML: {error}") from None
    # `histories` reads these.
    table.pop("history", None)
    entries = table.pop("rule", [])
    if table or not isinstance(entries, list):
        raise SettingsError(
            f"{source}: has {', '.join(sorted(table)) or 'rule'}; only [[rule]] and [[history]] tables are known"
        )
    return tuple(_rule(entry, f"{source} rule {number}") for number, entry in enumerate(entries, 1))


def _rule(entry: object, where: str) -> Rule:
    patterns, entry = read_table(entry, where, ACTIONS)
    needs: dict[Action, Need] = {}
    for action in ACTIONS:
        if action in entry:
            need = entry[action]
            if need not in NEEDS:
                raise SettingsError(f"{where}: {action} is not one of {', '.join(NEEDS)}")
            needs[action] = need
    return Rule(patterns, needs, where)


def read_table(entry: object, where: str, names: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """The patterns of a table of a rules file, and the table, which says one of `names` at least and nothing else.

    Raises SettingsError that begins with `where`.
    """
    if not isinstance(entry, dict):
        raise SettingsError(f"{where}: is not a table")
    channels = entry.get("channels")
    if not isinstance(channels, list) or not channels or not all(isinstance(each, str) for each in channels):
        raise SettingsError(f"{where}: channels is not a list of patterns")
    unknown = sorted(set(entry) - {"channels", *names})
    if unknown:
        raise SettingsError(f"{where}: {', '.join(unknown)} is unknown; there are {', '.join(names)}")
    if len(entry) < 2:
        raise SettingsError(f"{where}: says neither of {', '.join(names)}")
    return tuple(_pattern(each, where) for each in channels), entry


def _pattern(text: str, where: str) -> str:
    pattern = text if text.startswith("/") else "/" + text
    if _RULE_PATTERN.fullmatch(pattern) is None or "**" in pattern.removesuffix("/**"):
        raise SettingsError(f"{where}: {text!r} is not a pattern such as team-*, team/*/news or team/**")
    return pattern


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _claimed(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = claims.get(name, [])
    if not isinstance(value, list) or len(value) > MAX_CLAIMED or not all(isinstance(each, str) for each in value):
        raise BadToken(text=f"{name} of the token is not a list of up to {MAX_CLAIMED} channels")
    found = tuple(each if each.startswith("/") else "/" + each for each in value)
    if any(len(each) > MAX_CHARS or "**" in each.removesuffix("/**") or not is_whole(each) for each in found):
        raise BadToken(text=f"{name} of the token has a pattern that is none")
    return found


def _touch(rule: str, pattern: str) -> bool:
    if not is_wild(pattern):
        return covers(rule, pattern)
    # A segment with a `*` within may be anything a wildcard stands for, and nothing it does not match.
    mine, asked = rule.split("/"), pattern.split("/")
    for at, (own, other) in enumerate(zip(mine, asked, strict=False)):
        if "*" in own.replace("**", "") and own != "*" and other not in ("*", "**"):
            mine[at] = other if _fits(own, other) else own
        elif "*" in own and own not in ("*", "**"):
            mine[at] = "*"
    return overlaps("/".join(mine), pattern)


def _names(rule: str) -> str:
    """An expression for the names that a rule's pattern matches."""
    *parents, last = rule.split("/")[1:]
    segments = [*map(_glob, parents), r"[\s\S]*" if last == "**" else _glob(last)]
    return "".join("/" + segment for segment in segments)


def _glob(segment: str) -> str:
    # What stands between two stars may as well be found where it comes first; atomic groups then keep several stars
    # from trying every way to share a name among them (a name of 150 dashes took 3 s with `room-*-*-*-*-*`).
    first, *rest = (re.escape(part) for part in segment.split("*"))
    if not rest:
        return first
    *between, last = rest
    return first + "".join(f"(?>[^/]*?{part})" for part in between) + "[^/]*" + last
