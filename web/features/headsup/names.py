"""The names of repositories, as people type them. Pure."""

from __future__ import annotations

import re

#: Of `owner/name`; GitLab has groups within groups.
MAX_NAME = 255
_NAME = re.compile(r"[A-Za-z0-9_.~-]+(?:/[A-Za-z0-9_.~-]+)+")
_URL = re.compile(r"(?:https?://)?[A-Za-z0-9.-]+\.[A-Za-z]{2,}(?::\d+)?/(.+)")


def parse_name(text: str) -> str:
    """`owner/name` of what was typed, which may be the address of its page. Raises ValueError with words for people."""
    text = text.strip()
    if "://" in text and (match := _URL.fullmatch(text)):
        text = match[1].partition("/-/")[0]
    text = text.removesuffix("/").removesuffix(".git")
    if not _NAME.fullmatch(text) or len(text) > MAX_NAME or any(part in {".", ".."} for part in text.split("/")):
        raise ValueError("Give it as owner/name, such as ada/engine.")
    return text


def key_of(name: str) -> str:
    """What spellings of a name have in common: forges take any case."""
    return name.lower()
