"""Who may do what: rules, tokens, and that no wildcard hears what a rule keeps from it."""

from __future__ import annotations

import asyncio
import base64
import fnmatch
import io
import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from aiohttp import ClientSession
from changed_rules import set_access, set_wall
from conversation import TYPES, Talk, Wire, new_rules
from fleet import connect, fleet, halt, say, start
from hypothesis import given
from hypothesis import strategies as st
from listening import KEY, REALM, serving
from stopwatch import Stopwatch

from hub.bayeux.rules import Bayeux
from hub.cli import main
from hub.errors import BadToken, BrokerUnavailable, SettingsError
from hub.kicks import KICK
from hub.protocol import tokens
from hub.protocol.access import Access, Grant, Rule, Who, covers, parse_rules
from hub.protocol.channels import matches
from hub.protocol.publications import Draft
from hub.record import SessionRecord
from hub.sessions.registry import Registry
from hub.sessions.session import Session

NOW = 1_800_000_000.0

RULES = """
[[rule]]
channels = ["news", "team/open-*"]
subscribe = "open"

[[rule]]
channels = ["team/**", "staff-*"]
subscribe = "token"
publish = "token"
history = "closed"

[[rule]]
channels = ["me/*"]
subscribe = "session"

[[rule]]
channels = ["secret/**"]
subscribe = "closed"
"""


def new_access(rules: str = RULES, **more: Any) -> Access:
    return Access(more.pop("client_publish", ()), parse_rules(rules), realm=REALM, keys=[KEY], **more)


def token(now: float = NOW, **claims: Any) -> str:
    return tokens.sign(REALM, KEY, now, **claims)


#: Subscribes with a token; the error, None if there is none.
Subscribing = Callable[[str, str], Awaitable[str | None]]


async def bayeux_talk(http: ClientSession, url: str) -> tuple[Subscribing, Callable[[], Awaitable[None]]]:
    """A client of Bayeux: how it subscribes, and how it goes."""

    async def post(*messages: dict[str, Any]) -> Any:
        async with http.post(f"{url}/bayeux", json=messages) as response:
            return await response.json()

    shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}
    client = (await post(shake))[0]["clientId"]

    async def say(channel: str, shown: str) -> str | None:
        message = {"channel": "/meta/subscribe", "clientId": client, "subscription": f"/{channel}"}
        [reply] = await post(message | {"ext": {"token": shown}})
        error: str | None = reply.get("error")
        return error

    async def close() -> None:
        """It has no connection."""

    return say, close


async def plain_talk(http: ClientSession, url: str) -> tuple[Subscribing, Callable[[], Awaitable[None]]]:
    """The same over `/ws`."""
    socket = await http.ws_connect(f"{url}/ws")

    async def say(channel: str, shown: str) -> str | None:
        await socket.send_json({"subscribe": [channel], "token": shown})
        error: str | None = (await socket.receive_json()).get("error")
        return error

    async def close() -> None:
        await socket.close()

    return say, close


class TestRules:
    @pytest.mark.parametrize(
        ("action", "name", "allowed", "need"),
        [
            ("subscribe", "/comments-42", True, "open"),
            ("publish", "/comments-42", False, "closed"),
            ("subscribe", "/private-7", False, "token"),
            ("subscribe", "/private-7/a/b", False, "token"),
            ("subscribe", "/privately", True, "open"),
            ("subscribe", "/team/open-1", True, "open"),
            ("subscribe", "/team/a", False, "token"),
            ("subscribe", "/team/a/b", False, "token"),
            ("subscribe", "/team", True, "open"),
            ("subscribe", "/staff-1", False, "token"),
            ("subscribe", "/me/7", False, "session"),
            ("subscribe", "/secret/x", False, "closed"),
            ("history", "/team/a", False, "closed"),
            ("history", "/comments-42", True, "open"),
            ("publish", "/news", False, "closed"),
            # A wildcard is decided by the first rule that has all of it.
            ("subscribe", "/**", True, "open"),
            ("subscribe", "/*", True, "open"),
            ("subscribe", "/team/*", False, "token"),
            ("subscribe", "/secret/**", False, "closed"),
        ],
    )
    def test_first_rule_that_speaks_of_the_action_decides(
        self, action: Any, name: str, allowed: bool, need: str
    ) -> None:
        decision = new_access().decide(action, name)
        assert (decision.allowed, decision.need) == (allowed, need)
        assert decision.why

    def test_site_s_visitor_is_enough_where_a_session_is_asked_for(self) -> None:
        assert new_access().may_subscribe("/me/7", Who(visitor="7"))

    def test_client_publish_comes_before_the_file(self) -> None:
        access = new_access(client_publish=("/team/chat",))
        assert access.may_publish("/team/chat")
        assert not access.may_subscribe("/team/chat")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[[rule", "not TOML"),
            ("x = 1", "x; only"),
            ("rule = 7", "rule; only"),
            ('[[rule]]\nsubscribe="open"', "channels is not"),
            ('[[rule]]\nchannels=["a"]', "says neither"),
            ('[[rule]]\nchannels=["a"]\nsubscribe="maybe"', "not one of open"),
            ('[[rule]]\nchannels=["a"]\nlisten="open"', "listen is unknown"),
            ('[[rule]]\nchannels=["a/**/b"]\nsubscribe="open"', "not a pattern"),
            ('[[rule]]\nchannels=["a//b"]\nsubscribe="open"', "not a pattern"),
            ("rule = [7]", "is not a table"),
        ],
    )
    def test_mistake_in_the_file_is_named(self, text: str, reason: str) -> None:
        with pytest.raises(SettingsError, match=reason):
            parse_rules(text)


