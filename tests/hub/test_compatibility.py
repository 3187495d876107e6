"""Rows of docs/compatibility.md that no other module tests, and that the page tells the truth about its tests.

A test here names its rows. The rules are asked where they decide, a served hub where bytes matter.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import ClientSession, WSMsgType
from conversation import TYPES, Talk, new_rules
from listening import serving

from hub.app import Hub
from hub.bayeux.names import WEBSOCKET
from hub.bayeux.outcome import Call
from hub.bayeux.rules import Bayeux
from hub.errors import ForbiddenChannel
from hub.protocol.access import Access, Who
from hub.protocol.channels import Grammar
from hub.protocol.publications import Publication
from hub.sessions.registry import Registry

ROOT = Path(__file__).resolve().parents[2]
SHAKE: dict[str, Any] = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES, "id": "1"}


class Client:
    """A long-polling client of a served hub."""

    def __init__(self, url: str, http: ClientSession) -> None:
        self._url = url + "/bayeux"
        self._http = http
        self.id = ""

    async def send(self, body: Any, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        async with self._http.post(self._url, data=data, headers=headers) as response:
            text = await response.text()
            return response.status, json.loads(text) if text[:1] == "[" else text

    async def handshake(self, **fields: Any) -> dict[str, Any]:
        _, [reply] = await self.send([SHAKE | fields])
        self.id = reply.get("clientId", "")
        return dict(reply)

    async def say(self, channel: str, **fields: Any) -> list[dict[str, Any]]:
        _, replies = await self.send([{"channel": channel, "clientId": self.id, "id": "9"} | fields])
        return list(replies)


async def connect(client: Client) -> list[dict[str, Any]]:
    return await client.say("/meta/connect", connectionType="long-polling")


def faye_rules() -> Bayeux:
    return Bayeux(Registry(), lambda: "client1", dialect="faye", access=Access(["/chat/**"]))


class TestBodies:
    """Rows 9, 11, 20, 23, 24, 26."""

    async def test_null_in_a_batch_is_an_error_of_its_own(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            assert await Client(url, http).send(b"[null]") == (
                200,
                [{"successful": False, "error": "400::Message must be an object"}],
            )

    async def test_invalid_utf_8_is_refused(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            assert (await Client(url, http).send(b'[{"channel":"/\xff"}]'))[0] == 400

    async def test_of_duplicate_keys_the_last_wins(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            body = json.dumps(SHAKE).encode().replace(b'"id": "1"', b'"id": "1", "id": "2"')
            assert (await Client(url, http).send(body))[1][0]["id"] == "2"

    @pytest.mark.parametrize(("number", "status"), [("9" * 30, 200), ("9" * 5000, 400), ("1e999", 400)])
    async def test_numbers_are_doubles_beyond_64_bits_and_refused_beyond_those(self, number: str, status: int) -> None:
        async with serving() as (url, _), ClientSession() as http:
            assert (await Client(url, http).send(b'[{"channel":"/a","data":%b}]' % number.encode()))[0] == status

    async def test_every_message_field_of_a_form_counts(self) -> None:
        async with serving() as (url, _), ClientSession() as http:
            client = Client(url, http)
            await client.handshake()
            parts = [
                {"channel": "/meta/subscribe", "clientId": client.id, "subscription": name} for name in ("/a", "/b")
            ]
            form = "&".join(f"message={quote(json.dumps(part))}" for part in parts)
            _, replies = await client.send(form.encode(), **{"Content-Type": "application/x-www-form-urlencoded"})
            assert [reply["subscription"] for reply in replies] == ["/a", "/b"]

    async def test_like_faye_an_empty_batch_is_answered_with_one_and_other_methods_with_400(self) -> None:
        async with serving(dialect="faye") as (url, _), ClientSession() as http:
            assert await Client(url, http).send(b"[]") == (200, [])
            async with http.put(url + "/bayeux") as response:
                assert response.status == 400


class TestWebSocket:
    """Rows 10, 14, 20, 66, 70."""

    async def test_empty_batch_is_answered_with_one(self) -> None:
        async with serving() as (url, _), ClientSession() as http, http.ws_connect(url + "/bayeux") as socket:
            await socket.send_str("[]")
            assert await socket.receive_json() == []

    async def test_what_is_not_json_is_answered_and_the_socket_closed_the_fifth_time(self) -> None:
        async with serving() as (url, _), ClientSession() as http, http.ws_connect(url + "/bayeux") as socket:
            for _ in range(5):
                await socket.send_str("{")
                assert await socket.receive_json() == [{"successful": False, "error": "400::Invalid JSON"}]
            message = await socket.receive()
            assert (message.type, message.data) == (WSMsgType.CLOSE, 1007)

    async def test_second_connect_of_a_socket_answers_both(self) -> None:
        bob = Talk(new_rules(), WEBSOCKET)
        bob.handshake()
        bob.connect()
        first = bob.connect(id="3").hold
        outcome = bob.connect(id="4")
        assert outcome.released == [first]
        assert outcome.hold is not None
        assert outcome.hold.id == "4"
        again = bob.connect(id="4")
        assert again.released == [], "the same id is the same connect, and gets one answer"
        assert bob.session.hold is again.hold

    async def test_deliveries_pass_a_held_connect(self) -> None:
        async with serving() as (url, hub), ClientSession() as http, http.ws_connect(url + "/bayeux") as socket:
            await socket.send_json([SHAKE])
            me = {"clientId": (await socket.receive_json())[0]["clientId"]}
            held = {"channel": "/meta/connect", "connectionType": "websocket"} | me
            await socket.send_json([{"channel": "/meta/subscribe", "subscription": "/a"} | me])
            await socket.receive_json()
            await socket.send_json([held])
            await socket.receive_json()
            await socket.send_json([held | {"id": "5"}])
            # The connect is taken before the publication: both go through the same node.
            session = hub.node.registry.get(me["clientId"])
            assert session is not None
            while session.hold is None:
                await asyncio.sleep(0.01)
            await hub.publisher.publish("a", 1)
            [delivery] = await socket.receive_json()
            assert delivery["data"] == 1
            assert session.hold is not None


class TestMessages:
    """Rows 41, 42, 47, 54, 61, 71, 105."""

    def test_error_that_a_client_sends_means_nothing(self) -> None:
        alice = Talk(new_rules())
        alice.handshake()
        assert alice.publish("/chat/a", 1, error="403::no")["successful"]

    def test_handshake_without_a_version_is_told_which_field_is_missing(self) -> None:
        reply = Talk(new_rules()).reply({"channel": "/meta/handshake", "supportedConnectionTypes": TYPES})
        assert (reply["error"], reply["advice"]["reconnect"]) == ("400:version:Missing field", "none")

    def test_message_without_an_id_is_answered_without_one(self) -> None:
        assert "id" not in Talk(new_rules()).handshake()

    def test_transport_a_connect_came_by_counts_not_the_one_it_names(self) -> None:
        alice = Talk(new_rules())
        alice.handshake()
        alice.connect()
        message = alice.meta("connect", connectionType="callback-polling")
        assert alice.say(message).hold is not None

    async def test_what_waits_goes_out_with_a_connect_only(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            client = Client(url, http)
            await client.handshake()
            await client.say("/meta/subscribe", subscription="/a")
            await hub.publisher.publish("a", 1)
            assert len(await client.say("/meta/subscribe", subscription="/b")) == 1
            assert [message.get("data") for message in await connect(client)] == [1, None]

    def test_who_has_the_client_id_is_the_client(self) -> None:
        rules = new_rules()
        alice, bob = Talk(rules), Talk(rules)
        alice.handshake()
        bob.client_id = alice.client_id
        assert bob.reply(bob.meta("disconnect"))["successful"]
        assert not rules.registry.sessions


class TestDialect:
    """Faye's error codes, rows 57, 58, 79, 86, as HUB_DIALECT=faye gives them; CometD's names, row 90."""

    def test_like_faye_the_codes_are_faye_s(self) -> None:
        talk = Talk(faye_rules())
        assert talk.reply(talk.meta("connect", clientId="x"))["error"] == "401:x:Unknown client"
        assert talk.reply({"channel": "/meta/connect"})["error"] == "402:clientId:Missing required parameter"
        talk.handshake()
        refused = talk.reply({"channel": "/chat/a", "clientId": talk.client_id})
        assert refused["error"] == "402:data:Missing required parameter"
        assert talk.subscribe("/service/x")["error"] == "403:/service/x:Forbidden channel"
        assert talk.subscribe("/a/")["error"] == "405:/a/:Invalid channel"

    def test_cometd_s_names_are_taken_where_that_is_set(self) -> None:
        rules = Bayeux(Registry(), lambda: "client1", grammar=Grammar("cometd"))
        talk = Talk(rules)
        talk.handshake()
        assert talk.subscribe("/a.b c/{id}")["successful"]

    async def test_both_are_settings(self) -> None:
        async with serving(dialect="faye", channel_charset="cometd") as (url, _), ClientSession() as http:
            client = Client(url, http)
            await client.handshake()
            assert (await client.say("/meta/subscribe", subscription="/a.b"))[0]["successful"]
            client.id = "x"
            assert (await connect(client))[0]["error"] == "401:x:Unknown client"


class TestTimesync:
    """Row 118: `p` is the time a message was here, `ts` when it came, `a` how far the client's clock is off."""

    def new_talk(self, now: list[float]) -> Talk:
        ids = iter(("client1", "client2"))
        return Talk(Bayeux(Registry(), lambda: next(ids), wall=lambda: now[0]))

    def test_reply_says_when_it_came_and_how_far_off_the_client_is(self) -> None:
        talk = self.new_talk([1000.0])
        reply = talk.handshake(ext={"timesync": {"tc": 999_000, "l": 0, "o": 0}})
        assert reply["ext"]["timesync"] == {"tc": 999_000, "ts": 1_000_000, "p": 0, "a": -1000}

    def test_held_connect_says_how_long_it_was_held(self) -> None:
        now = [1000.0]
        talk = self.new_talk(now)
        talk.handshake()
        talk.connect()
        hold = talk.connect(ext={"timesync": {"tc": 999_000, "l": 0, "o": 0}}).hold
        assert hold is not None
        now[0] += 3
        assert talk.rules.answer(hold)["ext"]["timesync"] == {"tc": 999_000, "ts": 1_000_000, "p": 3000, "a": -1000}

    @pytest.mark.parametrize("asked", [None, 7, [], {"tc": "x"}, {"tc": 10**400}, {"tc": 1_000_000, "l": 5, "o": 10}])
    def test_nonsense_and_clocks_that_are_right_get_none(self, asked: object) -> None:
        reply = self.new_talk([1000.0]).handshake(ext={"timesync": asked})
        assert reply["successful"]
        assert "timesync" not in reply["ext"]


