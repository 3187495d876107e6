"""Heads-ups, tormented and measured: `python -m benchmarks.headsup ledger|speed [--database URL] …`.

ledger: a forge sends deliveries to the site's hook, some again with their id, some again under another; texts come
again in new commits, as after a rebase. Workers are killed (-9) at random, and so is the process that serves the
hook. The mail server refuses, hangs, breaks off, and takes mails and dies before it says so.

At the end the books: each remark reached each recipient; what came twice came with the same Message-ID.

speed: how soon the hook answers while the mail server hangs; and a push of 2,048 commits in 24 MB: how soon it is
answered, and what others who ask the same process notice of it.

Without --database on a SQLite file and on the wheel's PostgreSQL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import os
import random
import re
import signal
import socket
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiosmtpd.smtp
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from sqlalchemy import text

from hub.publisher import RecordingPublisher
from web.app import create_app, read_settings
from web.db.database import Database
from web.db.migrate import migrate
from web.db.tables import now
from web.features.headsup.jobs import KINDS
from web.features.headsup.models import HeadsupAddress, HeadsupProject, HeadsupRule, HeadsupTarget
from web.pages import keys
from web.services.jobs.runner import Options, Runner
from web.settings import Settings

from .databases import both

SECRET = "the secret of the benchmark"
RECIPIENTS = ("one@example.org", "two@example.org")
PROJECTS = 20

#: What the mail server does wrong, of so many transactions each.
FAULTS = {"refuse": 0.04, "hang": 0.003, "break": 0.02, "die": 0.02}


# The mail server: a process of its own, which writes down what it took before it says so


class _Sink:
    def __init__(self, book: Path, faults: float) -> None:
        self._book = book.open("a", encoding="ascii", buffering=1)
        self._faults = faults
        self.counts: Counter[str] = Counter()

    def _is_time_to(self, fault: str) -> bool:
        found = random.random() < FAULTS[fault] * self._faults
        self.counts[fault] += found
        return found

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self._is_time_to("refuse"):
            return "451 try again later"
        if self._is_time_to("hang"):
            await asyncio.sleep(60)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: Any, session: Any, envelope: Any
    ) -> str:
        if self._is_time_to("break"):
            server.transport.abort()
            return "451 broken off"
        raw: bytes = envelope.content
        id = re.search(rb"^Message-ID: (\S+)", raw, re.MULTILINE)
        remarks = re.findall(rb"^remark-(\d+) run it", raw, re.MULTILINE)
        line = [id[1].decode() if id else "", envelope.rcpt_tos[0], [int(each) for each in remarks]]
        self._book.write(json.dumps(line) + "\n")
        if self._is_time_to("die"):
            # Taken, and nobody is told.
            server.transport.abort()
        return "250 OK"


def _serve_mail(sock: socket.socket, book: Path, faults: float) -> int:
    async def serve() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        sink = _Sink(book, faults)
        server = await loop.create_server(
            lambda: aiosmtpd.smtp.SMTP(sink, hostname="sink.example.org", loop=loop), sock=sock
        )
        await stop.wait()
        book.with_suffix(".faults").write_text(json.dumps(sink.counts))
        server.close()
        return 0

    return asyncio.run(serve())


# The site: one process serves the hook, others do the jobs


def _settings(url: str, mail_port: int) -> Settings:
    return read_settings(
        {
            "DATABASE_URL": url,
            "SITE_SECRET": "c2l4dGVlbiBieXRlcyBhdCBsZWFzdA==",
            "SITE_URL": "https://fanfare.example.org",
            "MAIL_URL": f"smtp://127.0.0.1:{mail_port}?starttls=no&timeout=1.5",
            "MAIL_FROM": "noreply@example.org",
            "SITE_HEADSUP_MAILS": "0",
            "SITE_HEADSUP_ADDRESS_MAILS": "0",
        }
    )


def _serve_hook(settings: Settings, url: str, sock: socket.socket) -> int:
    async def serve() -> int:
        database = Database(url, RecordingPublisher())
        app = create_app(settings, RecordingPublisher(), database=database, with_jobs=False)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, sock).start()
        await asyncio.Event().wait()
        return 0

    return asyncio.run(serve())


#: The kinds with short pauses: nobody waits here for a server that is away for a day.
_QUICK = tuple(replace(kind, first=0.1, longest=1.0, attempts=1000) for kind in KINDS)


def _work(settings: Settings, url: str) -> int:
    async def work() -> int:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        database = Database(url, RecordingPublisher())
        app = create_app(settings, RecordingPublisher(), database=database, with_jobs=False)
        options = Options(lease=2.0, poll=0.1, at_once=8, grace=5.0)
        runner = Runner(database, _QUICK, RecordingPublisher(), options=options, app=app)
        app[keys.jobs].listeners.append(runner.wake)
        await runner.start()
        await stop.wait()
        await runner.stop()
        await database.close()
        return 0

    return asyncio.run(work())


def _fork(work: Any, *arguments: Any) -> int:
    """A process that does `work`; forked from one that has everything imported, as a start takes a second."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        logging.disable(logging.CRITICAL)
        code = work(*arguments)
    finally:
        os._exit(code)


