"""Three outcomes, never two; what is let pass; and how it is told."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from web.features.html.checker import Checker
from web.features.html.documents import Document, unpacked
from web.features.html.filters import BadBaseline, Filter, Filters, read_baseline, write_baseline
from web.features.html.reports import as_github, as_json, as_text
from web.features.html.verdicts import Message, Unchecked, Verdict, exit_code, read

PAGE = b"<!doctype html><title>x</title>"


def said(*messages: dict[str, Any]) -> bytes:
    return json.dumps({"version": "26.9.27", "messages": list(messages)}).encode()


ERROR = {"type": "error", "message": "Bad “x”.", "lastLine": 3, "lastColumn": 7, "firstColumn": 5, "extract": "<x>"}
WARNING = {"type": "info", "subType": "warning", "message": "Hm."}
INFO = {"type": "info", "message": "Document checking completed."}


class Fake:
    """A validator that says this."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.asked: list[bytes] = []
        self.types: list[str] = []

    def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
        self.asked.append(body)
        self.types.append(content_type)
        return read(200, self.answers[min(len(self.asked), len(self.answers)) - 1])


@pytest.mark.parametrize(
    ("messages", "level", "outcome"),
    [
        ([], "error", "valid"),
        ([INFO], "error", "valid"),
        ([WARNING], "error", "valid"),
        ([WARNING], "warning", "invalid"),
        ([INFO], "warning", "valid"),
        ([INFO], "info", "invalid"),
        ([ERROR, INFO], "error", "invalid"),
        ([{"type": "error", "subType": "fatal", "message": "Too many messages."}], "error", "invalid"),
    ],
)
def test_outcome_by_level(messages: list[dict[str, Any]], level: Any, outcome: str) -> None:
    assert Checker(Fake(said(*messages)), level=level).check(Document("x", PAGE)).outcome == outcome


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"", "the validator answered 200: nothing"),
        (200, b"<html>another program", "the validator answered 200: <html>another program"),
        (200, b'{"ok": true}', 'the validator answered 200: {"ok": true}'),
        (200, b"[]", "the validator answered 200: []"),
        (503, said(), 'the validator answered 503: {"version": "26.9.27", "messages": []}'),
        (
            200,
            said({"type": "non-document-error", "subType": "io", "message": "Resource size exceeds limit."}),
            "the validator says: Resource size exceeds limit.",
        ),
        (
            200,
            said({"type": "error", "message": "java.lang.StackOverflowError"}),
            "the validator says: java.lang.StackOverflowError",
        ),
    ],
)
def test_what_is_no_verdict_is_neither(status: int, body: bytes, why: str) -> None:
    """Each of these has status 200 and no error in it, or is another program's answer."""
    with pytest.raises(Unchecked) as caught:
        read(status, body)
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (Document("x", b"x" * 1_048_577), "it has 1,048,577 bytes, more than the 1,048,576 that are looked at"),
        (Document("x", PAGE, "application/json"), "it is application/json, not a document"),
        (Document("x", PAGE, ""), "it is of no type, not a document"),
    ],
)
def test_what_is_not_sent_could_not_be_checked(document: Document, why: str) -> None:
    server = Fake(said())
    verdict = Checker(server).check(document)
    assert (verdict.outcome, verdict.why, server.asked) == ("unchecked", why, [])


def test_empty_document_is_a_finding() -> None:
    verdict = Checker(Fake(said())).check(Document("x", b" \n"))
    assert (verdict.outcome, [each.text for each in verdict.messages]) == ("invalid", ["The document is empty."])


def test_same_bytes_are_asked_once_whatever_their_tokens() -> None:
    server = Fake(said(ERROR))
    checker = Checker(server)
    for token in ("a", "b", "b"):
        assert checker.check(Document("x", PAGE + f'<p nonce="{token}">'.encode())).outcome == "invalid"
    assert len(server.asked) == 1
    checker.check(Document("x", PAGE + b"<p>"))
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"<!doctype html><title>\xe9</title>", "text/html; charset=iso-8859-1"),
        (b"\xef\xbb\xbf<!doctype html><title>x</title>", "text/html"),
        (b'<html xmlns="http://www.w3.org/1999/xhtml">&nbsp;</html>', "application/xhtml+xml"),
        (b"@container (x) {}", "text/css; charset=utf-8"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "image/svg+xml"),
    ],
    ids=["latin-1", "mark", "xhtml", "css", "svg"],
)
def test_bytes_and_their_type_go_as_they_are(body: bytes, kind: str) -> None:
    """The type chooses the parser, and says the charset that the page's own word is held against."""
    server = Fake(said())
    assert Checker(server).check(Document("x", body, kind)).outcome == "valid"
    assert (server.asked, server.types) == ([body], [kind])


