"""Metrics of several workers: a scrape has those of all, each with its worker.

Twelve scrapes of a port with two workers said 16, 16, 456, 16, …: another worker's each time, without a label, so that
a monitor saw counters fall.
"""

from __future__ import annotations

import base64
import os
import re
import time
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families
from services import Redis
from shell import Shell

from hub.metrics import labelled
from hub.siblings import Siblings

KEY = base64.b64encode(b"k" * 32).decode()


def test_texts_become_one_that_prometheus_reads() -> None:
    text = b"# HELP a_total words {x} y\n# TYPE a_total counter\na_total %d.0\n"
    text += b'# HELP b of realms\n# TYPE b gauge\nb{realm="x y"} 3.0\n'
    found = labelled({1: text % 5, 0: text % 7, 2: None})
    samples = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(found.decode())
        for sample in family.samples
    }
    assert samples == {
        ("a_total", ("worker", "0")): 7.0,
        ("a_total", ("worker", "1")): 5.0,
        ("b", ("realm", "x y"), ("worker", "0")): 3.0,
        ("b", ("realm", "x y"), ("worker", "1")): 3.0,
        ("hub_worker_up", ("worker", "0")): 1.0,
        ("hub_worker_up", ("worker", "1")): 1.0,
        ("hub_worker_up", ("worker", "2")): 0.0,
    }
    assert found.count(b"# TYPE a_total") == 1


async def test_workers_give_each_other_what_they_have(tmp_path: Path) -> None:
    first, second = Siblings(tmp_path, 0, 3), Siblings(tmp_path, 1, 3)

    async def text() -> bytes:
        return b"x" * 300_000

    # Left by a worker that was killed.
    (tmp_path / "1.sock").touch()
    async with second.answering(text):
        assert await first.ask() == {1: b"x" * 300_000, 2: None}
    assert await first.ask() == {1: None, 2: None}


def test_every_scrape_has_every_worker(tmp_path: Path, redis_server: Redis) -> None:
    shell = Shell(tmp_path)
    with shell.serving("--workers", "2", REDIS_URL=redis_server.url, FANOUT_KEY=KEY) as process:

        def scrape() -> dict[str, float]:
            with urlopen(f"{shell.url}/metrics", timeout=60) as answer:
                text = answer.read().decode()
            return {
                sample.labels["worker"]: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
                if sample.name == "hub_worker_up"
            }

        def both() -> bool:
            return scrape() == {"0": 1.0, "1": 1.0}

        limit = time.monotonic() + 120
        while not both():
            assert time.monotonic() < limit
        # Connections are spread over both; whichever answers has both.
        assert all(both() for _ in range(8))
        [folder] = [
            Path(line.split()[-1]).parent
            for line in Path("/proc/net/unix").read_text().splitlines()
            if re.search(r"/fanfare-[^/]*/0\.sock$", line) and _is_of(line, process.pid)
        ]
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def _is_of(line: str, parent: int) -> bool:
    """Whether a Unix socket is a child's of this process."""
    inode = line.split()[6]
    for children in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        for link in Path(f"/proc/{children}/fd").iterdir():
            if os.readlink(link) == f"socket:[{inode}]":
                return True
    return False
