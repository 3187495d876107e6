"""Comments of other tools into the threads of the posts that they were written to.

Importing again adds what is new. Of what was removed here nothing comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.database import Database
from ...pages.requests import clean_line, clean_long
from ..comments.hints import comments_channel
from ..comments.models import MAX_NAME, Comment, Status
from .comment_text import text_of
from .imported import Skipped
from .imported_comments import ImportedComment, path_of, read_disqus, read_isso, read_wordpress
from .models import CommentImport, OldSlug, Post
from .posts import slug_of

#: Of one transaction.
BATCH = 500

#: What reads the file of a tool.
READERS: Mapping[str, Callable[[Path], Iterator[ImportedComment | Skipped]]] = {
    "disqus": read_disqus,
    "wordpress": read_wordpress,
    "isso": read_isso,
}

#: Characters of a comment's text.
_MOST_TEXT = 20_000


@dataclass(slots=True)
class MovedComments:
    """What an import did: how many comments are new, and are there already; and what it left out."""

    made: int = 0
    same: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def tool_of(file: Path) -> str | None:
    """Which tool a file is of, by how it begins."""
    with file.open("rb") as source:
        head = source.read(4096)
    if head.startswith(b"SQLite format 3\0"):
        return "isso"
    if b"disqus" in head:
        return "disqus"
    return "wordpress" if b"wordpress.org/export" in head or b"xmlns:wp=" in head else None


async def import_comments(database: Database, file: Path, tool: str) -> MovedComments:
    """Bring a file's comments in, the oldest first: lists are in the order in which comments came."""
    moved, found = MovedComments(), list[ImportedComment]()
    for each in READERS[tool](file):
        if isinstance(each, Skipped):
            moved.skipped.append(each)
        elif each.is_spam:
            moved.skipped.append(Skipped(each.identity, "it is spam there"))
        else:
            found.append(each)
    found.sort(key=lambda each: each.posted_at)
    async with database.reading() as session:
        threads = await _threads(session, {(each.post, each.title) for each in found})
    for begin in range(0, len(found), BATCH):
        await _save(database, found[begin : begin + BATCH], threads, moved)
    return moved


async def _threads(session: AsyncSession, wanted: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int]:
    """The threads of posts, by the address and title that the tool has for them."""
    had = select(OldSlug.slug, Post.thread_id).join(Post, Post.id == OldSlug.post_id)
    slugs: dict[str, int] = dict((await session.execute(had)).all())
    slugs |= dict((await session.execute(select(Post.slug, Post.thread_id))).all())
    titles: dict[str, int | None] = {}
    for title, thread_id in await session.execute(select(Post.title, Post.thread_id)):
        # Two of one title: neither is meant for sure.
        titles[title] = None if title in titles else thread_id
    found = {}
    for address, title in wanted:
        last = path_of(address).rpartition("/")[2]
        # `snow.html`, and `2015-01-02-snow`.
        stem = last.rpartition(".")[0] if last.endswith((".html", ".htm", ".php")) else last
        meant = slugs.get(last) or slugs.get(slug_of(stem)) or titles.get(title)
        if meant is not None:
            found[address, title] = meant
    return found


@dataclass(frozen=True, slots=True)
class _Placed:
    """A comment that is here: its id, the one of the first level that it is below, and its thread."""

    id: int
    parent_id: int | None
    thread_id: int


async def _save(
    database: Database, batch: Sequence[ImportedComment], threads: Mapping[tuple[str, str], int], moved: MovedComments
) -> None:
    async with database.saving() as session:
        identities = [each.identity for each in batch]
        known = set(await session.scalars(select(CommentImport.identity).where(CommentImport.identity.in_(identities))))
        new: dict[str, tuple[ImportedComment, dict[str, object]]] = {}
        for each in batch:
            if each.identity in known or each.identity in new:
                moved.same += 1
                continue
            row = await _row(each, threads)
            if isinstance(row, Skipped):
                moved.skipped.append(row)
            else:
                new[each.identity] = (each, row)
        placed = await _placed(session, {each.answers for each, _ in new.values() if each.answers})
        replies: Counter[int] = Counter()
        told = {int(str(row["thread_id"])) for _, row in new.values()}
        moved.made += len(new)
        # One that answers another of these comes after it.
        while new:
            wave = [name for name, (each, _) in new.items() if each.answers not in new] or list(new)
            await _insert(session, [(name, *new.pop(name)) for name in wave], placed, replies)
        for parent_id, count in replies.items():
            counted = update(Comment).where(Comment.id == parent_id).values(replies=Comment.replies + count)
            await session.execute(counted.execution_options(fanfare=False, synchronize_session=False))
        for thread_id in told:
            # One word for each thread: it is read again.
            await database.notifier.tell(session, comments_channel(thread_id), True)


async def _row(each: ImportedComment, threads: Mapping[tuple[str, str], int]) -> dict[str, object] | Skipped:
    """A comment's columns, but for what it answers."""
    thread_id = threads.get((each.post, each.title))
    if thread_id is None:
        return Skipped(each.identity, f"no post has the address {path_of(each.post)[:200]}")
    text = await clean_long(text_of(each.text) if each.format == "html" else each.text, _MOST_TEXT)
    if not text:
        return Skipped(each.identity, "it has no text")
    if len(text) > _MOST_TEXT:
        return Skipped(each.identity, f"it has more than {_MOST_TEXT:,} characters")
    return {
        "thread_id": thread_id,
        "status": Status.PUBLISHED if each.is_public else Status.HELD,
        "name": clean_line(each.name, MAX_NAME)[:MAX_NAME].strip() or "Anonymous",
        "text": text,
        "posted_at": each.posted_at,
    }


async def _placed(session: AsyncSession, identities: set[str]) -> dict[str, _Placed]:
    """Those of these comments that are here already."""
    columns = (CommentImport.identity, Comment.id, Comment.parent_id, Comment.thread_id)
    rows = await session.execute(
        select(*columns).join(Comment, Comment.id == CommentImport.comment_id).where(columns[0].in_(identities))
    )
    return {identity: _Placed(id, parent_id, thread_id) for identity, id, parent_id, thread_id in rows}


async def _insert(
    session: AsyncSession,
    wave: Sequence[tuple[str, ImportedComment, dict[str, object]]],
    placed: dict[str, _Placed],
    replies: Counter[int],
) -> None:
    """Put comments in whose parents are there. There are two levels: an answer to an answer stands below the first."""
    rows = []
    for _, each, row in wave:
        answered = placed.get(each.answers or "")
        if answered is not None and answered.thread_id != row["thread_id"]:
            answered = None
        parent_id = None if answered is None else answered.parent_id or answered.id
        answers_id = answered.id if answered is not None and answered.parent_id else None
        rows.append(row | {"parent_id": parent_id, "answers_id": answers_id})
        if parent_id is not None and each.is_public:
            replies[parent_id] += 1
    connection = await session.connection()
    made = insert(Comment).returning(Comment.id, sort_by_parameter_order=True)
    ids = list((await connection.execute(made, rows)).scalars())
    notes = []
    for (identity, _, _), row, comment_id in zip(wave, rows, ids, strict=True):
        parent = row["parent_id"]
        thread_id = int(str(row["thread_id"]))
        placed[identity] = _Placed(comment_id, parent if isinstance(parent, int) else None, thread_id)
        notes.append({"identity": identity, "comment_id": comment_id})
    await connection.execute(insert(CommentImport), notes)
