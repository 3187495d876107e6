"""Who is in which channel: the rules over any number of workers, with a log between them and no clock."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.presence.everywhere import Everywhere
from hub.presence.here import PIECE, Here
from hub.presence.pace import Pace
from hub.presence.reports import REPORTS
from hub.presence.worker import Presence
from hub.protocol.publications import Draft

PACE = Pace(leave=5.0, tick=0.25, wait=1.0)


class Worker:
    """One worker's rules with its place in the log, and the sessions that are really there."""

    def __init__(self, name: str, world: World, pace: Pace) -> None:
        keys = itertools.count()
        self.rules = Presence(name, pace, lambda: f"{name}:{next(keys)}", alone=False, piece=world.piece)
        if world.every:
            asked = itertools.count(1)
            self.rules.here.may_tell = lambda address: next(asked) % world.every == 0
        self.name = name
        self.world = world
        self.rules.replay(world.log, world.now)
        self.place = len(world.log)
        self.sessions: dict[tuple[str, str], str | None] = {}
        self.absent: set[str] = set()

    def read(self, count: int | None = None) -> None:
        end = len(self.world.log) if count is None else min(len(self.world.log), self.place + count)
        for report in self.world.log[self.place : end]:
            self.rules.take(report, self.world.now)
        self.place = end

    def come(self, session: str, channel: str, user: str | None = None) -> None:
        self.sessions[session, channel] = user
        self.rules.here.came(session, user, channel, f"192.0.2.{session[-1]}")

    def go(self, session: str, channel: str) -> None:
        self.sessions.pop((session, channel), None)
        self.rules.here.went(session, channel, self.world.now)
        if not any(name == session for name, _ in self.sessions):
            self.absent.discard(session)

    def away(self, session: str) -> None:
        self.absent.add(session)
        self.rules.here.away(session, self.world.now)

    def back(self, session: str) -> None:
        self.absent.discard(session)
        self.rules.here.back(session)

    def rename(self, session: str, user: str | None) -> None:
        for known in self.sessions:
            if known[0] == session:
                self.sessions[known] = user
        self.rules.here.renamed(session, user, self.world.now)

    def tick(self) -> None:
        """Begin a tick, or go on with the one that has more."""
        self.read()
        self.world.publish(self.rules.tick(self.world.now))

    def state(self, channel: str) -> tuple[list[str], int]:
        everywhere = self.rules.everywhere
        return sorted(everywhere.users(channel)), everywhere.count(channel)


class World:
    """A log, the time, workers, and what subscribers of the presence channels heard."""

    def __init__(self, pace: Pace = PACE, piece: int = PIECE, every: int = 0) -> None:
        self.pace = pace
        self.piece = piece
        # Of how many changes one may be told at once; 0 if all may.
        self.every = every
        self.now = 100.0
        self.log: list[dict[str, Any]] = []
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.workers: dict[str, Worker] = {}
        self._names = (f"w{number}" for number in itertools.count(1))

    def start(self) -> Worker:
        name = next(self._names)
        worker = self.workers[name] = Worker(name, self, self.pace)
        return worker

    def publish(self, drafts: list[Draft]) -> None:
        for draft in drafts:
            if draft.channel == REPORTS:
                self.log.append(orjson.loads(draft.data))
            else:
                self.events.append((draft.channel.removeprefix("/presence"), orjson.loads(draft.data)))

    def stop(self, name: str) -> None:
        for drafts in self.workers.pop(name).rules.bye(self.now):
            self.publish(drafts)

    def kill(self, name: str) -> None:
        del self.workers[name]

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / self.pace.tick)):
            self.now += self.pace.tick
            for worker in self.workers.values():
                worker.tick()
        for worker in self.workers.values():
            worker.read()

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        """The events since the last take."""
        taken, self.events = self.events, []
        return taken


def told(here: Here, now: float, *, whole: bool = False) -> list[dict[str, list[Any]]]:
    """All that is to be told."""
    here.begin(now, whole=whole)
    parts = here.tell(now)
    while here.more:
        parts += here.tell(now)
    return parts


