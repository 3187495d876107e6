"""A WebSocket that offers subprotocols, none of which we know: in Chromium, and on the wire."""

from __future__ import annotations

import asyncio
import json

import pytest
from listening import serving
from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATHS = ["/ws?channel=a", "/test/ws", "/bayeux"]

OPEN = """async ([url, protocols]) => {
  const socket = new WebSocket(url, protocols);
  const said = await new Promise((resolve) => {
    socket.onopen = () => resolve(['open', socket.protocol]);
    socket.onclose = (event) => resolve(['closed', event.code]);
  });
  socket.close();
  return said;
}"""


@pytest.mark.parametrize("path", PATHS)
async def test_chromium_keeps_the_connection(path: str, shared_chromium: Browser) -> None:
    """A library that always offers one was closed by the browser: 1006, on every path."""
    async with serving() as (url, _):
        page = await shared_chromium.new_page()
        try:
            await page.goto(f"{url}/test")
            address = url.replace("http", "ws", 1) + path
            for protocols in (["json"], ["bayeux", "chat"], ["graphql-transport-ws", "graphql-ws"], []):
                expected = ["open", protocols[0] if protocols else ""]
                assert await page.evaluate(OPEN, [address, protocols]) == expected
        finally:
            await page.close()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "before", ["", "GET /health HTTP/1.1\r\nHost: a\r\n\r\n"], ids=["at once", "on a used connection"]
)
async def test_answer_names_one_that_was_offered_or_none(path: str, before: str) -> None:
    async with serving() as (url, _):
        for offered, named in (("json, x", "json"), (None, None), ("a,,b", "400")):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
            if before:
                writer.write(before.encode())
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split()[0])
                json.loads(await reader.readexactly(length))
            field = "" if offered is None else f"Sec-WebSocket-Protocol: {offered}\r\n"
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{field}"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            if named == "400":
                assert head.startswith(b"HTTP/1.1 400 ")
            else:
                assert head.startswith(b"HTTP/1.1 101 ")
                assert (f"Sec-WebSocket-Protocol: {named}\r\n".encode() in head) is (named is not None)
                assert (b"sec-websocket-protocol" in head.lower()) is (named is not None)
            writer.close()
