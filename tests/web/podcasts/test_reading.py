"""A feed read from its bytes: what counts, what doesn't, and what is refused."""

from __future__ import annotations

import time

import pytest
from cpu import taking
from feeding import HEAD, ITUNES, feed, item
from hypothesis import given
from hypothesis import strategies as st

from web.features.podcasts import reading
from web.features.podcasts.feeds import FeedError, NotAFeed, Refused, Unreadable
from web.features.podcasts.reading import MAX_DEPTH, MAX_ITEMS, read_feed

PODCAST = "https://podcastindex.org/namespace/1.0"


def test_a_feed_says_its_title_its_items_and_its_episodes() -> None:
    read = read_feed(
        feed(
            item("One", date="Thu, 15 Feb 2018 11:24:50 GMT", duration="1:02:03", url=" http://a.example/1 2.mp3 "),
            "<item><title>No sound</title></item>",
            item("Picture", url="http://a.example/1.jpg", type="image/jpeg"),
            item("Two", url="http://a.example/2.mp3", duration=None),
        )
    )
    assert (read.title, read.items, read.known, read.total_seconds, read.repair) == ("A Show", 4, 1, 3723, "")
    assert [(each.title, each.seconds) for each in read.episodes] == [("One", 3723), ("Two", None)]
    assert read.episodes[0].url == "http://a.example/1%202.mp3"
    assert f"{read.dates[0]:%Y-%m-%d}" == "2018-02-15"


@pytest.mark.parametrize(
    ("url", "type", "plays"),
    [
        ("http://a.example/1.mp3", "audio/mpeg", True),
        ("http://a.example/1", "audio/mpeg", True),
        ("http://a.example/1", "video/mp4", True),
        ("http://a.example/1.mp3?token=x", None, True),
        ("http://a.example/1.MP3", "", True),
        ("http://a.example/1.mp3", "application/octet-stream", True),
        ("http://a.example/1", "application/octet-stream", False),
        ("http://a.example/1.pdf", None, False),
        ("http://a.example/1.mp3", "image/jpeg", False),
        ("http://a.example/1.mp3", "text/html", False),
        ("ftp://a.example/1.mp3", "audio/mpeg", False),
        ("javascript:alert(1)", "audio/mpeg", False),
        ("", "audio/mpeg", False),
        ("Http://a.example/1.mp3", "audio/mpeg", True),
    ],
)
def test_an_episode_has_something_to_play(url: str, type: str | None, plays: bool) -> None:
    """AntennaPod 2074, music-assistant PR 5078: no type; a cover before the sound; no enclosure at all."""
    assert bool(read_feed(feed(item(url=url, type=type))).episodes) is plays


def test_the_first_that_plays_is_the_enclosure() -> None:
    cover = '<enclosure url="http://a.example/c.jpg" type="image/jpeg" length="5"/>'
    sound = '<m:content url="http://a.example/m.mp3" type="audio/mpeg"/>'
    media = f'<m:group xmlns:m="http://search.yahoo.com/mrss/">{sound}</m:group>'
    found = read_feed(feed(f"<item>{cover}{media}</item>", f"<item><title>x</title>{cover}</item>")).episodes
    assert [each.url for each in found] == ["http://a.example/m.mp3"]


def test_relative_addresses_are_of_the_feed() -> None:
    items = item("a", url="1.mp3") + item("b", url="//cdn.example/2.mp3")
    found = read_feed(feed(items), "https://a.example/show/feed.xml").episodes
    assert [each.url for each in found] == ["https://a.example/show/1.mp3", "https://cdn.example/2.mp3"]


def test_a_live_item_is_no_item_and_nobodys_title() -> None:
    """NetNewsWire 4675, and feedparser: the title of a live item became the feed's."""
    live = (
        f'<p:liveItem xmlns:p="{PODCAST}" status="live"><title>Live Audio</title><guid>live</guid>'
        '<enclosure url="http://a.example/live.mp3" type="audio/mpeg"/></p:liveItem>'
    )
    read = read_feed(feed(live, item("One"), head=HEAD))
    assert (read.title, read.items, [each.title for each in read.episodes]) == ("A Show", 1, ["One"])
    read = read_feed(f"{HEAD}<channel>{live}<title>Late</title>{item()}</channel></rss>".encode())
    assert read.title == "Late"


