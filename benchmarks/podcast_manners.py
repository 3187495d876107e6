"""The manners of fetching: many feeds over many days, by a clock that is handed in, and what their servers saw.

    python -m benchmarks.podcast_manners [--feeds 10000] [--days 30] [--seed 1]

The schedule is the site's own (`web.features.podcasts.schedule`), and so is who may fetch what when (`Host.places`, a
job a host and place). Servers are made: feeds that publish daily, weekly or never again; with validators, without, or
with wrong ones; that move, fail, time out, are gone; hosts that say 429 with Retry-After when they are asked too
often. A ledger looks at each request as the server would: two at once of a host at most, one of a feed, none while a
host asked to be left alone, none after 410, no feed asked twice within its least pause, validators sent back as they
came. At the end: the counts, and how many answers were whole beside those that had to be.
"""

from __future__ import annotations

import argparse
import heapq
import random
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from web.features.podcasts.schedule import (
    DAY,
    HOUR,
    Answer,
    Host,
    Outcome,
    State,
    after,
    conditions,
    host_after,
    outcome_of_status,
)

#: As web.features.podcasts.jobs.
EVERY, PER_JOB = 30.0, 20

READER = 1
START = 1_800_000_000.0


@dataclass
class Server:
    """A host of feeds. limit: requests in ten minutes that it takes; then it says 429 and to wait so long."""

    name: str
    limit: int | None = None
    wait: float = 1800.0
    asked: list[float] = field(default_factory=list)
    #: Until when it has said that it wants to be left alone.
    away: float = 0.0
    running: int = 0


