"""What `make readers` and `make fresh` say of their own clock and their own processes."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
import time
from pathlib import Path

from services import ROOT

from benchmarks.readers import Stamped


class Late(asyncio.Protocol):
    """Notes when the kernel had what was read, and when it was read."""

    def __init__(self) -> None:
        self.read = asyncio.get_running_loop().create_future()
        self.transport: asyncio.BaseTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        assert isinstance(self.transport, Stamped)
        self.read.set_result((data, self.transport.at, time.time()))


async def test_a_reader_that_is_late_by_itself_knows_when_the_kernel_had_it() -> None:
    """A reader's own lateness was taken for the server's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        late = Late()
        await Stamped.connect(late, server.getsockname()[1])
        other, _ = server.accept()
        with other:
            before = time.time()
            other.send(b"x")
            sent = time.monotonic()
            # The loop is busy with something else for a while.
            while time.monotonic() - sent < 0.3:
                pass
            data, at, read = await late.read
        assert data == b"x"
        assert read - before >= 0.3
        # The kernel's clock is that of the rows; what it gives is no time of reading.
        assert before - 0.01 <= at < read - 0.1
        assert isinstance(late.transport, Stamped)
        late.transport.close()


async def test_a_saver_that_fails_ends(tmp_path: Path, redis_url: str) -> None:
    """It waited for the end of its standard input, and a run without it went on for ever."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.fresh_saver", f"sqlite:///{tmp_path}/no-tables.db", redis_url, "1", "10"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FANOUT_KEY": base64.b64encode(b"k" * 32).decode()},
    )
    try:
        # Its standard input stays open.
        assert process.stderr is not None
        said = await asyncio.wait_for(process.stderr.read(), 60)
        await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode
    assert b"no such table" in said
