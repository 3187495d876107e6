"""`fanfare keep`: what is installed by then takes a server's place, and nobody is refused meanwhile."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from ports import free_port
from services import Redis
from shell import ROOT

from hub.cli import DONE
from hub.protocol import tokens
from web.keeping import handed_over, one_for_each, tell_ready

KEY = b"k" * 32

#: A console script as pip makes it, which says that it was started.
SCRIPT = """#!{python}
import sys
print("release {name}", flush=True)
sys.argv[0] = {path!r}
if {broken} and "serve" in sys.argv: sys.exit(3)
from web.cli import main
sys.exit(main())
"""


def release(folder: Path, name: str, *, broken: bool = False) -> None:
    """Put a release in place: `current` leads to it from now on."""
    there = folder / name
    there.mkdir()
    script = there / "fanfare"
    path = str(folder / "current" / "fanfare")
    script.write_text(SCRIPT.format(python=sys.executable, name=name, path=path, broken=broken))
    script.chmod(0o755)
    link = folder / "next"
    link.symlink_to(there)
    link.rename(folder / "current")


class Kept:
    """A keeper, and what it and its servers say."""

    def __init__(self, folder: Path, redis: Redis) -> None:
        self.port = free_port()
        environ = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        environ |= {
            "PYTHONPATH": str(ROOT),
            "PORT": str(self.port),
            "REDIS_URL": redis.url,
            "WEB_CONCURRENCY": "2",
            "FANOUT_KEY": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
            "FANOUT_REALM": "kept",
            "DATABASE_URL": f"sqlite:///{folder}/site.db",
        }
        self.process = subprocess.Popen(
            [str(folder / "current" / "fanfare"), "keep", "--no-demo"],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said: list[str] = []
        self._news = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.said.append(line)
                self._news.notify_all()

    def until(self, words: str, times: int = 1) -> None:
        with self._news:
            done = self._news.wait_for(lambda: sum(words in line for line in self.said) >= times, timeout=200)
        assert done, "".join(self.said)

    def publish(self) -> None:
        """On a connection of its own; raises what urllib raises."""
        token = tokens.sign("kept", KEY, time.time())
        asked = Request(
            f"http://127.0.0.1:{self.port}/realm/kept/publish/",
            data=b'{"items": [{"channel": "a", "json-object": 1}]}',
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
        )
        with urlopen(asked, timeout=60) as answer:
            assert answer.status == 200


@pytest.fixture
def kept(tmp_path: Path, redis_server: Redis) -> Iterator[Kept]:
    release(tmp_path, "one")
    each = Kept(tmp_path, redis_server)
    try:
        yield each
    finally:
        if each.process.poll() is None:
            each.process.terminate()
        each.process.wait(timeout=60)
        each.reader.join()
        if each.process.stdout is not None:
            each.process.stdout.close()


def test_no_publish_is_refused_while_a_server_is_replaced(kept: Kept, tmp_path: Path) -> None:
    """A second server on a shared port takes half of the connections; those that the first one had not taken from its
    queues when it ended were reset."""
    kept.until("Fanfare on ")
    published, refused, stop = 0, [], threading.Event()

    def publish() -> None:
        nonlocal published
        while not stop.is_set():
            try:
                kept.publish()
                published += 1
            except OSError as error:
                refused.append(repr(error))

    publishing = threading.Thread(target=publish)
    publishing.start()
    try:
        release(tmp_path, "two")
        kept.process.send_signal(signal.SIGHUP)
        kept.until("server replaced")
    finally:
        stop.set()
        publishing.join()
    assert refused == []
    assert published > 0
    assert sum("release two" in line for line in kept.said) == 1
    kept.process.terminate()
    assert kept.process.wait(timeout=60) == DONE


def test_server_goes_on_where_the_newer_one_does_not_start(kept: Kept, tmp_path: Path) -> None:
    kept.until("Fanfare on ")
    release(tmp_path, "two", broken=True)
    kept.process.send_signal(signal.SIGHUP)
    kept.until("what is installed now does not serve")
    kept.publish()
    release(tmp_path, "three")
    kept.process.send_signal(signal.SIGHUP)
    kept.until("server replaced")
    kept.publish()


def test_sockets_that_are_for_another_process_are_left_alone() -> None:
    assert handed_over({}) == []
    assert handed_over({"LISTEN_PID": "1", "LISTEN_FDS": "2"}) == []


def test_workers_share_where_there_are_fewer_sockets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        shared = one_for_each([sock], 3)
        assert [each.getsockname() for each in shared] == [sock.getsockname()] * 3
        for each in shared[1:]:
            each.close()
        with pytest.raises(ValueError, match="2 sockets for 1 workers: WEB_CONCURRENCY is too low"):
            one_for_each([sock, sock], 1)


def test_who_wants_to_know_is_told(tmp_path: Path) -> None:
    tell_ready({})
    tell_ready({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "ready"))
        tell_ready({"NOTIFY_SOCKET": str(tmp_path / "ready")})
        assert sock.recv(100) == b"READY=1"
