"""What the comments hand in."""

from __future__ import annotations

from aiohttp import web

from ...feature import Feature, allow
from ...identity.roles import Permission
from ...pages.links import Link
from . import forms, hints, jobs, models, own, queue, subscriptions, views
from .settings import CommentSettings

_ID = r"{id:[1-9]\d{0,8}}"

FEATURE = Feature(
    name="comments",
    routes=(
        *allow(
            Permission.READ,
            web.get(f"/comments/{_ID}", own.show),
            web.get(f"/comments/{_ID}/reply", own.reply),
            # Whoever has the mail may.
            web.get("/comments/moderate/{link}", queue.show_link),
            web.post("/comments/moderate/{link}", queue.post_link),
            web.get("/comments/mail/{link}", subscriptions.show),
        ),
        # Mail programs have no form of ours.
        *allow(Permission.READ, web.post("/comments/mail/{link}", subscriptions.post), from_anywhere=True),
        *allow(
            Permission.MODERATE_COMMENTS,
            web.get("/manage/comments", queue.show),
            web.post(f"/manage/comments/{_ID}", queue.post_act),
            web.post("/manage/comments/unblock", queue.post_unblock),
        ),
        *allow(
            Permission.COMMENT,
            web.get("/comments/work", views.show_work),
            web.get(f"/comments/{_ID}/edit", own.show_edit),
            web.post(f"/comments/{_ID}/edit", own.post_edit),
            web.post(f"/comments/{_ID}/delete", own.post_delete),
        ),
    ),
    tables=(models.Thread, models.Comment, models.Record, models.Word, models.Block, models.Subscription),
    hints=hints.declare,
    settings=CommentSettings,
    setup=views.setup,
    globals={
        "comments_channel": hints.comments_channel,
        "comment_limits": models,
        "CommentStatus": models.Status,
        "COMMENT_COUNTS": hints.COUNTS,
        "QUEUE": hints.QUEUE,
        "HIDDEN_FIELD": forms.HIDDEN,
    },
    links=(Link("Comments", "/manage/comments", to=Permission.MODERATE_COMMENTS, order=81),),
    jobs=jobs.KINDS,
    periodic=jobs.PERIODIC,
    counted=("comments-*",),
    statics=("comments.js", "comments.css"),
)
