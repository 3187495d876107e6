"""Payloads of each forge, made here in the shapes that the forges have, and signed as they sign."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import time
from typing import Any
from urllib.parse import urlencode

SECRET = "the secret of ada/engine"
ZEROS = "0" * 40
_ids = itertools.count(1)


def sha(text: object) -> str:
    """A commit's id that follows from a text."""
    return hashlib.sha1(str(text).encode()).hexdigest()


def commit(message: str, *, name: str = "Ada Lovelace", email: str = "ada@example.org", **more: Any) -> dict[str, Any]:
    """A commit in GitHub's shape."""
    id = more.pop("id", None) or sha((message, name, next(_ids)))
    return {
        "id": id,
        "tree_id": sha(id),
        "distinct": True,
        "message": message,
        "timestamp": "2026-11-26T10:15:00+01:00",
        "url": f"https://github.com/ada/engine/commit/{id}",
        "author": {"name": name, "email": email, "username": "ada"},
        "committer": {"name": name, "email": email, "username": "ada"},
        "added": [],
        "removed": [],
        "modified": ["README.md"],
        **more,
    }


def repository(**more: Any) -> dict[str, Any]:
    return {
        "id": 4711,
        "node_id": "MDEwOlJlcG9zaXRvcnk0NzEx",
        "name": "engine",
        "full_name": "ada/engine",
        "private": False,
        "owner": {"name": "ada", "email": "ada@example.org", "login": "ada", "id": 1},
        "html_url": "https://github.com/ada/engine",
        "default_branch": "main",
        "master_branch": "main",
        **more,
    }


def push(*commits: dict[str, Any], ref: str = "refs/heads/main", **more: Any) -> dict[str, Any]:
    """A push of GitHub's."""
    after = commits[-1]["id"] if commits else sha(ref)
    return {
        "ref": ref,
        "before": sha("before"),
        "after": after,
        "repository": repository(),
        "pusher": {"name": "ada", "email": "ada@example.org"},
        "sender": {"login": "ada", "id": 1},
        "created": False,
        "deleted": False,
        "forced": False,
        "base_ref": None,
        "compare": "https://github.com/ada/engine/compare/0123456...789abcd",
        "commits": list(commits),
        "head_commit": commits[-1] if commits else None,
        **more,
    }


def deletion(ref: str, **more: Any) -> dict[str, Any]:
    return push(ref=ref, after=ZEROS, deleted=True, **more)


