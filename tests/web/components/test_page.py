"""/components, as a browser without JavaScript sees it, and what the macros make."""

from __future__ import annotations

from html.parser import HTMLParser

import aiohttp_jinja2
import pytest
from jinja2 import Environment
from visiting import Browser

from hub.publisher import RecordingPublisher
from web.app import create_app
from web.db.database import Database
from web.features.components.job import COUNTING, STEPS
from web.features.events.models import Event
from web.pages import keys
from web.services.jobs import rows
from web.settings import Settings

SQLITE = pytest.mark.parametrize("site_url", ["sqlite"], indirect=True)

PAGES = (
    "/",
    "/events/brass-on-the-quay",
    "/components",
    "/components?sort=-hours&tab=live&sent=1",
    "/login",
    "/account",
    "/manage/events",
    "/manage/events/new",
)


class Page(HTMLParser):
    """What a page's ids and references are."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.refers: set[str] = set()
        self.controls: list[str | None] = []
        self.labelled: set[str | None] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if "id" in attributes:
            self.ids.append(attributes["id"] or "")
        for name in ("aria-labelledby", "aria-describedby", "popovertarget", "for"):
            self.refers.update((attributes.get(name) or "").split())
        href = attributes.get("href") or ""
        if tag == "a" and href.startswith("#"):
            self.refers.add(href[1:])
        if tag == "label":
            self.labelled.add(attributes["for"])
        if tag in ("input", "textarea", "select") and attributes.get("type") != "hidden":
            self.controls.append(attributes.get("id"))


@pytest.fixture
def environment(settings: Settings, publisher: RecordingPublisher, database: Database) -> Environment:
    return aiohttp_jinja2.get_env(create_app(settings, publisher, database=database))


@pytest.mark.parametrize("path", PAGES)
async def test_ids_are_there_once_and_every_control_has_its_label(manager: Browser, concert: Event, path: str) -> None:
    response = await manager.look(path)
    assert response.status == 200
    page = Page(manager.page)
    assert sorted(set(page.ids)) == sorted(page.ids)
    assert page.refers <= set(page.ids)
    assert set(page.controls) <= page.labelled


async def test_form_comes_back_with_what_is_wrong_and_with_what_was_written(browser: Browser) -> None:
    await browser.look("/components")
    response = await browser.submit("/components", {"name": " ", "about": "<i>kept</i>", "kind": "post", "agreed": ""})
    assert response.status == 422
    assert '<a href="#name">Give it a name.</a>' in browser.page
    assert '<p class="error" id="agreed-error">It takes your consent.</p>' in browser.page
    assert "&lt;i&gt;kept&lt;/i&gt;</textarea>" in browser.page
    assert '<option value="post" selected>' in browser.page
    response = await browser.submit("/components", {"name": "A", "agreed": "true"})
    assert (response.status, response.headers["Location"]) == (303, "/components?sent=1#form")
    await browser.look("/components?sent=1")
    assert "It was sent. Nothing of it is kept." in browser.page


async def test_table_is_sorted_by_its_links(browser: Browser) -> None:
    await browser.look("/components")
    assert '<th scope="col" aria-sort="ascending"><a href="/components?sort=-name#table"' in browser.page
    await browser.look("/components?sort=-hours")
    assert (
        '<th scope="col" class="number" aria-sort="descending"><a href="/components?sort=hours#table"' in browser.page
    )
    shows = ["The Long Interview", "Brass Weekly", "Nightly"]
    found = [browser.page.index(f'<th scope="row">{name}</th>') for name in shows]
    assert found == sorted(found)


async def test_what_an_address_makes_up_is_not_kept_apart(browser: Browser) -> None:
    """Else a robot could fill the memory for pages with copies of one."""
    await browser.look("/components")
    response = await browser.look("/components?tab=made-up&sort=password&job=5")
    assert response.headers["Cache-Status"] == "fanfare; hit"


async def test_manager_starts_a_job_that_the_page_follows(
    manager: Browser, database: Database, settings: Settings, publisher: RecordingPublisher
) -> None:
    await manager.look("/components")
    response = await manager.submit("/components/job", {})
    assert response.status == 303
    where, _, at = response.headers["Location"].partition("#")
    assert at == "progress"
    await manager.look(where)
    number = where.partition("=")[2]
    assert f'data-state="waiting" data-follow="job-{number}"' in manager.page
    async with database.saving() as session:
        connection = await session.connection()
        await connection.run_sync(rows.claim, {COUNTING.name: 1}, "a", 1e12, 2e12)
        await connection.run_sync(rows.finish, "a", [int(number)], 1e12)
    await manager.look(where)
    assert f'data-state="done" data-follow="job-{number}"' in manager.page


async def test_job_of_another_kind_is_none_of_this_page(
    manager: Browser, database: Database, settings: Settings, publisher: RecordingPublisher
) -> None:
    queue = create_app(settings, publisher, database=database)[keys.jobs]
    async with database.saving() as session:
        number = await queue.add(session, "mail")
    assert (await manager.look(f"/components?job={number}")).status == 404
    assert (await manager.look("/components?job=987654")).status == 404


async def test_job_counts_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.components.job._PAUSE", 0)
    told: list[tuple[float, float]] = []

    class Told:
        def progress(self, done: float, total: float, words: str = "") -> None:
            told.append((done, total))

    running = COUNTING.run(Told())
    assert running is not None
    await running
    assert told == [(step, STEPS) for step in range(STEPS + 1)]


#: Every macro, for templates of a line.
MACROS = """
{% from "components/banner.html" import banner %}
{% from "components/empty.html" import empty %}
{% from "components/field.html" import checkbox, input, select, summary, textarea %}
{% from "components/live.html" import follows %}
{% from "components/progress.html" import progress %}
{% from "components/table.html" import table %}
{% from "components/tabs.html" import tabs %}
"""

#: What `bad` is in a document.
SAFE = "&lt;&#34;&gt;"

CASES = [
    ("{% call banner('error', live=true) %}<b>{% endcall %}", ['role="alert"', "Error: ", "<b>"]),
    ("{% call banner('success', live=true) %}{{ bad }}{% endcall %}", ['role="status"', SAFE]),
    ("{{ empty(bad, id='e', hidden=true) }}", ['id="e" hidden', SAFE]),
    ("{{ empty('None', action=bad, href='/new') }}", [f'<a class="button" href="/new">{SAFE}</a>']),
    (
        "{{ tabs(bad, [(bad, '/a', 0), ('B', '/b')], '/b') }}",
        ['<a href="/b" aria-current="page">B', '<span class="count">0</span>', f'aria-label="{SAFE}"'],
    ),
    ("{{ progress('p', bad, words=bad) }}", ['<progress aria-labelledby="p-label"></progress>', "Running", SAFE]),
    ("{{ progress('p', 'P', done=7, total=3) }}", ['value="3" max="3"', "100 %"]),
    ("{{ progress('p', 'P', done=1, total=3, state='given up') }}", ['data-state="given up"', "33 %", "Given up"]),
    ("{{ progress('p', 'P', state='done') }}", ['value="1" max="1"', "100 %"]),
    (
        "{% call table(bad, [bad, 'B'], empty=bad) %} {% endcall %}",
        [f'<td colspan="2" class="nothing"><span>{SAFE}</span></td>', 'tabindex="0"', f"<caption>{SAFE}</caption>"],
    ),
    (
        "{% call table('T', ['A'], empty='None', fits=true) %}<tr><td>{{ bad }}</td></tr>{% endcall %}",
        [f"<td>{SAFE}</td>", '<div class="table-frame">'],
    ),
    (
        "{{ input('n', bad, bad, {'n': bad}, help=bad, maxlength=5, autofocus=none) }}",
        ['aria-describedby="n-hint n-error" aria-invalid="true" maxlength="5">', f'value="{SAFE}"', "(optional)"],
    ),
    (
        "{{ input('n', 'N', required=true, id='x') }}",
        ['<label for="x">N</label>', '<input id="x" name="n" type="text" value="" required>'],
    ),
    # The first line break is the parser's, the second the value's.
    ("{{ textarea('n', 'N', '\n</textarea>', disabled=true) }}", ["disabled>\n\n&lt;/textarea&gt;</textarea>"]),
    ("{{ select('n', 'N', [(1, 'One'), (2, bad)], '2') }}", [f'<option value="2" selected>{SAFE}</option>']),
    (
        "{{ checkbox('n', 'N', true, {'n': 'No'}) }}",
        ['value="true" checked aria-describedby="n-error" aria-invalid="true">'],
    ),
    ("{{ summary({'n': bad}, bad, prefix='x-') }}", ['role="alert"', f'<a href="#x-n">{SAFE}</a>']),
    (
        "<p{{ follows('c', '1-2', '/a?b&c') }}>",
        ['<p data-follow="c" data-position="1-2" data-source="/a?b&amp;c">'],
    ),
]


@SQLITE
@pytest.mark.parametrize(("source", "parts"), CASES, ids=[source for source, _ in CASES])
def test_macros_make_what_they_say(environment: Environment, source: str, parts: list[str]) -> None:
    made = environment.from_string(MACROS + source).render(bad='<">')
    for part in parts:
        assert part in made, made


@SQLITE
def test_form_without_errors_has_no_summary(environment: Environment) -> None:
    assert environment.from_string(MACROS + "{{ summary({}, 'Wrong') }}").render().strip() == ""
