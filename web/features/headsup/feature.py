"""What heads-ups hand in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from aiohttp import web
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages import keys
from ...pages.links import Link
from . import consent, hints, hook, jobs, log, models, pages, project_api, remark, setting_up
from .refusals import Refusals, refusals
from .room import Room, room
from .settings import HeadsupSettings

_PROJECT = r"/headsup/{project:\d{1,9}}"
_RULE = _PROJECT + r"/rules/{rule:\d{1,9}}"
_DELIVERY = _PROJECT + r"/log/{delivery:\d{1,9}}"


def _setup(app: web.Application) -> None:
    settings = app[keys.settings][HeadsupSettings]
    app[refusals] = Refusals(app[keys.database])
    app[room] = Room(max(settings.bodies, settings.max_body))


async def _counting(app: web.Application) -> AsyncIterator[None]:
    await app[refusals].start()
    yield
    await app[refusals].stop()


async def _metrics(app: web.Application) -> Sequence[Metric]:
    refused = CounterMetricFamily("site_headsup_refused", "deliveries refused, by reason", labels=["reason"])
    for reason, count in sorted(app[refusals].totals.items()):
        refused.add_metric([reason], count)
    held = GaugeMetricFamily("site_headsup_held_bytes", "long deliveries in memory", value=app[room].held)
    return [refused, held]


FEATURE = Feature(
    name="headsup",
    routes=(
        *allow(
            Permission.READ,
            web.get("/headsup", pages.home),
            web.get("/headsup/try", pages.trial),
            web.get("/headsup/hook", hook.about),
            web.get("/headsup/confirm/{token}", consent.show_confirm),
            web.get("/headsup/out/{token}", consent.show_out),
            web.get("/api/signedin", project_api.signed_in),
            web.get("/api/csrf", project_api.csrf),
            web.get("/api/projects", project_api.projects),
            web.get("/api/preview-github-project", project_api.preview),
        ),
        # Each finds out by itself who sent it: by a signature, a secret link, or a token in JSON.
        *allow(
            Permission.READ,
            web.post("/headsup/hook", hook.post),
            web.post(r"/headsup/hook/{project:\d{1,9}}", hook.post_of_project),
            web.post("/headsup/out/{token}", consent.post_out),
            web.post("/api/projects/add", project_api.add),
            web.post(r"/api/projects/delete/{project:\d{1,9}}", project_api.delete),
            from_anywhere=True,
        ),
        *allow(
            Permission.COMMENT,
            web.post("/headsup/try", pages.post_trial),
            web.post("/headsup/confirm/{token}", consent.post_confirm),
        ),
        *allow(
            Permission.WATCH_REPOSITORIES,
            web.get("/headsup/new", pages.new),
            web.post("/headsup/new", pages.post_new),
            web.get("/headsup/names", project_api.names),
            web.get(_PROJECT, pages.show),
            web.post(f"{_PROJECT}/secret", pages.post_secret),
            web.post(f"{_PROJECT}/secret/end", pages.post_end_secret),
            web.post(f"{_PROJECT}/secret/example", pages.post_example),
            web.post(f"{_PROJECT}/sha1", pages.post_sha1),
            web.post(f"{_PROJECT}/delete", pages.post_delete),
            web.post(rf"{_PROJECT}/addresses/{{address:\d{{1,9}}}}/ask", pages.post_ask),
            web.post(rf"{_PROJECT}/targets/{{target:\d{{1,9}}}}/again", pages.post_try_again),
            web.get(f"{_PROJECT}/rules/new", pages.new_rule),
            web.post(f"{_PROJECT}/rules/new", pages.post_rule),
            web.get(_RULE, pages.edit_rule),
            web.post(_RULE, pages.post_rule),
            web.post(f"{_RULE}/delete", pages.post_delete_rule),
            web.get(f"{_PROJECT}/log", log.show),
            web.get(_DELIVERY, log.show_one),
            web.post(f"{_DELIVERY}/replay", log.post_replay),
        ),
    ),
    tables=models.TABLES,
    hints=hints.declare,
    settings=HeadsupSettings,
    setup=_setup,
    contexts=(_counting,),
    links=(Link("Heads-ups", "/headsup", order=40, within="/headsup"),),
    globals={"headsup_limits": models, "headsup_word": remark, "headsup_late_days": setting_up.LATE_DAYS},
    statics=("headsup.css", "headsup.js"),
    jobs=jobs.KINDS,
    periodic=jobs.PERIODIC,
    metrics=_metrics,
)
