"""What templates write is escaped, whatever it is."""

from __future__ import annotations

from pathlib import Path

import aiohttp_jinja2
import jinja2
import pytest
from aiohttp import web
from markupsafe import Markup, escape

from web.pages import templating


class Html:
    """Says by itself what it is as HTML."""

    def __html__(self) -> str:
        return "<b>bold</b>"


class Name(str):
    """A text of a kind of its own, as an enumeration's values are."""


VALUES = ["<a href=\"x\" title='y'>&amp;</a>", Markup("<i>safe</i>"), Html(), Name("<u>"), 17, 1.5, None, True, ["<p>"]]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_what_is_written_at_once_is_what_the_library_writes(value: object) -> None:
    assert templating._shown(value) == escape(value)


@pytest.fixture
def environment(tmp_path: Path) -> jinja2.Environment:
    (tmp_path / "macros.html").write_text("{% macro name(one) %}<b>{{ one }}</b>{% endmacro %}")
    (tmp_path / "page.html").write_text(
        '{% from "macros.html" import name %}{% set kept %}{{ words }}{% endset %}'
        "{{ words }} {{ name(words) }} {{ kept }} {{ words|upper }} {{ words ~ name(words) }}"
    )
    found = templating._Environment(loader=jinja2.FileSystemLoader(tmp_path), autoescape=True)
    app = web.Application()
    app[aiohttp_jinja2.APP_KEY] = found
    return found


def test_a_text_is_escaped_once_however_it_comes_into_the_page(environment: jinja2.Environment) -> None:
    plain = jinja2.Environment(loader=environment.loader, autoescape=True)
    shown = environment.get_template("page.html").render(words="<&>")
    assert shown == plain.get_template("page.html").render(words="<&>")
    assert shown == "&lt;&amp;&gt; <b>&lt;&amp;&gt;</b> &lt;&amp;&gt; &lt;&amp;&gt; &lt;&amp;&gt;<b>&lt;&amp;&gt;</b>"


def test_what_is_not_there_is_no_empty_text(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("{{ words }}")
    loader = jinja2.FileSystemLoader(tmp_path)
    found = templating._Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    with pytest.raises(jinja2.UndefinedError):
        found.get_template("page.html").render()
