"""When a feed is fetched next, what is asked for, and what an answer means: the manners, as functions of values.
Pure.

Each feed has its next time. A quarter of the median gap between its episodes, 1 to 24 hours; later if the server asks
for it. What fails is tried again by its class, twice as late each time, up to a week; 410 at once, and 404 five times
in a row, mean that it is gone. Clocks and dice are handed in.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from statistics import median

HOUR, DAY = 3600.0, 86400.0
WEEK = 7 * DAY

#: Seconds between two looks at a feed that is well.
SHORTEST, LONGEST = HOUR, DAY

#: Seconds after the first failure; doubled with each, to the longest.
FIRST_PAUSE, LONGEST_PAUSE = 600.0, WEEK

#: Of a pause, to both sides: a thousand feeds that failed together do not come back together.
JITTER = 0.2

#: 404s in a row after which a feed is gone.
MISSING = 5

#: Seconds after which a feed is fetched whole, whatever its server says of changes; and with WebSub, at all.
WHOLE_EVERY = WEEK

#: A permanent move is believed after so many fetches that said the same, over so many seconds.
MOVES, MOVE_SECONDS = 3, 48 * HOUR

#: For so many seconds after a host asked for less, its feeds are fetched one after the other.
SINGLY = DAY


class Outcome(enum.StrEnum):
    """What a fetch came to. The value is what tables and pages say."""

    NEW = "new"
    SAME = "same"
    NETWORK = "network"
    SERVER = "server error"
    BUSY = "busy"
    FORBIDDEN = "forbidden"
    MISSING = "missing"
    GONE = "gone"
    STATUS = "status"
    NOT_FEED = "not a feed"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too large"
    TOO_SLOW = "too slow"
    BLOCKED = "blocked"

    @property
    def is_well(self) -> bool:
        """Whether the feed is there."""
        return self in (Outcome.NEW, Outcome.SAME)


#: The least pause after a failure of a class, where the doubling from ten minutes would be rude or of no use.
_AT_LEAST = {
    Outcome.BUSY: HOUR,
    Outcome.FORBIDDEN: 6 * HOUR,
    Outcome.MISSING: HOUR,
    Outcome.NOT_FEED: HOUR,
    Outcome.UNREADABLE: HOUR,
    Outcome.STATUS: HOUR,
    Outcome.TOO_LARGE: DAY,
    Outcome.BLOCKED: DAY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A feed, as far as its schedule goes. Times are seconds since 1970.

    next: when it is fetched next; None: never by itself. gap: median seconds between its episodes. failures: in a row;
    missing: 404s among the last of them; since: of the first. etag, modified: what its server said of the version that
    was read, reader: by which version of the reader. whole: when it was last fetched without asking for changes only.
    move, moves, move_since: where it permanently redirects to, how often that was seen, since when.
    """

    next: float | None = 0.0
    gap: float | None = None
    failures: int = 0
    missing: int = 0
    since: float | None = None
    etag: str = ""
    modified: str = ""
    reader: int = 0
    whole: float = 0.0
    move: str = ""
    moves: int = 0
    move_since: float | None = None
    pushed: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether it is not fetched any more unless somebody asks for it."""
        return self.next is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a fetch came to. etag, modified: of this answer. wait: seconds that the server asks us to stay away (429,
    503) or says that its answer is good for. conditional: we asked for changes only."""

    outcome: Outcome
    etag: str = ""
    modified: str = ""
    wait: float | None = None
    conditional: bool = False


def conditions(state: State, now: float, reader: int) -> tuple[str, str] | None:
    """The validators to send back, byte for byte; None to ask for the whole feed.

    Whole after any failure (`after` forgets them), with another version of the reader, and once a week.
    """
    if state.reader != reader or not (state.etag or state.modified):
        return None
    if now - state.whole >= WHOLE_EVERY:
        return None
    return state.etag, state.modified


def after(state: State, answer: Answer, now: float, dice: float, reader: int) -> State:
    """The feed's state after an answer. dice: from 0 to 1."""
    if answer.outcome.is_well:
        return _well(state, answer, now, reader)
    if answer.outcome is Outcome.GONE:
        return replace(_failed(state, now, answer.outcome), next=None, missing=0)
    missing = state.missing + 1 if answer.outcome is Outcome.MISSING else 0
    failed = replace(_failed(state, now, answer.outcome), missing=missing)
    if missing >= MISSING:
        return replace(failed, next=None)
    pause = pause_after(failed.failures, answer.outcome, answer.wait)
    return replace(failed, next=now + pause * (1 + JITTER * dice if answer.wait else 1 + JITTER * (2 * dice - 1)))


