"""Posts into the database from files, and out of it into files.

A file's post has an identity (`importing`), under which the import is noted: importing again changes nothing, brings
what has changed in the file since, and leaves alone what was edited or removed here. Reading and rendering is most of
the work, and is done by processes; rows are written some hundreds at a time, each time in a transaction of its own, so
that one that is stopped goes on when it is begun again.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from uuid import uuid4

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.database import Database
from ...db.tables import now
from ...services.jobs.queue import Queue
from ..comments.models import Thread
from . import posts
from .exporting import Writer
from .imported import Refused, Skipped
from .importing import ImportedPost, files_of, read_post
from .jobs import plan_closing, plan_delivery, plan_telling
from .models import (
    MAX_CATEGORIES,
    MAX_KEYWORDS,
    MAX_SLUG,
    Filing,
    Format,
    OldSlug,
    Post,
    PostCategory,
    PostImport,
    State,
)
from .posts import BadPost, Comments, Edited, NoPost, Ready, Writing, ready, slug_of, split_keywords
from .text import VERSION

#: Files that a process reads at a time, and posts of one transaction.
CHUNK = 50
BATCH = 250
#: Fewer files than these are read here: a process takes a second to begin.
_FEW = 100
_POSTS = "/posts/"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A post that was read and rendered. at: when it is published; of a draft, when it was or is meant to be."""

    post: ImportedPost
    ready: Ready
    at: datetime

    @property
    def digest(self) -> str:
        """The SHA-256 of all that the file says, in hex."""
        said = json.dumps(asdict(self.post), default=str, sort_keys=True)
        return hashlib.sha256(said.encode(errors="replace")).hexdigest()


@dataclass(slots=True)
class Moved:
    """What an import did: how many posts are new, were changed, and are as they were; and what it left out."""

    made: int = 0
    changed: int = 0
    same: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def prepare(files: Sequence[tuple[str, str]], rst: Collection[str] = ()) -> list[Prepared | Skipped]:
    """Read and render files, given as a path and a name each; for a process of its own."""
    return asyncio.run(_prepare(files, rst))


async def _prepare(files: Sequence[tuple[str, str]], rst: Collection[str]) -> list[Prepared | Skipped]:
    found: list[Prepared | Skipped] = []
    for path, name in files:
        try:
            # Without a date it is as old as its file.
            written = datetime.fromtimestamp(os.stat(path).st_mtime, UTC).replace(microsecond=0)
            post = read_post(Path(path), name, rst)
            if post.published_at is not None and not 1970 <= post.published_at.year < 2200:
                raise Refused("its date is not between 1970 and 2200")
            new = await ready(writing_of_import(post))
        except Refused as error:
            found.append(Skipped(name, str(error)))
        except BadPost as error:
            found.append(Skipped(name, " ".join(error.errors.values())))
        except OSError as error:
            found.append(Skipped(name, f"it can't be read: {error.strerror}"))
        else:
            found.append(Prepared(post, new, post.published_at or min(written, now())))
    return found


def writing_of_import(post: ImportedPost) -> Writing:
    """What a file's post is to the desk, within its bounds."""
    comments: Comments = post.comments_until or ("closed" if post.has_comments is False else "open")
    keywords: list[str] = []
    for word in post.keywords:
        if len(", ".join([*keywords, word])) <= MAX_KEYWORDS:
            keywords.append(word)
    categories = [" ".join(name.replace("/", " ").replace(",", " ").split()) for name in post.categories]
    return Writing(
        title=post.title,
        text=post.text,
        format=Format(post.format),
        summary=post.summary,
        categories=tuple(dict.fromkeys(filter(None, categories)))[:MAX_CATEGORIES],
        keywords=tuple(keywords),
        comments=comments,
    )


