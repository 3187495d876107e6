"""Saves counters in processes that are killed, for test_killed.py.

    python saver.py DATABASE HUB KILLS SEED

Forks one process after another. Each adds one to a random counter in a transaction, over and over,
now and then rolls back, and tells the hub; each is killed with SIGKILL at a random moment.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from shop import driver
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, sessionmaker

from hub.orm.declarations import tells
from hub.orm.sqlalchemy import Notifier
from hub.publisher import SyncPublisher

REALM, KEY = "killed", b"k" * 32

#: Counters; few, so that a process finds what the last one left about the same.
COUNTERS = 3

#: The longest life of a process after its first commit, in seconds: some dozens of saves.
LONGEST = 0.06


class Base(DeclarativeBase):
    pass


class Counter(Base):
    __tablename__ = "counter"
    __hints__ = tells("counters", lambda counter: [counter.id, counter.value, counter.kept])

    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int] = mapped_column(default=0)
    kept: Mapped[bool] = mapped_column(default=True)


def save(database: str, hub: str, seed: int, ready: int) -> None:
    """Save until killed; `ready` is written to after the first commit."""
    dice = random.Random(seed)
    engine = create_engine(driver(database, sync=True))
    maker = sessionmaker(engine)
    Notifier(SyncPublisher(hub, REALM, KEY)).bind(maker)
    told = False
    while True:
        with maker() as session:
            counter = session.get_one(Counter, dice.randrange(COUNTERS), with_for_update=True)
            counter.value += 1
            if dice.random() < 0.2:
                counter.kept = False
                session.flush()
                session.rollback()
            else:
                session.commit()
                if not told:
                    told = os.write(ready, b"!") == 1


def main() -> None:
    database, hub, kills, seed = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    dice = random.Random(seed)
    # Imports the driver once, and not in every process: that took most of their time.
    create_engine(driver(database, sync=True))
    for number in range(kills):
        ready, tell_ready = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(ready)
            save(database, hub, seed * 1000 + number, tell_ready)
        os.close(tell_ready)
        os.read(ready, 1)
        os.close(ready)
        time.sleep(dice.uniform(0, LONGEST))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
