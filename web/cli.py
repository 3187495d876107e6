"""The commands of `fanfare`: the hub's, and the site's.

A feature has its commands in `cli.py` of its folder. What only one command needs is imported when that
command runs: SQLAlchemy and the site take a second on a small machine, and `fanfare publish` has no use
for them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hub.cli import (
    COMMON,
    Command,
    Environ,
    Finding,
    check_command,
    group,
    run,
    serve_arguments,
    settings_command,
)

from .features.accounts import cli as accounts
from .features.blog import cli as blog
from .features.css import cli as css
from .features.headsup import cli as headsup
from .features.html import cli as html
from .features.joins import cli as joins
from .features.pictures import cli as pictures
from .features.podcasts import cli as podcasts
from .features.redislab import cli as redislab
from .features.search import cli as search
from .features.views import cli as views
from .services.jobs import cli as jobs

if TYPE_CHECKING:
    from .pages.documents import Documents


def main() -> int:
    """`fanfare`: parse the command line, do it, return the exit code."""
    description = "A real-time hub with a site on it. `fanfare serve` starts both."
    return run("fanfare", description, COMMANDS, sys.argv[1:])


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    serve_arguments(parser)
    parser.add_argument(
        "--no-demo",
        action="store_true",
        help="leave an empty database empty; on a loopback HOST the one that is made in HUB_VAR gets demo content",
    )


def _serve(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import serve_site

    return serve_site(found, environ)


def _keep(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import keep

    return keep(found, environ)


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def _work(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import work

    return work(found, environ)


def _migrate(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import migrate_tables

    return migrate_tables(found, environ)


def _demo(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import fill

    return fill(found, environ)


def _pictures_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("make",), help="make: all of them, from what was sent")


def _pictures(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import make_pictures

    return make_pictures(found, environ)


def _database_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--database",
        metavar="URL",
        help="another database than the site's (DATABASE_URL, or DATABASE_URL_FILE for a URL with a password: everybody"
        " on the machine may read arguments)",
    )


def _watch_arguments(parser: argparse.ArgumentParser) -> None:
    _database_argument(parser)
    parser.add_argument("table", metavar="TABLE", nargs="?", help="without one, what is watched is listed")
    parser.add_argument("channel", metavar="CHANNEL", nargs="?", help="{column} in it stands for the row's value")
    parser.add_argument(
        "--data", metavar="JSON", default="true", help='the payload; "{column}" is that column\'s value'
    )
    parser.add_argument(
        "--on", metavar="KINDS", default="created,changed,deleted", help="of created, changed, deleted; all by default"
    )
    parser.add_argument("--fields", metavar="COLUMNS", default="", help="publish these columns instead of --data")
    parser.add_argument("--when", metavar="COLUMNS", default="", help="only when one of these has changed")
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--remove", action="store_true", help="remove our triggers from TABLE, or from all tables")
    act.add_argument(
        "--check", action="store_true", help="say of TABLE, or of all, what is told to nobody and the mend; 1 if any is"
    )


def _watch(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import watch

    return watch(found, environ)


def _outbox_arguments(parser: argparse.ArgumentParser) -> None:
    _database_argument(parser)
    act = parser.add_mutually_exclusive_group()
    act.add_argument("--retry", action="store_true", help="put what the hub refused back into the queue")
    act.add_argument("--drop", metavar="ID", type=int, nargs="+", help="forget these rows")
    act.add_argument("--sweep", action="store_true", help="publish what is left behind, until interrupted")


def _outbox(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import outbox

    return outbox(found, environ)


def _check_database(environ: Environ) -> list[Finding]:
    from .commands import check_cookies, check_database, check_mail

    return [*check_database(environ), *check_mail(environ), *check_cookies(environ)]


def _tables() -> list[tuple[str, type[Any]]]:
    from hub.settings import Settings as HubSettings

    from .app import FEATURES
    from .settings import tables

    return [("Hub", HubSettings), *(("Site", table) for table in tables(FEATURES))]


def _documents() -> Sequence[Documents]:
    from .app import FEATURES, documents_of

    return documents_of(FEATURES)


COMMANDS = (
    Command("serve", "serve the site and the hub, after bringing the database up to date", _serve_arguments, _serve),
    Command("keep", "keep `serve` running; SIGHUP replaces it by what is installed then", _serve_arguments, _keep),
    Command("work", "do jobs, and serve nothing, until interrupted; `serve` does them too", _no_arguments, _work),
    Command("migrate", "bring the database's tables up to date", _no_arguments, _migrate),
    Command("demo", "fill an empty database with demo content", _no_arguments, _demo),
    *accounts.COMMANDS,
    *blog.COMMANDS,
    *search.commands(_documents),
    *COMMON,
    Command(
        "watch",
        "let a PostgreSQL table tell of its changes, whoever makes them",
        _watch_arguments,
        _watch,
        epilog="example: watch comments 'comments-{event_id}' --data '\"{id}\"'",
    ),
    Command("outbox", "show what waits to be told, and what the hub refused", _outbox_arguments, _outbox),
    *podcasts.COMMANDS,
    *jobs.COMMANDS,
    *headsup.COMMANDS,
    *css.COMMANDS,
    *html.COMMANDS,
    group("lab", "measure what the pages under /lab show", (*joins.LAB, *redislab.LAB)),
    *pictures.COMMANDS,
    *views.COMMANDS,
    Command("pictures", "make the smaller forms of all pictures again", _pictures_arguments, _pictures),
    check_command(_check_database),
    settings_command(_tables),
)
