"""The command of html. What it does is imported when it is run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("where", metavar="URL|FILE|DIR", nargs="+", help="an address, a file, or a folder of files")
    parser.add_argument("--format", choices=("text", "json", "github"), default="text", help="text by default")
    parser.add_argument(
        "--level", choices=("error", "warning", "info"), default="error", help="of what makes a document invalid"
    )
    parser.add_argument(
        "--ignore",
        metavar="TEXT",
        action="append",
        default=[],
        help="let messages with this in them pass, or /an expression/; may be given more than once",
    )
    parser.add_argument("--baseline", metavar="FILE", help="let pass what this file names, each with a reason")
    parser.add_argument("--write-baseline", action="store_true", help="write what is found into the baseline")
    parser.add_argument("--piece", action="store_true", help="what is checked is a piece of a page, not a whole one")
    parser.add_argument(
        "--cache",
        metavar="DIR",
        default="",
        help="where verdicts are kept; else fanfare/html below XDG_CACHE_HOME or ~/.cache",
    )
    parser.add_argument(
        "--keep",
        metavar="SECONDS",
        type=float,
        default=600.0,
        help="how long the validator lives on for the next call; 600 by default, 0: not at all",
    )
    parser.add_argument("--no-cache", action="store_true", help="ask for each document, and keep nothing")
    parser.add_argument("--jar", metavar="FILE", default="", help="vnu.jar; else npm's or a wheel's is found")
    parser.add_argument("--java", metavar="FILE", default="", help="Java; else PATH's or a wheel's is found")


def _html(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import html

    return html(found, environ)


COMMANDS = (
    Command(
        "html",
        "say whether documents are valid HTML, by a validator on this machine",
        _arguments,
        _html,
        epilog="exit codes: 0 all are valid, 1 one is not, 2 one could not be checked",
    ),
)
