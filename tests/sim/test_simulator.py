"""Several workers, their clients and Redis, by seeds: the promises of docs/simulator.md.

A seed that breaks one is shortened by `python -m tests.sim --seed N --short`, which prints the story as a value. In
STORIES here it stays a test when seeds come to mean other stories.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hub.carrier import Carrier
from hub.deadlines import Deadlines
from hub.errors import BrokerUnavailable
from hub.follower import Followers
from hub.kicks import Kicks
from hub.node import Node
from hub.protocol.access import Access
from hub.tops import Tops
from tests.sim.books import Books
from tests.sim.redis import SimBroker, Unfenced
from tests.sim.sealed import Sealed, sealed
from tests.sim.stories import Step, Story, shorten, tell, write, write_rights

ROOT = Path(__file__).parents[2]

#: Seeds of `make test`, in parts that workers of pytest share.
SEEDS = 1200
PARTS = 4

#: Seconds of CPU for a part, where the machine is slow; at least so many seeds are told.
MOST_SECONDS = 2.5
LEAST = 50

#: Likewise of stories about rights, which are longer.
FEWEST = 10

#: Seeds in which a broken hub must be found out: a second or two.
FEW = 200

#: Seeds with which each of the stories below is told, from its own on: another one means other delays.
TELLINGS = 20


@pytest.fixture
def seal() -> Iterator[Sealed]:
    with sealed() as seal:
        yield seal


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_what_was_answered_has_happened(seal: Sealed, part: int) -> None:
    ends = time.process_time() + MOST_SECONDS
    for number, seed in enumerate(range(part, SEEDS, PARTS)):
        ending = tell(write(seed), seal)
        assert not ending.broken, f"python -m tests.sim --seed {seed} --short: {ending.broken[0]}"
        if number >= LEAST and time.process_time() > ends:
            break


def test_worker_that_believes_it_hears_is_found_out(seal: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that was kept went on being given while Redis was away from one worker, and not from another."""
    monkeypatch.setattr(SimBroker, "hears", True)
    # Six of the first thousand seeds find it, two of these.
    words = (each for seed in range(400, 500) for each in tell(write(seed), seal).broken)
    assert any("gives a page" in each for each in words)


#: Redis is slow, so that what is trimmed has not been read by all workers.
TRIMMED = Story(
    0,
    2,
    "redis",
    (),
    (
        Step(0.01, "redis", "slow", seconds=8.0),
        *(Step(0.1 * each, "publisher", "publish", ("/a", "/b", "/c")[each % 3], 1000 + each) for each in range(1, 60)),
        *(Step(0.05 + 0.3 * each, "node0", "trim") for each in range(1, 20)),
    ),
)


def broken_words(seal: Sealed) -> str:
    return "\n".join(each for seed in range(TELLINGS) for each in tell(replace(TRIMMED, seed=seed), seal).broken)


def test_what_is_trimmed_unread_is_told_to_code_that_follows(seal: Sealed) -> None:
    assert not broken_words(seal)


def test_follower_that_is_not_told_of_a_loss_is_found_out(seal: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Followers, "lost", lambda self, channels: None)
    assert "and was not told" in broken_words(seal)


def test_top_that_outlives_a_loss_is_found_out(seal: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tops, "lost", lambda self, channels: None)
    assert "gives a page" in broken_words(seal)


def test_two_owners_of_a_session_are_found_out(seal: Sealed) -> None:
    """Two workers each took a session for theirs: a subscribe and a connect that came at the same moment were both
    answered successful, and the subscription was gone. One in three stories broke a promise."""
    broken = next(seed for seed in range(FEW) if tell(write(seed), seal, store=Unfenced).broken)
    short = shorten(write(broken), seal, store=Unfenced, tries=60)
    assert len(short.steps) < len(write(broken).steps)
    assert tell(short, seal, store=Unfenced).broken


