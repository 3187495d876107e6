"""Several realms on one hub: the file that describes them, which one a request is for, and that none hears another."""

from __future__ import annotations

import asyncio
import base64
import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from aiohttp import ClientSession, TCPConnector, WSServerHandshakeError
from hypothesis import given
from hypothesis import strategies as st
from listening import KEY, REALM, listening, serving
from shell import Shell

from hub.app import Hub
from hub.cli import HUB_COMMANDS
from hub.errors import BrokerUnavailable, SettingsError
from hub.protocol import tokens
from hub.publisher import SyncPublisher
from hub.realms import Directory, Entry, parse_realms, read_realms, settings_of
from hub.settings import Settings

A, B = "aa11", "bb22"
KEYS = {REALM: KEY, A: b"a" * 32, B: b"b" * 32}


def encoded(realm: str) -> str:
    return base64.b64encode(KEYS[realm]).decode()


FILE = f"""
[[realm]]
name = "{A}"
key = "{encoded(A)}"
hosts = ["Hub.A.example"]
origins = ["https://a.example"]
client_publish = ["chat/*"]
rules = "rules-a.toml"

[[realm]]
name = "{B}"
key_file = "b.key"
"""
RULES = """
[[rule]]
channels = ["quiet"]
subscribe = "closed"

[[rule]]
channels = ["room"]
presence = "open"

[[history]]
channels = ["quiet"]
count = 0
"""


@pytest.fixture
def realms(tmp_path: Path) -> Path:
    """A file of two realms."""
    path = tmp_path / "realms.toml"
    path.write_text(FILE)
    (tmp_path / "b.key").write_text(encoded(B) + "\n")
    (tmp_path / "rules-a.toml").write_text(RULES)
    return path


def bearer(realm: str, **claims: object) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.sign(realm, KEYS[realm], time.time(), **claims)}"}


# The file


def parse(text: str, limit: int = 100) -> tuple[Entry, ...]:
    return parse_realms(text, "HUB_REALMS f", default="fanfare", limit=limit, folder=Path("/etc/hub"))


def realm(**fields: object) -> str:
    rows = {"name": "one", "key": encoded(A)} | fields
    return "[[realm]]\n" + "".join(
        f"{name} = {json.dumps(value)}\n" for name, value in rows.items() if value is not None
    )


def test_a_realm_needs_a_name_and_a_key_only() -> None:
    (entry,) = parse(realm())
    assert entry == Entry("one", key=KEYS[A])


