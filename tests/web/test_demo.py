"""Content for the first run."""

from __future__ import annotations

import html

from sqlalchemy import func, select
from visiting import Browser

from web.db.database import Database
from web.features.accounts import demo as accounts
from web.features.blog import demo as blog
from web.features.blog.posts import slug_of
from web.features.comments.models import Comment
from web.features.events import demo
from web.features.events.models import Event, Status
from web.identity.passwords import Passwords


async def test_the_first_run_fills_an_empty_site_and_the_second_leaves_it_alone(
    browser: Browser, database: Database, passwords: Passwords
) -> None:
    password = await accounts.make_manager(database, passwords)
    assert await demo.load(database) == len(demo.EVENTS)
    assert password is not None
    assert (await browser.sign_in(accounts.MANAGER, password)).status == 303
    assert await accounts.make_manager(database, passwords) is None
    assert await demo.load(database) == 0
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Event)) == len(demo.EVENTS)


async def test_what_it_says_of_the_time_is_true(database: Database) -> None:
    await demo.load(database)
    async with database.reading() as session:
        events = list(await session.scalars(select(Event)))
        comments = list(await session.scalars(select(Comment)))
    moment = max(comment.posted_at for comment in comments)
    assert {event.status for event in events} == set(Status)
    for event in events:
        assert (event.starts_at > moment) is (event.status is Status.SCHEDULED)
    assert comments == sorted(comments, key=lambda comment: (comment.thread_id, comment.posted_at))


async def test_a_blog_without_posts_gets_some_in_two_categories(browser: Browser, database: Database) -> None:
    assert await blog.load(database) == len(blog.POSTS) == 3
    assert await blog.load(database) == 0
    assert len({name for entry in blog.POSTS for name in entry.writing.categories}) == 2
    await browser.look("/")
    home = html.unescape(browser.page)
    for entry in blog.POSTS:
        assert entry.writing.title in home
        assert (await browser.look(f"/posts/{slug_of(entry.writing.title)}")).status == 200
        assert all(text in html.unescape(browser.page) for _, text in entry.comments)


async def test_every_event_of_it_has_a_page(browser: Browser, database: Database) -> None:
    await demo.load(database)
    for entry in demo.EVENTS:
        assert (await browser.look(f"/events/{entry.slug}")).status == 200
        assert entry.title in html.unescape(browser.page)
