"""What each role may do: the one table. Pure.

A route says which permission it needs (`web.feature.allow`), and nobody gets by without it: the middleware asks
`may` before the view is called. Views and templates ask it for what is finer than a route.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Role(StrEnum):
    """What somebody is on the site; everybody is one of these."""

    #: Not signed in.
    VISITOR = "visitor"
    #: Signed in, and no more.
    USER = "user"
    WRITER = "writer"
    MANAGER = "manager"


class Permission(StrEnum):
    """What may be allowed or not."""

    READ = "read"
    COMMENT = "comment"
    SIGN_IN = "sign in"
    OWN_ACCOUNT = "own account"
    WRITE_POSTS = "write posts"
    MANAGE_EVENTS = "manage events"
    WATCH_REPOSITORIES = "watch repositories"
    MANAGE_SEARCH = "manage search"
    MODERATE_COMMENTS = "moderate comments"
    RUN_LABS = "run labs"
    MANAGE_VIEWS = "manage views"
    MANAGE_HUB = "manage hub"


_EVERYBODY = frozenset(Role)
_SIGNED_IN = _EVERYBODY - {Role.VISITOR}
_WRITERS = frozenset({Role.WRITER, Role.MANAGER})
_MANAGERS = frozenset({Role.MANAGER})

MAY: Mapping[Permission, frozenset[Role]] = {
    Permission.READ: _EVERYBODY,
    Permission.COMMENT: _EVERYBODY,
    Permission.SIGN_IN: _EVERYBODY,
    Permission.OWN_ACCOUNT: _SIGNED_IN,
    Permission.WRITE_POSTS: _WRITERS,
    Permission.MANAGE_EVENTS: _MANAGERS,
    Permission.WATCH_REPOSITORIES: _SIGNED_IN,
    Permission.MANAGE_SEARCH: _WRITERS,
    Permission.MODERATE_COMMENTS: _MANAGERS,
    Permission.RUN_LABS: _MANAGERS,
    Permission.MANAGE_VIEWS: _MANAGERS,
    Permission.MANAGE_HUB: _MANAGERS,
}

#: Roles that an account can have.
GIVEN = (Role.MANAGER, Role.WRITER, Role.USER)


def may(role: Role, permission: Permission) -> bool:
    """Whether a role may do this. What is not in the table nobody may."""
    return role in MAY.get(permission, frozenset())


def role_of(text: str | None) -> Role:
    """The role that an account's row says; None is nobody's row. What is unknown, of a later release, is no role."""
    if text is None:
        return Role.VISITOR
    return next((role for role in GIVEN if role == text), Role.USER)
