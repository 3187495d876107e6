"""A short run of the ledger: real workers, real Redis, real faults, and nothing lost without a word.

`make chaos` runs every fault at full length; its table is in docs/promise.md.
"""

from __future__ import annotations

import pytest

from benchmarks.ledger.__main__ import run_fault
from benchmarks.ledger.accounts import Account, Page
from benchmarks.ledger.sides import Side, Sides

#: What a fault costs most of: processes, Redis's data, connections. The rest is left to `make chaos`.
SHORT = ["worker kill -9", "Redis CLIENT KILL", "Redis restart, data gone", "all reconnect at once", "rolling restart"]


@pytest.mark.redis
@pytest.mark.node
@pytest.mark.parametrize("fault", SHORT)
async def test_nothing_is_lost_silently(fault: str, redis_url: str, node_modules: object) -> None:
    row = await run_fault(fault, clients=25, workers=2, channels=5, rate=15, seconds=2, scale=0.35)
    assert row.silent == 0, row.holes
    assert row.strays == 0, "heard after an unsubscribe was answered"
    assert row.old == 0, "a page that was kept lacked what had been told"
    assert row.pages > 0
    assert row.deliveries > row.publications
    if fault == "Redis restart, data gone":
        assert row.flagged > 0, "what was lost is told as lost"


class TestSides:
    """The books of channels heard for a while.

    The ledger's pollers never subscribed beside a held poll, and so it missed that with two workers a subscription that
    had been answered was gone.
    """

    def sides(self, newest: int = 4) -> Sides:
        self.newest = newest
        sides = Sides(lambda channel: self.newest, Side("a"))
        sides.asked("a", 0.0)
        return sides

    def test_what_comes_after_the_answer_must_come(self) -> None:
        sides = self.sides()
        sides.got("a", 3, None, 0.0)
        sides.subscribed("a", None, None, 0.0)
        sides.got("a", 4, None, 0.0)
        sides.got("a", 6, None, 0.0)
        sides.end(lambda channel: 7)
        assert [(account.silent, account.deliveries) for account in sides.past] == [(2, 2)]
        assert sides.strays == 0

    def test_answer_that_said_lost_is_covered_by_a_fetch(self) -> None:
        sides = self.sides()
        sides.subscribed("a", "e.4", None, 0.0)
        sides.got("a", 5, "e.5", 0.0)
        self.newest = 9
        sides.asked("a", 0.0)
        sides.subscribed("a", "f.2", False, 0.0)
        sides.got("a", 10, "f.3", 0.0)
        sides.end(lambda channel: 10)
        assert [(account.silent, account.flagged) for account in sides.past] == [(0, 4)]

    def passed_over(self, *, apart: bool, since: float) -> Account:
        """The account of a channel that was subscribed to again, where a hole came `since` seconds after that was asked
        for, and before the answer, which said "lost".
        """
        sides = self.sides()
        sides.apart = apart
        sides.subscribed("a", "e.4", None, 0.0)
        self.newest = 9
        sides.asked("a", 20.0)
        sides.got("a", 9, "f.3", 20.0 + since)
        sides.subscribed("a", "f.2", False, 20.5)
        sides.end(lambda channel: 9)
        return sides.past[0]

    def test_answer_that_comes_by_another_connection_covers_what_was_passed_over_since_it_was_asked_for(self) -> None:
        account = self.passed_over(apart=True, since=0.1)
        assert (account.silent, account.flagged) == (0, 4)

    def test_it_covers_nothing_that_was_passed_over_before(self) -> None:
        assert self.passed_over(apart=True, since=-0.1).silent == 4

    def test_on_one_connection_what_is_newer_comes_behind_the_answer(self) -> None:
        """The hub wrote it before, and the client would have come back from there, had the socket broken in between."""
        assert self.passed_over(apart=False, since=0.1).silent == 4

    def test_repeats_by_position_are_dropped(self) -> None:
        sides = self.sides()
        sides.subscribed("a", "e.4", None, 0.0)
        sides.got("a", 5, "e.5", 0.0)
        sides.got("a", 5, "e.5", 0.0)
        sides.end(lambda channel: 5)
        assert [(account.silent, account.duplicates) for account in sides.past] == [(0, 1)]

    def test_what_was_published_before_the_unsubscribe_s_answer_may_come_late_and_no_more(self) -> None:
        sides = self.sides()
        sides.subscribed("a", None, None, 0.0)
        self.newest = 6
        sides.left()
        sides.got("a", 6, None, 0.0)
        assert sides.strays == 0
        sides.got("a", 7, None, 0.0)
        assert sides.strays == 1

    def test_channel_that_is_being_left_may_have_holes(self) -> None:
        """The answer to a poll got lost; its client was leaving the channel, and did not ask for what it had missed."""
        sides = self.sides()
        sides.subscribed("a", "e.4", None, 0.0)
        sides.got("a", 5, "e.5", 0.0)
        assert sides.open is not None
        sides.open.leaving = True
        sides.got("a", 7, "e.7", 0.0)
        sides.end(lambda channel: 7)
        assert [(account.silent, account.deliveries) for account in sides.past] == [(0, 2)]

    def test_subscribe_that_was_never_answered_may_arrive_after_the_unsubscribe(self) -> None:
        """A connection broke, and what it carried was read after what the next one did."""
        sides = self.sides()
        sides.subscribed("a", None, None, 0.0)
        sides.asked("a", 0.0)
        sides.left()
        sides.got("a", 7, None, 0.0)
        assert sides.strays == 0

    def test_unsubscribe_that_was_never_answered_may_end_a_later_subscription(self) -> None:
        """So the channel is not heard again by this session."""
        sides = self.sides()
        sides.subscribed("a", None, None, 0.0)
        sides.asked("a", 0.0, "unsubscribe")
        sides.asked("a", 0.0, "unsubscribe")
        sides.left()
        assert not sides.may_hear("a")
        assert sides.may_hear("b")
        sides.forget()
        assert sides.may_hear("a")

    def test_channel_whose_unsubscribe_was_answered_may_be_heard_again(self) -> None:
        sides = self.sides()
        sides.subscribed("a", None, None, 0.0)
        sides.asked("a", 0.0, "unsubscribe")
        sides.left()
        assert sides.may_hear("a")

    def test_new_session_hears_nothing_of_the_old_one_s(self) -> None:
        sides = self.sides()
        sides.subscribed("a", None, None, 0.0)
        sides.forget()
        sides.got("a", 1, None, 0.0)
        assert (sides.strays, [account.silent for account in sides.past]) == (1, [0])


class TestPage:
    def test_page_is_given_while_its_top_stands_and_its_process_hears(self) -> None:
        page, reads = Page(doubt=2.0), iter(range(1, 9))
        for top, hears in (("a", True), ("a", True), ("b", True), ("b", False), ("b", True)):
            page.ask(top, hears, lambda: next(reads), 0, 0.0)
        assert (page.made, page.given, page.kept) == (3, 2, ("b", 3))

    def test_page_without_what_was_told_long_ago_is_too_old(self) -> None:
        page = Page(doubt=2.0)
        page.ask("a", True, lambda: 1, 1, 0.0)
        page.ask("a", True, lambda: 2, 2, 1.0)
        page.ask("a", True, lambda: 2, 2, 2.9)
        assert page.old == 0, "it may be in doubt"
        page.ask("a", True, lambda: 2, 2, 3.0)
        assert page.old == 1


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