def test_everything_a_realm_may_say_is_read() -> None:
    text = realm(
        key=None,
        key_file="one.key",
        old_keys=[encoded(B)],
        hosts=["Hub.One.example."],
        origins=["https://one.example"],
        client_publish=["chat/*"],
        rules="/else/rules.toml",
    )
    assert parse(text) == (
        Entry(
            "one",
            key_file=Path("/etc/hub/one.key"),
            old_keys=(KEYS[B],),
            hosts=("hub.one.example",),
            origins=("https://one.example",),
            client_publish=("/chat/*",),
            rules=Path("/else/rules.toml"),
        ),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[realm", "HUB_REALMS f: not TOML"),
        ("realm = 1", "HUB_REALMS f: has realm; only [[realm]] tables are known"),
        ("realm = [1]", "HUB_REALMS f realm 1: is not a table"),
        ("[realms]", "HUB_REALMS f: has realms; only"),
        (realm(name=None), "HUB_REALMS f realm 1: has no name"),
        (realm(name=7), "HUB_REALMS f realm 1: name is not a string"),
        (realm(name="a/b"), "HUB_REALMS f realm 1: name: 'a/b' is not a realm"),
        (realm(orgins=[]), "HUB_REALMS f realm one: orgins is unknown; there are name, key,"),
        (realm(key=None), "HUB_REALMS f realm one: says neither key nor key_file"),
        (realm(key_file="k"), "HUB_REALMS f realm one: says both key and key_file"),
        (realm(key="secret"), "HUB_REALMS f realm one: key: is not base64"),
        (realm(key="c2hvcnQ="), "HUB_REALMS f realm one: key: is shorter than 16 bytes"),
        (realm(old_keys="c2hvcnQ="), "HUB_REALMS f realm one: old_keys is not a list of strings"),
        (realm(old_keys=["c2hvcnQ="]), "HUB_REALMS f realm one: old_keys: is shorter"),
        (realm(key=None, key_file="a\0b"), "HUB_REALMS f realm one: key_file: 'a\\x00b' is not the path of a file"),
        (realm(rules=["a"]), "HUB_REALMS f realm one: rules is not a string"),
        (realm(hosts=["b\u00fccher.example"]), "is not in ASCII, as browsers send it; write xn--bcher-kva.example"),
        (realm(hosts=["hub.example:80"]), "HUB_REALMS f realm one: hosts: 'hub.example:80' is not the name of a host"),
        (realm(hosts=["*.example"]), "HUB_REALMS f realm one: hosts: '*.example' is not"),
        (realm(hosts=["10.0.0.1"]), "HUB_REALMS f realm one: hosts: '10.0.0.1' is not"),
        (realm(origins=["one.example"]), "HUB_REALMS f realm one: origins: 'one.example' is not an origin such as"),
        (realm(origins=["https://a.example https://b.example"]), "one: origins has several in one string"),
        (realm(client_publish=["/meta/*"]), "HUB_REALMS f realm one: client_publish: has '/meta/*' in it"),
        (realm() + realm(), "HUB_REALMS f realm one: is there twice"),
        (realm() + realm(name="ONE"), "HUB_REALMS f realm ONE: is there twice"),
        (realm(name="Fanfare"), "HUB_REALMS f realm Fanfare: the name is that of the default realm"),
        (
            realm(hosts=["hub.example"]) + realm(name="two", hosts=["hub.example"]),
            "HUB_REALMS f realm two: host hub.example is realm one's",
        ),
        (
            realm(hosts=["two.example"]) + realm(name="two"),
            "HUB_REALMS f realm one: host two.example is realm two's",
        ),
    ],
)
def test_a_mistake_is_told_with_its_realm(text: str, reason: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_there_is_a_limit_to_realms() -> None:
    text = "".join(realm(name=f"r{number}") for number in range(3))
    assert len(parse(text, limit=3)) == 3
    with pytest.raises(SettingsError, match="has 3 realms, HUB_MAX_REALMS is 2"):
        parse(text, limit=2)


def test_keys_are_in_no_message_and_in_no_repr() -> None:
    with pytest.raises(SettingsError) as caught:
        parse(realm(key="c2VjcmV0"))
    assert "c2VjcmV0" not in str(caught.value)
    assert "aaaa" not in repr(parse(realm(old_keys=[encoded(A)])))


@given(
    st.dictionaries(
        st.sampled_from(["name", "key", "key_file", "old_keys", "hosts", "origins", "client_publish", "rules", "x"]),
        st.sampled_from(["one", "a.example", encoded(A), "/a", "", "*"]) | st.text() | st.lists(st.text(), max_size=2),
    )
)
def test_any_table_is_a_realm_or_a_settings_error(fields: dict[str, object]) -> None:
    try:
        (entry,) = parse(realm(**fields))
    except SettingsError as error:
        assert str(error).startswith("HUB_REALMS f")
    else:
        assert entry.name


@given(st.text())
def test_any_file_is_realms_or_a_settings_error(text: str) -> None:
    try:
        parse(text)
    except SettingsError as error:
        assert str(error).startswith("HUB_REALMS f")


def test_keys_come_from_files_beside_the_file(realms: Path) -> None:
    first, second = read_realms(Settings(realms=realms))
    assert (first.name, first.keys) == (A, (KEYS[A],))
    assert (second.name, second.keys, second.key_file) == (B, (KEYS[B],), None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda path: path.unlink(), "HUB_REALMS .*realms.toml: .* can't be read: No such file"),
        (lambda path: path.with_name("b.key").unlink(), "realm bb22: key_file: .*b.key' can't be read"),
        (lambda path: path.with_name("b.key").write_text("x"), "realm bb22: key_file: is not base64"),
        (lambda path: path.with_name("b.key").write_bytes(b"\xff"), "realm bb22: key_file: .* not text"),
        (lambda path: path.with_name("b.key").write_text(encoded(A)), "realm bb22: has a key of realm aa11 too"),
        (
            lambda path: path.with_name("b.key").write_text(encoded(REALM)),
            "realm bb22: has a key of realm a1b2c3d4 too",
        ),
    ],
)
def test_what_the_file_points_to_must_be_there(realms: Path, change: Callable[[Path], object], reason: str) -> None:
    change(realms)
    with pytest.raises(SettingsError, match=reason):
        read_realms(Settings(realms=realms, realm=REALM, key=KEY))


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        ("[[rule]]\n", "HUB_REALMS realm aa11: rules .*rules-a.toml rule 1: channels is not a list"),
        ('[[rule]]\nchannels=["a"]\nsubscribe="session"\n', "rule 1: session is for the default realm"),
        (None, "HUB_REALMS realm aa11: rules: .*can't be read"),
    ],
)
async def test_a_realm_whose_rules_are_wrong_stops_the_start(realms: Path, rules: str | None, reason: str) -> None:
    path = realms.with_name("rules-a.toml")
    if rules is None:
        path.unlink()
    else:
        path.write_text(rules)
    with pytest.raises(SettingsError, match=reason):
        Hub(Settings(realms=realms, key=KEY))


def test_a_realms_settings_are_the_hubs_but_for_what_is_its_own(realms: Path) -> None:
    default = Settings(realms=realms, realm=REALM, key=KEY, origins=("https://d.example",), max_depth=9)
    found = settings_of(default, A)
    assert (found.realm, found.keys, found.origins, found.max_depth) == (A, (KEYS[A],), ("https://a.example",), 9)
    assert settings_of(default, None) is default
    assert settings_of(default, REALM) is default
    with pytest.raises(SettingsError, match=r"realm 'other' is unknown: it is not in HUB_REALMS"):
        settings_of(default, "other")
    with pytest.raises(SettingsError, match=r"realm 'other' is unknown: HUB_REALMS is not set"):
        settings_of(Settings(), "other")


# Which realm a request is for

HUB = Directory("fanfare", "default", [("One", ("hub.one.example",), "one"), ("10", (), "ten")])


@pytest.mark.parametrize(
    ("host", "found"),
    [
        (None, "default"),
        ("", "default"),
        ("hub.example", "default"),
        ("fanfare.hub.example", "default"),
        ("one", "default"),
        ("one.hub.example", "one"),
        ("ONE.hub.example.:8000", "one"),
        ("one.localhost:80", "one"),
        ("one.hub.example:", "one"),
        ("hub.one.example.:", "one"),
        ("hub.one.example", "one"),
        ("Hub.One.Example:443", "one"),
        ("x.one.example", "default"),
        ("onex.example", "default"),
        ("10.example", "ten"),
        ("10.0.0.1", "default"),
        ("10.0.0.1:8000", "default"),
        ("[::1]:8000", "default"),
        ("[::1]", "default"),
        (".", "default"),
        (":80", "default"),
    ],
)
def test_a_host_is_a_realms_by_its_first_label_or_by_the_list(host: str | None, found: str) -> None:
    assert HUB.at(host) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/bayeux", ("one", "/bayeux")),
        ("/r/10/bayeux", ("ten", "/bayeux")),
        ("/r/fanfare/ws", ("default", "/ws")),
        ("/r/10", ("ten", "")),
        ("/r/one/bayeux", (None, "/bayeux")),
        ("/r//bayeux", (None, "/bayeux")),
        ("/r/", (None, "")),
        ("/rest", ("one", "/rest")),
    ],
)
def test_a_path_that_names_a_realm_wins_over_the_host(path: str, found: tuple[str | None, str]) -> None:
    assert HUB.find(path, "one.hub.example") == found


