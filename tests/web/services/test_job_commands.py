"""Jobs and mail where they are run: in `serve`, by `work`, looked after by `jobs`, looked at by `check`."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.request import urlopen

import pytest
from shell import Shell
from sqlalchemy import Connection

from web.cli import COMMANDS
from web.db.engine import checked, new_engine
from web.services.jobs import rows
from web.services.jobs.rows import Failure, New

T = TypeVar("T")

MAIL = {"to": "ada@example.org", "subject": "Hello", "text": "Hello."}


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, "web", "Fanfare on http://localhost:")


def on_database(shell: Shell, do: Callable[[Connection], T]) -> T:
    """Something done in the site's database, by another process."""

    async def run() -> T:
        engine = new_engine(checked(f"sqlite:///{shell.folder / 'var' / 'fanfare.sqlite3'}"))
        try:
            async with engine.execution_options(writing=True).begin() as connection:
                return await connection.run_sync(do)
        finally:
            await engine.dispose()

    return asyncio.run(run())


def add(shell: Shell, *jobs: New) -> list[int]:
    return on_database(shell, lambda connection: rows.add(connection, jobs, time.time()))


def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    """Wait for another process to get there."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def mails(shell: Shell) -> list[Path]:
    return sorted((shell.folder / "var" / "mail").glob("*.eml"))


@pytest.mark.long
def test_serve_does_jobs_and_counts_them(shell: Shell) -> None:
    with shell.serving("serve", "--no-demo"):
        add(shell, New("mail", MAIL), New("from a later release", None))
        until(lambda: mails(shell))

        def told() -> str:
            with urlopen(f"{shell.url}/metrics", timeout=60) as answer:
                text: str = answer.read().decode()
                return text

        until(lambda: '\nsite_jobs_done_total{kind="mail"} 1.0\n' in told())
        assert '\nsite_jobs_due{kind="unknown"} 1.0\n' in told()
    assert b"To: ada@example.org" in mails(shell)[0].read_bytes()


@pytest.mark.long
def test_work_does_what_serve_leaves_and_stops_politely(shell: Shell) -> None:
    with shell.serving("serve", "--no-demo", JOBS_SERVE="false"):
        add(shell, New("mail", MAIL))
        with shell.start("work") as working:
            assert working.stdout is not None
            assert "doing jobs of " in working.stdout.readline()
            until(lambda: mails(shell))
            working.send_signal(signal.SIGTERM)
            assert working.wait(60) == 0


def test_jobs_are_listed_shown_run_again_and_dropped(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def jobs(*arguments: str) -> tuple[int, str, str]:
        return shell.call(COMMANDS, "jobs", *arguments, monkeypatch=monkeypatch, capsys=capsys)

    assert jobs()[0] == 2
    assert shell.run("migrate").returncode == 0
    assert jobs() == (0, "no jobs\n", "")
    first, second, later = add(
        shell, New("mail", {"to": "x"}), New("mail", MAIL), New("feed", 1, "feed:3", time.time() + 3600.5)
    )

    def fail(connection: Connection) -> None:
        rows.claim(connection, {"mail": 9}, "alice", time.time(), time.time() + 3600)
        error = "ValueError: no address\n\nTraceback\n  in send"
        rows.fail(connection, "alice", Failure(first, None, error, None), time.time())

    on_database(shell, fail)
    code, said, _ = jobs("list")
    assert code == 1
    assert "mail: 0 waiting (0 due), 1 running, 1 given up\n" in said
    assert f"{later}: feed [feed:3]: due in 60 min\n" in said
    assert f"{second}: mail: running (attempt 1)\n" in said
    assert f"{first}: mail: given up 0 s ago, 1 attempts: ValueError: no address\n" in said
    code, said, _ = jobs("show", str(first), "999")
    assert code == 1
    assert 'data: {"to":"x"}\nValueError: no address\n\nTraceback\n  in send\n' in said
    assert "999: there is no such job (any more)" in said
    assert jobs("again") == (0, "1 to be tried again\n", "")
    assert jobs("again", str(second))[0] == 1
    assert jobs("drop", str(first), str(later)) == (0, "2 dropped\n", "")
    # It runs.
    assert jobs("drop", str(second)) == (1, "0 dropped\n", "")
    for wrong in (("drop",), ("show",), ("list", "3"), ("again", "x"), ("--database", "x")):
        assert jobs(*wrong)[0] == 2


def test_check_looks_at_the_mail_server(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert shell.run("migrate").returncode == 0
    assert "ok    mail: MAIL_URL is not set: mails are files in var/mail" in shell.run("check").stdout
    said = shell.run("check", MAIL_URL="smtp://ada:geheim@127.0.0.1:1", MAIL_FROM="noreply@example.org").stdout
    assert "mail: smtp+starttls://…@127.0.0.1:1: " in said
    assert "geheim" not in said
    refused = shell.run("check", MAIL_URL="smtp://mail.example.org")
    assert refused.returncode == 2
    assert "MAIL_FROM: is not set, and MAIL_URL is; whom are the mails from?" in refused.stderr
    refused = shell.run("check", MAIL_URL="smtp://ada:geheim@mail?x=1", MAIL_FROM="noreply@example.org")
    assert (refused.returncode, "geheim" in refused.stderr) == (2, False)
