"""Every route and every refusal over a real socket: what all answers have, and what none of them says.

Browsers guessed at the type of what had no `nosniff`: refusals, /test, what /poll gave. The Server field named the
versions of Python and aiohttp, by which somebody could look for holes that are known.
"""

from __future__ import annotations

import base64
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from shell import Shell
from wire import request, upgrade

KEY = base64.b64encode(b"k" * 32).decode()

ENVIRON = {
    "FANOUT_KEY": KEY,
    "FANOUT_REALM": "test",
    "HUB_PROXIES": "1",
    "HUB_HANDSHAKE_RATE": "1",
    "HUB_HOSTS": "hub",
    "HUB_MAX_BODY": "1KiB",
    "HUB_MAX_BODY_READ": "4KiB",
    "HUB_BODY_TIMEOUT": "1s",
    "HUB_HEAD_TIMEOUT": "1s",
    "HUB_PING_INTERVAL": "2s",
    "HUB_CONNECT_TIMEOUT": "1s",
    "HUB_RULES": "rules.toml",
}

RULES = '[[rule]]\nchannels = ["seen"]\npresence = "open"\n'

# fmt: off
ROUTES = (
    "/", "/p2", "/oc-", "/oc-Nothing", "/rss.xml", "/atom.xml", "/feed.json", "/sitemap.xml", "/zitemap.xml", "/posts",
    "/posts/nothing", "/posts/nothing/about", "/posts/nothing/comments.json", "/posts/nothing/rss.xml",
    "/events", "/events/nothing", "/events/nothing/about", "/events/nothing/comments.json", "/login",
    "/manage/events", "/manage/events/new", "/manage/events/1/edit", "/static/fanout.js", "/static/style.css",
    "/static/nothing.js", "/bayeux/static/fanout.js", "/bayeux/static/nothing.js", "/bayeux",
    "/bayeux?message=%5B%5D&jsonp=f", "/ws", "/sse?channel=a", "/sse", "/poll?channel=a", "/poll",
    "/poll?channel=private-1", "/poll?channel=a&token=x", "/subscriptions/stream",
    "/realm/test/subscriptions/items/", "/realm/other/subscriptions/items/", "/presence?channel=seen",
    "/presence?channel=a", "/realm/test/presence/?channel=seen", "/realm/test/position/?channel=a",
    "/publish/", "/realm/test/publish/", "/realm/test/kick/", "/subscribe/", "/feed/?sid=x", "/test",
    "/test/sse", "/test/ws", "/health", "/ready", "/metrics", "/openapi.json", "/r/test/bayeux",
    "/r/nobody/bayeux", "/robots.txt", "/favicon.ico", "/.well-known/x", "/nothing",
)
# fmt: on

METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "DELETE", "BREW")

JSON = "Content-Type: application/json"
FORM = "Content-Type: application/x-www-form-urlencoded"
SHAKE = b'[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]'

