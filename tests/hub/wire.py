"""Requests as bytes, and answers as they come: what a test says that no client library would."""

from __future__ import annotations

import asyncio
import base64
from typing import NamedTuple


class Reply(NamedTuple):
    """An answer. status: 0 if the connection was closed without one. body: as long as its Content-Length."""

    status: int
    head: str
    body: str


def request(line: str, *fields: str, body: bytes = b"", host: str | None = "hub") -> bytes:
    """An HTTP/1.1 request; host None for none. A body gets its length."""
    lines = [f"{line} HTTP/1.1", *([] if host is None else [f"Host: {host}"]), *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


def upgrade(target: str, *fields: str, host: str | None = "hub") -> bytes:
    """The opening handshake of a WebSocket."""
    key = base64.b64encode(bytes(16)).decode()
    return request(
        f"GET {target}",
        *fields,
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        host=host,
    )


async def say(url: str, *requests: bytes) -> Reply:
    """Send requests on one connection, each after the answer to the one before; the last one's answer.

    Of a body only what its Content-Length says is read: streams go on.
    """
    port = int(url.rpartition(":")[2].partition("/")[0])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
    reply = Reply(0, "", "")
    try:
        async with asyncio.timeout(60):
            for each in requests:
                writer.write(each)
                reply = await _answer(reader)
    finally:
        writer.close()
    return reply


async def _answer(reader: asyncio.StreamReader) -> Reply:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Reply(0, "", "")
    status = int(head.split(" ", 2)[1])
    length = next((line[16:] for line in head.split("\r\n") if line.lower().startswith("content-length: ")), "0")
    body = (await reader.readexactly(int(length))).decode("utf-8", "replace")
    return Reply(status, head, body)
