"""The hub's code cut off from the real clock and from real dice, so that a seed decides everything.

What asks for the loop's time gets a `Process`; what reads `time` or rolls `secrets` itself is given the world's here.
Sets of sessions are walked in the order of their ids instead of their places in memory.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from hub.sessions.session import Session

from .world import World

#: Worlds that end before what they left behind is collected: by itself that would happen ten times in each.
WORLDS = 50


class Sealed(logging.Handler):
    """Where the hub's code gets its time, ids and log from, for the world of the moment."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.world = World(0)
        self._ids = 0
        self._worlds = 0
        self.clock = types.SimpleNamespace(monotonic=self._time, time=self._time, perf_counter=self._time)
        self.secrets = types.SimpleNamespace(token_hex=self._token, token_bytes=self._bytes)

    def begin(self, world: World) -> None:
        """From now on everything is of this world."""
        self.world = world
        self._ids = 0
        self._worlds += 1
        if self._worlds % WORLDS == 0:
            gc.collect()

    def _time(self) -> float:
        return self.world.now

    def _token(self, size: int) -> str:
        self._ids += 1
        return f"{self._ids:0{size * 2}x}"[: size * 2]

    def _bytes(self, size: int) -> bytes:
        return bytes.fromhex(self._token(size))

    def new_id(self) -> str:
        """A clientId: long enough to be one, and the same in every run of a seed."""
        self._ids += 1
        return f"{self._ids:040d}"

    def emit(self, record: logging.LogRecord) -> None:
        """What the hub logs as an error is a bug, whoever noticed."""
        world = self.world
        if record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            world.accuse(f"the hub logged an error: {record.getMessage()}: {error!r}")
        elif world.trace is not None:
            told = {name: value for name, value in vars(record).items() if name in ("session", "reason", "owner")}
            world.say("log", f"{record.getMessage()} {told or ''}")


@contextlib.contextmanager
def sealed() -> Iterator[Sealed]:
    """Run the hub's code sealed; one at a time in a process."""
    seal = Sealed()
    undo: list[tuple[Any, str, Any]] = []

    def put(where: Any, name: str, value: Any) -> None:
        undo.append((where, name, vars(where).get(name)))
        setattr(where, name, value)

    for name, module in list(sys.modules.items()):
        if not name.startswith("hub.") or name.startswith("hub.brokers.redis"):
            continue
        for attribute, value in list(vars(module).items()):
            if value is time:
                put(module, attribute, seal.clock)
            elif attribute == "secrets" and isinstance(value, types.ModuleType):
                put(module, attribute, seal.secrets)
            elif attribute == "new_id" and isinstance(value, types.FunctionType):
                put(module, attribute, seal.new_id)
    import hub.wheel

    # Five turns of a wheel a second would be most of what happens, and nothing here is due to a tenth of a second.
    put(hub.wheel, "STEP", 0.5)
    hashed: Callable[[Session], int] = lambda session: int(session.id)  # noqa: E731  # a method, set from outside
    put(Session, "__hash__", hashed)
    logger = logging.getLogger("hub")
    level, propagate = logger.level, logger.propagate
    logger.addHandler(seal)
    # Formatting what nobody reads would be a quarter of the time.
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    collects = gc.isenabled()
    gc.disable()
    # What is there already is not looked through each time.
    gc.freeze()
    try:
        yield seal
    finally:
        gc.unfreeze()
        if collects:
            gc.enable()
        logger.removeHandler(seal)
        logger.setLevel(level)
        logger.propagate = propagate
        for where, name, value in reversed(undo):
            if value is None:
                delattr(where, name)
            else:
                setattr(where, name, value)
