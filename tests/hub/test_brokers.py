"""What every broker promises: one suite, on memory, Redis, a Redis that was failed over to, Valkey, the simulator's."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from brokering import Ear, Relay, draft
from hypothesis import given, settings
from hypothesis import strategies as st
from services import Redis, RedisFactory

from hub.brokers import Broker, Claim
from hub.brokers.memory import MemoryBroker
from hub.brokers.redis import RedisBroker
from hub.histories import Histories, HistoryRule, Retention
from hub.protocol.channels import close_channel, home
from hub.protocol.publications import Draft, Position
from tests.sim.redis import Apart, SimBroker, Store

#: Opens a broker with an ear of its own; several are nodes of one hub.
NewBroker = Callable[..., Awaitable[tuple[Broker, Ear]]]


async def opened(broker: Broker) -> tuple[Broker, Ear]:
    ear = Ear()
    await broker.open(ear)
    return broker, ear


def simulated(histories: Histories | None = None) -> Callable[[], SimBroker]:
    """Makes brokers on one store, as the simulator's workers have them, but on the real clock."""
    store, numbers = Store(asyncio.get_running_loop().time, histories), itertools.count()
    return lambda: SimBroker(store, Apart(), worker=f"worker{next(numbers)}")


@pytest.fixture(params=["memory", "redis", "redis after failover", "valkey", "simulated"])
async def new_broker(request: pytest.FixtureRequest) -> AsyncIterator[NewBroker]:
    brokers: list[Broker] = []
    prefix = f"hub-{secrets.token_hex(3)}"
    relay: Relay | None = None
    if request.param == "memory":

        def make(histories: Histories) -> Broker:
            return MemoryBroker(histories=histories)

    elif request.param == "simulated":
        stores: list[Callable[[], SimBroker]] = []

        def make(histories: Histories) -> Broker:
            stores.append(stores[0] if stores else simulated(histories))
            return stores[0]()

    else:
        url = request.getfixturevalue("valkey_url" if request.param == "valkey" else "redis_url")
        if request.param == "redis after failover":
            relay = await fail_over(request.getfixturevalue("new_redis"), prefix)
            url = relay.url

        def make(histories: Histories) -> Broker:
            return RedisBroker(url, histories=histories, prefix=prefix)

    async def new(retention: Retention | None = None, *rules: HistoryRule) -> tuple[Broker, Ear]:
        broker, ear = await opened(make(Histories(retention, rules)))
        brokers.append(broker)
        return broker, ear

    yield new
    for broker in brokers:
        await broker.close()
    if relay is not None:
        await relay.__aexit__()


async def fail_over(new_redis: RedisFactory, prefix: str) -> Relay:
    """A relay to a promoted replica; the primary it had was used, and is gone."""
    primary = await asyncio.to_thread(new_redis)
    relay = await Relay(primary.port).__aenter__()
    broker, ear = await opened(RedisBroker(relay.url, prefix=prefix))
    try:
        replica: Redis = await asyncio.to_thread(lambda: new_redis(replica_of=primary))
        await broker.publish([draft("/a", number) for number in range(3)])
        await ear.hear(3)
        await asyncio.to_thread(primary.kill)
        replica.command("REPLICAOF", "NO", "ONE")
        relay.cut(replica.port)
        await ear.until(lambda: bool(ear.losses))
    finally:
        await broker.close()
    return relay


@pytest.fixture(params=["redis", "redis after failover", "simulated"])
async def two_nodes(request: pytest.FixtureRequest) -> AsyncIterator[list[tuple[Broker, Ear]]]:
    if request.param == "simulated":
        make = simulated()
        nodes = [await opened(make()) for _ in range(2)]
        yield nodes
        for broker, _ in nodes:
            await broker.close()
        return
    prefix = f"hub-{secrets.token_hex(3)}"
    url, relay = request.getfixturevalue("redis_url"), None
    if request.param == "redis after failover":
        relay = await fail_over(request.getfixturevalue("new_redis"), prefix)
        url = relay.url
    nodes = [await opened(RedisBroker(url, prefix=prefix)) for _ in range(2)]
    yield nodes
    for broker, _ in nodes:
        await broker.close()
    if relay is not None:
        await relay.__aexit__()


# Positions


