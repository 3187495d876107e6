"""What the search hands in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.documents import CHANGED
from ...pages.links import Link
from . import manage, metrics, models, service, views, words
from .settings import SearchSettings

FEATURE = Feature(
    name="search",
    routes=(
        *allow(
            Permission.READ,
            web.get("/search", views.show),
            web.get("/search.json", views.as_json),
            web.get("/autocomplete", views.complete),
            web.get("/autocompete/v1", views.complete_v1),
            web.post("/search/clicks", views.post_click),
        ),
        *allow(
            Permission.MANAGE_SEARCH,
            web.get("/manage/search", manage.show),
            web.post("/manage/search/synonyms", manage.post_synonym),
            web.post("/manage/search/pins", manage.post_pin),
            web.post(r"/manage/search/synonyms/{id:\d{1,9}}/remove", manage.post_remove_synonym),
            web.post(r"/manage/search/pins/{id:\d{1,9}}/remove", manage.post_remove_pin),
        ),
    ),
    tables=(models.Search, models.Synonym, models.Pin),
    hints=words.declare,
    metrics=metrics.metrics_of,
    jobs=service.KINDS,
    periodic=service.PERIODIC,
    finds=True,
    settings=SearchSettings,
    setup=service.setup,
    contexts=(service.running,),
    links=(
        Link("Search", "/search", order=70),
        Link("Searches", "/manage/search", to=Permission.MANAGE_SEARCH, order=85),
    ),
    globals={"SEARCHED": CHANGED},
    statics=("search.js", "search.css"),
)
