"""The command of css. What it does is imported when it is run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("page", metavar="PAGE|URL", help="an HTML file, or an address")
    parser.add_argument("--report", action="store_true", help="say on the error output what was kept, and why")
    parser.add_argument(
        "--keep",
        metavar="NAMES",
        default="",
        help="names that scripts set, as selectors write them: .is-open,#menu,dialog,.js-*",
    )
    parser.add_argument("--root", metavar="DIR", help="of a file: the folder that / is in its links")


def _css(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import css

    return css(found, environ)


COMMANDS = (
    Command(
        "css",
        "print a page with the CSS that it uses in it, and no more",
        _arguments,
        _css,
        epilog="example: fanfare css https://example.org/ --report > page.html",
    ),
)