def test_only_rss_own_title_is_the_title() -> None:
    others = '<itunes:title>Wrong</itunes:title><m:title xmlns:m="http://search.yahoo.com/mrss/">Wrong</m:title>'
    picture = "<image><title>Wrong</title><url>http://a.example/i.png</url></image>"
    read = read_feed(f"{HEAD}<channel>{others}{picture}<title> Right &amp; good </title></channel></rss>".encode())
    assert (read.title, read.image, read.episodes) == ("Right & good", "http://a.example/i.png", ())


@pytest.mark.parametrize(
    "uri", ["http://www.itunes.com/dtds/podcast-1.0.dtd", "http://www.itunes.com/DTDs/Podcast-1.0.dtd", ITUNES]
)
def test_namespaces_are_known_by_their_uri_in_any_case(uri: str) -> None:
    body = feed(item(duration=None, more=f'<x:duration xmlns:x="{uri}">1:00</x:duration>'))
    assert read_feed(body).total_seconds == 60


def test_elements_may_be_in_rss_namespaces_of_old() -> None:
    """iconv: podcastparser raises "Unsupported feed type"."""
    for uri in (
        "http://backend.userland.com/rss2",
        "http://my.netscape.com/rdf/simple/0.9/",
        "http://purl.org/rss/1.0/",
    ):
        body = feed(item(), head=HEAD.replace("<rss", f'<rss xmlns="{uri}"'))
        assert len(read_feed(body).episodes) == 1


def test_items_of_rss_1_are_beside_the_channel() -> None:
    body = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
        f' xmlns:itunes="{ITUNES}"><channel><title>Old</title></channel>{item("a")}{item("b", url="http://b.example/b.mp3")}</rdf:RDF>'
    )
    read = read_feed(body.encode())
    assert (read.title, read.items, len(read.episodes)) == ("Old", 2, 2)


def test_an_enclosure_of_rss_1_is_in_a_module_of_its_own() -> None:
    """RSS 1.0 has none itself; mod_enclosure says its address as RDF does."""
    enclosure = '<enc:enclosure rdf:resource="http://a.example/1.ogg" enc:type="audio/ogg" enc:length="1000"/>'
    body = (
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:enc="http://purl.oclc.org/net/rss_2.0/enc#">'
        '<channel rdf:about="http://a.example/"><title>Old</title><link>http://a.example/</link></channel>'
        f'<item rdf:about="http://a.example/1"><title>One</title><dc:date>2004-05-06T07:08:09Z</dc:date>{enclosure}</item>'
        '<item rdf:about="http://a.example/2"><title>Only text</title></item></rdf:RDF>'
    )
    read = read_feed(body.encode())
    assert (read.title, read.items, [each.title for each in read.episodes]) == ("Old", 2, ["One"])
    one = read.episodes[0]
    assert (one.url, one.type, one.length, f"{one.published:%Y-%m-%d}") == (
        "http://a.example/1.ogg",
        "audio/ogg",
        1000,
        "2004-05-06",
    )


ATOM = "http://www.w3.org/2005/Atom"


def _atom(*entries: str, more: str = "", head: str = f'<feed xmlns="{ATOM}" xmlns:itunes="{ITUNES}">') -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>{head}<title>A Show</title>{more}{"".join(entries)}</feed>'.encode()


def _entry(
    enclosure: str = '<link rel="enclosure" href="http://a.example/1.mp3" type="audio/mpeg"/>', **said: str
) -> str:
    parts = {"title": "One", "id": "urn:one", "updated": "2020-02-03T04:05:06Z", **said}
    return "<entry>" + "".join(f"<{name}>{text}</{name}>" for name, text in parts.items()) + enclosure + "</entry>"


