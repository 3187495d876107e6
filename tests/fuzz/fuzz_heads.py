"""Fuzz the reader of request heads: python -m tests.fuzz.fuzz_heads -max_total_time=600

Reported is any error but HeadError, a head that reads differently when more follows it, a field
with a line break, and an answer that would not be one answer.
"""

from __future__ import annotations

from collections.abc import Iterator

import atheris

from tests.fuzz.seeded import run

with atheris.instrument_imports(include=["hub"]):
    from hub.errors import HeadError
    from hub.protocol.heads import is_upgrade, read_head, refusal, switching, upgrade

LIMIT = 2048

#: What a mutation finds slowly: without a valid upgrade to start from the checks behind it stay dark.
_UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def seeds() -> Iterator[bytes]:
    yield _UPGRADE + b"\r\n"
    yield b"GET /a?b=c HTTP/1.0\r\n\r\n"
    yield b"POST /publish/ HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello"
    yield b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    # Lines to follow those of the upgrade.
    yield b"Origin: https://a.example"
    yield b"Sec-WebSocket-Protocol: bayeux, chat\r\nContent-Length: 0"
    yield b"Sec-WebSocket-Extensions: x, permessage-deflate; server_max_window_bits=10; client_max_window_bits"
    yield b"Connection: keep-alive\r\nX-A: b\r\nx-a: c\t"
    yield b"Host: b"


def fuzz(data: bytes) -> None:
    read(data)
    read(_UPGRADE + data + b"\r\n\r\n")


def read(data: bytes) -> None:
    try:
        found = read_head(data, LIMIT)
        if found is None:
            assert len(data) < LIMIT
            return
        head, consumed = found
        assert consumed <= LIMIT
        again = read_head(data[:consumed] + b"GET / HTTP/1.1\r\n\r\n", LIMIT)
        assert again is not None
        assert (again[0].headers, again[1]) == (head.headers, consumed)
        for name, value in head.headers:
            assert name
            assert not set(name + value) & set(b"\r\n\0")
        accepted = upgrade(head, 9)
        assert is_upgrade(head)
        answer = switching(accepted)
    except HeadError as error:
        answer = refusal(error.status, error.text, error.headers)
        assert 400 <= error.status < 600
    lines, blank, _ = answer.partition(b"\r\n\r\n")
    assert blank
    assert lines.count(b"\r") == lines.count(b"\n") == lines.count(b"\r\n")


if __name__ == "__main__":
    run(fuzz, seeds())
