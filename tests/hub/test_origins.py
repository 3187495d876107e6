"""What an origin is, which are the same, which may come in, and what is said to those that may not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from aiohttp import ClientSession
from hypothesis import given
from hypothesis import strategies as st
from listening import serving
from wire import request, say, upgrade

from hub.errors import SettingsError
from hub.origins import MAX_ORIGIN, is_same, origin_of, read_host, read_origin
from hub.settings import Settings
from hub.transports.origins import AGAIN_SECONDS, LINE_SECONDS, MAX_LINES, NO_ORIGIN, Origins

#: Composing these takes `urlsplit` 60 ms.
MARKS = "http://a" + "\u0301" * 2000 + "\u0327" * 1900

#: What is no origin, though programs and strangers send it.
BAD_ORIGINS = [
    "",
    "foo",
    "[",
    "://",
    "http://",
    "https:",
    "http://[",
    "http://]",
    "http://[::1",
    "http://[::1]x",
    "http://[1:2]",
    "http://[v1.x]",
    "http://a:",
    "http://a:b",
    "http://a:0",
    "http://a:99999",
    "http://a:-1",
    "http://a:\u0661",
    "http://a/",
    "http://a/b",
    "http://a b",
    "http://a@b",
    "http://a%62",
    "http://.",
    "http://a?b",
    "http://a, http://b",
    "http://a http://b",
    "http://\u2100",
    "http://b\u00fccher.example",
    "\u0080\u00ff",
    "http://" + "a" * 7000,
    "http://a:" + "9" * 5000,
    "http://" + "[" * 5000,
    "http://" + "a." * 3000,
    MARKS,
]

BAD_HOSTS = [
    "[",
    "[::1",
    "[::1]:x",
    "a:b",
    "a:b:c",
    "a:99999",
    "a/b",
    "a@b",
    "?",
    "#",
    "a\\b",
    "\u2100",
    "a" * 7000,
    MARKS,
]


class TestReading:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("https://example.org", "https://example.org"),
            ("HTTPS://Example.ORG", "https://example.org"),
            ("https://example.org.", "https://example.org"),
            ("https://example.org:443", "https://example.org"),
            ("http://example.org:80", "http://example.org"),
            ("http://example.org:443", "http://example.org:443"),
            ("https://example.org:08443", "https://example.org:8443"),
            ("http://[2001:DB8:0::1]:8000", "http://[2001:db8::1]:8000"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://my_host", "http://my_host"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop"),
            ("app://", "app://"),
            ("file://", "file://"),
            ("null", "null"),
        ],
    )
    def test_origin_has_one_spelling(self, text: str, found: str) -> None:
        assert read_origin(text) == found
        assert read_origin(found) == found

    @pytest.mark.parametrize("text", BAD_ORIGINS)
    def test_rest_is_no_origin(self, text: str) -> None:
        assert read_origin(text) is None
        assert not is_same(text, "a")

    @pytest.mark.parametrize("text", BAD_HOSTS)
    def test_rest_is_no_host(self, text: str) -> None:
        assert read_host(text) is None
        assert not is_same("https://a", text)

    @given(st.text(max_size=400) | st.from_regex(r"(https?|null|x)(://)?[\[\]a-z0-9.:@/%\-]{0,40}"))
    def test_reading_never_raises(self, text: str) -> None:
        found = read_origin(text)
        assert found is None or read_origin(found) == found
        read_host(text)
        is_same(text, text)

    def test_reading_takes_no_time_whatever_it_is(self) -> None:
        """A stranger's head may be 16 KiB, and each costs the loop what it takes."""
        worst = [
            *BAD_ORIGINS,
            "a" * 16_000,
            "http://" + "-" * 290,
            "http://" + "a-" * 140,
            "a+" * 140 + "://",
            MARKS * 4,
        ]
        start = time.process_time()
        for number in range(100):
            for text in worst:
                # No two are the same, or a cache would answer.
                read_origin(f"{text}{number}")
                read_host(f"{text}{number}")
        assert (time.process_time() - start) / 100 / len(worst) < 0.000_5

    def test_longest_host_fits(self) -> None:
        name = ".".join(["a" * 62] * 4)
        assert read_origin(f"https://{name}:8443") == f"https://{name}:8443"
        assert len(f"https://{name}:8443") < MAX_ORIGIN


