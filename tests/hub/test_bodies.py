"""What a request's body costs in one piece: it is unpacked, unescaped and decoded in turns, or refused before that."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import random
import zlib
from pathlib import Path
from urllib.parse import urlencode

import pytest
from aiohttp import ClientSession
from listening import serving
from wire import request, say

from hub.errors import BadMessage
from hub.protocol import escapes
from hub.transports import bodies
from hub.transports.bodies import MAX_MEMBERS, read_form
from hub.transports.polling import messages_of_form
from hub.turns import Turns

HANDSHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling"]}
MEBIBYTE = 2**20


class Turnless(Turns):
    """Lets everybody in at once, and counts them."""

    __slots__ = ()

    async def wait(self) -> None:
        self.taken += 1


class TestUnpacking:
    @pytest.fixture
    def turns(self, monkeypatch: pytest.MonkeyPatch) -> Turns:
        """Each go takes longer than a turn."""
        times = iter(range(10**9))
        monkeypatch.setattr(bodies, "monotonic", lambda: next(times))
        return Turnless()

    @pytest.mark.parametrize("packed", [b"\0\0\0\xff\xff", b"n"], ids=["empty blocks", "a name in the header"])
    async def test_what_becomes_nothing_has_turns_too(self, turns: Turns, packed: bytes) -> None:
        """8 MiB of empty blocks took 5 ms in one go, of blocks that only say how the next are packed 0.6 s."""
        head = b"\x1f\x8b\x08" + (b"\x08" if packed == b"n" else b"\0") + b"\0\0\0\0\0\xff"
        body = head + packed * (MEBIBYTE // len(packed))
        with pytest.raises(BadMessage):
            await bodies._unpack(body, "gzip", 8 * MEBIBYTE, turns)
        assert turns.taken >= len(body) // bodies._PACKED_STEP

    async def test_members_are_unpacked_in_turns_and_not_copied(self, turns: Turns) -> None:
        """The rest behind each of sixteen was copied twice: 8 MiB took 20 ms."""
        text = random.Random(1).randbytes(100_000)
        packed = b"".join(gzip.compress(text[at::MAX_MEMBERS]) for at in range(MAX_MEMBERS))
        found = await bodies._unpack(packed, "gzip", MEBIBYTE, turns)
        assert found == b"".join(text[at::MAX_MEMBERS] for at in range(MAX_MEMBERS))
        assert turns.taken >= MAX_MEMBERS

    @pytest.mark.parametrize("size", [0, 1, bodies.INFLATE_STEP - 1, bodies.INFLATE_STEP, 5 * bodies.INFLATE_STEP + 7])
    async def test_member_that_ends_in_a_go_of_several_is_followed_by_the_next(self, turns: Turns, size: int) -> None:
        """zlib says twice what is behind a member that took more than one go."""
        text = b"a" * size + b"b"
        packed = gzip.compress(text) * 3
        assert await bodies._unpack(packed, "gzip", 8 * MEBIBYTE, turns) == text * 3
        with pytest.raises(BadMessage):
            await bodies._unpack(packed + b"\x1f", "gzip", 8 * MEBIBYTE, turns)

    @pytest.mark.parametrize("encoding", ["gzip", "deflate"])
    async def test_every_length_is_unpacked_as_it_was_packed(self, turns: Turns, encoding: str) -> None:
        dice = random.Random(2)
        for size in [0, 1, 4_000, 5_000, 70_000, 200_000]:
            text = bytes(dice.choices(b"abcdef", k=size))
            packed = gzip.compress(text) if encoding == "gzip" else zlib.compress(text)
            assert await bodies._unpack(packed, encoding, MEBIBYTE, turns) == text


class TestForms:
    @pytest.mark.parametrize("piece", [7, 16, 1000])
    def test_long_field_is_read_in_pieces_as_in_one_go(self, monkeypatch: pytest.MonkeyPatch, piece: int) -> None:
        dice = random.Random(piece)
        for _ in range(200):
            text = "".join(dice.choices("a%+=&é😀 \n\r", k=dice.randrange(80)))
            body = urlencode([("x" * dice.randrange(30), text), ("message", text)]).encode()
            whole = messages_of_form(body)
            with monkeypatch.context() as patch:
                patch.setattr(escapes, "PIECE", piece)
                assert messages_of_form(body) == whole == [text] * bool(text)

    async def test_bad_escapes_of_all_fields_together_are_bounded(self) -> None:
        """Each was bounded by itself: the library's own way takes 0.1 ms for a KiB."""
        turns = Turnless()
        fields = [b"a=" + b"%C3%A9" * 1_000 + b"%zz"] * 8
        assert await read_form(fields[0], 400, turns) == [("a", "é" * 1_000 + "%zz")]
        with pytest.raises(ValueError, match="escapes nothing"):
            await read_form(b"&".join(fields), 400, turns)

    @pytest.mark.parametrize("field", [(), ("Transfer-Encoding: chunked",)], ids=["with a length", "in chunks"])
    async def test_long_form_is_read_in_turns(self, field: tuple[str, ...]) -> None:
        """A megabyte of escapes took 4 to 15 ms in one go."""
        filling = json.dumps([{**HANDSHAKE, "ext": {"x": "é\n%" * 60_000}}])
        body = urlencode({"message": filling}).encode()
        assert MEBIBYTE * 0.8 < len(body) < MEBIBYTE
        if field:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
            head = request("POST /bayeux", *field)
            sent = head + body
        else:
            sent = request("POST /bayeux", body=body)
        async with serving() as (url, hub):
            taken = hub.door.turns.taken
            reply = await say(url, sent)
            assert reply.status == 200
            assert '"successful":true' in reply.body
            assert hub.door.turns.taken - taken > 0.8 * MEBIBYTE // escapes.PIECE

    async def test_what_a_client_sends_behind_a_long_form_is_taken_after_it(self) -> None:
        """On connections of their own: the second need not wait for anything but the first."""
        async with serving(client_publish=("/a",)) as (url, hub), ClientSession() as http:
            async with http.post(url + "/bayeux", json=[HANDSHAKE]) as response:
                client = (await response.json())[0]["clientId"]
            before = str(await hub.publisher.position("a"))

            def body(data: object) -> bytes:
                message = {"clientId": client, "channel": "/a", "data": data}
                return urlencode({"message": json.dumps(message)}).encode()

            async def send(data: object) -> None:
                async with http.post(url + "/bayeux", data=body(data)) as response:
                    assert (await response.json())[0]["successful"]

            long = asyncio.create_task(send("é" * 90_000))
            await asyncio.sleep(0)
            while not hub.node.lanes.taken:
                await asyncio.sleep(0)
            await send("short")
            await long
            assert not hub.node.lanes.taken
            async with http.get(url + "/poll", params={"channel": "a", "position": before}) as response:
                found = [each["data"] for each in (await response.json())["messages"]]
            assert [len(each) for each in found] == [90_000, 5]

    async def test_client_that_leaves_while_its_form_is_read_keeps_no_lane(self) -> None:
        async with serving() as (url, hub):
            message = {"clientId": "0" * 40, "channel": "/a", "data": "é" * 90_000}
            body = urlencode({"message": json.dumps(message)}).encode()
            _, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            writer.write(request("POST /bayeux", body=body))
            while not hub.node.lanes.taken:
                await asyncio.sleep(0)
            writer.transport.abort()
            async with asyncio.timeout(10):
                while hub.node.lanes.taken or len(hub.door.turns):
                    await asyncio.sleep(0)


