"""The guarded client, against servers that do what servers do."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import brotli
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from web.services.addresses import Guard, parse_networks
from web.services.outbound import (
    MAX_RETRY_AFTER,
    PER_HOST,
    BadAnswer,
    Forbidden,
    Limits,
    Outbound,
    TooLarge,
    TooSlow,
    Unreachable,
    Validators,
    retry_after,
    shown,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

HERE = Guard(parse_networks("127.0.0.0/8"))
AGENT = "Fanfare/0.1 (+https://site.example)"
QUICK = Limits(connect=5, gap=0.3, total=20, wire=100_000, body=200_000)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Bytes = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def client(guard: Guard = HERE, limits: Limits = QUICK) -> AsyncIterator[Outbound]:
    made = Outbound(guard, AGENT, limits)
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def server(**handlers: Handler) -> AsyncIterator[str]:
    """A site with a handler a path; gives its URL."""
    app = web.Application()
    for name, handler in handlers.items():
        app.router.add_route("*", f"/{name}", handler)
    async with TestServer(app) as made:
        yield str(made.make_url("")).rstrip("/")


@contextlib.asynccontextmanager
async def raw(answer: Bytes) -> AsyncIterator[str]:
    """A server that answers in bytes of its own."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await answer(reader, writer)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(serve(reader, writer)))

    made = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{made.sockets[0].getsockname()[1]}/"
    finally:
        made.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def saying(data: bytes, *, pause: float = 0.0, stay: bool = False) -> Bytes:
    """Answers with these bytes: one a pause if there is one, and then staying silent if so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in [data[at : at + 1] for at in range(len(data))] if pause else [data]:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause)
            if stay:
                await reader.read()
        finally:
            writer.close()

    return answer


async def echo(request: web.Request) -> web.Response:
    told = {"headers": dict(request.headers), "method": request.method, "body": (await request.read()).decode()}
    return web.json_response(told)


def leads(to: str | Callable[[], str], status: int = 302) -> Handler:
    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": to if isinstance(to, str) else to()})

    return redirect


class TestAsking:
    async def test_it_says_who_asks_and_what_can_be_unpacked(self) -> None:
        async with server(a=echo) as url, client() as http:
            found = await http.fetch(f"{url}/a")
        headers = json.loads(found.body)["headers"]
        assert (found.status, found.ok, found.url, found.hops) == (200, True, f"{url}/a", ())
        assert headers["User-Agent"] == AGENT
        assert headers["Accept-Encoding"] == "gzip, deflate, br, zstd"
        assert "Cookie" not in headers

    async def test_statuses_are_answers(self) -> None:
        async def gone(request: web.Request) -> web.Response:
            return web.Response(status=410, text="gone")

        async with server(a=gone) as url, client() as http:
            found = await http.fetch(f"{url}/a")
        assert (found.status, found.ok, found.body) == (410, False, b"gone")

    async def test_validators_go_back_as_they_came(self) -> None:
        """Some are no dates, some lack their quotes: whatever it was, the server knows it."""
        validators = Validators('W/"a,b"', "Tue, 30 Feb 2041 25:00:00 XST")

        async def document(request: web.Request) -> web.Response:
            if request.headers.get("If-None-Match") == validators.etag:
                assert request.headers["If-Modified-Since"] == validators.modified
                return web.Response(status=304, headers={"ETag": "next", "Last-Modified": "later"})
            return web.Response(headers={"ETag": validators.etag, "Last-Modified": validators.modified})

        async with server(a=document) as url, client() as http:
            first = await http.fetch(f"{url}/a")
            assert first.validators == validators
            second = await http.fetch(f"{url}/a", validators=first.validators)
            assert (second.status, second.ok, second.validators) == (304, False, Validators("next", "later"))
            broken = await http.fetch(f"{url}/a", validators=Validators("a\r\nX-Evil: 1", "x" * 5000))
            assert broken.status == 200

    async def test_two_requests_to_a_host_at_a_time(self) -> None:
        now = most = 0

        async def slow(request: web.Request) -> web.Response:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.02)
            now -= 1
            return web.Response()

        async with server(a=slow) as url, client() as http:
            await asyncio.gather(*(http.fetch(f"{url}/a") for _ in range(10)))
            assert most == PER_HOST
            assert not http._hosts

    async def test_a_host_that_hangs_keeps_no_other_waiting(self) -> None:
        async with raw(saying(b"", stay=True)) as hanging, server(a=echo) as url, client() as http:
            stuck = [asyncio.create_task(http.fetch(hanging)) for _ in range(5)]
            # Another name for this machine: hosts are told apart by name.
            assert (await http.fetch(f"{url.replace('127.0.0.1', 'localhost')}/a")).ok
            for each in await asyncio.gather(*stuck, return_exceptions=True):
                assert isinstance(each, TooSlow)


class TestWhere:
    @pytest.mark.parametrize(
        "url",
        [
            *(
                "ftp://x.example/",
                "file:///etc/passwd",
                "gopher://x/",
                "javascript:1",
                "/a",
                "",
                "http://",
                "http:///a",
            ),
            *(
                "http://[::1]/",
                "http://127.0.0.1/",
                "http://0/",
                "http://2130706433/",
                "http://0x7f.1/",
                "http://localhost/",
            ),
            *("http://[::ffff:127.0.0.1]/", "http://169.254.169.254/latest/", "https://10.0.0.1/", "http://x:99999/"),
            "http://x.example/" + "a" * 3000,
        ],
    )
    async def test_nothing_but_the_web_is_fetched(self, url: str) -> None:
        async with client(Guard()) as http:
            with pytest.raises((Forbidden, Unreachable)) as caught:
                await http.fetch(url)
            assert "\n" not in str(caught.value)
            if "//x" not in url and "//0x" not in url:
                assert isinstance(caught.value, Forbidden)

    async def test_an_address_is_looked_at_when_the_connection_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A name may have been public when it was looked up by somebody, and ours when it is connected to."""
        async with server(a=echo) as url, client(Guard()) as http:
            monkeypatch.setattr(http._guard, "permits", lambda address: False)
            with pytest.raises(Forbidden):
                await http.fetch(url.replace("127.0.0.1", "localhost") + "/a")
            monkeypatch.undo()
            # However it got there: the socket itself is refused.
            monkeypatch.setattr(http._connector._resolver, "_guard", HERE)
            with pytest.raises(Forbidden):
                await http.fetch(url.replace("127.0.0.1", "localhost") + "/a")

    async def test_ports_of_other_services_are_refused(self) -> None:
        async with client(Guard()) as http:
            for port in (22, 25, 110, 853):
                with pytest.raises(OSError, match="another service"):
                    http._socket((2, 1, 6, "", ("8.8.8.8", port)))

    async def test_who_is_not_there_is_unreachable(self) -> None:
        async with server(a=echo) as url:
            pass
        async with client() as http:
            for gone in (f"{url}/a", "http://name.invalid/"):
                with pytest.raises(Unreachable):
                    await http.fetch(gone)


