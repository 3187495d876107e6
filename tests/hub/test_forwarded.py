"""Whose a request is, behind proxies: one function for every way in, and for the site.

HAProxy's `option forwardfor` adds a header line of its own. The hub read the first line on polls, streams and
handshakes, which is the client's, and all lines on upgrades: limits by address could be passed, or aimed at others.
"""

from __future__ import annotations

import re
import time
import timeit
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from listening import REALM, serving
from wire import request, say, upgrade

from hub.forwarded import FIELDS, HEADERS, Proxies, address_of, is_near, network_of

ROOT = Path(__file__).resolve().parents[2]

PEER = "198.51.100.1"
LIED = "10.9.8.7"
CLIENT = "203.0.113.5"
OUTER = "192.0.2.9"


class TestLines:
    @pytest.mark.parametrize(
        ("lines", "count", "found"),
        [
            # No proxies of ours: nothing is believed.
            ([], 0, PEER),
            ([LIED], 0, PEER),
            ([LIED, CLIENT], 0, PEER),
            # One proxy.
            ([], 1, PEER),
            ([""], 1, PEER),
            ([CLIENT], 1, CLIENT),
            ([f"{LIED}, {CLIENT}"], 1, CLIENT),
            ([f"{LIED},{LIED} ,\t{CLIENT} "], 1, CLIENT),
            ([LIED, CLIENT], 1, CLIENT),
            ([f"{LIED}, {LIED}", CLIENT], 1, CLIENT),
            ([CLIENT, ""], 1, CLIENT),
            ([CLIENT, " , ,"], 1, CLIENT),
            # Two: the outer one wrote the client, the inner one the outer one.
            ([], 2, PEER),
            ([CLIENT], 2, CLIENT),
            ([f"{CLIENT}, {OUTER}"], 2, CLIENT),
            ([CLIENT, OUTER], 2, CLIENT),
            ([f"{LIED}, {CLIENT}, {OUTER}"], 2, CLIENT),
            ([LIED, CLIENT, OUTER], 2, CLIENT),
            ([f"{LIED}, {CLIENT}", OUTER], 2, CLIENT),
            ([LIED, f"{CLIENT}, {OUTER}"], 2, CLIENT),
            # Fewer entries than proxies: somebody came in behind the outer ones, and the nearest saw them.
            ([f"{CLIENT}, {OUTER}"], 3, CLIENT),
            ([CLIENT, OUTER], 3, CLIENT),
        ],
    )
    def test_last_entries_of_all_lines_are_our_proxies(self, lines: list[str], count: int, found: str) -> None:
        assert Proxies(count).client(PEER, lines) == found

    @pytest.mark.parametrize(
        ("lines", "count", "found"),
        [
            ([f"for={CLIENT}"], 0, PEER),
            ([f"for={CLIENT}"], 1, CLIENT),
            ([f"For={CLIENT};proto=https;by={OUTER}"], 1, CLIENT),
            ([f'proto=https ; for="{CLIENT}:4711"'], 1, CLIENT),
            ([f"for={LIED}, for={CLIENT}"], 1, CLIENT),
            ([f"for={LIED}", f"for={CLIENT}"], 1, CLIENT),
            ([f"for={LIED}, for={CLIENT}", f"for={OUTER}"], 2, CLIENT),
            ([f"for={CLIENT}"], 2, CLIENT),
            (['for="[2001:db8:0:1::7]:4711"'], 1, "2001:db8:0:1::/64"),
            (["for=unknown"], 1, PEER),
            (["for=_hidden"], 1, PEER),
            (['for="_SEVKISEK:_2a"'], 1, PEER),
            (["proto=https"], 1, PEER),
            ([""], 1, PEER),
            # A comma or a semicolon in a quotation ends nothing.
            ([f'host="a,b;c";for={CLIENT}'], 1, CLIENT),
            # A quotation that the client opens doesn't swallow what the proxy adds.
            ([f'for="{LIED}, for={CLIENT}'], 1, CLIENT),
            ([f'for="{LIED}', f"for={CLIENT}"], 1, CLIENT),
            ([f'for="{LIED}\\", for={CLIENT}'], 1, CLIENT),
            (['for="'], 1, PEER),
            (['for="\\"'], 1, PEER),
        ],
    )
    def test_forwarded_is_read_from_its_end(self, lines: list[str], count: int, found: str) -> None:
        assert Proxies(count, "forwarded").client(PEER, lines) == found

    def test_other_header_can_not_be_named(self) -> None:
        with pytest.raises(ValueError, match="x-real-ip"):
            Proxies(1, "x-real-ip")


