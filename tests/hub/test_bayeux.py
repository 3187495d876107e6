"""The rules, as conversations between a client and the hub. No loop, no socket."""

from __future__ import annotations

import time

import pytest
from conversation import TYPES, Talk, new_rules

from hub.bayeux.names import CONNECTION_TYPES, WEBSOCKET
from hub.bayeux.rules import Bayeux


@pytest.fixture
def rules() -> Bayeux:
    return new_rules()


@pytest.fixture
def alice(rules: Bayeux) -> Talk:
    talk = Talk(rules)
    talk.handshake()
    return talk


class TestHandshake:
    def test_reply_has_what_the_specification_demands(self, rules: Bayeux) -> None:
        reply = Talk(rules).handshake(id="1")
        assert reply == {
            "channel": "/meta/handshake",
            "successful": True,
            "id": "1",
            "version": "1.0",
            "clientId": "client1",
            "ext": {"replay": True},
            "supportedConnectionTypes": CONNECTION_TYPES,
            "advice": {"reconnect": "retry", "interval": 0, "timeout": 45000},
        }

    def test_client_id_of_the_client_is_never_adopted(self, rules: Bayeux) -> None:
        assert Talk(rules).handshake(clientId="mine")["clientId"] == "client1"
        assert rules.registry.get("mine") is None

    @pytest.mark.parametrize("worst", ["9" * 1_000_000, " " * 1_000_000 + "1", [1] * 45_000, {"a": [1] * 45_000}])
    @pytest.mark.parametrize(
        ("channel", "field", "listed"),
        [
            ("handshake", "version", False),
            ("handshake", "minimumVersion", False),
            ("handshake", "supportedConnectionTypes", False),
            ("handshake", "supportedConnectionTypes", True),
            ("connect", "connectionType", False),
            ("connect", "connectionType", True),
        ],
    )
    def test_no_field_takes_long_whatever_is_in_it(
        self, alice: Talk, channel: str, field: str, listed: bool, worst: object
    ) -> None:
        """A megabyte of digits was read as a number, and a list of 40,000 written out for an error that shows 20 or 40
        characters, or gone through for a type of connection: 10 to 20 ms a message, each time.
        """
        asked = {"version": "1.0", "supportedConnectionTypes": TYPES, field: [worst] if listed else worst}
        times = []
        for _ in range(5):
            began = time.thread_time()
            alice.say(alice.meta(channel, **asked))
            times.append(time.thread_time() - began)
        assert min(times) < 0.002

    @pytest.mark.parametrize("version", ["1.0", 1, 1.0, "1.1", "2.0"])
    def test_versions_from_one_on_are_accepted(self, rules: Bayeux, version: object) -> None:
        assert Talk(rules).handshake(version=version)["successful"]

    @pytest.mark.parametrize(
        ("fields", "error"),
        [
            ({"version": None}, "300:None:Version mismatch"),
            ({"version": "abc"}, "300:abc:Version mismatch"),
            ({"version": "2.0", "minimumVersion": "2.0"}, "300:2.0:Version mismatch"),
            ({"supportedConnectionTypes": None}, "400:supportedConnectionTypes:Missing field"),
            ({"supportedConnectionTypes": 7}, "400:supportedConnectionTypes:Not a list"),
            ({"supportedConnectionTypes": ["iframe"]}, "301:iframe:Connection types not supported"),
            ({"supportedConnectionTypes": []}, "301::Connection types not supported"),
        ],
    )
    def test_refusal_names_the_fault_and_advises_to_give_up(
        self, rules: Bayeux, fields: dict[str, object], error: str
    ) -> None:
        """Advice "handshake" would send Faye's client into a loop without pause (its issue 542)."""
        reply = Talk(rules).handshake(**fields)
        assert (reply["successful"], reply["error"]) == (False, error)
        assert reply["advice"]["reconnect"] == "none"
        assert not rules.registry.sessions

    def test_being_too_many_is_a_reason_to_try_again_later(self) -> None:
        rules = new_rules(max_sessions=1)
        Talk(rules).handshake()
        reply = Talk(rules).handshake()
        assert reply["error"].startswith("429:")
        assert reply["advice"]["reconnect"] == "retry"
        assert reply["advice"]["interval"] > 0

    def test_moved_session_begins_with_a_tenth_of_a_second_of_publishes(self) -> None:
        """Each worker gave it another full allowance."""
        rules = new_rules(publish_rate=100.0)
        for fence, most in ((1, 200), (2, 10)):
            talk = Talk(rules)
            talk.handshake()
            session = rules.registry.get(talk.client_id)
            assert session is not None
            session.fence = fence
            replies = [talk.reply({"channel": "/a", "data": 1, "clientId": talk.client_id}) for _ in range(201)]
            assert sum(reply["successful"] for reply in replies) == most

    def test_one_type_may_come_as_a_string(self, rules: Bayeux) -> None:
        assert Talk(rules).handshake(supportedConnectionTypes="websocket")["successful"]

    def test_other_messages_of_its_request_are_answered_but_not_processed(self, rules: Bayeux) -> None:
        shake = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": TYPES}
        outcome = Talk(rules).say(shake, {"channel": "/chat/a", "data": 1, "id": "2"}, dict(shake))
        assert [reply["successful"] for reply in outcome.replies] == [True, False, False]
        assert outcome.replies[1]["error"] == "400::Not allowed with handshake"
        assert len(rules.registry.sessions) == 1
        assert not outcome.publishes