def _end(pids: list[int], number: int = signal.SIGTERM) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


# The forge


@dataclass
class Books:
    """What was sent, and what of it must arrive."""

    remarks: set[int] = field(default_factory=set)
    sent: int = 0
    tries: int = 0
    again: int = 0
    renamed: int = 0
    rebased: int = 0
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class _Commit:
    id: str
    message: str


def _payload(project: int, commits: list[_Commit]) -> bytes:
    person = {"name": "Ada", "email": "ada@example.org"}
    return json.dumps(
        {
            "ref": "refs/heads/main",
            "before": "1" * 40,
            "after": commits[-1].id,
            "repository": {
                "id": project,
                "full_name": f"ada/engine-{project}",
                "private": False,
                "default_branch": "main",
            },
            "commits": [
                {"id": each.id, "message": each.message, "author": person, "committer": person, "url": ""}
                for each in commits
            ],
        }
    ).encode()


def _commit(message: str) -> _Commit:
    return _Commit(hashlib.sha1(os.urandom(16)).hexdigest(), message)


async def _send(session: ClientSession, url: str, id: str, body: bytes, books: Books) -> None:
    """Send until it is taken, with one id: so does who presses the forge's button."""
    signature = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": id,
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    while True:
        books.tries += 1
        begin = time.monotonic()
        try:
            async with session.post(f"{url}/headsup/hook", data=body, headers=headers) as response:
                if response.status < 300:
                    books.seconds.append(time.monotonic() - begin)
                    return
        except (ClientError, TimeoutError, ConnectionError):
            pass
        await asyncio.sleep(0.05)


async def _forge(url: str, deliveries: int, books: Books) -> None:
    """Send so many deliveries, those that come again counted too."""
    waiting: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(maxsize=200)
    async with ClientSession(timeout=ClientTimeout(total=30)) as session:

        async def carry() -> None:
            while True:
                id, body = await waiting.get()
                await _send(session, url, id, body, books)
                waiting.task_done()

        carriers = [asyncio.create_task(carry()) for _ in range(12)]
        remark = 0
        while books.sent < deliveries:
            project = random.randrange(1, PROJECTS + 1)
            commits = []
            for _ in range(random.choice((1, 1, 1, 2))):
                if random.random() < 0.7:
                    remark += 1
                    books.remarks.add(remark)
                    commits.append(_commit(f"Fix\n\nheadsup: remark-{remark} run it"))
                else:
                    commits.append(_commit("nothing of note"))
            body, id = _payload(project, commits), f"delivery-{books.sent}"
            sent = [(id, body)]
            dice = random.random()
            if dice < 0.05:
                sent.append((id, body))
                books.again += 1
            elif dice < 0.10:
                sent.append((f"{id}-renamed", body))
                books.renamed += 1
            elif dice < 0.13:
                sent.append((f"{id}-rebased", _payload(project, [_commit(each.message) for each in commits])))
                books.rebased += 1
            for each in sent:
                await waiting.put(each)
                books.sent += 1
        await waiting.join()
        for carrier in carriers:
            carrier.cancel()


# The books


async def _prepare(url: str) -> None:
    await migrate(url)
    database = Database(url, RecordingPublisher())
    async with database.saving() as session:
        for number in range(1, PROJECTS + 1):
            name = f"ada/engine-{number}"
            session.add(HeadsupProject(name=name, name_key=name, secret=SECRET))
        await session.flush()
        session.add_all(HeadsupRule(project_id=number, words="headsup") for number in range(1, PROJECTS + 1))
        await session.flush()
        for number in range(1, PROJECTS + 1):
            for address in RECIPIENTS:
                session.add(HeadsupTarget(rule_id=number, kind="to", address=address))
                session.add(HeadsupAddress(project_id=number, address=address, confirmed_at=now()))
    await database.close()


async def _ask(url: str, statement: str) -> list[Any]:
    database = Database(url, RecordingPublisher())
    try:
        async with database.engine.connect() as connection:
            return list((await connection.execute(text(statement))).all())
    finally:
        await database.close()


_LEFT = "select count(*) from jobs where finished is null and kind like 'headsup%' and key is null"


