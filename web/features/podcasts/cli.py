"""`fanfare podcasts`: feeds added, listed, fetched, and read without storing anything."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ, Wrong

_ACTIONS = ("add", "import", "list", "retry", "fetch", "read", "unread")


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=_ACTIONS,
        help="add feeds by their URLs; import a list of another player (an OPML file); list all; retry those that fail"
        " or are gone, or some, by their numbers; fetch one now, by its number or URL, and say what happened; read a"
        " file or a URL, and say what we make of it, storing nothing; unread: the bytes of one that could not be read,"
        " by its number",
    )
    parser.add_argument("what", metavar="WHAT", nargs="*", help="URLs, files or numbers")
    parser.add_argument("--json", action="store_true", help="of read and list: as JSON")


def _podcasts(found: argparse.Namespace, environ: Environ) -> int:
    needs = {"add": "URL …", "import": "FILE", "fetch": "NUMBER or URL", "read": "FILE or URL", "unread": "NUMBER"}
    if found.action in needs and not found.what:
        raise Wrong(f"which? say podcasts {found.action} {needs[found.action]}")
    if found.action in {"import", "fetch", "read", "unread"} and len(found.what) > 1:
        raise Wrong(f"{found.action} takes one; there are {len(found.what)}")
    if found.json and found.action not in {"read", "list"}:
        raise Wrong("--json is for read and list")
    from . import commands

    if found.action == "read":
        return commands.read(found.what[0], found.json, environ)
    return commands.on_database(found.action, found.what, found.json, environ)


COMMANDS = (
    Command(
        "podcasts",
        "add, list and fetch podcasts, or read a feed and say what is in it",
        _arguments,
        _podcasts,
        epilog="example: podcasts read https://example.com/feed.xml --json",
    ),
)