#: Bodies of more than twice what is taken, that are not short without their long strings: their beginning, what fills
#: them, and their end.
LONG = {
    "blanks": (b"[", b" ", b"{}]"),
    "digits": (b"[", b"9", b"]"),
    "quotes": (b"[", b'"', b"]"),
    "short strings": (b'["', b'a","', b'"]'),
    "escaped quotes": (b'["', b'\\"', b'"]'),
    "backslashes": (b'["', b"\\", b'"]'),
    "a form": (b"message=", b"%20", b""),
    "nothing known": (b"", b"=", b""),
}


class TestTooLong:
    @pytest.mark.parametrize("what", LONG)
    async def test_what_would_be_costly_to_answer_is_refused_before_it_is_decoded(
        self, what: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """8 MiB of them took 9 to 72 ms to find out what to answer to each message."""
        start, filling, end = LONG[what]
        body = start + filling * (3 * MEBIBYTE // len(filling)) + end

        def decode(text: bytes, *_: object) -> None:
            raise AssertionError("decoded")

        for name in ("hub.transports.polling.parse_batch", "hub.transports.websocket.parse_batch"):
            monkeypatch.setattr(name, decode)
        async with serving() as (url, _), ClientSession() as http:
            async with http.post(url + "/bayeux", data=io.BytesIO(body)) as response:
                assert (response.status, await response.text()) == (413, "413::Message too large\n")
            async with http.ws_connect(url + "/bayeux", max_msg_size=0) as socket:
                await socket.send_str(body.decode())
                assert await socket.receive_json() == [{"successful": False, "error": "413::Message too large"}]

    async def test_batch_that_is_not_much_too_long_is_refused_message_by_message(self) -> None:
        """Faye repeats for ever what fails by an HTTP status; one with many strings too."""
        rows = [[f"{number:08}" * 20, "b" * 100] for number in range(4_000)]
        batch = json.dumps([{"channel": "/chat/a", "id": "0", "data": rows}])
        assert MEBIBYTE < len(batch) < 2 * MEBIBYTE
        expected = [{"channel": "/chat/a", "id": "0", "successful": False, "error": "413::Message too large"}]
        async with serving() as (url, _), ClientSession() as http:
            for data in (batch, urlencode({"message": batch})):
                async with http.post(url + "/bayeux", data=io.BytesIO(data.encode())) as response:
                    assert (response.status, await response.json(content_type=None)) == (200, expected)
            async with http.ws_connect(url + "/bayeux", max_msg_size=0) as socket:
                await socket.send_str(batch)
                assert await socket.receive_json() == expected


async def test_query_of_many_fields_is_refused_wherever_channels_are_asked_for(tmp_path: Path) -> None:
    """`/presence` decoded all that came, thousands of fields, before it counted the channels among them."""
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nchannels = ["**"]\nsubscribe = "open"\npresence = "open"\n', encoding="utf-8")
    async with serving(rules=rules) as (url, _), ClientSession() as http:
        for path in ("/presence", "/poll", "/sse"):
            async with http.get(f"{url}{path}?channel=a{'&b=' * 1_000}") as response:
                assert response.status == 400, path
                assert "oo many fields" in await response.text()
        async with http.get(f"{url}/presence?channel=a{'&b=' * 300}") as response:
            assert response.status == 200