def ledger(url: str, name: str, deliveries: int, workers: int, pause: float, faults: float, patience: float) -> bool:
    """Send, kill, and count; print what became of it all."""
    asyncio.run(_prepare(url))
    with tempfile.TemporaryDirectory(prefix="fanfare-headsup-") as folder:
        book = Path(folder) / "mails.jsonl"
        book.touch()
        mail_socket, hook_socket = _listening(), _listening()
        mail_port, hook_port = mail_socket.getsockname()[1], hook_socket.getsockname()[1]
        settings = _settings(url, mail_port)
        sink = _fork(_serve_mail, mail_socket, book, faults)
        pids = [_fork(_serve_hook, settings, url, hook_socket)]
        pids += [_fork(_work, settings, url) for _ in range(workers)]
        books, kills, started = Books(), [0, 0], time.monotonic()
        left = -1
        try:
            asyncio.run(
                _torment(
                    f"http://127.0.0.1:{hook_port}", deliveries, books, pids, settings, url, hook_socket, pause, kills
                )
            )
            sent = time.monotonic() - started
            limit = time.monotonic() + patience
            while (left := int(asyncio.run(_ask(url, _LEFT))[0][0])) and time.monotonic() < limit:
                time.sleep(0.5)
        finally:
            _end(pids)
            _end([sink])
            mail_socket.close()
            hook_socket.close()
        seconds = time.monotonic() - started
        lines = [json.loads(line) for line in book.read_text().splitlines()]
        wrong = json.loads(book.with_suffix(".faults").read_text())
    return _judge(name, books, lines, kills, left, sent, seconds, wrong)


def _judge(
    name: str, books: Books, lines: list[Any], kills: list[int], left: int, sent: float, seconds: float, wrong: Any
) -> bool:
    reached: dict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for id, recipient, remarks in lines:
        for remark in remarks:
            reached[remark, recipient][id] += 1
    wanted = {(remark, recipient) for remark in books.remarks for recipient in RECIPIENTS}
    lost = len(wanted - reached.keys())
    twice = sum(sum(ids.values()) > 1 for ids in reached.values())
    other = sum(len(ids) > 1 for ids in reached.values())
    p99 = sorted(books.seconds)[int(0.99 * len(books.seconds))] * 1000 if books.seconds else 0.0
    good = not (lost or other or left) and reached.keys() <= wanted
    print(
        f"{name}: {books.sent} deliveries ({books.again} again with their id, {books.renamed} under another,"
        f" {books.rebased} rebased), {books.tries} requests in {sent:.0f} s, p99 {p99:.0f} ms;"
        f" all done after {seconds:.0f} s; killed: {kills[0]} workers, the hook {kills[1]} times; SMTP: {wrong};"
        f" {len(books.remarks)} remarks for {len(RECIPIENTS)}: lost {lost},"
        f" came twice with the same Message-ID {twice},"
        f" with another {other}; jobs left: {left}; {'ok' if good else 'BAD'}",
        flush=True,
    )
    return good


async def _torment(
    url: str,
    deliveries: int,
    books: Books,
    pids: list[int],
    settings: Settings,
    database: str,
    hook: socket.socket,
    pause: float,
    kills: list[int],
) -> None:
    forge = asyncio.create_task(_forge(url, deliveries, books))
    while not forge.done():
        await asyncio.wait([forge], timeout=random.uniform(0.5, 1.5) * pause)
        if forge.done():
            break
        victim = random.randrange(len(pids))
        os.kill(pids[victim], signal.SIGKILL)
        os.waitpid(pids[victim], 0)
        kills[victim == 0] += 1
        pids[victim] = _fork(_serve_hook, settings, database, hook) if victim == 0 else _fork(_work, settings, database)
    await forge


# speed


def _serve_all(settings: Settings, url: str, sock: socket.socket) -> int:
    """The site with its jobs, in one process, as `fanfare serve` has it."""

    async def serve() -> int:
        database = Database(url, RecordingPublisher())
        app = create_app(settings, RecordingPublisher(), database=database, with_jobs=True)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.SockSite(runner, sock).start()
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await runner.cleanup()
        return 0

    return asyncio.run(serve())


async def _hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    # It takes the connection and says nothing.
    with contextlib.suppress(ConnectionError):
        await reader.read()
    writer.close()


async def _answers(url: str, deliveries: int, books: Books) -> None:
    async with ClientSession(timeout=ClientTimeout(total=30)) as session:
        for number in range(deliveries):
            body = _payload(number % PROJECTS + 1, [_commit(f"headsup: remark-{number} run it")])
            await _send(session, url, f"speed-{number}", body, books)
            await asyncio.sleep(0.01)


