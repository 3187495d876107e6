"""The commands, as they are run: what they print, where, and how they end."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import time
from pathlib import Path
from urllib.request import urlopen

import pytest
from ports import free_port
from shell import Shell

from hub.cli import HUB_COMMANDS, main, markdown, shown
from hub.protocol import tokens
from hub.settings import Settings, describe

KEY = bytes(range(32))


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_publish_reaches_subscribe_through_a_hub(shell: Shell) -> None:
    with shell.serving():
        listening = shell.start("subscribe", "comments-17", "news/*", "--count", "3")
        # Heard from the first that says so.
        while "nobody" in (said := shell.run("publish", "news/a", "0")).stdout:
            assert said.returncode == 0, said.stderr
        assert shell.run("publish", "comments-17", '{"id": [3, null]}').returncode == 0
        assert shell.run("publish", "comments-17", "-", "--hint", input="17\n").returncode == 0
        printed, complaints = listening.communicate(timeout=60)
    assert (listening.returncode, complaints) == (0, "")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [(line["channel"], line["data"]) for line in lines][-2:] == [
        ("comments-17", {"id": [3, None]}),
        ("comments-17", 17),
    ]
    assert lines[-1]["position"].endswith(".2")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("é 日本 🙂", "é 日本 🙂"),
        ("\x1b]0;x\x07", r"\u001b]0;x\u0007"),
        ("\x9b2J", r"\u009b2J"),
        ("a\u202eb", r"a\u202eb"),
        ("\U000e0041", r"\udb40\udc41"),
    ],
)
def test_nobody_s_words_are_orders_to_the_terminal(text: str, line: str) -> None:
    """A hub's refusal, and whoever published where somebody looked on by `fanfare subscribe`, could give some."""
    assert shown(text) == line
    assert json.loads(shown(json.dumps({"data": text}, ensure_ascii=False))) == {"data": text}


def test_subscribe_recovers_from_a_position(shell: Shell) -> None:
    with shell.serving():
        first = shell.run("publish", "a", "1").stdout.split()[2]
        for number in (2, 3):
            shell.run("publish", "a", str(number))
        heard = shell.run("subscribe", "a", "--since", f"a={first}", "--count", "2")
        assert [json.loads(line)["data"] for line in heard.stdout.splitlines()] == [2, 3]
        lost = shell.start("subscribe", "a", "--since", "a=gone.1")
        assert lost.stderr is not None
        assert lost.stderr.readline() == "a: publications may be missing here\n"
        lost.send_signal(signal.SIGINT)
        assert lost.wait(60) == 130
        lost.communicate()


def test_subscribe_continues_after_the_hub_was_restarted(shell: Shell) -> None:
    listening = None
    try:
        with shell.serving():
            listening = shell.start("subscribe", "a", "--count", "2")
            while "nobody" in shell.run("publish", "a", "1").stdout:
                pass
            assert listening.stdout is not None
            listening.stdout.readline()
        with shell.serving():
            deadline = time.monotonic() + 60
            while listening.poll() is None and time.monotonic() < deadline:
                shell.run("publish", "a", "2")
            assert listening.returncode == 0
            assert listening.stderr is not None
            # The log was in memory, so there was nothing to recover from.
            assert "a: publications may be missing here\n" in listening.stderr.readlines()
    finally:
        if listening is not None:
            listening.kill()
            listening.communicate()


def test_the_hub_is_what_python_m_hub_serves_and_ends_at_sigterm(shell: Shell) -> None:
    with shell.serving() as process:
        with urlopen(f"{shell.url}/ready", timeout=60) as answer:
            assert json.load(answer)["ready"]
        assert (shell.folder / "var" / "fanout.key").stat().st_mode & 0o777 == 0o600
        process.terminate()
        assert process.wait(20) == 0


def test_a_taken_port_is_one_line(shell: Shell) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        port = str(sock.getsockname()[1])
        done = shell.run("serve", "--port", port)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"PORT: can't listen on 127.0.0.1:{port}: another server is there; stop it, or take another" in done.stderr
    assert done.stderr.endswith(f", such as PORT={int(port) + 1}\n")


def test_an_unreachable_redis_is_one_line_with_its_address(shell: Shell) -> None:
    port = free_port()
    for workers in ("1", "2"):
        done = shell.run("serve", REDIS_URL=f"redis://127.0.0.1:{port}", WEB_CONCURRENCY=workers)
        assert done.returncode == 1
        assert done.stderr.count("\n") <= int(workers)
        assert f"127.0.0.1:{port}" in done.stderr


def test_key_that_no_hub_has_made_is_named_by_its_whole_path(shell: Shell) -> None:
    """From another folder it was another var/, and the line did not say which."""
    done = shell.run("token")
    path = shell.folder / "var" / "fanout.key"
    assert f"FANOUT_KEY: is not set, and no hub has made {path} yet; HUB_VAR names another folder" in done.stderr


def test_workers_share_a_port_and_are_replaced(shell: Shell, redis_url: str) -> None:
    with shell.serving("--workers", "2", REDIS_URL=redis_url) as process:
        shell.environ["REDIS_URL"] = redis_url
        children = worker_pids(process.pid)
        assert len(children) == 2
        os.kill(children[0], signal.SIGKILL)
        deadline = time.monotonic() + 60
        while worker_pids(process.pid)[:1] in ([], children[:1]) or len(worker_pids(process.pid)) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert shell.run("publish", "a", "1").returncode == 0
        process.terminate()
        assert process.wait(20) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in worker_pids(process.pid))


