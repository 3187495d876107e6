"""`fanfare lab joins`. What it does is imported when it is run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--songs", metavar="N", type=int, help="songs to have; SITE_JOINS_SONGS by default (200,000)")
    parser.add_argument("--seconds", metavar="S", type=float, help="the longest; SITE_JOINS_SECONDS by default (20)")
    parser.add_argument("--looks", metavar="N", type=int, help="songs to read; SITE_JOINS_LOOKS by default (3,000)")
    parser.add_argument("--database", metavar="URL", help="another database than the site's (DATABASE_URL)")
    parser.add_argument("--plans", action="store_true", help="print the SQL of each way, and the database's plan")
    parser.add_argument("--json", action="store_true", help="print all of it as JSON")
    parser.add_argument("--drop", action="store_true", help="take the songs away again, and measure nothing")


def _joins(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import joins

    return joins(found, environ)


#: Commands of `fanfare lab`.
LAB = (
    Command(
        "joins",
        "measure three ways to read a row and the row that it belongs to",
        _arguments,
        _joins,
        epilog="example: lab joins --songs 20000 --seconds 5 --plans",
    ),
)
