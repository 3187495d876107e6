"""A story is what happens in one run: which workers and clients there are, and a list of steps. A seed makes one.

`tell` runs it and returns what came of it; `shorten` drops steps for as long as the same promise is broken.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from hub.kicks import KICK
from hub.node import Node
from hub.protocol.publications import Draft

from . import rights as bearing
from .books import Books
from .clients import KINDS, TRANSPORTS, Client
from .code import Watcher
from .hosts import HOLD, TTL, Host, Wires, brief
from .listeners import Listener
from .redis import Store, Trouble
from .rights import Rights
from .sealed import Sealed
from .world import World

CHANNELS = ("/a", "/b", "/c")

#: The kind of client that speaks no Bayeux.
PLAIN = "plain"

#: Seconds that everything has to come to rest after the last step, and for what is published then to be heard: after
#: faults, and where there were none.
REST = (9.0, 4.0)
HEARING = (9.0, 6.5)

#: Times that Redis takes while it is slow: up to 0.2 s each otherwise (`Trouble.delay`).
_SLOW = 30.0

#: Faults a story may have, besides what its clients do; most have one kind, so that what it costs is clear.
WEATHERS = ("calm", "lossy", "kills", "stops", "redis", "calls", "polite", "all")

#: What clients do, how often.
_DOINGS = {
    "subscribe": 16,
    "unsubscribe": 8,
    "publish": 8,
    "both": 8,
    "batch": 4,
    "poll_twice": 5,
    "copy": 5,
    "lose": 5,
    "move": 7,
    "nap": 2,
    "leave": 3,
    "reload": 1,
}
_NAMES, _WEIGHTS = tuple(_DOINGS), tuple(_DOINGS.values())

#: Seconds between two steps: most come together.
_GAPS = (0.0, 0.0, 0.0003, 0.001, 0.001, 0.002, 0.005, 0.02, 0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens. who: "client2", "node1", "redis" or "publisher"."""

    time: float
    who: str
    what: str
    channel: str = ""
    number: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        more = " ".join(str(each) for each in (self.channel, self.seconds or "") if each)
        return f"{self.time:8.4f}  {self.who}: {self.what} {more}".rstrip()


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that a seed decides beforehand. clients: kind, transport, and whether each request hops.

    rights: whether its clients have tokens, and an operator sends them away.
    """

    seed: int
    nodes: int
    weather: str
    clients: tuple[tuple[str, str, bool], ...]
    steps: tuple[Step, ...]
    rights: bool = False

    def __str__(self) -> str:
        who = ", ".join(
            f"client{number} is {kind} over {transport}{', hopping' if hops else ''}"
            for number, (kind, transport, hops) in enumerate(self.clients)
        )
        lines = [f"seed {self.seed}: {self.nodes} workers, weather {self.weather}; {who}"]
        return "\n".join([*lines, *map(str, self.steps)])


@dataclass(slots=True)
class Ending:
    """What came of a story."""

    story: Story
    broken: list[str]
    trace: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def write(seed: int, steps: int = 30, workers: int = 0) -> Story:
    """The story of a seed. workers: how many, if the seed is not to decide."""
    dice = Random(seed)
    nodes = workers or dice.choice((2, 2, 2, 3, 3, 4))
    weather = dice.choice(WEATHERS)
    clients = tuple(_somebody(dice) for _ in range(dice.choice((1, 1, 2, 2, 3))))
    found: list[Step] = []
    now = 0.0
    names = [f"client{number}" for number in range(len(clients))]
    for number, name in enumerate(names):
        found.append(Step(dice.random() * 0.01, name, "appear"))
        found.append(Step(0.02 + dice.random() * 0.01, name, "subscribe", CHANNELS[number % 3]))
    now = 0.02 + dice.random() * 0.1
    number = 0
    while len(found) < steps:
        now += dice.choice(_GAPS) * (0.5 + dice.random())
        number += 1
        roll = dice.random()
        channel = CHANNELS[min(int(dice.random() * 4), 2)]
        if roll < 0.12 and weather not in ("calm", "lossy"):
            found.append(_fault(dice, now, weather, nodes))
        elif roll < 0.37:
            found.append(Step(now, "publisher", "publish", channel, 1000 + number))
        else:
            what = dice.choices(_NAMES, _WEIGHTS)[0]
            seconds = dice.choice((0.5, 2.0, 6.0, 16.0)) if what == "nap" else 0.0
            found.append(Step(now, dice.choice(names), what, channel, 1000 + number, seconds))
    return Story(seed, nodes, weather, clients, tuple(found))


def write_rights(seed: int, steps: int = 36, workers: int = 0) -> Story:
    """The story of a seed in which rights come and go."""
    dice = Random(seed)
    nodes = workers or dice.choice((1, 2, 2, 3))
    weather = dice.choice(("calm", "calm", "kills", "kills", "lossy", "stops", "redis", "calls", "polite", "all"))
    clients = tuple(_somebody(dice, plain=0.2) for _ in range(dice.choice((1, 2, 2, 3))))
    names = [f"client{number}" for number in range(len(clients))]
    found: list[Step] = []
    for number, name in enumerate(names):
        found.append(Step(dice.random() * 0.01, name, "appear"))
        found.append(Step(0.02 + dice.random() * 0.01, name, "subscribe", bearing.CHANNELS[(number + 1) % 3]))
    doings = {**_DOINGS, **bearing.DOINGS}
    now, number = 0.03, 0
    while len(found) < steps:
        now += dice.choice((*_GAPS, 1.0, 1.0)) * (0.5 + dice.random())
        number += 1
        roll, channel = dice.random(), dice.choice(bearing.CHANNELS)
        if roll < 0.12 and weather not in ("calm", "lossy"):
            found.append(_fault(dice, now, weather, nodes))
        elif roll < 0.22:
            # Of some kicks a worker never reads, as its place in the log is lost.
            missed = weather in ("redis", "all") and dice.random() < 0.6
            what = "missed kick" if missed else "kick"
            found.append(Step(now, "operator", what, dice.choice(bearing.USERS), number))
        elif roll < 0.35:
            found.append(Step(now, "publisher", "publish", channel, 1000 + number))
        else:
            what = dice.choices(tuple(doings), tuple(doings.values()))[0]
            seconds = dice.choice((0.5, 2.0, 6.0)) if what == "nap" else 0.0
            found.append(Step(now, dice.choice(names), what, channel, 1000 + number, seconds))
    # What nobody may hear any more is published all the while, and for longer than tokens live.
    for tick in range(int(now / 0.4) + 15):
        when = (tick + dice.random()) * 0.4
        found.append(Step(when, "publisher", "publish", bearing.CHANNELS[1 + tick % 2], 5000 + tick))
    return Story(seed, nodes, weather, clients, tuple(sorted(found, key=lambda step: step.time)), rights=True)


def _somebody(dice: Random, plain: float = 0.08) -> tuple[str, str, bool]:
    if dice.random() < plain:
        return PLAIN, "/ws", True
    transport = dice.choice(TRANSPORTS) if dice.random() < 0.5 else TRANSPORTS[0]
    kind = dice.choice(KINDS)
    if kind == "acknowledging" and transport == "eventsource":
        # The hub refuses a stream to a session that acknowledges.
        kind = "repeating"
    return kind, transport, dice.random() < 0.8


def _fault(dice: Random, now: float, weather: str, nodes: int) -> Step:
    node = f"node{dice.randrange(nodes)}"
    kind = dice.choice(("kills", "stops", "redis", "calls", "polite")) if weather == "all" else weather
    if kind == "kills":
        return Step(now, node, "kill", seconds=dice.choice((0.05, 0.5, 3.0, 8.0)))
    if kind == "stops":
        return Step(now, node, "stop", seconds=dice.choice((0.01, 0.1, 1.0, 4.0, 9.0)))
    if kind == "polite":
        return Step(now, node, "restart", seconds=dice.choice((0.1, 1.0)))
    if kind == "calls":
        return Step(now, "redis", "fail", seconds=dice.choice((0.05, 0.5, 2.0)))
    what = dice.choice(("slow", "slow", "away", "away", "trim"))
    return Step(now, "redis" if what != "trim" else node, what, seconds=dice.choice((0.05, 0.3, 1.5, 4.0, 7.0)))


class Stage:
    """A story being told."""

    def __init__(self, story: Story, seal: Sealed, *, traced: bool, store: Callable[..., Store] = Store) -> None:
        self.story = story
        self.world = world = World(story.seed)
        world.trace = [] if traced else None
        seal.begin(world)
        self.wires = Wires(world, world.dice(1))
        if story.weather == "lossy":
            self.wires.lossy = 0.08
        self.store = store(lambda: world.now)
        self.trouble = Trouble(world.dice(2))
        self.books = Books(world, self.store)
        self.hosts = [Host(number, world, self.wires, self.store, self.trouble, seal) for number in range(story.nodes)]
        self.watchers: list[Watcher] = []
        for host in self.hosts:
            host.started = self._follow
        self.counts: Counter[str] = Counter()
        self.clients: dict[str, Client | Listener] = {}
        self.rights = Rights(world) if story.rights else None
        self.channels = bearing.CHANNELS if story.rights else CHANNELS
        if self.rights is not None:
            self.books.guarded = bearing.GUARDED
            for host in self.hosts:
                host.access = bearing.new_access
        for number, (kind, transport, hops) in enumerate(story.clients):
            if self.rights is not None:
                client: Client | Listener = bearing.somebody(
                    self.rights, number, kind, transport, hops, world, self.wires, self.hosts, self.books
                )
            elif kind == PLAIN:
                client = Listener(number, world, self.wires, self.hosts, self.books)
            else:
                client = Client(number, kind, transport, hops, world, self.wires, self.hosts, self.books)
            self.clients[client.name] = client

    def _follow(self, host: Host, node: Node) -> None:
        """Code in a new worker begins to follow."""
        watcher = Watcher(host, node, self.world, self.books, self.channels)
        self.watchers.append(watcher)
        host.process.create_task(watcher.follow())

    def play(self) -> Ending:
        world, story = self.world, self.story
        for host in self.hosts:
            host.start()
        # Workers are up before the first client comes.
        world.run(0.05)
        start = world.now
        for step in story.steps:
            world.at(start + step.time, self._do, step)
        world.run(start + story.steps[-1].time if story.steps else start)
        self._heal()
        quiet = not self.books.faults
        world.run(world.now + REST[quiet])
        if not world.broken:
            self._speak()
            world.run(world.now + HEARING[quiet])
        if not world.broken:
            self.books.close()
            for watcher in self.watchers:
                watcher.check()
            self._check_under_way()
        if not world.broken and story.seed % 4 == 0:
            self._check_empty()
        counts = self.counts
        counts["happenings"] = world.happened
        counts["sessions"] = len(self.books.books)
        counts["deliveries"] = self.books.heard
        counts["repeats"] = self.books.repeats
        counts["pages given"] = sum(watcher.given for watcher in self.watchers)
        counts["pages made"] = sum(watcher.made for watcher in self.watchers)
        if self.rights is not None:
            counts["deliveries that take a token"] = self.rights.checked
            counts["refusals"] = self.rights.refused
        counts["publications"] = sum(map(len, self.store.logs))
        for kind, number in self.trouble.faults.items():
            counts[f"calls {kind}"] = number
        for host in self.hosts:
            for process in host.processes:
                process.forget()
        world.end()
        return Ending(story, world.broken, world.trace or [], counts)

    def _do(self, step: Step) -> None:
        self.counts[step.what] += 1
        if self.world.trace is not None:
            self.world.say("step", str(step)[10:])
        if step.who in self.clients:
            self._client(self.clients[step.who], step)
        elif step.who == "publisher":
            self._publish(step.channel, step.number)
        elif step.who == "operator":
            self._kick(step)
        elif step.who == "redis":
            self._redis(step)
        else:
            self._node(self.hosts[int(step.who[4:])], step)

    def _client(self, client: Client | Listener, step: Step) -> None:
        what = step.what
        if what == "appear":
            client.appear()
        elif not client.here:
            return
        elif what in ("subscribe", "unsubscribe", "both"):
            getattr(client, what)(step.channel)
        elif isinstance(client, bearing.Bearer | bearing.BearerListener) and what in bearing.DOINGS:
            if what == "newer":
                client.newer(step.channel)
            else:
                client.show(what, step.channel)
        elif what == "publish":
            client.publish(step.channel, step.number)
        elif what == "batch":
            client.batch(step.channel, self.channels[step.number % 3], step.number)
        elif what == "copy":
            client.copy_next = True
            client.publish(step.channel, step.number)
        elif what == "lose":
            client.lose_next = True
            client.poll_twice()
        elif what == "nap":
            client.nap(step.seconds)
        else:
            getattr(client, what)()

    def _publish(self, channel: str, number: int) -> None:
        up = [host for host in self.hosts if host.up and not host.leaving]
        if not up:
            return
        host = up[number % len(up)]
        self.books.publishes(number, channel)

        def done(found: list[object] | None) -> None:
            self.world.say("publisher", f"{number} to {channel}: {found[0] if found else 'not known'}")
            if found:
                self.books.was_published(number)

        host.publish([Draft(channel, b"%d" % number)], done)

    def _kick(self, step: Step) -> None:
        assert self.rights is not None
        up = [host for host in self.hosts if host.is_ready]
        if not up:
            return
        host, other = up[step.number % len(up)], up[step.number // 2 % len(up)]
        if step.what == "missed kick":
            self._miss(other)
        self.rights.kick(step.channel, host)

    def _miss(self, host: Host) -> None:
        """Have a worker lose its place in the log as the next kick is written there."""
        store, broker, missed = self.store, host.broker, False

        def told(shard: int) -> None:
            nonlocal missed
            if not missed and store.logs[shard][-1].channel == KICK:
                missed = True
                host.process.arrive(broker.lose)

        store.accepted.append(told)
        self.books.faults = True

    def _redis(self, step: Step) -> None:
        trouble, world = self.trouble, self.world
        if self.rights is not None:
            # What waited for it goes on a moment later; what was sent while it was slow arrives as slowly.
            late = 0.2 * _SLOW if step.what == "slow" else 0.5
            self.rights.trouble(world.now + step.seconds + late)
        self.books.faults = True
        if step.what == "slow":
            trouble.slow = _SLOW
            world.after(step.seconds, self._mend, "slow")
        elif step.what == "away":
            if not trouble.away:
                trouble.away, trouble.since = True, world.now
                world.after(step.seconds, self._mend, "away")
        else:
            trouble.chance = 0.3
            world.after(step.seconds, self._mend, "fail")

    def _mend(self, what: str) -> None:
        self.world.say("redis", f"is well again: {what}")
        if what == "slow":
            self.trouble.slow = 1.0
        elif what == "away":
            self.trouble.away = False
        else:
            self.trouble.chance = 0.0

    def _node(self, host: Host, step: Step) -> None:
        if step.what == "restart":
            # Nothing is excused by an update of the site, but that something is heard once more.
            self.books.updated = True
            others = [each for each in self.hosts if each is not host and each.up and not each.leaving]
            if others:
                host.leave()
                self._start_again(host, step.seconds)
            return
        self.books.faults = True
        if step.what == "stop" and self.rights is not None:
            self.rights.trouble(self.world.now + step.seconds)
        if step.what in ("kill", "stop"):
            self.books.deaths.append(self.world.now)
        if step.what == "kill":
            host.kill()
            self._start_again(host, step.seconds)
        elif step.what == "stop" and host.up:
            host.process.stop_for(step.seconds)
        elif step.what == "trim" and host.up:
            host.process.arrive(host.broker.lose)

    def _start_again(self, host: Host, seconds: float) -> None:
        if host.up or host.leaving:
            self.world.after(seconds, self._start_again, host, seconds)
            if not host.leaving:
                return
        self.world.after(seconds, host.start)

    def _heal(self) -> None:
        """No more faults: everything must be well soon."""
        self.trouble.slow, self.trouble.away, self.trouble.chance = 1.0, False, 0.0
        self.wires.lossy, self.wires.healed = 0.0, True
        if self.rights is not None:
            self.rights.healed = True
        for host in self.hosts:
            host.start()
            if host.process.stopped:
                host.process._continue()
        for client in self.clients.values():
            client.lose_next = client.copy_next = False
            client.wake()
            client.notice()
            if isinstance(client, bearing.Bearer | bearing.BearerListener):
                client.newer(self.channels[0])

    def _speak(self) -> None:
        self.world.say("story", "the last publications")
        for number, channel in enumerate(self.channels * 2):
            self._publish(channel, number)

    def _check_under_way(self) -> None:
        # Mail that was lost with a call to Redis is missed after a hold and ten seconds, and sent once more.
        oldest = self.world.now - (2 * HOLD + 12 if self.books.faults else HOLD + 4)
        now = self.world.now
        for host in self.hosts:
            for exchange in host.exchanges:
                if exchange.answered is None and exchange.arrived is not None and exchange.arrived < oldest:
                    self.world.accuse(
                        f"{exchange.client.name}'s request at {host.name} is not answered any more:"
                        f" {brief(exchange.messages)}, since {exchange.arrived:.4f}"
                    )
        for client in self.clients.values():
            if isinstance(client, Listener):
                if client.here and client.socket is None:
                    self.world.accuse(f"{client.name} has no connection in the end")
            elif client.here and client.book is None and not client.asks:
                self.world.accuse(f"{client.name} has no session in the end, and asks for none")
            elif client.here and client.book is not None and not client.connects and now - client.rested > HOLD + 3:
                self.world.accuse(f"{client.name} has no connect under way in the end")

    def _check_empty(self) -> None:
        """Without clients nothing is kept."""
        for client in self.clients.values():
            client.depart()
        self.world.run(self.world.now + 2 * (HOLD + TTL) + 8)
        for host in self.hosts:
            node = host.node
            left = {
                "sessions": len(node.registry.sessions),
                "audiences": len(node.registry.audiences),
                "sleepers": len(node.registry.asleep),
                "tasks": len(node.tasks.running),
                "batches of links": len(node.queues.taken),
                "links": len(node.links),
                "publications": node.delivery.waiting,
                "calls": host.broker.pending,
            }
            for name, count in left.items():
                if count:
                    self.world.accuse(f"{host.name} keeps {count} {name} for ever")


def tell(story: Story, seal: Sealed, *, traced: bool = False, store: Callable[..., Store] = Store) -> Ending:
    """Run a story."""
    return Stage(story, seal, traced=traced, store=store).play()


def promise(words: str) -> str:
    """A broken promise without its particulars, so that two stories can be found to break the same."""
    return re.sub(r"\d+|/[abc]\b|\[.*?\]", "#", words)


def shorten(story: Story, seal: Sealed, *, store: Callable[..., Store] = Store, tries: int = 2000) -> Story:
    """The shortest story found that breaks the same promise: steps and clients go, one piece after the other."""
    wanted = promise(tell(story, seal, store=store).broken[0])

    def fails(candidate: Story) -> bool:
        nonlocal tries
        tries -= 1
        ending = tell(candidate, seal, store=store)
        return any(promise(each) == wanted for each in ending.broken)

    size = max(len(story.steps) // 2, 1)
    while tries > 0:
        start, changed = 0, False
        while start < len(story.steps) and tries > 0:
            shorter = replace(story, steps=story.steps[:start] + story.steps[start + size :])
            if shorter.steps and fails(shorter):
                story, changed = shorter, True
            else:
                start += size
        if size == 1 and not changed:
            break
        size = max(size // 2, 1)
    return story