def started(count: int, **pace: Any) -> tuple[World, list[Worker]]:
    """Workers that know each other, with nobody there."""
    world = World(Pace(leave=5.0, tick=0.25, wait=1.0, **pace))
    workers = [world.start() for _ in range(count)]
    world.run(3)
    assert all(worker.rules.ready for worker in workers)
    assert world.take() == []
    return world, workers


def event(joined: list[str], left: list[str], users: int, count: int) -> dict[str, Any]:
    return {"joined": joined, "left": left, "users": users, "count": count}


def test_join_is_told_at_once_and_a_leave_when_it_has_lasted() -> None:
    world, (one,) = started(1)
    one.come("s1", "/a", "alice")
    world.run(0.5)
    assert world.take() == [("/a", event(["alice"], [], 1, 1))]
    one.go("s1", "/a")
    world.run(0.75)
    assert world.take() == []
    world.run(4)
    assert world.take() == [("/a", event([], [], 1, 0))]
    world.run(1)
    assert world.take() == [("/a", event([], ["alice"], 0, 0))]


def test_page_that_is_loaded_again_is_neither() -> None:
    world, (one,) = started(1)
    one.come("s1", "/a", "alice")
    world.run(1)
    world.take()
    one.go("s1", "/a")
    one.come("s2", "/a", "alice")
    world.run(10)
    assert world.take() == []
    one.go("s2", "/a")
    world.run(0.75)
    one.come("s3", "/a", "alice")
    world.run(10)
    assert world.take() == []
    one.go("s3", "/a")
    world.run(3)
    one.come("s4", "/a", "alice")
    world.run(10)
    assert [(each["joined"], each["left"], each["count"]) for _, each in world.take()] == [([], [], 0), ([], [], 1)]


def test_session_that_goes_on_at_another_worker_is_neither() -> None:
    world, (one, two, three) = started(3)
    one.come("s1", "/a", "alice")
    world.run(1)
    assert world.take() == [("/a", event(["alice"], [], 1, 1))]
    one.go("s1", "/a")
    two.come("s1", "/a", "alice")
    world.run(10)
    assert all(each["joined"] == each["left"] == [] for _, each in world.take())
    assert {worker.state("/a") == (["alice"], 1) for worker in (one, two, three)} == {True}
    two.go("s1", "/a")
    world.run(6)
    assert [(each["joined"], each["left"]) for _, each in world.take()] == [([], []), ([], ["alice"])]


def test_session_counts_where_it_goes_on_and_not_where_it_was() -> None:
    """A poll that went to another worker is not known to the first, which still has the session."""
    world, (one, two) = started(2)
    one.come("s1", "/a", "alice")
    world.run(1)
    two.come("s1", "/a", "alice")
    two.rules.adopted("s1")
    world.run(2)
    assert one.state("/a") == (["alice"], 1)
    one.rules.here.back("s1")
    one.rules.adopted("s1")
    world.run(10)
    assert two.state("/a") == (["alice"], 1)


def test_two_pages_of_a_user_are_one_user_and_strangers_are_counted() -> None:
    world, (one, two) = started(2)
    one.come("s1", "/a", "alice")
    two.come("s2", "/a", "alice")
    two.come("s3", "/a")
    world.run(1)
    assert one.state("/a") == two.state("/a") == (["alice"], 3)
    one.go("s1", "/a")
    world.run(10)
    assert one.state("/a") == (["alice"], 2)
    assert all(each["left"] == [] for _, each in world.take())


def test_count_of_a_burst_is_told_once_a_tick() -> None:
    world, (one, two) = started(2)
    for number in range(1000):
        (one, two)[number % 2].come(f"s{number}", "/a")
    world.run(1)
    events = world.take()
    assert len(events) <= 2
    assert events[-1] == ("/a", event([], [], 0, 1000))