class TestReplay:
    """Row 120: Salesforce's `ext.replay` on the history: -1 new only, -2 all that is kept, an id what came after it."""

    async def replayed(self, url: str, http: ClientSession, replay: object) -> tuple[dict[str, Any], list[Any]]:
        """The ext of the subscribe's reply, and the data that came."""
        client = Client(url, http)
        assert (await client.handshake())["ext"]["replay"] is True
        [reply] = await client.say("/meta/subscribe", subscription="/a", ext={"replay": {"/a": replay}})
        assert reply["successful"], reply
        return reply["ext"], [message["data"] for message in (await connect(client))[:-1]]

    @pytest.mark.parametrize(
        ("replay", "expected", "recovered"),
        [
            (-1, [], True),
            (-2, [0, 1, 2, 3], True),
            (0, [0, 1, 2, 3], True),
            ("-1", [], True),
            ("-2", [0, 1, 2, 3], True),
            # Of nobody knows which life.
            (2, [2, 3], False),
            ("2", [2, 3], False),
            (4, [], False),
            # Certainly of another.
            (5, [0, 1, 2, 3], False),
        ],
    )
    async def test_history_is_delivered_as_asked(self, replay: object, expected: list[int], recovered: bool) -> None:
        """Some clients send digits (a map of strings in Go): they were refused, and heard nothing."""
        async with serving() as (url, hub), ClientSession() as http:
            for number in range(4):
                await hub.publisher.publish("a", number)
            ext, data = await self.replayed(url, http, replay)
            assert ext["recovered"] == {"/a": recovered}
            assert data == expected

    @pytest.mark.parametrize("form", ["id", "number", "digits"])
    async def test_id_of_this_life_continues_after_it(self, form: str) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            await hub.publisher.publish("a", 0)
            ext, _ = await self.replayed(url, http, -1)
            ids = {"id": ext["position"]["/a"], "number": ext["replay"]["/a"], "digits": str(ext["replay"]["/a"])}
            for number in (1, 2):
                await hub.publisher.publish("a", number)
            ext, data = await self.replayed(url, http, ids[form])
            assert (data, ext["recovered"]) == ([1, 2], {"/a": True})

    @pytest.mark.parametrize("form", ["id", "number", "digits"])
    async def test_id_of_an_earlier_life_is_not_recovered(self, form: str) -> None:
        """An offset from before the log was lost was taken for one of today: it skipped messages, "recovered"."""
        async with serving() as (url, hub), ClientSession() as http:
            for number in range(2):
                await hub.publisher.publish("a", number)
            ext, _ = await self.replayed(url, http, -1)
            ids = {"id": ext["position"]["/a"], "number": ext["replay"]["/a"], "digits": str(ext["replay"]["/a"])}
        async with serving() as (url, hub), ClientSession() as http:
            for number in range(4):
                await hub.publisher.publish("a", number)
            ext, _ = await self.replayed(url, http, ids[form])
            assert ext["recovered"] == {"/a": False}

    async def test_replay_id_that_is_no_longer_kept_is_told(self) -> None:
        async with serving(history_count=2) as (url, hub), ClientSession() as http:
            for number in range(4):
                await hub.publisher.publish("a", number)
            ext, _ = await self.replayed(url, http, 1)
            assert ext["recovered"] == {"/a": False}

    @pytest.mark.parametrize("replay", [-3, True, "one", "1e3", "٣", "--2", "9" * 17, ".", "e.", 1.5, 2**53, None, [1]])
    def test_other_replay_ids_are_refused(self, replay: object) -> None:
        alice = Talk(new_rules())
        alice.handshake()
        error = alice.subscribe("/a", ext={"replay": {"/a": replay}})["error"]
        assert error in ("400:replay:Not a replay id", "400:position:Bad position")