def test_an_atom_feed_has_entries_with_links_to_enclosures() -> None:
    page = (
        '<link href="http://a.example/one"/><link rel="alternate" href="http://a.example/one.mp3" type="audio/mpeg"/>'
    )
    sound = '<link rel="enclosure" type="audio/mpeg" length="1234" href=" http://a.example/1 2.mp3 "/>'
    more = "<itunes:duration>1:02:03</itunes:duration><itunes:episodeType>bonus</itunes:episodeType>"
    said = {"published": "2020-01-02T03:04:05+01:00", "summary": "About &lt;b&gt;it&lt;/b&gt;"}
    read = read_feed(_atom(_entry(page + sound + more, **said), _entry(page, id="urn:two", title="Only text")))
    assert (read.title, read.items, read.repair, read.total_seconds) == ("A Show", 2, "", 3723)
    (one,) = read.episodes
    assert (one.guid, one.title, one.summary, one.kind) == ("urn:one", "One", "About it", "bonus")
    assert (one.url, one.type, one.length) == ("http://a.example/1%202.mp3", "audio/mpeg", 1234)
    assert f"{one.published:%Y-%m-%dT%H:%M:%S%z}" == "2020-01-02T02:04:05+0000"


def test_an_atom_feed_says_of_itself_what_a_channel_does() -> None:
    more = (
        '<subtitle>About &amp;amp; it</subtitle><link rel="self" href="http://a.example/f"/><link href="/"/>'
        '<link rel="hub" href="http://hub.example/"/><link rel="next" href="?page=2"/><logo>i.png</logo>'
        "<author><name>Ada</name><uri>http://ada.example/</uri></author><id>urn:feed</id>"
        "<itunes:block>yes</itunes:block>"
    )
    head = f'<feed xmlns="{ATOM}" xmlns:itunes="{ITUNES}" xml:lang="de">'
    author = "<author><name>Not her</name></author>"
    read = read_feed(_atom(_entry() + author, more=more, head=head), "http://a.example/f")
    assert (read.link, read.summary, read.language, read.author) == ("http://a.example/", "About & it", "de", "Ada")
    assert (read.hub, read.self_url, read.next_url) == (
        "http://hub.example/",
        "http://a.example/f",
        "http://a.example/f?page=2",
    )
    assert (read.image, read.is_blocked) == ("http://a.example/i.png", True)


@pytest.mark.parametrize(
    ("enclosure", "url"),
    [
        ('<link rel="enclosure" href="http://b.example/1.mp3"/>', "http://b.example/1.mp3"),
        ('<link rel="Enclosure" href="//b.example/1.mp3"/>', "http://b.example/1.mp3"),
        (
            '<link rel="http://www.iana.org/assignments/relation/enclosure" href="1.mp3"/>',
            "http://a.example/show/1.mp3",
        ),
        ('<link rel="enclosure" xml:base="http://b.example/x/" href="1.mp3"/>', "http://b.example/x/1.mp3"),
        ('<link rel="enclosure" href="http://[bad/1.mp3"/>', None),
        ('<link rel="enclosure" href="http://b.example/1.jpg" type="image/jpeg"/>', None),
        ('<link rel="enclosure" href="http://b.example/1"/>', None),
        ('<link rel="related" href="http://b.example/1.mp3"/>', None),
        ('<link href="http://b.example/1.mp3" type="audio/mpeg"/>', None),
        (
            '<m:content xmlns:m="http://search.yahoo.com/mrss/" url="http://b.example/1" type="video/mp4"/>',
            "http://b.example/1",
        ),
        (
            '<m:group xmlns:m="http://search.yahoo.com/mrss/"><m:content url="http://b.example/1.m4a"/></m:group>',
            "http://b.example/1.m4a",
        ),
        (
            '<link rel="enclosure" href="http://b.example/c.png" type="image/png"/>'
            '<link rel="enclosure" href="http://b.example/1.mp3" type="audio/mpeg"/>',
            "http://b.example/1.mp3",
        ),
    ],
)
def test_an_entry_is_an_episode_if_a_link_or_its_media_play(enclosure: str, url: str | None) -> None:
    read = read_feed(_atom(_entry(enclosure)), "http://a.example/show/feed")
    assert [each.url for each in read.episodes] == ([] if url is None else [url])
    assert read.items == 1


