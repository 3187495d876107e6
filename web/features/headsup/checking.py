"""What a payload or a message would tell, without a project: for `fanfare headsup check` and the page that tries."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from .api import commit_of
from .forges import BY_NAME
from .forges.github import read_commit
from .globs import matches_name
from .payloads import BadPayload, list_of, parse
from .pushes import Commit, Delivery, Push, split_ref
from .remark import REVERT, Words, read_remark
from .rules import DEFAULT_BRANCHES, Found, Rule, find

#: What stands between messages that are pasted: `git log --format='%H%n%B%n---commit---'` is one way.
SEPARATOR = "---commit---"

#: Behind it, within a message, are the files that it touches, one a line:
#: `git log --name-only --format='---commit---%n%H%n%B%n---files---'`.
FILES = "---files---"

#: Commits of a history that are judged: whoever reads on has seen enough.
MOST = 100

#: Of commits of which nobody says what they touch, by a rule that is about files.
IF_FILES = "if it touches the rule's files, which are not said here"


@dataclass(frozen=True, slots=True)
class Checked:
    """A commit, its remark or None, and why: the word that was found, or why there is none."""

    id: str
    text: str | None
    why: str

    def as_data(self) -> dict[str, Any]:
        """As JSON: why is null for a plain remark."""
        why = self.why if self.text is None or self.why == REVERT else None
        return {"id": self.id, "text": self.text, "why": why}


def check(commits: Sequence[Commit], words: Words) -> list[Checked]:
    """What each commit tells."""
    found = []
    for commit in commits:
        remark = read_remark(commit.message, words)
        found.append(Checked(commit.id, remark.text, remark.why))
    return found


@dataclass(frozen=True, slots=True)
class Trial:
    """What a rule would tell of a history. why: why it is not about it at all, in words. total: commits there are."""

    commits: tuple[Checked, ...] = ()
    why: str = ""
    total: int = 0


def branch_to_try(rule: Rule, default_branch: str) -> str:
    """The branch whose history shows best what a rule tells: the default one if the rule is about it, else another."""
    if not rule.branches or matches_name(default_branch, rule.branches):
        return default_branch
    return next((each for each in rule.branches if not set("*?!") & set(each)), default_branch)


def try_rule(rule: Rule, body: bytes, default_branch: str = "") -> Trial:
    """What a rule would tell of a payload, as its delivery does; of messages, as if pushed to a branch of the rule.

    Only the first `MOST` are judged. Raises BadPayload for what begins as a payload and can't be read.
    """
    delivery = _delivery_in(_without_mark(body))
    if delivery is None:
        return try_commits(rule, commits_in(body))
    repository = delivery.repository
    default = (repository.default_branch if repository else "") or default_branch
    found = [find(rule, push, default) for push in delivery.pushes]
    commits = [each for one, push in zip(found, delivery.pushes, strict=True) for each in _checked(one, push.commits)]
    why = "; ".join(dict.fromkeys(one.why for one in found if one.why))
    return Trial(tuple(commits[:MOST]), why or ("" if commits else "no commits are listed"), len(commits))


def try_commits(rule: Rule, commits: Sequence[Commit], branch: str = "") -> Trial:
    """What a rule would tell of commits that are pushed to a branch; without one, to one that the rule is about."""
    # Where nobody says which files a commit touches, only the forge's own delivery will.
    is_open = bool(rule.paths) and any(commit.paths is None for commit in commits)
    judged = rule if branch else replace(rule, branches=())
    name = branch or DEFAULT_BRANCHES[0]
    found = []
    for commit in commits[:MOST]:
        by = replace(judged, paths=()) if commit.paths is None else judged
        one = find(by, Push(ref=f"refs/heads/{name}", kind="branch", name=name, commits=(commit,)), name)
        if one.why:
            return Trial(why=one.why)
        more = IF_FILES if is_open and commit.paths is None else ""
        found += _checked(one, (commit,), more)
    return Trial(tuple(found), total=len(commits))


def _checked(found: Found, commits: Sequence[Commit], more: str = "") -> list[Checked]:
    """What was found, in the order of the commits. more: what is to be said of those that tell something."""
    words = ", ".join(each for each in ("kept for the next tag" if found.waits else "", more) if each)
    by_id: dict[str, Checked] = {}
    for entry in found.entries:
        text = f"{entry.text}\n[{entry.rest} more characters]" if entry.rest else entry.text
        by_id[entry.sha] = Checked(entry.sha, text, words or (REVERT if entry.is_revert else "told"))
    for id, why in found.missed:
        by_id[id] = Checked(id, None, why)
    listed = [by_id.pop(commit.id) for commit in commits if commit.id in by_id]
    # The commit that a tag is at is in no list.
    return [*listed, *by_id.values()]


def commits_in(body: bytes) -> list[Commit]:
    """The commits of a forge's payload, of a list of commits or a single one, as payloads or GitHub's API have them, or
    of one message or several.

    Raises BadPayload for what begins as a payload and can't be read.
    """
    body = _without_mark(body)
    if body.lstrip()[:1] == b"{":
        try:
            return _of_payload(parse(body, is_form=False))
        except BadPayload:
            # A message may begin with a bracket too.
            if body.rstrip()[-1:] == b"}":
                raise
    if body.lstrip()[:1] == b"[" and body.rstrip()[-1:] == b"]":
        try:
            wrapped = parse(b'{"commits":' + body + b"}", is_form=False)
        except BadPayload:
            pass
        else:
            return [_of_object(each) for each in list_of(wrapped.get("commits")) if isinstance(each, dict)]
    return _of_text(body.decode("utf-8", "replace").replace("\0", "�"))


def _without_mark(body: bytes) -> bytes:
    """What an editor or a shell has saved, as UTF-8 without a byte order mark: PowerShell's `>` writes UTF-16."""
    if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return body.decode("utf-16", "replace").encode("utf-8", "replace")
    return body.removeprefix(codecs.BOM_UTF8)


