"""The desk: writing, publishing and planning by plain forms; nothing typed is lost, and a second writer is told."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from io import BytesIO
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from aiohttp import FormData
from blogging import Blog, picture
from sqlalchemy import func, select
from visiting import PASSWORD, Browser, Forms

from hub.publisher import RecordingPublisher
from web.db.database import Database
from web.db.tables import now
from web.features.accounts.people import create_user
from web.features.blog.hints import DESK, POSTS
from web.features.blog.models import MAX_DRAFTS, MAX_TEXT, Format, Post, PostDraft, PostVersion, State
from web.features.comments.models import Thread
from web.identity.passwords import Passwords
from web.identity.roles import Role

NEW = "/manage/posts"

NewBrowser = Callable[[], Awaitable[Browser]]


@pytest.fixture
async def writer(new_browser: NewBrowser, database: Database, passwords: Passwords) -> Browser:
    """A browser in which bo, who writes, has signed in."""
    await create_user(database, passwords, "bo", PASSWORD, Role.WRITER)
    browser = await new_browser()
    assert (await browser.sign_in("bo")).status == 303
    return browser


async def write(browser: Browser, **fields: str) -> str:
    """Fill in the form for a new post and save it; where that leads."""
    await browser.look("/manage/posts/new")
    response = await browser.submit(NEW, {"title": "Snow", "text": "It *snows*.", "comments": "open"} | fields)
    assert response.status == 303, browser.page
    return str(response.headers["Location"])


async def the_post(database: Database) -> Post:
    async with database.reading() as session:
        return (await session.scalars(select(Post))).one()


def path_of(post: Post) -> str:
    return f"/manage/posts/{post.id}"


def shown(page: str, name: str) -> str:
    """What a text area of a page holds."""
    found = re.search(rf'<textarea id="{name}"[^>]*>\n(.*?)</textarea>', page, re.DOTALL)
    assert found, page
    return found[1]


async def test_a_writer_writes_publishes_and_takes_back(writer: Browser, database: Database, browser: Browser) -> None:
    where = await write(writer, categories="Weather, Town", keywords="ice", summary="Cold.")
    post = await the_post(database)
    assert where == f"{path_of(post)}?done=saved"
    assert (post.title, post.state, post.changed_by, post.edition) == ("Snow", State.DRAFT, "bo", 1)
    assert (post.keywords, post.summary) == ("ice", "Cold.")
    assert (await browser.look("/posts/snow")).status == 404
    await writer.look(where)
    assert "Saved." in writer.page
    assert "<em>snows</em>" in writer.page
    assert 'value="Weather, Town"' in writer.page
    response = await writer.submit(path_of(post), {"text": "It *snowed*.", "comments": "open", "do": "publish"})
    assert response.headers["Location"].endswith("?done=published")
    await browser.look("/posts/snow")
    assert "<em>snowed</em>" in browser.page
    await writer.look("/manage/posts")
    await writer.submit(f"{path_of(post)}/state", {"do": "unpublish"})
    assert (await browser.look("/posts/snow")).status == 404
    await writer.look("/manage/posts")
    assert (await writer.submit(f"{path_of(post)}/state", {"do": "publish"})).status == 303
    assert (await browser.look("/posts/snow")).status == 200


async def test_a_posts_picture_is_found_from_the_editor_and_leads_back(
    writer: Browser, database: Database, blog: Blog
) -> None:
    """A draft has no page to come back to: that would be a 404."""
    draft, post = await blog.draft("Snow"), await blog.post("Ice")
    for each, home in ((draft, path_of(draft)), (post, "/posts/ice")):
        await blog.show(each, picture())
        await writer.look(path_of(each))
        assert f'href="{path_of(each)}/picture">Picture</a>' in writer.page
        assert f"/pictures/{'a' * 32}/348.avif" in writer.page
        await writer.look(f"{path_of(each)}/picture")
        assert f'Picture of <a href="{home}"' in writer.page
        assert (await writer.look(home)).status == 200
        await writer.look(f"{path_of(each)}/picture")
        token = Forms.of(writer.page)[f"{path_of(each)}/picture"]["csrf_token"]
        form = FormData({"csrf_token": token, "alt": "Snow on the quay"})
        form.add_field("file", BytesIO(), filename="", content_type="application/octet-stream")
        response = await writer.client.post(
            f"{path_of(each)}/picture", data=form, headers={"Accept": "text/html"}, allow_redirects=False
        )
        assert (response.status, response.headers["Location"]) == (303, home)
    await writer.look("/manage/posts/new")
    assert "/picture" not in writer.page


async def test_who_may_not_write_has_no_desk(
    browser: Browser, new_browser: NewBrowser, database: Database, passwords: Passwords
) -> None:
    assert (await browser.fetch("/manage/posts")).status == 401
    await create_user(database, passwords, "eve", PASSWORD, Role.USER)
    eve = await new_browser()
    await eve.sign_in("eve")
    assert (await eve.look("/manage/posts")).status == 403
    assert (await eve.look("/manage/posts/token")).status == 403


async def test_drafts_tell_the_desk_and_nobody_else(
    writer: Browser, publisher: RecordingPublisher, database: Database
) -> None:
    publisher.clear()
    await write(writer)
    assert {channel for channel, _ in publisher.published} == {DESK}
    publisher.clear()
    post = await the_post(database)
    await writer.look("/manage/posts")
    await writer.submit(f"{path_of(post)}/state", {"do": "publish"})
    assert {channel for channel, _ in publisher.published} == {DESK, POSTS, f"post-{post.id}"}


async def test_a_form_sent_twice_makes_one_post(writer: Browser, database: Database) -> None:
    await writer.look("/manage/posts/new")
    first = writer.page
    fields = {"title": "Snow", "text": "It snows.", "comments": "open", "do": "publish"}
    one = await writer.submit(NEW, fields)
    writer.page = first
    two = await writer.submit(NEW, fields)
    assert (one.status, two.status) == (303, 303)
    post = await the_post(database)
    assert post.edition == 1
    # Back in the browser, and something else is typed: it is the same post.
    writer.page = first
    assert (await writer.submit(NEW, fields | {"text": "It snows again."})).status == 303
    assert ((await the_post(database)).edition, (await the_post(database)).text) == (2, "It snows again.")


async def test_an_edit_sent_twice_is_one_edition(writer: Browser, database: Database) -> None:
    await writer.look(await write(writer))
    post, page = await the_post(database), writer.page
    for _ in range(2):
        writer.page = page
        assert (await writer.submit(path_of(post), {"text": "Other.", "comments": "open"})).status == 303
    assert (await the_post(database)).edition == 2


async def test_second_writer_is_told_and_sees_both_texts(writer: Browser, manager: Browser, database: Database) -> None:
    await writer.look(await write(writer, text="One.\n\nTwo."))
    post = await the_post(database)
    await manager.look(path_of(post))
    await writer.submit(path_of(post), {"text": "One of bo.\n\nTwo.", "comments": "open"})
    mine = {"title": "Snow!", "text": "One of ada.\n\nTwo.", "comments": "open"}
    refused = await manager.submit(path_of(post), mine)
    assert refused.status == 409
    assert "bo has saved this post since you began" in manager.page
    assert shown(manager.page, "theirs") == "One of bo.\n\nTwo."
    assert shown(manager.page, "text") == "One of ada.\n\nTwo."
    assert 'value="Snow!"' in manager.page
    assert "<del>bo</del>" in manager.page
    assert "<ins>ada</ins>" in manager.page
    assert (await the_post(database)).text == "One of bo.\n\nTwo."
    # Who has seen it may replace it; what was there is a version.
    assert (await manager.submit(path_of(post), mine)).status == 303
    assert ((await the_post(database)).text, (await the_post(database)).changed_by) == (mine["text"], "ada")
    async with database.reading() as session:
        assert list(await session.scalars(select(PostVersion.text).order_by(PostVersion.edition))) == [
            "One.\n\nTwo.",
            "One of bo.\n\nTwo.",
        ]


async def test_scripts_are_told_of_a_conflict_too(writer: Browser, blog: Blog) -> None:
    post = await blog.draft("Snow", text="One.")
    await writer.look(path_of(post))
    await blog.edit(post, text="Two.")
    answer = await writer.submit(
        path_of(post), {"text": "Three.", "comments": "open"}, headers={"Accept": "application/json"}
    )
    assert answer.status == 409
    assert (await answer.json())["error"] == "Someone else has edited this post."


async def test_open_editor_hears_of_another_edition(writer: Browser, blog: Blog) -> None:
    post = await blog.draft("Snow", text="One.")
    await writer.look(path_of(post))
    assert f'data-follow="{DESK}"' in writer.page
    await writer.look(f"{path_of(post)}/newer?edition=1")
    assert "saved this post meanwhile" not in writer.page
    await blog.edit(post, text="Two.")
    await writer.look(f"{path_of(post)}/newer?edition=1")
    assert "Somebody has saved this post meanwhile" in writer.page


# What is typed


async def keep(browser: Browser, action: str, **fields: str) -> dict[str, object]:
    """Do what the script does while one types."""
    typed = {name: value for name, value in Forms.of(browser.page)[action].items() if name != "category"} | fields
    response = await browser.send("/manage/posts/drafts", typed, headers={"Accept": "application/json"})
    assert response.status == 200, browser.page
    found: dict[str, object] = await response.json()
    return found


async def test_what_was_typed_and_not_saved_is_there_again(
    writer: Browser, database: Database, browser: Browser
) -> None:
    await writer.look(await write(writer, do="publish"))
    post = await the_post(database)
    page = writer.page
    assert (await keep(writer, path_of(post), text="Half a sen", comments="open"))["edition"] == 1
    assert "Half a sen" not in await (await browser.look("/posts/snow")).text()
    await writer.look(path_of(post))
    assert shown(writer.page, "text") == "Half a sen"
    assert "did not save" in writer.page
    # A save of it, by the page that was open: the draft is gone.
    writer.page = page
    await writer.submit(path_of(post), {"text": "Half a sentence.", "comments": "open"})
    await writer.look(path_of(post))
    assert shown(writer.page, "text") == "Half a sentence."
    assert "did not save" not in writer.page


async def test_a_new_post_that_was_not_saved_is_on_the_desk(writer: Browser, database: Database) -> None:
    await writer.look("/manage/posts/new")
    await keep(writer, NEW, title="Begun", text="Once", comments="open")
    await writer.look("/manage/posts")
    where = re.search(r'href="(/manage/posts/new\?draft=[^"]+)"[^>]*>Begun<', writer.page)
    assert where
    await writer.look(where[1])
    assert shown(writer.page, "text") == "Once"
    assert (await writer.submit(NEW, {"comments": "open", "text": "Once upon"})).status == 303
    assert (await the_post(database)).text == "Once upon"
    await writer.look("/manage/posts")
    assert "Begun and not saved" not in writer.page
    # An old tab: the draft is a post by now.
    assert (await writer.look(where[1], allow_redirects=False)).status == 303


async def test_a_draft_can_be_forgotten_and_is_one_writers_own(
    writer: Browser, manager: Browser, blog: Blog, database: Database
) -> None:
    post = await blog.draft("Snow", text="One.")
    await writer.look(path_of(post))
    await keep(writer, path_of(post), text="Mine.", comments="open")
    await manager.look(path_of(post))
    assert shown(manager.page, "text") == "One."
    assert "1 other writer has typed something" in manager.page
    await writer.look(path_of(post))
    kept = writer.page
    for uid in ("a\0b", "", "x" * 3000):
        assert (await writer.submit("/manage/posts/drafts/discard", {"uid": uid})).status == 303
        writer.page = kept
    await writer.submit("/manage/posts/drafts/discard", {})
    await writer.look(path_of(post))
    assert shown(writer.page, "text") == "One."


async def test_a_draft_of_an_older_edition_shows_what_came_meanwhile(writer: Browser, blog: Blog) -> None:
    post = await blog.draft("Snow", text="One.")
    await writer.look(path_of(post))
    await keep(writer, path_of(post), text="One and mine.", comments="open")
    await blog.edit(post, text="One and theirs.")
    await writer.look(path_of(post))
    assert shown(writer.page, "text") == "One and mine."
    assert shown(writer.page, "theirs") == "One and theirs."


async def test_drafts_have_a_bound_with_words(writer: Browser, database: Database) -> None:
    async with database.saving() as session:
        user = await session.scalar(select(func.min(PostDraft.user_id)))
        assert user is None
        session.add_all(PostDraft(uid=str(uuid4()), user_id=1, edition=0, fields="{}") for _ in range(MAX_DRAFTS))
    await writer.look("/manage/posts/new")
    fields = Forms.of(writer.page)[NEW] | {"text": "x"}
    response = await writer.send("/manage/posts/drafts", fields, headers={"Accept": "application/json"})
    assert response.status == 409
    assert "save or discard one" in writer.page


async def test_what_is_wrong_is_said_and_nothing_typed_is_lost(writer: Browser, database: Database) -> None:
    await writer.look("/manage/posts/new")
    typed = {
        "title": "  ",
        "text": "Long.\n\n" + "x" * MAX_TEXT,
        "slug": "Two Words",
        "published_at": "2030-05-17T18:30",
        "zone": "Mars/Olympus",
        "comments": "until",
        "comments_until": "",
    }
    response = await writer.submit(NEW, typed)
    assert response.status == 422
    assert shown(writer.page, "text") == typed["text"]
    for words in (
        "A post needs a title.",
        "A post has at most 200,000 characters; this one has 200,007.",
        "Use a-z, 0-9 and single hyphens",
        "There is no such time zone.",
    ):
        assert words in writer.page
    assert 'value="Two Words"' in writer.page
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(Post)) == 0


async def test_longest_text_comes_by_a_form(writer: Browser, database: Database) -> None:
    text = "🎺" * (MAX_TEXT - 1)
    await writer.look("/manage/posts/new")
    fields = Forms.of(writer.page)[NEW] | {"title": "Snow", "text": text, "comments": "open"}
    head = {"Content-Type": "application/x-www-form-urlencoded", "Origin": writer.origin}
    body = BytesIO(urlencode(fields).encode())
    response = await writer.client.post(NEW, data=body, headers=head, allow_redirects=False)
    assert response.status == 303
    assert (await the_post(database)).text == text


async def test_forms_of_others_are_as_short_as_before(
    browser: Browser, new_browser: NewBrowser, database: Database, passwords: Passwords
) -> None:
    fields = {"text": "x" * 200_000}
    assert (await browser.send("/manage/posts/preview", fields)).status in (401, 413)
    await create_user(database, passwords, "eve", PASSWORD, Role.USER)
    eve = await new_browser()
    await eve.sign_in("eve")
    assert (await eve.send("/manage/posts/preview", fields)).status == 413


# Preview


async def test_preview_is_the_renderers_and_keeps_the_form(writer: Browser) -> None:
    await writer.look("/manage/posts/new")
    fields = {
        "title": "Snow",
        "text": "It *snows*. <script>alert(1)</script>",
        "comments": "closed",
        "format": "markdown",
    }
    response = await writer.send("/manage/posts/preview", Forms.of(writer.page)[NEW] | fields)
    assert response.status == 200
    assert "<em>snows</em>" in writer.page
    assert "alert(1)</script>" not in writer.page
    assert "It *snows*." in shown(writer.page, "text")
    assert '<option value="closed" selected>' in writer.page
    answer = await writer.send(
        "/manage/posts/preview", Forms.of(writer.page)[NEW] | fields, headers={"Accept": "application/json"}
    )
    assert "<em>snows</em>" in (await answer.json())["html"]


async def test_preview_of_what_can_not_be_rendered_says_why(writer: Browser) -> None:
    await writer.look("/manage/posts/new")
    fields = Forms.of(writer.page)[NEW] | {"text": "[" * 50_000}
    answer = await (await writer.send("/manage/posts/preview", fields, headers={"Accept": "application/json"})).json()
    assert answer["html"] == ""
    assert "brackets" in answer["error"] or "signs" in answer["error"]


@pytest.mark.parametrize(
    ("format", "text", "html"),
    [
        ("markdown", "*a* <b>c</b>", "<em>a</em> <b>c</b>"),
        ("html", "*a* <b>c</b>", "*a* <b>c</b>"),
        ("text", "*a* <b>c</b>", "*a* &lt;b&gt;c&lt;/b&gt;"),
    ],
)
async def test_a_text_is_rendered_by_its_format(
    writer: Browser, database: Database, format: str, text: str, html: str
) -> None:
    await write(writer, text=text, format=format)
    post = await the_post(database)
    assert post.format is Format(format)
    assert html in post.html


# Times


async def test_a_post_is_planned_in_the_writers_zone(writer: Browser, database: Database, browser: Browser) -> None:
    where = await write(writer, published_at="2199-05-17T18:30", zone="Europe/Berlin", do="publish")
    assert where.endswith("?done=planned")
    post = await the_post(database)
    assert post.published_at == datetime(2199, 5, 17, 16, 30, tzinfo=UTC)
    assert (await browser.look("/posts/snow")).status == 404
    await writer.look(where)
    assert 'value="2199-05-17T16:30"' in writer.page
    assert "Planned" in writer.page
    # Saved once more nothing moves; to another time it does.
    await writer.submit(path_of(post), {"text": "Other.", "comments": "open"})
    assert (await the_post(database)).published_at == post.published_at
    await writer.look(path_of(post))
    await writer.submit(path_of(post), {"published_at": "2020-01-01T12:00", "comments": "open"})
    assert (await browser.look("/posts/snow")).status == 200


async def test_time_of_a_draft_is_kept_for_when_it_is_published(writer: Browser, database: Database) -> None:
    await writer.look(await write(writer, published_at="2199-05-17T18:30"))
    assert 'value="2199-05-17T18:30"' in writer.page
    post = await the_post(database)
    assert (post.state, post.published_at) == (State.DRAFT, None)
    await writer.submit(path_of(post), {"comments": "open", "do": "publish"})
    assert (await the_post(database)).published_at == datetime(2199, 5, 17, 18, 30, tzinfo=UTC)


async def test_saving_leaves_the_second_of_publication(writer: Browser, blog: Blog, database: Database) -> None:
    at = now() - timedelta(hours=1)
    post = await blog.post("Snow", at=at, text="One.")
    await writer.look(path_of(post))
    await writer.submit(path_of(post), {"text": "Two.", "comments": "open", "format": "markdown"})
    found = await the_post(database)
    assert (found.published_at, found.text) == (at, "Two.")


@pytest.mark.parametrize("when", ["9999-12-31T23:59", "2200-01-01T00:00", "1969-12-31T23:59"])
async def test_far_times_are_refused(writer: Browser, when: str) -> None:
    await writer.look("/manage/posts/new")
    response = await writer.submit(NEW, {"title": "Snow", "comments": "open", "published_at": when, "do": "publish"})
    assert response.status == 422
    assert "Give a date between 1970 and 2200." in writer.page


async def test_comments_are_open_closed_or_open_until(writer: Browser, database: Database) -> None:
    await writer.look(await write(writer, comments="until", comments_until="2199-05-17T18:30", zone="Asia/Tokyo"))
    post = await the_post(database)
    assert post.comments_close_at == datetime(2199, 5, 17, 9, 30, tzinfo=UTC)
    assert '<option value="until" selected>' in writer.page
    assert 'value="2199-05-17T09:30"' in writer.page
    await writer.submit(path_of(post), {"comments": "closed"})
    async with database.reading() as session:
        assert not (await session.get_one(Thread, post.thread_id)).is_open
    await writer.look(path_of(post))
    assert '<option value="closed" selected>' in writer.page


# Versions


async def test_versions_are_listed_compared_and_restored(writer: Browser, database: Database) -> None:
    await writer.look(await write(writer, text="One.", categories="Weather"))
    post = await the_post(database)
    await writer.submit(path_of(post), {"text": "Two.", "title": "Ice", "categories": "Town", "comments": "open"})
    await writer.look(f"{path_of(post)}/history")
    assert re.findall(r">Version (\d)</a>", writer.page) == ["2", "1"]
    for view in ("sides", "lines"):
        await writer.look(f"{path_of(post)}/history/2?view={view}")
        assert "<del>One</del>" in writer.page
        assert "<ins>Two</ins>" in writer.page
        for words in ("Weather", "Town", "Snow", "Ice"):
            assert words in writer.page
    await writer.look(f"{path_of(post)}/history/1")
    response = await writer.submit(f"{path_of(post)}/history/1/restore", {})
    assert response.headers["Location"].endswith("?done=restored")
    found = await the_post(database)
    assert (found.text, found.title, found.edition) == ("One.", "Snow", 3)
    await writer.look(path_of(post))
    assert 'value="Weather"' in writer.page
    await writer.look(f"{path_of(post)}/history/3?from=1")
    assert "The text is the same." in writer.page


async def test_restoring_what_another_has_changed_meanwhile_is_refused(writer: Browser, blog: Blog) -> None:
    post = await blog.draft("Snow", text="One.")
    post = await blog.edit(post, text="Two.")
    await writer.look(f"{path_of(post)}/history/1")
    await blog.edit(post, text="Three.")
    assert (await writer.submit(f"{path_of(post)}/history/1/restore", {})).status == 409


async def test_only_so_many_versions_are_kept(blog: Blog, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.blog.versions.MAX_VERSIONS", 3)
    post = await blog.draft("Snow", text="0")
    for number in range(1, 7):
        post = await blog.edit(post, text=str(number))
    async with database.reading() as session:
        assert list(await session.scalars(select(PostVersion.text).order_by(PostVersion.edition))) == ["3", "4", "5"]


@pytest.mark.parametrize("path", ["history/7", "history/1?from=9", "history/1?from=x", "history/0"])
async def test_versions_that_are_not_there_are_404(writer: Browser, blog: Blog, path: str) -> None:
    post = await blog.draft("Snow")
    assert (await writer.look(f"{path_of(post)}/{path}")).status == 404


@pytest.mark.parametrize("path", ["", "/history", "/newer?edition=1", "/history/1"])
async def test_posts_that_are_not_there_are_404(writer: Browser, path: str) -> None:
    assert (await writer.look(f"/manage/posts/999{path}")).status == 404


# The table


async def test_table_has_tabs_words_and_pages(writer: Browser, blog: Blog) -> None:
    await blog.post("Snow falls", text="x")
    await blog.draft("Draft of ice")
    await blog.post("Planned % thaw", at=now() + timedelta(days=1))
    await writer.look("/manage/posts")
    counts = re.findall(r'>(\w+) <span class="count">(\d+)</span>', writer.page)
    assert counts == [("All", "3"), ("Drafts", "1"), ("Planned", "1"), ("Published", "1")]

    async def titles(query: str) -> list[str]:
        await writer.look(f"/manage/posts{query}")
        return re.findall(r'<th scope="row"><a href="/manage/posts/\d+" dir="auto">([^<]*)</a>', writer.page)

    assert await titles("?state=draft") == ["Draft of ice"]
    assert await titles("?state=planned") == ["Planned % thaw"]
    assert await titles("?q=%25") == ["Planned % thaw"]
    assert await titles("?q=SNOW") == ["Snow falls"]
    assert await titles("?sort=title") == ["Draft of ice", "Planned % thaw", "Snow falls"]
    assert (await writer.look("/manage/posts?state=lost")).status == 404
    assert (await writer.look("/manage/posts?page=0")).status == 404


async def test_table_is_paged(writer: Browser, blog: Blog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.features.blog.desk.SHOWN", 2)
    for number in range(3):
        await blog.draft(f"Post {number}")
    await writer.look("/manage/posts")
    assert 'href="/manage/posts?page=2" rel="next"' in writer.page
    await writer.look("/manage/posts?page=2")
    assert "Post 0" in writer.page
    assert "Post 1" not in writer.page
