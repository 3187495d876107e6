"""Fuzz the frame reader: python -m tests.fuzz.fuzz_frames -max_total_time=600

The first bytes choose compression, the limit and where the rest is cut; the rest is what a client
sends. Reported is any error but FrameError, a message over the limit, an outcome that depends on
the cuts, and (by libFuzzer's -timeout and -rss_limit_mb) time or memory out of proportion.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator

import atheris

from tests.fuzz.seeded import run

with atheris.instrument_imports(include=["hub"]):
    from hub.errors import FrameError
    from hub.protocol.frames import CLOSE, TEXT, Reader, deflate, negotiate_deflate, read_short, unmask, window_bits


def outcome(pieces: Iterable[bytes], limit: int, deflate: bool) -> tuple[list[tuple[int, bytes]], bool]:
    """Every message, and whether an error came after them."""
    reader = Reader(limit, deflate)
    messages = []
    try:
        for piece in pieces:
            messages += reader.feed(piece)
    except FrameError as error:
        assert 1000 <= error.close_code < 1016
        assert not reader.idle
        return messages + error.messages, True
    return messages, False


def sent(first: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([first]) + length + b"mask" + unmask(b"mask", payload)


def seeds() -> Iterator[bytes]:
    text = "Grüße 😀 ".encode() * 30
    packed = deflate(text)
    last = zlib.compressobj(wbits=-15)
    streams = (
        sent(0x81, b'[{"channel":"/meta/connect"}]'),
        sent(0x82, b"\0" * 200) + sent(0x89, b"ping") + sent(0x8A, b""),
        sent(0x01, text[:7]) + sent(0x89, b"") + sent(0x00, text[7:300]) + sent(0x80, text[300:]),
        sent(0x88, b"\x03\xe8bye") + sent(0x81, b"late"),
        sent(0xC1, packed) + sent(0x81, b"plain") + sent(0xC2, deflate(b"")),
        sent(0x41, packed[:9]) + sent(0x00, packed[9:]) + sent(0x80, b""),
        sent(0xC1, last.compress(text) + last.flush() + b"\0"),
        sent(0xC2, deflate(b"\0" * 3000)),
        b"\x82\xff" + (70_000).to_bytes(8, "big") + b"mask",
        b"permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate",
    )
    for stream in streams:
        yield bytes((0, 255, 6)) + stream
        yield bytes((1, 64, 0)) + stream


def fuzz(data: bytes) -> None:
    if len(data) < 3:
        return
    packed, limit, step = bool(data[0] & 1), data[1] * 16, data[2] + 1
    stream = data[3:]
    whole = outcome([stream], limit, packed)
    assert outcome((stream[at : at + step] for at in range(0, len(stream), step)), limit, packed) == whole
    assert outcome((stream[at : at + 1] for at in range(len(stream))), limit, packed) == whole
    for opcode, payload in whole[0]:
        assert len(payload) <= (125 if opcode >= CLOSE else limit)
        if opcode == TEXT:
            payload.decode()

    short = read_short(stream)
    if short is not None:
        longest = max(map(len, short))
        assert outcome([stream], longest, packed) == ([(TEXT, payload) for payload in short], False)

    answer = negotiate_deflate(stream.decode("latin-1"), 9)
    assert answer is None or 9 <= window_bits(answer) <= 15


if __name__ == "__main__":
    run(fuzz, seeds())
