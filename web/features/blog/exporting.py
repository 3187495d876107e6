"""Posts as files of Markdown with YAML front matter; `importing` reads the same values from them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from .importing import ImportedPost

_SUFFIXES = {"markdown": ".md", "html": ".html", "text": ".txt"}


def file_name(post: ImportedPost) -> str:
    """The name of a post's file, as Jekyll has it: it sorts by date, and the slug can be read."""
    begun = f"{post.published_at:%Y-%m-%d}-" if post.published_at else ""
    return f"{begun}{post.slug[:100]}{_SUFFIXES[post.format]}"


def write_post(post: ImportedPost) -> str:
    """The text of a post's file. Its format is that of the file's name, its identity is `id`."""
    front: dict[str, Any] = {"title": post.title, "slug": post.slug, "id": post.identity.removeprefix("id:")}
    if post.uid and post.identity != f"id:{post.uid}":
        front["uuid"] = post.uid
    if post.published_at:
        front["date"] = post.published_at
    if post.changed_at:
        front["modified"] = post.changed_at
    if post.is_draft:
        front["draft"] = True
    if post.summary:
        front["summary"] = post.summary
    for name, values in (("categories", post.categories), ("tags", post.keywords), ("aliases", post.paths)):
        if values:
            front[name] = list(values)
    if post.comments_until is not None:
        front["comments"] = post.comments_until
    elif post.has_comments is not None:
        front["comments"] = post.has_comments
    written = yaml.safe_dump(front, allow_unicode=True, sort_keys=False, width=10_000)
    return f"---\n{written}---\n\n{post.text}\n"


class Writer:
    """Writes posts to files of their own in a folder, which it makes.

    Of two with the same name the later has a number behind it. Files that are there with other names stay.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        # Folders may not tell capitals apart.
        self._used: set[str] = set()

    def write(self, posts: Iterable[ImportedPost]) -> int:
        """Write each post, and return how many there are."""
        count = 0
        for post in posts:
            name = file_name(post)
            stem, dot, suffix = name.rpartition(".")
            number = 1
            while name.casefold() in self._used:
                number += 1
                name = f"{stem}-{number}{dot}{suffix}"
            self._used.add(name.casefold())
            (self._folder / name).write_text(write_post(post), encoding="utf-8", newline="\n")
            count += 1
        return count


def write_posts(posts: Iterable[ImportedPost], folder: Path) -> int:
    """Write each post to a file of its own in a folder, and return how many there are."""
    return Writer(folder).write(posts)
