"""What stands where a picture will be: a small drawing of its ThumbHash. Pure.

SVG in the page: our policy allows no styles and no addresses of data there, and a request would come too late.
"""

from __future__ import annotations

from functools import lru_cache

from markupsafe import Markup

from .forms import Shown
from .thumbhash import cells

#: Cells of a row and of a column.
ACROSS, DOWN = 6, 4


@lru_cache(maxsize=2048)
def blurred(shown: Shown) -> Markup:
    """The drawing; without a ThumbHash an even ground. Its size is the picture's."""
    size = shown.shown
    colors = cells(shown.thumb, ACROSS, DOWN) if len(shown.thumb) > 5 else []
    rects = "".join(
        f'<rect x="{index % ACROSS}" y="{index // ACROSS}" width="1.05" height="1.05" fill="#{r:02x}{g:02x}{b:02x}"/>'
        for index, (r, g, b) in enumerate(colors)
    )
    return Markup(
        '<svg class="picture-blur" width="{}" height="{}" viewBox="0 0 {} {}" preserveAspectRatio="none"'
        ' aria-hidden="true" focusable="false">{}</svg>'
    ).format(size.width, size.height, ACROSS, DOWN, Markup(rects))