def test_an_entry_has_a_base_of_its_own() -> None:
    entry = _entry('<link rel="enclosure" href="1.mp3"/>').replace("<entry>", '<entry xml:base="http://b.example/x/">')
    head = f'<feed xmlns="{ATOM}" xml:base="http://c.example/">'
    other = _entry('<link rel="enclosure" href="2.mp3"/>', id="urn:two")
    read = read_feed(_atom(entry, other, head=head), "http://a.example/feed")
    assert [each.url for each in read.episodes] == ["http://b.example/x/1.mp3", "http://c.example/2.mp3"]


def test_titles_of_atom_may_have_markup() -> None:
    titles = [
        '<title type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">One <b>and</b> only</div></title>',
        '<title type="html">One &lt;b&gt;and&lt;/b&gt; only</title>',
    ]
    links = [f'<link rel="enclosure" href="http://a.example/{number}.mp3"/>' for number in range(2)]
    entries = [f"<entry>{title}{link}</entry>" for title, link in zip(titles, links, strict=True)]
    read = read_feed(_atom(*entries))
    assert [each.title for each in read.episodes] == ["One and only", "One <b>and</b> only"]
    # Nothing of them is a date or a guid: undated, and the pair says who they are.
    assert [(each.published, each.guid) for each in read.episodes] == [(None, "")] * 2


def test_atom_0_3_and_atom_without_its_namespace_are_read() -> None:
    entry = "<entry><title>Old</title><id>1</id><issued>2004-05-06T07:08:09Z</issued>"
    entry += '<link rel="enclosure" href="http://a.example/1.mp3"/></entry>'
    for head in ('<feed version="0.3" xmlns="http://purl.org/atom/ns#">', "<feed>"):
        read = read_feed(_atom(entry, head=head))
        assert (read.title, [each.guid for each in read.episodes]) == ("A Show", ["1"])
        assert f"{read.dates[0]:%Y-%m-%d}" == "2004-05-06"


def test_entries_that_are_said_twice_count_once() -> None:
    read = read_feed(_atom(_entry(), _entry(title="Again"), _entry(id="urn:two", title="Two")))
    assert ([each.title for each in read.episodes], read.repeats) == (["One", "Two"], 1)


@pytest.mark.parametrize(
    ("repair", "body"),
    [
        ("trim", b" \n" + _atom(_entry())),
        ("utf-8", _atom(_entry(title="\u00d6")).replace(b"UTF-8", b"ISO-8859-1")),
        ("entities", _atom(_entry(summary="a&nbsp;b"))),
        ("controls", _atom(_entry(summary="a\x1fb"))),
        ("recover", _atom(_entry(summary="a < b"))),
    ],
)
def test_an_atom_feed_is_mended_as_well(repair: str, body: bytes) -> None:
    read = read_feed(body)
    assert (read.title, read.repair, len(read.episodes)) == ("A Show", repair, 1)


def test_an_item_that_is_said_twice_counts_once() -> None:
    """audiobookshelf 2986: one guid twice; and without guids, the same enclosure and title."""
    items = [
        item("One", guid="g", url="http://a.example/1.mp3"),
        item("One again", guid=" g ", url="http://a.example/other.mp3"),
        item("Two", guid="", url="http://a.example/2.mp3"),
        item("Two", guid="", url="http://a.example/2.mp3"),
        item("Two", guid="", url="http://a.example/3.mp3"),
    ]
    read = read_feed(feed(*items))
    assert [each.title for each in read.episodes] == ["One", "Two", "Two"]
    assert (read.items, read.repeats, read.conflicts, read.total_seconds) == (5, 2, 1, 1800)


def test_one_bad_value_never_costs_the_item() -> None:
    """ampache 2740: a length out of range cost 15 of 84 episodes. Dates and numbers likewise."""
    read = read_feed(
        feed(
            item("a", duration="99:99:99:99", date="not a date", length="-1"),
            item("b", url="http://a.example/b.mp3", length=str(2**63 - 1)),
            item("c", url="http://a.example/c.mp3", length=str(2**63)),
            item("d", url="http://a.example/d.mp3", length="1.5 MB"),
        )
    )
    assert [each.length for each in read.episodes] == [None, 2**63 - 1, None, None]
    assert read.episodes[0].seconds is None
    assert read.episodes[0].published is None


