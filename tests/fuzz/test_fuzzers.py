"""The fuzzers run and find nothing at once; `make fuzz` gives them time."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris is not installed")

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["fuzz_conversations", "fuzz_frames", "fuzz_heads", "fuzz_texts"])
async def test_a_short_run_finds_nothing(name: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        f"tests.fuzz.{name}",
        "-runs=5000",
        # Of conversations a hundred a second are fuzzed, of frames thousands.
        "-max_total_time=2",
        "-seed=1",
        "-timeout=60",
        "-max_len=1024",
        f"-artifact_prefix={tmp_path}/",
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode(errors="replace")[-4000:]
    assert b"Done " in output
