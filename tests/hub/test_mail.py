"""What workers say to each other: as written, and from other releases."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import BadWire
from hub.mail import Mail

MAIL = st.builds(
    Mail,
    kind=st.sampled_from(["request", "move", "leave", "written", "hurry", "answer", "elsewhere", "lapsed"]),
    sender=st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
    serial=st.integers(1, 2**53),
    number=st.integers(0, 2**53),
    session=st.text(st.characters(exclude_categories=["Cs"])),
    transport=st.sampled_from(["", "long-polling"]),
    browser=st.sampled_from(["", "b1"]),
    hurry=st.booleans(),
    confirm=st.booleans(),
    status=st.sampled_from([200, 503]),
    offers=st.booleans(),
    body=st.binary(),
)


@given(MAIL)
def test_mail_is_read_as_it_was_written(mail: Mail) -> None:
    assert Mail.parse(mail.encode()) == mail


def test_field_of_a_later_release_is_left_out() -> None:
    head = {"kind": "leave", "sender": "w", "serial": 1, "number": 0, "colour": "red"}
    assert Mail.parse(orjson.dumps(head) + b"\n") == Mail(kind="leave", sender="w", serial=1, number=0)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff", b'{"kind":"x","sender":"w","serial":1,"number":1}'])
def test_anything_else_is_bad_wire(text: bytes) -> None:
    with pytest.raises(BadWire):
        Mail.parse(text)


@given(st.binary())
def test_any_bytes_are_mail_or_bad_wire(text: bytes) -> None:
    try:
        Mail.parse(text)
    except BadWire:
        return
