"""What is remembered of what strangers write: bounded in bytes, for all caches together, and nothing of any length."""

from __future__ import annotations

import ast
import gc
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from listening import serving
from wire import request, say

from hub import forwarded, origins
from hub.protocol.channels import from_fanout, patterns_of
from hub.protocol.remembered import LEAST_BYTES, ROOM, ROOM_BYTES, Remembered, Room

HUB = Path(__file__).parents[2] / "hub"

#: The functions that count what they remember by entries, with why that is a bound of bytes.
COUNTED = {
    "hub/forwarded.py _network_of": "an entry of 100 characters",
    "hub/forwarded.py _is_near": "an address of 100 characters",
    "hub/hosts.py _is_ours": "a host of 300 characters",
    "hub/orm/declarations.py names_in": "what the site's own code declares",
    "hub/orm/teller.py _watch_process": "one",
    "hub/origins.py _origin": "an origin of 300 characters",
    "hub/origins.py _is_host": "a host of 300 characters",
    "hub/publisher.py _watch_process": "one",
    "hub/transports/answers.py _fields": "our own fields, and an origin of 300 characters",
    "hub/transports/publish.py _told": "numbers",
}


class TestRemembered:
    def test_what_is_there_is_not_looked_for_again(self) -> None:
        asked: list[str] = []

        def find(key: str) -> int:
            asked.append(key)
            return len(key)

        found = Remembered[str, int](find, room=Room())
        assert [found["abc"], found["abc"], found["ab"], found["abc"]] == [3, 3, 2, 3]
        assert asked == ["abc", "ab"]

    def test_what_is_refused_is_not_remembered(self) -> None:
        def refuse(key: str) -> int:
            raise ValueError(key)

        found = Remembered[str, int](refuse, room=(room := Room()))
        for _ in range(2):
            with pytest.raises(ValueError, match="abc"):
                found["abc"]
        assert (len(found), room.used) == (0, 0)

    def test_the_oldest_go_first_when_there_is_no_room(self) -> None:
        room = Room(2 * LEAST_BYTES)
        found = Remembered[str, int](len, room=room)
        for number in range(5000):
            assert found[f"{number:0100}"] == 100
        assert room.used <= room.most
        assert list(found)[-1] == f"{4999:0100}"
        assert next(iter(found)) == f"{5000 - len(found):0100}"

    def test_who_has_much_takes_nothing_from_who_has_little(self) -> None:
        """A realm whose names nobody attacks keeps some of them."""
        room = Room(4 * LEAST_BYTES)
        large, small = (Remembered[str, int](len, room=room) for _ in range(2))
        for number in range(5000):
            large[f"{number:0100}"]
        for number in range(50):
            small[f"{number:0100}"]
        assert len(small) == 50
        for number in range(5000):
            small[f"{number:0100}"]
        assert room.used <= room.most
        assert abs(large.bytes - small.bytes) < LEAST_BYTES, "who came first keeps nothing from who needs it now"

    def test_what_is_gone_gives_its_bytes_back(self) -> None:
        room = Room()
        found = Remembered[str, int](len, room=room)
        found["abc"]
        assert room.used > 0
        del found
        gc.collect()
        assert room.used == 0

    @pytest.mark.parametrize(
        "names",
        [
            [chr(0x1F600 + number % 50) + f"{number:07}" + "\U0001f600" * 245 for number in range(20_000)],
            ["/".join(["", *(f"{number * 32 + each:06x}" for each in range(31))]) for number in range(20_000)],
        ],
        ids=["of four bytes a letter", "of 31 segments"],
    )
    def test_names_of_strangers_have_one_bound(self, names: list[str]) -> None:
        """16,384 names of 32 segments were 100 MiB of patterns, and as many of 255 emoji 90 MiB, for good."""
        for name in names:
            patterns_of(from_fanout(name))
        assert ROOM.used <= ROOM_BYTES + 64 * LEAST_BYTES
        held = sum(
            sys.getsizeof(each) + sum(map(sys.getsizeof, each)) + sum(map(sys.getsizeof, each.values()))
            for each in gc.get_objects()
            if type(each) is Remembered
        )
        assert held < 2 * ROOM_BYTES


