"""The desk's table of posts: it follows what others change, and publishes and takes back in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from urllib.parse import urlencode

from aiohttp import web
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...db.tables import now
from ...pages import keys
from ...pages.listening import token_response
from ...pages.requests import USER, clean_line, json_response, read_fields, read_number, redirect, wants_json
from ...pages.sorting import Sorting
from ...pages.templating import read_positions, render
from ..comments.queries import count_comments
from . import drafts
from .addresses import MAX_PAGE, post_path
from .hints import DESK
from .models import MAX_TITLE, Post, State
from .posts import BadPost, NoPost, publish, unpublish

#: Rows of the table.
SHOWN = 50

Standing = Literal["draft", "planned", "published"]

#: Tabs: what an address calls them, and what people do.
TABS = {"": "All", "draft": "Drafts", "planned": "Planned", "published": "Published"}

_SORTED_BY = {"changed": Post.changed_at, "published": Post.published_at, "title": Post.title}


@dataclass(frozen=True, slots=True)
class Row:
    """A post in the table."""

    id: int
    thread_id: int
    title: str
    slug: str
    state: State
    published_at: datetime | None
    changed_at: datetime
    changed_by: str

    @property
    def standing(self) -> Standing:
        """What it is now: a draft, planned or published."""
        return standing_of(self.state, self.published_at)


def standing_of(state: State, published_at: datetime | None) -> Standing:
    """What a post is now, in the desk's words."""
    if state is not State.PUBLISHED or published_at is None:
        return "draft"
    return "published" if published_at <= now() else "planned"


def home_of(post: Post) -> str:
    """Where a writer sees a post as it is: its page, or the editor where nobody can read it yet."""
    is_public = standing_of(post.state, post.published_at) == "published"
    return post_path(post.slug) if is_public else f"/manage/posts/{post.id}"


async def table(request: web.Request) -> web.StreamResponse:
    """GET /manage/posts, with ?state=draft, ?q=words, ?sort=title and ?page=2."""
    state = request.query.get("state", "")
    if state not in TABS:
        raise web.HTTPNotFound(text="Posts are drafts, planned or published.")
    words = clean_line(request.query.get("q", "")[:MAX_TITLE], MAX_TITLE)
    page = read_number(request, "page", default=1, most=MAX_PAGE)
    sorting = Sorting.read(request.query.get("sort"), _SORTED_BY, Sorting("changed", down=True))
    positions = await read_positions(request.app[keys.publisher], DESK)
    async with request.app[keys.database].reading() as session:
        counts = await _count(session)
        rows = await _read(session, state, words, sorting, page)
        context = {
            "positions": positions,
            "source": request.path_qs,
            "state": state,
            "words": words,
            "tabs": [(label, _address(each, "", None, 1), counts[each]) for each, label in TABS.items()],
            "current": _address(state, "", None, 1),
            "posts": rows[:SHOWN],
            "columns": _columns(sorting, state, words),
            "comments": await count_comments(session, [row.thread_id for row in rows[:SHOWN]]),
            "begun": await drafts.begun(session, request[USER].id) if page == 1 else [],
            "newer": _address(state, words, sorting, page - 1) if page > 1 else None,
            "older": _address(state, words, sorting, page + 1) if len(rows) > SHOWN else None,
        }
    return render(request, "blog/desk.html", context, cache="no-store")


async def post_state(request: web.Request) -> web.StreamResponse:
    """POST /manage/posts/{id}/state: `do` is publish, for everybody to read now, or unpublish."""
    act = (await read_fields(request)).get("do", "")
    if act not in ("publish", "unpublish"):
        raise web.HTTPBadRequest(text="A post can be published or unpublished.")
    post_id = int(request.match_info["id"])
    try:
        async with request.app[keys.database].saving() as session:
            if act == "publish":
                post = await publish(session, request.app[keys.jobs], post_id)
            else:
                post = await unpublish(session, post_id)
    except NoPost:
        raise web.HTTPNotFound(text="There is no such post.") from None
    except BadPost as error:
        raise web.HTTPUnprocessableEntity(text=" ".join(error.errors.values())) from None
    if wants_json(request):
        return json_response({"id": post.id, "state": standing_of(post.state, post.published_at)})
    return redirect("/manage/posts")


async def token(request: web.Request) -> web.StreamResponse:
    """GET /manage/posts/token: what the desk's pages show the hub to hear of all posts."""
    return token_response(request.app[keys.listening], DESK)


def _stands(state: str) -> ColumnElement[bool]:
    if state == "draft":
        return Post.state == State.DRAFT
    is_due = Post.published_at <= now()
    return (Post.state == State.PUBLISHED) & (is_due if state == "published" else ~is_due)


async def _count(session: AsyncSession) -> dict[str, int]:
    kinds = [each for each in TABS if each]
    counted = select(func.count(), *(func.count().filter(_stands(each)) for each in kinds)).select_from(Post)
    return dict(zip(["", *kinds], (await session.execute(counted)).one(), strict=True))


async def _read(session: AsyncSession, state: str, words: str, sorting: Sorting, page: int) -> Sequence[Row]:
    """A page of rows, and one more if there are more."""
    columns = (
        *(Post.id, Post.thread_id, Post.title, Post.slug, Post.state),
        *(Post.published_at, Post.changed_at, Post.changed_by),
    )
    ids = select(Post.id)
    if state:
        ids = ids.where(_stands(state))
    if words:
        ids = ids.where(Post.title.icontains(words, autoescape=True))
    by = _SORTED_BY[sorting.by]
    order = (by.desc().nulls_last() if sorting.down else by.asc().nulls_last(), Post.id.desc())
    if sorting.by == "changed":
        # As the index has it: it is the order of who comes to the desk.
        order = (by.desc(), Post.id.desc()) if sorting.down else (by.asc(), Post.id.asc())
    ids = ids.order_by(*order).offset((page - 1) * SHOWN).limit(SHOWN + 1)
    rows = await session.execute(select(*columns).where(Post.id.in_(ids.scalar_subquery())).order_by(*order))
    return [Row(*row) for row in rows]


def _columns(sorting: Sorting, state: str, words: str) -> list[dict[str, object]]:
    address = _address(state, words, None, 1)
    address += ("&" if "?" in address else "?") + "sort={}"
    return [
        sorting.column("title", "Post", address),
        {"label": "State"},
        sorting.column("published", "Publication", address),
        sorting.column("changed", "Changed", address),
        {"label": "Comments", "number": True},
        {"label": "Publish or edit", "unseen": True},
    ]


def _address(state: str, words: str, sorting: Sorting | None, page: int) -> str:
    asked = {"state": state, "q": words, "sort": sorting.text if sorting else "", "page": str(page) if page > 1 else ""}
    if asked["sort"] == "-changed":
        del asked["sort"]
    query = urlencode({name: value for name, value in asked.items() if value})
    return "/manage/posts" + (f"?{query}" if query else "")