def test_connection_that_is_lost_and_comes_back_in_time_is_no_leave() -> None:
    world, (one,) = started(1)
    one.come("s1", "/a", "alice")
    world.run(1)
    one.rules.here.away("s1", world.now)
    world.run(3)
    assert one.state("/a") == (["alice"], 0)
    one.rules.here.back("s1")
    world.run(10)
    assert one.state("/a") == (["alice"], 1)
    one.rules.here.away("s1", world.now)
    world.run(6)
    assert one.state("/a") == ([], 0)
    assert [each["left"] for _, each in world.take()][-1] == ["alice"]


def test_session_may_become_another_user_s() -> None:
    world, (one,) = started(1)
    one.come("s1", "/a", "alice")
    world.run(1)
    one.rules.here.renamed("s1", None, world.now)
    world.run(6)
    assert one.state("/a") == ([], 1)
    one.rules.here.renamed("s1", "bob", world.now)
    world.run(1)
    assert one.state("/a") == (["bob"], 1)


def test_worker_that_died_is_found_out_and_its_users_leave() -> None:
    world, (one, two, three) = started(3)
    three.come("s1", "/a", "alice")
    one.come("s2", "/a", "bob")
    world.run(1)
    world.take()
    world.kill(three.name)
    world.run(9)
    assert one.state("/a") == (["alice", "bob"], 2)
    world.run(6)
    assert one.state("/a") == two.state("/a") == (["bob"], 1)
    lefts = [each["left"] for _, each in world.take()]
    assert ["alice"] in lefts
    assert set(one.rules.everywhere.workers) == {one.name, two.name}


def test_worker_that_ends_leaves_its_users_time_to_come_elsewhere() -> None:
    world, (one, two) = started(2)
    one.come("s1", "/a", "alice")
    one.come("s2", "/a", "bob")
    world.run(1)
    world.take()
    world.stop(one.name)
    world.run(2)
    assert two.state("/a") == (["alice", "bob"], 0)
    two.come("s3", "/a", "alice")
    world.run(8)
    assert two.state("/a") == (["alice"], 1)
    assert [user for _, each in world.take() for user in each["left"]] == ["bob"]


def test_worker_that_was_only_slow_is_taken_back() -> None:
    world, (one, two) = started(2)
    one.come("s1", "/a", "alice")
    world.run(1)
    world.take()
    del world.workers[one.name]
    world.run(15)
    assert two.state("/a") == ([], 0)
    world.workers[one.name] = one
    world.run(3)
    assert one.state("/a") == two.state("/a") == (["alice"], 1)
    assert world.take()[-1] == ("/a", event(["alice"], [], 1, 1))


def test_nobody_is_said_to_be_gone_while_the_log_carries_nothing() -> None:
    world, workers = started(3)
    world.now += 3600
    for worker in workers:
        assert list(worker.rules.everywhere.silent(world.now)) == []
    world.run(5)
    assert not any("gone" in report for report in world.log)


def test_change_whose_leader_died_before_it_told_is_told_by_another() -> None:
    world, workers = started(3)
    one = workers[0]
    for channel in ("/a", "/b", "/c", "/d", "/e", "/f"):
        one.come("s1", channel, "alice")
    one.tick()
    world.take()
    victim = workers[2]
    world.kill(victim.name)
    world.run(20)
    assert {channel for channel, each in world.take() if each["joined"] == ["alice"]} == {
        "/a", "/b", "/c", "/d", "/e", "/f",
    }  # fmt: skip


def test_worker_that_missed_reports_learns_anew() -> None:
    world, (one, two) = started(2)
    one.come("s1", "/a", "alice")
    one.tick()
    two.place = len(world.log)
    two.rules.lost()
    assert not two.rules.ready
    one.come("s2", "/a", "bob")
    world.run(3)
    assert two.rules.ready
    assert two.state("/a") == one.state("/a") == (["alice", "bob"], 2)


