"""GitLab: a token that is sent as it is, or a signature as Standard Webhooks has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..payloads import id_of, list_of, number_of, object_of, text_of
from ..pushes import Delivery, Push, Repository, in_order, is_zero, split_ref
from .github import read_commit
from .signatures import BadSignature, Forge, Headers, Unsigned, check_standard, check_token, one

_EVENTS = frozenset({"Push Hook", "Tag Push Hook"})


def _verify(headers: Headers, body: bytes, secrets: Sequence[str], allow_sha1: bool) -> None:
    token, signature = one(headers, "X-Gitlab-Token"), one(headers, "webhook-signature")
    if signature is not None:
        # The stronger of the two decides.
        id, timestamp = one(headers, "webhook-id"), one(headers, "webhook-timestamp")
        if id is None or timestamp is None:
            raise BadSignature
        check_standard(id, timestamp, signature, body, secrets)
    elif token is not None:
        check_token(token, secrets)
    else:
        raise Unsigned


def _read(event: str, payload: Mapping[str, Any]) -> Delivery:
    project = object_of(payload.get("project"))
    repository = None
    name = text_of(project.get("path_with_namespace"))
    if name:
        level = number_of(project.get("visibility_level"))
        repository = Repository(
            f"gitlab:{id_of(project.get('id', payload.get('project_id')))}",
            name,
            text_of(project.get("web_url")),
            text_of(project.get("default_branch")),
            None if level is None else level < 20,
        )
    if event not in _EVENTS:
        return Delivery("other", event, repository)
    ref, before, after = (text_of(payload.get(field)) for field in ("ref", "before", "after"))
    kind, name = split_ref(ref)
    newest = text_of(payload.get("checkout_sha")) or after
    commits = in_order([read_commit(each) for each in list_of(payload.get("commits"))], newest, newest_first=False)
    push = Push(
        ref=ref,
        kind=kind,
        name=name,
        before=before,
        after=after,
        created=is_zero(before),
        deleted=is_zero(after),
        commits=commits,
        # Of an annotated tag, `after` is the tag.
        head=next((each for each in commits if each.id == newest), None),
        total=number_of(payload.get("total_commits_count")),
        pusher=text_of(payload.get("user_name")),
    )
    return Delivery("push", event, repository, (push,))


GITLAB = Forge(
    name="gitlab",
    label="GitLab",
    marks=("X-Gitlab-Event",),
    signature=("X-Gitlab-Token", "webhook-signature"),
    event="X-Gitlab-Event",
    # The last is of the event: all hooks that it calls are sent the same.
    delivery=("webhook-id", "Idempotency-Key", "X-Gitlab-Event-UUID"),
    verify=_verify,
    read=_read,
)