def test_a_directory_of_something_else_has_the_same_realms() -> None:
    lengths = HUB.map(len)
    assert (lengths.default, lengths.named("10"), lengths.at("hub.one.example")) == (7, 3, 3)
    assert list(HUB) == [("fanfare", "default"), ("One", "one"), ("10", "ten")]


# Every way in


@dataclass
class Way:
    """How a client reaches a realm: what its URLs begin with, and its headers."""

    base: str
    headers: dict[str, str]

    @asynccontextmanager
    async def session(self, **options: Any) -> AsyncIterator[ClientSession]:
        async with ClientSession(headers=self.headers, **options) as http:
            yield http


WAYS = {
    "by path": lambda url: Way(f"{url}/r/{A}", {}),
    "by label": lambda url: Way(url, {"Host": f"{A}.hub.example:8000"}),
    "by host": lambda url: Way(url, {"Host": "hub.a.example"}),
}
HANDSHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket", "long-polling"]}


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest, realms: Path) -> AsyncIterator[tuple[Way, Hub]]:
    """A way to realm A of a hub, and the hub."""
    async with serving(realms=realms) as (url, hub):
        yield WAYS[request.param](url), hub


def sessions(hub: Hub) -> dict[str, int]:
    return {name: len(each.node.registry.sessions) for name, each in hub.realms.items()}


def only_a(count: int = 1) -> dict[str, int]:
    return {REALM: 0, A: count, B: 0}