PRESENCE = """
[[rule]]
channels = ["hidden-*", "rooms/hidden"]
presence = "closed"

[[rule]]
channels = ["rooms/*", "shop/**"]
presence = "open"

[[rule]]
channels = ["staff"]
presence = "token"
subscribe = "closed"
"""


class TestPresence:
    @pytest.mark.parametrize(
        ("action", "name", "need"),
        [
            ("presence", "/rooms/1", "open"),
            ("presence", "/rooms/hidden", "closed"),
            ("presence", "/rooms/1/a", "closed"),
            ("presence", "/staff", "token"),
            ("presence", "/comments-42", "closed"),
            ("presence", "/private-1", "closed"),
            # To hear of it is to see it, and so is its history.
            ("subscribe", "/presence/rooms/1", "open"),
            ("history", "/presence/rooms/1", "open"),
            ("subscribe", "/presence/rooms/hidden", "closed"),
            ("subscribe", "/presence/staff", "token"),
            ("history", "/presence/staff", "token"),
            ("subscribe", "/presence/comments-42", "closed"),
            ("subscribe", "/presence/*", "closed"),
            ("subscribe", "/presence/**", "closed"),
            ("subscribe", "/presence/rooms/*", "open"),
            ("subscribe", "/presence/rooms/**", "closed"),
            ("subscribe", "/presence/shop/**", "open"),
            # Nobody is told who asks who is there.
            ("presence", "/presence/rooms/1", "closed"),
            ("subscribe", "/presence/presence/rooms/1", "closed"),
            ("publish", "/presence/rooms/1", "closed"),
            ("publish", "/presence/comments-42", "closed"),
            # Other names are what they were.
            ("subscribe", "/presence", "open"),
            ("subscribe", "/presences/rooms/1", "open"),
            ("subscribe", "/**", "open"),
            ("publish", "/presence", "open"),
        ],
    )
    def test_who_is_there_is_told_as_the_rules_say(self, action: Any, name: str, need: str) -> None:
        access = new_access(PRESENCE, client_publish=("/**",))
        assert access.decide(action, name).need == need

    def test_token_names_the_channel_and_not_where_it_is_told(self) -> None:
        access = new_access(PRESENCE)
        assert access.may_subscribe("/presence/staff", Who(grant=Grant(("/staff",), (), NOW)))
        assert not access.may_subscribe("/presence/staff", Who(grant=Grant(("/presence/staff",), (), NOW)))
        assert not access.may_subscribe("/staff", Who(grant=Grant(("/staff",), (), NOW)))

    def test_without_a_rule_that_opens_it_nothing_is_different(self) -> None:
        access = new_access('[[rule]]\nchannels=["a"]\npresence="closed"', client_publish=("/presence/*",))
        assert not access.has_presence
        assert access.may_subscribe("/presence/a")
        assert access.may_publish("/presence/a")

    def test_account_is_kept_of_channels_that_somebody_may_see(self) -> None:
        access = new_access(PRESENCE + '[[rule]]\nchannels=["**"]\npresence="session"')
        assert [name for name in ("/rooms/1", "/rooms/hidden", "/staff", "/x") if access.keeps_presence(name)] == [
            "/rooms/1",
            "/staff",
            "/x",
        ]
        assert not any(map(access.keeps_presence, ("/rooms/*", "/**", "/meta/x", "/service/x", "/presence/x")))

    def test_wildcard_hears_of_whom_its_session_may_see(self) -> None:
        access = new_access(PRESENCE + '[[rule]]\nchannels=["**"]\npresence="open"')
        assert access.may_subscribe("/presence/**")
        assert not access.guards("/presence/x")
        for channel in ("/presence/staff", "/presence/rooms/hidden", "/presence/presence/x"):
            assert access.guards(channel)
            assert not access.may_hear(channel)


SEGMENT = st.sampled_from(["a", "b", "ab", "private-1"])
NAME = st.lists(SEGMENT, min_size=1, max_size=3).map(lambda parts: "/" + "/".join(parts))
PATTERN = (
    NAME | NAME.map(lambda name: name + "/*") | NAME.map(lambda name: name + "/**") | st.sampled_from(["/*", "/**"])
)
RULE = st.lists(SEGMENT | st.sampled_from(["*", "a*", "*b", "private-*"]), min_size=1, max_size=3).flatmap(
    lambda parts: st.sampled_from(["/" + "/".join(parts), "/" + "/".join([*parts, "**"])])
)


@given(RULE, PATTERN, NAME)
def test_rule_that_covers_a_pattern_covers_every_name_of_it(rule: str, pattern: str, name: str) -> None:
    if covers(rule, pattern) and matches(pattern, name):
        assert covers(rule, name)


