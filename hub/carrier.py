"""Requests that reach a worker which does not own their session: carried to the owner, and the answers back.

The owner takes a carried request as one of its own, connects too: it holds them, and the answer comes back when there
is something to say. So a client's requests may reach any worker, and its session stays where it is. An answer with
publications is confirmed once it was written to the client; until then they count as not arrived.

A request whose owner is not alive any more, or says that it does not own the session, is routed anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from .brokers import Broker
from .counters import Counters
from .errors import BadMessage, BadWire, BrokerUnavailable
from .mail import Kind, Mail
from .peers import Peer
from .polls import Poll
from .protocol.messages import loads

logger = logging.getLogger(__name__)

#: Seconds between looks whether the workers are alive that this one waits for.
WATCH_SECONDS = 1.0

#: Seconds an owner waits for the word that an answer was written, when the next connect comes before it.
CONFIRM_SECONDS = 1.0

#: Seconds beyond the longest hold after which a request is refused: its mail got lost.
LATE_SECONDS = 10.0

#: Seconds until an answer is sent again that could not be sent, each time.
ANSWER_PAUSES = (0.2, 1.0, 3.0)

#: Bytes of a request from which on its session moves instead: large bodies don't go through the broker.
CARRIED_BYTES = 64 * 1024

#: Polls in a row that come through the same worker, after which the owner offers it the session. Moving one costs a few
#: carried polls.
OFFER_AFTER = 4

#: Seconds for the owner to give a session up. One that is not alive is found out in less.
MOVE_SECONDS = 8.0

#: Bytes that this worker mails to another in so many seconds, after which the inbox in Redis has been read or, with
#: its owner's lease, is gone: it has 20,000 messages at most, but one may be as large as a session's queue.
MAILED_BYTES = 64 * 1024 * 1024
MAILED_SECONDS = 4.0

#: Sessions whose owners are remembered; beyond that the broker is asked.
MAX_OWNERS = 20_000

#: Workers whose mail was numbered; long gone ones are forgotten.
MAX_SENDERS = 1000


class Host(Protocol):
    """What the node does for the carrier."""

    draining: bool

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Finish this whatever becomes of the request."""

    def abandon(self, poll: Poll) -> None:
        """A carried request's client is gone, or its answer was not written."""

    def hurry(self, poll: Poll) -> None:
        """Answer a poll that is held."""


class Routes(Protocol):
    """What is done with requests that come here from other workers, or come back."""

    def accept_carried(self, session_id: str, messages: Sequence[object], transport: str, poll: Carried) -> None:
        """Take what a client of this node's session sent to another worker."""

    def accept_again(self, messages: Sequence[object], transport: str, to: Poll, tries: int) -> None:
        """Route a request anew that did not find its owner."""

    def may_move(self, session_id: str) -> bool:
        """Whether another worker can go on with a session without any loss."""

    def refuse_for_now(self, messages: Sequence[object], to: Poll) -> None:
        """Have a client try again."""

    def give_up(self, session_id: str, by: str, done: Callable[[bool], None]) -> None:
        """Let another worker have a session; then call `done`: whether the broker could be reached.

        by: the transport of the connection that it is for, empty where that is not known.
        """


class Carried(Poll):
    """A poll that was sent to another worker; its answer goes there."""

    __slots__ = ("confirmed", "counts", "key", "since")

    def __init__(self, key: tuple[str, int], peer: Peer, since: float) -> None:
        super().__init__(peer)
        self.key = key
        self.since = since
        #: Whether it is a poll that says where its client's polls go.
        self.counts = False
        #: Set once it is known what became of the answer; None if nobody needs to know.
        self.confirmed: asyncio.Event | None = None


@dataclass(slots=True)
class _Sent:
    """A request that another worker has. moved: for one to give a session up, told whether it is given up."""

    owner: str
    since: float
    session: str
    messages: Sequence[object] = ()
    transport: str = ""
    to: Poll | None = None
    tries: int = 0
    moved: asyncio.Future[bool] | None = None


