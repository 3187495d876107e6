"""Saving posts: what is kept of what a writer gives, and what is refused in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from blogging import Blog
from sqlalchemy import func, select

from web.db.database import Database
from web.db.tables import now
from web.features.blog.models import MAX_TEXT, Filing, OldSlug, Post, PostCategory, State
from web.features.blog.posts import BadPost, Edited, NoPost, Writing, publish, ready
from web.features.comments.models import Thread
from web.services.jobs import rows


async def reread(database: Database, post: Post) -> Post:
    async with database.reading() as session:
        return await session.get_one(Post, post.id)


async def categories_of(database: Database, post: Post) -> list[str]:
    async with database.reading() as session:
        return list(
            await session.scalars(
                select(PostCategory.name)
                .join(Filing, Filing.category_id == PostCategory.id)
                .where(Filing.post_id == post.id)
                .order_by(Filing.place)
            )
        )


async def jobs_of(database: Database) -> list[tuple[str, float]]:
    async with database.engine.connect() as connection:
        found = await connection.execute(select(rows.table.c.kind, rows.table.c.due).order_by(rows.table.c.id))
        return [(kind, due) for kind, due in found]


async def test_a_post_is_a_draft_rendered_with_its_thread(blog: Blog, database: Database) -> None:
    post = await blog.draft(
        " First  snow ", text="It *snows*.", categories=("Weather", "Town"), keywords=("snow", "ice")
    )
    found = await reread(database, post)
    assert (found.title, found.slug, found.state, found.edition) == ("First snow", "first-snow", State.DRAFT, 1)
    assert "<em>snows</em>" in found.html
    assert found.excerpt.startswith("It snows")
    assert (found.summary, found.keywords) == ("", "snow, ice")
    assert await categories_of(database, post) == ["Weather", "Town"]
    async with database.reading() as session:
        assert (await session.get_one(Thread, found.thread_id)).is_open
    assert blog.told() == set()


@pytest.mark.parametrize(
    ("title", "slug"),
    [
        ("First snow", "first-snow"),
        ("Ünïcode, naïve!", "unicode-naive"),
        ("a" * 200, "a" * 100),
        ("C++ & C#", "c-c"),
    ],
)
async def test_slug_is_made_of_the_title(blog: Blog, title: str, slug: str) -> None:
    assert (await blog.draft(title)).slug == slug


@pytest.mark.parametrize("title", ["🎉🎉🎉", "Первый снег", "初雪", "!?"])
async def test_title_without_a_letter_for_an_address_has_the_day(blog: Blog, title: str) -> None:
    today = f"{now():%Y-%m-%d}"
    assert (await blog.draft(title)).slug == today
    assert (await blog.draft(title)).slug == f"{today}-2"


async def test_slugs_that_collide_are_numbered_and_those_that_are_asked_for_refused(blog: Blog) -> None:
    slugs = [(await blog.draft("Snow")).slug for _ in range(3)]
    assert slugs == ["snow", "snow-2", "snow-3"]
    assert (await blog.draft("Snow 2")).slug == "snow-2-2"
    long = [(await blog.draft("b" * 150)).slug for _ in range(2)]
    assert long == ["b" * 100, "b" * 93 + "-2"]
    with pytest.raises(BadPost) as error:
        await blog.draft("Other", slug="snow-3")
    assert error.value.errors == {"slug": "Another post has this address already, or had it."}


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("title", {"title": ""}),
        ("title", {"title": " \n\t "}),
        ("title", {"title": "\u200b\u202e\x07"}),
        ("title", {"title": "x" * 201}),
        ("slug", {"slug": "Two Words"}),
        ("slug", {"slug": "../up"}),
        ("slug", {"slug": "a--b"}),
        ("slug", {"slug": "a" * 101}),
        ("summary", {"summary": "x" * 1001}),
        ("keywords", {"keywords": ("x" * 251, "y" * 251)}),
        ("categories", {"categories": ("x" * 61,)}),
        ("categories", {"categories": ("a/b",)}),
        ("categories", {"categories": tuple(map(str, range(11)))}),
        ("comments", {"comments": datetime(2026, 1, 1)}),  # noqa: DTZ001  # that is what is wrong
        ("comments", {"comments": datetime(9999, 12, 31, tzinfo=UTC)}),
        ("text", {"text": "x" * (MAX_TEXT + 1)}),
    ],
)
async def test_what_can_be_no_post_is_refused_by_its_field(field: str, given: dict[str, object]) -> None:
    with pytest.raises(BadPost) as error:
        await ready(Writing(**{"title": "Fine", **given}))  # type: ignore[arg-type]  # as given
    assert list(error.value.errors) == [field]
    assert error.value.errors[field].endswith(".")


async def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(BadPost) as error:
        await ready(Writing(title="", slug="A B", summary="x" * 2000))
    assert set(error.value.errors) == {"title", "slug", "summary"}


async def test_marks_that_turn_the_direction_stay_out_of_what_stands_in_a_line(blog: Blog, database: Database) -> None:
    post = await blog.draft("Pay \u202eevil\u202c \u2066x\u2069", summary="a\u202eb", categories=("c\u202ed",))
    found = await reread(database, post)
    assert (found.title, found.summary) == ("Pay evil x", "ab")
    assert await categories_of(database, post) == ["cd"]


async def test_what_no_database_can_hold_is_replaced(blog: Blog, database: Database) -> None:
    post = await blog.draft("a\ud800b\x00c", text="x\udfffy\x00z", summary="\ud800")
    found = await reread(database, post)
    assert (found.title, found.text, found.summary) == ("a\ufffdbc", "x\ufffdyz", "\ufffd")


async def test_published_now_it_tells_and_taken_back_too(blog: Blog, database: Database) -> None:
    post = await blog.draft("Snow")
    assert blog.told() == set()
    before = now()
    await blog.publish(post)
    assert blog.told() == {"posts", f"post-{post.id}"}
    found = await reread(database, post)
    assert found.published_at is not None
    assert before <= found.published_at <= now()
    await blog.unpublish(post)
    assert blog.told() == {"posts", f"post-{post.id}"}
    # Published once more it is where it was.
    assert (await blog.publish(post)).published_at == found.published_at
    assert await jobs_of(database) == []


async def test_edit_of_what_nobody_can_read_tells_nobody(blog: Blog) -> None:
    draft = await blog.draft("Snow")
    planned = await blog.post("Ice", at=now() + timedelta(days=1))
    blog.told()
    await blog.edit(draft, text="other")
    await blog.edit(planned, text="other")
    assert blog.told() == set()
    await blog.publish(planned, now() - timedelta(days=1))
    assert blog.told() == {"posts", f"post-{planned.id}"}
    await blog.publish(planned, now() + timedelta(days=1))
    # It was there, and is gone.
    assert blog.told() == {"posts", f"post-{planned.id}"}


async def test_a_planned_post_has_its_job_in_the_same_transaction(blog: Blog, database: Database) -> None:
    post = await blog.draft("Snow")
    at = datetime(2199, 12, 31, 23, 59, 59, 1, tzinfo=timezone(timedelta(hours=-5)))
    with pytest.raises(BadPost):
        # In UTC it is 2200.
        await blog.publish(post, at)
    at = at.replace(year=2198)

    async def fail() -> None:
        async with database.saving() as session:
            await publish(session, blog.jobs, post.id, at)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await jobs_of(database) == []
    found = await blog.publish(post, at)
    # Up to a millisecond later than asked for, never earlier.
    assert found.published_at == datetime(2199, 1, 1, 4, 59, 59, 1000, tzinfo=UTC)
    assert (await reread(database, post)).published_at == found.published_at
    assert await jobs_of(database) == [("post due", found.published_at.timestamp())]
    # Moved, it is the same job, which looks at the post when it is done.
    await blog.publish(post, at - timedelta(days=1))
    assert await jobs_of(database) == [("post due", found.published_at.timestamp() - 86400)]


@pytest.mark.parametrize(
    "at",
    [
        datetime(1969, 12, 31, tzinfo=UTC),
        datetime(2200, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, tzinfo=UTC),
        datetime(2026, 1, 1),  # noqa: DTZ001  # that is what is wrong
    ],
)
async def test_a_time_that_no_clock_has_is_refused(blog: Blog, at: datetime) -> None:
    post = await blog.draft("Snow")
    with pytest.raises(BadPost) as error:
        await blog.publish(post, at)
    assert list(error.value.errors) == ["published_at"]


async def test_the_second_of_two_writers_is_told(blog: Blog, database: Database) -> None:
    post = await blog.draft("Snow", text="one")
    await blog.edit(post, text="two", edition=1)
    with pytest.raises(Edited) as error:
        await blog.edit(post, text="three", edition=1)
    assert (error.value.post.text, error.value.post.edition) == ("two", 2)
    assert (await reread(database, post)).text == "two"


async def test_what_is_not_there_is_said(blog: Blog) -> None:
    post = await blog.draft("Snow")
    post.id = 999
    for save in (blog.publish, blog.unpublish, blog.edit):
        with pytest.raises(NoPost):
            await save(post)


async def test_categories_are_those_of_the_last_edit_in_its_order(blog: Blog, database: Database) -> None:
    post = await blog.draft("Snow", categories=("A", "B", "C"))
    await blog.edit(post, categories=("C", " A ", "D", "A"))
    assert await categories_of(database, post) == ["C", "A", "D"]
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(PostCategory)) == 4


async def test_an_address_that_readers_know_leads_on(blog: Blog, database: Database) -> None:
    async def old() -> list[str]:
        async with database.reading() as session:
            return list(await session.scalars(select(OldSlug.slug).order_by(OldSlug.slug)))

    post = await blog.draft("Snow")
    post = await blog.edit(post, title="Ice")
    # Nobody has read it yet: it is called what it is about.
    assert (post.slug, await old()) == ("ice", [])
    await blog.publish(post)
    post = await blog.edit(post, title="Hail")
    assert (post.slug, await old()) == ("ice", [])
    post = await blog.edit(post, slug="hail")
    assert (post.slug, await old()) == ("hail", ["ice"])
    with pytest.raises(BadPost):
        await blog.draft("Another", slug="ice")
    assert (await blog.draft("Ice")).slug == "ice-2"
    post = await blog.edit(post, slug="ice")
    assert (post.slug, await old()) == ("ice", ["hail"])


async def test_comments_are_open_closed_or_close_at_a_time(blog: Blog, database: Database) -> None:
    async def is_open(post: Post) -> bool:
        async with database.reading() as session:
            return (await session.get_one(Thread, post.thread_id)).is_open

    assert await is_open(await blog.draft("A"))
    assert not await is_open(await blog.draft("B", comments="closed"))
    assert not await is_open(await blog.draft("C", comments=now() - timedelta(days=1)))
    assert await jobs_of(database) == []
    soon = now() + timedelta(days=1)
    post = await blog.draft("D", comments=soon)
    assert await is_open(post)
    assert await jobs_of(database) == [("post comments", soon.timestamp())]
    await blog.edit(post, comments="closed")
    assert not await is_open(post)
