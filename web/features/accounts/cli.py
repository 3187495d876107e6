"""The commands of accounts. What they do is imported when they are run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ

#: As `web.identity.roles.GIVEN`, which a test compares: importing it here would cost every command SQLAlchemy.
ROLES = ("manager", "writer", "user")


def _manager_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name")
    parser.add_argument("--role", choices=ROLES, default="manager", help="of the new account; manager by default")
    parser.add_argument("--change", action="store_true", help="give an account another password, and end its sign-ins")


def _manager(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import manager

    return manager(found, environ)


def _role_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the account's name")
    parser.add_argument("role", metavar="ROLE", choices=ROLES, help=f"one of {', '.join(ROLES)}")


def _role(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import role

    return role(found, environ)


COMMANDS = (
    Command("manager", "make an account that may manage events; asks for its password", _manager_arguments, _manager),
    Command("role", "say what an account may do: manager, writer, user", _role_arguments, _role),
)
