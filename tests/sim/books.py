"""What each client must have heard, and what it must not: the promises, kept as accounts.

For each session and channel the books note what was answered, with how much had been accepted by the log when the
worker gave that answer. `Books.close` compares with what was heard. See docs/simulator.md for the promises in words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .redis import Store
from .world import World

if TYPE_CHECKING:
    from .hosts import Exchange


_END = 1e9

#: Seconds in which a worker surely notices that another is dead.
OWNERS_SECONDS = 8.0

#: Seconds in which what was refused for now may yet be done: Redis did not say that it has the mail to the session's
#: owner, which perhaps reads it, and the word that nobody waits for its answer comes after it.
LATE_SECONDS = 8.0

#: How often a session may be given the same publication again. Each answer that is lost and each move may cost one.
MOST_REPEATS = 7


class Batch(NamedTuple):
    """What an answer to a connect carries: its number, and up to which its client said by that connect that it has all.

    Without acknowledgements a connect says it of all that came before it was sent: then these are seconds.
    """

    number: float
    acknowledged: float


class Attempt:
    """One time that a subscribe or unsubscribe was sent. It may take effect until it is settled."""

    __slots__ = ("adds", "sent", "settled")

    def __init__(self, adds: bool, sent: float) -> None:
        self.adds = adds
        self.sent = sent
        self.settled: float | None = None


class Account:
    """One session's claim on one channel.

    sure: everything after this offset must be heard, None for no such claim. never: nothing after this offset may be.
    heard: by offset, the number of the answer that brought it first. batches: and of its batch. times: how often it
    came again. asked: whether the channel was ever subscribed to. lost: up to this offset it was told that something
    may be missing. before: what was heard in earlier subscriptions, after which older publications may come.
    """

    __slots__ = ("asked", "attempts", "batches", "before", "heard", "lost", "never", "sure", "times")

    def __init__(self) -> None:
        self.sure: int | None = None
        self.never: int | None = None
        self.asked = False
        self.lost = 0
        self.heard: dict[int, int] = {}
        self.before: frozenset[int] = frozenset()
        self.batches: dict[int, float] = {}
        self.times: dict[int, int] = {}
        self.attempts: list[Attempt] = []


class Book:
    """One session of one client. kind: how its client copes with lost answers."""

    def __init__(self, books: Books, name: str, kind: str, client_id: str) -> None:
        self.books = books
        self.name = name
        self.kind = kind
        self.client_id = client_id
        self.accounts: dict[str, Account] = {}
        #: The connects that were sent by HTTP, with their ids; and what answers carried that the network ate.
        self.connects: list[tuple[Exchange, object]] = []
        self.lost: list[tuple[Exchange, object, list[tuple[str, int]]]] = []
        #: Connects that died with their worker, or that the client gave up: what another worker had sent for them
        #: nobody knows, should that one die too.
        self.doomed: list[tuple[Exchange, object, float]] = []
        #: Why this session may be refused, for reasons of the client's own.
        self.excuse = ""
        #: Whether it had two connects under way at once: their answers may overtake each other.
        self.doubled = False
        #: What went in several batches, as a connect was sent before the first had come, perhaps in an answer that got
        #: lost: a worker that takes the session over knows only the newest.
        self.went_again: set[tuple[str, int]] = set()
        #: Whether a socket of it broke, with such an answer perhaps.
        self.cut = False
        #: Whether it had two polls under way at once: one of them is refused in favour of the other.
        self.polled_twice = False
        self.over = False
        self.left = False

    def account(self, channel: str) -> Account:
        account = self.accounts.get(channel)
        if account is None:
            account = self.accounts[channel] = Account()
        return account

    # What the client does

    def asks(self, channel: str, *, adds: bool) -> Attempt:
        """A subscribe (or unsubscribe) is sent."""
        account = self.account(channel)
        attempt = Attempt(adds, self.books.world.now)
        account.attempts.append(attempt)
        if adds:
            account.asked = True
            account.never = None
        else:
            account.sure = None
        return attempt

    def begins(self, channel: str) -> None:
        """A client by positions that has none of a channel reads its rows as they are now, and goes on from there.

        What an earlier subscribe promised, whose unsubscribe got lost on the way, is in those rows.
        """
        self.account(channel).sure = None

    def begins_anew(self, channel: str) -> None:
        """As `begins`, for a client that has left the channel and comes back without a position.

        A worker that hears late may give it what is older than what it had in its earlier subscription, and than the
        position that it was told (docs/plain.md). In order, as the order within this subscription goes on to count.
        """
        self.begins(channel)
        account = self.account(channel)
        account.before = frozenset(account.heard)

    def granted(self, channel: str, first_sent: float, top: int, *, adds: bool) -> None:
        """It was answered successful; top: what the log had accepted when the worker said so."""
        account = self.account(channel)
        if channel in self.books.guarded:
            # Whether it is heard is a matter of rights, which come and go.
            account.sure = account.never = None
            return
        opposed = any(
            attempt.adds is not adds and (attempt.settled is None or attempt.settled >= first_sent)
            for attempt in account.attempts
        )
        if opposed:
            # Both were under way at the same time: nobody can say which was first.
            account.sure = account.never = None
        elif adds:
            account.never = None
            if account.sure is None:
                account.sure = top
        else:
            account.sure = None
            # A subscribe that comes after makes this void, and is noticed by `asks`.
            account.never = top

    def hears(self, channel: str, offset: int, answer: int, *, minds: bool = True, batch: Batch | None = None) -> bool:
        """A publication arrived; False if it is a repeat.

        answer: the number of what it came in, in the order in which workers gave them: two answers on two connections
        may overtake each other. minds: whether the client minds the order now. batch: of one who
        can say what it has.
        """
        account = self.accounts.get(channel)
        books = self.books
        books.heard += 1
        if account is None or not account.asked:
            books.world.accuse(f"{self.name} hears {channel} {offset}, and never asked for the channel")
            return True
        if self.left:
            books.world.accuse(f"{self.name} hears {channel} {offset} after its disconnect was answered")
        if account.never is not None and offset > account.never:
            books.world.accuse(
                f"{self.name} hears {channel} {offset}, published after its unsubscribe was answered"
                f" (at {account.never})"
            )
        if offset in account.heard:
            asked_again = batch is not None and batch.acknowledged < account.batches.get(offset, 0)
            if asked_again:
                self.went_again.add((channel, offset))
            # A worker that goes may leave a record from before the client's last word; the next one gives that again.
            moved = books.updated or self.cut or (channel, offset) in self.went_again
            # A poll that it gave up, and sent again under its id, may come last, and says that the answer got lost.
            late = self.kind == "repeating" and self.polled_twice
            if batch is not None and not asked_again and not moved and not late:
                self.must_be_justified(f"hears {channel} {offset} again, which it acknowledged")
            if asked_again and self.kind == "acknowledging":
                # Its connect said that it had not come, as each one does that is under way when it comes.
                books.repeats += 1
            else:
                self.repeats(channel, offset)
            return False
        for other, number in account.heard.items():
            # What comes by a stream and by a poll, or by two polls, may overtake each other on the way.
            # What was told as lost may still come by a recovery that was asked for before.
            known = number > answer or offset <= account.lost or other in account.before
            if other > offset and not known and minds and not self.doubled:
                books.world.accuse(f"{self.name} hears {channel} {offset} for the first time after {other}")
        account.heard[offset] = answer
        if batch is not None:
            account.batches[offset] = batch.number
        return True

    def repeats(self, channel: str, offset: int) -> None:
        """Note that a publication was delivered again."""
        self.books.repeats += 1
        account = self.account(channel)
        times = account.times[offset] = account.times.get(offset, 0) + 1
        # Who is refused, and asks anew with another token, asks from the same position again.
        if times > MOST_REPEATS and channel not in self.books.guarded:
            self.books.world.accuse(f"{self.name} hears {channel} {offset} again and again")

    def told_lost(self, channel: str, top: int) -> None:
        """The client is told that something of a channel may be missing, when the log had accepted up to `top`."""
        account = self.account(channel)
        if account.sure is not None:
            account.sure = max(account.sure, top)
        # What comes after a loss may begin anywhere.
        account.lost = max(account.lost, top)
        self.must_be_justified(f"is told that {channel} lost something")

    def refused(self, words: str) -> None:
        """The session is ended by the hub's word."""
        if not self.over:
            self.over = True
            self.must_be_justified(words)

    def must_be_justified(self, words: str) -> None:
        """Only a fault, or the client's own silence, justifies this."""
        if not self.books.faults and not self.excuse:
            self.books.world.accuse(f"{self.name} {words} without a fault")

    def missed(self, exchange: Exchange, id: object, carried: list[tuple[str, int]]) -> None:
        """The network ate the answer to a connect."""
        if carried:
            self.lost.append((exchange, id, carried))
            self.went_again.update(carried)

    @property
    def gave_up_answers(self) -> bool:
        """Whether a worker answered a connect that the client had given up, and perhaps is not done with that."""
        return any(exchange.gone and exchange.answered is not None for exchange, _ in self.connects)

    def excused(self) -> set[tuple[str, int]]:
        """What no hub could have given again: a client without acknowledgements went on as if it had it."""
        if self.kind in ("acknowledging", "positioned", "websocket"):
            return set()
        found = {each for exchange, id, carried in self.lost if not self._asked_again(exchange, id) for each in carried}
        for exchange, id, when in self.doomed:
            # Its owner would have noticed, had it not died too.
            others = [each for each in self.books.deaths if 0 < abs(each - when) < OWNERS_SECONDS]
            if others and not self._asked_again(exchange, id):
                begun = (exchange.arrived or 0.0) - OWNERS_SECONDS
                found.update(self.books.store.accepted_between(begun, when + OWNERS_SECONDS))
        for exchange, id in self.connects if self.polled_twice else ():
            # The owner died with the answer to one of two polls, and the other's id says that it came.
            begun, ended = exchange.arrived or 0.0, exchange.answered or _END
            died = [each for each in self.books.deaths if begun <= each <= ended]
            if died and not self._asked_again(exchange, id):
                found.update(self.books.store.accepted_between(begun - OWNERS_SECONDS, max(died)))
        return found

    def _asked_again(self, lost: Exchange, id: object) -> bool:
        """Whether the client said that it had no answer: Faye repeats the id, and no other connect came in between."""
        if self.kind != "repeating":
            return False
        begun, answered = lost.arrived or 0.0, lost.answered or 0.0
        again = [
            each
            for each, other in self.connects
            if other == id
            and not each.refused
            and (each.arrived or 0.0) > begun
            and (each.answered is None or each.answered > answered)
        ]
        if not again:
            return False
        done = min(_END if each.answered is None else each.answered for each in again)
        # Which of two that are under way at the same time is dealt with first nobody can say; what waited for Redis
        # is, one after the other, in one moment.
        return not any(
            other != id
            and each.arrived is not None
            and each.arrived < done
            and (each.answered is None or each.answered + (LATE_SECONDS if each.refused else 0.0) >= answered)
            for each, other in self.connects
        )

    def check(self) -> None:
        """Everything that must have been heard was."""
        if self.over or self.left:
            return
        excused: set[tuple[str, int]] | None = None
        for channel, account in self.accounts.items():
            if account.sure is None:
                continue
            top = self.books.store.position(channel).offset
            missing = [number for number in range(account.sure + 1, top + 1) if number not in account.heard]
            if missing:
                if excused is None:
                    excused = self.excused()
                missing = [number for number in missing if (channel, number) not in excused]
            if missing:
                self.books.world.accuse(
                    f"{self.name} has not heard {channel} {missing}, all after {account.sure} was promised"
                )