@dataclass
class Source:
    """A feed as its server has it. kind: how it behaves. every: seconds between episodes; 0 for never."""

    id: int
    server: Server
    kind: str
    every: float
    offset: float
    running: bool = False
    last: float | None = None
    last_outcome: Outcome | None = None
    gone_told: bool = False
    seen_version: int = -1
    sent_etag: str = ""
    failures: int = 0

    def version(self, now: float) -> int:
        return 0 if not self.every else int((now - START + self.offset) // self.every)


@dataclass
class Ledger:
    """What was seen, and what was against the rules."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    most_at_once: int = 0
    whole: int = 0
    needed: int = 0

    def fault(self, words: str) -> None:
        self.counts["faults"] += 1
        if len(self.faults) < 20:
            self.faults.append(words)


_KINDS = (
    ("well", 70), ("no validators", 5), ("always 304", 3), ("modified only", 6), ("flaky", 6), ("slow", 2),
    ("missing", 3), ("gone", 2), ("forbidden", 1), ("page", 1), ("network", 1),
)  # fmt: skip
_EVERY = ((HOUR * 6, 5), (DAY, 20), (3.5 * DAY, 15), (7 * DAY, 40), (30 * DAY, 10), (0.0, 10))


def world(feeds: int, dice: random.Random) -> list[Source]:
    """Feeds on hosts: a few have very many, most have one."""
    big = [
        Server(f"big-{number}.example", limit=max(2, feeds // 500), wait=dice.choice([600.0, 3600.0]))
        for number in range(5)
    ]
    middle = [
        Server(f"middle-{number}.example", limit=dice.choice([None, 3])) for number in range(max(1, feeds // 100))
    ]
    found = []
    for id in range(feeds):
        draw = dice.random()
        if draw < 0.4:
            server = dice.choices(big, (5, 3, 2, 1, 1))[0]
        elif draw < 0.7:
            server = dice.choice(middle)
        else:
            server = Server(f"host-{id}.example")
        kind = dice.choices([name for name, _ in _KINDS], [weight for _, weight in _KINDS])[0]
        every = dice.choices([each for each, _ in _EVERY], [weight for _, weight in _EVERY])[0]
        found.append(Source(id, server, kind, every, dice.uniform(0, every or 1)))
    return found


class Simulation:
    """The fleet and the servers, on one clock."""

    def __init__(self, feeds: int, days: float, seed: int) -> None:
        self.dice = random.Random(seed)
        self.sources = world(feeds, self.dice)
        self.end = START + days * DAY
        self.now = START
        self.ledger = Ledger()
        # A site that has existed for a while: feeds were added over the first day.
        self.states = [
            State(next=START + self.dice.uniform(0, DAY), gap=source.every or None) for source in self.sources
        ]
        self.hosts: dict[str, Host] = defaultdict(Host)
        #: Feeds whose time has come, by host; and the times of the others.
        self.due: dict[str, set[int]] = defaultdict(set)
        self.upcoming = [(state.next or 0.0, id) for id, state in enumerate(self.states)]
        heapq.heapify(self.upcoming)
        self.jobs: set[tuple[str, int]] = set()
        self.waiting: set[tuple[str, int]] = set()
        self.events: list[tuple[float, int, str, object]] = []
        self.number = 0

    def at(self, when: float, what: str, with_: object = None) -> None:
        self.number += 1
        heapq.heappush(self.events, (when, self.number, what, with_))

    def run(self) -> Ledger:
        self.at(START, "sweep")
        while self.events:
            when, _, what, with_ = heapq.heappop(self.events)
            if when > self.end:
                break
            self.now = when
            getattr(self, f"_{what}")(with_)
        return self.ledger

    def _sweep(self, _: object) -> None:
        self._look()
        for name, ids in self.due.items():
            if not ids or self.hosts[name].paused > self.now:
                continue
            for place in (0, 1):
                if (name, place) not in self.waiting:
                    self.waiting.add((name, place))
                    self.at(self.now + self.dice.uniform(0, EVERY), "begin", (name, place))
        self.at(self.now + EVERY, "sweep")

    def _look(self) -> None:
        while self.upcoming and self.upcoming[0][0] <= self.now:
            _, id = heapq.heappop(self.upcoming)
            self.due[self.sources[id].server.name].add(id)

    def _begin(self, key: tuple[str, int]) -> None:
        if key in self.jobs:
            # Of jobs with one key none runs twice at once; it waits for the other's end.
            self.at(self.now + 1.0, "begin", key)
            return
        self.waiting.discard(key)
        self.jobs.add(key)
        self._step((key, PER_JOB))

    def _step(self, job: tuple[tuple[str, int], int]) -> None:
        (name, place), left = job
        self._look()
        due = self.due[name]
        if not due or not left or place >= self.hosts[name].places(self.now):
            self.jobs.discard((name, place))
            return
        id = min(due, key=lambda each: self.states[each].next or 0.0)
        due.discard(id)
        answer, took = self._ask(id)
        self.at(self.now + took, "answered", (job, id, answer))

    def _ask(self, id: int) -> tuple[Answer, float]:
        """One request, as the ledger and the server see it: the answer, and the seconds until it is there."""
        source, state, ledger = self.sources[id], self.states[id], self.ledger
        server = source.server
        asked = conditions(state, self.now, READER)
        ledger.counts["requests"] += 1
        server.running += 1
        ledger.most_at_once = max(ledger.most_at_once, server.running)
        if server.running > 2:
            ledger.fault(f"{server.name} is asked {server.running} times at once")
        if source.running:
            ledger.fault(f"feed {id} is asked twice at once")
        source.running = True
        if self.now < server.away:
            ledger.fault(f"{server.name} has asked to be left alone for {server.away - self.now:.0f} s more")
        if source.gone_told:
            ledger.fault(f"feed {id} is gone, and asked again")
        if source.last is not None:
            pause, least = self.now - source.last, HOUR if source.last_outcome in (Outcome.NEW, Outcome.SAME) else 480
            if pause < least:
                ledger.fault(f"feed {id} is asked again after {pause:.0f} s")
        if asked is not None and asked[0] != source.sent_etag and source.kind != "modified only":
            ledger.fault(f"feed {id} is asked with another ETag than it sent")
        answer = self._answer(source, asked)
        if answer.outcome in (Outcome.NEW,) or (answer.outcome is Outcome.SAME and not answer.conditional):
            self._count_whole(source, state, asked)
        source.last_outcome = answer.outcome
        ledger.counts[answer.outcome.value] += 1
        took = 30.0 if answer.outcome in (Outcome.TOO_SLOW, Outcome.NETWORK) else self.dice.uniform(0.05, 3)
        return answer, took

    def _count_whole(self, source: Source, state: State, asked: tuple[str, str] | None) -> None:
        """A whole answer; needed if it is the first, or new, or the week's, or after a failure, or the server can't."""
        self.ledger.whole += 1
        version = source.version(self.now)
        is_new = version != source.seen_version
        can = source.kind not in {"no validators"}
        if is_new or not can or asked is None:
            self.ledger.needed += 1
        if asked is None and can and not is_new:
            if state.failures:
                self.ledger.counts["whole after a failure"] += 1
            elif self.now - state.whole >= 7 * DAY:
                self.ledger.counts["whole of the week"] += 1
            else:
                self.ledger.fault(f"feed {source.id} is asked for all of it without a reason")
        source.seen_version = version

    def _answer(self, source: Source, asked: tuple[str, str] | None) -> Answer:
        server = source.server
        server.asked = [when for when in server.asked if when > self.now - 600]
        server.asked.append(self.now)
        if server.limit is not None and len(server.asked) > server.limit:
            return Answer(outcome=outcome_of_status(429), wait=server.wait)
        kind, roll = source.kind, self.dice.random()
        if kind == "flaky" and roll < 0.3:
            return Answer(outcome=self.dice.choice([Outcome.SERVER, Outcome.NETWORK, Outcome.UNREADABLE]))
        if kind == "slow" and roll < 0.5:
            return Answer(outcome=Outcome.TOO_SLOW)
        dead = {"missing": 404, "gone": 410, "forbidden": 403}.get(kind)
        # They were well for some days.
        if dead is not None and self.now > START + 3 * DAY:
            source.gone_told = dead == 410
            return Answer(outcome=outcome_of_status(dead))
        if kind == "page" and roll < 0.1:
            return Answer(outcome=Outcome.NOT_FEED)
        if kind == "network" and roll < 0.8:
            return Answer(outcome=Outcome.NETWORK)
        version = source.version(self.now)
        etag = "" if kind in {"no validators", "modified only"} else f'"{source.id}-{version}"'
        modified = f"{version}" if kind == "modified only" else ""
        source.sent_etag = etag
        if kind == "always 304" and asked is not None:
            source.sent_etag = asked[0]
            return Answer(outcome=Outcome.SAME, conditional=True)
        if asked is not None and asked == (etag, modified):
            return Answer(outcome=Outcome.SAME, etag=etag, modified=modified, conditional=True)
        return Answer(outcome=Outcome.NEW, etag=etag, modified=modified)

    def _answered(self, what: tuple[tuple[tuple[str, int], int], int, Answer]) -> None:
        job, id, answer = what
        source = self.sources[id]
        source.server.running -= 1
        source.running = False
        source.last = self.now
        if answer.outcome is Outcome.BUSY and answer.wait is not None:
            # From when we are told: another may have been on its way.
            source.server.away = max(source.server.away, self.now + answer.wait)
        name = source.server.name
        state = self.states[id] = after(self.states[id], answer, self.now, self.dice.random(), READER)
        if state.next is not None:
            heapq.heappush(self.upcoming, (state.next, id))
        self.hosts[name] = host_after(self.hosts[name], answer, self.now)
        self._step((job[0], job[1] - 1))


def run(feeds: int, days: float, seed: int) -> Simulation:
    """Run the simulation, which keeps the ledger of its requests."""
    simulation = Simulation(feeds, days, seed)
    simulation.run()
    return simulation


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--feeds", type=int, default=10_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    found = parser.parse_args()
    began = time.perf_counter()
    simulation = run(found.feeds, found.days, found.seed)
    ledger = simulation.ledger
    counts, requests = ledger.counts, ledger.counts["requests"]
    hosts = len({one.server.name for one in simulation.sources})
    print(f"{found.feeds:,} feeds on {hosts:,} hosts, {found.days:g} days, seed {found.seed}")
    print(f"{requests:,} requests, {requests / found.feeds / found.days:.1f} a feed and day")
    for outcome in Outcome:
        if counts[outcome.value]:
            print(f"  {counts[outcome.value]:>9,}  {outcome.value}")
    print(f"at once from one host: {ledger.most_at_once} at most")
    over = ledger.whole / max(ledger.needed, 1) - 1
    print(f"whole answers: {ledger.whole:,}; needed: {ledger.needed:,}; {over:.2%} above")
    print(f"  of them {counts['whole of the week']:,} of the week, {counts['whole after a failure']:,} after a failure")
    print(f"rules broken: {counts['faults']}")
    for words in ledger.faults:
        print(f"  {words}")
    print(f"{time.perf_counter() - began:.1f} s")
    return 1 if counts["faults"] or over > 0.05 or ledger.most_at_once > 2 else 0


if __name__ == "__main__":
    sys.exit(main())