class TestRedirects:
    async def test_they_are_followed_and_told(self) -> None:
        async with server(a=leads("b", 301), b=leads("/c?x=1#part", 308), c=echo) as url, client() as http:
            found = await http.fetch(f"{url}/a")
        assert found.url == f"{url}/c?x=1"
        assert [(hop.status, hop.url) for hop in found.hops] == [(301, f"{url}/b"), (308, f"{url}/c?x=1")]

    @pytest.mark.parametrize(
        "to",
        [
            "http://10.0.0.1/",
            "http://[::1]:1/",
            "file:///etc/passwd",
            "ftp://x.example/",
            "//169.254.169.254/",
            "http://0/",
        ],
    )
    async def test_each_is_looked_at_as_the_first_url(self, to: str) -> None:
        async with server(a=leads(to)) as url, client() as http:
            with pytest.raises(Forbidden):
                await http.fetch(f"{url}/a")

    async def test_they_end(self) -> None:
        numbers = iter(range(1000))
        async with (
            server(
                a=leads("/b"), b=leads("/a"), c=leads(lambda: f"/c?{next(numbers)}"), d=leads("http://["), e=leads("")
            ) as url,
            client() as http,
        ):
            for path in "abcde":
                with pytest.raises((BadAnswer, Forbidden)):
                    await http.fetch(f"{url}/{path}")

    async def test_secrets_stay_at_their_origin(self) -> None:
        async with server(a=echo) as other:
            other = other.replace("127.0.0.1", "localhost")
            async with server(here=echo, there=leads(f"{other}/a"), back=leads("/here")) as url, client() as http:
                own = url.replace("http://", "http://user:pass@")
                for path, kept in (("here", True), ("back", True), ("there", False)):
                    found = await http.fetch(f"{own}/{path}", headers={"X-Key": "secret"})
                    headers = json.loads(found.body)["headers"]
                    assert ("Authorization" in headers, "X-Key" in headers) == (kept, kept), path
                    assert "user" not in found.url

    async def test_a_cookie_lasts_as_long_as_a_fetch(self) -> None:
        async def gate(request: web.Request) -> web.Response:
            response = web.Response(status=302, headers={"Location": "/in"})
            response.set_cookie("seen", "1")
            return response

        async with server(gate=gate, **{"in": echo}) as url, client() as http:
            assert json.loads((await http.fetch(f"{url}/gate")).body)["headers"]["Cookie"] == "seen=1"
            assert "Cookie" not in json.loads((await http.fetch(f"{url}/in")).body)["headers"]

    async def test_what_is_sent_is_sent_once(self) -> None:
        async with server(a=leads("/b", 307), b=echo) as url, client() as http:
            assert (await http.fetch(f"{url}/a", method="POST", data=b"x=1")).status == 307
            told = json.loads((await http.fetch(f"{url}/b", method="POST", data=b"x=1")).body)
            assert (told["method"], told["body"]) == ("POST", "x=1")


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"


