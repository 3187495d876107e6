"""`fanfare lab redis`, as it is run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from shell import Shell

from web.cli import COMMANDS
from web.features.redislab import records
from web.features.redislab.commands import best_codec
from web.features.redislab.figures import Figures, Sample, figures

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    shell = Shell(tmp_path, "web", "Fanfare on http://localhost:")

    # However slow the machine is, there is something to say.
    warm = {"SITE_LAB_REDIS_WARM_UP": "0"}

    def call(*arguments: str, **environ: str) -> tuple[int, str, str]:
        return shell.call(
            COMMANDS, "lab", "redis", *arguments, monkeypatch=monkeypatch, capsys=capsys, **warm, **environ
        )

    return call


def made(read: float, size: int = 100) -> Figures:
    found = figures([Sample(round(read * 1e6), round(read * 1e6), size)] * 20)
    assert found is not None
    return found


def test_table_winner_and_front_are_printed_and_kept_for_the_page(run: Run, redis_url: str) -> None:
    code, out, err = run(
        *("--seconds", "0.5", "--payload", "rows", "--only", "json", "--only", "msgpack-zlib", "--only", "pickle"),
        REDIS_URL=redis_url,
    )
    assert (code, err) == (0, "")
    assert "Best Averages (shorter better)" in out
    assert "Pareto front, none is both faster and smaller:\n" in out
    best = next(line for line in out.splitlines() if line.startswith("Best for rows as dicts: "))
    # pickle is there to compare, and wins nothing.
    assert best.rpartition(" ")[2] in ("json", "msgpack-zlib")
    with redis.Redis.from_url(redis_url) as client:
        counts = client.hgetall(records.COUNTS)
        assert len({*counts.values()}) == 1
        assert sorted(counts) == [b"rows:json", b"rows:msgpack-zlib", b"rows:pickle"]
        assert list(client.scan_iter(match=records.PREFIX + "value:*")) == []


def test_apart_keeps_nothing(run: Run, redis_url: str) -> None:
    assert run("--seconds", "0.2", "--payload", "counters", "--only", "json", "--apart", REDIS_URL=redis_url)[0] == 0
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_own_keys_alone_are_measured_and_not_changed(run: Run, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.mset({f"user:{number}": json.dumps({"id": number}) for number in range(5)})
        before = {key: client.dump(key) for key in client.scan_iter(match="user:*")}
        code, out, _ = run("--seconds", "0.3", "--keys", "user:*", "--only", "orjson", REDIS_URL=redis_url)
        assert code == 0
        assert "5 of your own keys, 5 data" in out
        assert "Your own keys: reads" in out
        assert "Rows as dicts" not in out
        assert {key: client.dump(key) for key in client.scan_iter(match="user:*")} == before


def test_json_is_for_programs(run: Run, redis_url: str) -> None:
    code, out, err = run(
        "--seconds", "0.3", "--payload", "counters", "--only", "json", "--only", "bytes", "--json", REDIS_URL=redis_url
    )
    assert code == 0
    assert "configurations" in err
    found = json.loads(out)["counters"]
    assert found["winners"] == ["json"]
    assert found["figures"]["json"]["read"]["median"] > 0


def test_winner_is_written_where_the_cache_reads_it(run: Run, redis_url: str, tmp_path: Path) -> None:
    code, out, _ = run(
        *("--seconds", "0.3", "--payload", "rows", "--only", "msgpack", "--only", "json-lzma", "--write-setting"),
        REDIS_URL=redis_url,
        HUB_VAR=str(tmp_path / "kept"),
    )
    assert code == 0
    # Which of them won is a measurement: beside other work it was either.
    kept = tmp_path / "kept" / "cache-codec"
    winner = kept.read_text()
    assert winner in {"msgpack\n", "json-lzma\n"}
    assert f"{kept} says {winner.strip()}: " in out
    assert "unless SITE_CACHE_CODEC says another" in out


def test_codec_that_loses_the_least_over_all_payloads_is_the_best() -> None:
    first = {"json": made(0.10), "msgpack": made(0.11), "pickle": made(0.01)}
    second = {"json": made(0.30), "msgpack": made(0.10)}
    assert best_codec({"rows": first, "times": second}, 0) == "msgpack"
    # The faster of the two clients counts.
    third = {"json": made(0.2), "json-python": made(0.05), "msgpack": made(0.1)}
    assert best_codec({"rows": third}, 0) == "json"
    # What can't carry a payload is none for all.
    assert best_codec({"rows": first, "keys": {"msgpack": made(0.5)}}, 0) == "msgpack"
    assert best_codec({"rows": {}}, 0) is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seconds", "0"], "--seconds: from a part of one"),
        (["--seconds", "nan"], "--seconds: from a part of one"),
        (["--line", "-1"], "--line: from 0"),
        (["--payload", "x"], "--payload: 'x' is not one of times, rows, html, counters"),
        (["--only", "jsno"], "there is no configuration 'jsno'"),
        (["--keys", "nothing:*"], "--keys: no key with a string is like 'nothing:*'"),
    ],
)
def test_what_was_asked_wrongly_is_said(run: Run, redis_url: str, arguments: list[str], words: str) -> None:
    code, _, err = run(*arguments, REDIS_URL=redis_url)
    assert code == 2
    assert words in err


def test_without_redis_it_says_how_to_start_one(run: Run) -> None:
    code, _, err = run()
    assert code == 2
    assert "start one with `redis-server`" in err


def test_redis_that_is_away_is_a_failure_with_its_address(run: Run) -> None:
    code, _, err = run(REDIS_URL="redis://user:secret@127.0.0.1:1/0")
    assert code == 1
    assert "127.0.0.1:1" in err
    assert "secret" not in err
