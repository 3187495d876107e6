"""The validator as a server: found, begun once, watched, started again; and a plain word where it can't be."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import ROOT

from web.features.html import finding, keeper
from web.features.html.checker import Checker
from web.features.html.documents import Document
from web.features.html.keeper import is_validator
from web.features.html.server import Server
from web.features.html.verdicts import Unchecked

PAGE = b'<!doctype html><html lang="en"><head><title>x</title></head><body><p>x</p></body></html>'

#: A validator that finds nothing; `die` in a page ends it, `sleep` keeps it, `other` makes it another program.
FAKE = """
import http.server, json, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"die" in body: os._exit(3)
        if b"sleep" in body: time.sleep(30)
        if b"cut" in body: return self.connection.close()
        found = json.dumps({"version": "1", "messages": []}).encode()
        if sys.argv[2:] == ["other"]: found = b""
        self.send_response(200); self.send_header("Content-Length", str(len(found))); self.end_headers()
        self.wfile.write(found)
    def log_message(self, *args): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("up", flush=True)
server.serve_forever()
"""


@pytest.fixture
def fake(tmp_path: Path) -> Path:
    (tmp_path / "fake.py").write_text(FAKE)
    return tmp_path / "fake.py"


@pytest.fixture
def server(fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = Server(lambda: [sys.executable, str(fake), "PORT"], "test", seconds=1.0)
    yield made
    made.close()
    _wait(lambda: not made.folder.exists())


def _wait(is_so: object) -> None:
    limit = time.monotonic() + 30
    while not is_so():  # type: ignore[operator]  # a function
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_killed_between_two_checks_the_second_has_its_verdict(server: Server) -> None:
    checker = Checker(server)
    assert checker.check(Document("a", PAGE)).outcome == "valid"
    os.kill(_fake(server), signal.SIGKILL)
    # Its keeper has not noticed yet.
    assert checker.check(Document("b", PAGE + b" ")).outcome == "valid"


def _fake(server: Server) -> int:
    """The process of a server."""
    found = subprocess.run(["pgrep", "-f", f"fake.py {server.port()}$"], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def _keeper(server: Server) -> int:
    """The process of its keeper."""
    command = ["pgrep", "-f", f"keeper.py {server.folder} "]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0])


def test_killed_with_its_keeper_the_next_check_has_its_verdict(server: Server) -> None:
    """And no process is left of the first."""
    checker = Checker(server)
    assert checker.check(Document("a", PAGE)).outcome == "valid"
    port = server.port()
    os.kill(_keeper(server), signal.SIGKILL)
    _wait(lambda: not is_validator(port))
    assert server.port() == port
    assert checker.check(Document("b", PAGE + b" ")).outcome == "valid"
    assert server.port() != port


def test_it_lives_on_for_the_next_run_and_ends_when_none_comes(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ports = set()
    for _ in range(3):
        server = Server(lambda: [sys.executable, str(fake), "PORT"], None, kept=3.0)
        assert Checker(server).check(Document("a", PAGE)).outcome == "valid"
        ports.add(server.port())
        server.close()
        assert is_validator(min(ports))
    assert len(ports) == 1
    _wait(lambda: not server.folder.exists() and not is_validator(min(ports)))


def test_another_vnu_jar_or_another_keeper_is_another_server(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(keeper, "__file__", str(tmp_path / "keeper.py"))
    folders = set()
    for source, word in (("1", "a"), ("1", "b"), ("2", "b")):
        (tmp_path / "keeper.py").write_text(source)
        folders.add(Server(lambda word=word: ["java", word], None).folder)  # type: ignore[misc]  # of this turn
    assert len(folders) == 3


def test_folder_that_others_could_write_to_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who can write there says which pages are valid."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / f"fanfare-vnu-{os.getuid()}"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    path.symlink_to(elsewhere)
    server = Server(lambda: ["java"], "x")
    assert Checker(server).check(Document("a", PAGE)).why == f"{path} is not a folder of this user's alone"
    path.unlink()
    path.mkdir()
    path.chmod(0o770)
    assert Checker(server).check(Document("a", PAGE)).outcome == "unchecked"
    path.chmod(0o700)
    assert server.folder.parent == path


FILES = "nu/validator/localentities/files/"


@pytest.mark.parametrize(
    ("presets", "left"),
    [
        ("-1\t-\tA\thttp://a\n3\t-\tB\thttp://b\n-1\thttp://svg\tC\thttp://c\n", ["3", "-1"]),
        ("3\t-\tB\n", None),
        (None, None),
    ],
    ids=["these", "another form", "none"],
)
def test_schemas_that_no_document_chooses_are_left_out(
    presets: str | None, left: list[str] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with zipfile.ZipFile(tmp_path / "vnu.jar", "w") as jar:
        jar.writestr(FILES + "html5spec", "long")
        if presets is not None:
            jar.writestr(FILES + "presets", presets)
    for _ in range(2):
        less = finding.lessened(tmp_path / "vnu.jar")
        assert (less is None) == (left is None)
        if less is not None:
            with zipfile.ZipFile(less) as made:
                lines = made.read(FILES + "presets").decode().splitlines()
                assert [line.split("\t")[0] for line in lines] == left
                assert len(made.read(FILES + "html5spec")) < 100


@pytest.mark.long
@pytest.mark.timeout(300)
def test_it_says_the_same_with_all_that_it_reads_when_it_begins(validator: Server) -> None:
    """What is left out to begin sooner is of no answer: HTML, XHTML, SVG and CSS, valid and not."""
    java, jar = finding.java(), finding.jar(folder=ROOT)
    less = finding.lessened(jar)
    assert less is not None
    whole = Server(lambda: [word.replace(f"{less}:", "") for word in finding.command(java, jar)], "whole")
    found = [(path.read_bytes(), "text/html") for path in ROOT.glob("examples/html/*/templates/*.html")]
    strange = b'<!doctype html><html lang=de><title>x</title><input type=date value=x><a rel="no such" href=":">x</a>'
    found += [
        (strange + b"The quick brown fox jumps over the lazy dog. " * 40, "text/html"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="1" height="x" no="1"/></svg>', "image/svg+xml"),
        (b'<html xmlns="http://www.w3.org/1999/xhtml"><body><b><p/></b></body></html>', "application/xhtml+xml"),
        (b"p { colour: red; margin: 1x }", "text/css"),
    ]
    try:
        for body, kind in found:
            assert validator.check(body, kind) == whole.check(body, kind)
        assert validator.check(strange, "text/html")[0] != []
    finally:
        whole.close()


def test_it_ends_with_the_last_who_uses_it(fake: Path, tmp_path: Path) -> None:
    """A run that was killed leaves no Java behind."""
    code = (
        "import sys, time\n"
        "from web.features.html.server import Server\n"
        f"server = Server(lambda: [sys.executable, {str(fake)!r}, 'PORT'], 'one-of-its-own')\n"
        "server.start()\n"
        "print(server.port(), flush=True)\n"
        "time.sleep(600)\n"
    )
    environ = os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    users = [
        subprocess.Popen([sys.executable, "-c", code], env=environ, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    ports = {user.stdout.readline() for user in users}  # type: ignore[union-attr]  # a pipe
    folder = tmp_path / f"fanfare-vnu-{os.getuid()}" / "one-of-its-own"
    assert len(ports) == 1
    assert folder.is_dir()
    for user in users:
        assert is_validator(int(min(ports)))
        user.send_signal(signal.SIGKILL)
        user.communicate()
    _wait(lambda: not folder.exists() and not is_validator(int(min(ports))))


def test_one_that_dies_of_a_page_could_not_check_it(server: Server) -> None:
    checker = Checker(server)
    verdict = checker.check(Document("a", b"die"))
    assert verdict.outcome == "unchecked"
    assert verdict.why.startswith("the validator is gone: ")
    _wait(lambda: not (server.folder / "port").exists() or True)


def test_one_that_takes_too_long_could_not_check_it(server: Server) -> None:
    verdict = Checker(server).check(Document("a", b"sleep"))
    assert (verdict.outcome, verdict.why) == ("unchecked", "the validator took longer than 1 s")


def test_connection_that_is_cut_is_no_verdict(server: Server) -> None:
    assert Checker(server).check(Document("a", b"cut")).outcome == "unchecked"


def test_proxies_are_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert Checker(server).check(Document("a", PAGE)).outcome == "valid"


def test_program_that_ends_at_once_is_named_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    server = Server(lambda: [sys.executable, "-c", "raise SystemExit('Address already in use')", "PORT"], "ends")
    verdict = Checker(server).check(Document("a", PAGE))
    server.close()
    assert verdict.why == "the validator did not start: it ended 5 times: Address already in use"


def test_everything_missing_is_a_plain_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "java"
    stub.write_text("#!/bin/sh\necho 'Unable to locate a Java Runtime.' >&2\nexit 1\n")
    stub.chmod(0o755)
    for given, why in (
        ("", "Java is not installed"),
        (str(stub), "Unable to locate a Java Runtime."),
        ("/no/java", "/no/java does not run"),
    ):
        monkeypatch.setattr("shutil.which", lambda name: None)
        monkeypatch.setattr(finding, "_wheel_java", lambda: "")
        with pytest.raises(Unchecked, match=why):
            finding.java(given)
    with pytest.raises(Unchecked, match=r"there is no vnu\.jar at /no/jar"):
        finding.jar("/no/jar")
    with pytest.raises(Unchecked, match="npm install vnu-jar"):
        finding.jar(folder=tmp_path)
    verdict = Checker(Server(lambda: finding.command(finding.java(), tmp_path))).check(Document("a", PAGE))
    assert (verdict.outcome, verdict.why[:22]) == ("unchecked", "Java is not installed ")


def test_java_has_room_for_deep_pages_and_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the usual stack it says StackOverflowError of pages; without a bound it takes a quarter of all memory."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (tmp_path / "vnu.jar").write_bytes(b"")
    command = finding.command("java", tmp_path / "vnu.jar")
    [stack] = [word for word in command if word.startswith("-Xss")]
    [memory] = [word for word in command if word.startswith("-Xmx")]
    assert int(stack.removeprefix("-Xss").removesuffix("m")) >= 8
    assert int(memory.removeprefix("-Xmx").removesuffix("m")) <= 512


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\n<h1>",
        b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"ok": true}',
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"",
    ],
    ids=["empty", "page", "json", "cut", "ssh", "closes"],
)
def test_another_program_on_the_port_is_no_validator(answer: bytes) -> None:
    """Its 200 without a body would make every page valid."""

    def once(listening: socket.socket) -> None:
        with listening.accept()[0] as sock:
            sock.recv(65_536)
            sock.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=once, args=(listening,))
        thread.start()
        assert not is_validator(listening.getsockname()[1])
        thread.join()


def test_server_is_told_nothing_but_bodies() -> None:
    """`?doc=` would have it fetch addresses; another host would send pages off this machine."""
    text = "".join(path.read_text() for path in (ROOT / "web" / "features" / "html").glob("*.py"))
    assert "?doc=" not in text
    assert "-Dnu.validator.servlet.bind-address=127.0.0.1" in text
    assert "validator.nu" not in text


def test_command_has_three_exit_codes(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_bytes(b"")
    (tmp_path / "b.html").write_bytes(PAGE)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [
            sys.executable,
            "-m",
            "web",
            "html",
            *arguments,
            "--java",
            "/no/java",
            "--cache",
            str(tmp_path / "kept"),
        ]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)

    empty, missing = run(str(tmp_path / "a.html")), run(str(tmp_path / "b.html"), "--format", "json")
    assert (empty.returncode, missing.returncode) == (1, 2)
    assert "The document is empty." in empty.stdout
    assert '"outcome": "unchecked"' in missing.stdout
    assert run(str(tmp_path / "gone.html")).stdout.startswith(
        f"{tmp_path}/gone.html: could not be checked: No such file"
    )
    assert "which file" in run("x", "--write-baseline").stderr