def test_beyond_the_bound_users_are_counted_and_not_named() -> None:
    world, (one,) = started(1, users=2)
    for number in range(5):
        one.come(f"s{number}", "/a", f"user{number}")
    world.run(1)
    assert one.state("/a") == (["user0", "user1"], 5)
    assert one.rules.here.unnamed == 3
    one.come("again", "/a", "user0")
    for number in range(5):
        one.go(f"s{number}", "/a")
    world.run(10)
    assert one.state("/a") == (["user0"], 1)
    one.come("s9", "/a", "user9")
    world.run(1)
    assert one.state("/a") == (["user0", "user9"], 2)


def test_beyond_the_bound_channels_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.presence.here.MAX_CHANNELS", 2)
    here = Here(PACE)
    for channel in ("/a", "/b", "/c"):
        here.came("s1", "alice", channel)
    assert (here.named, here.uncounted) == (2, 1)
    here.went("s1", "/c", 0.0)
    here.went("s1", "/a", 0.0)
    told(here, PACE.leave)
    here.came("s1", "alice", "/c")
    assert here.named == 2


def test_much_is_reported_in_parts_and_long_lists_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.presence.reports.REPORT_BYTES", 500)
    world, (one, two) = started(2)
    for number in range(1500):
        one.come(f"s{number}", "/a", f"user{number}")
        one.come(f"s{number}", f"/b{number % 9}", f"user{number}")
    world.run(1)
    assert max(len(orjson.dumps(report)) for report in world.log) < 1500
    assert len(two.state("/a")[0]) == 1500
    cut = next(each for channel, each in world.take() if channel == "/a")
    assert (len(cut["joined"]), cut["more"], cut["users"]) == (1000, 500, 1500)
    three = world.start()
    world.run(5)
    for channel in ("/a", "/b0", "/b8"):
        assert three.state(channel) == two.state(channel) == one.state(channel)


def test_nothing_is_kept_of_who_left() -> None:
    world, (one, two) = started(2)
    for number in range(50):
        one.come(f"s{number}", f"/a{number}", f"user{number}")
    world.run(1)
    for number in range(50):
        one.go(f"s{number}", f"/a{number}")
    world.run(10)
    here = one.rules.here
    assert here.named == 0
    assert not any(getattr(here, name) for name in ("_members", "_places", "_leaving", "_changed", "_held"))
    for worker in (one, two):
        everywhere = worker.rules.everywhere
        assert (everywhere.rooms, everywhere.named) == ({}, 0)
        assert not any(known.channels for known in everywhere.workers.values())


def test_bounds_hold_whatever_happens_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.presence.here.MAX_CHANNELS", 2)
    kinds = st.sampled_from(["came", "went", "away", "back", "renamed", "changes", "all"])
    sessions, channels = st.sampled_from(["s1", "s2", "s3"]), st.sampled_from(["/a", "/b", "/c"])

    @given(st.lists(st.tuples(kinds, sessions, channels, st.sampled_from([None, "alice", "bob"])), max_size=60))
    def check(steps: list[tuple[str, str, str, str | None]]) -> None:
        here = Here(Pace(users=2))
        now = 0.0
        for kind, session, channel, user in steps:
            now += 0.7
            match kind:
                case "came":
                    here.came(session, user, channel)
                case "went":
                    here.went(session, channel, now)
                case "away":
                    here.away(session, now)
                case "back":
                    here.back(session)
                case "renamed":
                    here.renamed(session, user, now)
                case "changes":
                    told(here, now)
                case "all":
                    told(here, now, whole=True)
            assert here.named <= 2
        for session, channel in itertools.product(["s1", "s2", "s3"], ["/a", "/b", "/c"]):
            here.went(session, channel, now)
        for _ in range(3):
            now += 10
            told(here, now)
        assert (here.named, told(here, now, whole=True)) == (0, [])
        assert not any(getattr(here, name) for name in ("_members", "_places", "_leaving", "_changed", "_held"))

    check()


