"""What a payload or a message would tell, without a project: for `fanfare headsup check` and the page that tries."""

from __future__ import annotations

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .api import commit_of
from .forges import BY_NAME
from .forges.github import read_commit
from .payloads import BadPayload, list_of, parse
from .pushes import Commit, split_ref
from .remark import REVERT, Words, read_remark

#: What stands between messages that are pasted: `git log --format='%H%n%B%n---commit---'` is one way.
SEPARATOR = "---commit---"


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


def _of_payload(payload: Mapping[str, Any]) -> list[Commit]:
    if "commits" not in payload and "ref" not in payload and ("message" in payload or "commit" in payload):
        return [_of_object(payload)]
    if "push" in payload:
        forge, event = "bitbucket", "repo:push"
    elif "project" in payload:
        is_tag = split_ref(str(payload.get("ref")))[0] == "tag"
        forge, event = "gitlab", "Tag Push Hook" if is_tag else "Push Hook"
    else:
        forge, event = "github", "push"
    delivery = BY_NAME[forge].read(event, payload)
    commits = [commit for push in delivery.pushes if not push.deleted for commit in push.commits]
    if not commits:
        # A tag lists none at GitHub: the commit it is at is all that is known. A branch without new commits has none.
        commits = [each.head for each in delivery.pushes if each.kind == "tag" and each.head and not each.deleted]
    return commits


def _of_text(text: str) -> list[Commit]:
    messages = [each.strip("\n") for each in text.split(SEPARATOR)]
    commits = []
    for message in messages:
        if not message.strip():
            continue
        first, _, rest = message.partition("\n")
        is_id = len(first) in {40, 64} and all(letter in "0123456789abcdef" for letter in first)
        commits.append(Commit(first if is_id else "", rest if is_id else message))
    return commits
