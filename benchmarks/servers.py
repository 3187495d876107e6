"""The servers that are measured: how each is started, and how its clients speak to it.

Each runs as one process on one core, on loopback, and logs no requests.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hub.bench import (
    Load,
    LoadFailed,
    Server,
    Transport,
    bayeux_publish,
    compiled,
    fanout_publish,
    http_request,
    marker,
)

from .ports import free_port

ROOT = Path(__file__).resolve().parent.parent
RIVALS = Path(__file__).resolve().parent / "rivals"

HOST = "127.0.0.1"

#: How long a server may take to listen, in seconds.
START_LIMIT = 60.0


class Subject(ABC):
    """One kind of server.

    `start_command` gives the words that run it on a port; `missing` says why it can't run here, or None.
    channel_rate: messages a second that one channel bears, 0 for as many as the server can do.
    """

    name: str
    bayeux = True
    channel_rate = 0.0

    @abstractmethod
    def start_command(self, port: int, folder: Path) -> list[str]: ...

    @abstractmethod
    def fan_out(self, port: int) -> Load:
        """WebSocket subscribers of one channel, and a fast publisher."""

    def fan_outs(self, port: int) -> list[Load]:
        """The ways to publish of which the fastest is to be found by trying."""
        return [self.fan_out(port)]

    @abstractmethod
    def posted(self, port: int, *, publishers: int = 1, batch: int = 1, transport: Transport | None = None) -> Load:
        """Subscribers of one channel, and publishes by HTTP. `transport` is the WebSocket when not given."""

    def environment(self) -> Mapping[str, str]:
        return {}

    def missing(self) -> str | None:
        return None

    def version(self) -> str:
        return ""

    @contextlib.contextmanager
    def running(self, core: int) -> Iterator[tuple[Server, int]]:
        """The running server and its port; ended on leaving. Raises LoadFailed when it does not start."""
        with tempfile.TemporaryDirectory(prefix="fanfare-bench-") as name:
            folder = Path(name)
            port = free_port()
            log = folder / "log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    self.start_command(port, folder),
                    stdout=output,
                    stderr=output,
                    stdin=subprocess.DEVNULL,
                    cwd=ROOT,
                    env={**os.environ, **self.environment(), "PORT": str(port), "HUB_VAR": str(folder)},
                    preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509  # no thread runs here yet
                )
            try:
                _await_port(port, process, log)
                yield Server(process.pid), port
            finally:
                process.terminate()
                try:
                    process.wait(5)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


class Fanfare(Subject):
    name = "Fanfare"
    realm = "bench"
    key = b"a key of the benchmark, for loopback only"

    def start_command(self, port: int, folder: Path) -> list[str]:
        return [sys.executable, "-m", "hub", "serve"]

    def environment(self) -> Mapping[str, str]:
        return {
            "HOST": HOST,
            "REDIS_URL": "",
            "WEB_CONCURRENCY": "1",
            "FANOUT_REALM": self.realm,
            "FANOUT_KEY": base64.b64encode(self.key).decode(),
            "HUB_CLIENT_PUBLISH": "/**",
            # The others have no limit either.
            "HUB_PUBLISH_RATE": "0",
            # The others write no access log either.
            "HUB_LOG_LEVEL": "warning",
        }

    def fan_out(self, port: int) -> Load:
        return Load(
            HOST,
            port,
            "bayeux-websocket",
            "/bayeux",
            "bayeux-websocket",
            "/bayeux",
            bayeux_publish(100),
            positions=True,
        )

    def posted(self, port: int, *, publishers: int = 1, batch: int = 1, transport: Transport | None = None) -> Load:
        form = fanout_publish(f"{HOST}:{port}", self.realm, self.key, 100, batch=batch)
        return Load(
            HOST,
            port,
            transport or "bayeux-websocket",
            "/bayeux",
            "http",
            "",
            form,
            publishers=publishers,
            positions=True,
        )

    def version(self) -> str:
        return f"Python {sys.version.split()[0]}"


class Faye(Subject):
    name = "Faye"

    def start_command(self, port: int, folder: Path) -> list[str]:
        return [_node() or "node", str(RIVALS / "faye.js"), str(port)]

    def missing(self) -> str | None:
        if _node() is None:
            return "Node.js is not installed"
        if not (ROOT / "node_modules/faye/package.json").exists():
            return "its package is not installed: npm ci"
        return None

    def version(self) -> str:
        package = json.loads((ROOT / "node_modules/faye/package.json").read_text())
        return f"{package['version']}, Node {_said([_node() or 'node', '--version']).lstrip('v')}"

    def fan_out(self, port: int) -> Load:
        return Load(HOST, port, "bayeux-websocket", "/bayeux", "bayeux-websocket", "/bayeux", bayeux_publish(100))

    def posted(self, port: int, *, publishers: int = 1, batch: int = 1, transport: Transport | None = None) -> Load:
        messages = [{"channel": "/@CHANNEL@", "data": marker(98)} for _ in range(batch)]
        form = http_request(f"{HOST}:{port}", "/bayeux", json.dumps(messages, separators=(",", ":")))
        return Load(HOST, port, transport or "bayeux-websocket", "/bayeux", "http", "", form, publishers=publishers)


class Nchan(Subject):
    """Its clients use plain WebSockets: it does not know Bayeux, so it is spared the sessions."""

    name = "Nchan"
    bayeux = False
    # Its messages of one second are told apart by 16 bits with a sign (`nchan_msg_id_t`): at 31,000 a second everything
    # arrives, at 36,000 its subscribers get nothing any more.
    channel_rate = 30_000.0
    modules = Path("/usr/lib/nginx/modules")

    def start_command(self, port: int, folder: Path) -> list[str]:
        text = (RIVALS / "nchan.conf.in").read_text()
        for place, value in (("FOLDER", folder), ("PORT", port), ("MODULES", self.modules)):
            text = text.replace(f"@{place}@", str(value))
        conf = folder / "nginx.conf"
        conf.write_text(text)
        return [_nginx() or "nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(conf)]

    def missing(self) -> str | None:
        if _nginx() is None or not (self.modules / "ngx_nchan_module.so").exists():
            return "not installed: apt-get install nginx libnginx-mod-nchan"
        return None

    def version(self) -> str:
        module = _said(["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"]).partition(":")[2]
        nginx = _said([_nginx() or "nginx", "-v"]).rpartition("/")[2]
        return f"{module.partition('+')[0]}, nginx {nginx}" if module else f"nginx {nginx}"

    def fan_out(self, port: int) -> Load:
        return self.posted(port, publishers=64)

    def fan_outs(self, port: int) -> list[Load]:
        # Which is faster depends on how its event loop happens to batch them: either has won by half.
        socket = replace(
            self.fan_out(port), publish="websocket", publish_path="/pub/@CHANNEL@", form=marker(100), publishers=1
        )
        return [self.fan_out(port), socket]

    def posted(self, port: int, *, publishers: int = 1, batch: int = 1, transport: Transport | None = None) -> Load:
        if batch != 1:
            raise LoadFailed("Nchan takes one message a request")
        form = http_request(f"{HOST}:{port}", "/pub/@CHANNEL@", marker(100))
        return Load(HOST, port, "websocket", "/sub/@CHANNEL@", "http", "", form, publishers=publishers)


class SendLoop(Subject):
    name = "send(2)"
    bayeux = False

    def start_command(self, port: int, folder: Path) -> list[str]:
        return [str(compiled(RIVALS / "send.c")), str(port)]

    def fan_out(self, port: int) -> Load:
        # Its messages have no Bayeux around them: padded to the length that ours have on the wire.
        return Load(HOST, port, "websocket", "/sub", "websocket", "/pub", marker(156), payload=156)

    def posted(self, port: int, *, publishers: int = 1, batch: int = 1, transport: Transport | None = None) -> Load:
        raise LoadFailed("The loop knows no HTTP")


def _node() -> str | None:
    beside = Path(sys.executable).with_name("node")
    return str(beside) if beside.exists() else shutil.which("node")


def _nginx() -> str | None:
    return shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _said(command: list[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (result.stdout + result.stderr).strip() if result.returncode == 0 else ""


def _await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.05)
    raise LoadFailed(f"The server did not start: {log.read_text(errors='replace')[-1000:]}")