def test_what_is_given_again_though_it_came_is_found_out(seal: Sealed, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that was written counted as lost. One more of a publication was never held against a hub."""
    monkeypatch.setattr(Carrier, "written", lambda self, poll: None)
    words = (each for seed in range(FEW) for each in tell(write(seed), seal).broken)
    assert any("again, which it acknowledged" in each for each in words)


@pytest.mark.long
@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_delivered_that_the_newest_token_does_not_allow(seal: Sealed, part: int) -> None:
    """Tokens expire, are replaced by others, users are sent away; sessions move, and workers die in between."""
    ends, heard = time.process_time() + MOST_SECONDS, 0
    for number, seed in enumerate(range(part, SEEDS, PARTS)):
        ending = tell(write_rights(seed), seal)
        assert not ending.broken, f"python -m tests.sim --rights --seed {seed} --short: {ending.broken[0]}"
        heard += ending.counts["deliveries that take a token"]
        if number >= FEWEST and time.process_time() > ends:
            break
    # A hub that delivers nothing would break none of it.
    assert heard > 10 * number


async def _learn_only(kicks: Kicks) -> None:
    with contextlib.suppress(BrokerUnavailable):
        await kicks.learn()


#: What asks for permission again, taken out, and seeds of which one finds that.
MENDS: dict[str, tuple[Any, str, Any, range]] = {
    "a session that goes on at another worker": (Node, "may_go_on", lambda *_: True, range(70)),
    "another's token, or one with less": (Access, "check_newer", lambda *_: None, range(30)),
    "an expiry": (Deadlines, "_grant_due", lambda *_: None, range(30)),
    "a kick": (Kicks, "take", lambda *_: None, range(30)),
    "a kick that a worker never read of": (Kicks, "learn_again", _learn_only, range(5470, 5476)),
}


@pytest.mark.parametrize("mend", MENDS)
def test_rights_that_are_not_asked_for_again_are_found_out(
    seal: Sealed, mend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name, instead, seeds = MENDS[mend]
    monkeypatch.setattr(owner, name, instead)
    assert any(tell(write_rights(seed), seal).broken for seed in seeds)


def digest(seed: int, seal: Sealed) -> int:
    return zlib.crc32("\n".join(tell(write(seed), seal, traced=True).trace).encode())


def test_seed_always_means_the_same(seal: Sealed) -> None:
    """Sets are walked in another order in another process, and objects lie elsewhere."""
    seeds = range(8)
    digests = [digest(seed, seal) for seed in seeds]
    assert [digest(seed, seal) for seed in seeds] == digests
    program = (
        "from tests.sim.test_simulator import *\n"
        f"with sealed() as seal: print([digest(seed, seal) for seed in range({len(seeds)})])"
    )
    for hashes in ("1", "2"):
        environ = os.environ | {"PYTHONHASHSEED": hashes, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == str(digests)


def story(nodes: int, weather: str, client: tuple[str, str, bool], *steps: Step) -> Story:
    """A story of one client."""
    return Story(0, nodes, weather, (client,), steps)


COMETD = ("forgetting", "long-polling", True)
STREAM = ("repeating", "eventsource", True)

STORIES = {
    # A worker that had missed part of the log ended a session: its held connect was answered successful, with the
    # advice to shake hands, at which CometD's client stops.
    "lost while a connect is held": story(
        2,
        "redis",
        COMETD,
        Step(0.0055, "client0", "appear"),
        Step(0.1190, "client0", "subscribe", "/b"),
        Step(0.4862, "node0", "trim"),
        Step(0.4863, "node1", "trim"),
    ),
    # A session's record was kept for 15 seconds from its last subscribe, while its stream went on: then a poll at
    # another worker was answered 402.
    "record of a session that only listens": story(
        3,
        "calm",
        STREAM,
        Step(0.0036, "client0", "appear"),
        Step(0.1700, "client0", "subscribe", "/b"),
        Step(22.0, "client0", "poll_twice"),
        Step(23.0, "client0", "poll_twice"),
        Step(24.0, "client0", "poll_twice"),
    ),
    # What a stream had been given again by the log it could not be given a second time: 402 for a client whose
    # connection broke twice.
    "stream that is cut twice": story(
        2,
        "calm",
        STREAM,
        Step(0.0010, "client0", "appear"),
        Step(0.0250, "client0", "subscribe", "/b"),
        Step(0.1736, "publisher", "publish", "/b", 1003),
        Step(0.2019, "client0", "move"),
        Step(1.1876, "client0", "move"),
        Step(2.1876, "client0", "move"),
        Step(3.4974, "client0", "subscribe", "/c"),
    ),
    # Of two subscribes at the same time one could not be saved, and its undoing took away what the other was promised.
    "two subscribes, one not saved": Story(
        0,
        2,
        "all",
        (("acknowledging", "websocket", True), ("forgetting", "callback-polling", True)),
        (
            Step(0.0090, "client0", "appear"),
            Step(0.0288, "client0", "subscribe", "/a"),
            Step(0.0032, "client1", "appear"),
            Step(0.0277, "client1", "subscribe", "/b"),
            Step(0.0380, "client1", "unsubscribe", "/b"),
            Step(0.0386, "redis", "fail", seconds=2.0),
            Step(0.0386, "client1", "both", "/a"),
            Step(0.4680, "client0", "subscribe", "/b"),
            Step(0.4955, "client1", "subscribe", "/c"),
            Step(0.4955, "client1", "both", "/c"),
            Step(0.4955, "node1", "stop", seconds=0.01),
            Step(0.8730, "publisher", "publish", "/c", 1015),
        ),
    ),
    # A simulated worker took connections before it had started: a client subscribed at one whose reader did not know
    # where the log is, as Redis was away, and what was published in between never came.
    "worker that starts while Redis is away": story(
        3,
        "all",
        ("plain", "/ws", True),
        Step(0.0092, "client0", "appear"),
        Step(0.1696, "node1", "kill", seconds=0.05),
        Step(0.1930, "redis", "away", seconds=1.5),
        Step(0.2080, "publisher", "publish", "/c", 1010),
        Step(1.6309, "client0", "subscribe", "/c"),
    ),
    # An answer got lost, and ten polls were under way through a worker that stood still, each with the number of the
    # batch before: the extension has all that is not acknowledged given in each answer, so the client heard a
    # publication ten times, and the books held that against the hub.
    "polls that have not acknowledged it": story(
        2,
        "stops",
        ("acknowledging", "long-polling", False),
        Step(0.0086, "client0", "appear"),
        Step(0.0275, "client0", "subscribe", "/a"),
        Step(0.8000, "client0", "lose"),
        Step(0.8100, "publisher", "publish", "/a", 1001),
        Step(1.6000, "publisher", "publish", "/a", 1002),
        Step(2.4000, "node0", "stop", seconds=2.0),
        *(Step(2.5 + number / 100, "client0", "poll_twice") for number in range(10)),
    ),
    # Such a poll had it given again, under a later number than the batch's; then it was not known for acknowledged,
    # though ten others said so.
    "poll that asks for what others acknowledge": story(
        2,
        "stops",
        ("acknowledging", "long-polling", False),
        Step(0.0086, "client0", "appear"),
        Step(0.0275, "client0", "subscribe", "/a"),
        *(
            step
            for number in range(10)
            for step in (
                Step(1.0 + number / 500, "publisher", "publish", "/a", 1001 + number),
                Step(1.001 + number / 500, "client0", "poll_twice"),
            )
        ),
        Step(1.0150, "node0", "stop", seconds=2.0),
        *(Step(2.0 + number / 100, "client0", "poll_twice") for number in range(10)),
    ),
    # A poll from before the stream opened was sent again, as its answer got lost, and took the session from the stream,
    # which had been given a history: carried from another worker it was told 402.
    "poll that is carried to a stream with a history": story(
        4,
        "lossy",
        STREAM,
        Step(0.0076, "client0", "appear"),
        Step(0.1276, "client0", "subscribe", "/a"),
        *(
            step
            for start in range(1, 6)
            for step in (
                Step(0.2 + start, "client0", "reload"),
                Step(0.2001 + start, "client0", "copy"),
                Step(0.27 + start, "client0", "nap", seconds=0.3),
                Step(0.28 + start, "publisher", "publish", "/a", 1000 + 2 * start),
                Step(0.56 + start, "publisher", "publish", "/a", 1001 + 2 * start),
            )
        ),
    ),
    # As such a poll was sent again, what its lost answer had carried was put back, and lost as the session was given
    # what the stream had carried: without a word.
    "poll that is sent again beside a stream": Story(
        50,
        3,
        "calm",
        (STREAM,),
        (
            Step(0.0035, "client0", "appear"),
            Step(0.0248, "client0", "subscribe", "/b"),
            Step(0.1300, "client0", "poll_twice"),
            Step(0.2300, "client0", "move"),
            Step(0.2320, "publisher", "publish", "/b", 1001),
        ),
    ),
    # A listener of `/ws` left a channel and came back without a position, through a worker that heard four seconds
    # late: it was given what it had had before, and what is older. In order within its new subscription, so the
    # books were wrong to hold that against the hub.
    "new subscription at a worker that hears late": Story(
        5_001_400,
        2,
        "redis",
        (("repeating", "websocket", True), ("plain", "/ws", True)),
        (
            Step(0.007802472188080908, "client0", "appear"),
            Step(0.002617523173670606, "client1", "appear"),
            Step(0.024256143545434573, "client1", "subscribe", "/b"),
            Step(0.37456824484452245, "client0", "both", "/c", 1001),
            Step(0.37474936572670947, "client1", "subscribe", "/a", 1003),
            Step(0.37506969569384363, "client0", "poll_twice", "/a", 1004),
            Step(0.3761257922090119, "publisher", "publish", "/a", 1005),
            Step(0.377041885733852, "redis", "slow", seconds=0.05),
            Step(0.3826335024188601, "client0", "reload", "/a", 1008),
            Step(0.3835822372961195, "publisher", "publish", "/c", 1009),
            Step(0.7256934537771678, "publisher", "publish", "/c", 1011),
            Step(0.7363968672605198, "client1", "both", "/c", 1012),
            Step(0.8223488528861159, "client1", "move", "/a", 1015),
            Step(0.8223488528861159, "client1", "unsubscribe", "/c", 1016),
            Step(0.9697010888672536, "client1", "subscribe", "/c", 1022),
        ),
    ),
}


def test_order_counts_anew_in_a_new_subscription() -> None:
    world = SimpleNamespace(now=0.0, broken=[], accuse=lambda words: world.broken.append(words))
    book = Books(world, None).open("client", "websocket", "plain")
    book.asks("/c", adds=True)
    book.hears("/c", 3, 1)
    book.begins_anew("/c")
    book.hears("/c", 1, 2)
    book.hears("/c", 4, 3)
    assert world.broken == []
    book.hears("/c", 2, 4)
    assert world.broken == ["client (lain) hears /c 2 for the first time after 4"]


@pytest.mark.parametrize("name", STORIES)
def test_story(name: str, seal: Sealed) -> None:
    first = STORIES[name].seed
    for seed in range(first, first + TELLINGS):
        told = replace(STORIES[name], seed=seed)
        if tell(told, seal).broken:
            pytest.fail("\n".join(tell(told, seal, traced=True).trace))