async def import_posts(
    database: Database,
    jobs: Queue,
    folder: Path,
    *,
    rst: Collection[str] = (),
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Moved:
    """Bring the posts of a folder, and of those within it, into the database.

    rst: suffixes of reStructuredText besides its own. processes: that read and render; None for as many as there are
    processors, 0 for none but this one. progress: is told how many files were done, of how many.
    """
    files = [(str(path), path.relative_to(folder).as_posix()) for path in files_of(folder)]
    moved, seen, done = Moved(), dict[str, str](), 0
    batch: list[Prepared] = []
    async for chunk in _prepared(files, rst, processes):
        for each in chunk:
            done += 1
            if isinstance(each, Skipped):
                moved.skipped.append(each)
            elif each.post.identity in seen:
                moved.skipped.append(Skipped(each.post.slug, f"it has the id of {seen[each.post.identity]}"))
            else:
                seen[each.post.identity] = each.post.slug
                batch.append(each)
        if len(batch) >= BATCH:
            await _save(database, jobs, batch, moved)
            batch = []
            progress(done, len(files))
    await _save(database, jobs, batch, moved)
    progress(done, len(files))
    return moved


async def _prepared(
    files: Sequence[tuple[str, str]], rst: Collection[str], processes: int | None
) -> AsyncIterator[list[Prepared | Skipped]]:
    """The files' posts, in their order, in chunks."""
    chunks = [files[begin : begin + CHUNK] for begin in range(0, len(files), CHUNK)]
    count = (os.cpu_count() or 1) if processes is None else processes
    if not count or len(files) < _FEW:
        for chunk in chunks:
            yield await _prepare(chunk, rst)
        return
    async with _pool(count) as pool:
        loop = asyncio.get_running_loop()
        waiting: deque[asyncio.Future[list[Prepared | Skipped]]] = deque()
        left = iter(chunks)
        # So many are on their way that none waits for the rows to be written, and no more are in memory.
        while True:
            for chunk in islice(left, 3 * count - len(waiting)):
                waiting.append(loop.run_in_executor(pool, prepare, chunk, tuple(rst)))
            if not waiting:
                return
            yield await waiting.popleft()


@asynccontextmanager
async def _pool(count: int) -> AsyncIterator[ProcessPoolExecutor]:
    # Not forked: this process has threads by now.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    try:
        yield pool
    finally:
        await asyncio.to_thread(pool.shutdown, cancel_futures=True)


async def _save(database: Database, jobs: Queue, batch: Sequence[Prepared], moved: Moved) -> None:
    """Write posts that are new at once, and those that have changed one by one."""
    if not batch:
        return
    async with database.saving() as session:
        await posts.alone(session)
        new, old = [], []
        for each, known in await _known(session, batch):
            if known is None:
                new.append(each)
            else:
                old.append((each, known))
        await _insert(session, jobs, new)
        moved.made += len(new)
        if shown := next((each for each in new if _is_shown(each)), None):
            # One word for all of them: lists are made anew once.
            row = await session.scalar(
                select(Post).join(PostImport).where(PostImport.identity == shown.post.identity).limit(1)
            )
            await database.notifier.touch(session, row)
            await plan_delivery(session, jobs)
    for each, known in old:
        try:
            async with database.saving() as session:
                if await _change(session, jobs, each, known):
                    moved.changed += 1
                else:
                    moved.same += 1
        except Refused as error:
            moved.skipped.append(Skipped(each.post.slug, str(error)))
        except BadPost as error:
            moved.skipped.append(Skipped(each.post.slug, " ".join(error.errors.values())))


@dataclass(frozen=True, slots=True)
class _Known:
    """A post that is here. digest and edition: of its import, None where it came by its name in feeds."""

    post_id: int | None
    digest: str | None = None
    edition: int | None = None


async def _known(session: AsyncSession, batch: Sequence[Prepared]) -> list[tuple[Prepared, _Known | None]]:
    identities = [each.post.identity for each in batch]
    columns = (PostImport.identity, PostImport.post_id, PostImport.digest, PostImport.edition)
    rows = await session.execute(select(*columns).where(PostImport.identity.in_(identities)))
    noted = {identity: _Known(post_id, digest, edition) for identity, post_id, digest, edition in rows}
    uids = [uid for each in batch if (uid := _uid(each.post))]
    by_uid = dict((await session.execute(select(Post.uid, Post.id).where(Post.uid.in_(uids)))).all())
    found = []
    for each in batch:
        known = noted.get(each.post.identity)
        if known is None and (post_id := by_uid.get(_uid(each.post))) is not None:
            known = _Known(post_id)
        found.append((each, known))
    return found


def _uid(post: ImportedPost) -> str:
    """The name in feeds that a file says; "" for none."""
    said = post.identity.removeprefix("id:")
    return post.uid or (said if len(said) == 36 and said.count("-") == 4 else "")


def _is_shown(each: Prepared) -> bool:
    return not each.post.is_draft and each.at <= now()


async def _insert(session: AsyncSession, jobs: Queue, new: Sequence[Prepared]) -> None:
    if not new:
        return
    connection = await session.connection()
    slugs = await _slugs(session, new)
    threads = insert(Thread).returning(Thread.id, sort_by_parameter_order=True)
    moment = now()
    is_open = [_comments(each, moment) for each in new]
    thread_ids = (await connection.execute(threads, [{"is_open": each} for each in is_open])).scalars().all()
    rows = [_row(each, slug, thread_id, moment) for each, slug, thread_id in zip(new, slugs, thread_ids, strict=True)]
    made = insert(Post).returning(Post.id, sort_by_parameter_order=True)
    ids = list((await connection.execute(made, rows)).scalars())
    categories = await _categories(session, new)
    filings = [
        {"post_id": post_id, "category_id": categories[name], "place": place}
        for post_id, each in zip(ids, new, strict=True)
        for place, name in enumerate(each.ready.writing.categories)
    ]
    if filings:
        await connection.execute(insert(Filing), filings)
    old = await _old_slugs(session, new, ids, set(slugs))
    if old:
        await connection.execute(insert(OldSlug), old)
    notes = [
        {"identity": each.post.identity, "post_id": post_id, "digest": each.digest, "edition": 1}
        for each, post_id in zip(new, ids, strict=True)
    ]
    await connection.execute(insert(PostImport), notes)
    for each, post_id in zip(new, ids, strict=True):
        if not each.post.is_draft and each.at > moment:
            await plan_telling(session, jobs, await session.get_one(Post, post_id))
        if each.post.comments_until and each.post.comments_until > moment:
            await plan_closing(session, jobs, await session.get_one(Post, post_id))


def _comments(each: Prepared, moment: datetime) -> bool:
    comments = each.ready.writing.comments
    return comments == "open" or (isinstance(comments, datetime) and comments > moment)


def _row(each: Prepared, slug: str, thread_id: int, moment: datetime) -> dict[str, object]:
    writing, rendered, post = each.ready.writing, each.ready.rendered, each.post
    is_past = each.at <= moment
    # A draft without a date has none here either.
    at = None if post.is_draft and post.published_at is None else each.at
    return {
        "uid": _uid(post) or str(uuid4()),
        "thread_id": thread_id,
        "title": writing.title,
        "slug": slug,
        "state": State.DRAFT if post.is_draft else State.PUBLISHED,
        "published_at": at if is_past or not post.is_draft else None,
        "planned_at": at if post.is_draft and not is_past else None,
        "created_at": min(each.at, moment),
        "changed_at": post.changed_at or min(each.at, moment),
        "changed_by": "",
        "comments_close_at": writing.comments if isinstance(writing.comments, datetime) else None,
        "edition": 1,
        "html_version": VERSION,
        "format": writing.format,
        "keywords": ", ".join(writing.keywords),
        "summary": writing.summary,
        "excerpt": rendered.summary,
        "text": writing.text,
        "html": rendered.html,
    }


async def _slugs(session: AsyncSession, new: Sequence[Prepared]) -> list[str]:
    """An address for each, which no other post has or had."""
    wanted = [(slug_of(each.post.slug) or slug_of(each.ready.writing.title) or f"{each.at:%Y-%m-%d}") for each in new]
    taken: set[str] = set()
    for model in (Post, OldSlug):
        taken |= set(await session.scalars(select(model.slug).where(model.slug.in_(wanted))))
    found = []
    for slug in wanted:
        if slug in taken:
            stem = slug[: MAX_SLUG - 7].rstrip("-")
            for model in (Post, OldSlug):
                taken |= set(await session.scalars(select(model.slug).where(model.slug.like(f"{stem}-%"))))
            slug = next(each for number in range(2, 10**6) if (each := f"{stem}-{number}") not in taken)
        taken.add(slug)
        found.append(slug)
    return found


async def _categories(session: AsyncSession, new: Sequence[Prepared]) -> dict[str, int]:
    """The ids of all their categories by name; those that are not there yet are made."""
    names = list(dict.fromkeys(name for each in new for name in each.ready.writing.categories))
    known: dict[str, int] = {}
    for _ in range(2):
        rows = await session.execute(select(PostCategory.name, PostCategory.id).where(PostCategory.name.in_(names)))
        known = dict(rows.all())
        if missing := [{"name": name} for name in names if name not in known]:
            await (await session.connection()).execute(insert(PostCategory), missing)
    return known


async def _old_slugs(
    session: AsyncSession, new: Sequence[Prepared], ids: Sequence[int], slugs: set[str]
) -> list[dict[str, object]]:
    """Addresses under /posts/ that the posts had, and no other has or had."""
    wanted: dict[str, int] = {}
    for each, post_id in zip(new, ids, strict=True):
        for slug in _had(each.post):
            wanted.setdefault(slug, post_id)
    if not wanted:
        return []
    taken = set(slugs)
    for model in (Post, OldSlug):
        taken |= set(await session.scalars(select(model.slug).where(model.slug.in_(list(wanted)))))
    return [{"slug": slug, "post_id": post_id} for slug, post_id in wanted.items() if slug not in taken]


def _had(post: ImportedPost) -> Iterable[str]:
    for path in post.paths:
        slug = path.removeprefix(_POSTS).strip("/")
        if path.startswith(_POSTS) and slug == slug_of(slug):
            yield slug


async def _change(session: AsyncSession, jobs: Queue, each: Prepared, known: _Known) -> bool:
    """Bring a post that is here to what its file says now; False if it says that already. Raises Refused."""
    if known.post_id is None:
        raise Refused("it was removed here")
    if known.digest == each.digest:
        return False
    try:
        post = await posts.locked(session, known.post_id)
    except NoPost:
        raise Refused("it was removed here") from None
    as_file = as_imported((await _wholes(session, [post]))[0])
    if replace(as_file, identity="", uid="") == replace(each.post, identity="", uid=""):
        # It was exported, here or from a copy of this site.
        return False
    if known.digest is None:
        if each.post.changed_at is not None and post.changed_at > each.post.changed_at:
            raise Refused("it was edited here since")
    elif post.edition != known.edition:
        raise Refused("it was edited here since")
    try:
        post = await posts.update(session, jobs, post.id, each.ready, post.edition)
    except Edited:
        raise Refused("it was edited here since") from None
    if each.post.is_draft and post.state is State.PUBLISHED:
        await posts.unpublish(session, post.id)
    elif not each.post.is_draft and (
        # A file without a date is no reason to move it.
        post.state is State.DRAFT or each.post.published_at not in (None, post.published_at)
    ):
        await posts.publish(session, jobs, post.id, each.at)
    if each.post.changed_at is not None:
        post.changed_at = each.post.changed_at
    values = {"digest": each.digest, "edition": post.edition}
    noted = await session.execute(update(PostImport).where(PostImport.identity == each.post.identity).values(**values))
    if not noted.rowcount:  # type: ignore[attr-defined]  # of an update there is one
        session.add(PostImport(identity=each.post.identity, post_id=post.id, **values))
    return True


# Out


@dataclass(frozen=True, slots=True)
class Whole:
    """A post with all that belongs to it. identity: under which it was imported, if it was."""

    post: Post
    categories: tuple[str, ...]
    old_slugs: tuple[str, ...]
    is_open: bool
    identity: str | None = None


def as_imported(whole: Whole) -> ImportedPost:
    """A post as its file says it: reading that makes the same of it."""
    post = whole.post
    until = post.comments_close_at if whole.is_open else None
    return ImportedPost(
        identity=whole.identity or f"id:{post.uid}",
        uid=post.uid if whole.identity else "",
        title=post.title,
        slug=post.slug,
        text=post.text,
        format=post.format.value,
        published_at=post.published_at or post.planned_at,
        changed_at=post.changed_at,
        is_draft=post.state is State.DRAFT,
        summary=post.summary,
        categories=whole.categories,
        keywords=tuple(split_keywords(post.keywords)),
        paths=tuple(_POSTS + slug for slug in whole.old_slugs),
        has_comments=whole.is_open,
        comments_until=until,
    )


async def export_posts(database: Database, folder: Path) -> int:
    """Write every post, drafts too, to a file of its own in a folder, and return how many there are."""
    writer, last, count = Writer(folder), 0, 0
    while True:
        async with database.reading() as session:
            rows = list(await session.scalars(select(Post).where(Post.id > last).order_by(Post.id).limit(BATCH)))
            wholes = await _wholes(session, rows)
        if not rows:
            return count
        last = rows[-1].id
        count += await asyncio.to_thread(writer.write, [as_imported(each) for each in wholes])


async def _wholes(session: AsyncSession, rows: Sequence[Post]) -> list[Whole]:
    ids = [post.id for post in rows]
    if not ids:
        return []
    filed = (
        select(Filing.post_id, PostCategory.name)
        .join(PostCategory, PostCategory.id == Filing.category_id)
        .where(Filing.post_id.in_(ids))
        .order_by(Filing.post_id, Filing.place)
    )
    categories: dict[int, list[str]] = {}
    for post_id, name in await session.execute(filed):
        categories.setdefault(post_id, []).append(name)
    slugs: dict[int, list[str]] = {}
    had = select(OldSlug.post_id, OldSlug.slug).where(OldSlug.post_id.in_(ids)).order_by(OldSlug.slug)
    for post_id, slug in await session.execute(had):
        slugs.setdefault(post_id, []).append(slug)
    threads = select(Thread.id, Thread.is_open).where(Thread.id.in_([post.thread_id for post in rows]))
    is_open = dict((await session.execute(threads)).all())
    noted = select(PostImport.post_id, PostImport.identity).where(PostImport.post_id.in_(ids))
    identities = dict((await session.execute(noted)).all())
    return [
        Whole(
            post,
            tuple(categories.get(post.id, ())),
            tuple(slugs.get(post.id, ())),
            is_open.get(post.thread_id, False),
            # What has its own name for identity says it once.
            None if identities.get(post.id) == f"id:{post.uid}" else identities.get(post.id),
        )
        for post in rows
    ]