class TestServices:
    """Rows 83, 123, 124: code that embeds the hub answers what is published to a service channel."""

    async def answered(self, hub: Hub, url: str, data: Any) -> list[dict[str, Any]]:
        async with ClientSession() as http:
            client = Client(url, http)
            await client.handshake()
            return await client.say("/service/echo", data=data)

    async def test_answer_goes_to_the_caller_under_its_id(self) -> None:
        async def echo(call: Call) -> object:
            return {"heard": call.data}

        async with serving() as (url, hub):
            hub.services["/service/echo"] = echo
            assert await self.answered(hub, url, 7) == [
                {"channel": "/service/echo", "successful": True, "id": "9"},
                {"channel": "/service/echo", "data": {"heard": 7}, "id": "9"},
            ]
            assert hub.node.counters.published == 0

    async def test_service_may_answer_nothing_or_refuse(self) -> None:
        async def pick(call: Call) -> object:
            if call.data:
                raise ForbiddenChannel(call.channel)
            return None

        async with serving() as (url, hub):
            hub.services["/service/echo"] = pick
            assert len(await self.answered(hub, url, 0)) == 1
            [reply] = await self.answered(hub, url, 1)
            assert reply["error"] == "403:/service/echo:Forbidden channel"

    async def test_service_that_fails_or_hangs_costs_its_own_message_only(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def fail(call: Call) -> object:
            if call.data:
                await asyncio.Event().wait()
            raise RuntimeError("bug")

        monkeypatch.setattr("hub.effects.SERVICE_SECONDS", 0.05)
        async with serving() as (url, hub), ClientSession() as http:
            hub.services["/service/echo"] = fail
            client = Client(url, http)
            await client.handshake()
            call = {"channel": "/service/echo", "clientId": client.id}
            subscribe = {"channel": "/meta/subscribe", "clientId": client.id, "subscription": "/a"}
            _, replies = await client.send([call | {"data": 0}, subscribe, call | {"data": 1}])
            assert [reply["successful"] for reply in replies] == [False, True, False]
            assert replies[0]["error"] == "500::Internal server error"
        assert "service failed" in caplog.text


class TestExtensions:
    """Rows 121, 123: what code that embeds the hub may see, change and refuse."""

    async def test_extension_changes_and_refuses_what_clients_send(self, caplog: pytest.LogCaptureFixture) -> None:
        def look(message: dict[str, Any], who: Who) -> None:
            if message.get("subscription") == "/no":
                raise ForbiddenChannel("/no")
            if message.get("subscription") == "/bug":
                raise RuntimeError("bug")
            if message.get("subscription") == "/old":
                message["subscription"] = "/new"

        async with serving() as (url, hub), ClientSession() as http:
            hub.incoming.append(look)
            client = Client(url, http)
            await client.handshake()
            subscribe = {"channel": "/meta/subscribe", "clientId": client.id}
            names = ("/no", "/bug", "/old")
            _, replies = await client.send([subscribe | {"subscription": name} for name in names])
            assert [reply.get("error") for reply in replies] == [
                "403:/no:Forbidden channel",
                "500::Internal server error",
                None,
            ]
            assert list(hub.node.registry.audiences) == ["/new"]
        assert "extension failed" in caplog.text

    async def test_extension_adds_to_replies_and_refuses_them(self, caplog: pytest.LogCaptureFixture) -> None:
        seen: list[tuple[str, str | None]] = []

        def look(reply: dict[str, Any], who: Who) -> None:
            seen.append((reply["channel"], who.visitor))
            if reply.get("subscription") == "/no":
                raise ForbiddenChannel("/no")
            if reply.get("subscription") == "/bug":
                raise RuntimeError("bug")
            if reply.get("subscription") == "/odd":
                reply["ext"] = {"odd": object()}
                return
            reply.setdefault("ext", {})["seen"] = True
            if "advice" in reply:
                reply["advice"]["interval"] = 7

        async with serving() as (url, hub), ClientSession() as http:
            advice = dict(hub.node.bayeux.retry)
            hub.outgoing.append(look)
            client = Client(url, http)
            assert (await client.handshake())["ext"]["seen"] is True
            subscribe = {"channel": "/meta/subscribe", "clientId": client.id, "id": "5"}
            names = ("/no", "/bug", "/odd", "/a")
            _, replies = await client.send([subscribe | {"subscription": name} for name in names])
            assert [reply.get("error") for reply in replies] == [
                "403:/no:Forbidden channel",
                "500::Internal server error",
                "400::Not JSON",
                None,
            ]
            assert [(reply["id"], reply["subscription"]) for reply in replies] == [("5", name) for name in names]
            assert "/no" in hub.node.registry.audiences, "what the message did stands"
            await connect(client)
            held = asyncio.create_task(connect(client))
            while (session := hub.node.registry.get(client.id)) is None or session.hold is None:
                await asyncio.sleep(0.01)
            await hub.publisher.publish("a", 1)
            delivery, reply = await held
            assert delivery["data"] == 1
            assert (reply["ext"]["seen"], reply["advice"]["interval"]) == (True, 7)
            assert hub.node.bayeux.retry == advice, "what it changes is that reply's"
        assert [channel for channel, _ in seen].count("/meta/connect") == 2
        assert "extension failed" in caplog.text

    async def test_handshake_whose_reply_is_refused_leaves_no_session(self) -> None:
        def refuse(reply: dict[str, Any], who: Who) -> None:
            raise ForbiddenChannel(text="Not today")

        async with serving() as (url, hub), ClientSession() as http:
            hub.outgoing.append(refuse)
            reply = await Client(url, http).handshake()
            assert (reply["successful"], reply["error"], "clientId" in reply) == (False, "403::Not today", False)
            assert reply["advice"]["reconnect"] == "none"
            assert not hub.node.registry.sessions

    async def test_extension_changes_and_drops_publications_before_they_are_encoded(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        calls = []

        def look(publication: Publication) -> Publication | None:
            calls.append(publication.data)
            match publication.data:
                case b"1":
                    return publication.with_data({"one": 1})
                case b"2":
                    return None
                case b"3":
                    raise RuntimeError("bug")
                case b"4":
                    return Publication("/other", b"4", publication.position)
                case b"5":
                    return publication.with_data(object())
            return publication

        async with serving() as (url, hub), ClientSession() as http:
            hub.published.append(look)
            await hub.publisher.publish("a", 0)
            since = str(await hub.node.broker.position("/a"))
            clients = [Client(url, http) for _ in range(3)]
            for client in clients:
                await client.handshake()
                await client.say("/meta/subscribe", subscription="/a")
                await connect(client)
            for number in range(1, 7):
                await hub.publisher.publish("a", number)
            for client in clients:
                while (session := hub.node.registry.get(client.id)) is None or len(session.queue or ()) < 2:
                    await asyncio.sleep(0.01)
                messages = await connect(client)
                assert [message["data"] for message in messages if "data" in message] == [{"one": 1}, 6]
            assert calls == [b"%d" % number for number in range(7)], "once each, whoever hears it"
            late = Client(url, http)
            await late.handshake()
            (reply,) = await late.say("/meta/subscribe", subscription="/a", ext={"position": {"/a": since}})
            assert reply["ext"]["recovered"] == {"/a": True}
            messages = await connect(late)
            assert [message["data"] for message in messages if "data" in message] == [{"one": 1}, 6], "out of history"
            assert hub.node.counters.withheld == 8
        assert "extension failed" in caplog.text

    async def test_watchers_are_told_as_faye_s_are(self, caplog: pytest.LogCaptureFixture) -> None:
        told: list[tuple[str, str]] = []

        def watch(name: Any, hub: Hub) -> None:
            def note(session_id: str, channel: str, who: Who) -> None:
                told.append((name, channel))
                if name == "publish":
                    raise RuntimeError("bug")

            hub.on(name, note)

        async with serving(client_publish=("/a",)) as (url, hub), ClientSession() as http:
            for name in ("handshake", "subscribe", "unsubscribe", "publish", "disconnect"):
                watch(name, hub)
            client = Client(url, http)
            await client.handshake()
            for _ in range(2):
                await client.say("/meta/subscribe", subscription=["/a", "/b"])
            await client.say("/meta/unsubscribe", subscription="/b")
            assert (await client.say("/a", data=1))[0]["successful"]
            await client.say("/c", data=1)
            await client.say("/meta/disconnect")
        assert told == [
            ("handshake", ""),
            ("subscribe", "/a"),
            ("subscribe", "/b"),
            ("unsubscribe", "/b"),
            ("publish", "/a"),
            ("unsubscribe", "/a"),
            ("disconnect", ""),
        ]
        assert "watcher failed" in caplog.text


@functools.cache
def names_in(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            names.add(node.name)
    return names


def test_every_row_of_the_page_is_there_and_names_tests_that_exist() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \|(.*)\|$", page, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, 126))
    for number, row in rows:
        links = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", row)
        assert links, f"row {number} names no test"
    for name, path in re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", page):
        assert name in names_in(ROOT / path), f"{path} has no {name}"


def test_clients_of_the_page_are_of_the_versions_that_are_installed() -> None:
    page = (ROOT / "docs" / "compatibility.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (npm|PyPI) ([\w@/-]+)[^|]* \| ([^|]+) \|", page, re.MULTILINE)
    assert len(rows) > 5
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    packages = json.loads((ROOT / "package.json").read_text(encoding="utf-8"))["devDependencies"]
    older = re.findall(r"{ older (\w+) ([\d.]+); }", (ROOT / ".ci" / "setup").read_text(encoding="utf-8"))
    pypi = {*pins, *(f"{name}=={version}" for name, version in older)}
    npm = {f"{name}=={version}" for name, version in packages.items()}
    npm |= {version.removeprefix("npm:").replace("@", "==") for version in packages.values()}
    for registry, name, versions in rows:
        for version in versions.split(", "):
            assert f"{name}=={version}" in (npm if registry == "npm" else pypi)
