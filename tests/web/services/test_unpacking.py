"""Bodies are unpacked by count."""

from __future__ import annotations

import gzip
import sys
import time
import zlib
from collections.abc import Callable

import brotli
import pytest
from cpu import taking
from hypothesis import given
from hypothesis import strategies as st

from web.services.unpacking import MAX_CODINGS, MAX_MEMBERS, NotPacked, TooLong, unpack

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZIP": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstd.compress,
    "identity": bytes,
    "": bytes,
}


@pytest.mark.parametrize("coding", PACKERS)
@given(body=st.binary() | st.binary(max_size=20).map(lambda part: part * 20_000))
def test_body_is_as_it_was_packed(coding: str, body: bytes) -> None:
    if not body.startswith(b"\x1f\x8b\x08"):
        assert unpack(PACKERS[coding](body), coding, len(body)) == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_bomb_is_unpacked_no_further_than_allowed(coding: str) -> None:
    bomb = PACKERS[coding](bytes(200_000_000))
    with taking(time.process_time) as taken:
        with pytest.raises(TooLong):
            unpack(bomb, coding, 1_000_000)
    assert taken.seconds < 0.1


def test_bomb_in_a_bomb_is_found_at_the_first() -> None:
    with pytest.raises(TooLong):
        unpack(gzip.compress(gzip.compress(bytes(100_000_000))), "gzip, gzip", 50_000)
    with pytest.raises(NotPacked):
        unpack(b"", ",".join(["gzip"] * (MAX_CODINGS + 1)), 10)


def test_gzip_that_nobody_speaks_of_is_unpacked() -> None:
    assert unpack(gzip.compress(b"a feed"), "", 100) == b"a feed"


def test_gzip_may_have_members_and_padding() -> None:
    body = gzip.compress(b"one ") + gzip.compress(b"two") + bytes(512)
    assert unpack(body, "gzip", 100) == b"one two"


@pytest.mark.parametrize(
    ("coding", "empty"),
    [
        ("gzip", gzip.compress(b"")),
        ("", gzip.compress(b"")),
        ("zstd", zstd.compress(b"")),
        ("zstd", b"\x50\x2a\x4d\x18" + bytes(4)),
    ],
    # An empty gzip has the time in it: the workers of a run would have tests of other names.
    ids=["gzip", "nothing said", "zstd", "a frame to skip"],
)
def test_body_of_empty_members_is_refused(coding: str, empty: bytes) -> None:
    """Behind each the rest was copied: 8 MB of them, which a fetch takes, kept a thread for minutes after the fetch had
    been given up, and with it everybody whose password was to be verified.
    """
    with taking(time.process_time) as taken:
        with pytest.raises(NotPacked):
            unpack(empty * (4_000_000 // len(empty)), coding, 1_000_000)
    assert taken.seconds < 1.0


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_body_may_have_some_members(coding: str) -> None:
    assert unpack(PACKERS[coding](b"x") * MAX_MEMBERS, coding, 1000) == b"x" * MAX_MEMBERS


def test_deflate_may_lack_its_header() -> None:
    assert unpack(zlib.compress(b"a feed")[2:-4], "deflate", 100) == b"a feed"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
def test_body_that_ends_too_early_is_refused(coding: str) -> None:
    packed = PACKERS[coding](bytes(range(256)) * 1000)
    for end in (1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(NotPacked):
            unpack(packed[:end], coding, 10**6)


@given(st.binary(), st.sampled_from(["gzip", "deflate", "br", "zstd", "compress", "x", ""]), st.integers(0, 300))
def test_whatever_comes_is_unpacked_or_refused(body: bytes, coding: str, limit: int) -> None:
    try:
        assert len(unpack(body, coding, limit)) <= limit
    except (TooLong, NotPacked) as error:
        assert str(error)
