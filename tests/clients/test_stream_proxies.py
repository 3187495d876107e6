"""Event streams through real proxies that compress, buffer or speak HTTP/1.0, and to polyfills of EventSource."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession
from clients.driven import until
from conftest import need
from listening import serving
from playwright.async_api import Browser
from ports import free_port
from services import Proxy, proxy_program

from hub.app import Hub

pytestmark = pytest.mark.asyncio(loop_scope="module")

SCRIPT = Path(__file__).with_name("compressing.cjs")

#: nginx as short as it goes: HTTP/1.0 to the hub, buffers, and all types compressed.
NGINX = """daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}
http {{ access_log off; {temporary}
  gzip on; gzip_types *; gzip_min_length 0; gzip_proxied any; {version}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {hub}; }} }} }}
"""


@contextlib.asynccontextmanager
async def express(node: str, modules: Path, url: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        node, str(SCRIPT), url, cwd=modules.parent, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 60))
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def nginx(folder: Path, url: str, version: str) -> AsyncIterator[str]:
    port = free_port()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    path = folder / "nginx.conf"
    path.write_text(NGINX.format(folder=folder, temporary=temporary, port=port, hub=url, version=version))
    proxy = Proxy("nginx", [need(lambda: proxy_program("nginx")), "-p", str(folder), "-c", str(path)], port, folder)
    await asyncio.to_thread(proxy.start)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await asyncio.to_thread(proxy.stop)


async def heard_at_once(http: ClientSession, url: str, hub: Hub) -> None:
    """Each event comes through before the next is published: nothing waits for a buffer to be full."""
    async with http.get(f"{url}/sse?channel=a", headers={"Accept-Encoding": "gzip"}) as stream:
        assert stream.status == 200
        unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if "Content-Encoding" in stream.headers else None
        seen = b""
        for number in range(3):
            await until(lambda: hub.node.subscribers("/a"))
            await hub.publisher.publish("a", f"event {number}")
            async with asyncio.timeout(60):
                while b"event %d" % number not in seen:
                    chunk = await stream.content.readany()
                    assert chunk, seen
                    seen += unpack.decompress(chunk) if unpack else chunk


async def test_compression_of_express_leaves_streams_alone(node: str, node_modules: Path) -> None:
    """It kept every event until it had 16 KiB of them: nothing was heard in 20 s."""
    async with serving() as (url, hub), express(node, node_modules, url) as proxy:
        async with ClientSession(auto_decompress=False) as http:
            # What is no stream it compresses, so it does work.
            async with http.get(f"{proxy}/health", headers={"Accept-Encoding": "gzip"}) as response:
                assert response.headers["Content-Encoding"] == "gzip"
                assert b'"ready"' in gzip.decompress(await response.read())
            async with http.get(f"{proxy}/sse?channel=b", headers={"Accept-Encoding": "gzip"}) as stream:
                assert "Content-Encoding" not in stream.headers
            await heard_at_once(http, proxy, hub)


@pytest.mark.parametrize("version", ["", "proxy_http_version 1.1;"], ids=["HTTP/1.0", "HTTP/1.1"])
async def test_nginx_that_compresses_everything_passes_each_event(version: str, tmp_path: Path) -> None:
    """Its default proxy_pass speaks HTTP/1.0, and got a 500."""
    async with serving() as (url, hub), nginx(tmp_path, url, version) as proxy:
        async with ClientSession(auto_decompress=False) as http:
            await heard_at_once(http, proxy, hub)


async def test_event_source_polyfill_gets_what_it_missed_after_a_cut(
    shared_chromium: Browser, node_modules: Path
) -> None:
    """It says its last id in the URL only; 39 messages were lost without a word."""
    async with serving() as (url, hub):
        page = await shared_chromium.new_page()
        try:
            await page.goto(f"{url}/test")
            await page.add_script_tag(path=node_modules / "event-source-polyfill" / "src" / "eventsource.js")
            await page.evaluate(
                """(url) => {
                  window.heard = [];
                  const source = new EventSourcePolyfill(url);
                  source.onmessage = ({ data }) => window.heard.push(JSON.parse(data).data);
                  source.addEventListener('lost', () => window.heard.push('lost'));
                }""",
                f"{url}/sse?channel=a",
            )
            number = 0
            for _ in range(3):
                await until(lambda: hub.node.subscribers("/a"))
                number += 1
                await hub.publisher.publish("a", number)
                await page.wait_for_function("(number) => window.heard.includes(number)", arg=number, timeout=60_000)
                (link,) = hub.node.links
                link.leave(1000, "cut")
                await until(lambda: not hub.node.subscribers("/a"))
                for _ in range(3):
                    number += 1
                    await hub.publisher.publish("a", number)
            await page.wait_for_function("(number) => window.heard.includes(number)", arg=number, timeout=60_000)
            assert await page.evaluate("window.heard") == list(range(1, number + 1))
        finally:
            await page.close()
