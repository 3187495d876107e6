"""What workers say to each other: as written, and from other releases."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any, cast

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.carrier import MAILED_BYTES, MAILED_SECONDS, Carrier
from hub.counters import Counters
from hub.errors import BadWire, BrokerUnavailable
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


class Inboxes:
    """A broker that counts what is mailed."""

    worker = "a"

    def __init__(self) -> None:
        self.mailed: Counter[str] = Counter()

    async def mail(self, worker: str, message: bytes) -> bool:
        self.mailed[worker] += len(message)
        return True


async def test_inbox_of_a_worker_that_reads_nothing_is_bounded_by_bytes() -> None:
    """It had 20,000 messages at most, of up to a megabyte each: 20 GB in Redis."""
    clock = itertools.count()
    now = [0.0]
    inboxes = Inboxes()
    carrier = Carrier(cast(Any, None), cast(Any, None), cast(Any, inboxes), Counters(), lambda: now[0], 45.0)
    body = b"x" * 2**20
    for _ in range(MAILED_BYTES // len(body) - 1):
        assert await carrier._mail("b", "answer", next(clock), body=body)
    with pytest.raises(BrokerUnavailable):
        await carrier._mail("b", "answer", next(clock), body=body)
    assert inboxes.mailed["b"] <= MAILED_BYTES
    assert await carrier._mail("c", "answer", next(clock), body=body), "another is not to blame"
    now[0] += MAILED_SECONDS
    assert await carrier._mail("b", "answer", next(clock), body=body)
    for number in range(3000):
        await carrier._mail(f"worker {number}", "answer", next(clock))
    assert len(carrier._mailed) <= 1000
