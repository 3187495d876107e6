"""The command of accounts. What it does is imported when it is run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name")
    parser.add_argument("--change", action="store_true", help="give an account another password, and end its sign-ins")


def _manager(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import manager

    return manager(found, environ)


COMMANDS = (Command("manager", "make an account that may manage events; asks for its password", _arguments, _manager),)