async def test_nothing_of_a_name_that_is_too_long_is_remembered() -> None:
    """A short subscribe over a WebSocket was remembered whatever its name: 16,384 of a megabyte each, and a client that
    sent 200 MB had the hub keep them.
    """
    before = ROOM.used
    async with serving() as (url, hub), ClientSession() as http, http.ws_connect(f"{url}/bayeux") as ws:
        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket"], "id": "1"}
        await ws.send_json([shake])
        client = (await ws.receive_json())[0]["clientId"]
        for number in range(5):
            name = f"/{number}{'a' * 1_000_000}"
            await ws.send_json([{"channel": "/meta/subscribe", "clientId": client, "id": "2", "subscription": name}])
            assert "Channel name too long" in (await ws.receive_json())[0]["error"]
            await ws.send_json(
                [{"channel": "/service/seen", "clientId": client, "id": "2", "data": [name, "abc.1"]}],
                dumps=json.dumps,
            )
            assert "Channel name too long" in (await ws.receive_json())[0]["error"]
        assert hub.node.intake._usual is not None
        assert len(hub.node.intake._usual._is_open) == 0
        assert ROOM.used - before < 10_000


async def test_nothing_of_a_head_s_field_that_is_too_long_is_remembered() -> None:
    """4,096 Hosts of 30 KB were 115 MiB that stayed; as many of X-Forwarded-For, where a client writes what counts."""
    async with serving(proxies=1, hosts=("a.example",)) as (url, _):
        # The usual ones are.
        for line in ("X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: unknown"):
            await say(url, request("GET /poll?channel=a", line, host="a.example"))
        caches = (origins._is_host, origins._origin, forwarded._network_of, forwarded._is_near)
        before = [each.cache_info().currsize for each in caches]
        for number in range(3):
            long = f"{number}{'a' * 30_000}"
            for target in ("GET /poll?channel=a", "GET /ws", "POST /bayeux", f"GET http://{long}/poll?channel=a"):
                for line in (f"X-Forwarded-For: {long}", f"Origin: http://{long}", f"Referer: http://{long}/"):
                    await say(url, request(target, line, host="a.example"))
                await say(url, request(target, host=long))
        assert [each.cache_info().currsize for each in caches] == before


def test_what_is_counted_by_entries_is_bounded_in_bytes() -> None:
    """A decorator hides what it keeps: whoever adds one says here why a stranger can't fill it."""
    assert set(_cached()) == set(COUNTED)


def _cached() -> Iterator[str]:
    for path in sorted(HUB.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "lru_cache" not in text and "functools.cache" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                for each in node.decorator_list:
                    if "cache" in ast.unparse(each):
                        yield f"{path.relative_to(HUB.parent)} {node.name}"
            elif isinstance(node, ast.Call) and "lru_cache(" in ast.unparse(node.func):
                yield f"{path.relative_to(HUB.parent)} {ast.unparse(node.args[0]).removeprefix('self.')}"


async def test_ids_of_publications_are_remembered_in_few_bytes() -> None:
    """200,000 are, of 128 letters of four bytes each."""
    async with serving(client_publish=("/open/*",)) as (url, hub):

        async def tell(*messages: dict[str, object]) -> list[dict[str, object]]:
            answer = await say(url, request("POST /bayeux", body=json.dumps(messages).encode()))
            replies: list[dict[str, object]] = json.loads(answer.body)
            return replies

        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
        client = (await tell(shake))[0]["clientId"]
        ids = [1, "1", "a" * 128, "a" * 127 + "b", "\U0001f600" * 128, "\u00e9"]
        for number in (*ids, *ids):
            [reply] = await tell({"channel": "/open/a", "clientId": client, "id": number, "data": 1})
            assert (reply["successful"], reply["id"]) == (True, number)
        # The number is its digits, as before.
        assert hub.node.counters.published >= len(ids)
        assert (await hub.node.broker.position("/open/a")).offset == len(ids) - 1
        assert max(map(len, hub.node.broker._keys)) <= 81  # type: ignore[attr-defined]  # the memory's
