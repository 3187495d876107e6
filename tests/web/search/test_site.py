"""What the site finds, from the save to the answer: with a hub beside it, on an index of its own."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta

import pytest
from cpu import taking
from engines import EMBEDDED, NOIDA
from finding import Searching
from sqlalchemy import delete, select, text, update

from web.db.tables import now
from web.features.blog.models import Post, PostCategory
from web.features.comments.models import Comment, Status
from web.pages.limits import Limiter

pytestmark = [
    pytest.mark.parametrize("site_url", ["sqlite"], indirect=True),
    pytest.mark.parametrize("engine_kind", [EMBEDDED, NOIDA]),
]


def _refusal(words: str) -> dict[str, str]:
    return {"error": words, "next": "Correct it and ask again."}


async def test_a_post_is_found_once_it_is_published_and_not_before(site: Searching) -> None:
    post = await site.blog.draft("Firefox in winter", text="Snow.")
    assert await site.found("firefox") == []
    await site.blog.publish(post)
    assert await site.found("firefox") == ["Firefox in winter"]
    await site.blog.unpublish(post)
    assert await site.found("firefox") == []


async def test_words_of_a_draft_are_never_offered(site: Searching) -> None:
    await site.blog.draft("Zanzibar", text="Zanzibar, Zanzibar.")
    assert await site.found("zanzibra") == []
    assert [term for _, term in site.answer["terms"]] == ["zanzibra"]
    response = await site.browser.fetch("/autocomplete", params={"q": "zanz"})
    assert (await response.json())["terms"] == []


async def test_a_post_that_is_planned_is_not_found(site: Searching) -> None:
    await site.blog.post("Tomorrow’s firefox", at=now() + timedelta(days=1))
    assert await site.found("firefox") == []


async def test_a_deleted_post_is_out_with_its_comments(site: Searching) -> None:
    post = await site.blog.post("Firefox", text="Fast.")
    await site.say(post.thread_id, "A comment on marmalade.")
    assert await site.found("marmalade") == ["Firefox"]
    async with site.database.saving() as session:
        await session.delete(await session.get_one(Post, post.id))
    assert await site.found("firefox") == []
    assert await site.found("marmalade") == []
    assert site.answer["total"] == 0


async def test_comments_are_parts_of_their_page(site: Searching) -> None:
    post = await site.blog.post("Marmalade", text="Oranges.")
    await site.say(post.thread_id, "I like marmalade.")
    await site.say(post.thread_id, "Nothing to say.")
    assert await site.found("marmalade") == ["Marmalade"]
    (result,) = site.answer["results"]
    assert [part["url"] for part in result["parts"]] == ["/posts/marmalade#comment-1"]
    assert site.answer["total"] == 2


async def test_comments_of_a_draft_go_and_come_with_it(site: Searching) -> None:
    post = await site.blog.post("Oranges", text="Fruit.")
    await site.say(post.thread_id, "I like marmalade.")
    assert await site.found("marmalade") == ["Oranges"]
    await site.blog.unpublish(post)
    assert await site.found("marmalade") == []
    await site.blog.publish(post)
    assert await site.found("marmalade") == ["Oranges"]
    comment = site.answer["results"][0]
    assert comment["type"] == "post-comment"


async def test_a_comment_that_is_edited_or_removed_is_followed(site: Searching) -> None:
    post = await site.blog.post("Oranges", text="Fruit.")
    comment = await site.say(post.thread_id, "I like marmalade.")
    assert await site.found("marmalade") == ["Oranges"]
    await site.save(
        lambda session: session.execute(update(Comment).where(Comment.id == comment.id).values(text="Jam."))
    )
    assert await site.found("marmalade") == []
    assert await site.found("jam") == ["Oranges"]
    await site.save(lambda session: session.execute(delete(Comment).where(Comment.id == comment.id)))
    assert await site.found("jam") == []


async def test_events_are_found_and_filtered_by_kind_and_category(site: Searching) -> None:
    music = await site.calendar.category("Music")
    await site.calendar.event("Brass on the Quay", music, description="Firefox plays.")
    await site.blog.post("Firefox", "Web", text="A browser.")
    assert await site.found("firefox") == ["Firefox", "Brass on the Quay"]
    assert await site.found("firefox", kind="event") == ["Brass on the Quay"]
    assert await site.found("firefox", category="music") == ["Brass on the Quay"]
    assert await site.found("firefox category:WEB") == ["Firefox"]


async def test_a_renamed_category_is_followed(site: Searching) -> None:
    await site.blog.post("Firefox", "Web", text="A browser.")
    assert await site.found("firefox category:web") == ["Firefox"]

    async def rename(session: object) -> None:
        category = await session.scalar(select(PostCategory))  # type: ignore[attr-defined]
        category.name = "Browsers"

    await site.save(rename)
    assert await site.found("firefox category:browsers") == ["Firefox"]
    assert await site.found("firefox category:web") == []


@pytest.mark.parametrize(
    "query",
    [
        "\0",
        "*",
        "fire*",
        "/fire.*/",
        "fire AND",
        "(",
        '"',
        "title:x",
        "+(happy",
        "--help",
        "a:b:c",
        "🎉",
        "\u202e\u05d0",
        "' OR 1=1",
    ],
)
async def test_whatever_is_asked_is_text(site: Searching, query: str) -> None:
    await site.blog.post("Firefox")
    response = await site.browser.fetch("/search.json", params={"q": query})
    assert response.status in {200, 400}
    assert (await site.browser.look("/search", params={"q": query})).status == 200


async def test_more_than_90_characters_are_refused_in_words(site: Searching) -> None:
    response = await site.browser.fetch("/search.json", params={"q": "word " * 1_000})
    assert (response.status, await response.json()) == (400, _refusal("A search has at most 90 characters."))
    assert (await site.browser.look("/search", params={"q": "x" * 91})).status == 400
    assert "A search has at most 90 characters. Shorten it" in site.browser.page


@pytest.mark.parametrize("path", ["/autocomplete", "/autocompete/v1"])
async def test_signs_alone_offer_nothing(site: Searching, path: str) -> None:
    """A query without a word had no conditions, and found every page there is."""
    await site.blog.post("Firefox")
    await site.settle()
    answer = await (await site.browser.fetch(path, params={"q": "!!!"})).json()
    assert answer == {"results": [], "terms": []}


async def test_autocomplete_has_its_shapes(site: Searching) -> None:
    await site.blog.post("Firefox in winter")
    await site.settle()
    assert await (await site.browser.fetch("/autocomplete", params={"q": "fir"})).json() == {
        "terms": ["firefox"],
        "results": [{"type": "post", "title": "Firefox in winter", "url": "/posts/firefox-in-winter"}],
    }
    assert await (await site.browser.fetch("/autocompete/v1", params={"q": "firefix"})).json() == {
        "results": [["/posts/firefox-in-winter", "Firefox in winter"]],
        "terms": ["firefix", "firefox"],
    }
    response = await site.browser.fetch("/autocomplete")
    assert (response.status, await response.json()) == (400, _refusal("Missing 'q'"))
    # To the byte as it was.
    response = await site.browser.fetch("/autocompete/v1")
    assert (response.status, await response.json()) == (400, {"error": "Missing 'q'"})
    response = await site.browser.fetch("/autocomplete", params={"q": "a", "n": "1000"})
    assert (response.status, await response.json()) == (400, _refusal("'n' is from 1 to 20"))


async def test_pages_of_results_that_cannot_be(site: Searching) -> None:
    for page in ("0", "1000000000", "x", "-1"):
        response = await site.browser.fetch("/search.json", params={"q": "a", "page": page})
        assert (response.status, await response.json()) == (400, _refusal("'page' is from 1 to 30"))
        assert (await site.browser.look("/search", params={"q": "a", "page": page})).status == 404


async def test_the_first_of_two_queries_counts(site: Searching) -> None:
    await site.blog.post("Firefox")
    await site.settle()
    response = await site.browser.fetch("/search.json?q=firefox&q=nothing")
    assert (await response.json())["total"] == 1


async def test_markup_in_a_title_is_text(site: Searching) -> None:
    await site.blog.post("<script>alert(1)</script> &lt;b&gt;", text="Some *script* here.")
    assert await site.found("script") == ["<script>alert(1)</script> &lt;b&gt;"]
    highlights = site.answer["results"][0]["highlights"]
    assert highlights["title"] == "&lt;<mark>script</mark>&gt;alert(1)&lt;/<mark>script</mark>&gt; &amp;lt;b&amp;gt;"
    await site.browser.look("/search?q=script")
    assert "<script>alert" not in site.browser.page


async def test_two_posts_with_one_title_keep_their_order(site: Searching) -> None:
    for day in (3, 1, 2):
        await site.blog.post("Firefox", text="The same.", at=now() - timedelta(days=day))
    await site.found("firefox")
    assert [each["at"] for each in site.answer["results"]] == sorted(
        (each["at"] for each in site.answer["results"]), reverse=True
    )


async def test_while_the_index_rests_the_newest_posts_are_offered(site: Searching) -> None:
    await site.blog.post("Firefox")
    await site.settle()
    site.search.indexer.state.ready = False
    assert (await site.browser.look("/search?q=firefox")).status == 503
    assert "Search is resting" in site.browser.page
    assert "/posts/firefox" in site.browser.page
    assert (await site.browser.fetch("/search.json?q=firefox")).status == 503
    # The rest of the site works.
    assert (await site.browser.look("/")).status == 200


async def test_a_comment_that_is_held_is_found_once_it_is_approved(site: Searching) -> None:
    """Nor are its words offered: only comments that everybody may read are in the vocabulary."""
    post = await site.blog.post("Oranges", text="Fruit.")
    comment = await site.say(post.thread_id, "I like marmalade.")

    async def become(**values: object) -> None:
        await site.save(lambda session: session.execute(update(Comment).where(Comment.id == comment.id).values(values)))

    await become(status=Status.HELD)
    assert await site.found("marmalade") == []
    assert await site.search.engine.look({"marmalade"}) == {}
    await become(status=Status.PUBLISHED)
    assert await site.found("marmalade") == ["Oranges"]
    await become(text="I like jam.")
    assert (await site.found("marmalade"), await site.found("jam")) == ([], ["Oranges"])
    await become(status=Status.HELD)
    assert await site.found("jam") == []


async def test_what_is_deleted_is_offered_to_nobody(site: Searching) -> None:
    post = await site.blog.post("Zanzibar", text="An island.")
    assert await site.found("zanzibra") == ["Zanzibar"]
    async with site.database.saving() as session:
        await session.delete(await session.get_one(Post, post.id))
    assert await site.found("zanzibra") == []
    assert [term for _, term in site.answer["terms"]] == ["zanzibra"]
    for path in ("/autocomplete", "/autocompete/v1"):
        answer = await (await site.browser.fetch(path, params={"q": "zanzi"})).json()
        assert answer["results"] == []
        assert "zanzibar" not in answer["terms"]


async def test_what_is_unpublished_is_offered_to_nobody(site: Searching) -> None:
    post = await site.blog.post("Zanzibar", text="An island.")
    assert await site.found("zanzibra") == ["Zanzibar"]
    began = time.monotonic()
    await site.blog.unpublish(post)
    assert await site.found("zanzibra") == []
    assert time.monotonic() - began < 1
    assert [term for _, term in site.answer["terms"]] == ["zanzibra"]
    for path in ("/autocomplete", "/autocompete/v1"):
        answer = await (await site.browser.fetch(path, params={"q": "zanzi"})).json()
        assert (answer["results"], "zanzibar" in answer["terms"]) == ([], False)


async def test_what_is_gone_without_a_word_is_not_counted(site: Searching) -> None:
    """It was left out of the page, and counted in the total, the pages and the facets."""
    posts = [await site.blog.post(f"Firefox {number:02}", "Web" if number % 2 else "Music") for number in range(12)]
    await site.settle()
    async with site.database.engine.begin() as connection:
        # The newest, which the first page has, and one of the oldest, which it has not; nobody is told.
        for gone in (posts[11], posts[0]):
            await connection.execute(text("update posts set state = 'draft' where id = :id"), {"id": gone.id})
    await site.browser.look("/search?q=firefox")
    page = site.browser.page
    assert "10 things found" in page
    assert len(re.findall(r'<a href="/posts/firefox-\d\d"', page)) == 10
    assert "page=2" not in page
    assert sorted(re.findall(r'<a class="chip hue-2"[^>]*>(.*?)</a>', page)) == ["Music (5)", "Web (5)"]
    assert (await site.found("firefox"), site.answer["total"]) == ([f"Firefox {n:02}" for n in range(10, 0, -1)], 10)


async def test_a_title_of_two_signs_is_a_name(site: Searching) -> None:
    for title in ("C++", "C#", "C", "About C and its compilers"):
        await site.blog.post(title, text="Words.")
    assert (await site.found("c++"), await site.found("C#")) == (["C++"], ["C#"])
    assert await site.found("c") == ["C", "About C and its compilers"]
    assert await (await site.browser.fetch("/autocomplete", params={"q": "C++"})).json() == {
        "terms": [],
        "results": [{"type": "post", "title": "C++", "url": "/posts/c"}],
    }


async def test_a_category_with_a_plus_is_one(site: Searching) -> None:
    await site.blog.post("Templates", "C++", text="Firefox.")
    await site.blog.post("Pointers", "C", text="Firefox.")
    assert await site.found("firefox category:C++") == ["Templates"]
    assert await site.found("firefox", category="c++") == ["Templates"]
    assert await site.found("firefox category:c") == ["Pointers"]
    await site.browser.look("/search?q=firefox")
    assert "category=c%2B%2B" in site.browser.page
    await site.browser.look("/search?q=firefox&category=c%2B%2B")
    assert "1 thing found" in site.browser.page


async def test_a_keyword_of_two_words_is_not_one_of_them(site: Searching) -> None:
    await site.blog.post("Both", text="Words.", keywords=("Python redis",))
    await site.blog.post("One", text="Words.", keywords=("python",))
    assert await site.found("keyword:Python redis") == ["Both"]
    assert await site.found("keyword:python") == ["One"]
    assert sorted(await site.found("python")) == ["Both", "One"]


async def test_a_post_of_more_than_a_megabyte_is_found(site: Searching) -> None:
    await site.blog.post("Short", text="Needle.")
    long = await site.blog.post("Long", text="Needle.")
    words = "A sentence about nothing at all. " * 37_000
    assert len(words) > 1_200_000
    async with site.database.saving() as session:
        (await session.get_one(Post, long.id)).html = f"<p>Needle. {words}</p>"
        (await session.get_one(Post, long.id)).text = f"Needle. {words}"
    assert sorted(await site.found("needle")) == ["Long", "Short"]
    assert await site.found("sentence") == ["Long"]
    assert len(site.answer["results"][0]["highlights"]["text"]) < 1_000


async def test_while_the_index_is_built_anew_the_old_one_answers(site: Searching) -> None:
    await site.blog.post("Firefox")
    await site.settle()
    building = asyncio.create_task(site.search.indexer.rebuild())
    while not building.done():
        assert await site.found("firefox") == ["Firefox"]
    assert await building == 1
    assert await site.found("firefox") == ["Firefox"]


async def test_what_programs_may_not_ask(site: Searching) -> None:
    for path, words in (("/search.json", "Missing 'q'"), ("/autocomplete", "Missing 'q'")):
        response = await site.browser.fetch(path)
        assert (response.status, await response.json()) == (400, _refusal(words))
    await site.browser.look("/search?q=firefox&debug-search")
    assert "Search Term Score" not in site.browser.page


async def test_without_a_query_there_is_a_form(site: Searching) -> None:
    for path in ("/search", "/search?q=", "/search?q=%20"):
        assert (await site.browser.look(path)).status == 200
        assert "<title>Search" in site.browser.page
        assert 'name="q"' in site.browser.page


async def test_a_page_without_results_says_what_was_looked_for(site: Searching) -> None:
    """It said "Nothing found" twice, and no more."""
    await site.browser.look("/search", params={"q": "<zzzz>"})
    assert "Nothing has “&lt;zzzz&gt;”, nor what is spelt nearly so." in site.browser.page
    await site.browser.look("/search", params={"q": "zzzz", "exactly": "1"})
    assert "Nothing has “zzzz”.</p>" in site.browser.page


@pytest.mark.parametrize("path", ["/search", "/search.json", "/autocomplete", "/autocompete/v1"])
async def test_too_many_from_one_address_are_refused(site: Searching, path: str) -> None:
    """What is offered while one types is a search too, and was not counted."""
    site.search.limiter = Limiter(2, 60.0)
    answers = [await site.browser.fetch(path, params={"q": "firefox"}) for _ in range(3)]
    assert [response.status for response in answers] == [200, 200, 429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    if path != "/search":
        assert (await answers[-1].json())["error"]
    assert site.search.counts["refused"] == 1


@pytest.mark.parametrize("words", [1_000, 10_000])
@pytest.mark.parametrize("path", ["/search", "/search.json", "/autocomplete", "/autocompete/v1"])
async def test_a_query_of_ten_thousand_words_is_refused_at_once(site: Searching, path: str, words: int) -> None:
    """In words, by the site; what no address may have, by the server before the site sees it."""
    with taking(time.process_time) as taken:
        response = await site.browser.fetch(path, params={"q": "firefox " * words})
        assert response.status == 400
    assert taken.seconds < 0.5
    if words == 1_000:
        said = "A search has at most 90 characters."
        assert said in await response.text()
    assert (await site.browser.fetch("/search.json?q=firefox")).status == 200
