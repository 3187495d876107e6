"""Template tags: `{% load fanfare %}`."""

from __future__ import annotations

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import settings
from ..telling import telling

register = template.Library()


@register.simple_tag
def fanout_script() -> SafeString:
    """The script tag of the hub's client: it defines `Fanout` and connects when something subscribes."""
    found = settings.read()
    integrity = format_html(' integrity="{}"', found.integrity) if found.integrity else ""
    return format_html(
        '<script src="{}/bayeux/static/fanout.js" data-url="{}/bayeux" crossorigin="anonymous"{} defer></script>',
        found.public_url,
        found.public_url,
        integrity,
    )


@register.simple_tag
def position(channel: str) -> str:
    """The channel's newest position, for a page to continue from; empty when the hub can't tell now.

    Put it above what it stands for: a position read after the rows could miss a change in between.
    """
    return telling.position(channel) or ""