@given(st.from_regex(r"[a*-]{1,8}", fullmatch=True), st.from_regex(r"[a-]{0,12}", fullmatch=True))
def test_stars_within_a_segment_match_as_globs_do(segment: str, name: str) -> None:
    if "**" not in segment and name:
        assert covers("/" + segment, "/" + name) == fnmatch.fnmatchcase(name, segment)


def test_rule_with_several_stars_takes_no_longer_for_a_name_that_almost_matches() -> None:
    """`room-*-*-*-*-*` took 3 s for 150 dashes, and half a minute for the longest name: each way was tried."""
    rule = Rule(("/room-*-*-*-*-*-*-*-*/x",), {"subscribe": "token"}, "test")
    began = time.perf_counter()
    for number in range(20):
        assert not rule.matches(f"/room{'-' * 230}{number}/y")
    assert time.perf_counter() - began < 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["channels", "publish", "sub", "iat", "nbf"]), JSON))
def test_any_signed_claims_are_a_grant_or_a_bad_token(claims: dict[str, Any]) -> None:
    access = new_access()
    access.revoke("alice", NOW)
    try:
        grant = access.grant(token(**claims), NOW)
    except BadToken:
        return
    assert not access.may_subscribe("/secret/x", Who(grant=grant))


@given(st.text(max_size=300), st.sampled_from(["subscribe", "publish", "history", "presence"]))
def test_any_name_is_decided(name: str, action: Any) -> None:
    decision = new_access().decide(action, "/" + name, Who(grant=Grant(("/team/**", "/*a*"), ("/**",), NOW)))
    assert decision.why


@given(st.text(max_size=200) | st.builds("[[rule]]\nchannels=[{!r}]\nsubscribe='open'".format, st.text(max_size=30)))
def test_any_file_is_rules_or_a_settings_error(text: str) -> None:
    try:
        parse_rules(text)
    except SettingsError as error:
        assert str(error).startswith("HUB_RULES")


class TestTokens:
    def test_token_allows_what_it_names_until_it_expires(self) -> None:
        access = new_access()
        grant = access.grant(token(channels=["team/a", "/private-*"], publish=["team/a"], sub="alice", life=60), NOW)
        who = Who(grant=grant)
        assert grant.user == "alice"
        assert access.may_subscribe("/team/a", who)
        assert access.may_subscribe("/private-9", who)
        assert not access.may_subscribe("/team/b", who)
        assert access.may_publish("/team/a", who)
        assert not access.may_publish("/private-9", who)
        assert not access.may_subscribe("/secret/x", who), "closed is closed to tokens too"
        with pytest.raises(BadToken, match="expired"):
            access.grant(token(channels=["team/a"], life=60), NOW + 61)

    @pytest.mark.parametrize(
        "bad",
        [
            None,
            7,
            "",
            "a.b.c",
            tokens.sign(REALM, b"x" * 32, NOW, channels=["a"]),
            tokens.sign("another", KEY, NOW, channels=["a"]),
            token(channels="a"),
            token(channels=[7]),
            token(channels=["a"] * 101),
            token(channels=["a/**/b"]),
            token(channels=["a"], sub=7),
        ],
    )
    def test_bad_token_is_refused(self, bad: object) -> None:
        with pytest.raises(BadToken):
            new_access().grant(bad, NOW)


class TestConversation:
    def new_talk(self, rules: Bayeux | None = None) -> Talk:
        ids = iter(f"client{number}" for number in range(1, 9))
        return Talk(rules or Bayeux(Registry(), lambda: next(ids), access=new_access(), wall=lambda: NOW))

    def test_token_comes_with_the_handshake_or_the_subscribe(self) -> None:
        alice = self.new_talk()
        alice.handshake(ext={"token": token(channels=["team/a"])})
        assert alice.subscribe("/team/a")["successful"]
        assert alice.subscribe("/team/b")["error"] == "403:/team/b:Forbidden channel - the token does not name it"
        assert alice.subscribe("/team/b", ext={"token": token(channels=["team/*"])})["successful"]
        bob = self.new_talk(alice.rules)
        bob.handshake()
        assert bob.subscribe("/team/a")["error"] == "403:/team/a:Forbidden channel - needs a token"

    def test_token_of_a_refused_subscribe_changes_nothing(self) -> None:
        """It was taken before the refusal, and not kept for other workers: these then went on with the older."""
        alice = self.new_talk()
        alice.handshake(ext={"token": token(channels=["team/a"])})
        older = alice.session.grant
        refused = alice.subscribe("/secret/x", ext={"token": token(channels=["team/*"], life=10)})
        assert not refused["successful"]
        assert alice.session.grant == older

    def test_bad_token_refuses_the_message(self) -> None:
        alice = self.new_talk()
        reply = alice.handshake(ext={"token": "x.y.z"})
        assert (reply["error"], reply["advice"]["reconnect"]) == ("401::Not a token", "none")
        assert not alice.rules.registry.sessions

    def test_wildcard_does_not_hear_what_a_rule_keeps_from_it(self) -> None:
        alice = self.new_talk()
        alice.handshake()
        assert alice.subscribe("/**")["successful"]
        registry = alice.rules.registry
        assert alice.session in registry.audience("/comments-1")
        for channel in ("/private-1", "/team/a", "/me/7", "/secret/x"):
            assert alice.session not in registry.audience(channel)
        alice.session.grant = Grant(("/team/*",), (), NOW + 60)
        assert alice.session in registry.audience("/team/a")
        assert alice.session not in registry.audience("/secret/x")

    def test_history_may_be_closed_where_subscribing_is_not(self) -> None:
        alice = self.new_talk()
        alice.handshake(ext={"token": token(channels=["team/a"])})
        for ext in ({"position": {"/team/a": None}}, {"replay": {"/team/a": -2}}):
            assert alice.subscribe("/team/a", ext=ext)["error"] == "403:/team/a:Forbidden channel - no history"
        assert alice.session.patterns == []

    def test_token_lets_a_browser_publish(self) -> None:
        alice = self.new_talk()
        alice.handshake(ext={"token": token(publish=["team/a"])})
        assert alice.publish("/team/a", 1)["successful"]
        assert alice.publish("/team/b", 1)["error"].startswith("403:")


