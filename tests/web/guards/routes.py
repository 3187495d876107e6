"""Every page of the site, and rows for it: what the guards walk.

A new route is written into PAGES, a new table into `fill`; tests say so if it is not. Rows are numbered from 0, and
their ids begin with 1.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from uuid import UUID

from aiohttp import web
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from visiting import STARTS

from web.db.database import Database
from web.db.tables import now
from web.features.accounts.models import FailedLogin, GithubAccount
from web.features.blog.models import (
    CommentImport,
    Filing,
    Format,
    OldSlug,
    Post,
    PostCategory,
    PostDraft,
    PostImport,
    PostVersion,
    State,
    Subscription,
)
from web.features.comments.models import Block, Comment, Record, Word
from web.features.comments.models import Subscription as CommentSubscription
from web.features.comments.seals import Seals
from web.features.events.models import Category, Event, Status
from web.features.headsup.models import (
    HeadsupAddress,
    HeadsupDelivery,
    HeadsupKept,
    HeadsupMention,
    HeadsupMessage,
    HeadsupNotice,
    HeadsupProject,
    HeadsupRefusal,
    HeadsupRule,
    HeadsupTarget,
)
from web.features.joins.runs import JoinsRun
from web.features.podcasts.models import Alias, Episode, Feed, Fetch, Host, Lookup, Pick, PickList, Podcast
from web.features.podcasts.push import callback_path
from web.features.search.models import Pin, Search, Synonym
from web.features.search.service import search
from web.features.views.models import (
    ViewCaller,
    ViewCount,
    ViewCrowd,
    ViewEndpoint,
    ViewKey,
    ViewMinute,
    ViewReceipt,
    ViewSalt,
    ViewTime,
    ViewWriter,
)
from web.identity.signins import SignIn
from web.identity.users import User
from web.pages.assets import PREFIX

_HERE = "tests/web/guards/routes.py"

#: Podcasts of a list: all that there may be.
_IDS = "-".join(str(number) for number in range(1, 21))
_TOPIC = "http://podcast.example/"
_PUSH = (
    callback_path(Feed(podcast_id=1, secret="a secret of it"))
    + f"?hub.mode=subscribe&hub.topic={_TOPIC}&hub.challenge=word"
)
_STATS = f"/api/podcasttime/stats?ids={_IDS.replace('-', ',')}"
#: Links of mails, signed with the tests' SITE_SECRET.
_SEALS = Seals(b"sixteen bytes at least")
LINK = "/comments/moderate/" + _SEALS.link("moderate", 1, "approve")
MAIL_LINK = "/comments/mail/" + _SEALS.link("mail", 1, "stop")

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
    "/sitemap-{name}-{part}.xml": ("/sitemap-posts-1.xml", "/sitemap-events-1.xml"),
    "/robots.txt": ("/robots.txt",),
    "/events": ("/events", "/events?category=category-0"),
    "/events/{slug}": ("/events/scheduled-0",),
    "/events/{slug}/about": ("/events/scheduled-0/about",),
    "/events/{slug}/comments.json": ("/events/scheduled-0/comments.json",),
    "/manage": ("/manage",),
    "/manage/posts": ("/manage/posts", "/manage/posts?state=published&sort=title&q=post"),
    "/manage/posts/token": ("/manage/posts/token",),
    "/manage/posts/new": ("/manage/posts/new",),
    "/manage/posts/{id}": ("/manage/posts/1",),
    "/manage/posts/{id}/newer": ("/manage/posts/1/newer?edition=1",),
    "/manage/posts/{id}/history": ("/manage/posts/1/history",),
    "/manage/posts/{id}/history/{edition}": ("/manage/posts/1/history/2?from=1",),
    "/comments/{id}": ("/comments/1",),
    "/comments/{id}/reply": ("/comments/1/reply",),
    "/comments/{id}/edit": ("/comments/1/edit",),
    "/comments/moderate/{link}": (LINK,),
    "/comments/mail/{link}": (MAIL_LINK,),
    "/manage/comments": ("/manage/comments?show=published",),
    "/manage/events": ("/manage/events",),
    "/manage/events/new": ("/manage/events/new",),
    "/manage/events/{id}/edit": ("/manage/events/1/edit",),
    "/login": ("/login",),
    "/login/github/back": ("/login/github/back",),
    "/account": ("/account",),
    "/headsup": ("/headsup",),
    "/headsup/try": ("/headsup/try",),
    "/headsup/hook": ("/headsup/hook",),
    "/headsup/new": ("/headsup/new",),
    "/headsup/names": ("/headsup/names",),
    "/headsup/confirm/{token}": ("/headsup/confirm/token-0",),
    "/headsup/out/{token}": ("/headsup/out/token-0",),
    "/headsup/{project}": ("/headsup/1",),
    "/headsup/{project}/rules/new": ("/headsup/1/rules/new",),
    "/headsup/{project}/rules/{rule}": ("/headsup/1/rules/1",),
    "/headsup/{project}/log": ("/headsup/1/log",),
    "/headsup/{project}/log/{delivery}": ("/headsup/1/log/1",),
    "/api/signedin": ("/api/signedin",),
    "/api/csrf": ("/api/csrf",),
    "/api/projects": ("/api/projects",),
    "/api/preview-github-project": ("/api/preview-github-project",),
    "/podcasts": ("/podcasts", "/podcasts?q=podcast"),
    "/podcasts/mine": ("/podcasts/mine?id=1",),
    "/podcasts/mine/{ids}": (f"/podcasts/mine/{_IDS}", f"/podcasts/mine/{_IDS}?speed=2&trailers=true"),
    "/podcasts/mine/{ids}/podcasts.opml": (f"/podcasts/mine/{_IDS}/podcasts.opml",),
    "/podcasts/picks": ("/podcasts/picks",),
    "/podcasts/{id}": ("/podcasts/1",),
    "/podcasts/{id}/{slug}": ("/podcasts/1/podcast-0",),
    "/podcasts/{id}/{slug}/comments.json": ("/podcasts/1/podcast-0/comments.json",),
    "/podcasts/{id}/{slug}/feed": ("/podcasts/1/podcast-0/feed",),
    "/podcasts/push/{id}/{token}": (_PUSH,),
    "/api/podcasttime/find": (
        "/api/podcasttime/find?q=podcast",
        f"/api/podcasttime/find?ids={_IDS.replace('-', ',')}",
    ),
    "/api/podcasttime/picks/data/": ("/api/podcasttime/picks/data/",),
    "/api/podcasttime/podcasts/data/": (
        "/api/podcasttime/podcasts/data/",
        "/api/podcasttime/podcasts/data/?search=podcast",
    ),
    "/api/podcasttime/podcasts/table/": ("/api/podcasttime/podcasts/table/?page_size=50&sorting=name:false",),
    "/api/podcasttime/podcasts/episodes/{id}": ("/api/podcasttime/podcasts/episodes/1",),
    "/api/podcasttime/general-stats/numbers": ("/api/podcasttime/general-stats/numbers",),
    "/api/podcasttime/stats": (_STATS,),
    "/api/podcasttime/stats/episodes": (f"/api/podcasttime/stats/episodes?ids={_IDS.replace('-', ',')}",),
    "/search": ("/search?q=live",),
    "/search.json": ("/search.json?q=live",),
    "/manage/search": ("/manage/search",),
    "/manage/hub": ("/manage/hub",),
    "/manage/hub/pictures": ("/manage/hub/pictures",),
    "/manage/hub/token": ("/manage/hub/token",),
    "/manage/hub/trace": ("/manage/hub/trace?channel=events",),
    "/manage/hub/clients": ("/manage/hub/clients?by=user&text=ada",),
    "/manage/hub/clients/{session}": ("/manage/hub/clients/0123456789abcdef",),
    "/autocomplete": ("/autocomplete?q=live",),
    "/manage/views": ("/manage/views", "/manage/views?days=1&sort=name"),
    "/manage/views.json": ("/manage/views.json",),
    "/manage/views.csv": ("/manage/views.csv",),
    "/manage/views/now": ("/manage/views/now",),
    "/manage/views/{id}": ("/manage/views/1",),
    "/autocompete/v1": ("/autocompete/v1?q=live",),
    "/components": ("/components",),
    "/lab/joins": ("/lab/joins",),
    "/lab/joins.json": ("/lab/joins.json",),
    "/lab/redis": ("/lab/redis",),
    "/manage/events/{id}/picture": ("/manage/events/1/picture",),
    "/manage/posts/{id}/picture": ("/manage/posts/1/picture",),
}

#: Addresses that show the same however many rows there are, and why.
ALIKE: dict[str, str] = {
    "/posts": "leads to the home page",
    "/manage": "leads to the first page that one may manage",
    "/posts/post-0/about": "shows one post, and nothing that a post has many of",
    "/robots.txt": "says where the sitemap is",
    "/manage/posts/token": "is a token",
    "/manage/posts/1/history/2?from=1": "shows two versions of one post",
    "/events/scheduled-0/about": "shows one event, and nothing that an event has many of",
    "/podcasts/mine?id=1": "leads to the list",
    "/podcasts/1": "leads to the podcast's page",
    _PUSH: "answers a hub with its own word",
    _STATS: "has as many numbers of one podcast as of twenty",
    "/comments/1": "leads to the page that has the comment",
    "/comments/1/reply": "shows one comment, and a form",
    LINK: "shows one comment",
    MAIL_LINK: "is a form",
    "/comments/1/edit": "is a form of the comment's writer, and refuses others",
    "/components": "shows samples of its own",
    "/lab/redis": "shows what is in Redis, and no row",
    "/manage/events/1/picture": "shows one event's picture",
    "/login": "is a form",
    "/manage/views/now": "shows the calls of sixty minutes, however many these are",
    "/headsup/try": "is a form",
    "/headsup/hook": "says where forges post",
    "/headsup/new": "is a form",
    "/headsup/names": "asks GitHub, and no row",
    "/headsup/confirm/token-0": "asks one address",
    "/headsup/out/token-0": "asks one address",
    "/headsup/1/rules/new": "is a form",
    "/api/signedin": "names one user",
    "/api/csrf": "is one token",
    "/api/preview-github-project": "asks GitHub, and no row",
    "/manage/hub": "shows the hub, and no row",
    "/manage/hub/pictures": "shows the hub, and no row",
    "/manage/hub/token": "is a token",
    "/manage/hub/trace?channel=events": "shows the hub, and no row",
    "/manage/hub/clients?by=user&text=ada": "shows the hub, and no row",
    "/manage/hub/clients/0123456789abcdef": "shows the hub, and no row",
    "/login/github/back": "says that no sign-in began here",
}

#: Of these, those that may be longer a minute later all the same: the walk is counted too.
BY_THE_CLOCK = {"/manage/views/now", _STATS}

#: Routes that are no pages, and why.
FILES: dict[str, str] = {
    "/comments/work": "a challenge, for which no database is asked",
    "/pictures/{hash}/{form}": "a file, for which no database is asked",
    "/lab/redis/random": "a measurement of Redis, for which no database is asked",
    "/lab/redis/summary": "a text of what is in Redis",
    "/lab/redis/{name}": "a measurement of Redis, for which no database is asked",
    "/manage/hub.json": "what the hub says, for which no database is asked",
}

#: Addresses of files that a browser saves instead of showing.
SAVED = frozenset({"/manage/views.csv"})

#: Tables that `fill` leaves empty, and why.
EMPTY: dict[str, str] = {}


def pages_of(app: web.Application) -> list[str]:
    """The addresses of all pages; raises AssertionError for a route that is not in PAGES, and for one that is gone."""
    found = {
        route.resource.canonical
        for route in app.router.routes()
        if route.method == "GET" and route.resource is not None and not route.resource.canonical.startswith(PREFIX)
    }
    found -= set(FILES)
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
            session.add(_version(number))
            draft = PostDraft(uid=str(UUID(int=number)), user_id=1, edition=0, fields=f'{{"title": "Begun {number}"}}')
            session.add(draft)
            session.add(PostImport(identity=f"file:{number}", post_id=1, digest="", edition=1))
            session.add(CommentImport(identity=f"isso:{number}"))
            topic, callback = "https://site.example/rss.xml", f"https://reader.example/{number}"
            session.add(Subscription(key=str(number), topic=topic, callback=callback, until=now()))
        await _fill_headsup(session, numbers)
        await _fill_views(session, numbers)
        await _fill_podcasts(session, numbers)
        for number in numbers:
            session.add(
                Search(intent=f"intent-{number}", text=f"query {number}", total=number % 2, milliseconds=60.0, clicks=0)
            )
            session.add(Synonym(said=f"word {number}", means="another"))
            session.add(Pin(said=f"query {number}", url="/posts/post-0", title=f"Post {number}"))
        for model, slug in ((Event, "scheduled-0"), (Post, "post-0"), (Podcast, "podcast-0")):
            thread = await session.scalar(select(model.thread_id).where(model.slug == slug))
            for number in numbers:
                posted = STARTS + timedelta(minutes=number)
                comment = Comment(thread_id=thread, name="Ada", text=f"Number {number}.", posted_at=posted)
                session.add(comment)
                await session.flush()
                subscription = CommentSubscription(thread_id=thread, address=f"{number}@example.org")
                session.add_all([Record(comment_id=comment.id), subscription])
        for number in numbers:
            session.add(JoinsRun(songs=1000 + number, seconds=5, state="done"))
            session.add(Word(word=f"word{number}"))
            session.add(Block(who=f"{number}", kind="visitor", name=f"Name {number}"))


async def _fill_views(session: AsyncSession, numbers: range) -> None:
    """An endpoint each, and all rows of the first one, too."""
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    hour = now().replace(minute=0, second=0, microsecond=0)
    for number in numbers:
        session.add(ViewEndpoint(source="", name=f"GET /called/{number}", first_at=now(), last_at=now()))
        session.add(ViewKey(name=f"source-{number}", key_hash=f"{number:064}"))
    await session.flush()
    for number in numbers:
        for id in sorted({1, number + 1}):
            for seconds, start in ((3600, hour), (86400, today)):
                of = {"seconds": seconds, "start": start, "endpoint_id": id}
                session.add(ViewCount(**of, kind="script", status=200 + number, calls=9, micros=900))
                session.add(ViewTime(**of, bucket=number, calls=9))
            session.add(
                ViewCaller(start=today, endpoint_id=id, kind="script", caller=f"user {number}", calls=number + 1)
            )
            session.add(
                ViewCrowd(start=today - timedelta(days=number), endpoint_id=id, kind="script", callers=number + 1)
            )
        # Long ago at any time of day: what happens now has minutes of its own.
        session.add(ViewMinute(start=today - timedelta(days=2, minutes=number), kind="script", calls=5))
        session.add(ViewSalt(day=number, salt=b"of the day"))
        session.add(ViewWriter(name=f"writer {number}", position=1))
        session.add(ViewReceipt(key_id=1, event=f"{number:032}"))


async def _fill_headsup(session: AsyncSession, numbers: range) -> None:
    """A project each, and all rows of the first one's."""
    for number in numbers:
        name = f"ada/engine-{number}"
        session.add(HeadsupProject(owner_id=1, name=name, name_key=name, secret="a secret of it"))
    await session.flush()
    projects = await session.scalars(select(HeadsupProject.id).order_by(HeadsupProject.id.desc()).limit(len(numbers)))
    session.add_all([HeadsupKept(project_id=project, bytes=1000) for project in projects])
    for number in numbers:
        address = f"user-{number}@example.org"
        session.add(HeadsupRule(project_id=1, words=f"word{number}"))
        session.add(HeadsupAddress(project_id=1, address=address, token=f"token-{number}"))
        found = json.dumps([{"rule": 1, "label": f"word{number}", "ref": "refs/heads/main", "told": 1, "commits": []}])
        delivery_id = f"delivery-{number}"
        session.add(
            HeadsupDelivery(
                project_id=1, delivery_id=delivery_id, forge="github", event="push", outcome="1 heads-up", found=found
            )
        )
        for project in (0, 1):
            session.add(
                HeadsupRefusal(project_id=project, day=f"{now():%Y-%m-%d}", reason=f"of kind {number}", count=1)
            )
    await session.flush()
    for number in numbers:
        address = f"user-{number}@example.org"
        # All of the first rule and the first delivery, so that their pages have lists too.
        session.add(HeadsupTarget(rule_id=1, kind="to", address=address))
        ref = f"refs/heads/branch-{number}"
        session.add(HeadsupMessage(project_id=1, delivery_id=1, rule_id=1, ref=ref, data="{}"))
        session.add(HeadsupMention(rule_id=1, sha=f"{number:040}", sameness=f"{number}"))
    await session.flush()
    for number in numbers:
        address = f"user-{number}@example.org"
        session.add(HeadsupNotice(project_id=1, message_id=1, kind="to", address=address, state="sent"))


