"""`fanfare lab redis`. What it does is imported when it is run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", metavar="N", type=float, default=20.0, help="how long, for all; 20 by default")
    parser.add_argument(
        "--keys", metavar="PATTERN", help="measure with a sample of your own keys, such as 'user:*'; they are only read"
    )
    parser.add_argument(
        "--payload",
        metavar="NAME",
        action="append",
        default=[],
        help="times, rows, html or counters; may be repeated. All of them by default, or none with --keys",
    )
    parser.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="a configuration, or all with a serializer, compressor or client; may be repeated",
    )
    parser.add_argument(
        "--line",
        metavar="MBIT",
        type=int,
        default=0,
        help="megabits a second to Redis, for who wins; 0: bytes are free",
    )
    parser.add_argument("--apart", action="store_true", help="keep nothing: /lab/redis does not show it")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--write-setting", action="store_true", help="let the site's cache use the winner (HUB_VAR/cache-codec)"
    )


def _redis(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import redis

    return redis(found, environ)


LAB = (
    Command(
        "redis",
        "measure serializers, compressors and clients on the Redis of REDIS_URL",
        _arguments,
        _redis,
        epilog="example: fanfare lab redis --seconds 20 --keys 'user:*' --write-setting",
    ),
)
