"""Requests that come again byte for byte are answered without aiohttp, for as long as the application says."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from hub.app import Hub, running
from hub.settings import Settings
from hub.transports import repeats

PAGE = b"GET /page HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n"


@dataclass
class Site:
    """An application with one page, whose answer stands until `text` changes."""

    port: int = 0
    text: str = "first"
    made: int = 0
    long: int = 0
    cookie: bool = False
    hub: Hub = field(init=False)

    async def page(self, request: web.Request) -> web.Response:
        self.made += 1
        shown = self.text
        response = web.Response(text=shown + "." * self.long, headers={"X-Told": "é"})
        if self.cookie:
            response.set_cookie("own", "1")
        if repeats.may_repeat(request):
            repeats.again(request, lambda: self.text == shown)
        return response

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator[Browser]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield Browser(reader, writer)
        finally:
            writer.close()


@dataclass
class Browser:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, question: bytes = PAGE) -> tuple[bytes, bytes]:
        """The head of the answer, with no date, and its body."""
        self.writer.write(question)
        return await self.answer()

    async def answer(self) -> tuple[bytes, bytes]:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            body = await self.reader.readexactly(int(length[1])) if length else b""
        assert len(re.findall(rb"(?i)\r\ndate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\n", head)) == 1
        return re.sub(rb"(?i)\r\ndate: [^\r]*", b"", head), body


@contextlib.asynccontextmanager
async def site(**settings: object) -> AsyncIterator[Site]:
    found = Site()
    found.hub = Hub(Settings(**settings))  # type: ignore[arg-type]  # by name
    app = web.Application()
    app.router.add_get("/page", found.page)
    app.router.add_post("/page", found.page)
    found.hub.setup(app)
    async with running(app, found.hub) as base:
        found.port = int(base.rpartition(":")[2])
        yield found


def sorted_head(head: bytes) -> list[bytes]:
    first, *fields = head.split(b"\r\n")
    return [first, *sorted(fields)]


async def test_answer_is_the_same_whoever_gives_it_until_it_stands_no_more() -> None:
    async with site() as there, there.asking() as one, there.asking() as other:
        first = await one.ask()
        assert there.made == 1
        for browser in one, other, one, other:
            again = await browser.ask()
            assert (sorted_head(again[0]), again[1]) == (sorted_head(first[0]), first[1])
        assert (there.made, there.hub.door.repeats.given) == (1, 4)
        there.text = "second"
        for browser in other, one:
            assert (await browser.ask())[1] == b"second"
        assert there.made == 2


@pytest.mark.parametrize(
    "field",
    [b"Cookie: a=b", b"cookie:a=b", b"Authorization: Bearer x", b"Range: bytes=0-1", b"Content-Length: 0"],
)
async def test_what_may_be_its_senders_own_is_made_each_time(field: bytes) -> None:
    question = PAGE[:-2] + field + b"\r\n\r\n"
    async with site() as there, there.asking() as browser:
        for _ in range(3):
            await browser.ask(question)
        assert there.hub.door.repeats.given == 0


async def test_answer_with_a_cookie_is_nobody_elses() -> None:
    async with site() as there, there.asking() as browser:
        there.cookie = True
        for _ in range(3):
            assert b"Set-Cookie" in (await browser.ask())[0]
        assert (there.made, there.hub.door.repeats.given) == (3, 0)


async def test_other_words_have_answers_of_their_own() -> None:
    """Another host, another path, a method: not a byte may differ."""
    async with site() as there, there.asking() as browser:
        await browser.ask()
        for question in (
            PAGE.replace(b"localhost", b"127.0.0.1"),
            PAGE.replace(b"/page", b"/page?"),
            PAGE.replace(b"text/html", b"text/*"),
        ):
            before = there.made
            await browser.ask(question)
            assert there.made == before + 1
        assert (await browser.ask(PAGE.replace(b"/page", b"/none")))[0].startswith(b"HTTP/1.1 404")
        browser.writer.write(PAGE.replace(b"GET", b"HEAD"))
        async with asyncio.timeout(10):
            assert (await browser.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert there.hub.door.repeats.given == 0
        assert (await browser.ask())[1] == b"first"
        assert there.hub.door.repeats.given == 1


async def test_questions_in_one_packet_and_in_crumbs_are_all_answered() -> None:
    async with site() as there, there.asking() as browser, there.asking() as other:
        await browser.ask()
        browser.writer.write(PAGE * 3)
        assert [(await browser.answer())[1] for _ in range(3)] == [b"first"] * 3
        for at in range(0, len(PAGE), 20):
            other.writer.write(PAGE[at : at + 20])
            await other.writer.drain()
        assert (await other.answer())[1] == b"first"
        # As a connection that was answered so goes over to polls, and back.
        async with there.asking() as third:
            await third.ask()
            head, _ = await third.ask(b"POST /bayeux HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n[]")
            assert head.startswith(b"HTTP/1.1 ")
            assert (await third.ask())[1] == b"first"


async def test_connection_ends_where_its_client_wants_it() -> None:
    question = PAGE[:-2] + b"Connection: close\r\n\r\n"
    async with site() as there:
        for _ in range(3):
            async with there.asking() as browser:
                head, body = await browser.ask(question)
                assert b"connection: close" in head.lower()
                assert body == b"first"
                async with asyncio.timeout(10):
                    assert await browser.reader.read() == b""
        assert there.hub.door.repeats.given == 2
        assert there.hub.door.clients == 0


async def test_who_stands_behind_our_proxy_is_answered_like_all_others() -> None:
    async with site(proxies=1) as there, there.asking() as browser:
        for number in range(4):
            await browser.ask(PAGE[:-2] + b"X-Forwarded-For: 192.0.2.%d\r\n\r\n" % number)
        assert (there.made, there.hub.door.repeats.given) == (1, 3)
        # The scheme is not whose it is.
        await browser.ask(PAGE[:-2] + b"X-Forwarded-Proto: https\r\n\r\n")
        assert there.made == 2
    async with site() as there, there.asking() as browser:
        for number in range(4):
            await browser.ask(PAGE[:-2] + b"X-Forwarded-For: 192.0.2.%d\r\n\r\n" % number)
        assert there.made == 4


async def test_who_reads_nothing_is_asked_for_no_more() -> None:
    async with site() as there, there.asking() as browser:
        there.long = 200_000
        first = await browser.ask()
        known = there.hub.door.repeats
        async with there.asking() as other:
            # Nothing public stops a reader.
            other.reader._transport.pause_reading()  # type: ignore[attr-defined]
            asked = 0
            blocked = False
            async with asyncio.timeout(20):
                while not blocked:
                    other.writer.write(PAGE)
                    asked += 1
                    while known.given < asked and not blocked:
                        await asyncio.sleep(0.001)
                        blocked = any(each._blocked for each in known.connections)
            (connection,) = known.connections
            other.writer.write(PAGE)
            await browser.ask()
            # This one's own and no more: what he still asks is not read.
            assert connection._transport is not None
            assert connection._transport.get_write_buffer_size() < 64 * 1024 + 201_000
            assert known.given <= asked + 1
            other.reader._transport.resume_reading()  # type: ignore[attr-defined]  # as above
            for _ in range(asked + 1):
                assert (await other.answer())[1] == first[1]


async def test_idle_connection_is_closed_in_its_time() -> None:
    async with site(idle_timeout=0.3) as there, there.asking() as first, there.asking() as browser:
        await first.ask()
        await browser.ask()
        assert len(there.hub.door.repeats.connections) == 1
        async with asyncio.timeout(10):
            assert await browser.reader.read() == b""
        assert there.hub.door.repeats.connections == set()


async def test_answers_by_others_keep_a_connection_that_aiohttp_would_close_as_idle() -> None:
    async with site(idle_timeout=0.6) as there, there.asking() as browser:
        await browser.ask()
        begun = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - begun < 1.5:
            await browser.ask()
            await asyncio.sleep(0.1)
        assert there.made == 1


async def test_process_that_goes_closes_the_connections() -> None:
    async with site() as there:
        async with there.asking() as first:
            await first.ask()
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        await Browser(reader, writer).ask()
        assert there.hub.door.repeats.given == 1
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_ever_new_words_fill_no_memory() -> None:
    async with site() as there, there.asking() as browser:
        known = there.hub.door.repeats
        for number in range(repeats.MAX_REPEATS + 10):
            known._found[b"%d" % number] = repeats.Repeat(b"", b"", b"", False, lambda: True)
        await browser.ask()
        assert len(known._found) <= repeats.MAX_REPEATS
        long = PAGE[:-2] + b"X-Long: " + b"x" * repeats.HEAD_BYTES + b"\r\n\r\n"
        for _ in range(2):
            await browser.ask(long)
        assert not [head for head in known._found if len(head) > repeats.HEAD_BYTES]