class Books:
    """All accounts of a run. faults: whether something happened that may cost sessions."""

    def __init__(self, world: World, store: Store) -> None:
        self.world = world
        self.store = store
        self.books: list[Book] = []
        self.faults = False
        #: Channels that take more than a subscribe to be heard.
        self.guarded: frozenset[str] = frozenset()
        #: When workers died or were stopped.
        self.deaths: list[float] = []
        #: Whether any was asked to stop.
        self.updated = False
        self.heard = 0
        self.repeats = 0
        #: What was published: its data, whether it has a key, and whether it was answered successful.
        self.published: dict[int, list[Any]] = {}

    def open(self, name: str, kind: str, client_id: str) -> Book:
        """A session begins."""
        book = Book(self, f"{name} ({client_id[-4:]})", kind, client_id)
        self.books.append(book)
        return book

    def publishes(self, number: int, channel: str) -> None:
        self.published[number] = [channel, False]

    def was_published(self, number: int) -> None:
        """Note that a publish was answered as successful."""
        self.published[number][1] = True

    def close(self) -> None:
        """Compare what was promised with what happened."""
        counts: dict[int, int] = {}
        for log in self.store.logs:
            for publication in log:
                if publication.channel.startswith("/meta/"):
                    continue
                number = int(publication.data)
                counts[number] = counts.get(number, 0) + 1
        for number, (channel, successful) in self.published.items():
            count = counts.get(number, 0)
            if count > 1:
                self.world.accuse(f"{number} was published to {channel} once and accepted {count} times")
            if successful and not count:
                self.world.accuse(f"{number} was not accepted by {channel}, and its publisher told that it was")
        for book in self.books:
            book.check()