class TestServed:
    @pytest.fixture
    def rules(self, tmp_path: Path) -> Path:
        path = tmp_path / "rules.toml"
        path.write_text(RULES, encoding="utf-8")
        return path

    async def test_plain_ways_in_take_a_token_in_the_url(self, rules: Path) -> None:
        shown = token(time.time(), channels=["team/a"])
        async with serving(rules=rules) as (url, hub), ClientSession() as http:
            async with http.get(f"{url}/poll?channel=team/a") as response:
                assert (response.status, "needs a token" in await response.text()) == (403, True)
            async with http.get(f"{url}/poll?channel=team/a&token=x.y.z") as response:
                assert response.status == 401
            async with http.get(f"{url}/poll", params={"channel": "team/a", "token": shown}) as response:
                assert response.status == 200
            async with http.get(f"{url}/sse", params={"channel": "team/a", "token": shown}) as response:
                assert response.status == 200
            async with http.ws_connect(f"{url}/ws?channel=team/a&token={shown}") as socket:
                assert "team/a" in (await socket.receive_json())["subscribed"]
                await hub.publisher.publish("team/a", 1)
                assert (await socket.receive_json())["data"] == 1
                await socket.send_json({"subscribe": ["team/b"]})
                assert (await socket.receive_json())["error"].startswith("403:/team/b:")
                await socket.send_json({"subscribe": ["team/b"], "token": token(time.time(), channels=["team/b"])})
                assert (await socket.receive_json())["error"].startswith("403:/team/a:")
                await socket.send_json({"subscribe": ["team/b"], "token": token(time.time(), channels=["team/*"])})
                assert "team/b" in (await socket.receive_json())["subscribed"]

    async def test_listener_s_token_does_not_open_the_publish_api(self) -> None:
        """One that only says who it is, for presence, published anything and kicked anybody."""
        listeners: list[dict[str, Any]] = [
            {"channels": ["a"]},
            {"channels": [], "publish": ["a"]},
            {"sub": "alice"},
            {"sub": None},
            {"role": "x"},
        ]
        async with serving() as (url, _), ClientSession() as http:
            for claims in listeners:
                bearer = {"Authorization": f"Bearer {token(time.time(), **claims)}"}
                for path, body in (
                    ("/publish/", {"items": [{"channel": "a", "json-object": 1}]}),
                    ("/kick/", {"user": "x"}),
                ):
                    async with http.post(f"{url}/realm/{REALM}{path}", json=body, headers=bearer) as response:
                        assert (response.status, path) == (401, path), claims
            bearer = {"Authorization": f"Bearer {token(time.time(), iat=int(time.time()), jti='1')}"}
            body = {"items": [{"channel": "a", "json-object": 1}]}
            async with http.post(f"{url}/publish/", json=body, headers=bearer) as response:
                assert response.status == 200

    @pytest.mark.parametrize(
        "path",
        [
            f"/realm/{REALM}/presence/?channel=team/a",
            f"/realm/{REALM}/position/?channel=team/a",
            *(f"{base}/subscriptions/{what}/" for base in ("", f"/realm/{REALM}") for what in ("items", "stream")),
        ],
    )
    async def test_listener_s_token_does_not_open_what_servers_ask(self, path: str, tmp_path: Path) -> None:
        """Who is in a channel, where it is and which channels anybody hears is for who holds the key."""
        rules = tmp_path / "rules.toml"
        rules.write_text('[[rule]]\nchannels = ["team/*"]\nsubscribe = "open"\npresence = "token"\n', encoding="utf-8")
        listeners: list[dict[str, Any]] = [{"sub": "alice"}, {"sub": None}, {"sub": "alice", "channels": ["team/a"]}]
        async with serving(rules=rules) as (url, _), ClientSession() as http:
            for claims in listeners:
                bearer = {"Authorization": f"Bearer {token(time.time(), **claims)}"}
                async with http.get(url + path, headers=bearer) as response:
                    assert response.status == 401, claims
                    assert "alice" not in await response.text()
            async with http.get(url + path, headers={"Authorization": f"Bearer {token(time.time())}"}) as response:
                assert response.status == 200

    async def test_name_alone_does_not_open_who_is_in_a_channel(self, tmp_path: Path) -> None:
        rules = tmp_path / "rules.toml"
        rules.write_text('[[rule]]\nchannels = ["team/*"]\nsubscribe = "open"\npresence = "token"\n', encoding="utf-8")
        async with serving(rules=rules) as (url, _), ClientSession() as http:
            for claims, status in (({"sub": "alice"}, 403), ({"sub": "alice", "channels": ["team/a"]}, 200)):
                shown = token(time.time(), **claims)
                async with http.get(f"{url}/presence", params={"channel": "team/a", "token": shown}) as response:
                    assert response.status == status
                async with http.ws_connect(f"{url}/ws?channel=presence/team/a&token={shown}") as socket:
                    assert ("subscribed" in await socket.receive_json()) is (status == 200)

    async def test_session_that_hears_by_token_ends_when_it_expires(self, rules: Path) -> None:
        async with serving(rules=rules, token_leeway=0.0) as (url, hub), ClientSession() as http:
            shown = token(time.time(), channels=["team/a"], life=2)
            async with http.ws_connect(f"{url}/ws?channel=team/a&token={shown}") as socket:
                await socket.receive_json()
                assert hub.node.registry.sessions
                await socket.receive()
                assert socket.closed
            assert not hub.node.registry.sessions

    async def test_cookie_of_a_visitor_is_no_key_for_other_sites_pages(self, rules: Path) -> None:
        """A page runs a script from the hub, or opens a WebSocket where any origin may: its browser adds the cookie."""
        changes: dict[str, Any] = {"rules": rules, "origins": ("*", "https://friend.example")}
        async with serving(**changes) as (url, hub), ClientSession() as http:
            hub.door.identify = lambda cookie: "7"
            me = {"Cookie": "session=7"}
            shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}
            query = {"message": json.dumps([shake]), "jsonp": "f"}
            async with http.get(f"{url}/bayeux", params=query, headers=me) as response:
                client = json.loads((await response.text())[6:-2])[0]["clientId"]
            session = hub.node.registry.get(client)
            assert session is not None
            assert session.user is None
            for origin, visitor in (("https://evil.example", None), ("https://friend.example", "7"), (url, "7")):
                for path in ("/bayeux", "/ws?channel=open"):
                    async with http.ws_connect(url + path, headers=me | {"Origin": origin}) as socket:
                        await socket.send_json([shake])
                        await socket.receive_json()
                        newest = list(hub.node.registry.sessions.values())[-1]
                        assert newest.user == visitor

    async def test_site_s_visitor_is_told_from_the_cookie(self, rules: Path) -> None:
        async with serving(rules=rules) as (url, hub), ClientSession() as http:
            hub.door.identify = lambda cookie: "7" if "session=right" in cookie else None
            shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}
            for cookie, allowed in (("session=wrong", False), ("session=right", True)):
                async with http.post(f"{url}/bayeux", json=[shake], headers={"Cookie": cookie}) as response:
                    client = (await response.json())[0]["clientId"]
                subscribe = {"channel": "/meta/subscribe", "clientId": client, "subscription": "/me/7"}
                async with http.post(f"{url}/bayeux", json=[subscribe]) as response:
                    assert (await response.json())[0]["successful"] is allowed
                async with http.get(f"{url}/poll?channel=me/7", headers={"Cookie": cookie}) as response:
                    assert (response.status == 200) is allowed