def test_piece_is_wrapped_and_its_lines_are_its_own() -> None:
    server = Fake(said(ERROR))
    verdict = Checker(server).check(Document("x", b"<li>\n<x>", is_piece=True))
    assert server.asked[0].startswith(b"<!doctype html>")
    assert verdict.messages[0].line == 2


@pytest.mark.parametrize("coding", ["gzip", "identity", ""])
def test_packed_bodies_are_unpacked(coding: str) -> None:
    assert unpacked(gzip.compress(PAGE) if coding == "gzip" else PAGE, coding) == PAGE


def test_what_cannot_be_unpacked_could_not_be_checked() -> None:
    for coding in ("gzip", "br", "zstd", "deflate", "rot13"):
        with pytest.raises(Unchecked):
            unpacked(b"no", coding)


# What is let pass


def left(filters: list[Filter], *texts: str, source: str = "GET /x", place: str = "") -> list[str]:
    messages = [Message("error", text, place=place) for text in texts]
    return [each.text for each in Filters(filters).left(messages, source)]


def test_filter_is_a_part_with_any_quotes() -> None:
    assert left([Filter('Attribute "x"')], "Attribute “x” not allowed", "Attribute “y” not allowed") == [
        "Attribute “y” not allowed"
    ]
    assert left([Filter("/“[xy]”/")], "a “x”", "a “z”") == ["a “z”"]


def test_filter_may_be_of_attributes_of_one_element() -> None:
    """Those that a framework makes up, or that SVG's old grammar lacks."""
    message = "Attribute “{}” not allowed on element “{}” at this point.".format
    messages = [
        message("hx-get", "a"),
        message("aria-label", "path"),
        message("aria-label", "b"),
        message("bogus", "a"),
    ]
    filters = [Filter('/Attribute "hx-/'), Filter('/"aria-[a-z]+" not allowed on element "(path|g|svg)"/')]
    assert left(filters, *messages) == messages[2:]


def test_filter_may_be_of_one_source_or_template() -> None:
    assert left([Filter("a", "/manage")], "a", source="GET /x") == ["a"]
    assert left([Filter("a", "x.html")], "a", place="templates/x.html:3") == []


def test_two_errors_of_which_one_is_let_pass_are_one_in_every_form() -> None:
    checker = Checker(Fake(said(ERROR, ERROR | {"message": "Other."})), Filters([Filter("Other")]))
    verdict = checker.check(Document("x.html", PAGE))
    assert len(verdict.messages) == 1
    assert as_text([verdict]).count("Bad") == 1
    assert len(json.loads(as_json([verdict]))["documents"][0]["messages"]) == 1
    assert as_github([verdict]) == "::error file=x.html,line=3,title=HTML::Bad “x”."


def test_baseline_comes_back_with_its_reasons_and_names_what_is_mended() -> None:
    verdict = Verdict("invalid", "GET /x", (Message("error", "Bad “x” \\ \n.", place="templates/x.html:3"),))
    text = write_baseline([verdict]).replace("it was there when the baseline was written", "a widget's")
    filters = read_baseline(text)
    assert [(each.source, each.reason) for each in filters] == [("templates/x.html", "a widget's")]
    assert Filters(filters).left(verdict.messages, "GET /x") == []
    assert write_baseline([], filters) == text
    gone = Filters(read_baseline(text))
    assert "let pass, and not there any more" in as_text([], gone.unused())


@pytest.mark.parametrize("text", ["accept = 1", "[[accept]]\nmessage = 'x'", "[[accept]]\nreason = 'x'", "["])
def test_baseline_without_reasons_is_refused(text: str) -> None:
    with pytest.raises(BadBaseline):
        read_baseline(text)


# How it is told


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [(["valid"], 0), (["valid", "unchecked"], 2), (["unchecked", "invalid"], 1), (["invalid"] * 256, 1), ([], 2)],
)
def test_exit_code_counts_nothing(outcomes: list[Any], code: int) -> None:
    assert exit_code([Verdict(outcome, "x") for outcome in outcomes]) == code


def test_thousand_alike_are_one_line() -> None:
    verdict = Verdict("invalid", "x", tuple(Message("error", "Bad.", line, 1) for line in range(1, 1002)))
    assert as_text([verdict]).splitlines() == [
        "x:1:1, x:2:1, x:3:1 and 998 more: error: Bad.",
        "x: 1,000 messages or more",
        "0 valid, 1 invalid, 0 could not be checked",
    ]


def test_annotations_name_the_templates_line() -> None:
    verdicts = [
        Verdict("invalid", "GET /x", (Message("warning", "50 %\nbad", 9, 1, place="templates/a,b.html:12"),)),
        Verdict("unchecked", "GET /y", why="no Java"),
    ]
    assert as_github(verdicts).splitlines() == [
        "::warning file=templates/a%2Cb.html,line=12,title=HTML::GET /x: 50 %25%0Abad",
        "::error title=Could not be checked::GET /y: no Java",
    ]