async def _ask_on(url: str, seconds: list[float], stop: asyncio.Event) -> None:
    """Ask for a small page again and again, as another client does."""
    async with ClientSession() as session:
        while not stop.is_set():
            begin = time.monotonic()
            async with session.get(f"{url}/headsup/hook") as response:
                await response.read()
            seconds.append(time.monotonic() - begin)
            await asyncio.sleep(0.002)


async def _large(url: str, quiet: float) -> tuple[float, list[float], list[float]]:
    """Seconds until a push of 24 MB was answered; what another client waited before it, and while it was taken in."""
    commits = [_commit(f"headsup: remark-{number} run it\n\n{'x' * 11_000}") for number in range(2048)]
    body = _payload(1, commits)
    body = body[:-1] + b', "padding": "' + b"y" * max(0, 24 * 1024 * 1024 - len(body) - 20) + b'"}'
    before: list[float] = []
    during: list[float] = []
    for seconds, work in ((before, None), (during, body)):
        stop = asyncio.Event()
        asking = asyncio.create_task(_ask_on(url, seconds, stop))
        await asyncio.sleep(0.5)
        seconds.clear()
        begin = time.monotonic()
        if work is not None:
            # A forge is another machine: it shall not wait for the one that asks here.
            answered = await asyncio.to_thread(_post, url, work)
        # The job that looks at it is measured too.
        await asyncio.sleep(max(0.0, quiet - (time.monotonic() - begin)))
        stop.set()
        await asking
    return answered, before, during


def _post(url: str, body: bytes) -> float:
    import http.client

    host, port = url.removeprefix("http://").split(":")
    signature = hmac.new(SECRET.encode(), body, "sha256").hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-GitHub-Delivery": f"large-{time.monotonic()}",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    begin = time.monotonic()
    connection.request("POST", "/headsup/hook", body, headers)
    with connection.getresponse() as response:
        response.read()
        if response.status != 202:
            raise RuntimeError(f"answered {response.status}")
    seconds = time.monotonic() - begin
    connection.close()
    return seconds


def _p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(0.99 * len(seconds))] * 1000


def speed(url: str, name: str, deliveries: int) -> bool:
    """Measure, and print the figures."""
    asyncio.run(_prepare(url))
    mail_socket, hook_socket = _listening(), _listening()
    settings = _settings(url, mail_socket.getsockname()[1])
    address = f"http://127.0.0.1:{hook_socket.getsockname()[1]}"
    pids = [_fork(_hang_on, mail_socket), _fork(_serve_all, settings, url, hook_socket)]
    books = Books()
    try:
        asyncio.run(_answers(address, deliveries, books))
        answered, before, during = asyncio.run(_large(address, 4.0))
    finally:
        _end(pids)
        mail_socket.close()
        hook_socket.close()
    good = _p99(books.seconds) < 50 and answered < 1 and _p99(during) < _p99(before) + 5
    print(
        f"{name}: hook while SMTP hangs, {deliveries} deliveries: p99 {_p99(books.seconds):.1f} ms;"
        f" 24 MB answered in {answered:.2f} s; others' p99 {_p99(before):.1f} ms before,"
        f" {_p99(during):.1f} ms meanwhile (longest {max(during) * 1000:.0f} ms); {'ok' if good else 'BAD'}",
        flush=True,
    )
    return good


def _hang_on(sock: socket.socket) -> int:
    async def serve() -> int:
        server = await asyncio.start_server(_hang, sock=sock)
        await server.serve_forever()
        return 0

    return asyncio.run(serve())


def _listening() -> socket.socket:
    sock = socket.create_server(("127.0.0.1", 0), backlog=1000)
    sock.setblocking(False)
    return sock


def main() -> int:
    """Parse the arguments and run the ledger or the measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.headsup", description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("ledger", "speed"))
    parser.add_argument("--database", metavar="URL", help="an empty one")
    parser.add_argument("--deliveries", type=int, help="100,000, or 500 for speed")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pause", type=float, default=5.0, help="seconds between two kills, on average")
    parser.add_argument("--faults", type=float, default=1.0, help="how often the mail server fails; 0 for never")
    parser.add_argument("--patience", type=float, default=600.0, help="seconds to wait for the last mail")
    found = parser.parse_args()
    good = True
    with both("headsup", found.database) as databases:
        for name, url in databases:
            if found.what == "speed":
                good &= speed(url, name, found.deliveries or 500)
                continue
            count = found.deliveries or 100_000
            good &= ledger(url, name, count, found.workers, found.pause, found.faults, found.patience)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
