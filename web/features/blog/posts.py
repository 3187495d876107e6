"""Saving a post: made, edited, published, planned, taken back. What it was before is kept (`versions`).

What takes time, such as rendering, is done by `ready` before the transaction; the others are for one:

    new = await ready(Writing(title="Hello", text="*World*", categories=("News",)))
    async with database.saving() as session:
        post = await create(session, jobs, new)
        await publish(session, jobs, post.id)

The jobs that they need later are rows of the same transaction.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import delete, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages.requests import clean_line, clean_long
from ...services.jobs.queue import Queue
from ..comments.models import Thread
from . import text as renderer
from . import versions
from .hints import is_public
from .jobs import plan_closing, plan_delivery, plan_telling
from .models import (
    MAX_CATEGORIES,
    MAX_CATEGORY,
    MAX_KEYWORDS,
    MAX_SLUG,
    MAX_SUMMARY,
    MAX_TEXT,
    MAX_TITLE,
    Filing,
    Format,
    OldSlug,
    Post,
    PostCategory,
    State,
)
from .scripts import mixed_word

#: Whether a post takes comments: or until when.
Comments = Literal["open", "closed"] | datetime

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

#: What turns the direction of all that follows on a line: a title with one would turn the page's own words around.
_BIDI = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A)])

#: Halves of surrogate pairs, which no database and no feed can hold.
_HALVES = re.compile("[\ud800-\udfff]")

#: Any number will do, as long as every process of ours takes the same.
_LOCK = 0x504F5354


class PostError(Exception):
    """A post that is not saved.

    BadPost   what was written can't be a post
    NoPost    there is none
    Edited    somebody else has edited it
    """


class BadPost(PostError):
    """What was written can't be a post. errors: by field, in words for the writer."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__("; ".join(f"{field}: {words}" for field, words in errors.items()))
        self.errors = errors


class NoPost(PostError):
    """There is no such post."""