def test_much_that_changed_at_once_is_told_a_piece_at_a_time() -> None:
    """A client that subscribed to a thousand channels where presence is open had a report of all and a thousand events
    published by one tick, 59 ms of the loop; so had one that came and went in them, each time.
    """
    world, [one] = started(1)
    channels = [f"/{number}" for number in range(1000)]
    for channel in channels:
        one.come("s1", channel, "alice")
    pieces = 0
    world.now += world.pace.tick
    drafts = one.rules.tick(world.now)
    while drafts or one.rules.more:
        reports = [orjson.loads(each.data) for each in drafts if each.channel == REPORTS]
        assert sum(len(each["channels"]) for each in reports) <= PIECE
        assert len(drafts) - len(reports) <= PIECE
        world.publish(drafts)
        one.read()
        pieces += 1
        drafts = one.rules.rest(world.now)
    assert pieces >= len(channels) / PIECE
    assert [channel for channel, _ in world.take()] == channels
    assert not one.rules.everywhere.due


def test_channel_is_told_of_once_a_tick_however_much_else_is() -> None:
    world = World(Pace(leave=5.0, tick=0.25, wait=1.0), piece=3)
    one = world.start()
    world.run(2)
    for number in range(40):
        one.come("s1", f"/{number}", "alice")
    heard: dict[str, list[float]] = {}
    for number in range(400):
        world.now += 0.02
        one.come(f"s{number}", "/0", f"user{number}")
        one.tick()
        for channel, _ in world.take():
            heard.setdefault(channel, []).append(world.now)
    assert len(heard) == 40
    assert len(heard["/0"]) > 20
    assert all(later - earlier > 0.249 for earlier, later in itertools.pairwise(heard["/0"]))


def test_snapshot_in_pieces_is_whole_whatever_changes_meanwhile() -> None:
    world = World(Pace(leave=1.0, tick=0.25, wait=1.0), piece=2)
    one = world.start()
    for number in range(20):
        one.come("s1", f"/{number}", "alice")
    world.run(20)
    two = world.start()
    two.tick()
    one.tick()
    assert one.rules.shows
    # Of what it has named, of what it has not, and of what was not there.
    for channel in ("/0", "/19"):
        one.go("s1", channel)
    one.come("s2", "/0", "bob")
    one.come("s2", "/18", "bob")
    one.come("s2", "/new", "bob")
    # In the middle of it nobody is ready.
    for _ in range(6):
        world.now += 0.25
        one.tick()
        two.tick()
        assert not two.rules.ready
    world.run(20)
    for worker in (one, two):
        assert worker.state("/0") == (["bob"], 1)
        assert worker.state("/18") == (["alice", "bob"], 2)
        assert worker.state("/19") == ([], 0)
        assert worker.state("/new") == (["bob"], 1)
        assert worker.state("/7") == (["alice"], 1)


def test_worker_that_ends_or_begins_anew_in_the_middle_of_a_snapshot_says_all_the_same() -> None:
    world = World(Pace(leave=5.0, tick=0.25, wait=1.0), piece=2)
    one, two = world.start(), world.start()
    for number in range(20):
        one.come("s1", f"/{number}", "alice")
    world.run(20)
    one.rules.lost()
    assert not one.rules.more
    world.run(10)
    assert two.state("/19") == (["alice"], 1)
    three = world.start()
    three.tick()
    one.tick()
    assert one.rules.shows
    one.come("s2", "/0", "bob")
    one.rules.lost()
    assert not one.rules.more, "it is to greet first"
    world.run(10)
    for worker in (one, two, three):
        assert worker.state("/0") == (["alice", "bob"], 2)
        assert worker.state("/19") == (["alice"], 1)
    four = world.start()
    four.tick()
    one.tick()
    assert one.rules.shows
    one.come("s3", "/0", "carol")
    world.stop(one.name)
    said = [each["snapshot"] for each in world.log if each["worker"] == one.name and "snapshot" in each]
    assert [part["/0"] for part in said if "/0" in part][-1] == [3, ["alice", "bob", "carol"]]
    world.run(10)
    assert two.state("/0") == ([], 0)