class TestConnect:
    def test_first_is_answered_at_once_with_advice(self, alice: Talk) -> None:
        outcome = alice.connect(id="2")
        assert outcome.hold is None
        assert outcome.replies[0]["advice"]["timeout"] == 45000

    def test_second_is_held(self, alice: Talk) -> None:
        alice.connect()
        outcome = alice.connect(id="3")
        assert outcome.hold is not None
        assert outcome.hold.deadline == 45.0
        assert outcome.replies == []

    @pytest.mark.parametrize(
        ("timeout", "deadline"), [(1500, 1.5), (10**9, 45.0), (-1, 45.0), ("x", 45.0), (None, 45.0), (True, 45.0)]
    )
    def test_client_may_ask_for_a_shorter_hold(self, alice: Talk, timeout: object, deadline: float) -> None:
        alice.connect()
        hold = alice.connect(advice={"timeout": timeout}).hold
        assert hold is not None
        assert hold.deadline == deadline

    def test_timeout_zero_is_answered_at_once(self, alice: Talk) -> None:
        alice.connect()
        assert alice.connect(advice={"timeout": 0}).hold is None

    def test_newer_connect_releases_the_older(self, alice: Talk) -> None:
        """Faye 1.4.3 leaves the first response hanging for ever."""
        alice.connect()
        first = alice.connect(id="3").hold
        outcome = alice.connect(id="4")
        assert outcome.released == [first]
        assert first is not None
        answer = alice.rules.answer(first)
        assert (answer["id"], answer["successful"]) == ("3", False)
        assert answer["advice"]["interval"] > 0, "two pages sharing a session must not take turns without pause"
        assert outcome.hold is not None

    def test_beside_other_messages_of_a_poll_is_not_held(self, alice: Talk) -> None:
        alice.connect()
        connect = alice.meta("connect", connectionType="long-polling")
        outcome = alice.say(connect, alice.meta("subscribe", subscription="/a"))
        assert outcome.hold is None
        assert len(outcome.replies) == 2

    def test_beside_other_messages_of_a_websocket_is_held_alone(self, rules: Bayeux) -> None:
        bob = Talk(rules, WEBSOCKET)
        bob.handshake()
        bob.connect()
        connect = bob.meta("connect", connectionType="websocket")
        outcome = bob.say(connect, bob.meta("subscribe", subscription="/a"))
        assert outcome.hold is not None
        assert [reply["channel"] for reply in outcome.replies] == ["/meta/subscribe"]

    @pytest.mark.parametrize("client_id", ["nobody", "__proto__", 7, ["client1"], {"a": 1}])
    def test_unknown_client_is_told_to_handshake(self, rules: Bayeux, client_id: object) -> None:
        reply = Talk(rules).reply({"channel": "/meta/connect", "clientId": client_id, "connectionType": "websocket"})
        assert reply["error"].startswith("402:")
        assert reply["advice"]["reconnect"] == "handshake"
        assert not rules.registry.sessions

    def test_missing_client_id_is_told_to_handshake(self, rules: Bayeux) -> None:
        reply = Talk(rules).reply({"channel": "/meta/connect", "connectionType": "websocket"})
        assert reply["error"] == "401::No client id"
        assert reply["advice"]["reconnect"] == "handshake"

    @pytest.mark.parametrize("fields", [{}, {"connectionType": "smoke"}])
    def test_bad_connection_type_keeps_the_session(self, alice: Talk, fields: dict[str, object]) -> None:
        reply = alice.reply(alice.meta("connect", **fields))
        assert not reply["successful"]
        assert reply["advice"]["reconnect"] == "retry"
        assert alice.session

    def test_session_moves_to_a_newer_websocket(self, rules: Bayeux) -> None:
        bob = Talk(rules, WEBSOCKET)
        bob.handshake()
        bob.connect()
        old, again = bob.wire, Talk(rules, WEBSOCKET)
        again.client_id = bob.client_id
        outcome = again.connect()
        assert outcome.replaced == (old,)
        assert bob.session.link is again.wire
        assert old.session is None


