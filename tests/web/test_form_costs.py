"""What the worst texts cost that the newer forms and hooks read, without a site around them.

Nobody else is served meanwhile, as tests/test_costs.py says of the hub.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
import yarl
from cpu import least
from multidict import CIMultiDict
from test_costs import ALLOWED, WORST, cut, longest

from web.features.blog.websub import BadAsk, parse_topic, read_ask
from web.features.comments.forms import CommentForm
from web.features.comments.models import MAX_COMMENT
from web.features.headsup.forges.gitlab import GITLAB
from web.features.headsup.forges.signatures import BadSignature
from web.features.headsup.payloads import claims_of
from web.features.headsup.recipients import parse_recipients
from web.features.podcasts.addresses import MAX_URL, BadUrl, canonical, media_url
from web.features.podcasts.mine import MOST_IMPORTED, _entries
from web.features.podcasts.names import plain
from web.features.podcasts.opml import BadOpml, read_opml
from web.pages.markdown import COMMENT, TextError, check
from web.pages.requests import MAX_FORM
from web.services.addresses import Guard
from web.services.domains import MAX_DOMAIN, may_be_split
from web.services.mail.addresses import BadAddress, parse_address
from web.services.outbound import Outbound, OutboundError, _join, shown

#: Bytes up to which a delivery's claims are looked for in the loop (`judging.SMALL`).
DELIVERY = 32 * 1024


def took(work: Callable[[], object]) -> float:
    """CPU seconds of this thread, the least of some tries."""

    def tried() -> None:
        # Both remember what they have taken apart: the second try took nothing, and 40 ms passed for none.
        urlsplit.cache_clear()  # type: ignore[attr-defined]
        yarl.cache_clear()
        with contextlib.suppress(BadAddress, BadOpml, BadSignature):
            work()

    return least(tried, 8, enough=ALLOWED / 4)


@pytest.mark.parametrize("content", WORST)
def test_addresses_of_mail(content: str) -> None:
    """75,000 marks for the address of a comment's writer halted the site for 6 s: they were composed first."""
    text = cut(content, MAX_FORM)
    assert took(lambda: parse_address(text)) < ALLOWED
    assert took(lambda: asyncio.run(CommentForm.read({"mail": text}))) < 4 * ALLOWED


@pytest.mark.parametrize("piece", ["xmpp:", "- a\n", "1. a\n", "*a", "[a]("])
async def test_texts_of_comments_are_rendered_while_others_have_their_turn(piece: str) -> None:
    """500 lists, or addresses of XMPP that are none, were 13 ms, twice for each comment, before any limit of those."""
    text = (piece * MAX_COMMENT)[:MAX_COMMENT].strip()
    form = await CommentForm.read({"name": "Ada", "text": text})
    assert form.html or form.errors
    assert await longest(lambda: asyncio.create_task(CommentForm.read({"name": "Ada", "text": text}))) < ALLOWED


def test_beginnings_of_addresses_are_bounded() -> None:
    """What follows each is looked through: 30,000 of a post took a minute."""
    for piece in ("xmpp:", "mailto:"):
        with pytest.raises(TextError, match="addresses"):
            check(piece * (COMMENT.brackets + 1), COMMENT)