def test_what_the_channel_says_of_itself() -> None:
    more = (
        "<link>http://a.example/</link><description>About &lt;b&gt;it&lt;/b&gt;</description><language>en</language>"
        "<itunes:author>Ada</itunes:author><itunes:block>Yes</itunes:block>"
        "<itunes:new-feed-url>http://b.example/f</itunes:new-feed-url><ttl>60</ttl>"
        f'<p:guid xmlns:p="{PODCAST}">917393e3</p:guid>'
        '<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="hub" href="http://hub.example/"/>'
        '<a:link xmlns:a="http://www.w3.org/2005/Atom" rel="next" href="?page=2"/>'
        '<itunes:image href="http://a.example/i.png"/>'
    )
    read = read_feed(feed(more=more), "http://a.example/feed")
    assert (read.link, read.summary, read.language, read.author) == ("http://a.example/", "About it", "en", "Ada")
    assert (read.is_blocked, read.moved, read.ttl, read.guid) == (True, "http://b.example/f", 60, "917393e3")
    assert (read.hub, read.next_url) == ("http://hub.example/", "http://a.example/feed?page=2")
    assert read.image == "http://a.example/i.png"


# Repairs


REPAIRED = [
    ("", feed(item("Ö"))),
    ("", "\ufeff".encode() + feed(item("Ö"))),
    ("trim", b"\n\n " + feed(item("Ö"))),
    ("utf-8", feed(item("Ö")).replace(b"UTF-8", b"ISO-8859-1")),
    ("utf-8", feed(item("Ö")).replace(b"UTF-8", b"us-ascii")),
    ("utf-8", feed(item("Ö")).replace(b"UTF-8", b"nonsense-8")),
    ("entities", feed(item("Ö"), more="<description>a&nbsp;b &iacute; &unknown; a & b</description>")),
    ("entities", feed(item("Ö"), more="<link>http://a.example/?a=1&b=2</link>")),
    ("controls", feed(item("Ö"), more="<description>\x1f\x0b&#x110000;&#31;</description>")),
    ("recover", feed(item("Ö"), more="<description>a < b</description>")),
    ("recover", feed(item("Ö"), more="<description>&nbsp;a < b</description>\x1f")),
    ("recover", feed(item("Ö"))[:-20]),
    ("recover", feed(item("Ö"), more="<<<<<<< HEAD")),
    # Two attributes without a blank between (vocal 405).
    ("recover", feed(item("Ö"), more='<link a="1"b="2">x</link>')),
    ("recover", feed(item("Ö"), more='<x:y x:z="1">undeclared</x:y>')),
]


@pytest.mark.parametrize(("repair", "body"), REPAIRED, ids=range(len(REPAIRED)))
def test_a_feed_that_is_not_well_formed_is_mended_and_says_how(repair: str, body: bytes) -> None:
    read = read_feed(body)
    assert (read.title, read.repair) == ("A Show", repair)
    assert [each.title for each in read.episodes] == ["Ö"]


def test_latin_1_is_latin_1() -> None:
    """SoundWaves 17, podverse-web 1109: ISO-8859-1 read as UTF-8."""
    body = feed(item("Ö")).decode().replace("UTF-8", "ISO-8859-1").encode("latin-1")
    assert [each.title for each in read_feed(body).episodes] == ["Ö"]
    # Without a declaration the answer's charset counts; with one it doesn't.
    bare = body.partition(b"\n")[2]
    assert [each.title for each in read_feed(bare, charset="iso-8859-1").episodes] == ["Ö"]
    assert [each.title for each in read_feed(feed(item("Ö")), charset="iso-8859-1").episodes] == ["Ö"]


def test_utf_16_is_read_by_its_mark() -> None:
    body = feed(item("Ö")).decode().replace("UTF-8", "UTF-16").encode("utf-16")
    assert [each.title for each in read_feed(body).episodes] == ["Ö"]


