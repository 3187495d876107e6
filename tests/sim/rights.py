"""Clients with tokens, a site that gives them, and an operator who sends users away: what was allowed when.

Channels that take a token are heard only by a session whose newest token names them, has not expired, and is of
nobody who was sent away since it was made. `Rights` keeps account of which tokens were shown in which session, and
looks at each publication at the moment in which a worker writes it to a client: what is on its way then may arrive. A
message that was on its way inside the hub has GRACE.

Which of two tokens is the newest nobody can say if they were shown at the same time; then what either allows is
allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from hub.protocol import tokens
from hub.protocol.access import Access, Rule, covers

from .books import Batch, Books
from .clients import Ask, Client
from .hosts import Exchange, Host, Socket, Stream, Wires
from .listeners import Listener
from .world import World

CHANNELS = ("/a", "/private-a", "/presence/private-b")
GUARDED = frozenset(CHANNELS[1:])

#: Seconds from when a right ends to when nothing is written any more that it allowed. What a worker has read and not
#: delivered, an answer on its way from its owner, half a second of the wheel; and where calls to Redis failed, the
#: second after which a worker asks again who was sent away.
GRACE = 2.5

REALM, KEY = "sim", bytes(range(32))

_RULES = (Rule(("/private-*",), {"subscribe": "token", "publish": "token", "presence": "token"}, "simulated"),)

#: Seconds that a token is good for, and seconds for which the site gives nothing to who was sent away.
_LIVES = (1.0, 2.0, 4.0, 8.0, 60.0)
_BAN = 4.0


def new_access() -> Access:
    """The rules of one worker. Who was sent away each of them learns by itself."""
    return Access(["/a"], _RULES, realm=REALM, keys=[KEY])


def wall(world: World) -> float:
    """Seconds since 1970, as workers know them."""
    return world.now + 1.7e9


@dataclass(frozen=True, slots=True)
class Token:
    """What the site gave. made, expires: seconds since 1970."""

    text: str
    user: str | None
    channels: tuple[str, ...]
    publish: tuple[str, ...]
    made: float
    expires: float

    def names(self, channel: str) -> bool:
        return any(covers(claim, channel.removeprefix("/presence")) for claim in self.channels)


class Showing:
    """One time that a token was sent to a worker. taken: whether it was accepted, None where nobody can say."""

    __slots__ = ("id", "sent", "settled", "taken", "token")

    def __init__(self, token: Token, sent: float, id: object) -> None:
        self.token = token
        self.sent = sent
        self.id = id
        self.settled: float | None = None
        self.taken: bool | None = None


class Rights:
    """Which rights there are, and whether anything goes beyond them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dice: Random = world.dice(300)
        #: All tokens; what was shown in each session; and who was sent away, before which `iat`, and since when.
        self.given: list[Token] = []
        self.shown: dict[object, list[Showing]] = {}
        self.kicks: list[tuple[str, float, float]] = []
        self.banned: dict[str, float] = {}
        #: Whether everybody gets all there is, as everything must be well soon.
        self.healed = False
        self.checked = 0
        self.refused = 0
        self._troubled = 0.0

    # The site and its operator

    def give(self, user: str | None) -> Token | None:
        """A new token, None for who was sent away lately."""
        dice, now, all_of_it = self.dice, wall(self.world), self.healed
        if user is not None and self.banned.get(user, 0.0) > self.world.now and not all_of_it:
            return None
        channels = [("private-a", "private-b"), ("private-a",), ("private-b",), ("private-*",), ("lobby",)]
        named = channels[0] if all_of_it else dice.choice(channels)
        publish = ("private-a",) if dice.random() < 0.3 else ()
        life = 60.0 if all_of_it else dice.choice(_LIVES)
        claims: dict[str, Any] = {"channels": list(named), "publish": list(publish), "iat": int(now)}
        if user is not None:
            claims["sub"] = user
        text = tokens.sign(REALM, KEY, now, life=life, **claims)
        slashed = tuple("/" + each for each in named), tuple("/" + each for each in publish)
        token = Token(text, user, *slashed, float(int(now)), float(int(now + life)))
        self.given.append(token)
        return token

    def kick(self, user: str, host: Host) -> None:
        """Send a user away, by whichever worker; an operator who gets no answer asks again."""
        self.banned[user] = self.world.now + _BAN
        process, node = host.process, host.node

        async def work() -> None:
            at = wall(self.world)
            try:
                await node.kick(user)
            except Exception:  # noqa: BLE001  # not known: nothing is promised
                return
            self.kicks.append((user, at, self.world.now))
            self.world.say("operator", f"{user} was sent away")

        process.arrive(lambda: process.create_task(work()) and None)

    def trouble(self, until: float) -> None:
        """Something is wrong until then, by which news may be late."""
        self._troubled = max(self._troubled, until)

    # What clients show

    def shows(self, session: object, text: str, id: object) -> Showing:
        token = next(each for each in reversed(self.given) if each.text == text)
        showing = Showing(token, self.world.now, id)
        self.shown.setdefault(session, []).append(showing)
        return showing

    def settle(self, showing: Showing, *, taken: bool | None) -> None:
        """A worker has answered. taken: as in `Showing`."""
        showing.settled, showing.taken = self.world.now, taken
        if taken and not self._is_good(showing.token, showing.sent):
            self.world.accuse(f"a token of {showing.token.user} is taken that is not good any more: {showing.token}")

    def _newest(self, session: object, at: float) -> list[Showing]:
        """What may have been the newest token of a session at a time or after it."""
        candidates = [each for each in self.shown.get(session, ()) if each.taken is not False]
        certain = [each.sent for each in candidates if each.taken and each.settled is not None and each.settled <= at]
        latest = max(certain, default=-1.0)
        return [each for each in candidates if each.settled is None or each.settled >= latest]

    def _is_over(self, since: float, now: float) -> bool:
        return now > max(since, self._troubled) + GRACE

    def _is_good(self, token: Token, now: float) -> bool:
        """Whether a token may count at a time."""
        return not self._is_over(token.expires - 1.7e9, now) and not self._is_kicked(token, now)

    def _is_kicked(self, token: Token, now: float) -> bool:
        return any(
            user == token.user and token.made <= at and self._is_over(known, now) for user, at, known in self.kicks
        )

    def hears(self, who: str, session: object, channel: str, message: object) -> None:
        """A worker writes a publication to a session."""
        now = self.world.now
        # What an owner sent through another worker is on its way while Redis is slow: a newer token overtakes it.
        newest = self._newest(session, now if self._is_over(0.0, now) else now - GRACE)
        if channel in GUARDED:
            self.checked += 1
            if not any(each.token.names(channel) and self._is_good(each.token, now) for each in newest):
                told = [
                    (each.token.user, each.token.channels, each.token.expires - 1.7e9, each.taken) for each in newest
                ]
                self.world.accuse(f"{who} is given {channel} {message}, and its newest token does not allow it: {told}")
        elif newest and all(each.taken and self._is_kicked(each.token, now) for each in newest):
            self.world.accuse(f"{who} is given {channel} {message}, and its user was sent away")

    def publishes(self, who: str, session: object, channel: str, asked: float) -> None:
        """A worker says that a client's publish was successful. asked: when it was sent first."""
        if channel in GUARDED and not any(
            any(covers(claim, channel) for claim in each.token.publish) and self._is_good(each.token, asked)
            for each in self._newest(session, asked)
        ):
            self.world.accuse(f"{who} publishes to {channel}, and its newest token does not allow it")