class TestSubscribe:
    @pytest.mark.parametrize("pattern", ["/a", "/a/b", "/a/*", "/a/**", "/*", "/**", "/comments-17", "/-_!~()$@"])
    def test_pattern_is_accepted(self, alice: Talk, pattern: str) -> None:
        reply = alice.subscribe(pattern)
        assert (reply["successful"], reply["subscription"]) == (True, pattern)
        assert alice.session.patterns == [pattern]

    @pytest.mark.parametrize(
        "pattern",
        ["", "/", "a", "//", "/a/", "/a//b", "/foo/*/bar", "/foo*", "/foo/***", "/a.b", "/a b", "/é", "/a:b", "/\0",
         7, None, ["/x", ["/y"]], {"a": 1}, "/" + "x" * 255, "/x" * 33],
    )  # fmt: skip
    def test_bad_pattern_is_refused_and_changes_nothing(self, alice: Talk, pattern: object) -> None:
        reply = alice.reply(alice.meta("subscribe", subscription=pattern))
        assert reply["error"][:3] in {"405", "400"}
        assert "advice" not in reply
        assert alice.session.patterns == []

    def test_array_is_all_or_nothing(self, alice: Talk) -> None:
        assert not alice.subscribe("/a", "/b/", "/c")["successful"]
        assert alice.session.patterns == []
        assert alice.subscribe("/a", "/b")["subscription"] == ["/a", "/b"]
        assert alice.session.patterns == ["/a", "/b"]

    def test_empty_array_is_refused(self, alice: Talk) -> None:
        assert alice.reply(alice.meta("subscribe", subscription=[]))["error"] == "400:subscription:Empty list"

    @pytest.mark.parametrize("pattern", ["/meta/**", "/meta/connect", "/meta/*"])
    def test_meta_channels_are_forbidden(self, alice: Talk, pattern: str) -> None:
        assert alice.subscribe(pattern)["error"] == f"403:{pattern}:Forbidden channel"

    def test_service_channel_succeeds_and_is_not_recorded(self, alice: Talk) -> None:
        assert alice.subscribe("/service/x")["successful"]
        assert alice.session.patterns == []

    def test_again_is_idempotent(self, alice: Talk) -> None:
        """Faye 1.4.3 subscribes again for every callback."""
        alice.subscribe("/a")
        assert alice.subscribe("/a")["successful"]
        assert alice.session.patterns == ["/a"]

    def test_unknown_client_gets_no_advice(self, rules: Bayeux) -> None:
        """Faye obeys advice on any message and would handshake twice."""
        talk = Talk(rules)
        talk.client_id = "gone"
        reply = talk.subscribe("/a")
        assert reply["error"] == "402:gone:Unknown client"
        assert "advice" not in reply

    def test_too_many_are_refused(self) -> None:
        alice = Talk(new_rules(max_subscriptions=2))
        alice.handshake()
        assert not alice.subscribe("/a", "/b", "/c")["successful"]
        alice.subscribe("/a", "/b")
        assert alice.subscribe("/c")["error"] == "403:/c:Too many subscriptions"
        assert alice.subscribe("/a")["successful"], "what it has does not count again"

    def test_names_of_all_subscriptions_have_a_bound_that_those_with_many_meet_first(self) -> None:
        """A hundred thousand sessions of a thousand long names each were 50 GB in Redis."""
        rules = new_rules(subscription_bytes=128_000)
        error = "403:/n{}:Too many subscriptions at this server"
        many = Talk(rules)
        many.handshake()
        names = [f"/n{number:099}" for number in range(900)]
        for number in range(900):
            reply = many.subscribe(names[number])
            if not reply["successful"]:
                break
        # Half of all are anybody's.
        assert rules.registry.subscribed == 512 * 125
        assert reply["error"] == error.format(f"{number:099}")
        few = Talk(rules)
        few.handshake()
        assert few.subscribe("/few")["successful"]
        assert not few.subscribe(*names[:20])["successful"]
        # What it has already is no more of it.
        assert many.subscribe(names[0])["successful"]
        many.reply(many.meta("disconnect"))
        assert rules.registry.subscribed == 28
        assert few.subscribe(*names)["successful"]

    def test_position_asks_for_a_recovery(self, alice: Talk) -> None:
        outcome = alice.say(
            alice.meta("subscribe", subscription=["/a", "/b/*"], ext={"position": {"/a": "e1.7", "/b/*": "e1.1"}})
        )
        (recovery,) = outcome.recoveries
        assert (recovery.channel, str(recovery.since)) == ("/a", "e1.7")
        assert alice.session.sink is None

    @pytest.mark.parametrize("pattern", ["/a", "/never"])
    def test_unsubscribe_succeeds_whether_subscribed_or_not(self, alice: Talk, pattern: str) -> None:
        alice.subscribe("/a")
        assert alice.unsubscribe(pattern)["successful"]
        assert alice.session.patterns == ([] if pattern == "/a" else ["/a"])