async def test_offsets_of_a_channel_count_from_one(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    published = await broker.publish([draft("/n", 1), draft("/other", 1), draft("/n", 2)])
    (epoch, first), (_, other), (again, second) = [result.position for result in published]
    assert (first, other, second) == (1, 1, 2)
    assert epoch == again


async def test_position_is_the_newest_publications(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    (published,) = await broker.publish([draft("/n", 1)])
    assert await broker.position("/n") == published.position


async def test_position_of_an_unused_channel_is_where_its_history_begins(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    begin = await broker.position("/n")
    assert begin.offset == 0
    assert await broker.position("/n") == begin, "asked for again"
    assert (await broker.history("/n", begin)).recovered
    (published,) = await broker.publish([draft("/n", 1)])
    assert published.position == Position(begin.epoch, 1)
    history = await broker.history("/n", begin)
    assert (len(history.publications), history.recovered) == (1, True)


# Delivery


async def test_publications_are_received_in_order_with_their_positions(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    published = await broker.publish([draft("/n", number) for number in range(1500)])
    heard = await ear.hear(1500)
    assert [publication.data for publication in heard] == [b"%d" % number for number in range(1500)]
    assert [publication.position for publication in heard] == [result.position for result in published]


async def test_calls_that_come_together_keep_their_order(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    await asyncio.gather(*(broker.publish([draft(f"/{number % 7}", number)]) for number in range(700)))
    await ear.hear(700)
    ear.check_order()
    for channel in range(7):
        numbers = [int(publication.data) for publication in ear.of(f"/{channel}")]
        assert numbers == sorted(numbers)


@pytest.mark.parametrize("data", [b"null", b"0", b'""', b'"\xe2\x82\xac\\u0000\\r\\n"', b"1e400", b'{"a": [1,\n2]}'])
async def test_data_passes_unchanged(new_broker: NewBroker, data: bytes) -> None:
    broker, ear = await new_broker()
    begin = await broker.position("/n")
    await broker.publish([Draft("/n", data, hint=True, ext=b'{"user":"\xc3\xa9"}'), Draft("/n", data)])
    for publications in (await ear.hear(2), (await broker.history("/n", begin)).publications):
        assert [publication.data for publication in publications] == [data, data]
        assert [publication.hint for publication in publications] == [True, False]
        assert [publication.ext for publication in publications] == [b'{"user":"\xc3\xa9"}', None]


async def test_any_printable_name_is_a_channel(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    names = ["/a b", "/€/ü", "/{hub:3}:log", "/*'\"\\", "/" + "x" * 254]
    for name in names:
        begin = await broker.position(name)
        await broker.publish([draft(name, 1)])
        assert len((await broker.history(name, begin)).publications) == 1
    assert {publication.channel for publication in await ear.hear(len(names))} == set(names)


async def test_megabyte_passes(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    data = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    await broker.publish([Draft("/n", data)])
    assert (await ear.hear(1))[0].data == data


async def test_nothing_is_received_after_close(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    await broker.publish([draft("/n", 1)])
    await ear.hear(1)
    await broker.close()
    await broker.close()
    ear.heard.clear()
    other, other_ear = await new_broker()
    await other.publish([draft("/n", 2)])
    await other_ear.hear(1)
    assert ear.heard == []


async def test_open_broker_is_well(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    assert (broker.health.well, broker.health.reason) == (True, "")


# Idempotency


async def test_repeated_key_returns_the_first_result_and_publishes_nothing(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    (first,) = await broker.publish([draft("/n", 1, key="k")])
    (again,) = await broker.publish([draft("/n", 2, key="k")])
    assert (first.repeated, again.repeated) == (False, True)
    assert again.position == first.position
    await broker.publish([draft("/n", 3)])
    assert [publication.data for publication in await ear.hear(2)] == [b"1", b"3"]


async def test_key_repeated_in_one_call_counts_once(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    published = await broker.publish([draft("/n", 1), draft("/n", 2, "k"), draft("/n", 3, "k"), draft("/n", 4)])
    assert [result.position.offset for result in published] == [1, 2, 2, 3]
    assert [result.repeated for result in published] == [False, False, True, False]
    assert [publication.data for publication in await ear.hear(3)] == [b"1", b"2", b"4"]
    assert ear.losses == []


async def test_drafts_of_every_form_pass_in_one_call(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    (known,) = await broker.publish([draft("/m", 0, key="known")])
    forms = [
        Draft(channel, b"%d" % number, key, hint, ext)
        for number, (hint, ext, key, channel) in enumerate(
            (hint, ext, key, channel)
            for hint in (False, True)
            for ext in (None, b'{"a":1}')
            for key in (None, "key", "/n id")
            for channel in ("/n", "/m")
        )
    ]
    # A key names the first draft that has it, so each has its own.
    drafts = [each._replace(key=each.key and f"{each.key} {number}") for number, each in enumerate(forms)]
    published = await broker.publish([*drafts, draft("/m", 100, key="known")])
    assert published[-1] == (known.position, True)
    assert [(result.position.offset, result.repeated) for result in published[:-1]] == [
        (number // 2 + (2 if each.channel == "/m" else 1), False) for number, each in enumerate(drafts)
    ]
    heard = (await ear.hear(1 + len(drafts)))[1:]
    told = [(each.channel, each.data, each.hint, each.ext) for each in heard]
    for channel in ("/n", "/m"):
        assert [each for each in told if each[0] == channel] == [
            (each.channel, each.data, each.hint, each.ext) for each in drafts if each.channel == channel
        ]
        kept = (await broker.history(channel, None)).publications
        assert kept[-12:] == tuple(each for each in heard if each.channel == channel)


# History


async def test_history_is_what_came_after_a_position(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    published = await broker.publish([draft("/n", number) for number in range(5)])
    history = await broker.history("/n", published[1].position)
    assert history.recovered
    assert list(history.publications) == (await ear.hear(5))[2:]
    assert history.top == published[-1].position


async def test_nothing_came_after_the_newest_position(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    (published,) = await broker.publish([draft("/n", 1)])
    history = await broker.history("/n", published.position)
    assert (history.publications, history.recovered) == ((), True)


async def test_without_a_position_history_is_all_that_is_kept(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    await broker.publish([draft("/n", number) for number in range(3)])
    history = await broker.history("/n", None)
    assert ([publication.data for publication in history.publications], history.recovered) == ([b"0", b"1", b"2"], True)


@pytest.mark.parametrize("strange", [Position("abc", 1), Position("abc", 0), Position("0" * 32, 10**19)])
async def test_unknown_epoch_is_not_recovered(new_broker: NewBroker, strange: Position) -> None:
    broker, _ = await new_broker()
    (published,) = await broker.publish([draft("/n", 1)])
    history = await broker.history("/n", strange)
    assert (history.publications, history.top, history.recovered) == ((), published.position, False)


@pytest.mark.parametrize("ahead", [1, 10**9, 10**19])
async def test_position_from_the_future_is_not_recovered(new_broker: NewBroker, ahead: int) -> None:
    broker, _ = await new_broker()
    (published,) = await broker.publish([draft("/n", 1)])
    history = await broker.history("/n", Position(published.position.epoch, 1 + ahead))
    assert (history.publications, history.top, history.recovered) == ((), published.position, False)


async def test_position_of_another_channel_is_not_recovered(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    await broker.publish([draft("/n", 1)])
    (other,) = await broker.publish([draft("/m", 1)])
    assert not (await broker.history("/n", other.position)).recovered


async def test_history_is_bounded_by_count(new_broker: NewBroker) -> None:
    broker, _ = await new_broker(Retention(count=10))
    published = await broker.publish([draft("/n", number) for number in range(30)])
    assert len((await broker.history("/n", published[19].position)).publications) == 10
    assert not (await broker.history("/n", published[18].position)).recovered


async def test_history_is_bounded_by_bytes(new_broker: NewBroker) -> None:
    broker, _ = await new_broker(Retention(bytes=100_000))
    data = b'"' + b"x" * 20_000 + b'"'
    for _ in range(4):
        published = await broker.publish([Draft("/n", data) for _ in range(4)])
    assert len((await broker.history("/n", None)).publications) == 4
    assert (await broker.history("/n", Position(published[-1].position.epoch, 12))).recovered
    assert not (await broker.history("/n", Position(published[-1].position.epoch, 11))).recovered


async def test_history_is_bounded_by_age(new_broker: NewBroker) -> None:
    broker, _ = await new_broker(Retention(seconds=1))
    begin = await broker.position("/n")
    (published,) = await broker.publish([draft("/n", 1)])
    assert (await broker.history("/n", begin)).recovered
    async with asyncio.timeout(60):
        while (await broker.history("/n", begin)).recovered:
            await asyncio.sleep(0.1)
    assert (await broker.history("/n", published.position)).recovered


async def test_history_is_bounded_by_the_channel_s_pattern(new_broker: NewBroker) -> None:
    rule = HistoryRule(("/chat/**",), {"count": 20}, "test")
    broker, _ = await new_broker(Retention(count=5), rule)
    for channel in ("/chat/a", "/n"):
        await broker.publish([draft(channel, number) for number in range(30)])
    kept = [len((await broker.history(channel, None)).publications) for channel in ("/chat/a", "/n")]
    assert kept == [20, 5]


async def test_channel_without_history_still_has_positions(new_broker: NewBroker) -> None:
    broker, ear = await new_broker(Retention(count=0))
    begin = await broker.position("/n")
    published = await broker.publish([draft("/n", 1), draft("/n", 2)])
    assert [result.position.offset for result in published] == [1, 2]
    await ear.hear(2)
    assert not (await broker.history("/n", begin)).recovered
    assert (await broker.history("/n", published[-1].position)).recovered


# Two nodes


async def test_two_nodes_hear_the_same_in_the_same_order(two_nodes: list[tuple[Broker, Ear]]) -> None:
    (one, ear), (two, other_ear) = two_nodes

    async def publish(broker: Broker, numbers: range) -> None:
        for number in numbers:
            await broker.publish([draft("/n", number), draft(f"/{number % 5}", number)])

    await asyncio.gather(publish(one, range(200)), publish(two, range(200, 400)))
    await asyncio.gather(ear.hear(800), other_ear.hear(800))
    ear.check_order()
    for channel in ("/n", "/0", "/1", "/2", "/3", "/4"):
        assert ear.of(channel) == other_ear.of(channel)


async def test_two_nodes_agree_on_positions_keys_and_history(two_nodes: list[tuple[Broker, Ear]]) -> None:
    (one, _), (two, _) = two_nodes
    begin = await one.position("/n")
    assert await two.position("/n") == begin
    (first,) = await one.publish([draft("/n", 1, key="k")])
    (again,) = await two.publish([draft("/n", 2, key="k")])
    assert (again.position, again.repeated) == (first.position, True)
    assert (await two.history("/n", begin)).publications == (await one.history("/n", begin)).publications


async def test_one_node_owns_a_session_and_the_fence_grows_with_each_change(
    two_nodes: list[tuple[Broker, Ear]],
) -> None:
    (one, _), (two, _) = two_nodes
    assert await one.claim_session("s", 60) is None
    assert await one.save_session("s", 1, b"1", 60)
    assert await two.claim_session("s", 60) == Claim(one.worker, 1, b"")
    assert not await two.save_session("s", 1, b"2", 60), "another worker's"
    assert not await one.save_session("s", 2, b"2", 60), "another fence"
    assert await one.save_session("s", 1, b"3", 60)
    assert await one.claim_session("s", 60) == Claim(one.worker, 2, b"3")
    assert not await one.save_session("s", 1, b"4", 60), "the fence of before"


async def test_session_that_is_released_is_anybody_s(two_nodes: list[tuple[Broker, Ear]]) -> None:
    (one, _), (two, _) = two_nodes
    assert await one.save_session("s", 1, b"1", 60, release=True)
    assert not await one.save_session("s", 1, b"2", 60)
    assert await two.claim_session("s", 60) == Claim(two.worker, 2, b"1")
    assert await one.claim_session("s", 60) == Claim(two.worker, 2, b"")


async def test_session_is_taken_from_an_owner_only_by_the_fence_it_had(two_nodes: list[tuple[Broker, Ear]]) -> None:
    """Whoever looked before the owner came back must look again."""
    (one, _), (two, _) = two_nodes
    assert await one.save_session("s", 1, b"1", 60)
    assert await one.claim_session("s", 60) == Claim(one.worker, 2, b"1")
    assert await two.claim_session("s", 60, against=1) == Claim(one.worker, 2, b"")
    assert await two.claim_session("s", 60, against=2) == Claim(two.worker, 3, b"1")
    assert not await one.save_session("s", 2, b"2", 60)


async def test_record_is_kept_for_as_long_as_its_last_owner_said(two_nodes: list[tuple[Broker, Ear]]) -> None:
    (one, _), (two, _) = two_nodes
    assert await one.save_session("s", 1, b"1", 0.001)
    async with asyncio.timeout(60):
        while await two.claim_session("s", 60) is not None:
            await asyncio.sleep(0.01)
    assert await one.save_session("s", 1, b"2", 60), "what is forgotten can be kept again"
    assert await one.save_session("s", 1, b"2", 60, release=True)
    assert await two.claim_session("s", 60) == Claim(two.worker, 2, b"2")


async def test_mail_comes_in_order_and_only_to_a_worker_that_is_alive(two_nodes: list[tuple[Broker, Ear]]) -> None:
    (one, _), (two, there) = two_nodes
    sent = [b"%d" % number for number in range(50)]
    assert all(await asyncio.gather(*(one.mail(two.worker, message) for message in sent)))
    await there.until(lambda: len(there.mails) >= 50)
    assert there.mails == sent
    assert await one.is_alive(two.worker)
    await two.close()
    assert not await one.is_alive(two.worker)
    assert not await one.mail(two.worker, b"late")
    assert not await one.mail("nobody", b"lost")


async def test_claim_that_is_repeated_still_owns(two_nodes: list[tuple[Broker, Ear]]) -> None:
    """A claim whose reply was lost is made once more: who made it owns the session, and the others do not."""
    (one, _), (two, _) = two_nodes
    assert await one.save_session("s", 1, b"1", 60, release=True)
    assert await two.claim_session("s", 60) == Claim(two.worker, 2, b"1")
    assert await two.claim_session("s", 60) == Claim(two.worker, 3, b"1")
    assert not await two.save_session("s", 2, b"2", 60)
    assert await two.save_session("s", 3, b"3", 60)
    assert await one.claim_session("s", 60) == Claim(two.worker, 3, b"")


async def test_claims_at_the_same_moment_make_one_owner(two_nodes: list[tuple[Broker, Ear]]) -> None:
    (one, _), (two, _) = two_nodes
    for name in ("a", "b", "c", "d"):
        assert await one.save_session(name, 1, b"1", 60, release=True)
        claims = await asyncio.gather(one.claim_session(name, 60), two.claim_session(name, 60))
        assert all(claims)
        owners = {claim.owner for claim in claims if claim is not None}
        assert len(owners) == 1
        assert sorted(claim.record for claim in claims if claim is not None) == [b"", b"1"]


async def test_save_and_claim_at_the_same_moment_lose_nothing(two_nodes: list[tuple[Broker, Ear]]) -> None:
    """Of a save and a release and a claim: what the claim returns is what was saved last."""
    (one, _), (two, _) = two_nodes
    for name in ("a", "b", "c", "d"):
        assert await one.save_session(name, 1, b"1", 60)
        released, claim = await asyncio.gather(
            one.save_session(name, 1, b"2", 60, release=True), two.claim_session(name, 60)
        )
        assert released
        assert claim in (Claim(one.worker, 1, b""), Claim(two.worker, 2, b"2"))


async def test_lease_keeps_its_number_while_it_lasts(two_nodes: list[tuple[Broker, Ear]]) -> None:
    (one, _), (two, _) = two_nodes
    assert one.life
    life = one.life
    await asyncio.sleep(0)
    assert one.life == life
    assert two.worker != one.worker


# The model


class Model:
    """What a broker is, in a few lines."""

    def __init__(self) -> None:
        self.log: dict[str, list[bytes]] = {}
        self.keys: dict[str, int] = {}

    def publish(self, channel: str, data: bytes, key: str | None) -> tuple[int, bool]:
        if key is not None and key in self.keys:
            return self.keys[key], True
        self.log.setdefault(channel, []).append(data)
        if key is not None:
            self.keys[key] = len(self.log[channel])
        return len(self.log[channel]), False


CHANNELS = st.sampled_from(["/a", "/b", "/c/d"])
STEPS = st.one_of(
    st.tuples(
        st.just("publish"), st.lists(st.tuples(CHANNELS, st.none() | st.sampled_from("xyz")), min_size=1, max_size=8)
    ),
    st.tuples(st.just("history"), st.tuples(CHANNELS, st.integers(0, 12))),
)


@pytest.mark.parametrize("kind", ["memory", "redis", "simulated"])
def test_any_script_does_what_the_model_does(kind: str, request: pytest.FixtureRequest) -> None:
    """Publishing with and without keys, and asking for history, in any order."""
    url = request.getfixturevalue("redis_url") if kind == "redis" else ""

    @settings(max_examples=40, deadline=None)
    @given(st.lists(STEPS, max_size=12))
    def follow(script: list[tuple[str, object]]) -> None:
        asyncio.run(play(kind, url, script))

    follow()


async def play(kind: str, url: str, script: list[tuple[str, object]]) -> None:
    model, number = Model(), 0
    broker: Broker
    if kind == "redis":
        broker = RedisBroker(url, prefix=secrets.token_hex(4), shards=2)
    else:
        broker = MemoryBroker() if kind == "memory" else simulated()()
    _, ear = await opened(broker)
    try:
        for what, arguments in script:
            if what == "publish":
                drafts = []
                expected = []
                for channel, key in arguments:  # type: ignore[attr-defined]  # a list, by the strategy
                    number += 1
                    key = None if key is None else channel + key
                    drafts.append(draft(channel, number, key))
                    expected.append(model.publish(channel, b"%d" % number, key))
                published = await broker.publish(drafts)
                assert [(result.position.offset, result.repeated) for result in published] == expected
            else:
                channel, since = arguments  # type: ignore[misc]  # a pair, by the strategy
                top = await broker.position(channel)
                history = await broker.history(channel, Position(top.epoch, since))
                log = model.log.get(channel, [])
                assert history.recovered == (since <= len(log))
                assert [p.data for p in history.publications] == (log[since:] if history.recovered else [])
        await ear.hear(sum(map(len, model.log.values())))
        ear.check_order()
        assert {channel: [p.data for p in ear.of(channel)] for channel in model.log} == model.log
        assert ear.losses == []
    finally:
        await broker.close()


# Order among publishers


async def test_what_follows_an_id_may_go_once_it_was_accepted(new_broker: NewBroker) -> None:
    broker, _ = await new_broker()
    assert await broker.may_follow("/n", "/n 1"), "no id of the channel is known"
    await broker.publish([draft("/n", 1), draft("/n", 2, key="client:2")])
    assert await broker.may_follow("/n", "/n 1"), "nor are those keys ids"
    await broker.publish([draft("/n", 3, key="/n 0")])
    assert not await broker.may_follow("/n", "/n 1")
    assert await broker.may_follow("/other", "/other 1")
    await broker.publish([draft("/n", 3, key="/n 1")])
    assert await broker.may_follow("/n", "/n 1")


async def test_what_is_told_of_a_channel_comes_behind_what_was_published_to_it(new_broker: NewBroker) -> None:
    broker, ear = await new_broker()
    for number in range(200):
        name = f"/{number % 20}"
        await broker.publish([draft(name, number), draft(close_channel(name), number)])
    await ear.hear(400)
    ear.check_order()
    seen: set[tuple[str, bytes]] = set()
    for publication in ear.heard:
        name = home(publication.channel)
        if publication.channel != name:
            assert (name, publication.data) in seen
        seen.add((publication.channel, publication.data))


async def test_memory_forgets_channels_that_nobody_used_since_it_forgot_the_last() -> None:
    broker = MemoryBroker(max_channels=3)
    for channel in ("/a", "/b", "/c", "/d"):
        await broker.publish([draft(channel, 1)])
    assert broker.channels == 3
    before = {channel: await broker.position(channel) for channel in ("/b", "/d")}
    # All were used by now but /c, which is the one to go.
    await broker.publish([draft("/e", 1)])
    assert broker.channels == 3
    assert {channel: await broker.position(channel) for channel in ("/b", "/d")} == before


async def test_memory_forgets_nothing_for_names_that_were_only_asked_for() -> None:
    """1,005 requests of a stranger, for a hundred names each, erased the history of every channel."""
    broker = MemoryBroker(max_channels=2)
    [published] = await broker.publish([draft("/used", 1)])
    for number in range(1000):
        await broker.position(f"/asked/{number}")
        await broker.history(f"/asked/{number}", None)
    assert broker.channels == 1
    assert await broker.position("/used") == published.position


async def test_memory_gives_a_forgotten_channel_another_epoch() -> None:
    broker = MemoryBroker(max_channels=1)
    for _ in range(5):
        [first] = await broker.publish([draft("/a", 1)])
        await broker.publish([draft(f"/{number}", 1) for number in range(3)])
        assert (await broker.position("/a")).epoch != first.position.epoch
        assert not (await broker.history("/a", first.position)).recovered


async def test_a_new_channel_is_remembered_even_where_all_others_are_in_use() -> None:
    broker = MemoryBroker(max_channels=2)
    for _ in range(3):
        for channel in ("/a", "/b"):
            await broker.publish([draft(channel, 1)])
    first = await broker.position("/new")
    assert await broker.position("/new") == first
    assert broker.channels == 2