def test_of_a_snapshot_only_what_is_new_is_looked_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a worker began, the snapshots of all the others kept all for 1.6 ms a thousand channels."""
    world, [one, two] = started(2)
    for number in range(50):
        one.come("s1", f"/{number}", "alice")
    world.run(2)
    changed: list[str] = []
    into = Everywhere._change

    def change(everywhere: Everywhere, worker: Any, channel: str, *rest: Any) -> None:
        changed.append(channel)
        into(everywhere, worker, channel, *rest)

    monkeypatch.setattr(Everywhere, "_change", change)
    one.come("s2", "/7", "bob")
    one.rules.lost()
    world.run(5)
    assert set(changed) == {"/7"}
    assert two.state("/7") == (["alice", "bob"], 2)
    assert two.state("/8") == (["alice"], 1)


def test_worker_that_begins_need_not_wait_for_what_changed_at_another() -> None:
    world = World(Pace(leave=5.0, tick=0.25, wait=1.0), piece=2)
    one = world.start()
    one.come("s1", "/a", "alice")
    world.run(10)
    for number in range(100):
        one.come("s1", f"/{number}", "alice")
    one.tick()
    assert one.rules.more
    two = world.start()
    two.tick()
    one.tick()
    assert one.rules.shows
    while one.rules.shows:
        one.tick()
    world.run(1.5)
    assert two.rules.ready
    assert two.state("/a") == two.state("/99") == (["alice"], 1)


def test_session_that_came_from_another_worker_is_said_to_behind_what_changed_before() -> None:
    """Else it would be nowhere until its channels' turn comes."""
    world = World(Pace(leave=5.0, tick=0.25, wait=1.0), piece=2)
    one, two = world.start(), world.start()
    world.run(5)
    one.come("s1", "/z", "alice")
    world.run(2)
    for number in range(20):
        two.come("s2", f"/{number}", "bob")
    two.come("s1", "/z", "alice")
    two.rules.adopted("s1")
    begun = len(world.log)
    world.run(10)
    said = [report for report in world.log[begun:] if report["worker"] == two.name and report.get("channels", True)]
    kinds = ["moved" if "moved" in each else "/z" if "/z" in each.get("channels", {}) else "" for each in said]
    assert kinds.index("/z") < kinds.index("moved")
    assert world.take()[-1][1]["left"] == []
    assert two.state("/z") == (["alice"], 1)


def test_all_who_left_at_once_are_told_of_in_pieces() -> None:
    world = World(Pace(leave=1.0, tick=0.25, wait=1.0), piece=2)
    one = world.start()
    world.run(2)
    for number in range(50):
        one.come(f"s{number}", "/a", f"user{number}")
    world.run(2)
    assert one.state("/a")[1] == 50
    for number in range(50):
        one.go(f"s{number}", "/a")
    world.take()
    world.run(6)
    assert one.state("/a") == ([], 0)
    assert sorted(user for _, event in world.take() for user in event["left"]) == sorted(
        f"user{number}" for number in range(50)
    )


def test_address_that_comes_and_goes_in_channels_is_told_of_at_a_rate_and_rightly_in_the_end() -> None:
    """Only names that were nobody's had one: a client that came and went in a thousand that others had opened had a
    thousand events published each time, as often as it liked.
    """
    allowance = 0

    def may_tell(address: str) -> bool:
        nonlocal allowance
        allowance -= address == "192.0.2.1"
        return address != "192.0.2.1" or allowance >= 0

    world, [one] = started(1)
    here = one.rules.here
    here.may_tell = may_tell
    channels = [f"/{number}" for number in range(100)]
    for channel in channels:
        here.came("host", None, channel, "192.0.2.7")
    world.run(2)
    assert len({channel for channel, _ in world.take()}) == 100
    for _ in range(20):
        allowance = 3
        for channel in channels:
            here.came("toggles", "mallory", channel, "192.0.2.1")
        world.run(0.25)
        for channel in channels:
            here.went("toggles", channel, world.now)
        world.run(0.25)
    told = world.take()
    assert len(told) <= 20 * 3 + 3
    assert here.held
    # Others are told of at once, there too.
    here.came("guest", "alice", "/99", "192.0.2.9")
    world.run(0.5)
    assert any(channel == "/99" and "alice" in event["joined"] for channel, event in world.take())
    # What waits is told behind one another, each once.
    for _ in range(100):
        allowance = 3
        world.run(0.25)
    assert not here._held
    for channel in channels[:-1]:
        assert one.state(channel) == ([], 1)
    assert one.state("/99") == (["alice"], 2)


