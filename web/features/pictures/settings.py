"""Settings of pictures."""

from __future__ import annotations

from dataclasses import dataclass

from hub.settings import SIZE, choice, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSettings:
    """Who makes pictures smaller, and how large one may be that is sent."""

    engine: str = setting(
        "SITE_PICTURES_ENGINE",
        choice("pillow", "vips", "noop"),
        "pillow",
        "what makes pictures smaller: pillow, vips (needs pyvips), or noop, which makes nothing, for tests",
    )
    bytes: int = setting(
        "SITE_PICTURES_BYTES",
        SIZE,
        30 * 1024**2,
        "longest picture that may be sent; it has 40 megapixels at most",
        minimum=1024,
    )
