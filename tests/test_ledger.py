"""A short run of the ledger: real workers, real Redis, real faults, and nothing lost without a word.

`make chaos` runs every fault at full length; its table is in the README.
"""

from __future__ import annotations

import pytest

from benchmarks.ledger.__main__ import run_fault
from benchmarks.ledger.accounts import Account

#: What a fault costs most of: processes, Redis's data, connections. The rest is left to `make chaos`.
SHORT = ["worker kill -9", "Redis CLIENT KILL", "Redis restart, data gone", "all reconnect at once", "rolling restart"]


@pytest.mark.redis
@pytest.mark.node
@pytest.mark.parametrize("fault", SHORT)
async def test_nothing_is_lost_silently(fault: str, redis_url: str, node_modules: object) -> None:
    row = await run_fault(fault, clients=25, workers=2, channels=5, rate=15, seconds=2, scale=0.35)
    assert row.silent == 0, row.holes
    assert row.deliveries > row.publications
    if fault == "Redis restart, data gone":
        assert row.flagged > 0, "what was lost is told as lost"


class TestAccount:
    def test_contiguous_numbers_add_up(self) -> None:
        account = Account(0)
        for number in (1, 2, 2, 3):
            account.got(number)
        account.close(3)
        assert (account.deliveries, account.duplicates, account.silent) == (4, 1, 0)

    def test_hole_is_a_silent_loss(self) -> None:
        account = Account(0)
        account.got(1)
        account.got(4)
        assert account.silent == 2

    def test_missing_end_is_a_silent_loss(self) -> None:
        account = Account(3)
        account.close(5)
        assert account.silent == 2

    def test_fetch_after_lost_covers_what_it_saw(self) -> None:
        account = Account(1)
        account.fetched(4)
        account.got(5)
        account.close(5)
        assert (account.flagged, account.silent, account.losses) == (3, 0, 1)

    def test_fetch_that_waited_a_little_covers_what_was_passed_over_meanwhile(self) -> None:
        account = Account(1)
        account.got(5, now=10.0)
        account.fetched(6, now=10.5, grace=2.0)
        assert (account.flagged, account.silent) == (4, 0)

    def test_later_fetch_does_not_excuse_an_older_hole(self) -> None:
        account = Account(1)
        account.got(5, now=10.0)
        account.fetched(6, now=20.0, grace=2.0)
        assert account.silent == 3