class Edited(PostError):
    """Somebody else has edited the post since. post: as it is now."""

    def __init__(self, post: Post) -> None:
        super().__init__(f"post {post.id} has edition {post.edition} by now")
        self.post = post


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What a writer gives, unchecked. slug: "" for one made of the title. summary: "" for one cut from the text."""

    title: str
    text: str = ""
    format: Format = Format.MARKDOWN
    slug: str = ""
    summary: str = ""
    #: Their names, in the order in which they are shown; those that are not there yet are made.
    categories: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    comments: Comments = "open"


@dataclass(frozen=True, slots=True)
class Ready:
    """A writing cleaned, checked and rendered."""

    writing: Writing
    rendered: renderer.Rendered


async def ready(writing: Writing) -> Ready:
    """Clean, check and render what a writer gives. Raises BadPost."""
    errors: dict[str, str] = {}
    title = _line(writing.title, MAX_TITLE)
    if not any(letter.isprintable() and not letter.isspace() for letter in title):
        errors["title"] = "A post needs a title."
    elif len(title) > MAX_TITLE:
        errors["title"] = f"Titles have at most {MAX_TITLE} characters."
    slug = _line(writing.slug, MAX_SLUG).lower()
    if slug and (len(slug) > MAX_SLUG or not _SLUG.fullmatch(slug)):
        errors["slug"] = f"Use a-z, 0-9 and single hyphens, at most {MAX_SLUG} in all, such as first-snow."
    summary = " ".join((await clean_long(_whole(writing.summary), MAX_SUMMARY)).translate(_BIDI).split())
    if len(summary) > MAX_SUMMARY:
        errors["summary"] = f"Summaries have at most {MAX_SUMMARY} characters."
    keywords = tuple(_distinct(_line(each, MAX_KEYWORDS).replace(",", " ") for each in writing.keywords))
    if len(", ".join(keywords)) > MAX_KEYWORDS:
        errors["keywords"] = f"Keywords have at most {MAX_KEYWORDS} characters in all."
    categories = tuple(_distinct(_line(each, MAX_CATEGORY) for each in writing.categories))
    if len(categories) > MAX_CATEGORIES:
        errors["categories"] = f"A post is in at most {MAX_CATEGORIES} categories."
    elif any(len(name) > MAX_CATEGORY or "/" in name or "," in name for name in categories):
        errors["categories"] = f"Categories have at most {MAX_CATEGORY} characters, and no slash or comma."
    elif word := next(filter(None, map(mixed_word, categories)), None):
        errors["categories"] = f"“{word}” mixes letters of several scripts, and looks like another word."
    if isinstance(writing.comments, datetime) and (words := _wrong(writing.comments)):
        errors["comments"] = words
    body = await clean_long(_whole(writing.text), most_text(writing.format))
    try:
        rendered = await asyncio.to_thread(renderer.render, body, format=writing.format.value)
    except renderer.TextError as error:
        errors["text"] = str(error)
    if errors:
        raise BadPost(errors)
    cleaned = Writing(
        title=title,
        text=body,
        format=writing.format,
        slug=slug,
        summary=summary,
        categories=categories,
        keywords=keywords,
        comments=writing.comments,
    )
    return Ready(cleaned, rendered)


def most_text(format: Format) -> int:
    """Characters that a text in a format may have: markup is most of HTML."""
    return renderer.MAX_HTML if format is Format.HTML else MAX_TEXT


async def create(session: AsyncSession, jobs: Queue, new: Ready, *, by: str = "", uid: str | None = None) -> Post:
    """A post that nobody can read yet. by: who wrote it; uid: its name in feeds, another one without it.

    Raises BadPost for a slug that another has.
    """
    await alone(session)
    slug = await _free_slug(session, new.writing, None, now())
    post = Post(slug=slug, edition=1, state=State.DRAFT, thread=Thread(), changed_by=by)
    if uid is not None:
        post.uid = uid
    _write(post, new)
    session.add(post)
    await session.flush()
    await _file(session, post, new.writing.categories)
    await _open(session, jobs, post, new.writing.comments)
    return post


async def update(session: AsyncSession, jobs: Queue, post_id: int, new: Ready, edition: int, *, by: str = "") -> Post:
    """Edit a post of which the writer saw this edition. by: who wrote it. What it was is kept as a version.

    A writing that says what the post says already changes nothing, whatever edition it is of: it was sent twice.

    Without a slug it keeps its own; but one that was never published gets it from its title again. The address
    that a published one had leads to it. Raises NoPost, Edited, and BadPost for a slug that another post has.
    """
    await alone(session)
    post = await locked(session, post_id)
    if new.writing == replace(await writing_of(session, post), slug=new.writing.slug) and (
        new.writing.slug in ("", post.slug)
    ):
        return post
    if post.edition != edition:
        raise Edited(post)
    await versions.keep(session, post)
    was_seen = post.published_at is not None
    slug = post.slug
    if new.writing.slug or not was_seen:
        slug = await _free_slug(session, new.writing, post, post.created_at)
    if slug != post.slug:
        # It may have been this post's before.
        await session.execute(delete(OldSlug).where(OldSlug.slug == slug))
        if was_seen:
            session.add(OldSlug(slug=post.slug, post_id=post.id))
        post.slug = slug
    _write(post, new)
    post.edition += 1
    post.changed_at, post.changed_by = now(), by
    await _file(session, post, new.writing.categories)
    await _open(session, jobs, post, new.writing.comments)
    if is_public(post):
        await plan_delivery(session, jobs)
    await session.flush()
    return post


async def publish(session: AsyncSession, jobs: Queue, post_id: int, at: datetime | None = None) -> Post:
    """Let everybody read a post, from a time on; without one from now, or from when it was published before.

    Of a time that is still to come a job tells the pages that are open. Raises NoPost, and BadPost for a time
    without a zone or before 1970 or after 2199.
    """
    if at is not None and (words := _wrong(at)):
        raise BadPost({"published_at": words})
    post = await locked(session, post_id)
    moment = now()
    if at is None:
        before = post.published_at
        at = before if before is not None and before <= moment else moment
    # To the millisecond, as both databases keep it; up, since it must not be early.
    if rest := at.microsecond % 1000:
        at += timedelta(microseconds=1000 - rest)
    post.state, post.published_at, post.planned_at = State.PUBLISHED, at.astimezone(UTC), None
    if at > moment:
        await plan_telling(session, jobs, post)
    else:
        await plan_delivery(session, jobs)
    await session.flush()
    return post


async def unpublish(session: AsyncSession, post_id: int) -> Post:
    """Make a draft of a post again; published once more it has its old time. Raises NoPost."""
    post = await locked(session, post_id)
    post.state = State.DRAFT
    await session.flush()
    return post


async def find_uid(session: AsyncSession, uid: str) -> Post | None:
    """The post that has a name in feeds."""
    found: Post | None = await session.scalar(select(Post).where(Post.uid == uid))
    return found


async def writing_of(session: AsyncSession, post: Post) -> Writing:
    """What would be written to have a post as it is; its comments as they are now."""
    comments: Comments = post.comments_close_at or "open"
    if not (await session.get_one(Thread, post.thread_id)).is_open:
        comments = "closed"
    return Writing(
        title=post.title,
        text=post.text,
        format=post.format,
        slug=post.slug,
        summary=post.summary,
        categories=await versions.categories_of(session, post.id),
        keywords=tuple(split_keywords(post.keywords)),
        comments=comments,
    )


def split_keywords(keywords: str) -> list[str]:
    """Keywords as they are written one by one."""
    return [each.strip() for each in keywords.split(",") if each.strip()]


def slug_of(title: str) -> str:
    """A slug for a title: its letters without accents, its words joined by hyphens; may be empty."""
    plain = unicodedata.normalize("NFKD", title[:MAX_TITLE]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:MAX_SLUG].strip("-")


def _whole(words: str) -> str:
    return _HALVES.sub("\ufffd", words)


def _line(words: str, most: int) -> str:
    return clean_line(_whole(words).translate(_BIDI), most)


def _distinct(words: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(" ".join(each.split()) for each in words if each.strip())


def _wrong(when: datetime) -> str | None:
    if when.tzinfo is None:
        return "A time needs its zone."
    # Beyond these, clocks and databases differ.
    return None if 1970 <= when.astimezone(UTC).year < 2200 else "Give a date between 1970 and 2200."


async def alone(session: AsyncSession) -> None:
    """One post is saved at a time: two that look for a free slug would both find it."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def locked(session: AsyncSession, post_id: int) -> Post:
    """A post that nobody else changes until the transaction ends. Raises NoPost."""
    post = await session.get(Post, post_id, with_for_update=True, populate_existing=True)
    if post is None:
        raise NoPost(f"there is no post {post_id}")
    return post


