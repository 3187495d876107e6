"""What a feature declares: kinds of jobs and periodic jobs; what a handler is given, and what it may raise."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, ParamSpec, Protocol, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from .rows import MAX_KEY, MAX_KIND, New

P = ParamSpec("P")
T = TypeVar("T")


class JobError(Exception):
    """What a handler raises on purpose: no traceback is kept.

    GiveUp      it can't succeed, whenever it is tried
    TryAgain    it may succeed later
    LeaseLost   raised to the handler: another worker has the job by now
    """


class GiveUp(JobError):
    """The job can't succeed, whenever it is tried: it is kept with these words, and not tried again."""


class TryAgain(JobError):
    """It may succeed later. after: seconds; without them the kind's own pauses. It counts as an attempt."""

    def __init__(self, words: str, after: float | None = None) -> None:
        super().__init__(words)
        self.after = after


class LeaseLost(JobError):
    """Another worker has taken the job, since this one was silent for too long: nothing may be written any more."""


class Job(Protocol):
    """What a handler is given.

    app: the site's parts, `web.Application` as in a request. id: never used twice. data: what the kind's `parse` made
    of it. attempt: 1 for the first. created: when it was added, in seconds since 1970.
    """

    @property
    def app(self) -> Any: ...
    @property
    def id(self) -> int: ...
    @property
    def key(self) -> str | None: ...
    @property
    def data(self) -> Any: ...
    @property
    def attempt(self) -> int: ...
    @property
    def created(self) -> float: ...

    def progress(self, done: float, total: float, words: str = "") -> None:
        """Tell `job-<id>`'s channel how far it is. From any thread; doesn't wait; some of many are left out."""

    def saving(self) -> AbstractAsyncContextManager[AsyncSession]:
        """A session whose commit ends the job too: what it writes happens exactly once. At the handler's end, and once.

        Raises LeaseLost, and writes nothing, if another worker has the job. It holds SQLite's write lock: ask others
        for what takes time before it.
        """

    def end_with(self, write: Callable[[Session], None]) -> None:
        """Write this, too, in the transaction that ends the job once its handler returns; instead of `saving`.

        Other jobs end in the same transaction, so it costs no commit and no lock of its own: for a row or two whose
        change depends on nothing that others may have changed meanwhile. It happens exactly once, or not at all if
        another worker has the job. If it fails, so has this attempt.
        """

    async def in_thread(self, function: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Call what would block the loop in a thread of its own. It can't be stopped: let it have its own timeouts."""

    async def in_process(self, function: Callable[..., T], *args: Any, limit: float | None = None) -> T:
        """Call a function of a module in another process; it, its arguments and its result are pickled.

        limit: seconds that the call may take, counted from when a process begins with it: others may be before it, and
        a new process has to start. Raises TimeoutError then, and ProcessDied if that process was killed, whoever did;
        it is killed itself at the job's time limit.
        """


def as_given(data: Any) -> Any:
    """The `parse` of a kind that takes any data."""
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of job, and how it is done.

    name: what rows call it. run: on the loop `async def run(job)`; in a thread `def run(job)`, which can't use `saving`
    and the `in_…`; in a process `def run(data)`, a function of a module. parse: makes what `job.data` is of the
    JSON value; what it refuses with ValueError, TypeError or LookupError is given up at once. limit: seconds it
    may take. attempts: after so many it is given up. first, longest: seconds before it is tried again, doubled
    from the first to the longest. at_once: of this kind in one process; None: as many as of all.
    """

    name: str
    run: Callable[[Any], Awaitable[None] | None]
    where: Literal["loop", "thread", "process"] = "loop"
    parse: Callable[[Any], Any] = as_given
    limit: float = 60.0
    attempts: int = 10
    first: float = 5.0
    longest: float = 3600.0
    at_once: int | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_KIND or not self.name.isprintable():
            raise ValueError(f"no name for a kind of job: {self.name!r}")
        if self.limit <= 0 or self.attempts < 1 or self.first <= 0 or (self.at_once is not None and self.at_once < 1):
            raise ValueError(f"{self.name}: limit, attempts, first and at_once are more than 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """A job that is added again and again, once in the fleet; once, too, when its time was missed several times.

    name: of this, unique. seconds: between two. offset: seconds after midnight UTC (or after any multiple of `seconds`)
    at which it is due; without it, the first is due at once. It is not added while the one before waits, and
    not begun while that one runs.
    """

    name: str
    kind: str
    seconds: float
    data: Any = None
    offset: float | None = None

    def __post_init__(self) -> None:
        if not 0 < len(self.name) <= MAX_KEY - len("every:") or not self.name.isprintable():
            raise ValueError(f"no name for a periodic job: {self.name!r}")
        if not self.seconds >= 1:
            raise ValueError(f"{self.name}: seconds are at least 1")

    def after(self, now: float) -> float:
        """The first time after `now` at which it is due."""
        offset = self.offset or 0.0
        return (math.floor((now - offset) / self.seconds) + 1) * self.seconds + offset

    def first(self, now: float) -> float:
        """When it is due if it never was."""
        return now if self.offset is None else self.after(now)

    def new(self, now: float) -> New:
        """The job to add."""
        return New(self.kind, self.data, key=f"every:{self.name}", due=self.first(now))


def by_name(kinds: Iterable[Kind], periodic: Iterable[Every] = ()) -> Mapping[str, Kind]:
    """Kinds by their names. Raises ValueError for a name that two have, and for a periodic job of no kind."""
    found: dict[str, Kind] = {}
    for kind in kinds:
        if kind.name in found:
            raise ValueError(f"two kinds of jobs are called {kind.name}")
        found[kind.name] = kind
    names: set[str] = set()
    for each in periodic:
        if each.name in names:
            raise ValueError(f"two periodic jobs are called {each.name}")
        if each.kind not in found:
            raise ValueError(f"{each.name}: there is no kind {each.kind}")
        names.add(each.name)
    return found
