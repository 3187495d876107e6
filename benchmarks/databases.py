"""The databases of benchmarks: each run has its own, and they end with it."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from services import Postgres


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[Postgres]:
    """A server whose data are in `folder`, without a database yet; it is stopped at the end.

    It doesn't run as root, so other users may enter the folder. It never waits for the disk (`services.Postgres`).
    """
    folder.chmod(0o755)
    inside = folder / "postgres"
    inside.mkdir(mode=0o755)
    server = Postgres(inside).start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def both(name: str, url: str | None) -> Iterator[list[tuple[str, str]]]:
    """What a benchmark runs on, as names and URLs: a new SQLite and a new PostgreSQL, or the database it was given.

    name: of the new ones.
    """
    if url is not None:
        yield [(url.partition(":")[0], url)]
        return
    with tempfile.TemporaryDirectory(prefix=f"fanfare-{name}-") as made, postgresql(Path(made)) as server:
        yield [("SQLite", f"sqlite:///{made}/{name}.db"), ("PostgreSQL", server.create(name))]


def process_of(server: Postgres) -> int:
    """The id of its main process, of whose children the CPU time is counted too."""
    assert server.process is not None
    return server.process.pid
