"""`fanfare doctor` finds what is planted between browsers and a hub, with its mend, and nothing in a right set-up.

With a real nginx, configured as docs/deploy.md has it but for the fault, and a real Redis.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from listening import KEY, REALM, serving
from ports import free_port
from services import Proxy, Redis, Server
from shell import Shell
from test_proxies import configured

from hub.doctor import Doctor, Finding
from hub.settings import Settings

#: Seconds that polls and sockets are held here; and those after which a hasty proxy gives up.
HOLD = 3.0
HASTY = 2

OLD = ("proxy_http_version 1.1;", "proxy_http_version 1.0;")
BUFFERS = ("proxy_buffering off;", "proxy_buffering on; proxy_ignore_headers X-Accel-Buffering;")
GZIP = "gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any;"


def nginx(folder: Path, hubs: Sequence[str], *changes: tuple[str, str]) -> Proxy:
    """Made as the page has it, without TLS; changes: the faults."""
    port = free_port()
    command = configured("nginx", folder, port, hubs[0])
    path = folder / "nginx.conf"
    text = path.read_text().replace(f"{port} ssl", str(port)).replace("server_name localhost", "server_name _")
    lines = [line for line in text.splitlines() if "ssl_certificate" not in line]
    text = "\n".join(lines)
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    more = "".join(f" server {hub};" for hub in hubs[1:])
    path.write_text(text.replace(f"server {hubs[0]};", f"server {hubs[0]};{more}"))
    return Proxy("nginx", command, port, folder)


@asynccontextmanager
async def behind(folder: Path, *changes: tuple[str, str], count: int = 1, **settings: Any) -> AsyncIterator[str]:
    """A hub, or several, behind nginx; gives its URL."""
    settings = {"proxies": 1, "connect_timeout": 30.0} | settings
    async with serving(**settings) as (url, _), serving(**settings) as (other, _):
        hubs = [each.removeprefix("http://") for each in (url, other)][:count]
        proxy = nginx(folder, hubs, *changes)
        await asyncio.to_thread(proxy.start)
        try:
            yield f"http://127.0.0.1:{proxy.port}"
        finally:
            await asyncio.to_thread(proxy.stop)


async def found(url: str, *, key: bytes | None = KEY, origins: Sequence[str] = ()) -> list[Finding]:
    doctor = Doctor(url, Settings(key=key, realm=REALM), origins=origins, hold=HOLD)
    return await asyncio.to_thread(lambda: list(doctor.look()))


def faults(findings: Sequence[Finding]) -> dict[str, Finding]:
    return {each.name: each for each in findings if each.state == "fault"}


async def test_in_a_right_set_up_nothing_is_found(tmp_path: Path) -> None:
    async with behind(tmp_path) as url:
        findings = await found(url)
    assert not faults(findings)
    assert {each.name for each in findings} >= {
        "hub",
        "publishing",
        "WebSocket",
        "origins",
        "event stream",
        "long-poll",
        "idle socket",
        "bodies",
        "metrics",
        "addresses",
        "descriptors",
        "clock",
    }
    assert {each.state for each in findings} == {"ok"}


async def test_nor_without_a_proxy_or_a_key() -> None:
    async with serving(connect_timeout=30.0) as (url, _):
        assert not faults(await found(url))
        findings = await found(url, key=None)
    assert not faults(findings)
    assert [each.name for each in findings if each.state == "note"] == ["key"]


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        # What is in chunks nginx passes on all the same; as it asks by default, it keeps 4 KiB back.
        ([BUFFERS, OLD], "event stream", "proxy_buffering off"),
        ([(BUFFERS[0], BUFFERS[1] + GZIP)], "event stream", "no gzip"),
        ([("proxy_set_header Upgrade $http_upgrade;", "")], "WebSocket", "Upgrade"),
        ([OLD], "WebSocket", "proxy_http_version 1.1"),
        ([("proxy_set_header Host $http_host;", "")], "Host", "$http_host"),
        ([("proxy_read_timeout 120s;", f"proxy_read_timeout {HASTY}s;")], "long-poll", "proxy_read_timeout"),
        ([("proxy_read_timeout 120s;", f"proxy_read_timeout {HASTY}s;")], "idle socket", "proxy_read_timeout"),
        ([("location = /metrics { deny all; }", "")], "metrics", "deny all"),
        ([("proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;", "")], "addresses", "X-Forwarded-For"),
        ([("client_max_body_size 8m;", "")], "bodies", "client_max_body_size"),
    ],
    ids=[
        "buffering",
        "gzip",
        "no-upgrade",
        "http-1.0",
        "no-host",
        "hasty",
        "hasty-socket",
        "metrics",
        "no-address",
        "bodies",
    ],
)
async def test_what_is_wrong_with_a_proxy_is_found(
    changes: list[tuple[str, str]], name: str, words: str, tmp_path: Path
) -> None:
    async with behind(tmp_path, *changes) as url:
        wrong = faults(await found(url))
    assert words in wrong[name].mend
    # One cause may be seen in several places, as a Host that is not passed in a WebSocket that is refused.
    related = {name} | {"Host": {"WebSocket", "idle socket"}}.get(name, set())
    if words == "proxy_read_timeout":
        related = {"long-poll", "idle socket"}
    if OLD in changes:
        related = {"event stream", "WebSocket"}
    assert wrong.keys() <= related


async def test_a_proxy_that_the_hub_does_not_know_of_is_found(tmp_path: Path) -> None:
    async with behind(tmp_path, proxies=0) as url:
        wrong = faults(await found(url))
    assert wrong.keys() == {"addresses"}
    assert wrong["addresses"].mend.startswith("HUB_PROXIES=1")


async def test_a_proxy_that_is_not_there_is_found() -> None:
    async with serving(proxies=1, connect_timeout=30.0) as (url, _):
        assert faults(await found(url)).keys() == {"addresses"}


async def test_an_origin_that_does_not_get_in_is_found(tmp_path: Path) -> None:
    async with behind(tmp_path, origins=("https://www.example.org",)) as url:
        wrong = faults(await found(url, origins=["https://www.example.org", "https://blog.example.org"]))
    assert wrong.keys() == {"origins"}
    assert "https://blog.example.org to HUB_ORIGINS" in wrong["origins"].mend


async def test_a_hub_that_is_open_to_all_sites_is_noted(tmp_path: Path) -> None:
    async with behind(tmp_path, origins=("*",)) as url:
        findings = await found(url)
    assert not faults(findings)
    assert [each.name for each in findings if each.state == "note"] == ["origins"]


async def test_two_hubs_with_a_log_each_are_found(tmp_path: Path) -> None:
    # Without kept connections nginx asks one after the other.
    async with behind(tmp_path, ("keepalive 32;", ""), ("keepalive_timeout 60s;", ""), count=2) as url:
        assert "one log" in faults(await found(url))


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_few_descriptors_are_found() -> None:
    with few_descriptors(1024):
        async with serving(connect_timeout=30.0) as (url, _):
            wrong = faults(await found(url))
    assert wrong.keys() == {"descriptors"}
    assert "1,024" in wrong["descriptors"].words
    assert "LimitNOFILE" in wrong["descriptors"].mend


async def test_a_clock_that_is_wrong_is_found(tmp_path: Path) -> None:
    program = (
        "import time; real = time.time; time.time = lambda: real() + 300; from hub.cli import main; main(['serve'])"
    )
    shell = Shell(tmp_path)
    shell.environ |= {"FANOUT_REALM": REALM, "HUB_VAR": str(tmp_path)}
    (tmp_path / "fanout.key").write_text("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
    server = Server("hub")
    log = tmp_path / "log"
    await asyncio.to_thread(
        server.launch,
        [sys.executable, "-c", program],
        lambda: "hub on" in log.read_text(),
        log,
        cwd=tmp_path,
        env={**os.environ, **shell.environ},
    )
    try:
        wrong = faults(await found(shell.url))
    finally:
        await asyncio.to_thread(server.stop)
    # Nor is the token of this machine taken, which says nothing of why.
    assert wrong.keys() == {"publishing", "clock"}
    assert re.search(r"\b(299|300|301) s ahead", wrong["clock"].words)


@pytest.mark.redis
@pytest.mark.parametrize(
    ("settings", "name", "words"),
    [
        ({}, "", ""),
        ({"maxmemory-policy": "volatile-lru"}, "Redis memory", "noeviction"),
        ({"maxmemory-policy": "allkeys-lru"}, "Redis memory", "noeviction"),
        ({"appendonly": "yes", "appendfsync": "always"}, "Redis disk", "everysec"),
        ({"timeout": "30"}, "Redis connections", "timeout 0"),
    ],
    ids=["right", "volatile-lru", "allkeys-lru", "always", "timeout"],
)
async def test_how_redis_is_set_up_is_judged(
    settings: dict[str, str], name: str, words: str, redis_server: Redis
) -> None:
    before = {"maxmemory-policy": "noeviction", "appendonly": "no", "appendfsync": "no", "timeout": "0"}
    try:
        for each, value in settings.items():
            await asyncio.to_thread(redis_server.command, "CONFIG", "SET", each, value)
        async with serving(redis_url=redis_server.url, connect_timeout=30.0) as (url, _):
            findings = await found(url)
    finally:
        for each, value in before.items():
            await asyncio.to_thread(redis_server.command, "CONFIG", "SET", each, value)
    wrong = faults(findings)
    assert list(wrong) == [name] * bool(name)
    if name:
        assert words in wrong[name].mend
    else:
        assert {"Redis memory", "Redis disk"} <= {each.name for each in findings}


def test_the_command_says_it_and_ends_with_it(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    ended = shell.run("doctor", "--hold", "1", f"http://127.0.0.1:{free_port()}")
    assert ended.returncode == 1
    assert ended.stdout.splitlines()[0].startswith("FAULT hub: ")
    assert ended.stdout.splitlines()[-1] == "1 fault."
    ended = shell.run("doctor", "--json", f"http://127.0.0.1:{free_port()}")
    assert json.loads(ended.stdout)["state"] == "fault"
    ended = shell.run("doctor", "ftp://x")
    assert ended.returncode == 2
    assert "https://hub.example.org" in ended.stderr
