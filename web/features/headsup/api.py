"""What GitHub's API is asked: whether a repository is there, its last commits, and what is new in a tag. Nobody's token
is used: only what everybody may see is seen."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import orjson
from aiohttp import hdrs

from ...services.outbound import Limits, Outbound, OutboundError
from .forges.github import read_person
from .payloads import MAX_MESSAGE, list_of, number_of, object_of, text_of
from .pushes import Commit, Push

#: Somebody may wait for it.
_LIMITS = Limits(connect=5.0, gap=8.0, total=15.0, wire=8 * 1024**2, body=16 * 1024**2, redirects=2)

#: Commits of one page, and pages that are asked for.
_PAGE, _PAGES = 100, 3

#: Commits of which GitHub is asked for the files: who has no token may ask it sixty times an hour.
_FILES = 10

#: Names of tags in one sentence.
_NAMED = 10

_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")


class ApiAway(Exception):
    """GitHub can't be asked now. The text is for people."""


@dataclass(frozen=True, slots=True)
class TagCommits:
    """What GitHub says of a tag: its commits since the one before, oldest first; notes: what a reader should know of
    them. missed: tags in between of which no event came; what is new in them is among the commits. is_whole: these are
    all that are new in it, as far as GitHub was asked."""

    commits: Sequence[Commit] = ()
    notes: Sequence[str] = ()
    missed: Sequence[str] = ()
    is_whole: bool = False

    @property
    def words(self) -> str:
        """That tags were missed, in a sentence; "" if none was."""
        if not self.missed:
            return ""
        rest = len(self.missed) - _NAMED
        names = ", ".join(self.missed[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
        return f"Tags of which no event came: {names}. GitHub sends none for more than three at once."


async def find_repository(outbound: Outbound, api: str, name: str) -> dict[str, Any] | None:
    """A public repository, or None if there is none of this name. Raises ApiAway."""
    if not _NAME.fullmatch(name):
        return None
    found = await _ask(outbound, f"{api}/repos/{quote(name)}")
    if not isinstance(found, dict) or not text_of(found.get("full_name")):
        return None
    owner = object_of(found.get("owner"))
    return {
        "full_name": text_of(found.get("full_name")),
        "description": text_of(found.get("description")),
        "html_url": text_of(found.get("html_url")),
        "default_branch": text_of(found.get("default_branch")),
        "private": found.get("private") is True,
        "owner": {"login": text_of(owner.get("login")), "avatar_url": text_of(owner.get("avatar_url"))},
    }


async def find_names(outbound: Outbound, api: str, typed: str) -> list[str]:
    """Names of an owner's repositories that begin as typed: `ada/en`. Raises ApiAway."""
    owner, slash, begin = typed.partition("/")
    if (
        not slash
        or not re.fullmatch(r"[A-Za-z0-9_.-]{1,100}", owner)
        or not re.fullmatch(r"[A-Za-z0-9_.-]{0,100}", begin)
    ):
        return []
    found = await _ask(outbound, f"{api}/users/{quote(owner)}/repos?per_page=100&sort=pushed")
    names = [text_of(object_of(each).get("full_name")) for each in list_of(found)]
    return [name for name in names if name.lower().startswith(typed.lower())][:10]


async def last_commits(outbound: Outbound, api: str, name: str, branch: str) -> list[Commit]:
    """The last commits of a branch, oldest first. Raises ApiAway."""
    at = f"sha={quote(branch, safe='')}&" if branch else ""
    found = await _ask(outbound, f"{api}/repos/{quote(name)}/commits?{at}per_page={_PAGE}")
    if found is None:
        raise ApiAway(f"GitHub shows no branch {branch} to everybody.")
    return [commit_of(each) for each in reversed(list_of(found))]


async def with_paths(outbound: Outbound, api: str, name: str, commits: Sequence[Commit]) -> list[Commit]:
    """Commits with the files that they touch, which GitHub lists of one at a time: of the first ten. Raises ApiAway."""
    found = []
    for commit in commits[:_FILES]:
        answer = object_of(await _ask(outbound, f"{api}/repos/{quote(name)}/commits/{quote(commit.id, safe='')}"))
        files = [object_of(each) for each in list_of(answer.get("files"))]
        # What was renamed is gone in one place, and new in another.
        names = [text_of(each.get(key), 4096) for each in files for key in ("filename", "previous_filename")]
        found.append(replace(commit, paths=tuple(each for each in names if each)))
    return [*found, *commits[_FILES:]]


async def commits_of_tags(
    outbound: Outbound, api: str, name: str, push: Push, heard: Collection[str] = ()
) -> TagCommits:
    """The commits since the tag before. heard: tags of which events came. Never raises."""
    try:
        return await _commits_of_tag(outbound, api, name, push.name, heard)
    except ApiAway as error:
        return TagCommits(notes=(f"Which commits are new in the tag could not be asked: {error}",))


async def _commits_of_tag(outbound: Outbound, api: str, name: str, tag: str, heard: Collection[str]) -> TagCommits:
    listed = await _ask(outbound, f"{api}/repos/{quote(name)}/tags?per_page=100") if _NAME.fullmatch(name) else None
    if listed is None:
        # 404: what is private is said to be nowhere.
        raise ApiAway("GitHub shows no such repository to everybody.")
    tags = [text_of(object_of(each).get("name")) for each in list_of(listed)]
    if tag not in tags:
        return TagCommits(notes=("GitHub does not list this tag yet.",))
    missed = tags_missed(tag, tags, heard)
    before = tag_before(missed[0] if missed else tag, tags)
    if before is None:
        # The first there is.
        asked = f"{api}/repos/{quote(name)}/commits?sha={quote(tag, safe='')}&per_page={_PAGE}"
        first = list_of(await _ask(outbound, asked))
        return TagCommits(
            [commit_of(each) for each in reversed(first)],
            (f"There is no tag before it: its last {_PAGE} commits were looked at.",),
            is_whole=len(first) < _PAGE,
        )
    commits: list[Commit] = []
    total = 0
    span = f"{quote(before, safe='')}...{quote(tag, safe='')}"
    for page in range(1, _PAGES + 1):
        asked = f"{api}/repos/{quote(name)}/compare/{span}?per_page={_PAGE}&page={page}"
        found = object_of(await _ask(outbound, asked))
        some = list_of(found.get("commits"))
        commits += [commit_of(each) for each in some]
        total = number_of(found.get("total_commits")) or len(commits)
        if len(commits) >= total or not some:
            break
    if total > len(commits):
        words = f"{total} commits since {before}, of which {len(commits)} were looked at."
    elif missed:
        words = f"All commits since {before}, the tag before that was heard of."
    else:
        words = f"All commits since {before}, the tag before."
    return TagCommits(commits, (words,), missed, is_whole=total <= len(commits))


def tags_missed(tag: str, tags: Sequence[str], heard: Collection[str]) -> list[str]:
    """Tags between one and the next lower that was heard of, of those that are numbered alike, the lowest first.

    None if no lower one was heard of: then nobody knows which there were before anybody listened.
    """
    prefix, version = _version(tag)
    numbered = {number: other for other in tags if (_version(other)[0] == prefix and (number := _version(other)[1]))}
    lower = sorted(number for number in numbered if version and number < version)
    known = [number for number in lower if numbered[number] in heard]
    return [numbered[number] for number in lower if known and number > known[-1]]


def tag_before(tag: str, tags: Sequence[str]) -> str | None:
    """The tag before one: of those that are numbered alike the next lower, else the one that is listed after it.

    GitHub lists tags by their letters, v1.9 before v1.10.
    """
    prefix, version = _version(tag)
    alike = {number: other for other in tags if (_version(other)[0] == prefix and (number := _version(other)[1]))}
    lower = [number for number in alike if version and number < version]
    if lower:
        return alike[max(lower)]
    if version and len(alike) > 1:
        return None
    after = tags[tags.index(tag) + 1 :]
    return after[0] if after else None


def _version(tag: str) -> tuple[str, tuple[int, ...]]:
    match = re.fullmatch(r"(\D*)(\d{1,9}(?:\.\d{1,9})*)", tag)
    return (match[1], tuple(map(int, match[2].split(".")))) if match else (tag, ())


def commit_of(value: Any) -> Commit:
    """A commit as the API has it."""
    found = object_of(value)
    inner = object_of(found.get("commit"))
    return Commit(
        text_of(found.get("sha"), 64),
        text_of(inner.get("message"), MAX_MESSAGE),
        read_person(inner.get("author")),
        read_person(inner.get("committer")),
        text_of(found.get("html_url"), 2000),
    )


async def _ask(outbound: Outbound, url: str) -> Any:
    headers: dict[str, str] = {hdrs.ACCEPT: "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    try:
        answer = await outbound.fetch(url, headers=headers, limits=_LIMITS)
    except OutboundError as error:
        raise ApiAway(str(error)) from None
    if answer.status == 404:
        return None
    if not answer.ok:
        raise ApiAway(f"GitHub answers {answer.status}.")
    try:
        return orjson.loads(answer.body)
    except ValueError:
        raise ApiAway("GitHub answers what is no JSON.") from None