class _Holder:
    """Who has tokens: a page, that asks its site for them."""

    rights: Rights
    user: str | None
    token: Token | None = None

    def renew(self) -> None:
        self.token = self.rights.give(self.user)

    def other(self, what: str) -> Token | None:
        """A token that is not the present one: an old one of its own, or anybody's."""
        own = [each for each in self.rights.given if each.user == self.user] if what == "older" else self.rights.given
        return self.rights.dice.choice(own) if own else None


class Bearer(_Holder, Client):
    """A client whose handshakes and subscribes show its token. wild: whether it wants all channels, by `/**`."""

    def __init__(self, rights: Rights, user: str | None, wild: bool, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rights, self.user, self.wild = rights, user, wild
        self._showings: dict[object, list[Showing]] = {}
        self.renew()

    # What a story has it do

    def subscribe(self, channel: str) -> None:
        super().subscribe("/**" if self.wild else channel)

    def both(self, channel: str) -> None:
        super().both("/**" if self.wild else channel)

    def batch(self, channel: str, other: str, number: int) -> None:
        if self.wild:
            self.subscribe(channel)
        else:
            super().batch(channel, other, number)

    def newer(self, channel: str) -> None:
        """The page has a newer token, and shows it by subscribing to what it has."""
        self.renew()
        if self.book is not None:
            for want in self.wants or (channel,):
                self._subscribe(want)

    def show(self, what: str, channel: str) -> None:
        """Show another token once."""
        token, self.token = self.token, self.other(what)
        if self.book is not None:
            self._subscribe("/**" if self.wild else channel)
        self.token = token

    # What it sends

    def _ask(self, what: str, message: dict[str, Any]) -> Ask:
        if what in ("handshake", "subscribe"):
            ext = {name: value for name, value in message.get("ext", {}).items() if name != "token"}
            message = message | {"ext": ext | ({} if self.token is None else {"token": self.token.text})}
        return super()._ask(what, message)

    def _note(self, to: Exchange | Socket, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if "token" in message.get("ext", {}):
                session = message.get("clientId") or to
                showing = self.rights.shows(session, message["ext"]["token"], message["id"])
                self._showings.setdefault(to, []).append(showing)

    def _exchange(self, asks: tuple[Ask, ...], messages: list[dict[str, Any]]) -> Exchange:
        exchange = super()._exchange(asks, messages)
        self._note(exchange, messages)
        return exchange

    def _say(self, asks: tuple[Ask, ...], messages: list[dict[str, Any]]) -> None:
        super()._say(asks, messages)
        assert self.socket is not None
        self._note(self.socket, messages)

    # What comes back

    def was_answered(self, to: Exchange | Socket, messages: list[dict[str, Any]]) -> None:
        session = _session_of(to)
        for message in messages:
            if "data" in message and "successful" not in message:
                self.rights.hears(self.name, session, message["channel"], message["data"])
                continue
            if message.get("channel") in ("/meta/handshake", "/meta/subscribe"):
                self._settle(to, message)
            elif "successful" in message and message["successful"] and not message["channel"].startswith("/meta/"):
                asks = to.why if isinstance(to, Exchange) else self.asks
                asked = next((ask.first for ask in asks if ask.message["id"] == message.get("id")), None)
                if asked is not None:
                    self.rights.publishes(self.name, session, message["channel"], asked)
        super().was_answered(to, messages)

    def _settle(self, to: Exchange | Socket, reply: dict[str, Any]) -> None:
        for showing in self._showings.get(to, ()):
            if showing.id == reply.get("id") and showing.settled is None:
                successful, error = reply["successful"], str(reply.get("error"))
                if successful and reply["channel"] == "/meta/handshake":
                    self.rights.shown.setdefault(reply["clientId"], []).append(showing)
                # What could not be saved is undone, but for the token. Of a request that was carried twice the first
                # may have been taken a moment before the token expired, and the second is answered.
                unsure = error.startswith(("503", "401::Token expired"))
                self.rights.settle(showing, taken=True if successful else None if unsure else False)
                return

    def _handshaken(self, ask: Ask, reply: dict[str, Any]) -> None:
        if not reply["successful"]:
            self.rights.refused += 1
            self.renew()
            self._later(0.1, self._shake)
            return
        super()._handshaken(ask, reply)
        assert self.book is not None
        self.book.excuse = "its rights change"

    def _not_done(self, ask: Ask, reply: dict[str, Any]) -> None:
        self.rights.refused += 1
        if self.dice.random() < 0.5:
            self.renew()
        super()._not_done(ask, reply)

    def _hear(self, message: dict[str, Any], by: Exchange | Socket, batch: Batch | None) -> None:
        if not self.wild:
            super()._hear(message, by, batch)


def _session_of(to: Exchange | Socket) -> object:
    """The session that an answer is of, as the worker knows it; a stream's may have been let go."""
    if isinstance(to, Exchange):
        return next((each["clientId"] for each in to.messages if "clientId" in each), to)
    session = getattr(to, "_attached", None) if isinstance(to, Stream) else to.session
    if session is not None:
        return session.id
    return to.client.client_id


class BearerListener(_Holder, Listener):
    """A client of `/ws` whose subscribes show its token."""

    def __init__(self, rights: Rights, user: str | None, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.rights, self.user = rights, user
        self.book.excuse = "its rights change"
        self._showings: dict[object, list[Showing]] = {}
        self.renew()

    def newer(self, channel: str) -> None:
        self.renew()
        if not self.wants:
            # What it asks for without wanting it, it would not ask for again on its next connection.
            self.wants[channel] = None
        for want in self.wants:
            self._ask(want)

    def show(self, what: str, channel: str) -> None:
        token, self.token = self.token, self.other(what)
        self.wants[channel] = None
        self._ask(channel)
        self.token = token

    def _say(self, message: dict[str, Any]) -> None:
        socket = self.socket
        if "subscribe" in message:
            if self.token is not None:
                message["token"] = self.token.text
                self._showings.setdefault(socket, []).append(self.rights.shows(socket, self.token.text, None))
            else:
                # A reply to it is not one to a token.
                self._showings.setdefault(socket, []).append(None)  # type: ignore[arg-type]  # as said
        super()._say(message)

    def was_answered(self, socket: Socket, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            if "data" in message:
                self.rights.hears(self.name, socket, message["channel"], message["data"])
            elif "subscribed" in message or "error" in message:
                showing = self._showings[socket].pop(0)
                if showing is not None:
                    taken = True if "subscribed" in message else False if message.get("refused") else None
                    self.rights.settle(showing, taken=taken)
        super().was_answered(socket, messages)

    def _ask_again(self, channels: list[str], socket: Socket) -> None:
        self.rights.refused += 1
        if self.dice.random() < 0.5:
            self.renew()
        super()._ask_again(channels, socket)


def somebody(
    rights: Rights, number: int, kind: str, transport: str, hops: bool, world: World, wires: Wires, hosts: list[Host],
    books: Books,
) -> Bearer | BearerListener:  # fmt: skip
    """A client with tokens; two of three have a name, and some of those the same."""
    dice = rights.dice
    user = dice.choice(("alice", "bob", None))
    if kind == "plain":
        return BearerListener(rights, user, number, world, wires, hosts, books)
    wild = dice.random() < 0.3
    return Bearer(rights, user, wild, number, kind, transport, hops, world, wires, hosts, books)


#: What clients and the operator do besides what is done in other stories, how often.
DOINGS: dict[str, int] = {"newer": 14, "older": 5, "anybody": 5}
USERS = ("alice", "bob")
