"""What podcasts hand in."""

from __future__ import annotations

from datetime import datetime

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import api, artwork, demo, documents, durations, hints, jobs, limits, mine, models, picks, podcast, push, search
from .settings import PodcastSettings


def _day(when: datetime) -> str:
    return f"{when.day} {when:%b %Y}"


def _setup(app: web.Application) -> None:
    for module in (limits, search, jobs, podcast):
        module.setup(app)


_ID = r"/podcasts/{id:\d{1,9}}"
_PAGE = _ID + "/{slug}"
_API = "/api/podcasttime"
_PUSH = r"/podcasts/push/{id:\d{1,9}}/{token}"

FEATURE = Feature(
    name="podcasts",
    documents=documents.DOCUMENTS,
    needs=("comments", "pictures"),
    routes=(
        *allow(
            Permission.READ,
            web.get("/podcasts", mine.show),
            web.get("/podcasts/mine", mine.start),
            web.get(r"/podcasts/mine/{ids:[\d-]+}", mine.show),
            web.get(r"/podcasts/mine/{ids:[\d-]+}/podcasts.opml", mine.opml),
            web.get("/podcasts/picks", picks.show),
            web.get(_ID, podcast.to_page),
            web.get(_PAGE, podcast.show),
            web.get(_PAGE + "/comments.json", podcast.comments),
            web.get(_PAGE + "/feed", podcast.feed),
            web.get(_API + "/find", api.find),
            web.get(_API + "/picks/data/", api.picks_data),
            web.get(_API + "/podcasts/data/", api.podcasts_data),
            web.get(_API + "/podcasts/table/", api.podcasts_table),
            web.get(_API + r"/podcasts/episodes/{id:\d{1,9}}", api.podcast_episodes),
            web.get(_API + "/general-stats/numbers", api.general_stats),
            web.get(_API + "/stats", api.stats),
            web.get(_API + "/stats/episodes", api.stats_episodes),
        ),
        *allow(
            Permission.COMMENT,
            web.post("/podcasts/add", mine.post),
            web.post(_PAGE + "/comments", podcast.post),
            web.post(_PAGE + "/retry", podcast.retry),
        ),
        # Whoever knows the key of a list may change it, from wherever; and hubs sign what they send.
        *allow(Permission.COMMENT, web.post(_API + "/picked", api.picked), from_anywhere=True),
        *allow(Permission.READ, web.get(_PUSH, push.verify)),
        *allow(Permission.READ, web.post(_PUSH, push.take), from_anywhere=True),
    ),
    tables=(
        models.Podcast,
        models.Feed,
        models.Fetch,
        models.Episode,
        models.Alias,
        models.Host,
        models.Lookup,
        models.PickList,
        models.Pick,
    ),
    hints=hints.declare,
    settings=PodcastSettings,
    setup=_setup,
    links=(Link("Podcasts", "/podcasts", order=20, within="/podcasts"),),
    globals={
        "PICKS": hints.PICKS,
        "podcast_channel": hints.podcast_channel,
        "feed_channel": hints.feed_channel,
        "amount": durations.amount,
        "amount_words": durations.words,
        "clock": durations.clock,
        "podcast_day": _day,
    },
    jobs=(*jobs.KINDS, *push.KINDS, artwork.KIND),
    periodic=(*jobs.PERIODIC, *push.PERIODIC),
    metrics=jobs.metrics,
    statics=("podcasts.css", "podcasts.js"),
    demo=demo.fill,
)
