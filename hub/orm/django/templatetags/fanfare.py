"""Template tags: `{% load fanfare %}`."""

from __future__ import annotations

from django import template
from django.template import TemplateSyntaxError
from django.utils.html import format_html
from django.utils.safestring import SafeString

from ....errors import InvalidChannel
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
def position(*parts: object) -> str:
    """The channel's newest position, for a page to continue from; empty when the hub can't tell now.

    parts: the channel's name, or what it is made of: `{% position "comments-" article.pk %}`.
    Put it above what it stands for: a position read after the rows could miss a change in between.
    """
    channel = "".join(map(str, parts))
    # A variable that is not there is "", and `{{ }}` inside of a tag is text: both would ask for a channel of nobody's.
    if "" in parts or None in parts or "{" in channel:
        raise TemplateSyntaxError(f'position: {channel!r} is no channel; write {{% position "comments-" article.pk %}}')
    try:
        return telling.position(channel) or ""
    except InvalidChannel:
        raise TemplateSyntaxError(f"position: {channel!r} is no channel") from None