def worker_pids(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in children.read_text().split()] if children.exists() else []


@pytest.mark.parametrize(
    ("arguments", "environ", "complaint"),
    [
        (("serve",), {"PORT": "http"}, "python -m hub: PORT: 'http' is not a whole number\n"),
        (("serve", "--port", "http"), {}, "python -m hub: PORT: 'http' is not a whole number\n"),
        (
            ("serve",),
            {"HUB_ORIGIN": "x"},
            "python -m hub: HUB_ORIGIN: unknown setting; did you mean HUB_ORIGINS?\n",
        ),
        (
            ("publish", "a", "hello"),
            {"FANOUT_KEY": base64.b64encode(KEY).decode()},
            "python -m hub: not JSON: 'hello'; say --text to publish it as text\n",
        ),
        (
            ("publish", "a", "NaN"),
            {"FANOUT_KEY": base64.b64encode(KEY).decode()},
            "python -m hub: not JSON: 'NaN'; say --text to publish it as text\n",
        ),
        (("publish", "", "1"), {}, "python -m hub: Invalid channel: \n"),
        (("publish", "meta/connect", "1"), {}, "python -m hub: Invalid channel: meta/connect\n"),
        (
            ("publish", "a", "1"),
            {},
            None,
        ),
        (("publish", "a", "1", "--url", "nowhere"), {"FANOUT_KEY": base64.b64encode(KEY).decode()}, None),
        (("token", "--life", "-1"), {}, "python -m hub: --life: seconds, more than 0 and less than ten years\n"),
        (("subscribe", "a", "--since", "a"), {}, None),
        (("dance",), {}, None),
    ],
)
def test_what_is_asked_wrongly_ends_with_2_and_says_how(
    shell: Shell,
    arguments: tuple[str, ...],
    environ: dict[str, str],
    complaint: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, printed, said = shell.call(HUB_COMMANDS, *arguments, monkeypatch=monkeypatch, capsys=capsys, **environ)
    assert (code, printed) == (2, "")
    assert "Traceback" not in said
    assert complaint is None or " ".join(said.split()) == " ".join(complaint.split())


@pytest.mark.parametrize("arguments", [("publish", "a", "1"), ("subscribe", "a")])
def test_a_hub_that_is_away_ends_with_1(shell: Shell, arguments: tuple[str, ...]) -> None:
    done = shell.run(*arguments, FANOUT_KEY=base64.b64encode(KEY).decode())
    assert (done.returncode, done.stdout) == (1, "")
    mend = "no hub runs there: --url, HUB_URL or PORT say where one does"
    assert done.stderr == f"python -m hub: {shell.url}: connection refused; {mend}\n"


def test_a_refused_publish_says_why(shell: Shell) -> None:
    with shell.serving():
        done = shell.run("publish", "a", "1", FANOUT_KEY=base64.b64encode(KEY).decode())
    assert (done.returncode, done.stderr) == (2, "python -m hub: Token signed with another key\n")


def test_token_prints_what_the_hub_accepts(shell: Shell) -> None:
    environ = {"FANOUT_KEY": base64.b64encode(KEY).decode(), "FANOUT_REALM": "r"}
    printed = shell.run("token", "--life", "60", **environ).stdout.strip()
    now = time.time()
    assert 50 < tokens.verify(printed, "r", [KEY], now).expires - now <= 60
    made = shell.run("token", "--new-key").stdout.strip()
    assert len(base64.b64decode(made, validate=True)) == 32


def test_check_says_what_is_well_and_what_is_not(shell: Shell) -> None:
    before = shell.run("check")
    assert before.returncode == 1
    assert "FAIL  key: FANOUT_KEY: is not set" in before.stdout
    assert f"FAIL  hub: {shell.url} does not answer: connection refused" in before.stdout
    with shell.serving():
        after = shell.run("check")
    assert (after.returncode, after.stderr) == (0, "")
    assert "FAIL" not in after.stdout


def test_check_looks_for_redis(shell: Shell) -> None:
    done = shell.run("check", REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert "connection refused; nothing listens there" in done.stdout


def test_settings_lists_every_setting_and_no_secret(shell: Shell) -> None:
    key = base64.b64encode(KEY).decode()
    done = shell.run("settings", FANOUT_KEY=key, HUB_CONNECT_TIMEOUT="20")
    assert done.returncode == 0
    assert key not in done.stdout
    assert "FANOUT_KEY=(set)" in done.stdout
    assert "HUB_CONNECT_TIMEOUT=20s   (default 45s)" in done.stdout
    assert all(f"\n{row.variable}=" in done.stdout for row in describe(Settings))


def test_settings_can_be_a_table_for_the_docs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--markdown"]) == 0
    table = capsys.readouterr().out
    assert table == markdown(describe(Settings)) + "\n"
    assert {line.count("|") for line in table.splitlines()} == {5}


@pytest.mark.parametrize("command", [command.name for command in HUB_COMMANDS if not command.raw])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"usage: python -m hub {command}" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"    {command.name}" in printed for command in HUB_COMMANDS)
