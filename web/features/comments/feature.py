"""What the comments hand in."""

from __future__ import annotations

from ...feature import Feature
from . import hints, models, views
from .settings import CommentSettings

FEATURE = Feature(
    name="comments",
    tables=(models.Thread, models.Comment),
    hints=hints.declare,
    settings=CommentSettings,
    setup=views.setup,
    globals={"comments_channel": hints.comments_channel, "comment_limits": models},
)
