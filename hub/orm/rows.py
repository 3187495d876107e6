"""What waits in the outbox, and the rules by which it is told. Pure: whoever has a database and a
publisher drives `telling` and writes down its outcome.

The rules
- Rows are told in the order of their ids. For one subject that is the order of its commits: a
  row of the outbox is written after the row it is about, under that row's lock.
- A row's key makes a repeat harmless, so that "told, but died before the delete" needs no care.
- A hub that can't be reached is no row's fault: everything waits, nothing is counted.
- A row that the hub refuses is tried `TRIES` times and then parked: kept, counted, listed, and
  never again in the way of others. What can never succeed is parked at once.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import BadMessage, BadToken, HubError, InvalidChannel, ProtocolError, TooDeep, TooLarge, TooMany
from ..protocol.messages import dumps, is_deeper
from ..publisher import Item
from .declarations import Notice
from .retries import pause_after

#: Seconds for which a row is its writer's to tell; the sweeper takes it after that. Longer than
#: a publish takes, shorter than anyone looks at a page that has not moved.
GRACE = 2.0

#: How often a row that the hub refuses is tried. With the pauses below: about ten minutes.
TRIES = 10

#: Rows told at a time: one request or one pipeline, and no more than that is repeated after a crash.
BATCH = 200

#: The longest pause before a refused row is tried again, in seconds.
LONGEST_PAUSE = 120.0

#: Nesting that a hub takes, unless its HUB_MAX_DEPTH says otherwise.
DEEPEST = 64

#: What is kept of an error's words.
MAX_ERROR = 500

#: Refused for what it is: the same row will be refused again.
_HOPELESS = (BadMessage, InvalidChannel, TooLarge)

#: The realm's or the moment's fault, not the row's, though the hub answered.
_NOT_THE_ROW = (BadToken, TooMany)


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the outbox. `created` is in seconds since 1970; `data` is JSON text."""

    id: int
    channel: str
    data: str
    hint: bool
    subject: str | None
    created: float
    tries: int = 0

    @property
    def key(self) -> str:
        """The idempotency key. The time keeps apart two databases, or one restored from a copy, that share a realm."""
        return f"outbox-{self.id}-{int(self.created * 1_000_000)}"

    @property
    def item(self) -> Item:
        """What the publisher is given. A payload of fields carries its version: the row's id.

        What can't be read or sent (a number of 5,000 digits, nesting beyond a hub's bound) leaves the plain hint:
        the row would be in the way of all others.
        """
        try:
            data = json.loads(self.data)
            dumps(data)
            if is_deeper(data, DEEPEST):
                return Item(self.channel, True, id=self.key, hint=True)
        except (ValueError, RecursionError, BadMessage, TooDeep):
            return Item(self.channel, True, id=self.key, hint=True)
        if not self.hint and self.subject is not None and isinstance(data, dict):
            data.setdefault("version", self.id)
        return Item(self.channel, data, id=self.key, hint=self.hint)


@dataclass(frozen=True, slots=True)
class Failure:
    """A row the hub refused. `due` is when to try again; None parks it."""

    row: Row
    error: str
    due: float | None


@dataclass(slots=True)
class Outcome:
    """What became of a batch: ids to delete, failures to write down, and the error if the hub is away."""

    told: list[int] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    away: HubError | None = None


def values_of(found: Iterable[Notice], now: float) -> list[dict[str, Any]]:
    """Notices as rows to insert. `due` is when the sweeper may take them, if their writer did not."""
    return [
        {
            "channel": one.channel,
            "data": one.data,
            "hint": one.hint,
            "subject": one.subject,
            "created": now,
            "due": now + GRACE,
            "tries": 0,
        }
        for one in found
    ]


def telling(rows: Sequence[Row], now: float) -> Generator[list[Item], HubError | None, Outcome]:
    """Tell rows in order. Yields items to publish together; is sent None, or the HubError if that failed.

    A batch that the hub refuses is told row by row, to find the one it means.
    """
    outcome = Outcome()
    error = yield [row.item for row in rows]
    if error is None:
        outcome.told = [row.id for row in rows]
        return outcome
    if not _blames_a_row(error):
        outcome.away = error
        return outcome
    refused: set[tuple[str, str | None]] = set()
    for row in rows:
        if row.subject is not None and (row.channel, row.subject) in refused:
            # It may not overtake the older one, which is tried again.
            continue
        error = yield [row.item]
        if error is None:
            outcome.told.append(row.id)
        elif not _blames_a_row(error):
            outcome.away = error
            return outcome
        else:
            failure = _failure(row, error, now)
            outcome.failed.append(failure)
            if failure.due is not None:
                refused.add((row.channel, row.subject))
    return outcome


def _blames_a_row(error: HubError) -> bool:
    return isinstance(error, ProtocolError) and not isinstance(error, _NOT_THE_ROW)


def _failure(row: Row, error: HubError, now: float) -> Failure:
    text = str(error)[:MAX_ERROR]
    if isinstance(error, _HOPELESS) or row.tries + 1 >= TRIES:
        return Failure(row, text, None)
    return Failure(row, text, now + pause_after(row.tries + 1, 1.0, LONGEST_PAUSE))