class TestPublish:
    @pytest.mark.parametrize("data", [None, False, 0, "", {"a": [1]}, "\ud83d", 2**70])
    def test_any_json_value_is_published(self, alice: Talk, data: object) -> None:
        outcome = alice.say({"channel": "/chat/a", "clientId": alice.client_id, "data": data})
        ((draft, reply),) = outcome.publishes
        assert draft.channel == "/chat/a"
        assert reply["successful"]

    @pytest.mark.parametrize(
        ("message", "error"),
        [
            ({"channel": "/chat/a"}, "400:data:Missing field"),
            ({"channel": "/chat/*", "data": 1}, "405:/chat/*:Invalid channel"),
            ({"channel": "/chat/", "data": 1}, "405:/chat/:Invalid channel"),
            ({"channel": "chat", "data": 1}, "405:chat:Invalid channel"),
            ({"channel": 7, "data": 1}, "405::Invalid channel"),
            ({"data": 1}, "400:channel:Missing field"),
            ({"channel": "/meta/x", "data": 1}, "403:/meta/x:Forbidden channel"),
            ({"channel": "/meta/subscribe/x", "subscription": "/a"}, "403:/meta/subscribe/x:Forbidden channel"),
            ({"channel": "/meta", "data": 1}, "403:/meta:Forbidden channel"),
            ({"channel": "/service/x", "data": 1}, "404:/service/x:Unknown channel"),
            ({"channel": "/private/x", "data": 1}, "403:/private/x:Forbidden channel"),
            ({"channel": "/chat/a", "data": 1, "clientId": "x"}, "402:x:Unknown client"),
            ({"channel": "/chat/a", "data": 1, "clientId": None}, "401::No client id"),
            ({"channel": "/chat/a", "data": 1, "id": {}}, "405::Invalid message id"),
            ({"channel": "/chat/a", "data": 1, "id": "x" * 129}, "405::Invalid message id"),
        ],
    )
    def test_refusal_says_why(self, alice: Talk, message: dict[str, object], error: str) -> None:
        outcome = alice.say({"clientId": alice.client_id} | message)
        assert [reply["error"] for reply in outcome.replies] == [error]
        assert not outcome.publishes

    def test_nested_too_deeply_is_refused(self, alice: Talk) -> None:
        data: list[object] = []
        for _ in range(300):
            data = [data]
        assert alice.publish("/chat/a", data)["error"] == "400::Nested too deeply"

    def test_only_whitelisted_ext_is_forwarded(self, alice: Talk) -> None:
        ext = {"token": "secret", "binary": {"a": 1}}
        outcome = alice.say({"channel": "/chat/a", "clientId": alice.client_id, "data": 1, "ext": ext})
        assert outcome.publishes[0][0].ext == b'{"binary":{"a":1}}'

    def test_repeat_has_the_same_key(self, alice: Talk) -> None:
        message = {"channel": "/chat/a", "clientId": alice.client_id, "data": 1, "id": "9"}
        assert alice.say(message).publishes[0][0].key == alice.say(message).publishes[0][0].key

    def test_recently_ended_client_may_still_publish(self, alice: Talk) -> None:
        """After a handshake Faye sends waiting publishes again under the old id."""
        old = alice.client_id
        alice.rules.registry.end(alice.session)
        assert alice.reply({"channel": "/chat/a", "clientId": old, "data": 1})["successful"]


