"""What the blog hands in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, Home, allow
from ...identity.roles import Permission
from . import addresses, demo, feeds, hints, jobs, lists, models, page

FEATURE = Feature(
    name="blog",
    needs=("comments",),
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
            web.get(r"/sitemap-{part:[1-9]\d{0,5}}.xml", feeds.site_map),
            web.get("/robots.txt", feeds.robots),
        ),
        *allow(Permission.COMMENT, web.post("/posts/{slug}/comments", page.post)),
    ),
    tables=(models.PostCategory, models.Post, models.Filing, models.OldSlug),
    hints=hints.declare,
    setup=page.setup,
    globals={
        "POSTS": hints.POSTS,
        "post_channel": hints.post_channel,
        "category_path": addresses.category_path,
        "FEEDS": addresses.FEEDS,
    },
    jobs=jobs.KINDS,
    periodic=jobs.PERIODIC,
    statics=("blog.css",),
    demo=demo.fill,
)