class Carrier:
    """The mail of one node. longest: seconds that a request may be held."""

    def __init__(
        self,
        host: Host,
        routes: Routes,
        broker: Broker,
        counters: Counters,
        time: Callable[[], float],
        longest: float,
    ) -> None:
        self._host = host
        self._routes = routes
        self._broker = broker
        self._counters = counters
        self._time = time
        self._longest = longest + LATE_SECONDS
        self._numbers = 0
        self._sent: dict[int, _Sent] = {}
        self._taken: dict[tuple[str, int], Carried] = {}
        # Answers of which nobody knows yet whether they were written, by session.
        self._unconfirmed: dict[str, Carried] = {}
        self._serials: OrderedDict[str, int] = OrderedDict()
        self._owners: OrderedDict[str, str] = OrderedDict()
        # Sessions that their owners would give up, and here: the worker that a session's polls came through, how often.
        self._offered: OrderedDict[str, None] = OrderedDict()
        self._streaks: OrderedDict[str, tuple[str, int]] = OrderedDict()
        # Since when, and how much, each worker was mailed.
        self._mailed: dict[str, tuple[float, int]] = {}
        # The lease under which mail came here; with another one some may have been lost.
        self._life = 0
        self._timer: asyncio.TimerHandle | None = None
        self._idle: asyncio.Event | None = None

    # The worker that a request reached

    def owner(self, session_id: str) -> str | None:
        """Who owned a session when this node looked last."""
        return self._owners.get(session_id)

    def is_offered(self, session_id: str) -> bool:
        """Whether the owner would give a session up; asked when a poll has come here."""
        return session_id in self._offered

    async def carry(
        self,
        owner: str,
        session_id: str,
        messages: Sequence[object],
        body: bytes,
        transport: str,
        to: Poll,
        tries: int,
    ) -> bool:
        """Send a request to the worker that owns its session; False if that is not alive. Raises BrokerUnavailable.

        body: the messages, encoded. `to` gets the answer.
        """
        self._numbers += 1
        number = self._numbers
        self._sent[number] = _Sent(owner, self._time(), session_id, messages, transport, to, tries)
        to.carried = (owner, number)
        age = None if to.began is None else round(self._time() - to.began, 3)
        try:
            sent = await self._mail(
                owner,
                "request",
                number,
                session=session_id,
                transport=transport,
                browser=to.peer.browser,
                address=to.peer.address,
                hurry=self._host.draining or to.hurried,
                age=age,
                body=body,
            )
        except BrokerUnavailable:
            if self._pop(number) is None:
                # It got there all the same, and was answered.
                return True
            to.carried = None
            # Should it have got there, nobody waits for its answer.
            self._post(owner, "leave", number)
            raise
        if not sent:
            self._owners.pop(session_id, None)
            if self._pop(number) is None:
                # It was found out meanwhile that the owner is gone, and the request is on its way anew.
                return True
            to.carried = None
            return False
        self._counters.carried += 1
        self._owners[session_id] = owner
        if len(self._owners) > MAX_OWNERS:
            self._owners.popitem(last=False)
        return True

    async def ask_for(self, owner: str, session_id: str, by: str = "") -> bool:
        """Have the owner give a session up; False if it is not alive. Raises BrokerUnavailable.

        by: the transport of the connection that it is for, where the owner is to know that.
        True says that it is worth while to look again, and mostly that nobody owns the session now.
        """
        self._numbers += 1
        number = self._numbers
        moved: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._sent[number] = _Sent(owner, self._time(), session_id, moved=moved)
        self._owners.pop(session_id, None)
        self._offered.pop(session_id, None)
        try:
            async with asyncio.timeout(MOVE_SECONDS):
                sent = await self._mail(owner, "move", number, session=session_id, transport=by)
                return sent and await moved
        except TimeoutError:
            raise BrokerUnavailable("a session was not given up in time") from None
        finally:
            self._pop(number)

    def leave(self, poll: Poll) -> None:
        """The client of a carried request is gone, or its answer could not be written."""
        if poll.carried is not None:
            (owner, number), poll.carried = poll.carried, None
            self._pop(number)
            self._post(owner, "leave", number)

    def written(self, poll: Poll) -> None:
        """The answer of a carried request is on its way to the client."""
        if poll.carried is not None:
            (owner, number), poll.carried = poll.carried, None
            self._post(owner, "written", number)

    def hurry(self, poll: Poll) -> None:
        """Have a request answered that is held elsewhere."""
        if poll.carried is not None:
            self._post(poll.carried[0], "hurry", poll.carried[1])

    def hurry_all(self) -> None:
        """Have all answered that are held elsewhere."""
        for sent in self._sent.values():
            if sent.to is not None:
                self.hurry(sent.to)

    async def finished(self) -> None:
        """Wait until other workers have answered all that they have of this one."""
        while self._sent:
            self._idle = asyncio.Event()
            await self._idle.wait()

    def _pop(self, number: int) -> _Sent | None:
        sent = self._sent.pop(number, None)
        if self._idle is not None and not self._sent:
            self._idle.set()
        return sent

    # The worker that owns the session

    def polled_here(self, session_id: str) -> None:
        """A poll of this node's session came to this node itself."""
        if self._streaks:
            self._streaks.pop(session_id, None)

    def _offers(self, poll: Carried) -> bool:
        """Whether the worker of a carried poll is where the session's polls come to now."""
        if not poll.counts or poll.session is None:
            return False
        session_id, worker = poll.session.id, poll.key[0]
        last, count = self._streaks.get(session_id, (worker, 0))
        count = count + 1 if last == worker else 1
        self._streaks[session_id] = (worker, count)
        self._streaks.move_to_end(session_id)
        if len(self._streaks) > MAX_OWNERS:
            self._streaks.popitem(last=False)
        return count >= OFFER_AFTER and self._routes.may_move(session_id)

    def unconfirmed(self, session_id: str) -> bool:
        """Whether a session's last answer was carried, and nobody knows yet if it was written."""
        return session_id in self._unconfirmed

    async def confirmed(self, session_id: str) -> None:
        """Wait until that is known; if it is not in time, the answer counts as lost."""
        poll = self._unconfirmed.get(session_id)
        if poll is None or poll.confirmed is None:
            return
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await poll.confirmed.wait()
        except TimeoutError:
            self._lose(poll)

    async def all_confirmed(self) -> None:
        """As `confirmed`, of all sessions at the same time."""
        await asyncio.gather(*map(self.confirmed, list(self._unconfirmed)))

    def elsewhere(self, poll: Carried) -> None:
        """Say that the session of a carried request is not this node's."""
        self._taken.pop(poll.key, None)
        self._post(poll.key[0], "elsewhere", poll.key[1])

    def _answered(self, poll: Carried, parts: list[bytes]) -> None:
        session = poll.session
        if poll.taken and session is not None and session.ack is None and not poll.gone:
            poll.confirmed = asyncio.Event()
            self._unconfirmed[session.id] = poll
        self._host.spawn(self._answer(poll, b",".join(parts)))

    async def _answer(self, poll: Carried, body: bytes) -> None:
        worker, number = poll.key
        sent, offers = False, self._offers(poll)
        confirm = poll.confirmed is not None
        for pause in ANSWER_PAUSES:
            try:
                sent = await self._mail(
                    worker, "answer", number, confirm=confirm, status=poll.status, offers=offers, body=body
                )
                break
            except BrokerUnavailable:
                # Whoever waits for it would wait until it is late. If it got there, it is taken once.
                await asyncio.sleep(pause)
        if not sent:
            self._lose(poll)
        elif poll.confirmed is None:
            self._taken.pop(poll.key, None)

    def _lose(self, poll: Carried) -> None:
        """A carried request's client is gone, or its answer was not written, as far as anybody knows."""
        self._taken.pop(poll.key, None)
        self._confirm(poll)
        self._host.abandon(poll)

    def _confirm(self, poll: Carried) -> None:
        if poll.confirmed is not None:
            poll.confirmed.set()
            if poll.session is not None and self._unconfirmed.get(poll.session.id) is poll:
                del self._unconfirmed[poll.session.id]

    # Mail

    async def _mail(self, worker: str, kind: Kind, number: int, **fields: Any) -> bool:
        """Mail another worker; False if it is not alive. Raises BrokerUnavailable, also where it was sent too much."""
        mail = Mail(kind=kind, sender=self._broker.worker, serial=self._serial(), number=number, **fields)
        text = mail.encode()
        self._check_room(worker, len(text))
        return await self._broker.mail(worker, text)

    def _check_room(self, worker: str, size: int) -> None:
        now = self._time()
        since, mailed = self._mailed.get(worker, (now, 0))
        if now - since >= MAILED_SECONDS:
            since, mailed = now, 0
        if mailed and mailed + size > MAILED_BYTES:
            raise BrokerUnavailable("another worker has too much to read")
        self._mailed[worker] = since, mailed + size
        if len(self._mailed) > MAX_SENDERS:
            # Long gone, mostly.
            del self._mailed[next(iter(self._mailed))]

    def _serial(self) -> int:
        self._numbers += 1
        return self._numbers

    def _post(self, worker: str, kind: Kind, number: int) -> None:
        """Send what does not matter if the receiver is gone."""
        self._host.spawn(self._post_it(worker, kind, number))

    async def _post_it(self, worker: str, kind: Kind, number: int) -> None:
        try:
            await self._mail(worker, kind, number)
        except BrokerUnavailable:
            logger.debug("mail not sent", extra={"kind": kind})

    def take(self, text: bytes) -> None:
        """Take mail from another worker. Raises nothing."""
        try:
            mail = Mail.parse(text)
            if mail.serial <= self._serials.get(mail.sender, 0):
                return
            self._serials[mail.sender] = mail.serial
            self._serials.move_to_end(mail.sender)
            if len(self._serials) > MAX_SENDERS:
                self._serials.popitem(last=False)
            if mail.kind == "lapsed":
                for number, sent in list(self._sent.items()):
                    if sent.owner == mail.sender:
                        self._give_up_on(number)
            elif mail.kind in ("answer", "elsewhere"):
                self._take_answer(mail)
            else:
                self._take_request(mail)
        except (BadMessage, BadWire) as error:
            logger.error("mail can't be read", extra={"error": repr(error)})
        except Exception:
            logger.exception("mail not taken")

    def _take_answer(self, mail: Mail) -> None:
        sent = self._pop(mail.number)
        if sent is None or sent.owner != mail.sender:
            if mail.confirm:
                self._post(mail.sender, "leave", mail.number)
            return
        if sent.moved is not None:
            if not sent.moved.done():
                sent.moved.set_result(True)
            return
        poll = sent.to
        assert poll is not None
        poll.carried = (sent.owner, mail.number) if mail.confirm else None
        if mail.offers:
            self._offered[sent.session] = None
            if len(self._offered) > MAX_OWNERS:
                self._offered.popitem(last=False)
        if mail.kind == "answer":
            poll.status = mail.status
            poll.send([mail.body] if mail.body else [])
        else:
            self._route_again(sent)

    def _route_again(self, sent: _Sent) -> None:
        self._owners.pop(sent.session, None)
        assert sent.to is not None
        sent.to.carried = None
        if not sent.to.gone:
            self._routes.accept_again(sent.messages, sent.transport, sent.to, sent.tries + 1)

    def _take_request(self, mail: Mail) -> None:
        key = (mail.sender, mail.number)
        poll = self._taken.get(key)
        if mail.kind == "move":
            self._routes.give_up(mail.session, mail.transport, partial(self._given_up, key))
        elif mail.kind == "request":
            poll = self._taken[key] = Carried(key, Peer(mail.address, browser=mail.browser), self._time())
            poll.hurried = mail.hurry
            poll.began = poll.since - (mail.age or 0.0)
            poll.when_sent(partial(self._answered, poll))
            self._routes.accept_carried(mail.session, loads(mail.body), mail.transport, poll)
        elif poll is None:
            return
        elif mail.kind == "written":
            del self._taken[key]
            self._confirm(poll)
        elif mail.kind == "hurry":
            self._host.hurry(poll)
        else:
            self._lose(poll)

    def _given_up(self, key: tuple[str, int], done: bool) -> None:
        if done:
            self._post(key[0], "answer", key[1])

    # Workers that die

    def start(self) -> None:
        """The broker is open: look from now on whether other workers are alive."""
        self._life = self._broker.life
        # Not on the node's wheel, which turns ten times a second while there is anything on it.
        self._timer = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(WATCH_SECONDS, self._look)
        life = self._broker.life
        if life and life != self._life:
            if self._life:
                self._lapsed()
            self._life = life
        if self._sent or self._taken:
            self._host.spawn(self._look_for_dead())

    async def _look_for_dead(self) -> None:
        now = self._time()
        for number, sent in list(self._sent.items()):
            if sent.to is not None and sent.since + self._longest < now:
                # Not routed anew: it would take the place of a younger poll, and what waits for the client with it.
                self._pop(number)
                self.leave(sent.to)
                self._routes.refuse_for_now(sent.messages, sent.to)
        for poll in list(self._taken.values()):
            if poll.since + self._longest < now:
                self._lose(poll)
        workers = {sent.owner for sent in self._sent.values()} | {worker for worker, _ in self._taken}
        for worker in sorted(workers):
            try:
                if await self._broker.is_alive(worker):
                    continue
            except BrokerUnavailable:
                return
            for number, sent in list(self._sent.items()):
                if sent.owner == worker:
                    self._give_up_on(number, dead=True)
            for key, poll in list(self._taken.items()):
                if key[0] == worker:
                    self._lose(poll)

    def _lapsed(self) -> None:
        """This worker was thought dead for a while, and its inbox was thrown away with all that was in it."""
        for number in list(self._sent):
            self._give_up_on(number)
        for worker in self._serials:
            self._post(worker, "lapsed", 0)

    def _give_up_on(self, number: int, *, dead: bool = False) -> None:
        """The owner is dead, or mail got lost: find out who owns the session now."""
        sent = self._pop(number)
        if sent is None:
            return
        if sent.moved is not None:
            if not sent.moved.done():
                sent.moved.set_result(not dead)
        else:
            self._route_again(sent)
