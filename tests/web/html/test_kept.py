"""What was said of a page is known in the next run, and the validator isn't asked, or even begun, for it."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from web.features.html import finding, kept
from web.features.html.checker import Checker
from web.features.html.documents import Document
from web.features.html.filters import Filter, Filters
from web.features.html.kept import Kept
from web.features.html.verdicts import Message, Unchecked

PAGE = Document("x", b"<!doctype html><title>x</title>")
BAD = Message("error", "Bad “x”.", 3, 5, "<x>")


class Says:
    """A validator that says this, or can't."""

    def __init__(self, *messages: Message, why: str = "") -> None:
        self.messages, self.why = list(messages), why
        self.asked = 0

    def check(self, body: bytes, content_type: str) -> tuple[list[Message], str]:
        self.asked += 1
        if self.why:
            raise Unchecked(self.why)
        return self.messages, "26.9"


def checker(folder: Path, says: Says, validator: bytes = b"1", *let_pass: str) -> Checker:
    filters = Filters([Filter(text, reason="a test's") for text in let_pass])
    return Checker(says, filters, kept=Kept(folder, validator))


@pytest.mark.parametrize(("messages", "outcome"), [((), "valid"), ((BAD,), "invalid")])
def test_next_run_knows_what_was_said_and_by_whom(tmp_path: Path, messages: tuple[Message, ...], outcome: str) -> None:
    first = checker(tmp_path, Says(*messages)).check(PAGE)
    says = Says(why="Java is not installed")
    again = checker(tmp_path, says)
    assert again.knows(PAGE)
    assert again.check(PAGE) == first
    assert (first.outcome, first.version, says.asked) == (outcome, "26.9", 0)


def test_what_is_let_pass_counts_as_it_is_now(tmp_path: Path) -> None:
    assert checker(tmp_path, Says(BAD), b"1", "Bad").check(PAGE).outcome == "valid"
    assert checker(tmp_path, Says()).check(PAGE).outcome == "invalid"


def test_other_bytes_types_and_validators_are_asked(tmp_path: Path) -> None:
    """An upgrade of vnu.jar looks at all pages again."""
    checker(tmp_path, Says()).check(PAGE)
    for document, validator in (
        (Document("x", PAGE.body + b" "), b"1"),
        (Document("x", PAGE.body, "application/xhtml+xml"), b"1"),
        (Document("x", PAGE.body, is_piece=True), b"1"),
        (PAGE, b"2"),
    ):
        says = Says()
        other = checker(tmp_path, says, validator)
        assert not other.knows(document)
        other.check(document)
        assert says.asked == 1


def test_another_release_of_ours_asks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checker(tmp_path / "kept", Says()).check(PAGE)
    (tmp_path / "verdicts.py").write_text("# another way to read what the validator says\n")
    monkeypatch.setattr(kept.verdicts, "__file__", str(tmp_path / "verdicts.py"))
    assert not checker(tmp_path / "kept", Says()).knows(PAGE)


def test_what_could_not_be_checked_is_not_kept(tmp_path: Path) -> None:
    assert checker(tmp_path, Says(why="the validator is gone")).check(PAGE).outcome == "unchecked"
    assert not checker(tmp_path, Says()).knows(PAGE)


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"messages": []}', '{"version": "1", "messages": [["worse", "x", 1, 1, ""]]}', '{"version": "1"'],
)
def test_file_that_is_broken_is_asked_again_and_mended(tmp_path: Path, text: str) -> None:
    """Such as one of a disk that was full: it must not make a page valid."""
    checker(tmp_path, Says(BAD)).check(PAGE)
    [file] = tmp_path.glob("*/*")
    file.write_text(text)
    says = Says(BAD)
    assert checker(tmp_path, says).check(PAGE).outcome == "invalid"
    assert says.asked == 1
    assert checker(tmp_path, Says()).check(PAGE).outcome == "invalid"


def test_folder_that_can_not_be_written_costs_only_the_keeping(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert checker(tmp_path / "file", Says(BAD)).check(PAGE).outcome == "invalid"


def test_oldest_go_and_folders_of_former_validators_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    old = Kept(tmp_path, b"old")
    for n in range(2):
        old.put(bytes([n]), [], "1")
    for path in tmp_path.glob("*/*"):
        os.utime(path, (1, 1))
    new = Kept(tmp_path, b"new")
    for n in range(4):
        new.put(bytes([n]), [], "2")
    for n in range(4):
        os.utime(new._folder / bytes([n]).hex(), (10 + n, 10 + n))
    new.close()
    assert [new.get(bytes([n])) is not None for n in range(4)] == [False, True, True, True]
    assert [path.name for path in tmp_path.iterdir()] == [new._folder.name]


def test_use_is_noted_once_a_day(tmp_path: Path) -> None:
    here = Kept(tmp_path, b"1")
    here.put(b"x", [], "1")
    path = here._folder / b"x".hex()
    os.utime(path, (1, 1))
    here.get(b"x")
    noted = path.stat().st_mtime_ns
    assert noted > 10**18
    here.get(b"x")
    assert path.stat().st_mtime_ns == noted


def jar(path: Path, text: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(zipfile.ZipInfo("a.class"), text)
    return path


def test_validator_is_known_by_what_is_in_it_wherever_it_is(tmp_path: Path) -> None:
    first, same, other = (jar(tmp_path / f"{n}.jar", text) for n, text in enumerate(("one", "one", "two")))
    os.utime(same, (1, 1))
    assert finding.identity(first) == finding.identity(same)
    assert finding.identity(first) != finding.identity(other)
    (tmp_path / "no.jar").write_bytes(b"no zip")
    assert finding.identity(tmp_path / "no.jar") != finding.identity(first)
    with pytest.raises(Unchecked, match=r"gone\.jar can't be read: No such file"):
        finding.identity(tmp_path / "gone.jar")
