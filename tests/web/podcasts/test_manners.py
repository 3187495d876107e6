"""The manners of fetching, as the servers see them: `python -m benchmarks.podcast_manners`, with few feeds."""

from __future__ import annotations

from benchmarks.podcast_manners import run
from web.features.podcasts.schedule import Outcome


def test_no_server_sees_a_rule_broken() -> None:
    ledger = run(400, 9, seed=5).ledger
    assert ledger.faults == []
    assert ledger.most_at_once == 2
    assert ledger.whole <= 1.05 * ledger.needed
    # It was no idle world.
    for outcome in (Outcome.NEW, Outcome.SAME, Outcome.BUSY, Outcome.GONE, Outcome.MISSING, Outcome.UNREADABLE):
        assert ledger.counts[outcome.value], outcome
