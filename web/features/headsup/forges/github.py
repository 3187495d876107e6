"""GitHub, and GitHub Enterprise Server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..payloads import MAX_MESSAGE, id_of, list_of, number_of, object_of, text_of
from ..pushes import Commit, Delivery, Person, Push, Repository, in_order, is_zero, split_ref
from .signatures import BadSignature, Forge, Headers, Unsigned, check_hex, one

_SHA256, _SHA1 = "X-Hub-Signature-256", "X-Hub-Signature"


def _verify(headers: Headers, body: bytes, secrets: Sequence[str], allow_sha1: bool) -> None:
    sha256, sha1 = one(headers, _SHA256), one(headers, _SHA1)
    if sha256 is not None:
        if not sha256.startswith("sha256="):
            raise BadSignature
        check_hex(sha256.removeprefix("sha256="), body, secrets)
    elif sha1 is not None:
        if not allow_sha1 or not sha1.startswith("sha1="):
            raise BadSignature
        check_hex(sha1.removeprefix("sha1="), body, secrets, "sha1")
    else:
        raise Unsigned


def _read(event: str, payload: Mapping[str, Any]) -> Delivery:
    repository = read_repository("github", payload.get("repository"))
    if event == "ping":
        return Delivery("ping", event, repository)
    if event != "push":
        return Delivery("other", event, repository)
    return Delivery("push", event, repository, (read_push(payload, newest_first=False),))


def read_repository(forge: str, value: Any) -> Repository | None:
    """The repository of a payload in GitHub's shape; None without one (an organization's ping)."""
    found = object_of(value)
    name = text_of(found.get("full_name"))
    if not name:
        return None
    private = found.get("private")
    return Repository(
        f"{forge}:{id_of(found.get('id'))}",
        name,
        text_of(found.get("html_url")),
        text_of(found.get("default_branch")) or text_of(found.get("master_branch")),
        private if isinstance(private, bool) else None,
    )


def read_push(payload: Mapping[str, Any], *, newest_first: bool) -> Push:
    """A push in GitHub's shape."""
    ref, after = text_of(payload.get("ref")), text_of(payload.get("after"))
    before = text_of(payload.get("before"))
    kind, name = split_ref(ref)
    commits = [read_commit(each) for each in list_of(payload.get("commits"))]
    head = payload.get("head_commit")
    pusher = object_of(payload.get("pusher"))
    return Push(
        ref=ref,
        kind=kind,
        name=name,
        before=before,
        after=after,
        created=payload.get("created") is True or is_zero(before),
        deleted=payload.get("deleted") is True or is_zero(after),
        # A branch that is new can't be; of a tag it says that another commit had its name.
        forced=payload.get("forced") is True and (kind == "tag" or not is_zero(before)),
        commits=in_order(commits, after, newest_first=newest_first),
        head=read_commit(head) if isinstance(head, dict) else None,
        total=number_of(payload.get("total_commits_count", payload.get("total_commits"))),
        compare_url=text_of(payload.get("compare", payload.get("compare_url"))),
        pusher=text_of(pusher.get("name")) or text_of(pusher.get("login")),
    )


def read_commit(value: Any) -> Commit:
    """A commit in the shape of GitHub, Gitea and GitLab."""
    found = object_of(value)
    lists = [found.get(name) for name in ("added", "modified", "removed")]
    paths = None
    if any(isinstance(each, list) for each in lists):
        paths = tuple(text_of(path, 4096) for each in lists for path in list_of(each) if isinstance(path, str))
    return Commit(
        text_of(found.get("id"), 64),
        text_of(found.get("message"), MAX_MESSAGE),
        read_person(found.get("author")),
        read_person(found.get("committer")),
        text_of(found.get("url"), 2000),
        paths,
    )


def read_person(value: Any) -> Person:
    """An author or committer."""
    found = object_of(value)
    name = text_of(found.get("name")) or text_of(found.get("username"))
    return Person(name, text_of(found.get("email")))


GITHUB = Forge(
    name="github",
    label="GitHub",
    marks=("X-GitHub-Event",),
    signature=(_SHA256, _SHA1),
    event="X-GitHub-Event",
    delivery=("X-GitHub-Delivery",),
    verify=_verify,
    read=_read,
)
