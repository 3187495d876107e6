"""Fanout publish bodies: every shape the libraries send, and what each mistake is told."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadMessage, InvalidChannel, ProtocolError, TooLarge, TooMany
from hub.protocol import fanout
from hub.protocol.publications import Draft


def body(*items: object) -> bytes:
    return json.dumps({"items": items}).encode()


def parse_one(item: object, **options: Any) -> fanout.Item:
    (only,) = fanout.parse(body(item), **options)
    return only


def data_of(item: object, **options: Any) -> Any:
    draft = parse_one(item, **options).draft
    assert draft is not None
    return json.loads(draft.data)


def reason(text: bytes, **options: Any) -> str:
    with pytest.raises(BadMessage) as caught:
        fanout.parse(text, **options)
    return caught.value.text


def test_the_flat_shape_is_what_pubcontrol_sends() -> None:
    item = parse_one({"json-object": {"new_comment": 17, "u": "é☃", "n": None}, "channel": "comments-17"})
    assert item.draft == Draft("/comments-17", '{"new_comment":17,"u":"é☃","n":null}'.encode())


def test_the_nested_shape_is_what_newer_grip_libraries_send() -> None:
    assert data_of({"channel": "a", "formats": {"json-object": [1]}}) == [1]


def test_the_oldest_shape_takes_its_channel_from_the_url() -> None:
    item = parse_one({"fpp": {"a": 1}}, channel="comments-17")
    assert item.draft == Draft("/comments-17", b'{"a":1}')


@pytest.mark.parametrize("value", [None, False, True, 0, 17, -1.5, "", "x", [], {}, {"a": [None]}, "\ufffd"])
@pytest.mark.parametrize("name", ["json-object", "fpp"])
def test_any_json_value_is_data(name: str, value: object) -> None:
    """Air Mozilla publishes True and numbers; the key counts, not the truth of the value."""
    assert data_of({"channel": "a", name: value}) == value


@pytest.mark.parametrize(
    ("formats", "text"),
    [
        ({"http-stream": {"content": "hello\n"}}, "hello\n"),
        ({"http-stream": {"content-bin": base64.b64encode("é".encode()).decode()}}, "é"),
        ({"http-stream": {"content-bin": "//4="}}, "//4="),
        ({"http-response": {"body": "body", "code": 200, "headers": {"A": "b"}}}, "body"),
        ({"http-response": {"body-bin": "YQ=="}}, "a"),
        ({"ws-message": {"content": "ws"}}, "ws"),
        ({"ws-message": {"type": "binary", "content-bin": "YQ=="}}, "a"),
        ({"http-response": {"body": "c"}, "http-stream": {"content": "b"}, "ws-message": {"content": "a"}}, "a"),
        ({"http-stream": {"action": "close"}, "http-response": {"body": "c"}}, "c"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_other_formats_are_delivered_as_their_text(formats: dict[str, Any], text: str, nested: bool) -> None:
    item = {"channel": "a", "formats": formats} if nested else {"channel": "a", **formats}
    assert data_of(item) == text


def test_json_object_is_preferred_to_text() -> None:
    assert data_of({"channel": "a", "http-stream": {"content": "x"}, "json-object": 1}) == 1


@pytest.mark.parametrize(
    ("formats", "action"),
    [
        ({"http-stream": {"action": "close"}}, "close"),
        ({"http-stream": {"action": "close", "content": ""}}, "close"),
        ({"ws-message": {"action": "close", "code": 1001, "reason": "bye"}}, "close"),
        ({"ws-message": {"action": "refresh"}}, "refresh"),
        ({"ws-message": {"type": "ping", "content": ""}}, "send"),
        ({"http-response": {"body-patch": []}}, "send"),
    ],
)
def test_actions_for_held_connections_are_accepted_and_deliver_nothing(formats: dict[str, Any], action: str) -> None:
    item = parse_one({"channel": "a", **formats})
    assert (item.action, item.draft) == (action, None)


def test_a_hint_is_delivered_as_null_and_marked() -> None:
    assert parse_one({"channel": "a", "http-stream": {"action": "hint"}}).draft == Draft("/a", b"null", hint=True)
    assert parse_one({"channel": "a", "json-object": 1, "hint": True}).draft == Draft("/a", b"1", hint=True)


def test_ids_make_the_key_within_their_channel() -> None:
    one, other = fanout.parse(
        body({"channel": "a", "json-object": 1, "id": "1", "prev-id": "0"}, {"channel": "b", "json-object": 1, "id": 1})
    )
    assert (one.id, one.prev_id, other.id) == ("1", "0", "1")
    assert one.draft is not None
    assert other.draft is not None
    assert one.draft.key == fanout.key_of("/a", "1") != other.draft.key


@pytest.mark.parametrize("id", ["", None])
def test_an_empty_id_is_none(id: object) -> None:
    assert parse_one({"channel": "a", "json-object": 1, "id": id}).id is None


@pytest.mark.parametrize(
    ("name", "channel"),
    [("comments-17", "/comments-17"), ("/leading", "/leading"), ("a/b", "/a/b"), ("a.b c", "/a.b c"), ("é", "/é")],
)
def test_a_fanout_channel_is_the_bayeux_one_without_its_slash(name: str, channel: str) -> None:
    assert parse_one({"channel": name, "json-object": 1}).channel == channel


@pytest.mark.parametrize(
    "name", ["", "/", "meta/connect", "/meta/connect", "service/x", "x" * 256, "a\nb", "a/*", "a/**", "\ud83d"]
)
def test_a_bad_channel_is_refused(name: str) -> None:
    with pytest.raises(InvalidChannel):
        parse_one({"channel": name, "json-object": 1})


def test_no_items_are_fine() -> None:
    assert fanout.parse(b'{"items":[]}') == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "Body is not valid JSON."),
        (b"{", "Body is not valid JSON."),
        (b"\xff", "Body is not valid JSON."),
        (b'{"items":[{"channel":"a","json-object":NaN}]}', "Body is not valid JSON."),
        (b'{"items":[{"channel":"a","json-object":-Infinity}]}', "Body is not valid JSON."),
        (b"[" * 100_000, "Body is not valid JSON."),
        (b"[]", "Invalid format."),
        (b"7", "Invalid format."),
        (b"{}", "Invalid format: object does not contain 'items'"),
        (b'{"items":{}}', "Invalid format: object contains 'items' with wrong type"),
        (body(7), "Invalid format: publish item is not an object (item 0)"),
        (body({"json-object": 1}), "Invalid format: publish item object does not contain 'channel' (item 0)"),
        (
            body({"channel": 7, "json-object": 1}),
            "Invalid format: publish item object contains 'channel' with wrong type (item 0)",
        ),
        (body({"channel": "a"}), "Invalid format: no formats specified (item 0)"),
        (body({"channel": "a", "formats": {"xmpp": 1}}), "Invalid format: no formats specified (item 0)"),
        (
            body({"channel": "a", "formats": 1}),
            "Invalid format: publish item object contains 'formats' with wrong type (item 0)",
        ),
        (
            body({"channel": "a", "json-object": 1, "id": True}),
            "Invalid format: publish item object contains 'id' with wrong type (item 0)",
        ),
        (
            body({"channel": "a", "json-object": 1, "prev-id": []}),
            "Invalid format: publish item object contains 'prev-id' with wrong type (item 0)",
        ),
        (
            body({"channel": "a", "json-object": 1, "id": "x" * 256}),
            "Invalid format: 'id' is longer than 255 characters (item 0)",
        ),
        (
            body({"channel": "a", "json-object": 1, "id": "\ud83d"}),
            "Invalid format: 'id' has characters that can't be printed (item 0)",
        ),
        (
            body({"channel": "a", "http-stream": None}),
            "Invalid format: publish item object contains 'http-stream' with wrong type (item 0)",
        ),
        (
            body({"channel": "a", "http-stream": {}}),
            "Invalid format: http-stream object does not contain 'content' (item 0)",
        ),
        (
            body({"channel": "a", "http-stream": {"content-bin": "*"}}),
            "Invalid format: http-stream object contains 'content-bin' which is not base64 (item 0)",
        ),
        (
            body({"channel": "a", "ws-message": {"action": "dance"}}),
            "Invalid format: ws-message object contains 'action' with unknown value (item 0)",
        ),
        (
            body({"channel": "a", "ws-message": {"action": []}}),
            "Invalid format: ws-message object contains 'action' with unknown value (item 0)",
        ),
    ],
)
def test_each_mistake_is_named(text: bytes, expected: str) -> None:
    assert reason(text) == expected


def test_one_bad_item_refuses_the_whole_body_and_says_which() -> None:
    good = {"channel": "a", "json-object": 1}
    assert reason(body(good, good, {"channel": "a"})).endswith("(item 2)")


def test_an_item_may_repeat_the_url_channel_but_not_name_another() -> None:
    assert parse_one({"channel": "a", "fpp": 1}, channel="a").channel == "/a"
    assert "another channel" in reason(body({"channel": "b", "fpp": 1}), channel="a")


def test_bounds_of_size_depth_and_number_hold_exactly() -> None:
    limits = fanout.Limits(items=2, bytes=10, depth=3)
    assert data_of({"channel": "a", "json-object": "x" * 8}, limits=limits) == "x" * 8
    with pytest.raises(TooLarge):
        parse_one({"channel": "a", "json-object": "x" * 9}, limits=limits)
    assert data_of({"channel": "a", "json-object": [{"a": []}]}, limits=limits) == [{"a": []}]
    assert reason(body({"channel": "a", "json-object": [{"a": [{}]}]}), limits=limits) == "Nested more than 3 deep"
    with pytest.raises(TooMany):
        fanout.parse(body(*[{"channel": "a", "json-object": 1}] * 3), limits=limits)


names = st.from_regex(r"[A-Za-z0-9_-]{1,20}(/[a-z]{1,5}){0,3}", fullmatch=True)
ids = st.none() | st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(names, values, ids, st.booleans())
def test_what_is_encoded_is_what_is_parsed(name: str, value: object, id: str | None, hint: bool) -> None:
    data = json.dumps(value).encode()
    (item,) = fanout.parse(fanout.encode_body([fanout.encode(f"/{name}", data, id=id, hint=hint)]))
    assert item.draft is not None
    assert (item.channel, item.id, item.draft.hint, json.loads(item.draft.data)) == (f"/{name}", id, hint, value)


FIELDS = ["channel", "id", "prev-id", "formats", "meta", "hint", "json-object", "fpp", "ws-message", "http-stream"]
FIELDS += ["http-response", "content", "content-bin", "body", "body-bin", "body-patch", "action", "type", "code"]

odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["send", "close", "ping", "YQ=="]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(FIELDS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(st.lists(odd, max_size=4), st.none() | st.text(max_size=20))
def test_any_items_are_parsed_or_refused_with_a_declared_error(items: list[object], channel: str | None) -> None:
    try:
        for item in fanout.parse(body(*items), channel=channel):
            assert item.channel.startswith("/")
            if item.draft is not None:
                json.loads(item.draft.data)
    except ProtocolError as error:
        # Not an assertion about the error: anything but one line would break the answer.
        if "\n" in error.text:
            pytest.fail(f"more than one line: {error.text}")


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused_with_a_declared_error(text: bytes) -> None:
    try:
        fanout.parse(text)
    except ProtocolError:
        pass


def closed(formats: dict[str, Any], **fields: Any) -> Any:
    item = parse_one({"channel": "a", **formats, **fields})
    return None if item.close is None else (item.close.channel, json.loads(item.close.data))


def test_close_is_a_draft_of_its_own_for_each_format_that_has_it() -> None:
    goodbye = {"ws-message": {"action": "close", "code": 4001, "reason": "bye"}}
    assert closed(goodbye) == ("/meta/close/a", {"ws-message": [4001, "bye"]})
    assert closed({"ws-message": {"action": "close"}}) == ("/meta/close/a", {"ws-message": [1000, ""]})
    both = goodbye | {"http-stream": {"action": "close", "content": ""}}
    assert closed(both) == ("/meta/close/a", {"http-stream": [1000, ""], "ws-message": [4001, "bye"]})
    assert closed({"http-response": {"action": "close"}}) is None
    assert closed({"ws-message": {"content": "x"}}) is None


def test_an_item_may_deliver_and_then_close() -> None:
    item = parse_one({"channel": "a", "id": "1", "json-object": 1, "http-stream": {"action": "close"}})
    assert item.draft is not None
    assert item.close is not None
    assert fanout.drafts_of([item]) == [item.draft, item.close]
    assert item.draft.key == "/a 1" != item.close.key


def test_the_close_of_a_repeated_id_is_repeated_too() -> None:
    item = parse_one({"channel": "a", "id": "kick-2", "prev-id": "kick-1", "http-stream": {"action": "close"}})
    assert item.close is not None
    assert item.close.key == fanout.key_of("/a", "kick-2")


@pytest.mark.parametrize(
    ("close", "words"),
    [
        ({"code": 1005}, "ws-message object contains 'code' which no close frame may have"),
        ({"code": 0}, "ws-message object contains 'code' which no close frame may have"),
        ({"code": "1000"}, "ws-message object contains 'code' with wrong type"),
        ({"reason": 7}, "ws-message object contains 'reason' with wrong type"),
        ({"reason": "a\nb"}, "ws-message object contains 'reason' with wrong type"),
        ({"reason": "é" * 62}, "ws-message object contains 'reason' longer than 123 bytes"),
    ],
)
def test_a_close_that_cannot_be_sent_is_refused(close: dict[str, Any], words: str) -> None:
    assert reason(body({"channel": "a", "ws-message": {"action": "close", **close}})) == (
        f"Invalid format: {words} (item 0)"
    )


def test_no_seq_takes_away_the_order() -> None:
    item = {"channel": "a", "json-object": 1, "prev-id": "0"}
    assert parse_one(item).prev_id == "0"
    assert parse_one(item | {"no-seq": False}).prev_id == "0"
    assert parse_one(item | {"no-seq": True}).prev_id is None
    assert "'no-seq' with wrong type" in reason(body(item | {"no-seq": "true"}))
