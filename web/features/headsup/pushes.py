"""A push as all forges mean it. Pure values.

Commits are in the order they were made, whatever the forge's. Texts are text: without NUL and half characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

#: What a ref is: refs/heads/…, refs/tags/…, or anything else (notes, pull requests, Gerrit's refs/for).
RefKind = Literal["branch", "tag", "other"]


@dataclass(frozen=True, slots=True)
class Person:
    """An author or committer. email: as the forge says it, which may be no address at all."""

    name: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit of a push. url: as the forge says it. paths: what it touched; None where the forge doesn't say."""

    id: str
    message: str
    author: Person = field(default_factory=Person)
    committer: Person = field(default_factory=Person)
    url: str = ""
    paths: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Repository:
    """Where a push went. id: with the forge's name before it, the same after a rename. private: None if not said."""

    id: str
    name: str
    url: str = ""
    default_branch: str = ""
    private: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One ref of a delivery.

    ref: in full. name: without what says its kind. commits: those that the forge lists, oldest first. head: the commit
    at which the ref is now, if the forge says. total: how many there are, if it says and lists fewer. truncated: it
    lists fewer and doesn't say how many. after: all zeros for what was deleted.
    """

    ref: str
    kind: RefKind
    name: str
    before: str = ""
    after: str = ""
    created: bool = False
    deleted: bool = False
    forced: bool = False
    commits: tuple[Commit, ...] = ()
    head: Commit | None = None
    total: int | None = None
    truncated: bool = False
    compare_url: str = ""
    pusher: str = ""

    @property
    def moved(self) -> bool:
        """Whether a tag that was there is at another commit now: GitHub says that it was created, and forced."""
        return self.kind == "tag" and not self.deleted and (self.forced or bool(self.before.strip("0")))

    @property
    def unseen(self) -> int:
        """How many commits there are that the forge does not list; 0 if it doesn't say."""
        return max(0, (self.total or 0) - len(self.commits))


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a delivery says. kind: "push", "ping" or "other"; event: the forge's own word for it."""

    kind: Literal["push", "ping", "other"]
    event: str
    repository: Repository | None = None
    pushes: tuple[Push, ...] = ()


def split_ref(ref: str) -> tuple[RefKind, str]:
    """The kind of a ref and its name, which may have slashes: `refs/heads/feature/x` is the branch feature/x."""
    parts = ref.split("/", 2)
    if len(parts) == 3 and parts[0] == "refs" and parts[2]:
        if parts[1] == "heads":
            return "branch", parts[2]
        if parts[1] == "tags":
            return "tag", parts[2]
    return "other", ref


def is_zero(sha: str) -> bool:
    """Whether this is no commit: 40 or, of SHA-256 repositories, 64 zeros."""
    return bool(sha) and not sha.strip("0")


def in_order(commits: Sequence[Commit], after: str, *, newest_first: bool) -> tuple[Commit, ...]:
    """Commits oldest first. after: the newest one, which tells the order; newest_first: what the forge usually does."""
    if len(commits) > 1:
        if commits[0].id == after:
            newest_first = True
        elif commits[-1].id == after:
            newest_first = False
    return tuple(reversed(commits)) if newest_first else tuple(commits)
