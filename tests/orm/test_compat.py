"""`import fanout`, answered by us, with a real hub."""

from __future__ import annotations

import asyncio
import base64
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from hub import compat
from hub.app import Hub, running
from hub.settings import Settings

ROOT = Path(__file__).parents[2]
REALM, KEY = "old", b"o" * 32
TEXT_KEY = base64.b64encode(KEY).decode()


@pytest.fixture
def fanout() -> Iterator[Any]:
    """The module, as an importer gets it."""
    before = sys.modules.get("fanout")
    compat.install("http://127.0.0.1:9")
    import fanout

    fanout.realm, fanout.key = REALM, TEXT_KEY
    yield fanout
    fanout.realm = fanout.key = None
    for publisher in compat._publishers.values():
        publisher.close(0)
    compat._publishers.clear()
    if before is None:
        del sys.modules["fanout"]
    else:
        sys.modules["fanout"] = before


def new_hub() -> tuple[Hub, web.Application]:
    hub = Hub(Settings(realm=REALM, key=KEY))
    app = web.Application()
    hub.setup(app)
    return hub, app


async def heard(hub: Hub, channel: str) -> list[bytes]:
    return [one.data for one in (await hub.broker.history(channel, None)).publications]


async def test_publish_publishes(fanout: Any) -> None:
    hub, app = new_hub()
    async with running(app, hub) as url:
        compat.install(url)
        await asyncio.to_thread(fanout.publish, "a", {"x": 1}, blocking=True)
        await asyncio.to_thread(fanout.publish, "a", True, id="once", blocking=True)
        await asyncio.to_thread(fanout.publish, "a", True, id="once", blocking=True)
        calls: list[Any] = []
        fanout.publish("a", 17, callback=lambda *result: calls.append(result))
        assert await asyncio.to_thread(fanout.flush, 5)
        fanout.publish("a", None, realm=REALM, key=TEXT_KEY.encode(), ssl=False)
        assert await asyncio.to_thread(fanout.flush, 5)
        assert await heard(hub, "/a") == [b'{"x":1}', b"true", b"17", b"null"]
    assert calls == [(True, None)]


async def test_what_the_hub_refuses_is_a_value_error_or_a_callback(fanout: Any) -> None:
    hub, app = new_hub()
    async with running(app, hub) as url:
        compat.install(url)
        fanout.key = base64.b64encode(b"another").decode()
        with pytest.raises(ValueError, match="failed to publish: 401"):
            await asyncio.to_thread(fanout.publish, "a", 1, blocking=True)
        calls: list[Any] = []
        fanout.publish("a", 1, callback=lambda *result: calls.append(result))
        await asyncio.to_thread(fanout.flush, 5)
    assert [success for success, _ in calls] == [False]
    calls.clear()
    fanout.publish("", 1, callback=lambda *result: calls.append(result))
    assert [success for success, _ in calls] == [False]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"channel": "", "data": 1}, "Invalid channel"),
        ({"channel": "a", "data": {1}}, "Not JSON"),
        ({"channel": "a", "data": 1, "key": "xyz98"}, "not base64"),
    ],
)
def test_what_can_not_be_published_is_a_value_error_every_time(
    fanout: Any, values: dict[str, Any], reason: str
) -> None:
    """The package deadlocks at the second call after a bad key."""
    for _ in range(2):
        with pytest.raises(ValueError, match=reason):
            fanout.publish(**values)


def test_without_a_realm_it_says_so(fanout: Any) -> None:
    fanout.realm = None
    with pytest.raises(ValueError, match="not set"):
        fanout.publish("a", 1)


async def test_the_environment_alone_is_enough_also_in_a_forked_child_that_exits_at_once() -> None:
    """After a publish in the parent, the package's children publish into nothing."""
    program = f"""
import os, sys, fanout
fanout.realm, fanout.key = {REALM!r}, {TEXT_KEY!r}
fanout.publish("a", "parent")
if not os.fork():
    fanout.publish("a", "child", blocking=True)
    os._exit(0)
os.wait()
"""
    hub, app = new_hub()
    async with running(app, hub) as url:
        env = {**os.environ, "FANOUT_URL": url, "PYTHONPATH": f"{compat.folder()}:{ROOT}"}
        child = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=env)
        async with asyncio.timeout(60):
            assert await child.wait() == 0
        assert sorted(await heard(hub, "/a")) == [b'"child"', b'"parent"']


async def test_an_exit_does_not_hang_on_a_hub_that_is_away() -> None:
    program = f"import fanout; fanout.realm, fanout.key = 'r', {TEXT_KEY!r}; fanout.publish('a', 1)"
    env = {**os.environ, "FANOUT_URL": "http://127.0.0.1:9", "PYTHONPATH": f"{compat.folder()}:{ROOT}"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=env, stderr=asyncio.subprocess.DEVNULL
    )
    async with asyncio.timeout(60):
        assert await child.wait() == 0


async def test_the_folder_is_printed() -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hub.compat", cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert (Path(output.decode().strip()) / "fanout.py").exists()
