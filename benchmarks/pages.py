"""`make pages`: pages, in requests per server CPU second, beside nginx and Django, and ten thousand browsers at once.

Every server runs alone on one core and logs no requests; what is counted is the time of its own processes, so a slow
client or a busy machine changes little. Compare the lines of one run. nginx serves the very bytes of the event's page
as a file; Django gives them from its cache middleware, in memory, under gunicorn with one worker.

"Made anew" is what a page costs that somebody asks for after a comment was told: before each request the position of
its comments is moved by a publication, and what as many publications cost alone, in the same run, is taken off. Without
keeping (`SITE_PAGES=off`) a page costs other things: its event is looked up by name each time, its sheets stay links.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import os
import re
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request, urlopen

from hub.publisher import Item, encoded, way_to

from .ports import free_port
from .servers import HOST, ROOT, _await_port, _nginx

EVENT = "/events/brass-on-the-quay"
CHROME = "gzip, deflate, br, zstd"
_TICKS = os.sysconf("SC_CLK_TCK")

#: What signs publications.
KEY = b"k" * 32

#: The core of each server.
ONE = frozenset({0})

DJANGO = """
import sys
from django.conf import settings
settings.configure(
    ALLOWED_HOSTS=["*"], SECRET_KEY="of the benchmark", ROOT_URLCONF=__name__, USE_TZ=True,
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        "django.middleware.cache.UpdateCacheMiddleware",
        "django.middleware.http.ConditionalGetMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
        "django.middleware.cache.FetchFromCacheMiddleware",
    ],
    CACHE_MIDDLEWARE_SECONDS=600,
)
import django
django.setup()
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path
BODY = open("page.html", "rb").read()
urlpatterns = [path("page.html", lambda request: HttpResponse(BODY))]
application = get_wsgi_application()
"""

NGINX = """
daemon off; master_process off; worker_processes 1; pid @FOLDER@/pid; error_log @FOLDER@/error.log;
events { worker_connections 12000; }
http {
  access_log off; types { text/html html; } keepalive_requests 1000000; sendfile on; open_file_cache max=10;
  client_body_temp_path @FOLDER@/a; proxy_temp_path @FOLDER@/b; fastcgi_temp_path @FOLDER@/c;
  uwsgi_temp_path @FOLDER@/d; scgi_temp_path @FOLDER@/e;
  server { listen 127.0.0.1:@PORT@; root @FOLDER@; }
}
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """How many requests a server answered, and what they took. cpu: seconds."""

    name: str
    requests: int
    cpu: float
    length: int

    @property
    def each(self) -> float:
        """Requests per CPU second of the server."""
        return self.requests / self.cpu


