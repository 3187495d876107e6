"""`fanfare headsup`: what commits would tell, and projects by commands."""

from __future__ import annotations

import codecs
import json
import subprocess
import sys
from pathlib import Path

import pytest
from pushing import (
    bitbucket_change,
    bitbucket_push,
    commit,
    deletion,
    gitea_push,
    gitlab_push,
    ping,
    push,
    tag,
)
from services import ROOT

from web.features.headsup.checking import check, commits_in
from web.features.headsup.payloads import BadPayload
from web.features.headsup.remark import Words

HEADS = [
    (push(commit("headsup: a"), commit("b")), ["a", None]),
    (gitlab_push("headsup: a", "b"), ["a", None]),
    (gitea_push(commit("headsup: a"), commit("headsup: b")), ["a", "b"]),
    (bitbucket_push(bitbucket_change("headsup: a", "b"), bitbucket_change("headsup: c", name="dev")), ["a", None, "c"]),
    (tag("v1", commit("headsup: at the tag")), ["at the tag"]),
    (push(created=True, base_ref="refs/heads/main", head_commit=commit("headsup: old news")), []),
    (deletion("refs/heads/x"), []),
    (ping(), []),
    ({}, []),
]


@pytest.mark.parametrize(("payload", "texts"), HEADS)
def test_payload_says_what_each_commit_tells(payload: object, texts: list[str | None]) -> None:
    assert [each.text for each in check(commits_in(json.dumps(payload).encode()), Words())] == texts


TEXTS = [
    (b"headsup: a", [("", "a")]),
    (
        b"a" * 40 + b"\nFix\n\nheadsup: b\n---commit---\n" + b"b" * 40 + b"\nnothing\n",
        [("a" * 40, "b"), ("b" * 40, None)],
    ),
    (b"{not json} headsup: c", [("", "c")]),
    (b"[WIP] headsup: d", [("", "d")]),
    (b"\xff headsup: e", [("", "e")]),
    (b"", []),
    (b"\n\n", []),
    (b'[{"sha": "1", "commit": {"message": "headsup: f"}}]', [("1", "f")]),
    # As they are in a payload; what is none among them is left out.
    (b'[{"id": "1", "message": "headsup: f"}, 7, null, {"id": "2"}]', [("1", "f"), ("", None)]),
    (b'{"sha": "1", "commit": {"message": "headsup: f"}}', [("1", "f")]),
    (b'{"id": "1", "message": "headsup: f"}\r\n', [("1", "f")]),
    (b'{"ref": "refs/heads/main"}', []),
    (b'{"ref": "refs/heads/main", "commits": []}', []),
    (b'{"commits": {"a": 1}}', []),
    (b"Fix\r\n\r\nheadsup: a\r\nb\r\n\r\nSigned-off-by: A <a@b.example>\r\n", [("", "a\nb")]),
    (b"Fix\r\rheadsup: a\rb", [("", "a\nb")]),
    # As editors save it, and PowerShell's `>`.
    (codecs.BOM_UTF8 + b"headsup: a", [("", "a")]),
    (codecs.BOM_UTF8 + b'{"ref": "refs/heads/main", "commits": [{"id": "1", "message": "headsup: a"}]}', [("1", "a")]),
    ("\ufeffheadsup: ä".encode("utf-16-le"), [("", "ä")]),
    ("\ufeffheadsup: ä".encode("utf-16-be"), [("", "ä")]),
    (codecs.BOM_UTF16_LE + b"h\x00\xd8", [("", None)]),
    ("headsup: ä".encode("latin-1"), [("", "\ufffd")]),
    (b"headsup: a\0b", [("", "a\ufffdb")]),
    (b"[" * 100_000, [("", None)]),
]


@pytest.mark.parametrize(("text", "found"), TEXTS)
def test_text_is_one_message_or_several(text: bytes, found: list[tuple[str, str | None]]) -> None:
    assert [(each.id, each.text) for each in check(commits_in(text), Words())] == found


def test_24_megabytes_are_read() -> None:
    payload = push(*(commit(f"headsup: {number}") for number in range(2048)), padding="x" * 24 * 1024 * 1024)
    assert len(check(commits_in(json.dumps(payload).encode()), Words())) == 2048
    (one,) = check(commits_in(b"headsup: " + b"word " * 5_000_000), Words())
    assert one.text is not None


@pytest.mark.parametrize("body", [b'{"a": NaN}', b"{" + b'"a":{' * 100_000 + b"}", b'{"\xff": 1}'])
def test_payload_that_cannot_be_read_says_so(body: bytes) -> None:
    with pytest.raises(BadPayload):
        commits_in(body)


def run(folder: Path, *arguments: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "web", "headsup", *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        input=given,
        capture_output=True,
        timeout=120,
        check=False,
    )


def test_command_checks_a_file(tmp_path: Path) -> None:
    (tmp_path / "push.json").write_text(json.dumps(push(commit("headsup: a\u2028b"), commit("no headsup needed"))))
    said = run(tmp_path, "check", "push.json", "--word", "headsup", "--strict", "--json")
    assert (said.returncode, said.stderr) == (0, b"")
    found = json.loads(said.stdout)
    assert list(found) == ["commits"]
    assert [sorted(each) for each in found["commits"]] == [["id", "text", "why"]] * 2
    assert [(each["text"], each["why"]) for each in found["commits"]] == [
        ("a\u2028b", None),
        (None, "no trigger word"),
    ]
    said = run(tmp_path, "check", "-", "--word", "Note", "--case-sensitive", given="Fix\n\nNote: \u00e4".encode())
    assert said.stdout.decode() == "-: Note:\n    \u00e4\n"
    assert run(tmp_path, "check", "missing.json").returncode != 0


def test_commands_make_a_project_and_show_it(tmp_path: Path) -> None:
    said = run(tmp_path, "add", "ada/engine", "--word", "headsup", "--to", "a@example.org", "--branch", "release/*")
    assert (said.returncode, said.stderr) == (0, b"")
    lines = said.stdout.decode().splitlines()
    assert lines[0] == "project 1: ada/engine"
    assert lines[1].startswith("webhook: http://localhost:8000/headsup/hook/1 ")
    assert len(lines[2].removeprefix("secret, shown this once: ")) >= 40
    assert run(tmp_path, "list").stdout.decode().splitlines() == [
        "1: ada/engine, not heard of yet",
        "    headsup: to a@example.org",
    ]
    assert run(tmp_path, "log").stdout == b"no deliveries\n"
    said = run(tmp_path, "replay", "1")
    assert (said.returncode, said.stdout) == (1, b"1: there is no such delivery (any more)\n")
    assert b"owner/name" in run(tmp_path, "add", "engine", "--to", "a@example.org").stderr
    assert b"no valid email address" in run(tmp_path, "add", "a/b", "--to", "nobody").stderr