USERS = st.sampled_from([None, "alice", "bob"])
CHANNELS = st.sampled_from(["/a", "/b", "/c", "/d"])
SESSIONS = st.sampled_from(["s1", "s2", "s3"])
WHICH = st.integers(0, 5)
STEP = st.one_of(
    st.tuples(st.just("come"), WHICH, SESSIONS, CHANNELS, USERS),
    st.tuples(st.just("go"), WHICH, SESSIONS, CHANNELS),
    st.tuples(st.just("away"), WHICH, SESSIONS),
    st.tuples(st.just("back"), WHICH, SESSIONS),
    st.tuples(st.just("rename"), WHICH, SESSIONS, USERS),
    st.tuples(st.just("read"), WHICH, st.integers(1, 3)),
    st.tuples(st.just("tick"), WHICH),
    st.tuples(st.just("wait"), st.sampled_from([0.2, 1.0, 6.0])),
    st.tuples(st.just("run"), st.sampled_from([0.5, 3.0, 12.0])),
    st.tuples(st.just("start")),
    st.tuples(st.just("stop"), WHICH),
    st.tuples(st.just("kill"), WHICH),
    st.tuples(st.just("lose"), WHICH),
)


def play(world: World, step: tuple[Any, ...]) -> None:
    kind, *arguments = step
    if kind == "start":
        if len(world.workers) < 4:
            world.start()
        return
    if kind in ("wait", "run"):
        if kind == "wait":
            world.now += arguments[0]
        else:
            world.run(arguments[0])
        return
    worker = list(world.workers.values())[arguments[0] % len(world.workers)]
    match kind:
        case "come":
            session, channel, user = arguments[1:]
            # A session is one user's, in all of its channels.
            known = [each for (name, _), each in worker.sessions.items() if name == session]
            if (session, channel) not in worker.sessions:
                worker.come(session, channel, known[0] if known else user)
        case "go":
            worker.go(*arguments[1:])
        case "away" | "back" | "rename":
            if any(name == arguments[1] for name, _ in worker.sessions):
                getattr(worker, kind)(*arguments[1:])
        case "read":
            worker.read(arguments[1])
        case "tick":
            worker.tick()
        case "stop" | "kill" if len(world.workers) > 1:
            (world.stop if kind == "stop" else world.kill)(worker.name)
        case "lose":
            worker.place = len(world.log)
            worker.rules.lost()


@given(st.lists(STEP, max_size=40), st.sampled_from([1, 2, PIECE]), st.sampled_from([0, 2, 3]))
@settings(deadline=None)
def test_whatever_happens_all_agree_in_the_end_and_subscribers_know_it_too(
    steps: list[tuple[Any, ...]], piece: int, every: int
) -> None:
    """every: of how many changes one may be told at once."""
    world = World(Pace(leave=2.0, tick=0.5, wait=1.0), piece, every)
    world.start()
    for step in steps:
        play(world, step)
    world.run(30)
    for channel in ("/a", "/b", "/c", "/d"):
        there = [
            user
            for worker in world.workers.values()
            for (session, name), user in worker.sessions.items()
            if name == channel and session not in worker.absent
        ]
        expected = sorted({user for user in there if user is not None}), len(there)
        for worker in world.workers.values():
            assert worker.rules.ready
            assert worker.state(channel) == expected
        heard: set[str] = set()
        last = {"users": 0, "count": 0}
        for name, each in world.events:
            if name == channel:
                last = each
                heard = (heard | set(each["joined"])) - set(each["left"])
        assert heard == set(expected[0])
        assert (last["users"], last["count"]) == (len(heard), expected[1])
    assert Counter(len(worker.rules.everywhere.workers) for worker in world.workers.values()) == {
        len(world.workers): len(world.workers)
    }