class TestBounds:
    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(saying(HEAD + b"Content-Length: 1000000\r\n\r\n"), id="a length that is too long"),
            pytest.param(saying(HEAD + b"\r\n" + b"x" * 300_000), id="a body without a length"),
            pytest.param(
                saying(
                    HEAD
                    + b"Transfer-Encoding: chunked\r\n\r\n"
                    + b"ffff\r\n"
                    + b"x" * 0xFFFF
                    + b"\r\nffff\r\n"
                    + b"x" * 0xFFFF
                ),
                id="chunks without end",
            ),
            pytest.param(
                saying(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(10_000_000))), id="a bomb"
            ),
            pytest.param(saying(HEAD + b"\r\n" + gzip.compress(bytes(10_000_000))), id="a bomb that nobody speaks of"),
        ],
    )
    async def test_bodies(self, answer: Bytes) -> None:
        async with raw(answer) as url, client() as http:
            with pytest.raises(TooLarge):
                await http.fetch(url)

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(saying(HEAD + b"X: " + b"x" * 20_000 + b"\r\n\r\n"), id="a long field"),
            pytest.param(saying(HEAD + b"X: y\r\n" * 5000 + b"\r\n"), id="many fields"),
            pytest.param(saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), id="another protocol"),
            pytest.param(saying(HEAD + b"Content-Encoding: gzip\r\n\r\nplain"), id="not packed as it says"),
            pytest.param(
                saying(HEAD + b"Content-Encoding: gzip\r\n\r\n" + gzip.compress(b"x" * 99)[:-9]), id="cut gzip"
            ),
            pytest.param(saying(HEAD + b"Content-Encoding: x\r\n\r\n"), id="an unknown coding"),
        ],
    )
    async def test_what_is_not_http_is_refused(self, answer: Bytes) -> None:
        async with raw(answer) as url, client() as http:
            with pytest.raises((BadAnswer, Unreachable)):
                await http.fetch(url)

    @pytest.mark.parametrize(
        "answer",
        [
            pytest.param(saying(b"", stay=True), id="says nothing"),
            pytest.param(saying(HEAD + b"Content-Length: 9\r\n\r\nabc", stay=True), id="stops in the middle"),
        ],
    )
    async def test_silence_is_given_up(self, answer: Bytes) -> None:
        async with raw(answer) as url, client() as http:
            with pytest.raises(TooSlow):
                await http.fetch(url)

    async def test_crumbs_are_given_up_after_all(self) -> None:
        slow = Limits(gap=5, total=0.5)
        async with raw(saying(HEAD + b"\r\n" + b"x" * 1000, pause=0.01)) as url, client(limits=slow) as http:
            with pytest.raises(TooSlow):
                await http.fetch(url)

    async def test_body_that_breaks_off_is_no_document(self) -> None:
        async with raw(saying(HEAD + b"Content-Length: 99\r\n\r\nabc")) as url, client() as http:
            with pytest.raises(Unreachable):
                await http.fetch(url)

    async def test_packed_bodies_are_unpacked(self) -> None:
        document = b"<rss/>"
        for coding, packed in (
            ("gzip", gzip.compress(document)),
            ("deflate", zlib.compress(document)[2:-4]),
            ("br", brotli.compress(document)),
            ("zstd", zstd.compress(document)),
        ):
            answer = HEAD + b"Content-Encoding: %b\r\n\r\n%b" % (coding.encode(), packed)
            async with raw(saying(answer)) as url, client() as http:
                assert (await http.fetch(url)).body == document


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("9" * 5000, MAX_RETRY_AFTER),
        (format_datetime(NOW + timedelta(minutes=5), usegmt=True), 300.0),
        (format_datetime(NOW - timedelta(minutes=5), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=400), usegmt=True), MAX_RETRY_AFTER),
        *[(text, None) for text in ("-5", "1.5", "soon", "١٢", "Sat, 99 Nov 2026 12:00:00 GMT", "NaN")],
    ],
)
def test_retry_after_is_read_in_both_forms(text: str | None, seconds: float | None) -> None:
    assert retry_after(text, NOW.timestamp()) == seconds


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://user:pass@feeds.example/a/b?token=secret#x", "feeds.example/a/b"),
        ("http://x.example:8000/" + "a" * 100, "x.example:8000/" + "a" * 59 + "…"),
        ("http://[", "a URL that is none"),
        ("http://x.example/a%0d%0ab", "x.example/a??b"),
    ],
)
def test_urls_are_shown_without_their_secrets(url: str, text: str) -> None:
    assert shown(url) == text
