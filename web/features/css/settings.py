"""Settings of the sheets in pages."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import FLAG, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class CssSettings:
    """Whether kept pages have their style sheets in them."""

    inline: bool = setting(
        "SITE_CSS_INLINE",
        FLAG,
        True,
        "put what a page uses of its style sheets into it, for browsers that don't have them yet; off to debug",
    )