class TestKicking:
    async def kick(self, http: ClientSession, url: str, body: Any, **headers: str) -> int:
        shown = {"Authorization": f"Bearer {tokens.sign(REALM, KEY, time.time())}"} | headers
        async with http.post(f"{url}/realm/{REALM}/kick/", json=body, headers=shown) as response:
            return response.status

    async def test_user_is_out_at_once_and_their_token_opens_nothing(self) -> None:
        async with serving() as (url, hub), ClientSession() as http:
            old, other = (token(time.time(), channels=["private-1"], sub=user) for user in ("alice", "bob"))
            stays = await http.ws_connect(f"{url}/ws?channel=private-1&token={other}")
            await stays.receive_json()
            async with http.ws_connect(f"{url}/ws?channel=private-1&token={old}") as socket:
                await socket.receive_json()
                with Stopwatch() as watch:
                    assert await self.kick(http, url, {"user": "alice"}) == 200
                    await socket.receive()
                assert socket.closed
                assert watch.seconds < 1
            async with http.get(f"{url}/poll", params={"channel": "private-1", "token": old}) as response:
                assert (response.status, await response.text()) == (401, "401::Token revoked\n")
            new = token(time.time(), channels=["private-1"], sub="alice", iat=time.time() + 1)
            async with http.get(f"{url}/poll", params={"channel": "private-1", "token": new}) as response:
                assert response.status == 200
            await hub.publisher.publish("private-1", 1)
            assert (await stays.receive_json())["data"] == 1
            await stays.close()

    @pytest.mark.parametrize("way", ["bayeux", "ws"])
    async def test_other_token_does_not_take_a_session_away_from_its_user(self, way: str) -> None:
        """A subscription outlived its token, and a kick, where another token was shown meanwhile: anybody's did."""
        now = time.time()
        alice = token(now, channels=["private-7"], sub="alice")
        anybody = token(now, channels=["lobby"])
        bob = token(now, channels=["private-7", "lobby"], sub="bob")
        fewer = token(now, channels=["lobby"], sub="alice")
        more = token(now, channels=["private-*", "lobby"], sub="alice")
        async with serving() as (url, hub), ClientSession() as http:
            say, close = await (bayeux_talk if way == "bayeux" else plain_talk)(http, url)
            assert await say("private-7", alice) is None
            for shown, error in (
                (anybody, "401::Token is of another user"),
                (bob, "401::Token is of another user"),
                (fewer, "403:/private-7:"),
            ):
                assert (await say("lobby", shown) or "").startswith(error)
            assert await say("lobby", more) is None
            assert await self.kick(http, url, {"user": "alice"}) == 200
            async with asyncio.timeout(10):
                while hub.node.registry.sessions:
                    await asyncio.sleep(0.01)
            await close()

    @pytest.mark.parametrize("way", ["bayeux", "ws"])
    async def test_user_whose_token_has_expired_is_sent_away_too(self, way: str) -> None:
        """A session stays on open channels when its token expires. The hub forgot whose it was, so a kick missed it."""
        async with serving() as (url, hub), ClientSession() as http:
            say, close = await (bayeux_talk if way == "bayeux" else plain_talk)(http, url)
            assert await say("open", token(time.time(), channels=[], sub="carol")) is None
            [session] = hub.node.registry.sessions.values()
            set_wall(hub.node.bayeux, lambda: time.time() + 3600)
            hub.node.deadlines._check_grant(session)
            assert (session.grant, session.ended) == (None, False)
            if way == "ws":
                # A token that names nobody doesn't hide the name either.
                assert await say("lobby", token(time.time() + 3600, channels=["lobby"])) is None
            assert await self.kick(http, url, {"user": "carol"}) == 200
            async with asyncio.timeout(10):
                while hub.node.registry.sessions:
                    await asyncio.sleep(0.01)
            assert session.ended
            await close()

    async def test_session_of_a_kicked_user_with_an_expired_token_is_not_taken_over(self, redis_url: str) -> None:
        """The record of such a session did not name the user, so the next worker went on with it."""
        now = time.time()
        rules = [new_rules(timeout=5.0) for _ in range(2)]
        for each in rules:
            set_access(each, new_access())
            set_wall(each, time.time)
        async with fleet(redis_url, 2, rules=rules) as (one, two):
            client = await start(one, "/open", ext={"token": token(now, channels=[], sub="carol")})
            await say(one, connect(client))
            set_wall(one.bayeux, lambda: time.time() + 3600)
            session = one.registry.get(client)
            assert session is not None
            one.deadlines._check_grant(session)
            assert session.grant is None
            await say(one, connect(client))
            await halt(one)
            await two.kick("carol")
            async with asyncio.timeout(60):
                while not two.bayeux.access.is_revoked("carol", now):
                    await asyncio.sleep(0.01)
            assert not (await say(two, connect(client)))[-1]["successful"]
            assert not two.registry.sessions

    async def test_user_of_many_sessions_hears_nothing_while_they_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last of ten thousand ended a tenth of a second after the first, and heard what came meanwhile."""
        pieces: list[Callable[[], bool]] = []
        now = time.time()
        async with serving() as (_, hub):
            node = hub.node
            wires = [Wire() for _ in range(50)]
            for wire in wires:
                node.attach(wire)
                grant = node.bayeux.access.grant(token(now, channels=["private-1"], sub="alice"), now)
                await node.subscribe(node.open_session(wire, Who(grant=grant)), {"/private-1": None})
            await node.publish([Draft("/private-1", b"1")])
            await node.delivered()
            assert [wire.data() for wire in wires] == [[1]] * 50
            monkeypatch.setattr("hub.turns.Turns.begin", lambda _, work: pieces.append(work))
            await node.kick("alice")
            await node.publish([Draft("/private-1", b"2")])
            await node.delivered()
            assert 0 < len(node.registry.sessions) < 50
            assert [wire.data() for wire in wires] == [[]] * 50
            while pieces[0]():
                pass
            assert not node.registry.sessions
            assert [wire.data() for wire in wires] == [[]] * 50
            assert all(wire.left is not None for wire in wires)

    async def test_session_of_a_worker_that_died_does_not_come_back_for_who_was_sent_away(self, redis_url: str) -> None:
        """Its record was continued as if it had been allowed now: a kicked user, or one with an old token, heard on."""
        now = time.time()
        shown = {
            "kicked": token(now, channels=["private-1"], sub="alice"),
            "expired": token(now, channels=["private-1"], life=30, sub="bob"),
            "stays": token(now, channels=["private-1"], sub="carol"),
        }
        rules = [new_rules(timeout=5.0) for _ in range(3)]
        for each in rules:
            set_access(each, new_access())
            set_wall(each, time.time)
        async with fleet(redis_url, 3, rules=rules) as (one, two, three):
            ids = {name: await start(one, "/private-1", ext={"token": each}) for name, each in shown.items()}
            for client in ids.values():
                await say(one, connect(client))
            await halt(one)
            await two.kick("alice")
            async with asyncio.timeout(60):
                while not three.bayeux.access.is_revoked("alice", now):
                    await asyncio.sleep(0.01)
            set_wall(three.bayeux, lambda: time.time() + 60)
            for name, client in ids.items():
                reply = (await say(three, connect(client)))[-1]
                assert reply["successful"] is (name == "stays"), (name, reply)
            assert list(three.registry.sessions) == [ids["stays"]]
            # Nor at any other worker.
            assert not (await say(two, connect(ids["kicked"])))[-1]["successful"]

    async def test_worker_that_missed_a_kick_asks_for_it(self, redis_url: str) -> None:
        """A worker that had stood still while the log was trimmed learned whose tokens to refuse, and left their
        sessions as they were: who listens at `/ws` is only told that something was lost, and heard on."""
        rules = [new_rules(timeout=5.0) for _ in range(2)]
        for each in rules:
            set_access(each, new_access())
            set_wall(each, time.time)
        now = time.time()
        async with fleet(redis_url, 2, rules=rules) as (one, two):
            sessions = {}
            for user in ("alice", "bob"):
                grant = two.bayeux.access.grant(token(now, channels=["private-1"], sub=user, iat=now), now)
                sessions[user] = two.open_session(Wire(), Who(grant=grant))
                await two.subscribe(sessions[user], {"/private-1": None})
            two.take_from(KICK, lambda _: None)
            await one.kick("alice")
            history, two.broker.history = two.broker.history, AsyncMock(side_effect=BrokerUnavailable)
            two.lost(None)
            await asyncio.sleep(0)
            # Nor does it give up where the broker can't say.
            two.broker.history = history
            async with asyncio.timeout(30):
                while not sessions["alice"].ended:
                    await asyncio.sleep(0.01)
            assert not sessions["bob"].ended

    @pytest.mark.parametrize("meanwhile", ["expired", "kicked"])
    async def test_who_was_judged_before_others_had_their_turn_is_judged_again(self, meanwhile: str) -> None:
        """Many channels are subscribed to in pieces. A token that expired between the question and the subscription was
        looked at no more, and its session heard for as long as it liked."""
        now = time.time()
        async with serving() as (_, hub):
            node = hub.node
            grant = node.bayeux.access.grant(token(now, channels=["private-*"], sub="alice", iat=now), now)
            session = node.open_session(Wire(), Who(grant=grant))
            if meanwhile == "expired":
                session.grant = None
            else:
                node.bayeux.access.revoke("alice", now + 1)
            await node.subscribe(session, {f"/private-{number}": None for number in range(100)})
            assert session.ended
            assert not node.registry.audiences

    async def test_worker_that_starts_later_knows_who_was_sent_away(self, redis_url: str) -> None:
        shown = token(time.time(), channels=["private-1"], sub="alice")
        async with serving(redis_url=redis_url) as (one, _), ClientSession() as http:
            assert await self.kick(http, one, {"user": "alice"}) == 200
            async with serving(redis_url=redis_url) as (later, _):
                async with http.get(f"{later}/poll", params={"channel": "private-1", "token": shown}) as response:
                    assert (response.status, await response.text()) == (401, "401::Token revoked\n")

    async def test_every_worker_hears_of_it(self, redis_url: str) -> None:
        shown = token(time.time(), channels=["private-1"], sub="alice")
        async with serving(redis_url=redis_url) as (one, _), serving(redis_url=redis_url) as (other, _):
            async with (
                ClientSession() as http,
                http.ws_connect(f"{other}/ws?channel=private-1&token={shown}") as socket,
            ):
                await socket.receive_json()
                assert await self.kick(http, one, {"user": "alice"}) == 200
                with Stopwatch() as watch:
                    await socket.receive()
                assert socket.closed
                assert watch.seconds < 5

    @pytest.mark.parametrize(
        "user", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "a\u00a0b", "\U0001f468\u200d\U0001f469", "a\nb"]
    )
    async def test_whoever_a_token_can_name_can_be_sent_away(self, user: str) -> None:
        """A name with a joiner in it, as Persian words and emoji of families have, or a non-breaking space, had
        sessions, and could not be kicked: 400.
        """
        async with serving() as (url, _), ClientSession() as http:
            shown = token(time.time(), channels=["private-1"], sub=user)
            async with http.ws_connect(f"{url}/ws?channel=private-1&token={shown}") as socket:
                await socket.receive_json()
                assert await self.kick(http, url, {"user": user}) == 200
                await socket.receive()
                assert socket.closed
            async with http.get(f"{url}/poll", params={"channel": "private-1", "token": shown}) as response:
                assert response.status == 401

    @pytest.mark.parametrize("body", [None, 7, {}, {"user": 7}, {"user": ""}, {"user": "x" * 5000}, {"user": "\ud800"}])
    async def test_bad_request_is_refused(self, body: Any) -> None:
        async with serving() as (url, _), ClientSession() as http:
            assert await self.kick(http, url, body) in (400, 413)

    async def test_only_who_holds_the_key_kicks(self) -> None:
        listener = f"Bearer {token(time.time(), channels=['a'])}"
        async with serving() as (url, _), ClientSession() as http:
            assert await self.kick(http, url, {"user": "alice"}, Authorization=listener) == 401


def test_check_explains_which_rule_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(RULES, encoding="utf-8")
    monkeypatch.setenv("HUB_RULES", str(path))
    assert main(["check", "channel", "team/a"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("subscribe  no   needs a token")
    assert f"HUB_RULES {path} rule 2: team/**, staff-*" in lines[1]
    assert main(["check", "channel", "comments-42"]) == 0
    assert "subscribe  yes  open to anyone   [default: **]" in capsys.readouterr().out
    assert main(["check", "channel", "**"]) == 0
    assert "what takes token in [default: private-*" in capsys.readouterr().out
    assert main(["check", "chanel", "x"]) == 2
    path.write_text("[[rule", encoding="utf-8")
    assert main(["check", "channel", "x"]) == 2
    assert "not TOML" in capsys.readouterr().err


def test_check_reads_a_token_where_nobody_else_sees_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Arguments are everybody's on the machine to read."""
    monkeypatch.setenv("FANOUT_REALM", REALM)
    monkeypatch.setenv("FANOUT_KEY", base64.b64encode(KEY).decode())
    monkeypatch.setattr("sys.stdin", io.StringIO(token(time.time(), channels=["private-1"]) + "\n"))
    assert main(["check", "channel", "private-1", "--token", "-"]) == 0
    assert re.search(r"^subscribe +yes ", capsys.readouterr().out, re.MULTILINE)
    assert main(["check", "channel", "private-1"]) == 0
    assert re.search(r"^subscribe +no ", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--token", "-"], "--token: for which channel"),
        (["--token", ""], "--token: for which channel"),
        (["channel", "--token", "-"], "check what"),
        (["channel", "a", "--url", "http://localhost:1"], "asks no running hub"),
    ],
)
def test_check_refuses_options_that_it_would_ignore(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`check --token -` without a channel ignored the token, and seemed to have found it good."""
    monkeypatch.setattr("sys.stdin", io.StringIO("x\n"))
    assert main(["check", *arguments]) == 2
    assert words in capsys.readouterr().err


@given(
    st.lists(st.sampled_from(["a", "ab", "*", "a*", "*b", "a*b*", "*a*", "**"]), min_size=1, max_size=4),
    st.lists(st.sampled_from(["a", "ab", "b", "aab", "abab", "", "a.b"]), min_size=1, max_size=5),
)
def test_names_are_compared_with_a_token_s_patterns_as_rules_do_it(rule: list[str], name: list[str]) -> None:
    """A rule's patterns are one expression, made once; to make one of each of a token's hundred took 4 ms for each name
    that was asked for, as soon as 11 such tokens came in turn, and 15 where the patterns had many stars.
    """
    if "**" in rule[:-1]:
        rule = [each for each in rule if each != "**"] or ["a"]
    pattern, asked = "/" + "/".join(rule), "/" + "/".join(name)
    [entry] = parse_rules(f'[[rule]]\nchannels = ["{pattern}"]\npublish = "open"\n')
    by_rule = Access((), [entry]).decide("publish", asked).allowed
    assert covers(pattern, asked) is by_rule
    grant = Grant((), (pattern,), NOW)
    by_token = Access((), parse_rules('[[rule]]\nchannels = ["**"]\npublish = "token"\n'))
    assert by_token.decide("publish", asked, Who(None, grant)).allowed is by_rule


@pytest.mark.parametrize(
    "made", [float("-inf"), -(10**2500), -1e15, 10**2500, float("nan"), float("inf"), -1e300, "x", [1], {}, None, False]
)
def test_record_of_a_session_can_hold_all_that_its_token_says(made: object) -> None:
    """With an `iat` of -1e400 or of 2,500 digits the session's record could not be written to Redis: its client was
    told that it was subscribed, and no other worker knew."""
    access = Access((), (), realm=REALM, keys=[KEY])
    grant = access.grant(tokens.sign(REALM, KEY, NOW, sub="alice", channels=["a"], iat=made), NOW)
    assert grant.made is None
    session = Session("c" * 40, 1.0)
    session.authorize(grant)
    record = SessionRecord.of(session).encode()
    assert SessionRecord.parse(record).session("c" * 40, 1.0).grant == grant
    access.revoke("alice", NOW)
    assert access.is_revoked(grant.user, grant.made)


def test_empty_sub_counts_as_none() -> None:
    """Its sessions could not be kicked, as a kick of "" is refused."""
    access = Access((), (), realm=REALM, keys=[KEY])
    assert access.grant(tokens.sign(REALM, KEY, NOW, sub="", channels=["a"]), NOW).user is None
    for user in (0, False, [], {}):
        with pytest.raises(BadToken, match="sub"):
            access.grant(tokens.sign(REALM, KEY, NOW, sub=user, channels=["a"]), NOW)


@pytest.mark.parametrize("made", [NOW * 1000, NOW + 31, 1e300, float("nan"), float("inf"), True, str(NOW)])
def test_token_that_was_made_later_than_now_does_not_outlive_a_kick(made: object) -> None:
    """A site that wrote `iat` in milliseconds could send nobody away: such a token was newer than any kick."""
    access = Access((), (), realm=REALM, keys=[KEY], leeway=30.0)
    shown = tokens.sign(REALM, KEY, NOW, sub="alice", channels=["a"], iat=made)
    assert access.grant(shown, NOW).made is None
    access.revoke("alice", NOW)
    with pytest.raises(BadToken, match="revoked"):
        access.grant(shown, NOW)
    # A clock that is a little ahead is none of its user's making.
    assert access.grant(tokens.sign(REALM, KEY, NOW, sub="alice", iat=NOW + 30), NOW).made == NOW + 30