def _write(post: Post, new: Ready) -> None:
    writing = new.writing
    post.title, post.text, post.summary = writing.title, writing.text, writing.summary
    post.format = writing.format
    post.keywords = ", ".join(writing.keywords)
    post.html, post.excerpt, post.html_version = new.rendered.html, new.rendered.summary, renderer.VERSION


async def _free_slug(session: AsyncSession, writing: Writing, post: Post | None, when: datetime) -> str:
    """The slug that a writing asks for, or one made of its title that no other post has or had."""
    # A title may have no letter that an address can have.
    wanted = writing.slug or slug_of(writing.title) or f"{when:%Y-%m-%d}"
    wanted_room = wanted[: MAX_SLUG - 7].rstrip("-")
    owner = None if post is None else post.id
    taken: set[str] = set()
    for model in (Post, OldSlug):
        id_of = Post.id if model is Post else OldSlug.post_id
        rows = await session.execute(
            select(model.slug, id_of).where((model.slug == wanted) | model.slug.like(f"{wanted_room}-%"))
        )
        taken |= {slug for slug, post_id in rows if post_id != owner}
    if wanted not in taken:
        return wanted
    if writing.slug:
        raise BadPost({"slug": "Another post has this address already, or had it."})
    if post is not None and re.fullmatch(re.escape(wanted_room) + r"-\d+", post.slug):
        return post.slug
    return next(each for number in range(2, 10**6) if (each := f"{wanted_room}-{number}") not in taken)


async def _file(session: AsyncSession, post: Post, names: tuple[str, ...]) -> None:
    """Put a post into these categories, in this order."""
    known = {
        each.name: each for each in await session.scalars(select(PostCategory).where(PostCategory.name.in_(names)))
    }
    for name in names:
        if name not in known:
            known[name] = PostCategory(name=name)
            session.add(known[name])
    await session.flush()
    wanted = {known[name].id: place for place, name in enumerate(names)}
    for filing in await session.scalars(select(Filing).where(Filing.post_id == post.id)):
        if filing.category_id in wanted:
            filing.place = wanted.pop(filing.category_id)
        else:
            await session.delete(filing)
    session.add_all(Filing(category_id=each, post_id=post.id, place=place) for each, place in wanted.items())
    await session.flush()


async def _open(session: AsyncSession, jobs: Queue, post: Post, comments: Comments) -> None:
    """Open or close a post's thread, now or by a job."""
    at = comments if isinstance(comments, datetime) else None
    post.comments_close_at = at
    thread = await session.get_one(Thread, post.thread_id)
    thread.is_open = comments != "closed" and (at is None or at > now())
    if at is not None and thread.is_open:
        await plan_closing(session, jobs, post)
