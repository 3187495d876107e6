"""The forges: for each a verifier of its signature and a reader of its payloads. Pure.

signatures  how bytes are compared with what was sent
github gitea gitlab bitbucket
            a forge each; Forgejo is a Gitea with headers of its own
"""

from __future__ import annotations

from . import bitbucket, gitea, github, gitlab
from .signatures import Forge, Headers

#: In the order they are asked: Gitea and Forgejo send GitHub's headers too, and Forgejo those of Gitea.
FORGES: tuple[Forge, ...] = (gitea.FORGEJO, gitea.GITEA, gitlab.GITLAB, bitbucket.BITBUCKET, github.GITHUB)

BY_NAME = {forge.name: forge for forge in FORGES}


def forge_of(headers: Headers) -> Forge | None:
    """Which forge sent these headers; None for who is none."""
    return next((forge for forge in FORGES if all(name in headers for name in forge.marks)), None)
