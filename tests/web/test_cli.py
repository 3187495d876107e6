"""The commands of `fanfare`, as they are run."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

import asyncpg
import pytest
from ports import free_port
from services import Postgres
from shell import Shell

from web.cli import COMMANDS


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path, "web", "Fanfare on http://localhost:")


def test_publish_command_that_serve_prints_works_as_it_stands(
    shell: Shell, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """`make run` printed `fanfare publish …`, which is on nobody's PATH; and in another folder there is no key."""
    with shell.serving("serve") as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if line.startswith("  publish: "))
        said = subprocess.run(
            ["sh", "-c", line.split("`")[1]],
            cwd=tmp_path_factory.mktemp("elsewhere"),
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith("published")


def test_serve_makes_everything_on_its_first_run_and_nothing_on_its_second(shell: Shell) -> None:
    with shell.serving("serve"):
        first = shell.said
        with urlopen(f"{shell.url}/", timeout=60) as page:
            assert b"<title>" in page.read()
        with urlopen(f"{shell.url}/ready", timeout=60) as answer:
            assert json.load(answer)["ready"]
        assert shell.run("publish", "events", "true").returncode == 0
        checked = shell.run("check")
    assert "demo content: " in first
    assert "account for /manage/events: manager, password " in first
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "ok    database: " in checked.stdout
    made = sorted(path.name for path in (shell.folder / "var").iterdir() if not path.name.endswith(("-wal", "-shm")))
    assert made == ["fanfare.sqlite3", "fanout.key", "inside", "search", "site.key", "views"]
    with shell.serving("serve"):
        assert "demo content" not in shell.said
        assert "password" not in shell.said


def test_an_empty_database_stays_empty_when_asked(shell: Shell) -> None:
    with shell.serving("serve", "--no-demo"):
        assert "demo content" not in shell.said
    done = shell.run("demo")
    assert (done.returncode, done.stderr) == (0, "")
    assert "demo content: " in done.stdout


def test_what_a_command_saved_is_told_by_whoever_serves_the_site(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def outbox() -> tuple[int, str, str]:
        return shell.call(COMMANDS, "outbox", monkeypatch=monkeypatch, capsys=capsys)

    assert outbox()[0] == 2
    assert shell.run("demo").returncode == 0
    code, said, _ = outbox()
    assert code == 0
    assert " waiting, the oldest for " in said
    with shell.serving("serve"):
        until(lambda: outbox() == (0, "0 waiting; 0 refused by the hub\n", ""))
        with urlopen(f"{shell.url}/metrics", timeout=60) as answer:
            assert b"\nhub_outbox_waiting 0.0\n" in answer.read()


@pytest.mark.long
def test_the_site_is_not_ready_while_its_database_is_away(
    shell: Shell, services_folder: Path, postgres_server: Postgres
) -> None:
    folder = Path(tempfile.mkdtemp(dir=services_folder))
    folder.chmod(0o755)
    postgres = Postgres(folder).start()
    try:
        with shell.serving("serve", DATABASE_URL=postgres.url()):
            assert probe(shell, "ready")[0] == 200
            postgres.kill()
            status, state = probe(shell, "ready")
            assert (status, state["ready"]) == (503, False)
            assert state["reason"].startswith(f"DATABASE_URL: 127.0.0.1:{postgres.port}: ")
            # Alive all the same: a restart of the site would not bring the database back. The reason's last
            # words may differ: what was open is reset, what is opened anew is refused.
            status, state = probe(shell, "health")
            assert (status, state["ready"]) == (200, False)
            assert state["reason"].startswith(f"DATABASE_URL: 127.0.0.1:{postgres.port}: ")
            postgres.start()
            until(lambda: probe(shell, "ready")[0] == 200)
    finally:
        postgres.stop()


def probe(shell: Shell, name: str) -> tuple[int, Any]:
    """What a load balancer sees."""
    try:
        with urlopen(f"{shell.url}/{name}", timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for another process to get there."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def test_migrate_says_which_database(shell: Shell) -> None:
    done = shell.run("migrate")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("var/fanfare.sqlite3 is up to date\n")


def test_manager_makes_an_account_and_changes_its_password(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def manager(*arguments: str, password: str) -> tuple[int, str, str]:
        return shell.call(
            COMMANDS, "manager", *arguments, input=f"{password}\n", monkeypatch=monkeypatch, capsys=capsys
        )

    code, said, error = manager("ann", password="correct horse")
    # The environment of a shell may name another database than the server's.
    assert (code, error) == (0, "")
    assert said.startswith("ann may sign in, by sqlite:///")
    assert said.endswith("var/fanfare.sqlite3\n")
    assert manager("ann", password="correct horse") == (2, "", "fanfare: there is a user 'ann' already\n")
    assert manager("ann", "--change", password="battery staple") == (0, said, "")
    assert manager("bob", "--change", password="battery staple") == (2, "", "fanfare: there is no account 'bob'\n")
    assert manager("eve", password="x")[0] == 2
    assert manager("wim", "--role", "writer", password="correct horse")[:1] == (0,)


def test_role_is_given_to_who_has_an_account(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> tuple[int, str, str]:
        return shell.call(COMMANDS, *arguments, input="correct horse\n", monkeypatch=monkeypatch, capsys=capsys)

    assert call("manager", "ann")[0] == 0
    code, said, _ = call("role", "ann", "user")
    assert code == 0
    assert said.startswith("ann has the role user, by sqlite:///")
    assert call("role", "bob", "writer") == (2, "", "fanfare: there is no account 'bob'\n")


@pytest.mark.parametrize("command", ["serve", "outbox"])
def test_an_unreachable_database_is_one_line_with_its_address(
    shell: Shell, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"postgresql://someone:hunter2@127.0.0.1:{free_port()}/site"
    code, _, said = shell.call(COMMANDS, command, monkeypatch=monkeypatch, capsys=capsys, DATABASE_URL=url)
    assert (code, said.count("\n")) == (1, 1)
    assert url.rpartition("@")[2].partition("/")[0] in said
    assert "hunter2" not in said


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b'{"ready": true}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def check(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[[str], tuple[int, list[str]]]]:
    """`fanfare check` with a database and with a hub that is well: its exit code, and the lines that are not ok."""

    def run(url: str) -> tuple[int, list[str]]:
        environ = {"DATABASE_URL": url, "FANOUT_KEY": base64.b64encode(b"k" * 32).decode()}
        code, printed, said = shell.call(
            COMMANDS, "check", "--url", hub, monkeypatch=monkeypatch, capsys=capsys, **environ
        )
        assert said == ""
        return code, [line for line in printed.splitlines() if not line.startswith("ok    ")]

    with ThreadingHTTPServer(("127.0.0.1", 0), _Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        hub = f"http://127.0.0.1:{server.server_address[1]}"
        yield run
        server.shutdown()
        thread.join()


def test_check_of_a_postgresql_that_is_not_there_fails_with_its_address(
    check: Callable[[str], tuple[int, list[str]]],
) -> None:
    place = f"127.0.0.1:{free_port()}"
    code, (line,) = check(f"postgresql://someone:hunter2@{place}/site")
    assert code == 1
    assert line.startswith(f"FAIL  database: DATABASE_URL: {place}: ")
    assert line.endswith("; nothing listens there: start PostgreSQL, or name another in DATABASE_URL")
    assert "hunter2" not in line


def test_check_of_a_database_that_its_server_has_not_fails_with_the_mend(
    check: Callable[[str], tuple[int, list[str]]], postgres_server: Postgres
) -> None:
    code, (line,) = check(postgres_server.url("nowhere"))
    assert code == 1
    assert line.startswith(f"FAIL  database: DATABASE_URL: 127.0.0.1:{postgres_server.port}: ")
    assert line.endswith('database "nowhere" does not exist; make it, or name another in DATABASE_URL')


def test_check_of_a_database_without_its_tables_fails_and_makes_none(
    check: Callable[[str], tuple[int, list[str]]],
    shell: Shell,
    new_postgres_database: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = new_postgres_database()
    for _ in range(2):
        code, (line,) = check(url)
        assert code == 1
        assert re.fullmatch(
            rf"FAIL  database: .*{re.escape(url.partition('@')[2])}: \d+ migrations are missing;"
            " `fanfare migrate` makes them",
            line,
        )
    assert shell.call(COMMANDS, "migrate", monkeypatch=monkeypatch, capsys=capsys, DATABASE_URL=url)[0] == 0
    assert check(url) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "environ", "complaint"),
    [
        (("serve",), {"SITE_POL": "1"}, "SITE_POL: unknown setting; did you mean SITE_POLL?"),
        (("migrate",), {"DATABASE_URL": "mysql://localhost/x"}, "DATABASE_URL: speaks of 'mysql'"),
        (("serve", "--host", "0.0.0.0"), {}, "FANOUT_KEY: is not set, and HOST is not a loopback address"),
        (("watch",), {}, "only PostgreSQL has triggers"),
        (("outbox", "--database", "x"), {}, "--database: is not a URL"),
    ],
)
def test_what_is_asked_wrongly_ends_with_2(
    shell: Shell,
    arguments: tuple[str, ...],
    environ: dict[str, str],
    complaint: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, printed, said = shell.call(COMMANDS, *arguments, monkeypatch=monkeypatch, capsys=capsys, **environ)
    assert (code, printed, said.count("\n")) == (2, "", 1)
    assert said.startswith(f"fanfare: {complaint}")


@pytest.mark.long
async def test_a_change_made_by_psql_reaches_a_subscriber(shell: Shell, postgres_url: str) -> None:
    """A trigger writes the outbox, `outbox --sweep` hears of it and publishes."""
    shell.environ["DATABASE_URL"] = postgres_url
    shell.run("demo")
    wrong = shell.run("watch", "comments", "x-{nope}")
    assert (wrong.returncode, wrong.stderr) == (1, "fanfare: comments has no column nope\n")
    watched = shell.run("watch", "comments", "comments-{thread_id}", "--data", '"{id}"', "--on", "changed")
    assert (watched.returncode, watched.stderr) == (0, "")
    assert shell.run("watch").stdout == "comments: 'comments-{thread_id}' --data '\"{id}\"' --on changed\n"
    assert shell.run("watch", "--check").stdout.endswith(": ok\n")
    connection = await asyncpg.connect(postgres_url)
    try:
        # What `demo` has to tell is not to be heard here.
        await connection.execute("DELETE FROM fanfare_outbox")
        assert shell.run("outbox").stdout == "0 waiting; 0 refused by the hub\n"
        with shell.serving("serve"):
            sweeping = shell.start("outbox", "--sweep")
            try:
                assert sweeping.stdout is not None
                assert sweeping.stdout.readline().startswith("publishing what ")
                comment = await connection.fetchrow("SELECT id, thread_id FROM comments LIMIT 1")
                channel = f"comments-{comment['thread_id']}"
                hearing = shell.start("subscribe", channel, "--count", "1")
                while "nobody" in shell.run("publish", "nothing", "1").stdout and hearing.poll() is None:
                    # Heard once it has subscribed, whenever that was.
                    await connection.execute("UPDATE comments SET text = text || '!' WHERE id = $1", comment["id"])
                heard = json.loads(hearing.communicate(timeout=60)[0])
                assert (heard["channel"], heard["data"]) == (channel, comment["id"])
            finally:
                sweeping.terminate()
                sweeping.communicate(timeout=60)
    finally:
        await connection.close()
    assert sweeping.returncode == 0
    assert shell.run("watch", "--remove").stdout == "1 watch removed\n"