class TestEntries:
    @pytest.mark.parametrize(
        ("entry", "found"),
        [
            ("203.0.113.5", "203.0.113.5"),
            # Azure's gateways write the port too; each would be another client.
            ("203.0.113.5:40001", "203.0.113.5"),
            ("[2001:db8:0:1::7]:40001", "2001:db8:0:1::/64"),
            ("[2001:db8:0:1::7]", "2001:db8:0:1::/64"),
            ("2001:db8:0:1::7", "2001:db8:0:1::/64"),
            ("2001:DB8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::/64"),
            ("2001:db8:0:2::7", "2001:db8:0:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            # The same IPv4 address, however it is written.
            ("::ffff:203.0.113.5", "203.0.113.5"),
            ("::ffff:cb00:7105", "203.0.113.5"),
            ("[::ffff:203.0.113.5]:80", "203.0.113.5"),
            ("64:ff9b::cb00:7105", "203.0.113.5"),
            # No address: who it is, nobody says.
            ("unknown", ""),
            ("_hidden", ""),
            ("unix:", ""),
            ("localhost", ""),
            ("203.0.113", ""),
            ("203.0.113.256", ""),
            ("203.0.113.05", ""),
            ("[203.0.113.5", ""),
            ("[::1", ""),
            ("::g", ""),
            ("", ""),
            ("\u0662\u0660\u0663.0.113.5", ""),
            ("1" * 20_000, ""),
            ("a\u0301\u0327" * 5_000, ""),
        ],
    )
    def test_entry_counts_as_its_network(self, entry: str, found: str) -> None:
        assert network_of(entry) == found

    @pytest.mark.parametrize(
        ("address", "near"),
        [
            ("127.0.0.1", True),
            ("10.1.2.3", True),
            ("::1", True),
            ("::ffff:10.1.2.3", True),
            ("fd00::1", True),
            ("", True),
            ("/run/proxy.sock", True),
            ("203.0.114.7", False),
            ("::ffff:203.0.114.7", False),
            ("2a00::1", False),
        ],
    )
    def test_near_is_this_machine_and_private_networks(self, address: str, near: bool) -> None:
        assert is_near(address) is near


@given(
    st.lists(st.text(alphabet='for=1.2:3[]", ;\\a_%\t\u0301', max_size=60), max_size=5),
    st.integers(0, 3),
    st.sampled_from(HEADERS),
)
def test_whatever_a_client_writes_before_it_a_proxy_is_believed(lines: list[str], more: int, header: str) -> None:
    """The proxy adds to the last line, or a line of its own; the client's quotes, commas and lines change nothing."""
    word = CLIENT if header == HEADERS[0] else f"for={CLIENT}"
    proxies = Proxies(1, header)
    joined = [*lines[:-1], f"{lines[-1]}, {word}"] if lines else [word]
    assert proxies.client(PEER, joined) == proxies.client(PEER, [*lines, word]) == CLIENT
    found = Proxies(1 + more, header).client(PEER, lines)
    assert found == PEER or address_of(found.partition("/")[0]) is not None


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("text", [",", '"', "for=", "for=1,", 'for="1",', "\u0301", "[", '\\"', "1.1.1.1,"])
def test_reading_takes_no_more_than_linear_time(header: str, text: str) -> None:
    """A head may have 16 KiB; so much takes no longer than ten times a tenth of it, with room for a busy machine."""

    def cost(size: int) -> float:
        line = text * (size // len(text))
        best = 1.0
        for _ in range(5):
            start = time.process_time()
            Proxies(1000, header).client(PEER, [line])
            best = min(best, time.process_time() - start)
        return best

    assert cost(16_000) < max(40 * cost(1_600), 0.005)


def test_only_one_module_knows_the_names_of_the_fields() -> None:
    """Three places read them, two ways; the next one would make it three."""
    names = re.compile("|".join([*HEADERS, r"[\"']forwarded[\"']", "forwarded-for"]), re.IGNORECASE)
    quoted = re.compile(rf"[\"']b?({names.pattern})", re.IGNORECASE)
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for folder in ("hub", "web")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "forwarded.py"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.search("x-forwarded-for", line, re.IGNORECASE) or quoted.search(line)
    ]
    assert not found, "hub/forwarded.py is the place for this:\n" + "\n".join(found)
    assert set(FIELDS) == {name.encode() for name in HEADERS}


SHAKE = b'[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["long-polling"]}]'
JSON = "Content-Type: application/json"

#: Every way in that counts by address: a request with these lines, and how a refusal looks.
WAYS: dict[str, Callable[..., list[bytes]]] = {
    "POST": lambda *lines: [request("POST /bayeux", JSON, *lines, body=SHAKE)],
    "POST of a form, by the other parser": lambda *lines: [
        request("GET /health"),
        request("POST /bayeux", *lines, body=b"message=" + quote(SHAKE).encode()),
    ],
    "JSONP": lambda *lines: [request(f"GET /bayeux?jsonp=f&message={quote(SHAKE)}", *lines)],
    "/sse": lambda *lines: [request("GET /sse?channel=a", *lines)],
    "/ws": lambda *lines: [upgrade("/ws?channel=a", *lines)],
    "/ws on a kept connection": lambda *lines: [request("GET /health"), upgrade("/ws?channel=a", *lines)],
    "in a realm's path": lambda *lines: [request(f"POST /r/{REALM}/bayeux", JSON, *lines, body=SHAKE)],
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("header", HEADERS)
async def test_lines_of_a_client_s_own_give_it_no_other_address(way: str, header: str) -> None:
    """Each request has a first line of its own, and the proxy's word in the second."""
    line = {"x-forwarded-for": "X-Forwarded-For: {}", "forwarded": "Forwarded: for={}"}[header]
    async with serving(proxies=1, proxy_header=header) as (url, hub):
        for number in range(3):
            await say(url, *WAYS[way](line.format(f"10.9.8.{number}"), line.format(CLIENT)))
        assert list(hub.node.bayeux.crowd.addresses) == [CLIENT]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("word", ["203.0.113.5:{}", "2001:db8::{}", "[2001:db8::{}]:{}", "::ffff:203.0.113.5"])
async def test_port_or_the_rest_of_a_network_is_no_other_address(way: str, word: str) -> None:
    async with serving(proxies=1) as (url, hub):
        for number in range(4000, 4003):
            await say(url, *WAYS[way](f"X-Forwarded-For: {word.format(number, number)}"))
        assert len(hub.node.bayeux.crowd.addresses) == 1


async def test_proxy_that_is_not_believed_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Behind nginx, with the setting forgotten, no limit by address held anybody, and nothing said so."""
    async with serving() as (url, _):
        for way in WAYS.values():
            await say(url, *way("X-Forwarded-For: 203.0.113.5"))
    [record] = [each for each in caplog.records if "is not believed" in each.message]
    assert record.__dict__["setting"].startswith("HUB_PROXIES=1")


@pytest.mark.parametrize("content", [";" * 31_000, "for=192.0.2.9;" * 2_000, "for=192.0.2.9;x=" + "y" * 1_000])
def test_an_element_longer_than_a_proxy_writes_says_nothing(content: str) -> None:
    """A head's 31 KB of semicolons were 31,000 pairs to look at: 7 ms of the loop for each request."""
    assert Proxies(1, "forwarded").client("192.0.2.1", [content]) == "192.0.2.1"
    assert Proxies(1, "forwarded").client("192.0.2.1", [content + ", for=192.0.2.7"]) == "192.0.2.7"


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("lines", [[","] * 1, [", "] * 90], ids=["one line", "ninety"])
def test_entries_that_are_none_are_not_looked_at_one_by_one(header: str, lines: list[str]) -> None:
    """30 KB of commas before nothing took 12 ms of the loop, as each left a copy of the rest."""
    lines = [each * (30_000 // len(lines) // len(each)) for each in lines]
    proxies = Proxies(2, header)

    def ask() -> None:
        assert proxies.client(PEER, lines) == PEER

    ask()
    assert min(timeit.repeat(ask, time.thread_time, number=1)) < 0.002


def test_entry_that_is_cut_says_nothing() -> None:
    line = "198.51.100.1" + "1" * 5000 + ".1.1.1" + ", " * 700
    assert Proxies(1).client(PEER, [line]) == PEER
