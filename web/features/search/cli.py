"""`fanfare search`: ask, and check what is found. What it does is imported when it is run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hub.cli import Command, Environ

if TYPE_CHECKING:
    from ...pages.documents import Documents


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", metavar="QUERY", nargs="+", help="what to look for; or check, check FILE, reindex")
    parser.add_argument("--page", type=int, default=1, help="of the results")
    parser.add_argument("--exactly", action="store_true", help="as it is spelt")
    parser.add_argument("--why", action="store_true", help="with what was looked for, and why each was found")


def commands(documents: Callable[[], Sequence[Documents]]) -> tuple[Command, ...]:
    """The commands. documents: what the features hand in, read when one is run."""

    def search(found: argparse.Namespace, environ: Environ) -> int:
        from . import commands

        if found.words[0] == "check" and len(found.words) == 2:
            return commands.check(found.words[1], environ, documents())
        if found.words == ["check"]:
            return commands.compare(environ)
        if found.words == ["reindex"]:
            return commands.reindex(environ)
        return commands.ask(found, environ, documents())

    return (
        Command(
            "search",
            "ask the site's search; `search check` compares index and database, `search check FILE` tries verdicts, "
            "`search reindex` builds the indexes anew",
            _arguments,
            search,
            epilog="example: search redis cache",
        ),
    )
