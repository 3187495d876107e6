"""The form that posts are written in: its fields as text, whatever is in them, and what a save makes of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from ...pages.markdown import plain
from .models import Format, Post
from .posts import BadPost, Comments, Ready, Writing, ready
from .zones import BadTime, BadZone, parse_local, show_local

#: Bytes of the form. The longest text, in letters of four bytes each, percent-encoded, is 2.4 MB. One that is too long
#: is shown again with the reason, up to here: a megabyte of brackets is three as a form.
MAX_FORM = 4 * 1024 * 1024

#: What a writer types; a draft has these.
TYPED = (
    *("title", "text", "format", "slug", "summary", "categories", "keywords"),
    *("comments", "comments_until", "published_at", "zone"),
)
_TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2})?")
_MAX_EDITION = 2**31 - 1


@dataclass(frozen=True, slots=True)
class PostForm:
    """Fields as they were typed, and by field what is wrong with them.

    uid: names the post, also one that is not there yet: a form that is sent twice makes one. edition: of the post that
    the writer saw; 0 for a new one.
    """

    uid: str
    edition: int = 0
    title: str = ""
    text: str = ""
    format: str = Format.MARKDOWN.value
    slug: str = ""
    summary: str = ""
    categories: str = ""
    keywords: str = ""
    #: open, closed, or until, which is `comments_until`.
    comments: str = "open"
    comments_until: str = ""
    published_at: str = ""
    zone: str = "UTC"
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Self:
        """The form as it was sent; nothing that is text is left out of it, however wrong."""
        edition = fields.get("edition", "0")
        is_number = edition.isascii() and edition.isdigit() and len(edition) < 11
        number = min(int(edition), _MAX_EDITION) if is_number else 0
        form = cls(uid=fields.get("uid", ""), edition=number)
        # Each of them is text, as `TYPED` names them.
        return replace(form, **{name: plain(fields[name]) for name in TYPED if name in fields})  # type: ignore[arg-type]

    @classmethod
    def of(cls, post: Post, writing: Writing, zone: str = "UTC") -> Self:
        """The form that shows a post as it is. Its address is empty while it follows the title."""
        until = writing.comments if isinstance(writing.comments, datetime) else None
        when = post.planned_at or post.published_at
        return cls(
            uid=post.uid,
            edition=post.edition,
            title=writing.title,
            text=writing.text,
            format=writing.format.value,
            slug=writing.slug if post.published_at else "",
            summary=writing.summary,
            categories=", ".join(writing.categories),
            keywords=", ".join(writing.keywords),
            comments="until" if until else str(writing.comments),
            comments_until=show_local(until, zone) if until else "",
            published_at=show_local(when, zone) if when else "",
            zone=zone,
        )

    def typed(self) -> dict[str, str]:
        """What a draft keeps."""
        return {name: getattr(self, name) for name in TYPED}

    def at(self, edition: int) -> Self:
        """The same form, to be saved over a newer edition."""
        return replace(self, edition=edition)

    def shows(self, when: datetime) -> bool:
        """Whether the time of publication is this one, to the minute."""
        return self.published_at[:16] == show_local(when, self.zone)

    @property
    def shown_published_at(self) -> str:
        """What the field of a time may hold: nothing that is no time."""
        return self.published_at if _TIME.fullmatch(self.published_at) else ""

    @property
    def shown_comments_until(self) -> str:
        """The same of when comments close."""
        return self.comments_until if _TIME.fullmatch(self.comments_until) else ""

    @property
    def shown_format(self) -> Format:
        """The format; Markdown if it is none."""
        return next((each for each in Format if each.value == self.format), Format.MARKDOWN)

    async def ready(self) -> tuple[Ready, datetime | None]:
        """What to save, rendered, and the time of publication that it asks for, if any. Raises BadPost."""
        # A zone's first use reads its file.
        published_at, comments, errors = await asyncio.to_thread(self._times)
        if self.format not in [each.value for each in Format]:
            errors["format"] = "Choose what the text is written in."
        writing = Writing(
            title=self.title,
            text=self.text,
            format=self.shown_format,
            slug=self.slug,
            summary=self.summary,
            categories=tuple(self.categories.split(",")),
            keywords=tuple(self.keywords.split(",")),
            comments=comments,
        )
        try:
            new = await ready(writing)
        except BadPost as error:
            raise BadPost(error.errors | errors) from None
        if errors:
            raise BadPost(errors)
        return new, published_at

    def _times(self) -> tuple[datetime | None, Comments, dict[str, str]]:
        errors: dict[str, str] = {}
        published_at: datetime | None = None
        comments: Comments = "closed" if self.comments == "closed" else "open"
        if self.published_at.strip():
            try:
                published_at = parse_local(self.published_at.strip(), self.zone.strip())
            except BadTime as error:
                errors["zone" if isinstance(error, BadZone) else "published_at"] = str(error)
        if self.comments == "until":
            try:
                comments = parse_local(self.comments_until.strip(), self.zone.strip())
            except BadTime as error:
                errors["zone" if isinstance(error, BadZone) else "comments_until"] = str(error)
        elif self.comments not in ("open", "closed"):
            errors["comments"] = "Choose whether comments are open."
        return published_at, comments, errors
