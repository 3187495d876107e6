"""docs/deploy.md holds: each proxy's configuration, as it stands there, in front of a hub, with the real program.

Behind nginx without a Host line the site's own pages were refused as foreign; HAProxy's second X-Forwarded-For line let
a client choose its address.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from conftest import need
from listening import serving
from ports import free_port
from services import Proxy, proxy_program

from hub.app import Hub

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
HANDSHAKE = {"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["long-polling", "websocket"]}


def stanza(language: str) -> str:
    """The page's block in this language."""
    [found] = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return str(found)


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text with what differs on a test's machine: addresses and certificates. Each must be there."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def configured(name: str, folder: Path, port: int, hub: str) -> list[str]:
    """Write a proxy's configuration; the command that runs it."""
    program = need(lambda: proxy_program(name))
    pem = str(folder / "hub.pem")
    files = ("/etc/ssl/hub.pem", pem)
    upstream = ("127.0.0.1:8000", hub)
    if name == "nginx":
        text = replaced(
            stanza("nginx"),
            ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
            ("server_name hub.example.org", "server_name localhost"),
            ("/etc/ssl/hub.key", pem),
            files,
            upstream,
        )
        temporary = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        head = f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        path = folder / "nginx.conf"
        path.write_text(f"{head}http {{ access_log off; {temporary}\n{text}\n}}\n")
        return [program, "-p", str(folder), "-c", str(path)]
    if name == "haproxy":
        text = replaced(stanza("haproxy"), ("bind :443", f"bind 127.0.0.1:{port}"), files, upstream)
        path = folder / "haproxy.cfg"
        path.write_text(text)
        return [program, "-db", "-f", str(path)]
    text = replaced(stanza("caddy"), ("hub.example.org {", f"https://localhost:{port} {{\n\ttls {pem} {pem}"), upstream)
    path = folder / "Caddyfile"
    path.write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    return [program, "run", "--config", str(path), "--adapter", "caddyfile"]


def certify(folder: Path) -> None:
    """Make hub.pem: a key, and a certificate that nobody knows."""
    openssl = shutil.which("openssl")
    assert openssl is not None
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    subprocess.run([openssl, *made, "-keyout", "key", "-out", "cert"], cwd=folder, check=True, capture_output=True)
    (folder / "hub.pem").write_text((folder / "cert").read_text() + (folder / "key").read_text())


@asynccontextmanager
async def behind(name: str, folder: Path, **changes: Any) -> AsyncIterator[tuple[str, Hub]]:
    """A hub behind a proxy; the proxy's URL, and the hub."""
    await asyncio.to_thread(certify, folder)
    async with serving(proxies=1, **changes) as (url, hub):
        port = free_port()
        command = configured(name, folder, port, url.removeprefix("http://"))
        proxy = Proxy(name, command, port, folder)
        # It asks the hub whether it is ready, which this loop must answer.
        await asyncio.to_thread(proxy.start)
        try:
            yield f"https://localhost:{port}", hub
        finally:
            await asyncio.to_thread(proxy.stop)


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize("name", ["nginx", "haproxy", "caddy"])
async def test_hub_behind_it_does_all_that_it_does_alone(name: str, tmp_path: Path) -> None:
    connector = aiohttp.TCPConnector(ssl=_unverified())
    async with behind(name, tmp_path) as (url, hub), aiohttp.ClientSession(connector=connector) as http:
        own, lie = {"Origin": url}, {"X-Forwarded-For": "198.51.100.9"}

        async def ready() -> bool:
            async with http.get(f"{url}/ready") as answer:
                return answer.status == 200

        async with asyncio.timeout(60):
            # HAProxy takes a server for one that is up at once, or after its first look.
            while not await ready():
                await asyncio.sleep(0.05)

        # The site's own page, on a port that is not the default one.
        async with http.post(f"{url}/bayeux", json=[HANDSHAKE], headers=own | lie) as answer:
            assert answer.status == 200
            client = (await answer.json())[0]["clientId"]
        async with http.post(f"{url}/bayeux", json=[HANDSHAKE], headers={"Origin": "https://evil.example"}) as answer:
            assert answer.status == 403

        # A poll is held, and answered.
        connect = {"channel": "/meta/connect", "clientId": client, "connectionType": "long-polling"}
        for advice in ({"timeout": 0}, {"timeout": 300}):
            async with http.post(f"{url}/bayeux", json=[connect | {"advice": advice}], headers=own) as answer:
                assert (await answer.json())[-1]["successful"]

        # WebSockets, Bayeux's and plain ones, and their messages both ways.
        async with http.ws_connect(f"{url}/bayeux", headers=own | lie) as socket:
            await socket.send_json([HANDSHAKE])
            assert (await socket.receive_json())[0]["successful"]
        async with http.ws_connect(f"{url}/ws?channel=news", headers=own | lie) as socket:
            assert "subscribed" in await socket.receive_json()
            await hub.publisher.publish("news", {"n": 1})
            assert (await socket.receive_json())["data"] == {"n": 1}

        # An event stream arrives as it is written, not when a buffer is full.
        async with http.get(f"{url}/sse?channel=news", headers=own | lie) as stream, asyncio.timeout(60):
            assert await _event(stream, "subscribed")
            await hub.publisher.publish("news", {"n": 2})
            assert json.loads(await _event(stream, None))["data"] == {"n": 2}

        # Whatever the client says of its address: the proxy's word counts, on every way in.
        assert list(hub.node.bayeux.crowd.addresses) == ["127.0.0.1"]

        async with http.get(f"{url}/metrics") as answer:
            assert answer.status == 403
        async with http.get(f"{url}/health", headers={"Cookie": "a=" + "x" * 7000}) as answer:
            assert answer.status == 200