class TestDisconnect:
    def test_ends_the_session_and_answers_the_held_connect(self, alice: Talk) -> None:
        alice.connect()
        hold = alice.connect(id="3").hold
        outcome = alice.say(alice.meta("disconnect", id="4"))
        assert outcome.close
        assert outcome.released == [hold]
        assert hold is not None
        assert alice.rules.answer(hold)["advice"]["reconnect"] == "none"
        assert alice.rules.registry.get(alice.client_id) is None

    def test_messages_after_it_in_the_batch_are_refused(self, alice: Talk) -> None:
        outcome = alice.say(alice.meta("disconnect"), alice.meta("subscribe", subscription="/a"))
        assert [reply["successful"] for reply in outcome.replies] == [True, False]


class TestBatch:
    def test_elements_that_are_no_objects_get_an_error_each(self, rules: Bayeux) -> None:
        outcome = Talk(rules).say(1, "a", [], {"channel": "/meta/handshake"})
        assert [reply["error"] for reply in outcome.replies[:3]] == ["400::Message must be an object"] * 3
        assert len(outcome.replies) == 4

    def test_messages_over_the_limit_are_answered_one_by_one(self) -> None:
        alice = Talk(new_rules(max_messages=2))
        alice.handshake()
        outcome = alice.say(*[alice.meta("subscribe", subscription=f"/a{n}") for n in range(4)])
        assert [reply["successful"] for reply in outcome.replies] == [True, True, False, False]

    @pytest.mark.parametrize("number", [7, 0, "abc", ""])
    def test_id_is_echoed_as_it_came(self, alice: Talk, number: object) -> None:
        assert alice.reply(alice.meta("subscribe", subscription="/a", id=number))["id"] == number
