"""One worker's part in presence: it reads reports, and says what to publish: reports, then events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ..protocol.access import PRESENCE
from ..protocol.messages import dumps
from ..protocol.publications import Draft
from .everywhere import Everywhere
from .here import PIECE, Here
from .pace import Pace
from .reports import REPORTS


class Presence:
    """One worker's part in presence. Call `tick` every `Pace.tick` seconds, and publish the drafts it returns in order.

    While `more` is true that was only the first piece: get the next ones from `rest`, or from the next `tick`.

    me: the worker's name, unlike that of any other. alone: whether there can be no other workers. new_key: makes unique
    idempotency keys for drafts. reports: the channel for reports. tells: whether changes are published as events.
    piece: channels in a piece.

    events, reports: how many of them were made.
    """

    def __init__(
        self,
        me: str,
        pace: Pace,
        new_key: Callable[[], str],
        *,
        alone: bool,
        reports: str = REPORTS,
        tells: bool = True,
        piece: int = PIECE,
    ) -> None:
        self.here = Here(pace, piece=piece)
        self.everywhere = Everywhere(me, pace)
        self.events = 0
        self.reports = 0
        #: Whether this worker knows of everybody; before that questions can't be answered.
        self.ready = False
        self._me = me
        self._pace = pace
        self._new_key = new_key
        self._alone = alone
        self._reports = reports
        self._tells = tells
        self._piece = piece
        # Whether the last piece was full of events, so that there may be more.
        self._has_events = False
        # Whether a snapshot is under way; whether a hello, and whether a snapshot, must be sent.
        self._showing = False
        self._must_greet = True
        self._must_show = False
        self._ready_at: float | None = None
        self._said = 0.0
        # Sessions that came from other workers; and those of them that the report under way includes. They are reported
        # as moved after it: before, they would count nowhere for a moment.
        self._moved: list[str] = []
        self._moving: list[str] = []

    def knows(self, channel: str) -> bool:
        """Whether somebody is in this channel, here or elsewhere."""
        return channel in self.everywhere.rooms or self.here.has(channel)

    def adopted(self, session_id: str) -> None:
        """A session of another worker goes on at this one."""
        self._moved.append(session_id)

    def lost(self) -> None:
        """Reports may have been missed: start again with a hello. What is known is kept until reports change it."""
        self.here.forget()
        self._showing = self._has_events = False
        self._must_greet = True
        self.ready = False
        self._ready_at = None

    def take(self, report: Mapping[str, Any], now: float) -> None:
        """Read one report from the log; this worker's own reports too."""
        name = report["worker"]
        if "hello" in report:
            if name == self._me:
                self._ready_at = now + (0.0 if self._alone else self._pace.wait)
            else:
                self._must_show = True
        elif report.get("gone") == self._me:
            # This worker was slow, not gone.
            self._must_show = True
        elif "moved" in report and name != self._me:
            for session_id in report["moved"]:
                self.here.away(session_id, now)
        self.everywhere.take(report, now)

    @property
    def more(self) -> bool:
        """Whether `rest` has another piece of the tick under way."""
        return self._showing or self.here.more or self._has_events

    @property
    def shows(self) -> bool:
        """Whether a snapshot is under way, for which other workers wait."""
        return self._showing

    def tick(self, now: float) -> list[Draft]:
        """What to publish now, reports before events; only the first piece of it while there is `more`."""
        if self._must_greet:
            self._must_greet = False
            return [self._report(now, hello=True)]
        if not self.ready:
            if self._ready_at is None or now < self._ready_at or self.everywhere.is_shown(now):
                return []
            self.ready = self._must_show = True
        if not self.here.more and not self._showing and not self._must_show:
            self._begin(now)
        return self.rest(now)

    def _begin(self, now: float) -> None:
        self._showing, self._must_show = self._must_show, False
        self._moving += self._moved
        self._moved = []
        self.here.begin(now, whole=self._showing)

    def rest(self, now: float) -> list[Draft]:
        """The next piece of what `tick` began; it may be empty although there is `more`."""
        if not self.ready:
            return []
        if self._must_show and not self._showing:
            # Starting workers wait for the snapshot, and it includes what the report under way was about.
            self._begin(now)
        drafts = []
        parts = self.here.tell(now)
        if self._showing:
            self._showing = self.here.tells
            if not self._showing:
                last = parts.pop() if parts else {}
            drafts += [self._report(now, snapshot=part, more=True) for part in parts]
            if not self._showing:
                drafts.append(self._report(now, snapshot=last))
        else:
            drafts += [self._report(now, channels=part) for part in parts]
        if not self._alone:
            if not self.here.tells:
                moving, self._moving = self._moving, []
                drafts += [self._report(now, moved=moving[at : at + 500]) for at in range(0, len(moving), 500)]
            drafts += [self._report(now, gone=name) for name in self.everywhere.silent(now)]
            if now - self._said >= self._pace.beat:
                drafts.append(self._report(now, channels={}))
        if not self._tells:
            self.everywhere.forget_events()
            return drafts
        events = list(self.everywhere.events(self._piece, now))
        self._has_events = len(events) == self._piece
        self.events += len(events)
        drafts += [Draft(PRESENCE + channel, dumps(data), key=self._new_key()) for channel, data in events]
        return drafts

    def replay(self, reports: Iterable[Mapping[str, Any]], now: float) -> None:
        """Read the reports that the log has kept, before the first `tick`. Their workers may all be gone."""
        for report in reports:
            self.everywhere.take(report, now)
        self.everywhere.replayed()

    def bye(self, now: float) -> Iterator[list[Draft]]:
        """What to publish before the end, piece by piece: a snapshot, and a bye."""
        if self._alone or not self.ready:
            return
        # A snapshot, for a worker that starts when no other is left.
        self._must_show = True
        self.everywhere.end_tick()
        yield self.rest(now)
        while self.more or self._must_show:
            yield self.rest(now)
        yield [self._report(now, bye=True)]

    def _report(self, now: float, **what: Any) -> Draft:
        self._said = now
        self.reports += 1
        return Draft(self._reports, dumps({"worker": self._me, **what}), key=self._new_key())
