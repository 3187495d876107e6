"""`python -m web.features.redislab.worker`: the process in which the site measures.

A line of JSON in, a line of JSON out, one after the other. The first says where Redis is; each after it names a
configuration and a payload. A measurement is in Redis before its answer is written. It ends when its input does.
"""

from __future__ import annotations

import sys
from typing import IO, Any

import orjson

from ...services.cache.codecs import NoCodec
from .bench import Bench, BenchError
from .configurations import find


def work(lines: IO[bytes], out: IO[bytes]) -> None:
    """Measure what the lines say until there are no more."""
    begin: dict[str, Any] = orjson.loads(lines.readline())
    bench = Bench(begin["url"], kept=begin["kept"])
    for line in iter(lines.readline, b""):
        asked = orjson.loads(line)
        out.write(orjson.dumps({"n": asked["n"]} | _measured(bench, asked)) + b"\n")
        out.flush()
    bench.close()


def _measured(bench: Bench, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        configuration = find(asked["name"])
        bench.settle(configuration)
        sample = bench.measure(configuration, asked["payload"])
        bench.record(configuration, asked["payload"], [sample])
    except (BenchError, NoCodec) as error:
        return {"error": str(error)}
    return {"read": sample.read, "write": sample.write, "size": sample.size}


if __name__ == "__main__":
    try:
        work(sys.stdin.buffer, sys.stdout.buffer)
    except KeyboardInterrupt:
        # Whoever began us is interrupted too.
        sys.exit(130)
