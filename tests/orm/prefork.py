"""A site under gunicorn, for test_forked.py: saves rows that tell, in requests and in short-lived children."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from lines import KEY, REALM, Line
from shop import driver
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from hub.orm.sqlalchemy import Notifier
from hub.publisher import SyncPublisher

URL = driver(os.environ["DATABASE_URL"], sync=True)
# Eight writers take turns at a SQLite file.
engine = create_engine(URL, connect_args={"timeout": 30} if URL.startswith("sqlite") else {})
session_of = sessionmaker(engine)
Notifier(SyncPublisher(os.environ["FANOUT_URL"], REALM, KEY)).bind(session_of)


def save(count: int) -> None:
    with session_of.begin() as session:
        session.add_all(Line() for _ in range(count))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """GET /N saves N lines in one transaction."""
    save(int(environ["PATH_INFO"][1:]))
    start_response("200 OK", [("Content-Length", "0")])
    return [b""]


# The parent's thread is running when gunicorn (--preload) forks: its children need their own.
save(1)

if __name__ == "__main__":
    # As a worker of a job queue does: fork, do one job, exit.
    for _ in range(20):
        if not os.fork():
            save(10)
            os._exit(0)
        os.wait()
    save(10)