@contextlib.contextmanager
def running(command: list[str], folder: Path, port: int, cores: frozenset[int], **environ: str) -> Iterator[int]:
    """A server that runs on these cores; its process id. Ended on leaving."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", "PORT": str(port), **environ},
            preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509  # no thread runs here yet
        )
    try:
        _await_port(port, process, log)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def site(
    folder: Path, port: int, cores: frozenset[int] = ONE, **environ: str
) -> contextlib.AbstractContextManager[int]:
    """The site with its demo content, in one process."""
    given = {
        "HOST": HOST,
        "HUB_VAR": str(folder / "var"),
        "HUB_LOG_LEVEL": "warning",
        "FANOUT_KEY": base64.b64encode(KEY).decode(),
        "REDIS_URL": "",
        "DATABASE_URL": "",
    }
    return running([sys.executable, "-m", "web", "serve"], folder, port, cores, **given, **environ)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process and its children."""
    total = 0
    for each in [pid, *_children(pid)]:
        fields = Path(f"/proc/{each}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [int(each) for each in found]


def _question(path: str, port: int, more: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {HOST}:{port}\r\nAccept: text/html\r\n{more}\r\n".encode()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, int, str]:
    """Status, bytes of the body, and the head of an answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    match = re.search(r"(?i)\r\ncontent-length: (\d+)", head)
    length = int(match[1]) if match else 0
    if length:
        await reader.readexactly(length)
    return int(head[9:12]), length, head


async def _ask(port: int, question: bytes, requests: int, connections: int) -> int:
    """Ask so often over a few connections; the length of an answer's body."""
    lengths: set[int] = set()

    async def one(count: int) -> None:
        reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 20)
        for _ in range(count):
            writer.write(question)
            status, length, _ = await _answer(reader)
            assert status in {200, 304}, status
            lengths.add(length)
        writer.close()

    await asyncio.gather(*(one(requests // connections) for _ in range(connections)))
    return max(lengths)


def rate(name: str, pid: int, port: int, path: str, requests: int, more: str = "") -> Rate:
    """Measure one kind of request, after some that nobody counts."""
    question = _question(path, port, more)
    asyncio.run(_ask(port, question, 64, 8))
    before = cpu_of(pid)
    length = asyncio.run(_ask(port, question, requests, 8))
    return Rate(name, requests // 8 * 8, cpu_of(pid) - before, length)


def anew(pid: int, port: int, requests: int) -> Rate:
    """Measure a page that is made because its position moved."""
    channel = json.loads(_get(port, f"{EVENT}/comments.json")[0])["channel"]
    way = way_to(f"http://{HOST}:{port}", "fanfare", KEY, 10.0)
    question = _question(EVENT, port, "")
    number = 0

    def publish() -> None:
        nonlocal number
        number += 1
        way.publish([encoded(Item(channel, number, id=f"{number}"))])

    async def ask(count: int) -> int:
        reader, writer = await asyncio.open_connection(HOST, port, limit=1 << 20)
        length = 0
        for _ in range(count):
            publish()
            writer.write(question)
            status, length, head = await _answer(reader)
            assert status == 200, status
            assert "fwd=miss; stored" in head, head
        writer.close()
        return length

    asyncio.run(ask(64))
    before = cpu_of(pid)
    for _ in range(requests):
        publish()
    alone, before = cpu_of(pid) - before, cpu_of(pid)
    length = asyncio.run(ask(requests))
    way.close()
    return Rate("event's page, made anew", requests, cpu_of(pid) - before - alone, length)


def _get(port: int, path: str, **headers: str) -> tuple[bytes, dict[str, str]]:
    with urlopen(Request(f"http://{HOST}:{port}{path}", headers={"Accept": "text/html", **headers})) as answer:
        return answer.read(), {name.lower(): value for name, value in answer.headers.items()}


def _made(port: int) -> float:
    text = _get(port, "/metrics")[0].decode()
    match = re.search(r'^site_pages_total\{how="made"\} ([0-9.e+]+)', text, re.MULTILINE)
    return float(match[1]) if match else 0.0


def measure(requests: int) -> list[Rate]:
    """All rates, one server after the other."""
    found = []
    with tempfile.TemporaryDirectory(prefix="fanfare-pages-") as name:
        folder, port = Path(name), free_port()
        with site(folder, port) as pid:
            page, headers = _get(port, EVENT)
            tag = f"If-None-Match: {headers['etag']}\r\n"
            found += [
                rate("event's page, kept", pid, port, EVENT, requests),
                rate("event's page, kept, packed", pid, port, EVENT, requests, f"Accept-Encoding: {CHROME}\r\n"),
                rate("event's page, 304", pid, port, EVENT, requests, tag),
                rate("home page, kept", pid, port, "/", requests),
                rate("comments.json, kept", pid, port, f"{EVENT}/comments.json", requests),
                anew(pid, port, max(64, requests // 20)),
            ]
        with site(folder, port, SITE_PAGES="off") as pid:
            found.append(rate("event's page, SITE_PAGES=off", pid, port, EVENT, max(64, requests // 20)))
        (folder / "page.html").write_bytes(page)
        if (nginx := _nginx()) is not None:
            conf = folder / "nginx.conf"
            conf.write_text(NGINX.replace("@FOLDER@", str(folder)).replace("@PORT@", str(port)))
            with running([nginx, "-p", name, "-e", f"{name}/error.log", "-c", str(conf)], folder, port, ONE) as pid:
                found.append(rate("nginx, the same bytes as a file", pid, port, "/page.html", requests))
        (folder / "cached.py").write_text(DJANGO)
        command = [
            sys.executable,
            "-m",
            "gunicorn",
            "-k",
            "gthread",
            "--threads",
            "8",
            "-b",
            f"{HOST}:{port}",
            "cached",
        ]
        with running(command, folder, port, ONE) as pid:
            found.append(rate("Django, cache middleware", pid, port, "/page.html", max(64, requests // 10)))
    return found


async def _crowd(port: int, browsers: int) -> tuple[float, float]:
    """So many connections ask for the page within a second; seconds of the slowest answer, and of the median."""
    question = _question(EVENT, port, f"Accept-Encoding: {CHROME}\r\nConnection: close\r\n")
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def one(number: int) -> None:
        await asyncio.sleep(number / browsers)
        began = loop.time()
        with socket.socket() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (HOST, port))
            await loop.sock_sendall(sock, question)
            got = await loop.sock_recv(sock, 1 << 16)
            assert got.startswith(b"HTTP/1.1 200"), got[:100]
            while await loop.sock_recv(sock, 1 << 16):
                pass
        times.append(loop.time() - began)

    await asyncio.gather(*(one(number) for number in range(browsers)))
    times.sort()
    return times[-1], times[len(times) // 2]


def crowd(browsers: int) -> str:
    """What a crowd that opens a page which nobody has asked for yet has to wait, in words."""
    with tempfile.TemporaryDirectory(prefix="fanfare-pages-") as name:
        port = free_port()
        with site(Path(name), port, HUB_ADDRESS_CONNECTIONS="0") as pid:
            made, before = _made(port), cpu_of(pid)
            slowest, median = asyncio.run(_crowd(port, browsers))
            return (
                f"{browsers} browsers within a second: slowest {slowest:.2f} s, median {median * 1000:.0f} ms,"
                f" page made {_made(port) - made:.0f} times, {cpu_of(pid) - before:.2f} CPU seconds"
            )


def main() -> int:
    parser = argparse.ArgumentParser(prog="make pages", description=__doc__)
    parser.add_argument("--requests", type=int, default=40_000, help="of each kind")
    parser.add_argument("--browsers", type=int, default=10_000, help="of the crowd; 0 for none")
    found = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, found.browsers + 1000), hard), hard))
    rates = measure(found.requests)
    django = rates[-1].each
    print("| what | requests per server CPU second | of Django's | bytes |\n|---|---:|---:|---:|")
    for each in rates:
        print(f"| {each.name} | {each.each:,.0f} | {each.each / django:.1f} | {each.length} |")
    if found.browsers:
        print("\n" + crowd(found.browsers))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
