"""Every page of the site, and rows for it: what the guards walk.

A new route is written into PAGES, a new table into `fill`; tests say so if it is not. Rows are numbered from 0, and
their ids begin with 1.
"""

from __future__ import annotations

from datetime import timedelta

from aiohttp import web
from sqlalchemy import select
from visiting import STARTS

from web.db.database import Database
from web.db.tables import now
from web.features.accounts.models import FailedLogin, GithubAccount
from web.features.blog.models import Filing, OldSlug, Post, PostCategory, State
from web.features.comments.models import Comment
from web.features.events.models import Category, Event, Status
from web.identity.signins import SignIn
from web.identity.users import User
from web.pages.assets import PREFIX

_HERE = "tests/web/guards/routes.py"

#: By route: the addresses at which it is looked at. Each shows more when there are more rows.
PAGES: dict[str, tuple[str, ...]] = {
    "/": ("/",),
    "/posts": ("/posts",),
    "/p{page}": ("/p2",),
    "/oc-{names}": ("/oc-Category+0", "/oc-Category+0/oc-Category+1/p2", "/oc-Category+0/rss.xml"),
    "/rss.xml": ("/rss.xml",),
    "/atom.xml": ("/atom.xml",),
    "/feed.json": ("/feed.json",),
    "/posts/{slug}": ("/posts/post-0",),
    "/posts/{slug}/about": ("/posts/post-0/about",),
    "/posts/{slug}/comments.json": ("/posts/post-0/comments.json",),
    "/posts/{slug}/{file}": ("/posts/post-0/rss.xml", "/posts/post-0/atom.xml", "/posts/post-0/feed.json"),
    "/sitemap.xml": ("/sitemap.xml",),
    "/zitemap.xml": ("/zitemap.xml",),
    "/sitemap-{part}.xml": ("/sitemap-1.xml",),
    "/robots.txt": ("/robots.txt",),
    "/events": ("/events", "/events?category=category-0"),
    "/events/{slug}": ("/events/scheduled-0",),
    "/events/{slug}/about": ("/events/scheduled-0/about",),
    "/events/{slug}/comments.json": ("/events/scheduled-0/comments.json",),
    "/manage/events": ("/manage/events",),
    "/manage/events/new": ("/manage/events/new",),
    "/manage/events/{id}/edit": ("/manage/events/1/edit",),
    "/login": ("/login",),
    "/login/github/back": ("/login/github/back",),
    "/account": ("/account",),
    "/components": ("/components",),
}

#: Addresses that show the same however many rows there are, and why.
ALIKE: dict[str, str] = {
    "/posts": "leads to the home page",
    "/posts/post-0/about": "shows one post, and nothing that a post has many of",
    "/robots.txt": "says where the sitemap is",
    "/events/scheduled-0/about": "shows one event, and nothing that an event has many of",
    "/components": "shows samples of its own",
    "/login": "is a form",
    "/login/github/back": "says that no sign-in began here",
}

#: Tables that `fill` leaves empty, and why.
EMPTY: dict[str, str] = {}


def pages_of(app: web.Application) -> list[str]:
    """The addresses of all pages; raises AssertionError for a route that is not in PAGES, and for one that is gone."""
    found = {
        route.resource.canonical
        for route in app.router.routes()
        if route.method == "GET" and route.resource is not None and not route.resource.canonical.startswith(PREFIX)
    }
    unknown, gone = sorted(found - set(PAGES)), sorted(set(PAGES) - found)
    if unknown:
        names = ", ".join(unknown)
        raise AssertionError(
            f"{names}: say in PAGES of {_HERE} at which address it shows rows, and put those into `fill`"
        )
    if gone:
        raise AssertionError(f"{', '.join(gone)}: in PAGES of {_HERE}, and no route of the site")
    return [path for route in sorted(found) for path in PAGES[route]]


async def fill(database: Database, first: int, count: int) -> None:
    """Put rows into every table, those with the numbers from `first` up to `count`; ada, the user with id 1, is there.

    What belongs to something (comments to an event, sign-ins to a user) all belongs to the first one.
    """
    numbers = range(first, count)
    async with database.saving() as session:
        users = [User(name=f"user-{number}", password_hash="") for number in numbers]
        categories = [Category(name=f"Category {number}", slug=f"category-{number}") for number in numbers]
        session.add_all([*users, *categories])
        await session.flush()
        for number, user in zip(numbers, users, strict=True):
            session.add(FailedLogin(name=user.name, address=f"203.0.113.{number}"))
            login = f"github-{number}"
            session.add(
                GithubAccount(id=number + 1, user_id=user.id, login=login, shown=login, email=None, gives_role=False)
            )
            session.add(SignIn(key_hash=f"{number:064}", user_id=1, way="password", seen_at=now()))
        for category in categories:
            # As many in the first category as there are categories, so that its page has a list too.
            for status in Status:
                name = category.slug.replace("category", status.value)
                session.add(_event(name, status, category.id))
                if category.id > 1:
                    session.add(_event(f"{name}-too", status, 1))
        await session.flush()
        filed = [PostCategory(name=f"Category {number}") for number in numbers]
        # More than one page of them has.
        posts = {number: [_post(number * 6 + each) for each in range(6)] for number in numbers}
        session.add_all([*filed, *(each for some in posts.values() for each in some)])
        await session.flush()
        for number, category in zip(numbers, filed, strict=True):
            for post in posts[number]:
                # All are in the first category, so that its page has a list too.
                for place, each in enumerate(sorted({1, category.id})):
                    session.add(Filing(post_id=post.id, category_id=each, place=place))
            session.add(OldSlug(slug=f"old-{number}", post_id=1))
        for model, slug in ((Event, "scheduled-0"), (Post, "post-0")):
            thread = await session.scalar(select(model.thread_id).where(model.slug == slug))
            for number in numbers:
                posted = STARTS + timedelta(minutes=number)
                session.add(Comment(thread_id=thread, name="Ada", text=f"Number {number}.", posted_at=posted))


def _post(number: int) -> Post:
    return Post(
        title=f"Post {number}",
        slug=f"post-{number}",
        state=State.PUBLISHED,
        published_at=now() - timedelta(hours=number),
        text=f"What {number} is about.",
        html=f"<p>What {number} is about.</p>",
        html_version=1,
        edition=1,
    )


def _event(slug: str, status: Status, category: int) -> Event:
    return Event(
        title=slug.capitalize(),
        slug=slug,
        description=f"What {slug} is about.",
        starts_at=STARTS,
        status=status,
        category_id=category,
        edition=1,
    )
