"""A content security policy that lets a page have its new styles: by hash, and no wider than that. Pure."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable

_STYLES = ("style-src-elem", "style-src", "default-src")


def hash_of(style: str) -> str:
    """What a policy calls the text of a `<style>`."""
    return "'sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() + "'"


def with_hashes(policy: str, hashes: Iterable[str]) -> str | None:
    """A policy that allows styles of these hashes too; None for one that forbids all styles, which is meant."""
    wanted = list(dict.fromkeys(hashes))
    directives = [part.strip() for part in policy.split(";") if part.strip()]
    # Of two with one name only the first counts.
    found: dict[str, int] = {}
    for index, directive in enumerate(directives):
        found.setdefault(directive.split()[0].lower(), index)
    name = next((name for name in _STYLES if name in found), None)
    if name is None or not wanted:
        return policy
    values = directives[found[name]].split()[1:]
    if [value.lower() for value in values] == ["'none'"]:
        return None
    if allows_all(values):
        # A hash beside it would take it back.
        return policy
    whole = " ".join([*values, *(each for each in wanted if each not in values)])
    if name == "default-src":
        directives.append(f"style-src {whole}")
    else:
        directives[found[name]] = f"{name} {whole}"
    return "; ".join(directives)


def allows_all(values: Iterable[str]) -> bool:
    """Whether any style may be inline: 'unsafe-inline', which counts for nothing beside a hash or a nonce."""
    words = [value.lower() for value in values]
    return "'unsafe-inline'" in words and not any(word.startswith(("'sha", "'nonce-")) for word in words)


def allows_inline(policy: str) -> bool:
    """Whether a policy that can't be changed, a page's own, allows any inline style."""
    return with_hashes(policy, ["'sha256-'"]) == policy
