"""Heads that are no HTTP/1 and were answered all the same: refused in one line, whoever reads them."""

from __future__ import annotations

import asyncio

import pytest
from listening import KEY, REALM, serving

from hub.protocol import tokens

GET = "GET /test HTTP/1.1\r\nHost: a\r\n\r\n"
POST = "POST /bayeux HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n[{}]"

#: A head, and the status.
HEADS = {
    "GET {path} HTTP/2.0\r\nHost: a\r\n": 505,
    "GET {path}\r\nHost: a\r\n": 400,
    "GET {path} HTTP/0.9\r\nHost: a\r\n": 400,
    "GET {path} HTTP/1.2\r\nHost: a\r\n": 400,
    "GET {path} HTTP/3.0\r\nHost: a\r\n": 400,
    "GET {path} http/1.1\r\nHost: a\r\n": 400,
    "POST {path} HTTP/2.0\r\nHost: a\r\nContent-Length: 0\r\n": 505,
    "POST {path}\r\nHost: a\r\nContent-Length: 0\r\n": 400,
    "POST {path} HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n": 400,
    "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n": 400,
    "GET {path} HTTP/1.1\r\n": 400,
}
HOSTS = [
    "a b",
    "a,b",
    "a:port",
    "a:70000",
    "a/b",
    "[::1",
    "::1",
    "a@b",
    "a?b",
    "<a>",
    "",
    "a\r\nHost: a",
    "a\r\nHost: b",
]


async def answer(url: str, request: str, before: str) -> bytes:
    """What is answered to a request that ends the connection, behind another one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    if before:
        writer.write(before.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split()[0]))
    writer.write(request.encode())
    found = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    return found


@pytest.mark.parametrize("before", ["", GET, POST], ids=["at once", "behind aiohttp's", "behind a poll"])
@pytest.mark.parametrize("path", ["/", "/health", "/sse?channel=a", "/bayeux", "/publish/"])
async def test_it_is_refused_in_one_line(path: str, before: str) -> None:
    heads = {head.format(path=path): status for head, status in HEADS.items()}
    heads |= {f"GET {path} HTTP/1.1\r\nHost: {host}\r\n": 400 for host in HOSTS}
    heads |= {f"POST {path} HTTP/1.1\r\nContent-Length: 0\r\nHost: {host}\r\n": 400 for host in HOSTS}
    async with serving() as (url, hub):
        for head, status in heads.items():
            found = await answer(url, head + "\r\n", before)
            first, _, rest = found.partition(b"\r\n")
            words = rest.partition(b"\r\n\r\n")[2]
            assert first.split()[:2] in ([b"HTTP/1.0", b"%d" % status], [b"HTTP/1.1", b"%d" % status]), (head, found)
            assert words.count(b"\n") == 1, (head, found)
            assert b"Traceback" not in words
        assert not hub.node.registry.sessions


async def test_http_2_is_refused() -> None:
    """What announced it and went silent was waited for."""
    async with serving() as (url, _):
        for rest in ("", "SM\r\n\r\n"):
            assert (await answer(url, "PRI * HTTP/2.0\r\n\r\n" + rest, "")).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("path", ["/ws", "/bayeux"])
@pytest.mark.parametrize("before", ["", GET], ids=["at once", "behind another"])
async def test_upgrade_is_refused_likewise(path: str, before: str) -> None:
    upgrade = (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    async with serving() as (url, _):
        for host in HOSTS:
            found = await answer(url, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{upgrade}", before)
            assert found.split()[1] == b"400", host
        found = await answer(url, f"GET {path} HTTP/2.0\r\nHost: a\r\n{upgrade}", before)
        assert found.split()[1] in (b"400", b"505")


@pytest.mark.parametrize(
    "host",
    ["a", "a.example", "A.Example:8000", "127.0.0.1", "127.0.0.1:80", "[::1]:8000", "a_b.example", "xn--e1a.example."],
)
async def test_hosts_that_are_some_are_served(host: str) -> None:
    async with serving() as (url, _):
        for line in ("GET /health", "POST /bayeux"):
            head = f"{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]"
            found = await answer(url, head, "")
            assert b"Bad Host" not in found


async def test_http_1_0_without_a_host_is_served() -> None:
    """As HAProxy's health check asks by default."""
    async with serving() as (url, _):
        assert (await answer(url, "GET /health HTTP/1.0\r\n\r\n", "")).split()[1] == b"200"
        assert (await answer(url, "OPTIONS / HTTP/1.0\r\n\r\n", "")).split()[1] in (b"404", b"405")


async def test_what_tells_of_now_is_not_stored() -> None:
    """A cache between hub and balancer answered "ready" for a hub that had gone."""
    async with serving() as (url, hub):
        bearer = f"Authorization: Bearer {tokens.sign(REALM, KEY, hub.node.bayeux.wall())}"
        for path in ("/health", "/ready", "/metrics", f"/realm/{REALM}/position/?channel=a", "/poll?channel=a"):
            head = f"GET {path} HTTP/1.1\r\nHost: a\r\n{bearer}\r\nConnection: close\r\n\r\n"
            found = (await answer(url, head, "")).partition(b"\r\n\r\n")[0].decode()
            (field,) = [line for line in found.split("\r\n") if line.lower().startswith("cache-control:")]
            assert "no-store" in field, path


LONG = "a" * 20_000


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "target",
    [
        f"/r/{LONG}",
        f"/realm/{LONG}/publish/",
        # Other spellings of the same were looked up, which took 20 to 100 ms.
        f"/%72/{LONG}",
        f"/%72ealm/{LONG}/publish/",
        f"/re%61lm/{LONG}/publish/",
        f"http://a/r/{LONG}",
        f"http://a/%72/{LONG}",
        f"http://a/realm/{LONG}/publish/",
        "http://a" + "/a" * 5000,
        "/a" * 5000,
    ],
    ids=lambda target: target[:14],
)
async def test_path_that_is_long_to_look_up_is_not(method: str, target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr("aiohttp.web_urldispatcher.UrlDispatcher.resolve", resolve)
    async with serving() as (url, _):
        head = f"{method} {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        assert (await answer(url, head, "")).startswith(b"HTTP/1.1 404 ")


async def test_metrics_have_one_spelling() -> None:
    """HAProxy, told to deny `/metrics`, let `/%6detrics` pass, which was the same here: everybody read it."""
    async with serving() as (url, _):
        for target in ("/metrics", "/metrics?x=1"):
            asked = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            assert (await answer(url, asked, "")).startswith(b"HTTP/1.1 200 ")
        for target in (
            "/%6detrics",
            "/metric%73",
            "/%6D%65%74%72%69%63%73",
            "http://a/metrics",
            "/metrics/",
            "//metrics",
        ):
            asked = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            found = await answer(url, asked, "")
            assert found.startswith(b"HTTP/1.1 404 "), target
            assert b"hub_" not in found
