"""Settings of comments."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import COUNT, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentSettings:
    """The comments' settings."""

    rate: int = setting(
        "SITE_COMMENT_RATE",
        COUNT,
        # The people of one hall share an address, and all have something to say.
        120,
        "comments a minute from one address; 0 for no limit",
        minimum=0,
    )
