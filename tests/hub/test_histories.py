"""How much is kept of which channels, as the rules file says."""

from __future__ import annotations

from pathlib import Path

import pytest
from listening import serving

from hub.cli import main
from hub.errors import SettingsError
from hub.histories import Histories, Retention, parse_histories
from hub.protocol.access import parse_rules

DAY = """
[[history]]
channels = ["chat/**", "room-*"]
count = 20
seconds = "1d"

[[history]]
channels = ["chat/loud", "events"]
bytes = "4MiB"
seconds = 0.5
"""


@pytest.mark.parametrize(
    ("channel", "kept"),
    [
        ("/chat/a/b", Retention(20, 86400.0, 1000)),
        ("/chat/loud", Retention(20, 86400.0, 1000)),
        ("/room-7", Retention(20, 86400.0, 1000)),
        ("/events", Retention(5, 0.5, 4 * 1024**2)),
        ("/room", Retention(5, 60.0, 1000)),
    ],
)
def test_first_table_that_matches_decides_and_what_it_leaves_open_is_the_hub_s(channel: str, kept: Retention) -> None:
    histories = Histories(Retention(5, 60.0, 1000), parse_histories(DAY))
    assert histories.of(channel) == kept
    assert Histories.decode(histories.encode()).of(channel) == kept, "publishers in other processes know as much"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("history = 1", "history is not a list of tables"),
        ("[[history]]\ncount = 1", "history 1: channels is not a list of patterns"),
        ('[[history]]\nchannels = ["a"]', "history 1: says neither of count, seconds, bytes"),
        ('[[history]]\nchannels = ["a"]\ncuont = 1', "history 1: cuont is unknown; there are count, seconds, bytes"),
        ('[[history]]\nchannels = ["a"]\ncount = -1', "history 1: count is less than 0"),
        ('[[history]]\nchannels = ["a"]\ncount = 1.5', "history 1: count '1.5' is not a whole number"),
        ('[[history]]\nchannels = ["a"]\nseconds = "1 fortnight"', "history 1: seconds '1 fortnight' is not a time"),
        ('[[history]]\nchannels = ["a"]\nseconds = nan', "history 1: seconds 'nan' is not a time"),
        ('[[history]]\nchannels = ["a"]\nbytes = true', "history 1: bytes is neither a number nor a text"),
        ('[[history]]\nchannels = ["**/a"]\ncount = 1', "is not a pattern"),
        ("[[history", "not TOML"),
    ],
)
def test_bad_table_is_refused_with_its_number_and_the_reason(text: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        parse_histories(text)


def test_tables_of_histories_and_rules_stand_in_one_file() -> None:
    text = DAY + '[[rule]]\nchannels = ["chat/**"]\npublish = "open"\n'
    assert len(parse_rules(text)) == 1
    assert len(parse_histories(text)) == 2


async def test_hub_keeps_what_the_file_says(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(DAY)
    async with serving(rules=rules, history_count=3) as (_, hub):
        for channel in ("room-7", "other"):
            for number in range(30):
                await hub.publisher.publish(channel, number)
        kept = [len((await hub.broker.history(channel, None)).publications) for channel in ("/room-7", "/other")]
        assert kept == [20, 3]


@pytest.mark.parametrize(
    ("channel", "line"),
    [
        ("room-7", "kept       20 publications, 86400s, 1MiB   [HUB_RULES {rules} history 1: chat/**, room-*]"),
        ("other", "kept       1000 publications, 600s, 1MiB   [HUB_HISTORY_…]"),
    ],
)
def test_check_says_what_is_kept_and_why(
    channel: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(DAY)
    monkeypatch.setenv("HUB_RULES", str(rules))
    assert main(["check", "channel", channel]) == 0
    assert line.format(rules=rules) in capsys.readouterr().out.splitlines()
