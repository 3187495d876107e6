"""Bitbucket Cloud: several refs in one delivery, at most five commits of each, none of tags."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..payloads import MAX_MESSAGE, id_of, list_of, object_of, text_of
from ..pushes import Commit, Delivery, Person, Push, Repository, in_order
from .signatures import BadSignature, Forge, Headers, Unsigned, check_hex, one

_SIGNATURE = "X-Hub-Signature"
#: `Ada Lovelace <ada@example.org>`.
_RAW = re.compile(r"(.*?)\s*<([^<>]*)>\s*")


def _verify(headers: Headers, body: bytes, secrets: Sequence[str], allow_sha1: bool) -> None:
    given = one(headers, _SIGNATURE)
    if given is None:
        raise Unsigned
    if not given.startswith("sha256="):
        raise BadSignature
    check_hex(given.removeprefix("sha256="), body, secrets)


def _read(event: str, payload: Mapping[str, Any]) -> Delivery:
    repository = _repository(payload.get("repository"))
    if event != "repo:push":
        return Delivery("other", event, repository)
    actor = object_of(payload.get("actor"))
    pusher = text_of(actor.get("display_name")) or text_of(actor.get("nickname"))
    changes = list_of(object_of(payload.get("push")).get("changes"))
    pushes = tuple(_push(object_of(each), pusher) for each in changes)
    return Delivery("push", event, repository, pushes)


def _repository(value: Any) -> Repository | None:
    found = object_of(value)
    name = text_of(found.get("full_name"))
    if not name:
        return None
    private = found.get("is_private")
    main = object_of(found.get("mainbranch"))
    return Repository(
        f"bitbucket:{id_of(found.get('uuid'))}",
        name,
        _link(found),
        text_of(main.get("name")),
        private if isinstance(private, bool) else None,
    )


def _push(change: Mapping[str, Any], pusher: str) -> Push:
    new, old = object_of(change.get("new")), object_of(change.get("old"))
    is_tag = (new or old).get("type") in {"tag", "annotated_tag"}
    name = text_of((new or old).get("name"))
    target = object_of(new.get("target"))
    after = text_of(target.get("hash"), 64)
    commits = [_commit(object_of(each)) for each in list_of(change.get("commits"))]
    return Push(
        ref=f"refs/{'tags' if is_tag else 'heads'}/{name}",
        kind="tag" if is_tag else "branch",
        name=name,
        before=text_of(object_of(old.get("target")).get("hash"), 64),
        after=after,
        created=not old,
        # `closed` is said of what was deleted, and of more.
        deleted=not new,
        forced=change.get("forced") is True and bool(old),
        commits=in_order(commits, after, newest_first=True),
        head=_commit(target) if target else None,
        truncated=change.get("truncated") is True,
        compare_url=_link(change),
        pusher=pusher,
    )


def _commit(found: Mapping[str, Any]) -> Commit:
    author = object_of(found.get("author"))
    match = _RAW.fullmatch(text_of(author.get("raw")))
    user = object_of(author.get("user"))
    name = match[1] if match else text_of(author.get("raw"))
    person = Person(name or text_of(user.get("display_name")), match[2] if match else "")
    # Who committed, and which paths, it doesn't say.
    return Commit(
        text_of(found.get("hash"), 64), text_of(found.get("message"), MAX_MESSAGE), person, Person(), _link(found)
    )


def _link(found: Mapping[str, Any]) -> str:
    return text_of(object_of(object_of(found.get("links")).get("html")).get("href"), 2000)


BITBUCKET = Forge(
    name="bitbucket",
    label="Bitbucket Cloud",
    marks=("X-Event-Key", "X-Hook-UUID"),
    signature=(_SIGNATURE,),
    event="X-Event-Key",
    delivery=("X-Request-UUID",),
    verify=_verify,
    read=_read,
)
