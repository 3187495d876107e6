"""What a rule is about, and what it finds in a push. Pure: what has been told before, the caller knows."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .cutting import MAX_TEXT, cut
from .globs import matches_name, matches_path
from .pushes import Commit, Push
from .remark import Words, read_remark

#: Of a repository whose forge does not say which branch is the default one.
DEFAULT_BRANCHES = ("main", "master")

#: Days in which the same text of the same author, in another commit, is the same heads-up: a rebase.
AGAIN_DAYS = 14


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    branches: patterns of full names; none: the payload's default branch. tags_only: told only when a tag is created;
    tags: patterns of those tags; none: all. paths: patterns, one of which a commit must touch; none: any commit.
    asks_api: the forge may be asked which commits are new in a tag.
    """

    id: int
    words: Words
    branches: tuple[str, ...] = ()
    tags_only: bool = False
    tags: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    asks_api: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A commit that tells something.

    sha: of the commit; others: of commits that say the same in this push. text: MAX_TEXT characters of it, rest: how
    many there are beyond; digest: of all of it.
    """

    sha: str
    text: str
    is_revert: bool
    author: str
    email: str
    url: str
    committer: str = ""
    others: tuple[str, ...] = ()
    rest: int = 0
    digest: str = ""

    @property
    def sameness(self) -> str:
        """Equal for what one author says in the same words: a rebase makes new commits of old ones."""
        who = self.email.lower() or self.author
        return _digest(f"{who}\0{self.digest or self.text}")


@dataclass(frozen=True, slots=True)
class Found:
    """What a rule finds in a push. why: in words, if the push is not for this rule at all.

    waits: it is for the next tag. missed: commits without a remark, by the reason.
    """

    why: str = ""
    waits: bool = False
    entries: tuple[Entry, ...] = ()
    missed: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What of that is told now. known: told before; again: the same text of the same author in another commit."""

    told: tuple[Entry, ...]
    known: tuple[Entry, ...]
    again: tuple[Entry, ...]


def why_ignored(push: Push) -> str:
    """Why no rule looks at a push; "" if they do."""
    if push.deleted:
        return f"the {push.kind if push.kind != 'other' else 'ref'} {push.name} was deleted"
    if push.kind == "other":
        return f"neither a branch nor a tag: {push.ref}"
    return ""


def find(rule: Rule, push: Push, default_branch: str, more: Sequence[Commit] = ()) -> Found:
    """What a rule finds in a push. more: commits that the forge was asked for, oldest first, for a tag."""
    if why := why_ignored(push) or _why_not(rule, push, default_branch):
        return Found(why=why)
    commits: Sequence[Commit] = push.commits
    if push.kind == "tag":
        # A tag lists none at most forges; the commit it is at may be all that is known.
        commits = _distinct([*more, *push.commits, *([push.head] if push.head is not None else [])])
    entries, missed = [], []
    for commit in commits:
        if rule.paths and not _touches(rule.paths, commit):
            missed.append(
                (commit.id, "other paths" if commit.paths is not None else "the forge does not say which paths")
            )
            continue
        remark = read_remark(commit.message, rule.words)
        if remark.text is None:
            missed.append((commit.id, remark.why))
        else:
            entries.append(_entry(commit, remark.text, is_revert=remark.is_revert))
    return Found(waits=rule.tags_only and push.kind == "branch", entries=tuple(entries), missed=tuple(missed))


def plan(entries: Sequence[Entry], told: Collection[str], recent: Collection[str]) -> Plan:
    """What is told now. told: commits that this rule has told; recent: samenesses of the last AGAIN_DAYS."""
    new: dict[str, Entry] = {}
    known, again = [], []
    for entry in entries:
        if entry.sha in told:
            known.append(entry)
        elif (same := entry.digest or entry.text) in new:
            # A merge and the commit that it merges often say the same.
            new[same] = replace(new[same], others=(*new[same].others, entry.sha))
        elif entry.sameness in recent:
            again.append(entry)
        else:
            new[same] = entry
    return Plan(tuple(new.values()), tuple(known), tuple(again))


def _why_not(rule: Rule, push: Push, default_branch: str) -> str:
    if push.kind == "tag":
        if not rule.tags_only:
            return f"a tag: {push.name}"
        return "" if not rule.tags or matches_name(push.name, rule.tags) else f"another tag: {push.name}"
    wanted = rule.branches or ((default_branch,) if default_branch else DEFAULT_BRANCHES)
    is_for = matches_name(push.name, wanted) if rule.branches else push.name in wanted
    return "" if is_for else f"another branch: {push.name}"


def _touches(patterns: Sequence[str], commit: Commit) -> bool:
    return commit.paths is not None and any(matches_path(path, patterns) for path in commit.paths)


def _distinct(commits: Sequence[Commit]) -> list[Commit]:
    found: Mapping[str, Commit] = {commit.id: commit for commit in commits}
    return list(found.values())


def _entry(commit: Commit, text: str, *, is_revert: bool) -> Entry:
    author, committer = commit.author, commit.committer
    # The forge itself commits what is merged on its pages.
    by_forge = committer.name in {"GitHub", "GitLab", "Gitea", "Forgejo"} or committer.email == "noreply@github.com"
    same = by_forge or not committer.name or committer.name == author.name or committer.email == author.email
    shown = cut(text, MAX_TEXT)
    return Entry(
        sha=commit.id,
        text=shown,
        is_revert=is_revert,
        author=author.name,
        email=author.email,
        url=commit.url,
        committer="" if same else committer.name,
        # The sign that something is missing is a character too.
        rest=0 if shown == text else len(text) - len(shown) + 1,
        digest=_digest(text),
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:40]
