"""Gitea and Forgejo: GitHub's shapes, newest commit first, signatures in bare hexadecimal digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ..payloads import text_of
from ..pushes import Delivery, Push, is_zero
from .github import read_push, read_repository
from .signatures import Forge, Headers, Unsigned, Verify, check_hex, one


def _verifier(header: str) -> Verify:
    def verify(headers: Headers, body: bytes, secrets: Sequence[str], allow_sha1: bool) -> None:
        given = one(headers, header)
        if given is None:
            # X-Hub-Signature-256 is there too, but that is for programs that know GitHub only.
            raise Unsigned
        check_hex(given, body, secrets)

    return verify


def _read(forge: str, event: str, payload: Mapping[str, Any]) -> Delivery:
    repository = read_repository(forge, payload.get("repository"))
    if event == "create" and payload.get("ref_type") == "tag":
        # A tag comes as this, with a bare name; older versions send no push for it.
        name, sha = text_of(payload.get("ref")), text_of(payload.get("sha"))
        push = Push(ref=f"refs/tags/{name}", kind="tag", name=name, after=sha, created=True)
        return Delivery("push", event, repository, (push,))
    if event != "push":
        return Delivery("other", event, repository)
    push = read_push(payload, newest_first=True)
    # They don't say so; and of a push that was forced nothing tells.
    return Delivery("push", event, repository, (replace(push, created=is_zero(push.before)),))


def _forge(name: str, label: str) -> Forge:
    return Forge(
        name=name,
        label=label,
        marks=(f"X-{label}-Event",),
        signature=(f"X-{label}-Signature",),
        event=f"X-{label}-Event",
        delivery=(f"X-{label}-Delivery",),
        verify=_verifier(f"X-{label}-Signature"),
        read=partial(_read, name),
    )


GITEA = _forge("gitea", "Gitea")
FORGEJO = _forge("forgejo", "Forgejo")