def _of_object(value: Mapping[str, Any]) -> Commit:
    """A commit by itself, as the API has it or as a payload does."""
    if "commit" not in value and "message" in value:
        return read_commit(value)
    return commit_of(value)


def _delivery_in(body: bytes) -> Delivery | None:
    """The delivery that a payload is; None for what says of no ref that it was pushed."""
    if body.lstrip()[:1] != b"{" or body.rstrip()[-1:] != b"}":
        return None
    payload = parse(body, is_form=False)
    return _read(payload) if "ref" in payload or "push" in payload else None


def _of_payload(payload: Mapping[str, Any]) -> list[Commit]:
    if "commits" not in payload and "ref" not in payload and ("message" in payload or "commit" in payload):
        return [_of_object(payload)]
    delivery = _read(payload)
    commits = [commit for push in delivery.pushes if not push.deleted for commit in push.commits]
    if not commits:
        # A tag lists none at GitHub: the commit it is at is all that is known. A branch without new commits has none.
        commits = [each.head for each in delivery.pushes if each.kind == "tag" and each.head and not each.deleted]
    return commits


def _read(payload: Mapping[str, Any]) -> Delivery:
    """A payload by the reader of the forge whose shape it has."""
    if "push" in payload:
        forge, event = "bitbucket", "repo:push"
    elif "project" in payload:
        is_tag = split_ref(str(payload.get("ref")))[0] == "tag"
        forge, event = "gitlab", "Tag Push Hook" if is_tag else "Push Hook"
    else:
        forge, event = "github", "push"
    return BY_NAME[forge].read(event, payload)


def _of_text(text: str) -> list[Commit]:
    # As a browser's form has it.
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    messages = [each.strip("\n") for each in text.split(SEPARATOR)]
    commits = []
    for message in messages:
        if not message.strip():
            continue
        first, _, rest = message.partition("\n")
        is_id = len(first) in {40, 64} and all(letter in "0123456789abcdef" for letter in first)
        text, files, names = (rest if is_id else message).partition(FILES)
        paths = tuple(line for line in names.split("\n") if line.strip()) if files else None
        commits.append(Commit(first if is_id else "", text, paths=paths))
    return commits