async def test_names_that_nobody_sees() -> None:
    """53,000 marks of direction for a name were taken out one by one before its length was looked at: 3 ms."""
    fields = {"name": "\u200e" * (MAX_FORM // 3), "text": "a"}
    assert await longest(lambda: asyncio.create_task(CommentForm.read(fields))) < ALLOWED / 2
    assert (await CommentForm.read({"name": "\u200eAda\u200e", "text": "a"})).name == "Ada"
    assert (await CommentForm.read(fields)).error("name")


@pytest.mark.parametrize("text", [*WORST, "a@b.example;", "a <a@b.example>,", '"', '"a" <', "é@é.example;"])
def test_fields_of_addresses(text: str) -> None:
    """A field of 160 kB was taken apart before its length was looked at, of a form that everybody may send."""
    text = WORST.get(text, text * 40_000)
    assert took(lambda: parse_recipients(text[:MAX_FORM])) < ALLOWED
    assert took(lambda: parse_recipients(text[:10_000])) < 4 * ALLOWED


@pytest.mark.parametrize(
    "piece",
    [b'"project":{', b'"full_name":"aaa"', b'"login":"a"', b'"full_name"  ', b'"repository":{"id":  ', b'"id":1,'],
)
def test_claims_of_a_delivery(piece: bytes) -> None:
    """Of 20,000 beginnings of a project each was a search through the 2,000 bytes after it: 94 ms, for a stranger."""
    body = (piece * DELIVERY)[:DELIVERY]
    assert took(lambda: claims_of(body, is_form=False)) < ALLOWED


def test_signatures_of_a_delivery() -> None:
    """A head of 6,000 signatures was compared with each secret of each project that its body named: 39 ms."""
    head = CIMultiDict({"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": "v1,a " * 6_000})

    def verify() -> None:
        for _ in range(20):
            with contextlib.suppress(BadSignature):
                GITLAB.verify(head, b"{}", ["a secret of it", "the one before"], False)

    assert took(verify) < ALLOWED


@pytest.mark.parametrize("content", WORST)
def test_addresses_of_feeds(content: str) -> None:
    """A host in other alphabets was composed, whatever its length: 75,000 marks halted the site for 6 s."""

    def read(text: str) -> None:
        with contextlib.suppress(BadUrl):
            canonical(text)

    text = cut(content, MAX_FORM)
    assert took(lambda: read(text)) < ALLOWED
    assert took(lambda: read(f"http://a.{text}")) < ALLOWED
    for before in ("http://", "http://a.", "http://a@", "feed:", "//", ""):
        for size in (MAX_DOMAIN, 1900, 2 * MAX_URL):
            url = f"{before}{text}"[:size]
            assert took(lambda url=url: read(url)) < ALLOWED / 4
            assert took(lambda url=url: media_url(url, "http://a.example/")) < ALLOWED / 4


@pytest.mark.parametrize("content", WORST)
@pytest.mark.parametrize("before", ["http://a", "http:\t//", "http://a@", "//", "http://a.example/"])
def test_addresses_of_subscribers_to_feeds(content: str, before: str) -> None:
    """Who wants to be told of a feed sends two URLs, which were taken apart before their length was looked at: 76,000
    marks for a host, 152 kB, halted the whole process for 12 s."""
    text = before + cut(content, MAX_FORM)

    def ask(**fields: str) -> None:
        given = {"mode": "subscribe", "topic": "http://a.example/rss.xml", "callback": "http://b.example/"} | fields
        with contextlib.suppress(BadAsk):
            read_ask({f"hub.{name}": value for name, value in given.items()}, default_lease=1, max_lease=2)
            parse_topic(given["topic"])

    for size in (MAX_DOMAIN, 2000, 8000, MAX_FORM):
        assert took(lambda size=size: ask(callback=text[:size])) < ALLOWED / 4
        assert took(lambda size=size: ask(topic=text[:size])) < ALLOWED / 4


@pytest.mark.parametrize("content", WORST)
@pytest.mark.parametrize("before", ["http://a", "http:\t//", "//", "/"])
async def test_where_others_redirect_to(content: str, before: str) -> None:
    """A feed's server may send 8 KiB of marks as the place to look at, five times in a row: 60 ms each."""
    text = before + cut(content, 8_000)
    outbound = Outbound(Guard(), "test")

    def follow(text: str) -> None:
        with contextlib.suppress(OutboundError):
            outbound._checked(text)
        with contextlib.suppress(OutboundError):
            _join(yarl.URL("http://a.example/x"), text)
        shown(text)

    for size in (MAX_DOMAIN, 2000, 8000):
        assert took(lambda size=size: follow(text[:size])) < ALLOWED
    await outbound.close()


@pytest.mark.parametrize(
    ("url", "may"),
    [
        ("http://a.example/" + "\u0301" * 9000, True),
        ("http://\u00fc.example/", True),
        ("http://" + "a" * 9000, True),
        ("http://" + "\u0301" * 254, False),
        ("http://u:" + "\u0301" * 254 + "@a.example/", False),
        # Tabs and ends of lines are dropped before it is taken apart.
        ("http:/\t/" + "\u0301" * 254, False),
        ("http:\r\n//" + "\u0301" * 254, False),
        ("//" + "\u0301" * 254, False),
        ("\u0301" * 9000, True),
    ],
)
def test_urls_that_may_be_taken_apart(url: str, may: bool) -> None:
    assert may_be_split(url) is may


@pytest.mark.parametrize(
    "outline",
    ["<outline xmlurl='a'/>", "<outline xmlurl='http://é.a/'/>", "<outline xmlurl='http://a.example/'/>", "<outline/>"],
)
def test_lists_of_other_players(outline: str) -> None:
    """3,000 hosts in other alphabets were 68 ms, and then the list was refused for its length."""
    body = f"<opml>{outline * (MAX_FORM // len(outline.encode()) - 1)}</opml>".encode()
    assert took(lambda: read_opml(body, MOST_IMPORTED)) < 2 * ALLOWED


@pytest.mark.parametrize("digit", ["\u0661", "\u06f1", "a\u0661"])
def test_domains_of_digits_in_other_alphabets(digit: str) -> None:
    """At each of 250 Arabic digits all others were looked at: 5 ms for an address of mail, or of a feed."""
    domain = digit * (250 // len(digit))
    assert took(lambda: parse_address(f"a@{domain}")) < ALLOWED / 4
    assert took(lambda: parse_address(f"a@{'.'.join([digit * 20] * 5)}")) < ALLOWED / 2
    with pytest.raises(BadUrl):
        canonical(f"http://{domain}.example/")


@pytest.mark.parametrize("most", [80, 500])
def test_names_with_beginnings_of_comments(most: int) -> None:
    """The end of each was looked for: 5 to 24 ms for one name, 150 for the list of another player."""
    for piece in ("<!--", "<!-- ", "<a", "</", "<!-->"):
        assert took(lambda piece=piece: plain(piece * 5_000, most)) < ALLOWED / 4
    assert plain("<!-- a --><b>b</b> <!-- c <i>d</i> <!-- --> e <!-- f", 80) == "b e <!-- f"


@pytest.mark.parametrize(
    "body",
    [
        "<opml>" + f"<outline xmlurl='x:{'&lt;!--' * 250}'/>" * 100 + "</opml>",
        "<!DOCTYPE opml [<!ATTLIST a "
        + " ".join(f"b{number:x} CDATA ''" for number in range(7_000))
        + ">]><opml>"
        + "<a/>" * 1_900
        + "</opml>",
    ],
    ids=["comments", "defaults"],
)
def test_lists_that_are_made_to_take_long(body: str) -> None:
    """7,000 attributes that an element has by default were given to each of 1,900 elements: 1.2 s."""
    assert took(lambda: read_opml(body.encode()[:MAX_FORM], MOST_IMPORTED)) < 4 * ALLOWED


async def test_lists_of_other_players_are_read_while_others_have_their_turn() -> None:
    hosts = "".join(f"<outline xmlurl='http://{'é.' * 30}a/{number}'/>" for number in range(100))
    assert await longest(lambda: asyncio.create_task(_entries({"opml": f"<opml>{hosts}</opml>"}))) < ALLOWED
