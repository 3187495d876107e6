"""Redis, workers and a plain nginx before them, and pages that come to them. Loopback only."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from hub.protocol.tokens import sign

from ..ledger.stage import RedisProcess
from ..ports import free_port
from .cast import Outcome, Part

if TYPE_CHECKING:
    from playwright.async_api import Browser

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
MODULES = ROOT / "node_modules"
KEY = b"roamer" * 6
REALM = "roaming"

#: Visits at once: in a Node process, and in Chromium, each in a context, and so with connections, of its own.
AT_ONCE = {"Node": 30, "Chromium": 10}

#: What nginx's packages come with, and no more: HTTP/1.0 to the hub, on a connection for each request.
_NGINX = """daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://127.0.0.1:{hub}; }}
    }}
}}
"""


class Stage:
    """A hub of some workers, and the two ways to it, "direct" and "nginx"."""

    def __init__(self, workers: int, folder: Path, http: aiohttp.ClientSession) -> None:
        self.workers = workers
        self.folder = folder
        self.ways = {"direct": f"http://127.0.0.1:{free_port()}", "nginx": f"http://127.0.0.1:{free_port()}"}
        self._http = http
        self._visits = 0

    def start(self, redis: RedisProcess) -> list[subprocess.Popen[bytes]]:
        """Start the hub and nginx; returns their processes."""
        ports = {way: url.rpartition(":")[2] for way, url in self.ways.items()}
        # The libraries, served by the hub itself, to pages of its own.
        scripts = self.folder / "scripts"
        scripts.mkdir()
        for path in (*MODULES.glob("cometd/*.js"), *MODULES.glob("faye/client/faye-browser*.js"), HERE / "visit.mjs"):
            shutil.copyfile(path, scripts / path.with_suffix(".js").name)
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("HUB_", "FANOUT_"))}
        environ |= {
            "PORT": ports["direct"],
            "REDIS_URL": f"redis://127.0.0.1:{redis.port}",
            "WEB_CONCURRENCY": str(self.workers),
            "FANOUT_REALM": REALM,
            "FANOUT_KEY": base64.b64encode(KEY).decode(),
            "HUB_STATIC": str(scripts),
            # It passes on another Host than its own, so the hub can't know its pages for its own.
            "HUB_ORIGINS": self.ways["nginx"],
            "HUB_LOG_LEVEL": "warning",
            "PYTHONPATH": str(ROOT),
        }
        conf = self.folder / "nginx.conf"
        conf.write_text(_NGINX.format(folder=self.folder, port=ports["nginx"], hub=ports["direct"]))
        hub = [sys.executable, "-m", "hub", "serve"]
        nginx = [
            nginx_program() or "nginx",
            "-p",
            str(self.folder),
            "-e",
            str(self.folder / "nginx.log"),
            "-c",
            str(conf),
        ]
        with (self.folder / "log").open("ab") as out:
            return [
                subprocess.Popen(command, env=environ, cwd=self.folder, stdout=out, stderr=out)
                for command in (hub, nginx)
            ]

    def log(self) -> str:
        """What the hub and nginx have said."""
        return (self.folder / "log").read_text(errors="replace")

    async def ready(self) -> None:
        """Until every worker answers, as far as one can tell from outside."""
        async with asyncio.timeout(60):
            for url in self.ways.values():
                good = 0
                while good < 3 * self.workers:
                    try:
                        async with self._http.get(url + "/ready", headers={"Connection": "close"}) as response:
                            good = good + 1 if response.status == 200 else 0
                    except aiohttp.ClientError:
                        good = 0
                    await asyncio.sleep(0.02)

    async def publish(self, channels: Sequence[str], data: object) -> None:
        """Publish this on each channel, as server code does, on a connection of its own."""
        items = [{"channel": channel.removeprefix("/"), "json-object": data} for channel in channels]
        headers = {"Authorization": f"Bearer {sign(REALM, KEY, time.time())}", "Connection": "close"}
        url = f"{self.ways['direct']}/realm/{REALM}/publish/"
        async with self._http.post(url, json={"items": items}, headers=headers) as response:
            if response.status != 200:
                raise RuntimeError(f"not published: {response.status} {await response.text()}")

    def _names(self, pages: int) -> list[str]:
        """Names for so many pages, which nobody had before."""
        self._visits += pages
        return [f"page-{number}" for number in range(self._visits - pages, self._visits)]

    async def visit(self, part: Part, way: str, pages: int, browser: Browser | None) -> Outcome:
        """Let so many pages of this kind come this way, and say what became of them."""
        outcome = Outcome(part, self.workers, way)
        options = {"url": self.ways[way] + "/bayeux", "transport": part.transport}
        if part.place == "Node":
            await self._in_node(outcome, options, self._names(pages))
        else:
            assert browser is not None
            names = self._names(pages)
            await asyncio.gather(
                *(self._in_chromium(outcome, options, names, browser) for _ in range(AT_ONCE["Chromium"]))
            )
        return outcome

    async def _in_node(self, outcome: Outcome, options: dict[str, str], names: list[str]) -> None:
        asked = {**options, "modules": str(MODULES), "names": names, "atOnce": AT_ONCE["Node"]}
        process = await asyncio.create_subprocess_exec(
            "node", str(HERE / "node.mjs"), outcome.part.library, json.dumps(asked),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**20,
            env={**os.environ, "NODE_NO_WARNINGS": "1"},
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        calls: set[asyncio.Task[None]] = set()

        async def publish(call: int, channels: list[str], data: object) -> None:
            assert process.stdin is not None
            await self.publish(channels, data)
            process.stdin.write(json.dumps({"done": call}).encode() + b"\n")

        try:
            while said := await process.stdout.readline():
                if not said.startswith(b"{"):
                    continue  # What a library says to its console.
                event = json.loads(said)
                if "publish" in event:
                    task = asyncio.create_task(publish(event["call"], *event["publish"]))
                    calls.add(task)
                    task.add_done_callback(calls.discard)
                elif "visit" in event:
                    outcome.take(event["visit"])
                else:
                    outcome.thrown.append(event["thrown"])
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.wait()
            process._transport.close()  # type: ignore[attr-defined]  # else it is collected with its loop gone

    async def _in_chromium(self, outcome: Outcome, options: dict[str, str], names: list[str], browser: Browser) -> None:
        base = options["url"].removesuffix("/bayeux")
        while names:
            name = names.pop()
            context = await browser.new_context()
            try:
                page = await context.new_page()
                page.on("pageerror", lambda error: outcome.thrown.append(str(error)))
                await page.expose_function("publish", self.publish)
                # Any page of the hub's own origin; a script is brought to it.
                await page.goto(f"{base}/health")
                outcome.take(await page.evaluate(_VISIT, [outcome.part.library, {**options, "name": name}]))
            finally:
                await context.close()


_VISIT = """async ([library, options]) => {
    const { visit } = await import("/bayeux/static/visit.js");
    const load = (src) => new Promise((resolve, reject) => {
        const script = Object.assign(document.createElement("script"), { src, onload: resolve, onerror: reject });
        document.head.append(script);
    });
    if (library === "faye") await load("/bayeux/static/faye-browser.js");
    const code = library === "faye" ? window.Faye : await import("/bayeux/static/cometd.js");
    return visit(library, code, options, window.publish);
}"""


def nginx_program() -> str | None:
    """The path of nginx, which is often not on a user's PATH; None if there is none."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@contextlib.asynccontextmanager
async def staged(workers: int) -> AsyncIterator[Stage]:
    """A started stage; what it started ends with the block. RuntimeError with the hub's words if it won't start."""
    with tempfile.TemporaryDirectory(prefix="roaming-") as name:
        folder = Path(name)
        redis = RedisProcess(folder / "redis")
        processes: list[subprocess.Popen[bytes]] = []
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            try:
                await redis.start()
                stage = Stage(workers, folder, http)
                processes += stage.start(redis)
                try:
                    await stage.ready()
                except TimeoutError:
                    raise RuntimeError(f"the hub is not ready: {stage.log()[-2000:]}") from None
                yield stage
            finally:
                for process in processes:
                    process.terminate()
                for process in processes:
                    try:
                        await asyncio.to_thread(process.wait, 20)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
                redis.kill()


def failures(results: Sequence[Any]) -> list[str]:
    """What pages said that something went wrong for, and what was thrown."""
    return [f"{result.part}, {result.workers} workers, {result.way}: {each}"
            for result in results for each in (*result.examples, *result.thrown[:3])]  # fmt: skip
