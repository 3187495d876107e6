"""The commands of views. What they do is imported when one is run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ

ACTIONS = ("unused", "import", "key", "check")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=int, default=30, help="of the report, today among them; 1: the last 24 hours")
    parser.add_argument("--json", action="store_true", help="as JSON")
    actions = parser.add_subparsers(dest="action", metavar="|".join(ACTIONS))
    unused = actions.add_parser("unused", help="endpoints of the OpenAPI file that nobody calls")
    unused.add_argument("--days", dest="unused_days", type=int, default=90, help="without a call")
    unused.add_argument("--openapi", metavar="FILE", help="in JSON; instead of the site's own and VIEWS_OPENAPI")
    unused.add_argument("--json", action="store_true", help="as JSON")
    brought = actions.add_parser("import", help="count what an access log has: combined, or JSON of nginx or Caddy")
    brought.add_argument("files", metavar="FILE", nargs="+", help="a log; .gz and .bz2 are unpacked")
    brought.add_argument("--source", default="log", help="whose calls these are, beside the site's own")
    brought.add_argument("--openapi", metavar="FILE", help="in JSON: the routes of its addresses, beside the site's")
    key = actions.add_parser("key", help="make a key for POST /views, and print it this once")
    key.add_argument("name", metavar="SOURCE", help="whose views come with it, such as shop")
    actions.add_parser("check", help="ask the services that are told of views whether they take one")


def _run(found: argparse.Namespace, environ: Environ) -> int:
    from . import commands

    actions = {None: commands.report, "unused": commands.unused, "import": commands.bring}
    actions |= {"key": commands.key, "check": commands.check}
    return actions[found.action](found, environ)


COMMANDS = (
    Command(
        "views",
        "say who called what; unused, import, key, check",
        _arguments,
        _run,
        epilog="examples: views --days 7; views unused; views import /var/log/nginx/access.log",
    ),
)