class TestSame:
    """Behind a proxy the Host and the Origin of one page differ by a port or a dot; its users read "unreachable"."""

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("https://example.org", "example.org"),
            ("https://example.org", "EXAMPLE.org"),
            ("https://example.org", "example.org:443"),
            ("http://example.org", "example.org:80"),
            ("http://example.org", "example.org:"),
            # TLS ends before a proxy that adds the port it listens on.
            ("https://example.org", "example.org:80"),
            ("https://example.org.", "example.org"),
            ("https://example.org", "example.org."),
            ("https://example.org.", "example.org.:443"),
            ("https://example.org:8443", "example.org:8443"),
            ("http://[::1]:8000", "[::1]:8000"),
            ("http://[0:0::1]:8000", "[::1]:8000"),
            ("https://[2001:DB8::1]", "[2001:db8::1]:443"),
        ],
    )
    def test_same_page(self, origin: str, host: str) -> None:
        assert is_same(origin, host)

    @pytest.mark.parametrize(
        ("origin", "host"),
        [
            ("https://example.org", None),
            ("https://example.org", ""),
            ("https://example.org", "example.com"),
            ("https://example.org", "a.example.org"),
            ("https://example.org:8443", "example.org"),
            ("https://example.org", "example.org:8443"),
            ("https://example.org:8443", "example.org:8444"),
            ("https://example.org..", "example.org"),
            ("capacitor://example.org", "example.org"),
            ("chrome-extension://example.org", "example.org"),
            ("null", "null"),
            ("file://", ""),
        ],
    )
    def test_other_page(self, origin: str, host: str | None) -> None:
        assert not is_same(origin, host)

    @pytest.mark.parametrize(
        ("url", "origin"),
        [
            ("https://www.example.org", "https://www.example.org"),
            ("https://Example.org:443/hub/", "https://example.org"),
            ("http://a:8080?x", "http://a:8080"),
            ("ftp://a", None),
            ("https://", None),
        ],
    )
    def test_origin_of_a_url(self, url: str, origin: str | None) -> None:
        assert origin_of(url) == origin


class TestSetting:
    @pytest.mark.parametrize(
        "origin",
        [
            "capacitor://localhost",
            "ionic://localhost",
            "tauri://localhost",
            "http://tauri.localhost",
            "app://-",
            "app://obsidian.md",
            "chrome-extension://abcdefghijklmnop",
            "moz-extension://1b2c",
            "safari-web-extension://1B2C",
            "vscode-webview://0a1b2c",
            "null",
            "file://",
            "https://example.org",
            "http://127.0.0.1:8001",
            "http://[::1]:8001",
            "http://localhost:5173",
            "https://xn--bcher-kva.example",
        ],
    )
    async def test_what_browsers_and_app_shells_send_can_be_named(self, origin: str) -> None:
        """Only `*` let an app in: its shell's pages are at capacitor://localhost."""
        origins = Settings.from_environ({"HUB_ORIGINS": f"https://other.example {origin}"}).origins
        async with serving(origins=origins) as (url, _):
            assert (await say(url, upgrade("/bayeux", f"Origin: {origin}"))).status == 101
            assert (await say(url, upgrade("/bayeux", "Origin: tauri://elsewhere"))).status == 403

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            (
                "https://*.example.org",
                "has a star in it, which can't stand for a part; name each origin, or only * for any",
            ),
            ("*.example.org", "has a star in it"),
            ("**", "has a star in it"),
            (
                "https://b\u00fccher.example",
                "is not in ASCII, as browsers send it; write https://xn--bcher-kva.example",
            ),
            (
                "https://stra\u00dfe.example:8443",
                "is not in ASCII, as browsers send it; write https://xn--strae-oqa.example:8443",
            ),
            ("https://\u2603\u0301\u202e.example", "is not in ASCII, as browsers send it"),
            (
                "https://example.org:443",
                "names its scheme's own port, which browsers leave out; write https://example.org",
            ),
            (
                "http://example.org:0080",
                "names its scheme's own port, which browsers leave out; write http://example.org",
            ),
            ("https://example.org/", "ends with a slash, which an origin never has; write https://example.org"),
            ("https://example.org/app", "has a path or a query, which an origin never has; write https://example.org"),
            ("https://example.org?a=b", "has a path or a query, which an origin never has; write https://example.org"),
            ("https://example.org/:443", "has a path or a query"),
            ("file:///srv/app.html", "has a path; pages in files have the origin file://, or null in newer browsers"),
            ("https://ada@example.org", "has a user in it, which browsers never send"),
            ("www.example.org", "is not an origin such as https://example.org; https://www.example.org?"),
            ("localhost:8001", "is not an origin such as https://example.org; https://localhost:8001?"),
            ("https://", "is not an origin such as https://example.org"),
            ("https://example.org:99999", "is not an origin such as https://example.org"),
            ("https://[::1", "is not an origin such as https://example.org"),
            ("http://127.1:8000", "has an address that is not written as browsers do, such as 127.0.0.1"),
            ("http://0x7f000001", "has an address that is not written as browsers do, such as 127.0.0.1"),
            ("Null", "is not an origin such as https://example.org"),
        ],
    )
    def test_what_never_matches_is_refused_with_the_right_spelling(self, word: str, reason: str) -> None:
        """A star inside was taken, let nobody in, and nothing said why."""
        with pytest.raises(SettingsError) as caught:
            Settings.from_environ({"HUB_ORIGINS": f"https://fine.example, {word}"})
        assert str(caught.value).startswith(f"HUB_ORIGINS: {word.replace('ada@', '…@')!r} {reason}")
        assert "\n" not in str(caught.value)