#: Refusals by name: what is sent, and the status that it has. Halves of requests wait for their time-out.
REFUSALS = {
    "line that is none": (b"nonsense\r\n\r\n", 400),
    "field that is none": (b"POST /bayeux HTTP/1.1\r\nHost: hub\r\nno colon\r\n\r\n", 400),
    "field of a GET that is none": (b"GET /bayeux HTTP/1.1\r\nHost: hub\r\nno colon\r\n\r\n", 400),
    "host that is none": (request("POST /bayeux", host="[[["), 400),
    "body that is no JSON": (request("POST /bayeux", JSON, body=b"{"), 400),
    "publish without a key": (request("POST /publish/", JSON, body=b"{}"), 401),
    "publish by a wrong token": (request("POST /realm/test/publish/", "Authorization: Bearer x.y.z", body=b"{}"), 401),
    "page of another site": (request("POST /bayeux", "Origin: https://evil.example", JSON, body=SHAKE), 403),
    "page that polls": (request("GET /poll?channel=a", "Origin: https://evil.example"), 403),
    "page with a WebSocket": (upgrade("/ws", "Origin: https://evil.example"), 403),
    "form without its token": (request("POST /login", FORM, body=b"name=a&password=b"), 403),
    "nothing there": (request("GET /nothing"), 404),
    "long way to nothing": (request("GET /" + "a/" * 400), 404),
    "wrong method": (request("PUT /bayeux", body=b"x"), 405),
    "wrong method at the site": (request("PUT /login", body=b"x"), 405),
    "body that does not come": (b"POST /bayeux HTTP/1.1\r\nHost: hub\r\nContent-Length: 9\r\n\r\n[", 408),
    "form that does not come": (
        f"POST /login HTTP/1.1\r\nHost: hub\r\n{FORM}\r\nContent-Length: 9\r\n\r\nn".encode(),
        408,
    ),
    "large body": (request("POST /bayeux", JSON, body=b"[" + b" " * 5000 + b"]"), 413),
    "large form": (request("POST /login", FORM, body=b"name=" + b"a" * 300_000), 413),
    "large publish": (request("POST /realm/test/publish/", f"Authorization: Bearer {KEY}", body=b" " * 5000), 413),
    "encoding that is unknown": (request("POST /bayeux", JSON, "Content-Encoding: x", body=b"x"), 415),
    "encoding that is unknown, at the site": (request("POST /login", FORM, "Content-Encoding: gzip", body=b"x"), 415),
    "another host": (request("POST /bayeux", JSON, body=SHAKE, host="evil.example"), 421),
    "another host for a WebSocket": (upgrade("/ws", host="evil.example"), 421),
    "no WebSocket": (request("GET /ws"), 426),
    "version of WebSocket": (upgrade("/ws").replace(b"Version: 13", b"Version: 7"), 426),
    "long line": (request("GET /" + "a" * 40_000), 431),
    "long field": (request("POST /bayeux", "Cookie: " + "a" * 40_000), 431),
    "many fields": (request("POST /bayeux", *(f"X-{number}: 1" for number in range(200))), 431),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "version that there is not": (b"GET /bayeux HTTP/2.0\r\nHost: hub\r\n\r\n", 505),
    "expectation": (request("POST /bayeux", JSON, "Expect: miracles", body=b"[]"), 417),
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    folder: Path = tmp_path_factory.mktemp("answers")
    (folder / "rules.toml").write_text(RULES)
    shell = Shell(folder, "web", "Fanfare on ")
    with shell.serving("serve", **ENVIRON):
        yield shell


def ask(shell: Shell, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """The status, fields by small name and what else came of the first answer."""
    with socket.create_connection(("127.0.0.1", int(shell.environ["PORT"])), timeout=60) as sock:
        with contextlib.suppress(ConnectionError):
            sock.sendall(sent)
        got = b""
        while b"\r\n\r\n" not in got:
            piece = sock.recv(65536)
            assert piece, f"cut after {got!r}"
            got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    found = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    assert len(found) == len(fields) or "set-cookie" in found, f"a field stands twice: {head!r}"
    return int(line.split()[1]), found, rest


def check(status: int, fields: dict[str, str], rest: bytes) -> None:
    if status != 101:
        assert fields.get("x-content-type-options") == "nosniff"
    assert fields.get("server", "Fanfare") == "Fanfare"
    shown = "".join(fields.values()).lower() + rest.decode("latin-1").lower()
    for word in ("aiohttp/", "python/", "traceback"):
        assert word not in shown


@pytest.mark.parametrize("route", ROUTES)
def test_every_answer_of_a_route_is_hard(shell: Shell, route: str) -> None:
    for method in METHODS:
        status, fields, rest = ask(shell, request(f"{method} {route}", body=b"x" if method == "POST" else b""))
        check(status, fields, rest)
        assert status < 500 or status == 501


@pytest.mark.parametrize("name", REFUSALS)
def test_every_refusal_is_hard(shell: Shell, name: str) -> None:
    sent, expected = REFUSALS[name]
    status, fields, rest = ask(shell, sent)
    assert status == expected, rest
    check(status, fields, rest)


def test_refusals_for_a_rate_are_hard(shell: Shell) -> None:
    """An event stream is told on a stream that ends, as any other status would end it for good."""
    said = [
        ask(shell, request("GET /sse?channel=a", "X-Forwarded-For: 192.0.2.1", "Connection: close")) for _ in range(30)
    ]
    for answer in said:
        check(*answer)
    assert b"subscribed" not in said[-1][2]
    said = [ask(shell, request("POST /bayeux", JSON, "X-Forwarded-For: 192.0.2.2", body=SHAKE)) for _ in range(30)]
    for answer in said:
        check(*answer)
    assert b"429::Too many handshakes" in said[-1][2]


@pytest.mark.parametrize("path", ["/bayeux", "/sse?channel=a", "/ws", "/login", "/health"])
def test_refusals_of_a_full_hub_are_hard(tmp_path: Path, path: str) -> None:
    shell = Shell(tmp_path, "web", "Fanfare on ")
    with shell.serving("serve", HUB_MAX_CONNECTIONS="1", FANOUT_KEY=KEY):
        with socket.create_connection(("127.0.0.1", int(shell.environ["PORT"]))) as first:
            first.sendall(request("GET /test", host="localhost"))
            assert first.recv(65536).startswith(b"HTTP/1.1 200")
            sent = upgrade(path, host="localhost") if path == "/ws" else request(f"GET {path}", host="localhost")
            status, fields, rest = ask(shell, sent)
            assert status == 503 or (status, path) == (200, "/sse?channel=a")
            check(status, fields, rest)