async def index(app: web.Application) -> None:
    """Make the rows that are there now findable: nobody is told of them."""
    indexer = app[search].indexer
    while not indexer.state.ready:
        await asyncio.sleep(0.005)
    await indexer.build()


async def _fill_podcasts(session: AsyncSession, numbers: range) -> None:
    podcasts = [
        Podcast(
            name=f"Podcast {number}",
            slug=f"podcast-{number}",
            url=f"http://podcast-{number}.example/feed.xml",
            fetched_at=now(),
            episodes=2,
            known=1,
            seconds=3600,
            first_at=now() - timedelta(days=9),
            latest_at=now() - timedelta(days=2),
            times_picked=2,
        )
        for number in numbers
    ]
    session.add_all(podcasts)
    lists = [PickList(key=f"{number:032}", size=2) for number in numbers]
    session.add_all(lists)
    await session.flush()
    for number, podcast, picks in zip(numbers, podcasts, lists, strict=True):
        host = f"podcast-{number}.example"
        known = {"topic": _TOPIC, "secret": "a secret of it", "outcome": "new"}
        session.add(Feed(podcast_id=podcast.id, host=host, next=1e10, **known))
        # All episodes and fetches of the first one, too, so that its pages have lists.
        for owner in sorted({1, podcast.id}):
            at = now() - timedelta(days=2 + number)
            session.add(
                Episode(podcast_id=owner, title=f"Episode {number}", at=at, published_at=at, seconds=600 + number)
            )
            session.add(Episode(podcast_id=owner, title=f"Unknown {number}", at=at, published_at=at))
            session.add(Fetch(podcast_id=owner, outcome="new", words=f"Fetch {number}"))
        session.add(Alias(url=f"http://old-{number}.example/", podcast_id=1))
        session.add(Host(name=f"podcast-{number}.example"))
        session.add(Lookup(question=f"question {number}", found="[]"))
        for place, id in enumerate(sorted({1, podcast.id})):
            session.add(Pick(list_id=picks.id, podcast_id=id, place=place))


def _post(number: int) -> Post:
    return Post(
        title=f"Post {number}",
        slug=f"post-{number}",
        state=State.PUBLISHED,
        published_at=now() - timedelta(hours=number),
        text=f"What {number} is about.",
        html=f"<p>What {number} is about.</p>",
        html_version=1,
        edition=1000,
    )


def _version(number: int) -> PostVersion:
    return PostVersion(
        post_id=1,
        edition=number + 1,
        changed_at=now(),
        changed_by="ada",
        title=f"Post 0, {number}",
        slug="post-0",
        format=Format.MARKDOWN,
        keywords="",
        categories="[]",
        summary="",
        text=f"What it was about at {number}.",
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
