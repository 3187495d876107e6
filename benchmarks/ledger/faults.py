"""What goes wrong: one function a fault. Each gets the stage, does its worst, and returns when it has ended."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable

from .stage import RedisProcess, Stage

Fault = Callable[[Stage, float], Awaitable[None]]


async def worker_killed(stage: Stage, scale: float) -> None:
    """kill -9 of a worker, three times; the parent starts others."""
    for _ in range(3):
        os.kill(random.choice(stage.worker_pids()), signal.SIGKILL)
        await asyncio.sleep(2.5 * scale)


async def worker_stopped(stage: Stage, scale: float) -> None:
    """A worker stands still for 10 s (SIGSTOP), then goes on as if nothing had been."""
    pid = stage.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(10 * scale)
    os.kill(pid, signal.SIGCONT)


async def redis_clients_killed(stage: Stage, scale: float) -> None:
    """CLIENT KILL of every connection, again and again."""
    for _ in range(10):
        await stage.redis.command("CLIENT", "KILL", "TYPE", "normal")
        await asyncio.sleep(0.4 * scale)


async def redis_restarted(stage: Stage, scale: float) -> None:
    """Redis is restarted with its data (appendonly, fsync always)."""
    stage.redis.kill(signal.SIGTERM)
    await asyncio.sleep(1.0 * scale)
    await stage.redis.start()


async def redis_emptied(stage: Stage, scale: float) -> None:
    """Redis is killed and comes back without its data."""
    stage.redis.kill()
    await asyncio.sleep(1.0 * scale)
    await stage.redis.start()


async def failover(stage: Stage, scale: float) -> None:
    """Failover to a replica that missed the tail of the log."""
    replica = RedisProcess(stage.redis.folder.parent / "replica")
    await replica.start()
    await replica.command("REPLICAOF", "127.0.0.1", str(stage.redis.port))
    # Until it has all of it: the first synchronisation takes about a second.
    await asyncio.sleep(3.0 * max(scale, 0.7))
    await replica.command("REPLICAOF", "NO", "ONE")
    # What is published now is acknowledged by a primary that will be gone.
    await asyncio.sleep(0.7)
    stage.redis.kill()
    stage.redis = replica
    stage.redis_proxy.cut()


async def redis_paused(stage: Stage, scale: float) -> None:
    """CLIENT PAUSE: Redis accepts everything and answers nothing, longer than a command may take."""
    await stage.redis.command("CLIENT", "PAUSE", str(round(6000 * scale)))
    await asyncio.sleep(6 * scale)


async def log_trimmed(stage: Stage, scale: float) -> None:
    """The log is trimmed past a worker that stood still."""
    pid = stage.worker_pids()[0]
    os.kill(pid, signal.SIGSTOP)
    await asyncio.sleep(4 * scale)
    for shard in range(16):
        await stage.redis.command("XTRIM", f"{{hub:{shard}}}:log", "MAXLEN", "0")
        await stage.redis.command("EVAL", _FORGET, "0", f"{{hub:{shard}}}:h:*")
    os.kill(pid, signal.SIGCONT)


#: Per-channel histories go as well: else what the log lacks could be read there.
_FORGET = "for _, k in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', k) end return 1"


async def half_open(stage: Stage, scale: float) -> None:
    """Every client's connection stays open and carries nothing more."""
    stage.proxy.stall()
    await asyncio.sleep(8 * scale)


async def cut_often(stage: Stage, scale: float) -> None:
    """A proxy that cuts every connection after 5 s."""
    stage.proxy.lifetime = 5.0 * scale
    stage.proxy.cut()
    await asyncio.sleep(15 * scale)
    stage.proxy.lifetime = 0.0


async def rolling_restart(stage: Stage, scale: float) -> None:
    """SIGHUP: one worker after the other is replaced, under load."""
    before = set(stage.worker_pids())
    assert stage.hub is not None
    stage.hub.send_signal(signal.SIGHUP)
    async with asyncio.timeout(60):
        while before & set(stage.worker_pids()) or len(stage.worker_pids()) < stage.workers:
            await asyncio.sleep(0.1)


async def all_at_once(stage: Stage, scale: float) -> None:
    """Every connection is cut, and everyone comes back at once, three times."""
    for _ in range(3):
        stage.proxy.cut()
        await asyncio.sleep(3 * scale)


FAULTS: dict[str, Fault] = {
    "worker kill -9": worker_killed,
    "worker SIGSTOP": worker_stopped,
    "Redis CLIENT KILL": redis_clients_killed,
    "Redis restart, data kept": redis_restarted,
    "Redis restart, data gone": redis_emptied,
    "failover, tail missed": failover,
    "Redis CLIENT PAUSE": redis_paused,
    "log trimmed unread": log_trimmed,
    "half-open TCP": half_open,
    "proxy cuts after 5 s": cut_often,
    "rolling restart": rolling_restart,
    "all reconnect at once": all_at_once,
}