class TestWaysIn:
    @pytest.mark.parametrize("kept", [False, True], ids=["first", "on a kept connection"])
    async def test_websocket(self, way: tuple[Way, Hub], kept: bool) -> None:
        to, hub = way
        async with to.session(connector=TCPConnector(limit=1)) as http:
            if kept:
                async with http.get(f"{to.base.partition('/r/')[0]}/health") as response:
                    await response.read()
            async with http.ws_connect(f"{to.base}/bayeux") as socket:
                await socket.send_json([HANDSHAKE])
                ((shake,)) = await socket.receive_json()
                me = {"clientId": shake["clientId"], "connectionType": "websocket"}
                await socket.send_json(
                    [{"channel": "/meta/subscribe", "subscription": "/a"} | me, {"channel": "/meta/connect"} | me]
                )
                replies = await socket.receive_json()
                assert [reply["successful"] for reply in replies] == [True, True]
                await hub.realms[A].publisher.publish("a", 1)
                assert (await socket.receive_json())[0]["data"] == 1
                assert sessions(hub) == only_a()

    @pytest.mark.parametrize("lean", [True, False], ids=["lean", "aiohttp"])
    async def test_long_polling(self, way: tuple[Way, Hub], lean: bool) -> None:
        to, hub = way
        assert hub.desk is not None

        async def say(http: ClientSession, *messages: object) -> Any:
            body = json.dumps(messages).encode()

            async def pieces() -> AsyncIterator[bytes]:
                yield body

            # A body in chunks is for aiohttp.
            async with http.post(f"{to.base}/bayeux", data=body if lean else pieces()) as response:
                assert response.status == 200, await response.text()
                return await response.json()

        async with to.session() as http:
            ((shake,)) = await say(http, HANDSHAKE)
            client_id = shake["clientId"]
            assert (await say(http, {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"}))[0][
                "successful"
            ]
            connect = {"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"}
            await say(http, connect)
            held = asyncio.create_task(say(http, connect))
            await hub.realms[A].publisher.publish("a", [1])
            assert [message["data"] for message in await held if "data" in message] == [[1]]
            assert sessions(hub) == only_a()
            assert bool(hub.desk.requests) == lean

    async def test_callback_polling_and_the_script(self, way: tuple[Way, Hub]) -> None:
        to, hub = way
        async with to.session() as http:
            query = {"message": json.dumps([HANDSHAKE]), "jsonp": "f"}
            async with http.get(f"{to.base}/bayeux", params=query) as response:
                assert (await response.text()).startswith("/**/f([")
            assert sessions(hub) == only_a()
            async with http.get(f"{to.base}/bayeux/static/fanout.js") as response:
                assert response.status == 200

    async def test_eventsource(self, way: tuple[Way, Hub]) -> None:
        to, hub = way
        async with to.session() as http:
            async with http.post(f"{to.base}/bayeux", json=[HANDSHAKE]) as response:
                client_id = (await response.json())[0]["clientId"]
            subscribe = {"channel": "/meta/subscribe", "clientId": client_id, "subscription": "/a"}
            await http.post(f"{to.base}/bayeux", json=[subscribe])
            stream = f"{to.base}/bayeux/{client_id}"
            async with http.get(stream, headers={"Accept": "text/event-stream"}) as response:
                assert response.status == 200
                await hub.realms[A].publisher.publish("a", 7)
                async for line in response.content:
                    if line.startswith(b"data:"):
                        assert json.loads(line[5:])[0]["data"] == 7
                        break

    async def test_plain(self, way: tuple[Way, Hub]) -> None:
        to, hub = way
        async with to.session() as http:
            async with http.ws_connect(f"{to.base}/ws?channel=a") as socket:
                assert "subscribed" in await socket.receive_json()
                await hub.realms[A].publisher.publish("a", 1)
                assert (await socket.receive_json())["data"] == 1
            async with http.get(f"{to.base}/poll?channel=a") as response:
                place = (await response.json())["position"]
            await hub.realms[A].publisher.publish("a", 2)
            async with http.get(f"{to.base}/poll", params={"channel": "a", "position": place}) as response:
                assert [message["data"] for message in (await response.json())["messages"]] == [2]
            async with http.get(f"{to.base}/sse?channel=a") as response:
                assert b"subscribed" in await response.content.readuntil(b"data:")
                assert sessions(hub)[A] == 1

    async def test_fpp(self, way: tuple[Way, Hub]) -> None:
        to, hub = way
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        async with to.session() as http:
            async with http.post(f"{to.base}/fpp/subscribe/", data="ci=name%3Da", headers=form) as response:
                told = await response.json()
            await hub.realms[A].publisher.publish("a", 5)
            cursor = told["channels"]["a"]["last_cursor"]
            query = {"sid": told["sid"], "ci": f"name=a&since=cursor:{cursor}"}
            async with http.get(f"{to.base}/fpp/feed/", params=query) as response:
                assert (await response.json())["channels"]["a"]["items"] == [5]
            other = to.base.partition("/r/")[0] + f"/r/{B}/fpp/feed/"
            async with http.get(other, params=query) as response:
                assert response.status == 401

    async def test_rules_and_origins_are_the_realms(self, way: tuple[Way, Hub]) -> None:
        to, _ = way
        async with to.session() as http:
            async with http.get(f"{to.base}/poll?channel=quiet") as response:
                assert response.status == 403
            page = {"Origin": "https://a.example"}
            async with http.options(f"{to.base}/bayeux", headers=page) as response:
                assert response.headers["Access-Control-Allow-Origin"] == "https://a.example"
            other = {"Origin": "https://d.example"}
            async with http.post(f"{to.base}/bayeux", json=[HANDSHAKE], headers=other) as response:
                assert (response.status, await response.text()) == (
                    403,
                    "Origin not allowed. Add it to the realm's origins in HUB_REALMS.\n",
                )
            with pytest.raises(WSServerHandshakeError) as refused:
                await http.ws_connect(f"{to.base}/bayeux", headers=other)
            assert refused.value.status == 403
            async with http.ws_connect(f"{to.base}/bayeux", headers=page):
                pass


@pytest.mark.parametrize("path", ["bayeux", "bayeux/static/fanout.js", "ws", "sse", "poll", "bayeux.js"])
async def test_an_unknown_realm_is_a_404_that_says_so(realms: Path, path: str) -> None:
    async with serving(realms=realms) as (url, _), ClientSession() as http:
        async with http.get(f"{url}/r/cc33/{path}") as response:
            assert (response.status, await response.text()) == (404, "Realm unknown.\n")
        async with http.get(f"{url}/r/cc33/{path}", headers={"Upgrade": "websocket"}) as response:
            assert response.status == 404


async def test_a_poll_for_an_unknown_realm_is_a_404_on_a_lean_connection(realms: Path) -> None:
    async with serving(realms=realms) as (url, hub), ClientSession() as http:
        for name, status in ((B, 200), ("cc33", 404), (B, 200)):
            async with http.post(f"{url}/r/{name}/bayeux", json=[HANDSHAKE]) as response:
                assert response.status == status
        assert sessions(hub) == {REALM: 0, A: 0, B: 2}


async def test_the_default_realm_has_a_path_too(realms: Path) -> None:
    async with serving(realms=realms) as (url, hub), listening(f"{url}/r/{REALM}", "/a") as listener:
        await hub.publisher.publish("a", 1)
        assert await listener.take(1) == [("/a", 1)]


# The publish API


async def publish(http: ClientSession, url: str, data: object, **headers: str) -> int:
    body = {"items": [{"channel": "a", "json-object": data}]}
    async with http.post(url, json=body, headers=headers) as response:
        return response.status


@pytest.mark.parametrize("lean", [True, False], ids=["lean", "aiohttp"])
class TestPublishing:
    def unusual(self, lean: bool) -> dict[str, str]:
        """A header with which aiohttp serves a request, or none."""
        return {} if lean else {"Connection": "close"}

    async def test_a_path_names_the_realm_and_publish_alone_means_the_hosts(self, realms: Path, lean: bool) -> None:
        more = self.unusual(lean)
        async with (
            serving(realms=realms) as (url, _),
            ClientSession() as http,
            listening(f"{url}/r/{A}", "/a") as a,
            listening(f"{url}/r/{B}", "/a") as b,
            listening(url, "/a") as default,
        ):
            assert await publish(http, f"{url}/realm/{A}/publish/", "a", **bearer(A), **more) == 200
            assert await publish(http, f"{url}/realm/{B}/publish", "b", **bearer(B), **more) == 200
            assert await publish(http, f"{url}/realm/{REALM}/publish/", "d", **bearer(REALM), **more) == 200
            assert await publish(http, f"{url}/publish/", "d2", **bearer(REALM), **more) == 200
            host = {"Host": f"{B}.hub.example"}
            assert await publish(http, f"{url}/publish/", "b2", **bearer(B), **more, **host) == 200
            # What the path says goes before the host.
            assert await publish(http, f"{url}/realm/{A}/publish/", "a2", **bearer(A), **more, **host) == 200
            assert await a.take(2) == [("/a", "a"), ("/a", "a2")]
            assert await b.take(2) == [("/a", "b"), ("/a", "b2")]
            assert await default.take(2) == [("/a", "d"), ("/a", "d2")]

    async def test_another_realms_key_is_refused(self, realms: Path, lean: bool) -> None:
        more = self.unusual(lean)
        async with serving(realms=realms) as (url, hub), ClientSession() as http:
            for shown, wanted in ((A, B), (A, REALM), (REALM, A)):
                assert await publish(http, f"{url}/realm/{wanted}/publish/", 1, **bearer(shown), **more) == 401
            forged = tokens.sign(B, KEYS[A], time.time())
            for name in (A, B):
                forgery = {"Authorization": f"Bearer {forged}"}
                assert await publish(http, f"{url}/realm/{name}/publish/", 1, **forgery, **more) == 401
            key = {"Authorization": f"Bearer {encoded(A)}"}
            assert await publish(http, f"{url}/realm/{B}/publish/", 1, **key, **more) == 401
            assert await publish(http, f"{url}/realm/{A}/publish/", 1, **key, **more) == 200
            found = [await each.broker.history("/a", None) for each in hub.realms.values()]
            assert [len(each.publications) for each in found] == [0, 1, 0]

    async def test_an_unknown_realm_is_a_401_to_strangers_and_a_403_to_the_default_one(
        self, realms: Path, lean: bool
    ) -> None:
        more = self.unusual(lean)
        async with serving(realms=realms) as (url, _), ClientSession() as http:
            assert await publish(http, f"{url}/realm/cc33/publish/", 1, **more) == 401
            assert await publish(http, f"{url}/realm/cc33/publish/", 1, **bearer(A), **more) == 401
            assert await publish(http, f"{url}/realm/cc33/publish/", 1, **bearer(REALM), **more) == 403


async def test_position_and_subscriptions_are_the_realms(realms: Path) -> None:
    async with serving(realms=realms) as (url, hub), ClientSession() as http, listening(f"{url}/r/{A}", "/a"):
        published = [await hub.realms[A].publisher.publish("a", number) for number in range(3)]

        async def ask(name: str, path: str) -> Any:
            async with http.get(f"{url}/realm/{name}/{path}", headers=bearer(name)) as response:
                return await response.json()

        assert (await ask(A, "position/?channel=a"))["position"] == str(published[-1])
        assert (await ask(B, "position/?channel=a"))["position"].endswith(".0")
        assert [item["channel"] for item in (await ask(A, "subscriptions/items/"))["items"]] == ["a"]
        assert (await ask(B, "subscriptions/items/"))["items"] == []


# Nobody hears another realm


@pytest.fixture(params=["memory", "redis"])
def log(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Settings of a log, of each kind in turn."""
    return {} if request.param == "memory" else {"redis_url": request.getfixturevalue("redis_url")}


class TestApart:
    async def test_a_channel_of_the_same_name_is_another(self, realms: Path, log: dict[str, Any]) -> None:
        async with (
            serving(realms=realms, **log) as (url, hub),
            listening(f"{url}/r/{A}", "/**") as all_of_a,
            listening(f"{url}/r/{B}", "/a") as b,
            listening(url, "/a", "/b/*") as default,
        ):
            for name in (REALM, A, B):
                for number in range(3):
                    await hub.realms[name].publisher.publish("a", [name, number])
            await hub.realms[A].publisher.publish("b/c", "last")
            await hub.realms[REALM].publisher.publish("b/c", "last")
            mine = [("/a", [A, number]) for number in range(3)]
            assert sorted(map(str, await all_of_a.take(4))) == sorted(map(str, [*mine, ("/b/c", "last")]))
            assert await b.take(3) == [("/a", [B, number]) for number in range(3)]
            assert sorted(map(str, await default.take(4))) == sorted(
                map(str, [*(("/a", [REALM, number]) for number in range(3)), ("/b/c", "last")])
            )

    async def test_history_and_ids_are_apart(self, realms: Path, log: dict[str, Any]) -> None:
        async with serving(realms=realms, **log) as (url, hub), ClientSession() as http:
            async with http.get(f"{url}/r/{B}/poll?channel=a") as response:
                place = (await response.json())["position"]
            # The same id in two realms is two publications.
            for name in (REALM, A, B):
                await hub.realms[name].publisher.publish("a", name, id="1")
            for name, base in ((REALM, ""), (A, f"/r/{A}"), (B, f"/r/{B}")):
                found = (await hub.realms[name].broker.history("/a", None)).publications
                assert [json.loads(each.data) for each in found] == [name]
                async with http.get(f"{url}{base}/poll", params={"channel": "a", "position": place}) as response:
                    told = await response.json()
                assert told["recovered"] == (name == B), "a position of another realm is lost here"

    async def test_a_session_is_unknown_in_another_realm(self, realms: Path, log: dict[str, Any]) -> None:
        async with serving(realms=realms, **log) as (url, _), ClientSession() as http:
            async with http.post(f"{url}/r/{A}/bayeux", json=[HANDSHAKE]) as response:
                client_id = (await response.json())[0]["clientId"]
            connect = {"channel": "/meta/connect", "clientId": client_id, "connectionType": "long-polling"}
            for base, known in (("", False), (f"/r/{B}", False), (f"/r/{A}", True)):
                async with http.post(f"{url}{base}/bayeux", json=[connect]) as response:
                    (reply,) = await response.json()
                assert reply["successful"] == known
                assert known or reply["error"].startswith("402:")

    async def test_a_user_is_kicked_out_of_one_realm(self, realms: Path, log: dict[str, Any]) -> None:
        async with serving(realms=realms, **log) as (url, hub), ClientSession() as http:
            sockets = {}
            for name in (A, B):
                token = bearer(name, channels=["private-1"], sub="alice")["Authorization"].split()[1]
                socket = await http.ws_connect(f"{url}/r/{name}/ws?channel=private-1&token={token}")
                assert "subscribed" in await socket.receive_json()
                sockets[name] = socket
                other = {A: B, B: A}[name]
                async with http.get(f"{url}/r/{other}/poll?channel=private-1&token={token}") as response:
                    assert response.status == 401, "a token is of one realm"
            async with http.post(f"{url}/realm/{A}/kick/", json={"user": "alice"}, headers=bearer(A)) as response:
                assert response.status == 200
            assert (await sockets[A].receive(timeout=60)).data == 1000
            await hub.realms[B].publisher.publish("private-1", "here")
            assert (await sockets[B].receive_json())["data"] == "here"
            await sockets[B].close()

    async def test_browsers_publish_where_their_realm_says(self, realms: Path, log: dict[str, Any]) -> None:
        async with serving(realms=realms, **log) as (url, _), ClientSession() as http:
            for name, allowed in ((A, True), (B, False)):
                async with http.post(f"{url}/r/{name}/bayeux", json=[HANDSHAKE]) as response:
                    client_id = (await response.json())[0]["clientId"]
                message = {"channel": "/chat/1", "clientId": client_id, "data": 1}
                async with http.post(f"{url}/r/{name}/bayeux", json=[message]) as response:
                    assert (await response.json())[0]["successful"] == allowed


async def test_who_is_in_a_channel_is_told_in_its_realm_alone(realms: Path) -> None:
    async with serving(realms=realms) as (url, _), ClientSession() as http, listening(f"{url}/r/{A}", "/room"):
        async with listening(f"{url}/r/{B}", "/room"), listening(url, "/room"):
            count = 0
            async with asyncio.timeout(60):
                # A report of what changed goes out a moment later.
                while not count:
                    async with http.get(f"{url}/r/{A}/presence?channel=room") as response:
                        count = (await response.json())["count"]
            assert count == 1
            for base in (f"/r/{B}", ""):
                async with http.get(f"{url}{base}/presence?channel=room") as response:
                    assert response.status == 404, "no rule of theirs says who may see it"


async def test_what_is_kept_of_a_channel_is_the_realms(realms: Path) -> None:
    async with serving(realms=realms) as (_, hub):
        for name, kept in ((A, 0), (B, 1)):
            await hub.realms[name].publisher.publish("quiet", 1)
            assert len((await hub.realms[name].broker.history("/quiet", None)).publications) == kept


async def test_events_and_services_are_a_realms_own(realms: Path) -> None:
    async with serving(realms=realms) as (url, hub):
        heard: list[str] = []
        hub.realms[A].on("handshake", lambda session_id, channel, who: heard.append("a"))
        hub.on("handshake", lambda session_id, channel, who: heard.append("default"))
        async with listening(f"{url}/r/{A}", "/a"), listening(f"{url}/r/{B}", "/a"), listening(url, "/a"):
            assert heard == ["a", "default"]
        assert hub.realms[REALM].node is hub.node
        assert hub.services is not hub.realms[A].services


async def test_the_sites_visitors_are_the_default_realms(realms: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nchannels = ["me"]\nsubscribe = "session"\n')
    async with serving(realms=realms, rules=rules) as (url, hub), ClientSession(cookies={"session": "7"}) as http:
        hub.door.identify = lambda cookie: "7"
        async with http.get(f"{url}/poll?channel=me") as response:
            assert response.status == 200
        for name, known in ((REALM, "7"), (A, None)):
            async with http.post(f"{url}/r/{name}/bayeux", json=[HANDSHAKE]) as response:
                client_id = (await response.json())[0]["clientId"]
            session = hub.realms[name].node.registry.get(client_id)
            assert session is not None
            assert session.user == known


# What is the process's


async def test_limits_of_sessions_and_handshakes_are_of_all_realms_together(realms: Path) -> None:
    async with serving(realms=realms, max_sessions=2) as (url, hub), ClientSession() as http:
        found = []
        for name in (A, B, A, REALM):
            async with http.post(f"{url}/r/{name}/bayeux", json=[HANDSHAKE]) as response:
                found.append((await response.json())[0]["successful"])
        assert found == [True, True, False, False]
    async with serving(realms=realms, handshake_rate=1, proxies=1) as (url, hub), ClientSession() as http:
        stranger = {"X-Forwarded-For": "203.0.113.7"}
        found, began = [], time.monotonic()
        for number in range(40):
            name = (A, B)[number % 2]
            async with http.post(f"{url}/r/{name}/bayeux", json=[HANDSHAKE], headers=stranger) as response:
                found.append((await response.json())[0]["successful"])
        most = 11 + time.monotonic() - began
        assert 10 <= found.count(True) <= most, "ten are saved up, whichever realm they are for"
        assert hub.realms[A].node.bayeux.limited["handshakes"] + hub.realms[B].node.bayeux.limited["handshakes"] > 0


async def test_limits_of_connections_are_of_all_realms_together(realms: Path) -> None:
    async with serving(realms=realms, address_connections=2, proxies=1) as (url, _), ClientSession() as http:
        stranger = {"X-Forwarded-For": "203.0.113.7"}
        first = await http.ws_connect(f"{url}/r/{A}/bayeux", headers=stranger)
        second = await http.ws_connect(f"{url}/r/{B}/ws?channel=a", headers=stranger)
        with pytest.raises(WSServerHandshakeError) as refused:
            await http.ws_connect(f"{url}/bayeux", headers=stranger)
        assert refused.value.status == 503
        await first.close()
        async with asyncio.timeout(60):
            while True:
                try:
                    await (await http.ws_connect(f"{url}/bayeux", headers=stranger)).close()
                    break
                except WSServerHandshakeError:
                    await asyncio.sleep(0.01)
        await second.close()
    async with serving(realms=realms, max_connections=2) as (url, _), ClientSession() as http:
        sockets = [await http.ws_connect(f"{url}/r/{name}/bayeux") for name in (A, B)]
        with pytest.raises(WSServerHandshakeError) as refused:
            await http.ws_connect(f"{url}/bayeux")
        assert refused.value.status == 503
        for socket in sockets:
            await socket.close()


async def test_open_files_of_the_realms_logs_are_no_clients(realms: Path, redis_url: str) -> None:
    most = [Hub(Settings(key=KEY, redis_url=redis_url, realms=file)).door.max_connections for file in (None, realms)]
    assert most[0] - most[1] == 6


async def test_metrics_are_sums_and_by_realm_where_there_are_several(realms: Path) -> None:
    async def look(http: ClientSession, url: str) -> list[str]:
        async with http.get(f"{url}/metrics") as response:
            return (await response.text()).splitlines()

    async with serving(realms=realms) as (url, hub), ClientSession() as http:
        async with listening(f"{url}/r/{A}", "/a") as a, listening(url, "/a"):
            await hub.realms[A].node.publish([])
            await hub.realms[A].publisher.publish("a", 1)
            await a.take(1)
            lines = await look(http, url)
        assert "hub_sessions 2.0" in lines
        assert f'hub_realm_sessions{{realm="{A}"}} 1.0' in lines
        assert f'hub_realm_sessions{{realm="{B}"}} 0.0' in lines
        assert f'hub_realm_delivered_total{{realm="{A}"}} 1.0' in lines
        assert f'hub_realm_ready{{realm="{REALM}"}} 1.0' in lines
    async with serving() as (url, _), ClientSession() as http:
        assert not any("realm" in line for line in await look(http, url))


async def test_the_hub_is_not_ready_while_one_realm_is_not(realms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.brokers import Health
    from hub.brokers.memory import MemoryBroker

    async with serving(realms=realms) as (url, hub), ClientSession() as http:
        ailing = hub.realms[B].broker
        monkeypatch.setattr(
            MemoryBroker, "health", property(lambda self: Health(self is not ailing, "deaf" if self is ailing else ""))
        )
        async with http.get(f"{url}/ready") as response:
            assert (response.status, (await response.json())["reason"]) == (503, f"realm {B}: deaf")
        async with http.get(f"{url}/health") as response:
            assert (response.status, (await response.json())["ready"]) == (200, False)
        monkeypatch.undo()
        async with http.get(f"{url}/ready") as response:
            assert response.status == 200


async def test_sockets_of_every_realm_are_told_to_go(realms: Path) -> None:
    async with ClientSession() as http:
        async with serving(realms=realms) as (url, _):
            sockets = [await http.ws_connect(f"{url}/r/{name}/bayeux") for name in (A, B, REALM)]
        for socket in sockets:
            assert (await socket.receive(timeout=60)).data == 1001


async def test_a_realm_that_does_not_start_leaves_none_open(realms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hub.brokers.memory import MemoryBroker

    opened: list[MemoryBroker] = []
    closed: list[MemoryBroker] = []
    opens, closes = MemoryBroker.open, MemoryBroker.close

    async def open_two(self: MemoryBroker, receiver: Any) -> None:
        if len(opened) == 2:
            raise BrokerUnavailable("away")
        opened.append(self)
        await opens(self, receiver)

    async def close(self: MemoryBroker) -> None:
        closed.append(self)
        await closes(self)

    monkeypatch.setattr(MemoryBroker, "open", open_two)
    monkeypatch.setattr(MemoryBroker, "close", close)
    with pytest.raises(BrokerUnavailable):
        async with serving(realms=realms):
            pass
    assert (len(opened), set(closed)) == (2, set(opened))


# Straight through Redis


class TestStraight:
    async def test_a_realms_log_is_found(self, realms: Path, redis_url: str) -> None:
        async with (
            serving(realms=realms, redis_url=redis_url, shards=4) as (url, hub),
            listening(f"{url}/r/{A}", "/a") as a,
            listening(url, "/a") as own,
        ):
            for name, listener in ((A, a), (REALM, own), ("", own)):
                publisher = SyncPublisher(redis_url, name)
                try:
                    position = await asyncio.to_thread(publisher.publish, "a", f"to {name}")
                    assert await listener.take(1) == [("/a", f"to {name}")]
                    assert await asyncio.to_thread(publisher.position, "a") == str(position)
                finally:
                    await asyncio.to_thread(publisher.close)
            assert str(await hub.realms[B].broker.position("/a")).endswith(".0")

    async def test_a_position_is_asked_for_in_the_realms_log_from_the_first(self, realms: Path, redis_url: str) -> None:
        """The first question of a connection went out before the layout was known."""
        async with serving(realms=realms, redis_url=redis_url, shards=3) as (_, hub):
            for name in (A, REALM):
                known = await hub.realms[name].publisher.publish("a", 1)
                publisher = SyncPublisher(redis_url, name)
                assert await asyncio.to_thread(publisher.position, "a") == str(known)
                await asyncio.to_thread(publisher.close)

    async def test_a_realm_that_no_hub_has_served_is_refused(self, realms: Path, redis_url: str) -> None:
        async with serving(realms=realms, redis_url=redis_url):
            publisher = SyncPublisher(redis_url, "cc33", patience=0.0)
            with pytest.raises(BrokerUnavailable, match="no hub has served realm cc33 there yet"):
                await asyncio.to_thread(publisher.publish, "a", 1)
            await asyncio.to_thread(publisher.close)

    async def test_a_realm_that_becomes_the_default_is_followed(self, realms: Path, redis_url: str) -> None:
        """What was published under its old keys nobody would read."""
        publisher = SyncPublisher(redis_url, A)
        async with serving(realms=realms, redis_url=redis_url):
            await asyncio.to_thread(publisher.publish, "a", 1)
        async with serving(realm=A, key=KEYS[A], redis_url=redis_url) as (url, _), listening(url, "/a") as listener:
            await asyncio.to_thread(publisher.publish, "a", 2)
            assert await listener.take(1) == [("/a", 2)]
        await asyncio.to_thread(publisher.close)

    async def test_a_log_of_a_hub_that_said_no_realm_is_the_default_ones(
        self, redis_url: str, redis_server: Any
    ) -> None:
        async with serving(redis_url=redis_url) as (url, _), listening(url, "/a") as listener:
            redis_server.command("HDEL", "{hub:0}:layout", "realm")
            publisher = SyncPublisher(redis_url, "other")
            await asyncio.to_thread(publisher.publish, "a", 1)
            assert await listener.take(1) == [("/a", 1)]
            await asyncio.to_thread(publisher.close)

    async def test_the_default_realms_keys_stay_as_they_were(
        self, realms: Path, redis_url: str, redis_server: Any
    ) -> None:
        async with serving(realms=realms, redis_url=redis_url, shards=1) as (_, hub):
            for each in hub.realms.values():
                await each.publisher.publish("a", 1)
            keys = redis_server.command("KEYS", "*log").decode()
        assert all(key in keys for key in ("{hub:0}:log", f"{{hub:{A}:0}}:log", f"{{hub:{B}:0}}:log"))


# The commands


class TestCommands:
    @pytest.fixture
    def shell(self, tmp_path: Path, realms: Path) -> Shell:
        shell = Shell(tmp_path)
        shell.environ |= {"HUB_REALMS": "realms.toml"}
        return shell

    def test_publish_reaches_subscribe_in_a_realm(self, shell: Shell) -> None:
        with shell.serving():
            listening = shell.start("subscribe", "a", "--realm", A, "--count", "1")
            while "nobody" in (said := shell.run("publish", "a", "1", "--realm", A)).stdout:
                assert said.returncode == 0, said.stderr
            printed, complaints = listening.communicate(timeout=60)
            assert (listening.returncode, complaints) == (0, "")
            assert json.loads(printed)["data"] == 1

    def test_check_says_which_realms_there_are_and_whether_the_hub_has_one(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with shell.serving():
            code, printed, _ = shell.call(HUB_COMMANDS, "check", monkeypatch=monkeypatch, capsys=capsys)
            assert (code, "FAIL" in printed) == (0, False)
            assert f"ok    realms: 2 in realms.toml: {A} ({A}.*, hub.a.example); {B} ({B}.*)" in printed
            code, printed, _ = shell.call(HUB_COMMANDS, "check", "--realm", A, monkeypatch=monkeypatch, capsys=capsys)
            assert (code, "FAIL" in printed) == (0, False)
            assert f", 32 bytes, realm {A}\n" in printed
            assert f"ok    realm: {shell.url} serves {A}" in printed
            more = shell.folder / "more.toml"
            more.write_text(realm(name="cc33"))
            code, printed, _ = shell.call(
                HUB_COMMANDS, "check", "--realm", "cc33", monkeypatch=monkeypatch, capsys=capsys, HUB_REALMS="more.toml"
            )
            assert code == 1
            assert f"FAIL  realm: {shell.url} does not serve cc33: 404" in printed

    def test_token_is_the_realms(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        code, printed, _ = shell.call(HUB_COMMANDS, "token", "--realm", B, monkeypatch=monkeypatch, capsys=capsys)
        assert code == 0
        assert tokens.verify(printed.strip(), B, [KEYS[B]], time.time())

    @pytest.mark.parametrize("arguments", [("publish", "a", "1"), ("token",), ("check",)])
    def test_a_realm_in_no_file_is_asked_wrongly(
        self,
        shell: Shell,
        arguments: tuple[str, ...],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        code, printed, said = shell.call(
            HUB_COMMANDS, *arguments, "--realm", "cc33", monkeypatch=monkeypatch, capsys=capsys
        )
        assert (code, printed) == (2, "")
        assert said == "python -m hub: realm 'cc33' is unknown: it is not in HUB_REALMS realms.toml\n"

    def test_subscribe_to_a_realm_that_the_hub_has_not_says_so(self, shell: Shell) -> None:
        with shell.serving():
            done = shell.run("subscribe", "a", "--realm", "cc33")
        assert done.returncode == 1
        assert "404" in done.stderr

    def test_check_explains_a_realms_rules(
        self, shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = {"monkeypatch": monkeypatch, "capsys": capsys}
        _, own, _ = shell.call(HUB_COMMANDS, "check", "channel", "quiet", **options)
        assert "subscribe  yes" in own
        _, theirs, _ = shell.call(HUB_COMMANDS, "check", "channel", "quiet", "--realm", A, **options)
        assert "subscribe  no" in theirs
        assert f"[HUB_REALMS realm {A}: rules rules-a.toml rule 1: quiet]" in theirs
        _, chat, _ = shell.call(HUB_COMMANDS, "check", "channel", "chat/1", "--realm", A, **options)
        assert f"[HUB_REALMS realm {A}: client_publish: chat/*]" in chat

    def test_check_names_what_is_wrong_with_a_realm(
        self, shell: Shell, realms: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        realms.with_name("rules-a.toml").write_text("x = 1")
        _, printed, _ = shell.call(HUB_COMMANDS, "check", monkeypatch=monkeypatch, capsys=capsys)
        assert f"FAIL  realms: HUB_REALMS realm {A}: rules rules-a.toml: has x" in printed

    def test_a_bad_file_stops_the_start(self, shell: Shell, realms: Path) -> None:
        realms.write_text("[[realm]]\nname = 'one'\n")
        done = shell.run("serve")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("python -m hub: HUB_REALMS realms.toml realm one: says neither key nor key_file")

    def test_a_rolling_restart_brings_in_new_realms_and_no_mistake(
        self, shell: Shell, realms: Path, redis_url: str
    ) -> None:
        def statuses(count: int) -> set[int]:
            """What so many connections are told of a realm: each may be another worker's."""
            found = set()
            for _ in range(count):
                try:
                    with urlopen(Request(f"{shell.url}/r/cc33/bayeux", method="OPTIONS"), timeout=60) as response:
                        found.add(response.status)
                except HTTPError as error:
                    found.add(error.code)
                    error.close()
                except OSError:
                    # Refused, or accepted by a worker that then went.
                    found.add(0)
            return found

        with shell.serving("--workers", "2", REDIS_URL=redis_url) as hub:
            assert hub.stderr is not None
            assert statuses(10) == {404}
            realms.write_text(FILE + "[[realm]]\nname = 'cc33'\n")
            hub.send_signal(signal.SIGHUP)
            while "no rolling restart" not in (line := hub.stderr.readline()):
                assert hub.poll() is None
            assert "realm cc33: says neither key nor key_file" in line
            assert statuses(10) == {404}, "who ran before runs on"
            realms.write_text(FILE + realm(name="cc33", key=base64.b64encode(b"c" * 32).decode()))
            hub.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 60
            while statuses(10) != {204}:
                assert time.monotonic() < deadline
                assert hub.poll() is None

    def test_workers_serve_every_realm(self, shell: Shell, redis_url: str) -> None:
        with shell.serving("--workers", "2", REDIS_URL=redis_url):
            listening = shell.start("subscribe", "a", "--realm", A, "--count", "3")
            # Until it is subscribed, at whichever worker; the others' answers count their own subscribers only.
            while listening.poll() is None:
                assert shell.run("publish", "a", "1", "--realm", A, REDIS_URL=redis_url).returncode == 0
            printed, complaints = listening.communicate(timeout=60)
        assert (complaints, len(printed.splitlines())) == ("", 3)