class TestPolicy:
    def test_page_of_the_site_s_own_address_is_ours_whatever_the_host(self) -> None:
        origins = Origins(own="https://www.example.org/")
        assert origins.allows("https://www.example.org", "upstream-name")
        assert origins.trusts("https://www.example.org.", None)
        assert not origins.allows("https://www.example.org:8443", "upstream-name")
        assert not origins.allows("https://example.org", "upstream-name")

    @pytest.mark.parametrize("origin", ["null", "file://"])
    def test_origin_that_many_share_comes_in_without_credentials(self, origin: str) -> None:
        """Any page can make itself one, in a sandbox: its visitor's cookie says nothing of what it may do."""
        origins = Origins([origin])
        assert origins.allows(origin, "hub")
        assert not origins.trusts(origin, "hub")
        assert origins.headers(origin, "hub") == {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}

    @pytest.mark.parametrize("origin", BAD_ORIGINS)
    def test_star_lets_in_what_is_an_origin(self, origin: str) -> None:
        assert Origins(["*"]).refuse(origin, "hub") == NO_ORIGIN
        assert Origins(["*"]).refuse("https://anything.example", "hub") == ""

    def test_mend_keeps_what_is_named_already(self, caplog: pytest.LogCaptureFixture) -> None:
        """Pasted into the environment, the line took away the origin that was there."""
        Origins(["http://localhost:8080"], own="https://www.example.org").refuse("http://127.0.0.1:8080", "hub")
        mend = caplog.records[0].__dict__["mend"]
        assert mend.startswith("HUB_ORIGINS=http://localhost:8080,http://127.0.0.1:8080; ")

    def test_refusal_is_logged_with_the_mend_once_an_hour(self, caplog: pytest.LogCaptureFixture) -> None:
        """The hub's log had no line, the browser's console said 403, and the sentence that helps was in neither."""
        now = 0.0
        origins = Origins(clock=lambda: now)
        for _ in range(3):
            assert origins.refuse("https://pages.example", "hub.example.org")
        [record] = caplog.records
        assert record.levelno == logging.WARNING
        assert record.message == "origin refused"
        facts = record.__dict__
        assert (facts["origin"], facts["host"]) == ("https://pages.example", "hub.example.org")
        assert facts["mend"].startswith("HUB_ORIGINS=https://pages.example; ")
        assert "proxy_set_header Host $http_host" in facts["mend"]
        now += AGAIN_SECONDS
        origins.refuse("https://pages.example", "hub.example.org")
        assert len(caplog.records) == 2

    def test_dropped_port_is_named(self, caplog: pytest.LogCaptureFixture) -> None:
        Origins().refuse("https://example.org:8443", "example.org")
        mend = caplog.records[0].__dict__["mend"]
        assert mend.startswith("if this page is the site's own, SITE_URL=https://example.org:8443, or let the proxy")

    def test_invented_origins_fill_no_log(self, caplog: pytest.LogCaptureFixture) -> None:
        now = 0.0
        origins = Origins(clock=lambda: now)
        for number in range(5000):
            origins.refuse(f"https://{number}.example", "hub")
        assert len(caplog.records) == MAX_LINES
        now += LINE_SECONDS
        for number in range(5000):
            origins.refuse(f"https://{number}.more.example", "hub")
        assert len(caplog.records) == MAX_LINES + 1
        assert all(len(str(record.__dict__)) < 4000 for record in caplog.records)

    def test_what_is_no_origin_has_one_short_line(self, caplog: pytest.LogCaptureFixture) -> None:
        Origins().refuse(MARKS, MARKS)
        facts = caplog.records[0].__dict__
        assert len(facts["origin"]) == len(facts["host"]) == 80
        assert facts["mend"].startswith("none")


SHAKE = b'[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]'
JSON = "Content-Type: application/json"