def test_entities_in_cdata_are_text() -> None:
    body = feed(item("Ö"), more="<description><![CDATA[a &nbsp; & b]]></description><link>http://a/?a&b</link>")
    read = read_feed(body)
    assert (read.repair, read.summary) == ("entities", "a & b")


def test_gzip_that_nobody_said_is_unpacked() -> None:
    """gpodder 836: gzip although it was not asked for."""
    assert read_feed(reading.pack(feed(item()))).title == "A Show"


# What is refused


def _nested(depth: int) -> bytes:
    return feed(more="<x>" * depth + "</x>" * depth)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", NotAFeed, "empty"),
        (b" \n ", NotAFeed, "empty"),
        (b"<html><body>Sign in<br></body></html>", NotAFeed, "web page|no channel"),
        (b"<!DOCTYPE html><html><head><title>x</title></head></html>", NotAFeed, "web page|no channel"),
        (b'{"error": "no"}', FeedError, "no XML"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", FeedError, "no XML"),
        (b"<opml version='2.0'><body/></opml>", NotAFeed, "no channel"),
        (b"<entry xmlns='http://www.w3.org/2005/Atom'/>", NotAFeed, "no channel"),
        (_nested(MAX_DEPTH + 1), Refused, "deep"),
        (_nested(200_000), Refused, "deep"),
        (b"\x1f\x8b\x08broken", Unreadable, "packed"),
        (reading.pack(b" " * (reading.MAX_BYTES + 1)), Refused, "unpacks to more"),
        (
            b'<!DOCTYPE r [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><rss><channel><title>&b;</title></channel></rss>',
            Refused,
            "entities",
        ),
        (
            b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss><channel><title>&x;</title></channel></rss>',
            Refused,
            "entities",
        ),
        (
            b'<!DOCTYPE r [<!ENTITY % x SYSTEM "http://evil.example/"> %x;]><rss><channel/></rss>',
            Refused,
            "entities",
        ),
    ],
    ids=range(15),
)
def test_what_is_no_feed_says_why(body: bytes, error: type[FeedError], words: str) -> None:
    with taking(time.process_time) as taken:
        with pytest.raises(error, match=words):
            read_feed(body)
        # feedparser took 0.8 s for an entity bomb, podcastparser did not end in ten minutes with 200,000 elements.
    assert taken.seconds < 2


def test_items_beyond_the_bound_are_left_out_and_said() -> None:
    body = feed("".join(f"<item><title>{number}</title></item>" for number in range(MAX_ITEMS + 5)))
    read = read_feed(body)
    assert (read.items, read.cut) == (MAX_ITEMS + 5, True)


def test_a_prefix_that_nobody_declared_is_the_usual_one() -> None:
    body = feed(item(duration="1:00"), head=HEAD.replace(f' xmlns:itunes="{ITUNES}"', ""))
    assert (read_feed(body).repair, read_feed(body).total_seconds) == ("recover", 60)


def test_a_doctype_elsewhere_is_not_read() -> None:
    head = '<?xml version="1.0"?><!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://my.netscape.com/rss.dtd">'
    body = head + feed(item("a"), more="<description>x&nbsp;y</description>").decode().partition("?>")[2]
    assert read_feed(body.encode()).summary == "x y"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_feed_or_say_why(body: bytes) -> None:
    with_head = HEAD.encode() + b"<channel><item><enclosure url='http://a/1.mp3'/>" + body + b"</item></channel></rss>"
    for each in (body, with_head):
        try:
            read_feed(each)
        except FeedError as error:
            assert str(error)


@pytest.mark.parametrize(
    "text", ['<!DOCTYPE a\\b "x">', "<![CDATA[", "<!--", "<?xml version='9'?>", "<rss><channel>" * 60]
)
def test_what_makes_other_parsers_raise_is_told(text: str) -> None:
    """feedparser 599, 277: DOCTYPE with a backslash, references to no character."""
    with pytest.raises(FeedError):
        read_feed(text.encode())
