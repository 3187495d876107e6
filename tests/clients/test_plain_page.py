"""docs/plain.md: what it tells people to run is run, against a served hub."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from clients.driven import Restartable, restartable, until
from listening import KEY, REALM, listening
from playwright.async_api import Browser

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(
    r"^```(sh|js|python)\n(.*?)^```", (ROOT / "docs" / "plain.md").read_text(), re.MULTILINE | re.DOTALL
)
LISTENERS = [(language, code) for language, code in BLOCKS if "/publish/" not in code]
(PUBLISH,) = (code for _, code in BLOCKS if "/publish/" in code)

pytestmark = pytest.mark.asyncio(loop_scope="module")

#: Gives what has been printed so far, without spaces and quotes, in which the languages differ.
Printed = Callable[[], str]


@contextlib.asynccontextmanager
async def hub_of_the_page() -> AsyncIterator[tuple[Restartable, Callable[[str], str]]]:
    """A hub, and what makes code of the page speak to it."""
    async with restartable(realm=REALM, key=KEY) as hub:
        place = f"127.0.0.1:{hub.port}"

        def here(code: str) -> str:
            return code.replace("https://hub.example.org", f"http://{place}").replace(
                "wss://hub.example.org", f"ws://{place}"
            )

        yield hub, here


@contextlib.asynccontextmanager
async def program(*command: str) -> AsyncIterator[Printed]:
    """A running command; it and its children end with the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | {"NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    printed = bytearray()

    async def read() -> None:
        assert process.stdout is not None
        while chunk := await process.stdout.read(65536):
            printed.extend(chunk)

    reading = asyncio.create_task(read())
    try:
        yield lambda: bare(printed.decode())
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await reading
        await process.wait()


@contextlib.asynccontextmanager
async def script(browser: Browser, hub: Restartable, code: str) -> AsyncIterator[Printed]:
    """A script in a page of the hub's origin; what it logs counts as printed."""
    context = await browser.new_context()
    try:
        page = await context.new_page()
        logged: list[str] = []
        page.on("console", lambda message: logged.append(message.text))
        await page.goto(f"http://127.0.0.1:{hub.port}/health")
        await page.add_script_tag(content=code, type="module")
        yield lambda: bare("\n".join(logged))
    finally:
        await context.close()


def bare(text: str) -> str:
    return re.sub(r"[\s'\"]", "", text)


async def test_every_way_in_is_shown_in_every_language() -> None:
    shown = {(language, way) for language, code in LISTENERS for way in ("/sse?", "/ws?", "/poll?") if way in code}
    every = {(language, way) for language in ("sh", "js", "python") for way in ("/sse?", "/ws?", "/poll?")}
    assert every - shown == {("sh", "/ws?")}, "curl knows no WebSockets before 8.11"


@pytest.mark.parametrize("number", range(len(LISTENERS)), ids=lambda number: f"{LISTENERS[number][0]}{number}")
async def test_listener_of_the_page_hears_what_is_published(number: int, curl: str, shared_chromium: Browser) -> None:
    language, code = LISTENERS[number]
    async with hub_of_the_page() as (hub, here):
        match language:
            case "sh":
                running = program("sh", "-c", here(code))
            case "python":
                running = program(sys.executable, "-c", here(code))
            case _:
                running = script(shared_chromium, hub, here(code))
        async with running as printed:
            await until(lambda: hub.node.subscribers("/comments-17"))
            while "data:{id:3}" not in printed():
                # Again and again: to a poll without a position the first may be what came before.
                await hub.publish("/comments-17", {"id": 3})
                await asyncio.sleep(0.1)
            assert "channel:comments-17" in printed()


async def test_open_websocket_of_the_page_changes_its_channels(shared_chromium: Browser) -> None:
    (code,) = (code for _, code in LISTENERS if "unsubscribe" in code)
    async with hub_of_the_page() as (hub, here), script(shared_chromium, hub, here(code)) as printed:
        await until(lambda: "{unsubscribed:[news]}" in printed())
        await hub.publish("/news", 1)
        await hub.publish("/comments-17", 2)
        await until(lambda: "data:2" in printed())
        assert "data:1" not in printed()


async def test_publisher_of_the_page_publishes(curl: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FANOUT_REALM", REALM)
    monkeypatch.setenv("FANOUT_KEY", base64.b64encode(KEY).decode())
    async with hub_of_the_page() as (hub, here), listening(f"http://127.0.0.1:{hub.port}", "/comments-17") as listener:
        async with program("sh", "-c", here(PUBLISH)) as printed:
            assert await listener.take(1) == [("/comments-17", {"id": 3})]
            await until(lambda: "Published" in printed())