def tag(name: str, head: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A tag that is pushed, at GitHub: no commits, and the one that it is at."""
    return push(
        ref=f"refs/tags/{name}",
        **{
            "before": ZEROS,
            "after": head["id"],
            "created": True,
            "head_commit": head,
            "base_ref": "refs/heads/main",
            **more,
        },
    )


def ping(**more: Any) -> dict[str, Any]:
    return {
        "zen": "Keep it logically awesome.",
        "hook_id": 1,
        "hook": {"type": "Repository", "id": 1, "name": "web", "active": True, "events": ["push"]},
        "repository": repository(),
        "sender": {"login": "ada", "id": 1},
        **more,
    }


def encoded(payload: Any) -> bytes:
    return payload if isinstance(payload, bytes) else json.dumps(payload).encode()


def digest(body: bytes, secret: str = SECRET, kind: str = "sha256") -> str:
    return hmac.new(secret.encode(), body, kind).hexdigest()


def github(payload: Any, *, event: str = "push", secret: str = SECRET, **headers: str) -> dict[str, Any]:
    """What GitHub sends: `session.post(url, **github(push(…)))`."""
    body = encoded(payload)
    sent = {
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/0123456",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": headers.pop("delivery", f"72d3162e-cc78-11e3-81ab-{next(_ids):012}"),
        "X-Hub-Signature": f"sha1={digest(body, secret, 'sha1')}",
        "X-Hub-Signature-256": f"sha256={digest(body, secret)}",
        **headers,
    }
    return {"data": body, "headers": sent}


def form(payload: Any, **options: Any) -> dict[str, Any]:
    """The same as a form, which is signed as the form."""
    body = urlencode({"payload": encoded(payload).decode()}).encode()
    return github(body, **{"Content-Type": "application/x-www-form-urlencoded", **options})


def gitlab(
    payload: Any, *, event: str = "Push Hook", secret: str = SECRET, signs: bool = False, **headers: str
) -> dict[str, Any]:
    """What GitLab sends: the secret as it is, or a signature."""
    body = encoded(payload)
    id, moment = headers.pop("delivery", f"gl-{next(_ids)}"), headers.pop("moment", str(int(time.time())))
    sent = {"Content-Type": "application/json", "X-Gitlab-Event": event, "X-Gitlab-Event-UUID": id}
    if signs:
        signature = hmac.new(secret.encode(), f"{id}.{moment}.".encode() + body, "sha256").digest()
        sent |= {
            "webhook-id": id,
            "webhook-timestamp": moment,
            "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
        }
    else:
        sent["X-Gitlab-Token"] = secret
    return {"data": body, "headers": {**sent, **headers}}


def gitlab_push(*messages: str, ref: str = "refs/heads/main", **more: Any) -> dict[str, Any]:
    commits = [
        {
            "id": sha(("gitlab", message, next(_ids))),
            "message": message,
            "title": message.split("\n")[0],
            "timestamp": "2026-11-26T10:15:00+01:00",
            "url": "https://gitlab.example.org/group/sub/engine/-/commit/1",
            "author": {"name": "Ada Lovelace", "email": "gitlabdev@dv6700.(none)"},
            "added": [],
            "modified": ["README.md"],
            "removed": [],
        }
        for message in messages
    ]
    after = commits[-1]["id"] if commits else sha(ref)
    return {
        "object_kind": "push",
        "event_name": "push",
        "before": sha("before"),
        "after": after,
        "ref": ref,
        "checkout_sha": after,
        "message": None,
        "user_name": "Ada Lovelace",
        "project_id": 15,
        "project": {
            "id": 15,
            "name": "engine",
            "web_url": "https://gitlab.example.org/group/sub/engine",
            "path_with_namespace": "group/sub/engine",
            "default_branch": "main",
            "visibility_level": 0,
        },
        "commits": commits,
        "total_commits_count": len(commits),
        **more,
    }


def gitea(
    payload: Any, *, event: str = "push", secret: str = SECRET, label: str = "Gitea", **headers: str
) -> dict[str, Any]:
    """What Gitea and Forgejo send: GitHub's headers too, and Forgejo those of Gitea."""
    body = encoded(payload)
    id = headers.pop("delivery", f"gt-{next(_ids)}")
    sent = {
        "Content-Type": "application/json",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": id,
        "X-Hub-Signature-256": f"sha256={digest(body, secret)}",
    }
    for each in dict.fromkeys(("Gitea", label)):
        sent |= {f"X-{each}-Event": event, f"X-{each}-Delivery": id, f"X-{each}-Signature": digest(body, secret)}
    return {"data": body, "headers": {**sent, **headers}}


def gitea_push(*commits: dict[str, Any], ref: str = "refs/heads/main", **more: Any) -> dict[str, Any]:
    """Newest commit first. commits: oldest first."""
    found = push(*commits, ref=ref, **more)
    for name in ("created", "deleted", "forced", "base_ref", "compare"):
        found.pop(name)
    return {
        **found,
        "compare_url": "https://gitea.example.org/ada/engine/compare/a...b",
        "commits": list(reversed(commits)),
        "total_commits": len(commits),
        "pusher": {"id": 1, "login": "ada", "full_name": "Ada Lovelace", "email": "ada@example.org"},
    }


def bitbucket(payload: Any, *, event: str = "repo:push", secret: str = SECRET, **headers: str) -> dict[str, Any]:
    body = encoded(payload)
    sent = {
        "Content-Type": "application/json",
        "X-Event-Key": event,
        "X-Hook-UUID": "{af8dfe8e-4d07-4b39-8d9c-2c2a1f3e9b1d}",
        "X-Request-UUID": headers.pop("delivery", f"bb-{next(_ids)}"),
        "X-Attempt-Number": "1",
        "X-Hub-Signature": f"sha256={digest(body, secret)}",
        **headers,
    }
    return {"data": body, "headers": sent}


def bitbucket_change(*messages: str, name: str = "main", kind: str = "branch", **more: Any) -> dict[str, Any]:
    """A change of a push. messages: oldest first; they are sent newest first."""
    commits = [
        {
            "hash": sha(("bitbucket", message, next(_ids))),
            "type": "commit",
            "message": message,
            "author": {"raw": "Ada Lovelace <ada@example.org>", "type": "author", "user": {"display_name": "Ada"}},
            "links": {"html": {"href": "https://bitbucket.org/ada/engine/commits/1"}},
        }
        for message in messages
    ]
    target = commits[-1] if commits else {"hash": sha(name), "type": "commit", "message": "old news"}
    ref = {"type": kind, "name": name, "target": target}
    return {
        "forced": False,
        "created": False,
        "closed": False,
        "truncated": False,
        "old": {"type": kind, "name": name, "target": {"hash": sha("before"), "type": "commit"}},
        "new": ref,
        "commits": list(reversed(commits)),
        "links": {"html": {"href": "https://bitbucket.org/ada/engine/branches/compare/a..b"}},
        **more,
    }


def bitbucket_push(*changes: dict[str, Any]) -> dict[str, Any]:
    return {
        "push": {"changes": list(changes)},
        "actor": {"type": "user", "display_name": "Ada Lovelace", "nickname": "ada"},
        "repository": {
            "type": "repository",
            "full_name": "ada/engine",
            "name": "engine",
            "uuid": "{673a6070-3421-46c9-9d48-90745f7bfe8e}",
            "is_private": True,
            "links": {"html": {"href": "https://bitbucket.org/ada/engine"}},
        },
    }
