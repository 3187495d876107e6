"""What may be declared, and what a change then tells."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadMessage, HubError, InvalidChannel
from hub.orm.declarations import MAX_BYTES, Change, Declaration, Notice, declared_on, notice, notices, subject_of, tells


def told(declaration: Declaration, row: object, change: Change | None = None, identity: object = 1) -> list[Notice]:
    return notices([declaration], row, change or Change("created"), model="comment", identity=identity)


def channels(declaration: Declaration, row: object, change: Change | None = None) -> list[str]:
    return [one.channel for one in told(declaration, row, change)]


def row(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**values)


@pytest.mark.parametrize("channel", ["", "/", "a\nb", "/meta/connect", "/service/x", "x" * 300])
def test_a_channel_that_can_not_be_is_refused_where_it_is_declared(channel: str) -> None:
    with pytest.raises(InvalidChannel):
        tells(channel)


@pytest.mark.parametrize("channel", ["x-{a.b}", "x-{a[0]}", "x-{a!r}", "x-{a:>9}", "x-{}", "x-{0}", "x-{"])
def test_only_the_name_of_an_attribute_goes_between_braces(channel: str) -> None:
    with pytest.raises(ValueError, match=r"brace|expected|Single"):
        tells(channel)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"data": {1, 2}}, BadMessage),
        ({"data": float("nan")}, BadMessage),
        ({"data": "x" * MAX_BYTES}, BadMessage),
        ({"data": 1, "fields": ["status"]}, ValueError),
        ({"on": ["saved"]}, ValueError),
        ({"on": []}, ValueError),
        ({"fields": "status"}, TypeError),
        ({"watch": "status"}, TypeError),
        ({"watch": ["a-b"]}, TypeError),
        ({"when": True}, TypeError),
        ({"max_bytes": 0}, ValueError),
        ({"max_bytes": 2**30}, ValueError),
    ],
)
def test_what_can_be_known_to_be_wrong_is_refused_where_it_is_declared(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        tells("x", **options)


def test_a_channel_is_a_string_or_a_function() -> None:
    with pytest.raises(TypeError):
        tells(17)  # type: ignore[arg-type]  # the mistake that is tested


def test_a_class_may_hold_one_declaration_or_several() -> None:
    one, two = tells("a"), tells("b")
    assert declared_on(type("M", (), {"__hints__": one})) == (one,)
    assert declared_on(type("M", (), {"__hints__": [one, two]})) == (one, two)
    assert declared_on(type("M", (), {})) == ()
    with pytest.raises(TypeError):
        declared_on(type("M", (), {"__hints__": ["a"]}))


def test_the_default_payload_says_only_that_something_changed() -> None:
    assert told(tells("comments-{event_id}"), row(event_id=17)) == [
        Notice("/comments-17", "true", hint=True, subject="comment:1")
    ]


def test_a_payload_may_be_a_function_of_the_row() -> None:
    assert told(tells("c", lambda comment: comment.id), row(id=3))[0].data == "3"


def test_a_function_names_one_channel_or_several_or_none() -> None:
    assert channels(tells(lambda _: "a"), row()) == ["/a"]
    assert channels(tells(lambda _: ["a", "/b", "a"]), row()) == ["/a", "/b"]
    assert channels(tells(lambda _: None), row()) == []


def test_a_channel_of_a_value_that_is_none_tells_nobody() -> None:
    assert channels(tells("comments-{event_id}"), row(event_id=None)) == []


def test_a_row_that_moves_tells_the_channel_it_left_too() -> None:
    moved = Change("changed", frozenset(["event_id"]), {"event_id": 17})
    assert channels(tells("comments-{event_id}"), row(event_id=18), moved) == ["/comments-18", "/comments-17"]
    assert channels(tells(lambda c: f"comments-{c.event_id}"), row(event_id=18), moved) == [
        "/comments-18",
        "/comments-17",
    ]


def test_only_the_kinds_asked_for_are_told() -> None:
    declaration = tells("c", on=["created", "deleted"])
    kinds = [kind for kind in ("created", "changed", "deleted", "related") if told(declaration, row(), Change(kind))]
    assert kinds == ["created", "deleted"]


def test_a_change_of_an_unwatched_field_is_not_told() -> None:
    declaration = tells("c", watch=["status"])
    assert not told(declaration, row(), Change("changed", frozenset(["name"])))
    assert told(declaration, row(), Change("changed", frozenset(["name", "status"])))
    assert told(declaration, row(), Change("created"))


def test_only_the_relations_asked_for_are_told() -> None:
    declaration = tells("c", relations=["tags"])
    assert told(declaration, row(), Change("related", relations=frozenset(["tags"])))
    assert not told(declaration, row(), Change("related", relations=frozenset(["speakers"])))


def test_when_has_the_last_word() -> None:
    declaration = tells("c", when=lambda row, change: row.public and change.kind == "created")
    assert told(declaration, row(public=True))
    assert not told(declaration, row(public=False))


def test_fields_sends_what_changed_of_what_is_listed_and_nothing_else() -> None:
    declaration = tells("event-{id}", fields=["status", "price", "name"])
    event = row(id=1, status="live", price=Decimal("9.90"), name="x", secret="hush")
    change = Change("changed", frozenset(["status", "price", "secret"]), {"status": "upcoming"})
    [one] = told(declaration, event, change)
    assert json.loads(one.data) == {"id": 1, "change": "changed", "fields": {"status": "live", "price": "9.90"}}
    assert not one.hint
    [created] = told(declaration, event)
    assert json.loads(created.data)["fields"] == {"status": "live", "price": "9.90", "name": "x"}
    [deleted] = told(declaration, event, Change("deleted"))
    assert json.loads(deleted.data)["fields"] == {}
    assert not told(declaration, event, Change("changed", frozenset(["secret"])))


def test_fields_beyond_the_size_are_left_to_be_fetched() -> None:
    [one] = told(tells("c", fields=["text"], max_bytes=100), row(text="x" * 100))
    assert json.loads(one.data) == {"id": 1, "change": "created", "fields": None}


@pytest.mark.parametrize("data", [lambda _: {1}, lambda _: "x" * MAX_BYTES, lambda _: float("nan"), lambda c: c.nope])
def test_an_unusable_payload_is_logged_with_the_row_and_told_as_true(data: Any, caplog: Any) -> None:
    [one] = told(tells("c", data), row(), identity=17)
    assert one.data == "true"
    [record] = caplog.records
    assert (record.levelno, record.model, record.id) == (logging.WARNING, "comment", 17)


@pytest.mark.parametrize("channel", [lambda _: "a\nb", lambda c: c.nope, lambda _: 17, lambda _: [None], "c-{nope}"])
def test_a_channel_that_can_not_be_is_logged_with_the_row_and_not_told(channel: Any, caplog: Any) -> None:
    assert told(tells(channel), row(), identity=17) == []
    [record] = caplog.records
    assert (record.levelno, record.model, record.id) == (logging.WARNING, "comment", 17)


def test_a_row_without_a_primary_key_tells_hints_and_no_fields(caplog: Any) -> None:
    assert told(tells("c"), row(), identity=None) == [Notice("/c", "true", hint=True, subject=None)]
    assert told(tells("c", fields=["a"]), row(a=1), identity=None) == [Notice("/c", "true", hint=False, subject=None)]
    assert "no primary key" in caplog.text


def test_one_change_tells_a_channel_the_same_thing_once() -> None:
    assert len(notices([tells("c"), tells("/c")], row(), Change("created"), model="m", identity=1)) == 1


def test_a_subject_names_table_and_key() -> None:
    assert subject_of("comment", 17) == "comment:17"
    assert subject_of("line", (1, "b")) == "line:1,b"
    assert subject_of("line", (1, None)) is None
    assert subject_of("comment", "x" * 300) is None


@pytest.mark.parametrize(("channel", "data"), [("", True), ("c", {1}), ("c", "x" * MAX_BYTES)])
def test_a_notice_of_no_row_is_checked_at_once(channel: str, data: object) -> None:
    with pytest.raises(HubError):
        notice(channel, data)


@dataclass
class Wild:
    value: object

    @property
    def broken(self) -> object:
        raise RuntimeError("a property of the site's own")


@given(
    st.one_of(
        st.none(), st.text(), st.integers(), st.floats(), st.binary(), st.lists(st.text()), st.sets(st.integers())
    )
)
def test_whatever_a_row_holds_nothing_is_raised_at_a_save(value: object) -> None:
    declarations = [
        tells("c-{value}"),
        tells("c-{broken}"),
        tells(lambda row: row.value),
        tells("c", lambda row: row.value),
        tells("c", fields=["value"]),
        tells("c", when=lambda row, _: row.broken),
    ]
    for one in notices(declarations, Wild(value), Change("created"), model="m", identity=1):
        json.loads(one.data)
        assert one.channel.startswith("/")
