"""Logs of others' servers: what is read of their lines, and that each line is counted once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from viewing import callers, calls

from web.db.database import Database
from web.features.views import importing
from web.features.views.endpoints import Described, Matcher, described, plain, shape, unused
from web.features.views.importing import Importer
from web.features.views.logs import Line, NotALine, read

AT = 1_700_000_000.0
STAMP = "14/Nov/2023:22:13:20 +0000"
COMBINED = f'203.0.113.7 - - [{STAMP}] "GET /api/songs/17?token=x HTTP/1.1" 200 512 "-" "curl/8.5.0"'
CADDY = {
    "level": "info",
    "ts": AT,
    "logger": "http.log.access",
    "msg": "handled request",
    "request": {
        "remote_ip": "203.0.113.7",
        "client_ip": "203.0.113.8",
        "method": "GET",
        "uri": "/rss.xml?x=1",
        "headers": {"User-Agent": ["Feedly/1.0"], "Dnt": ["1"]},
    },
    "duration": 0.0125,
    "status": 304,
    "resp_headers": {"Content-Type": ["application/xml"]},
}


def test_the_combined_form_is_read() -> None:
    assert read(COMBINED) == Line(AT, "GET", "/api/songs/17?token=x", 200, -1, "203.0.113.7", "curl/8.5.0")
    assert read(COMBINED + " 0.125").micros == 125_000
    assert read(COMBINED + ' rt=0.002 uct="0.000"').micros == 2_000
    common = f'::1 - ada [{STAMP.replace("+0000", "+0200")}] "POST /x HTTP/2.0" 404 -'
    assert read(common) == Line(AT - 7200, "POST", "/x", 404, -1, "::1", "")


def test_caddys_lines_are_read() -> None:
    found = read(json.dumps(CADDY))
    assert found == Line(
        AT, "GET", "/rss.xml?x=1", 304, 12_500, "203.0.113.8", "Feedly/1.0", "application/xml", quiet=True
    )


@pytest.mark.parametrize(
    "line",
    [
        {"time_iso8601": "2023-11-14T22:13:20+00:00", "request_method": "GET", "request_uri": "/x", "status": "200"},
        {"msec": "1700000000.000", "request": "GET /x HTTP/1.1", "status": 200, "request_time": "0.000"},
        {"time": "2023-11-14T22:13:20Z", "method": "GET", "path": "/x", "status": 200},
        {"timestamp": 1_700_000_000_000, "method": "GET", "url": "/x", "status": 200},
        {"time_local": STAMP, "request": "GET /x HTTP/1.1", "status": "200"},
    ],
)
def test_nginxs_json_is_read_as_people_write_it(line: dict[str, object]) -> None:
    found = read(json.dumps(line))
    assert (found.at, found.method, found.path, found.status) == (AT, "GET", "/x", 200)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "{",
        "{}",
        "[]",
        '{"request": {}}',
        '{"request": {"uri": "/x"}, "status": 200}',
        COMBINED.replace("GET /api/songs/17?token=x HTTP/1.1", "\\x16\\x03\\x01"),
        COMBINED.replace(STAMP, "yesterday"),
        "x" * 100_000,
    ],
)
def test_what_is_no_request_is_told(line: str) -> None:
    with pytest.raises(NotALine):
        read(line)


@given(st.text(max_size=200) | st.text(max_size=200).map(lambda text: COMBINED.replace("GET", text)))
def test_whatever_a_line_is_it_raises_nothing_else(line: str) -> None:
    try:
        read(line)
    except NotALine:
        pass


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*CADDY, "uri", "method", "time", "request_time"]), json_values))
def test_whatever_json_is_in_a_line_it_raises_nothing_else(data: dict[str, object]) -> None:
    for each in (data, CADDY | data, CADDY | {"request": CADDY["request"] | data}):  # type: ignore[operator]
        try:
            read(json.dumps(each))
        except NotALine:
            pass


MATCHER = Matcher(["/api/songs/{id}", "/api/songs/newest", r"/events/{slug}", "/rss.xml", r"/p{page:\d+}"])


def test_addresses_become_routes() -> None:
    assert MATCHER.route("/api/songs/17?token=x", 200) == "/api/songs/{id}"
    assert MATCHER.route("/api/songs/newest", 200) == "/api/songs/newest"
    assert MATCHER.route("/p2", 200) == "/p{page}"
    assert MATCHER.route("/wp-login.php", 404) == "(no route)"
    assert MATCHER.route("/other/17/0f8fad5b-d9cb-469f-a165-70867728950e", 200) == "/other/{…}/{…}"


def test_shapes_have_no_tokens() -> None:
    assert shape("/reset/eyJhbGciOiJIUzI1NiJ9abc123") == "/reset/{…}"
    assert shape("/users/ada/posts/2023") == "/users/ada/posts/{…}"
    assert shape("/" + "a/" * 30).endswith("/…")


def test_unused_endpoints_are_those_of_the_file_that_nobody_called() -> None:
    known = described(
        {
            "paths": {
                "/songs/{id}": {"get": {"summary": "A song"}, "delete": {}},
                "/songs": {"post": {}, "parameters": []},
                "/odd": "x",
            }
        }
    )
    assert [each.name for each in known] == ["GET /songs/{id}", "DELETE /songs/{id}", "POST /songs"]
    found = unused(known, {"GET /songs/{song}": 100.0, "POST /songs": 10.0}, since=50.0)
    assert found == [(Described("DELETE /songs/{id}", ""), None), (Described("POST /songs", ""), 10.0)]
    assert plain("GET /p{page:[0-9]{1,3}}/x") == "GET /p{}/x"
    for wrong in ([], {}, {"paths": []}):
        with pytest.raises(ValueError, match="paths"):
            described(wrong)


def lines(count: int, first: int = 0) -> list[str]:
    return [COMBINED.replace("/17?", f"/{number}?") + "\n" for number in range(first, first + count)]


async def bring(database: Database, path: Path) -> importing.Imported:
    return await Importer(database, "log", MATCHER).bring(path)


async def test_a_log_is_counted_once_however_often_it_is_imported(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(lines(30)))
    assert (await bring(database, log)).counted == 30
    again = await bring(database, log)
    assert (again.counted, again.again) == (0, log.stat().st_size)
    # It has grown, and was moved away and packed.
    log.write_text("".join(lines(40)))
    moved = tmp_path / "access.log.1"
    log.rename(moved)
    assert (await bring(database, moved)).counted == 10
    packed = tmp_path / "access.log.1.gz"
    packed.write_bytes(gzip.compress(moved.read_bytes()))
    assert (await bring(database, packed)).counted == 0
    # The next one is another.
    log.write_text("".join(lines(5, first=40)))
    assert (await bring(database, log)).counted == 5
    assert await calls(database, source="log") == {"GET /api/songs/{id}": 45}
    assert len(await callers(database)) >= 1


async def test_a_log_that_begins_as_another_did_is_another(database: Database, tmp_path: Path) -> None:
    for name, count in (("a", 3), ("b", 4)):
        path = tmp_path / name
        path.write_text(lines(1)[0] + "".join(lines(count, first=100 if name == "a" else 200)))
        assert (await bring(database, path)).counted == count + 1
        assert (await bring(database, path)).counted == 0


async def test_a_kill_in_the_middle_costs_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 10)
    log = tmp_path / "access.log"
    log.write_text("".join(lines(95)))
    importer = Importer(database, "log", MATCHER)

    def killed(done: int) -> None:
        if done == 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await importer.bring(log, killed)
    assert await calls(database) == {"GET /api/songs/{id}": 40}
    assert (await bring(database, log)).counted == 55
    assert await calls(database) == {"GET /api/songs/{id}": 95}


async def test_a_line_without_an_end_waits_for_it(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(lines(2)) + lines(1, first=2)[0].rstrip("\n"))
    found = await bring(database, log)
    assert (found.counted, found.unfinished) == (2, True)
    log.write_text("".join(lines(3)))
    assert (await bring(database, log)).counted == 1


async def test_what_is_not_counted_is_told(database: Database, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    chrome = COMBINED.replace("curl/8.5.0", "Mozilla/5.0 (X11; Linux x86_64) Chrome/128.0").replace(
        "/api/songs/17", "/x"
    )
    log.write_text(f"{COMBINED}\nnonsense\n{chrome}\n")
    found = await bring(database, log)
    assert found.counted == 1
    assert sorted(found.ignored.values()) == [1, 1]
    assert found.examples == {"is neither in the combined form nor JSON": 2}


async def test_no_log_is_an_error_of_its_own(database: Database, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        await bring(database, tmp_path / "nothing")
    empty = tmp_path / "empty"
    empty.write_text("")
    assert (await bring(database, empty)).counted == 0
