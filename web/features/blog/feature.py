"""What the blog hands in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, Home, allow
from ...identity.roles import Permission
from ...pages.links import Link
from ...pages.sitemaps import SiteMap
from ..pictures.views import Owner, owner_routes
from . import (
    addresses,
    demo,
    desk,
    documents,
    editor,
    feeds,
    forms,
    hints,
    history,
    jobs,
    lists,
    models,
    page,
    queries,
    settings,
    subscribers,
    websub,
)


def _setup(app: web.Application) -> None:
    page.setup(app)
    subscribers.setup(app)


FEATURE = Feature(
    name="blog",
    needs=("comments", "pictures"),
    home=Home(lists.show, "/posts", "Posts", order=5),
    routes=(
        *allow(
            Permission.READ,
            web.get(r"/p{page:\d+}", lists.show),
            web.get("/oc-{names:.*}", lists.show),
            *(web.get(f"/{feed.file}", lists.show) for feed in addresses.FEEDS),
            web.get("/posts/{slug}", page.show),
            web.get("/posts/{slug}/about", page.about),
            web.get("/posts/{slug}/comments.json", page.comments),
            web.get(r"/posts/{slug}/{file:rss\.xml|atom\.xml|feed\.json}", feeds.of_comments),
            web.get("/sitemap.xml", feeds.site_map),
            web.get("/zitemap.xml", feeds.site_map),
            web.get(r"/sitemap-{name:[a-z]{1,40}}-{part:[1-9]\d{0,5}}.xml", feeds.site_map),
            web.get("/robots.txt", feeds.robots),
        ),
        *allow(Permission.COMMENT, web.post("/posts/{slug}/comments", page.post)),
        *allow(
            Permission.WRITE_POSTS,
            web.get("/manage/posts", desk.table),
            web.get("/manage/posts/token", desk.token),
            web.post(r"/manage/posts/{id:\d{1,9}}/state", desk.post_state),
            web.get("/manage/posts/new", editor.new),
            web.get(r"/manage/posts/{id:\d{1,9}}", editor.edit),
            web.get(r"/manage/posts/{id:\d{1,9}}/newer", editor.newer),
            web.post("/manage/posts/drafts/discard", editor.discard),
            web.get(r"/manage/posts/{id:\d{1,9}}/history", history.show),
            web.get(r"/manage/posts/{id:\d{1,9}}/history/{edition:\d{1,9}}", history.version),
            web.post(r"/manage/posts/{id:\d{1,9}}/history/{edition:\d{1,9}}/restore", history.restore),
        ),
        *allow(
            Permission.WRITE_POSTS,
            web.post("/manage/posts", editor.post_new),
            web.post(r"/manage/posts/{id:\d{1,9}}", editor.post_edit),
            web.post("/manage/posts/preview", editor.preview),
            web.post("/manage/posts/drafts", editor.post_draft),
            form=forms.MAX_FORM,
        ),
        *owner_routes(
            # Of a draft only the desk is told.
            Owner(models.Post, desk.home_of, lambda _: hints.DESK, ("blog/desk.js",)),
            Permission.WRITE_POSTS,
            r"/manage/posts/{id:\d{1,9}}/picture",
        ),
        # Subscribers are programs; whether they mean it, their callback is asked.
        *allow(Permission.READ, web.post(websub.HUB_PATH, subscribers.post), from_anywhere=True),
    ),
    sitemap=SiteMap(
        "posts", (hints.POSTS, hints.CATEGORIES), queries.count_posts, queries.read_places, queries.read_lists
    ),
    tables=(
        *(models.PostCategory, models.Post, models.Filing, models.OldSlug, models.PostVersion, models.PostDraft),
        *(models.PostImport, models.CommentImport, models.Subscription),
    ),
    hints=hints.declare,
    settings=settings.BlogSettings,
    setup=_setup,
    links=(Link("Write", "/manage/posts", to=Permission.WRITE_POSTS, order=79, within="/manage/posts"),),
    globals={
        "POSTS": hints.POSTS,
        "DESK": hints.DESK,
        "post_limits": models,
        "post_channel": hints.post_channel,
        "category_path": addresses.category_path,
        "FEEDS": addresses.FEEDS,
    },
    jobs=(*jobs.KINDS, *subscribers.KINDS),
    periodic=(*jobs.PERIODIC, *subscribers.PERIODIC),
    statics=("blog.css", "blog/code.js", "blog/desk.css", "blog/desk.js"),
    demo=demo.fill,
    documents=documents.DOCUMENTS,
)