#: Every path and transport that asks for the origin. The last request of each is the one that is judged.
WAYS: dict[str, Callable[..., list[bytes]]] = {
    "POST": lambda *lines: [request("POST /bayeux", JSON, *lines, body=SHAKE)],
    "POST in chunks": lambda *lines: [request("POST /bayeux", "Transfer-Encoding: chunked", *lines) + b"0\r\n\r\n"],
    "POST on a kept connection": lambda *lines: [
        request("GET /health"),
        request("POST /bayeux", *lines, body=b"message=" + quote(SHAKE).encode()),
    ],
    "event stream": lambda *lines: [request("GET /bayeux/x", "Accept: text/event-stream", *lines)],
    "/sse": lambda *lines: [request("GET /sse?channel=a", *lines)],
    "/poll": lambda *lines: [request("GET /poll?channel=a", *lines)],
    "/ws": lambda *lines: [upgrade("/ws?channel=a", *lines)],
    "WebSocket": lambda *lines: [upgrade("/bayeux", *lines)],
    "WebSocket on a kept connection": lambda *lines: [request("GET /health"), upgrade("/bayeux", *lines)],
    "FPP": lambda *lines: [request("POST /fpp/subscribe", *lines, body=b"channels=a")],
    "WebSocket of a realm's path": lambda *lines: [upgrade("/r/a1b2c3d4/bayeux", *lines)],
}


@pytest.mark.parametrize("way", WAYS)
async def test_bad_origin_is_a_403_of_one_line_on_every_way_in(way: str) -> None:
    """`http://[` was a 500 on polls, and a WebSocket's connection was cut without an answer."""
    for origins in ((), ("*",)):
        async with serving(origins=origins) as (url, _):
            for origin in BAD_ORIGINS:
                reply = await say(url, *WAYS[way](f"Origin: {origin}"))
                assert (reply.status, reply.body.count("\n")) == (403, 1), origin
                assert NO_ORIGIN in reply.body


@pytest.mark.parametrize("way", WAYS)
async def test_two_origins_are_refused_on_every_way_in(way: str) -> None:
    """A WebSocket was refused with two; elsewhere the first was believed."""
    own, other = "Origin: http://hub", "Origin: http://other.example"
    async with serving() as (url, _):
        for lines in ((own, other), (other, own), (own, own)):
            reply = await say(url, *WAYS[way](*lines))
            assert reply.status in {400, 403}
            assert "Origin" in reply.body
        assert "Origin" not in (await say(url, *WAYS[way](own))).body


@pytest.mark.parametrize("way", WAYS)
async def test_bad_host_is_nobody_s_own(way: str) -> None:
    async with serving() as (url, _):
        for host in BAD_HOSTS:
            *before, last = WAYS[way](f"Origin: https://{host}")
            # A request with such a Host ends its connection.
            reply = await say(url, *before, last.replace(b"Host: hub", f"Host: {host}".encode()))
            assert reply.status in {400, 403}, host
            assert reply.body.count("\n") == 1


@pytest.mark.parametrize("way", WAYS)
async def test_page_of_a_refused_origin_may_read_why(way: str) -> None:
    """A browser shows no body of a refused request, so a page could only say "unreachable"."""
    async with serving() as (url, _):
        reply = await say(url, *WAYS[way]("Origin: https://pages.example"))
        assert reply.status == 403
        assert "HUB_ORIGINS" in reply.body
        if "WebSocket" not in way and way != "/ws":
            assert "Access-Control-Allow-Origin: *" in reply.head
            assert "Credentials" not in reply.head


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("host", "origin", "site_url"),
    [
        ("example.org:443", "https://example.org", None),
        ("example.org:80", "http://example.org", None),
        ("example.org", "https://example.org.", None),
        ("upstream-name", "https://example.org", "https://example.org"),
        ("example.org", "https://example.org:8443", "https://example.org:8443"),
    ],
)
async def test_own_page_behind_a_proxy_comes_in(way: str, host: str, origin: str, site_url: str | None) -> None:
    async with serving(site_url=site_url) as (url, _):
        lines = [line.replace(b"Host: hub", f"Host: {host}".encode()) for line in WAYS[way](f"Origin: {origin}")]
        assert (await say(url, *lines)).status != 403


async def test_other_realm_s_pages_are_not_the_site_s(tmp_path: object) -> None:
    """SITE_URL is the default realm's: a tenant names its own origins."""
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    realms = tmp_path / "realms.toml"
    realms.write_text(f'[[realm]]\nname = "tenant"\nkey = "{"QUJD" * 8}"\n')
    async with serving(site_url="https://example.org", realms=realms) as (url, _):
        lines = ("Origin: https://example.org",)
        assert (await say(url, upgrade("/bayeux", *lines))).status == 101
        assert (await say(url, upgrade("/r/tenant/bayeux", *lines))).status == 403


async def test_preflight_of_a_refused_origin_lets_nothing_through() -> None:
    async with serving() as (url, _), ClientSession() as http:
        ask = {"Origin": "https://pages.example", "Access-Control-Request-Method": "POST"}
        async with http.options(url + "/bayeux", headers=ask) as response:
            assert "Access-Control-Allow-Methods" not in response.headers
            assert "Access-Control-Allow-Headers" not in response.headers
