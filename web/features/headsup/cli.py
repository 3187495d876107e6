"""The commands of heads-ups. What they do is imported when one is run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ

ACTIONS = ("add", "list", "log", "replay", "check")


def _arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="|".join(ACTIONS), required=True)
    add = actions.add_parser("add", help="watch a repository, and print its secret once")
    add.add_argument("name", metavar="OWNER/NAME")
    _word_arguments(add)
    for name, help in (("to", "who gets the mails"), ("cc", "who gets a copy"), ("bcc", "who gets one unseen")):
        add.add_argument(f"--{name}", metavar="ADDRESS", action="append", default=[], help=f"{help}; may be repeated")
    add.add_argument(
        "--slack", metavar="URL", action="append", default=[], help="a webhook that takes Slack's messages"
    )
    add.add_argument("--webhook", metavar="URL", action="append", default=[], help="a webhook that takes ours, signed")
    add.add_argument("--branch", metavar="GLOB", action="append", default=[], help="instead of the default branch")
    add.add_argument("--path", metavar="GLOB", action="append", default=[], help="only commits that touch these files")
    add.add_argument("--tags-only", action="store_true", help="tell only when a tag is created")
    add.add_argument(
        "--owner", metavar="NAME", help="the account whose project it is; else the site's managers look after it"
    )
    listed = actions.add_parser("list", help="what is watched, and by which rules")
    listed.add_argument("name", metavar="OWNER/NAME", nargs="?")
    log = actions.add_parser("log", help="the last deliveries, and what became of them")
    log.add_argument("name", metavar="OWNER/NAME", nargs="?")
    log.add_argument("--count", metavar="N", type=int, default=20, help="how many; 20 by default")
    replay = actions.add_parser(
        "replay", help="look at a delivery again, and tell what it tells whatever was told before"
    )
    replay.add_argument("id", metavar="ID", type=int, help="its number in the log")
    check = actions.add_parser(
        "check", help="say what a payload or a commit's message would tell, commit by commit, or why nothing"
    )
    check.add_argument(
        "file", metavar="FILE", help="a payload, a list of commits, or a message; - for what is piped in"
    )
    _word_arguments(check)
    check.add_argument("--json", action="store_true", help='as {"commits": [{"id", "text", "why"}]}')


def _word_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--word", metavar="W", action="append", default=[], help="a trigger word; may be repeated")
    parser.add_argument("--case-sensitive", action="store_true", help="the word as it is written only")
    parser.add_argument("--strict", action="store_true", help="only a : or ! may follow the word")
    parser.add_argument("--breaking", action="store_true", help="BREAKING CHANGE of conventional commits too")


def _run(found: argparse.Namespace, environ: Environ) -> int:
    from . import commands

    action: int = getattr(commands, found.action if found.action != "list" else "listed")(found, environ)
    return action


COMMANDS = (
    Command(
        "headsup",
        "tell people what commits must tell them: add, list, log, replay, check",
        _arguments,
        _run,
        epilog="example: headsup add ada/engine --word headsup --to team@example.org",
    ),
)