async def _event(stream: aiohttp.ClientResponse, name: str | None) -> str:
    """The data of the next event of this name, None for one without."""
    found: str | None = None
    while True:
        line = (await stream.content.readline()).decode().rstrip("\r\n")
        if line.startswith("event:"):
            found = line[6:].strip()
        elif line.startswith("data:") and found == name:
            return line[5:].strip()
        elif not line:
            found = None


async def test_nginx_with_host_alone_drops_the_port_and_site_url_mends_it(tmp_path: Path) -> None:
    """`proxy_set_header Host $host`, as most pages on the web have it."""
    text = PAGE.replace("proxy_set_header Host $http_host;", "proxy_set_header Host $host;")
    assert text != PAGE
    connector = aiohttp.TCPConnector(ssl=_unverified())
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "PAGE", text)
        async with aiohttp.ClientSession(connector=connector) as http:
            async with behind("nginx", tmp_path) as (url, _):
                async with http.post(f"{url}/bayeux", json=[HANDSHAKE], headers={"Origin": url}) as answer:
                    assert answer.status == 403
            port = url.rpartition(":")[2]
            patch.setitem(globals(), "free_port", lambda: int(port))
            async with behind("nginx", tmp_path, site_url=url) as (url, _):
                async with http.post(f"{url}/bayeux", json=[HANDSHAKE], headers={"Origin": url}) as answer:
                    assert answer.status == 200


def test_unit_of_systemd_is_valid(tmp_path: Path) -> None:
    """`systemd-analyze verify`, where there is one."""
    program = shutil.which("systemd-analyze")
    if program is None:
        # Debian's image for containers has no systemd; nothing else reads such a file.
        assert "ExecStart=/opt/fanfare/current/.venv/bin/fanfare keep --no-demo" in stanza("ini")
        return
    unit = tmp_path / "fanfare.service"
    program_of_it = ("/opt/fanfare/current/.venv/bin/fanfare", "/bin/true")
    text = replaced(stanza("ini"), program_of_it, ("User=fanfare", "User=root"))
    unit.write_text(replaced(text, ("/opt/fanfare", str(tmp_path)), ("/etc/fanfare.env", str(tmp_path / "env"))))
    (tmp_path / "env").write_text("A=b\n")
    done = subprocess.run([program, "verify", str(unit)], capture_output=True, text=True, timeout=120, check=False)
    ours = [line for line in done.stderr.splitlines() if "fanfare.service" in line]
    assert not ours
