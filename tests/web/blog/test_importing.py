"""Posts of other tools."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cpu import taking
from hypothesis import given
from hypothesis import strategies as st

from web.features.blog.exporting import file_name, write_post, write_posts
from web.features.blog.imported import Refused, Skipped
from web.features.blog.importing import ImportedPost, parse_post, read_posts, split_front
from web.features.blog.text import render

DATA = Path(__file__).parent / "data"


def read(folder: Path) -> tuple[dict[str, ImportedPost], dict[str, str]]:
    """Posts by their slugs, and why files were skipped by their names."""
    found = list(read_posts(folder))
    posts = {each.slug: each for each in found if isinstance(each, ImportedPost)}
    return posts, {each.path: each.reason for each in found if isinstance(each, Skipped)}


def at(*numbers: int) -> datetime:
    return datetime(*numbers, tzinfo=UTC)  # type: ignore[misc,arg-type]


def test_pelican_s_lines_of_metadata() -> None:
    posts, skipped = read(DATA / "pelican")
    assert skipped == {}
    assert posts["fast-pages"] == ImportedPost(
        identity="file:fast-pages",
        title="Fast pages: a start",
        slug="fast-pages",
        text="The *text* of it.\n\nNote: this line is text.",
        format="markdown",
        published_at=at(2012, 3, 14, 9, 26),
        changed_at=at(2013, 1, 2),
        summary="How pages became fast.",
        categories=("Web development",),
        keywords=("python", "caching"),
    )


def test_pelican_s_field_lists() -> None:
    post = read(DATA / "pelican")[0]["fields"]
    assert (post.title, post.published_at, post.is_draft) == ("Fields and all", at(2011, 10, 5, 20, 0), True)
    assert (post.categories, post.keywords, post.summary) == (("Docs",), ("rst", "docs"), "Of fields")
    assert post.format == "html"


def test_restructuredtext_becomes_html_that_stays_as_it_is_when_rendered() -> None:
    html = render(read(DATA / "pelican")[0]["fields"].text, format="html").html
    assert '<h2 id="post-a-section">A section</h2>' in html
    assert '<pre class="code" tabindex="0"><code class="language-python">def f(x):' in html
    assert "<code>a.b.C</code>" in html
    assert "<code>this page</code>" in html
    assert '<aside class="admonition note">' in html
    assert ":date:" not in html


def test_restructuredtext_reads_no_file_and_passes_no_html() -> None:
    text = read(DATA / "pelican")[0]["fields"].text
    assert "root:" not in text
    assert "<script" not in text
    table = parse_post("Title\n=====\n\nText.\n\n.. csv-table::\n   :file: /etc/passwd\n", "a.rst")
    assert "root:" not in table.text


def test_hugo_s_front_matter_in_three_languages() -> None:
    posts, skipped = read(DATA / "hugo")
    assert skipped == {}
    assert posts["yaml"] == ImportedPost(
        identity="file:posts/yaml",
        title="YAML: it is",
        slug="yaml",
        text="## A part\n\nText.",
        format="markdown",
        published_at=at(2020, 5, 6, 5, 8, 9),
        changed_at=at(2021, 1, 1),
        categories=("Tools",),
        keywords=("go", "static sites"),
        paths=("/2020/yaml/", "/old/yaml/", "/older"),
    )
    assert (posts["toml"].published_at, posts["toml"].keywords, posts["toml"].is_draft) == (
        at(2019, 2, 3, 4, 5, 6),
        ("a", "b"),
        True,
    )
    assert (posts["json"].published_at, posts["json"].categories) == (at(2018, 1, 2), ("One",))
    assert posts["bundle"].identity == "file:posts/bundle/index"


def test_jekyll_s_names_say_the_date() -> None:
    posts, skipped = read(DATA / "jekyll")
    assert skipped == {}
    welcome = posts["welcome-to-jekyll"]
    assert welcome.published_at == at(2013, 8, 19)
    assert welcome.categories == ("jekyll", "update")
    assert welcome.paths == ("/2013/welcome.html",)
    assert welcome.has_comments is False
    assert (posts["untitled"].is_draft, posts["untitled"].published_at) == (True, at(2014, 1, 2))
    assert (posts["untitled"].title, posts["untitled"].text) == ("Found in the text", "More.")
    assert posts["later"].is_draft


def test_titles_are_found_where_nothing_says_them() -> None:
    posts, _ = read(DATA / "plain")
    assert (posts["page"].title, posts["page"].text) == ("A page & more", "<p>Text.</p>")
    assert (posts["page"].published_at, posts["page"].keywords) == (at(2010, 1, 2, 3, 4), ("x", "y"))
    assert (posts["notes"].title, posts["notes"].text) == ("Notes of a day", "With two\nlines.")
    assert (posts["straight"].title, posts["straight"].text) == ("Straight away", "Text without any front matter.")


TITLES = {
    "# A *b* `c` [d](e)\n\nx": ("A b c d", "x"),
    "A\n===\n\nx": ("A", "x"),
    "x\n\n# A\n\ny": ("A", "x\n\n# A\n\ny"),
    "x_y z": ("my post", "x_y z"),
    "# snake_case_name #\nx": ("snake_case_name", "x"),
    "C# is no heading\n\nx": ("my post", "C# is no heading\n\nx"),
    "## Second level\n\nx": ("Second level", "## Second level\n\nx"),
}


@pytest.mark.parametrize(("source", "wanted"), TITLES.items())
def test_a_first_heading_is_the_title(source: str, wanted: tuple[str, str]) -> None:
    post = parse_post(source, "my-post.md")
    assert (post.title, post.text) == wanted


def test_tags_of_jekyll_and_hugo_become_fences() -> None:
    source = (
        "---\ntitle: T\n---\n{% highlight ruby linenos %}\nputs `a`\n{% endhighlight %}\n\n"
        '{{< highlight go "hl_lines=1" >}}\nx := 1\n{{< /highlight >}}\n\n{% highlight c %} is left'
    )
    post = parse_post(source, "a.md")
    assert post.text == "```ruby lines\nputs `a`\n```\n\n```go\nx := 1\n```\n\n{% highlight c %} is left"
    assert parse_post(source.replace("title: T", "title: T\nid: 1"), "a.md").text.startswith("{% highlight ruby")


def test_what_is_skipped_is_said_why() -> None:
    _, skipped = read(DATA / "plain")
    assert skipped.pop("broken.md").startswith("its YAML front matter can't be read: ")
    assert skipped == {
        "empty.md": "it has no text",
        "latin.md": "it is not UTF-8 (byte 3)",
        "picture.png": ".png is no format of posts",
        "when.md": "its date is no date: soon",
    }


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    """Also from another place."""
    first = list(read_posts(DATA))
    assert first == list(read_posts(DATA))
    os.symlink(DATA, tmp_path / "elsewhere")
    assert first == list(read_posts(tmp_path / "elsewhere"))
    identities = [each.identity for each in first if isinstance(each, ImportedPost)]
    assert len(identities) == len(set(identities)) == 12


def test_of_two_with_one_id_the_second_is_skipped(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        (tmp_path / name).write_text("---\ntitle: T\nid: 7\n---\nx\n")
    (tmp_path / "a.html").write_text("<p>Same name, other suffix</p>")
    assert [each.identity if isinstance(each, ImportedPost) else each.reason for each in read_posts(tmp_path)] == [
        "file:a",
        "id:7",
        "it has the id of a.md",
    ]


def test_links_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A\n\nx")
    (tmp_path / ".hidden.md").write_text("# B\n\nx")
    (tmp_path / "out.md").symlink_to("/etc/passwd")
    (tmp_path / "round").symlink_to(tmp_path)
    (tmp_path / "_site").mkdir()
    (tmp_path / "_site" / "made.html").write_text("x")
    assert [each.title for each in read_posts(tmp_path) if isinstance(each, ImportedPost)] == ["A"]


# Bad input

BOMBS = {
    "yaml lists": "---\na: " + "[" * 20_000 + "\n---\nx",
    "yaml lists in a line": "---\n" + "- " * 20_000 + "\n---\nx",
    "yaml aliases": "---\na: &a [x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(20))
    + "title: *u\n---\nx",
    "yaml objects": "---\ntitle: !!python/object/apply:os.system ['true']\n---\nx",
    "yaml number": "---\ntitle: " + "9" * 40_000 + "\n---\nx",
    "yaml date": "---\ntitle: T\ndate: 2020-13-45\n---\nx",
    "yaml list of front matter": "---\n- a\n---\nx",
    "much yaml": "---\n" + "a: b\n" * 20_000 + "---\nx",
    "json": '{\n"a": ' + "[" * 100_000,
    "json list": "{\n",
    "toml": "+++\na = " + "[" * 20_000 + "\n+++\nx",
    "toml twice": "+++\na = 1\na = 2\n+++\nx",
    "a date beyond all": "---\ntitle: T\ndate: 99999-01-01\n---\nx",
    "a time stamp beyond all": "---\ntitle: T\ndate: 1e300\n---\nx",
    "a title of signs": "---\ntitle: '!?'\n---\nx",
}


@pytest.mark.parametrize("source", BOMBS.values(), ids=BOMBS)
def test_front_matter_that_bites_is_refused_or_read(source: str) -> None:
    with taking() as taken:
        try:
            post = parse_post(source, "some-post.md")
            assert post.title
            assert post.slug
        except Refused as error:
            assert len(str(error)) < 400
    assert taken.seconds < 2


def test_no_object_is_made_of_yaml() -> None:
    with pytest.raises(Refused, match="YAML"):
        split_front(BOMBS["yaml objects"])


def test_substitutions_do_not_grow_without_end() -> None:
    source = "T\n=\n\n|a0|\n\n" + "".join(f".. |a{n}| replace:: {f'|a{n + 1}| ' * 10}\n" for n in range(12))
    source += ".. |a12| replace:: x\n"
    with taking() as taken:
        try:
            assert len(parse_post(source, "a.rst").text) < 10_000_000
        except Refused:
            pass
    assert taken.seconds < 5


SLOW = [
    "<h1 ",
    "<h1>",
    "<body ",
    "<body>",
    "<title>",
    "<!--",
    "# ",
    "#\t ",
    "{% highlight c %}\n",
    "---\n",
    "+++\n",
    "Title: x\n",
]
SLOW += ["[x](", "\n", "A\n=\n", " ", ".. |a| replace:: b\n", "<meta ", "<meta a=", "{", "*", "  x\n"]


@pytest.mark.parametrize("piece", SLOW)
def test_a_file_of_two_megabytes_is_read_in_bounded_time(piece: str) -> None:
    source = (piece * 2_000_000)[:2_000_000]
    for text, name in ((source, "a.md"), (source, "a.html"), (source, "a.txt"), (f"<body>{source}", "b.html")):
        with taking() as taken:
            try:
                parse_post(text, name)
            except Refused:
                pass
        assert taken.seconds < 3


@given(st.text(max_size=200), st.sampled_from(["a.md", "a.html", "a.txt", "2020-01-02-b.md", "_drafts/c.md"]))
def test_whatever_a_file_holds_it_is_a_post_or_refused(source: str, name: str) -> None:
    for text in (source, f"---\n{source}\n---\nx", f"+++\n{source}\n+++\nx", f"Title: {source}\n\nx"):
        try:
            post = parse_post(text, name)
        except Refused:
            continue
        assert post.title.strip()
        assert post.text.strip()
        assert post.slug
        assert post.published_at is None or post.published_at.tzinfo is UTC


# Out and in again

LINES = st.text(max_size=40).map(lambda text: " ".join(text.split())).filter(bool)
MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
BODIES = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"), max_size=200)
PLAIN = st.text(alphabet=st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="\0"), max_size=30)
NAMES = st.lists(PLAIN.map(lambda text: " ".join(text.split())).filter(bool), max_size=4, unique=True).map(tuple)
POSTS = st.builds(
    ImportedPost,
    identity=st.from_regex(r"(file|id):[a-z0-9/_-]{1,20}", fullmatch=True).filter(lambda each: ":file" not in each),
    title=PLAIN.map(lambda text: " ".join(text.split())).filter(bool),
    slug=st.from_regex(r"[a-z0-9]{1,10}(-[a-z0-9é標]{1,5}){0,3}", fullmatch=True),
    text=BODIES.map(lambda text: text.strip("\n")).filter(lambda text: bool(text.strip())),
    format=st.sampled_from(["markdown", "html", "text"]),
    published_at=st.none() | MOMENTS,
    changed_at=st.none() | MOMENTS,
    is_draft=st.booleans(),
    summary=PLAIN.map(lambda text: " ".join(text.split())),
    categories=NAMES,
    keywords=NAMES,
    paths=st.lists(st.from_regex(r"/[a-z0-9/.-]{0,20}", fullmatch=True), max_size=3, unique=True).map(
        lambda paths: tuple(path for path in paths if ".." not in path and not path.startswith("//"))
    ),
    has_comments=st.none() | st.booleans(),
)


@given(POSTS)
def test_what_was_exported_is_imported_as_it_was(post: ImportedPost) -> None:
    assert parse_post(write_post(post), file_name(post)) == post


@given(st.text(max_size=100), st.text(max_size=100), st.sampled_from(["a.md", "a.html", "a.txt"]))
def test_what_was_imported_is_the_same_after_an_export(front: str, text: str, name: str) -> None:
    for source in (text, f"---\n{front}\n---\n{text}", f"Title: {front}\n\n{text}"):
        try:
            post = parse_post(source.replace("\ud800", ""), name)
        except Refused:
            continue
        assert parse_post(write_post(post), file_name(post)) == post


def test_a_folder_goes_out_and_in_again(tmp_path: Path) -> None:
    posts = [each for each in read_posts(DATA) if isinstance(each, ImportedPost)]
    assert write_posts(posts, tmp_path / "out") == len(posts)
    again = [each for each in read_posts(tmp_path / "out") if isinstance(each, ImportedPost)]
    assert sorted(again, key=lambda each: each.identity) == sorted(posts, key=lambda each: each.identity)


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path: Path) -> None:
    posts = [
        ImportedPost(identity=f"id:{number}", title="T", slug=slug, text=str(number), format="markdown")
        for number, slug in enumerate(["a", "A", "a", "a-2"])
    ]
    write_posts(posts, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A-2.md", "a-2-2.md", "a-3.md", "a.md"]