def _well(state: State, answer: Answer, now: float, reader: int) -> State:
    well = replace(state, failures=0, missing=0, since=None)
    # Both from each answer, a 304 too; one that says nothing of its version keeps what it said before.
    if answer.outcome is Outcome.NEW or answer.etag or answer.modified:
        well = replace(well, etag=answer.etag, modified=answer.modified)
    if answer.outcome is Outcome.NEW:
        well = replace(well, reader=reader)
    if not answer.conditional:
        well = replace(well, whole=now, reader=reader)
    pause = WEEK if state.pushed else interval(state.gap)
    return replace(well, next=now + max(pause, min(answer.wait or 0.0, LONGEST)))


def _failed(state: State, now: float, outcome: Outcome) -> State:
    failed = replace(state, failures=state.failures + 1, since=now if state.since is None else state.since)
    # Who is asked too often shall not be asked for more.
    return failed if outcome is Outcome.BUSY else replace(failed, etag="", modified="")


def pause_after(failures: int, outcome: Outcome, wait: float | None = None) -> float:
    """Seconds until a feed that has failed so many times is tried again, without jitter."""
    pause = min(2.0 ** min(failures - 1, 30) * FIRST_PAUSE, LONGEST_PAUSE)
    return max(pause, _AT_LEAST.get(outcome, 0.0), wait or 0.0)


def interval(gap: float | None) -> float:
    """Seconds between two looks at a feed that is well: a quarter of its median gap."""
    return LONGEST if gap is None else min(max(gap / 4, SHORTEST), LONGEST)


def median_gap(dates: Sequence[datetime]) -> float | None:
    """Median seconds between episodes, of the latest fifty; None for less than two. dates: in order."""
    latest = dates[-50:]
    gaps = [(later - earlier).total_seconds() for earlier, later in pairwise(latest)]
    return median(gaps) if gaps else None


def seen_move(state: State, target: str, now: float) -> tuple[State, bool]:
    """The state after a fetch that was redirected for good to `target` ("" for none), and whether that is believed now.

    The caller has seen to it that what is there is the same podcast.
    """
    if not target:
        return replace(state, move="", moves=0, move_since=None), False
    if target != state.move or state.move_since is None:
        return replace(state, move=target, moves=1, move_since=now), False
    seen = replace(state, moves=state.moves + 1)
    if seen.moves >= MOVES and now - state.move_since >= MOVE_SECONDS:
        return replace(seen, move="", moves=0, move_since=None), True
    return seen, False


@dataclass(frozen=True, slots=True)
class Host:
    """What a host has asked for. Seconds since 1970: until when nothing is fetched there, and until when singly."""

    paused: float = 0.0
    singly: float = 0.0

    def places(self, now: float) -> int:
        """How many fetches there may be at once."""
        return 0 if now < self.paused else 1 if now < self.singly else 2


def host_after(host: Host, answer: Answer, now: float) -> Host:
    """A host that said 429 or 503 is left alone for as long as it asks; its feeds come one by one for a day then."""
    if answer.outcome is not Outcome.BUSY:
        return host
    return Host(now + max(answer.wait or 0.0, 60.0), now + max(answer.wait or 0.0, 60.0) + SINGLY)


class Outage:
    """Whether it is our own line that is down: the last hosts, all different, could not be reached one after the
    other."""

    def __init__(self, hosts: int = 5) -> None:
        self._last: deque[str] = deque(maxlen=hosts)

    def note(self, host: str, outcome: Outcome) -> None:
        """A fetch from a host came to this."""
        if outcome is not Outcome.NETWORK:
            self._last.clear()
        elif host not in self._last:
            self._last.append(host)

    @property
    def is_ours(self) -> bool:
        """Whether failures to reach anybody say nothing of the feeds."""
        return len(self._last) == self._last.maxlen


def outcome_of_status(status: int) -> Outcome:
    """What a status means that is neither a new body (2xx) nor 304."""
    if status in (429, 503):
        return Outcome.BUSY
    if status >= 500:
        return Outcome.SERVER
    return {
        401: Outcome.FORBIDDEN,
        403: Outcome.FORBIDDEN,
        404: Outcome.MISSING,
        410: Outcome.GONE,
        451: Outcome.FORBIDDEN,
    }.get(status, Outcome.STATUS)


def good_for(headers: dict[str, str], ttl: int | None) -> float | None:
    """Seconds that a server, or its feed, says that an answer is good for: Cache-Control's max-age, ttl in minutes."""
    found = [] if ttl is None else [ttl * 60.0]
    for part in headers.get("Cache-Control", "").lower().split(","):
        name, _, value = part.strip().partition("=")
        if name == "max-age" and value.strip('"').isascii() and value.strip('"').isdigit():
            found.append(float(value.strip('"')[:12]))
    return max(found, default=None)
