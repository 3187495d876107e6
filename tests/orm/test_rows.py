"""The rules of telling, without a database or a hub."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hub.errors import BadMessage, BadToken, BrokerUnavailable, ForbiddenChannel, HubError, TooMany
from hub.orm.rows import LONGEST_PAUSE, TRIES, Outcome, Row, telling
from hub.publisher import Item


def new_row(id: int, *, channel: str = "/c", subject: str | None = None, tries: int = 0, data: str = "true") -> Row:
    return Row(id, channel, data, hint=data == "true", subject=subject, created=1000.0, tries=tries)


def drive(rows: list[Row], answer: Callable[[list[Item]], HubError | None]) -> tuple[Outcome, list[list[Item]]]:
    """Run `telling` to its end; `answer` stands for the hub."""
    plan = telling(rows, now=1000.0)
    sent = []
    items = next(plan)
    while True:
        sent.append(items)
        try:
            items = plan.send(answer(items))
        except StopIteration as stop:
            return stop.value, sent


def refusing(channel: str, error: HubError) -> Callable[[list[Item]], HubError | None]:
    return lambda items: error if any(item.channel == channel for item in items) else None


def test_rows_are_told_together_in_their_order() -> None:
    outcome, sent = drive([new_row(1), new_row(2)], lambda _: None)
    assert outcome.told == [1, 2]
    assert [[item.id for item in items] for items in sent] == [[new_row(1).key, new_row(2).key]]


def test_a_key_differs_between_rows_and_between_databases() -> None:
    assert new_row(1).key != new_row(2).key
    assert new_row(1).key != Row(1, "/c", "true", True, None, created=1000.000001).key


def test_a_payload_of_fields_carries_its_version() -> None:
    row = new_row(7, subject="event:1", data='{"id": 1, "change": "changed", "fields": {}}')
    assert row.item.data == {"id": 1, "change": "changed", "fields": {}, "version": 7}
    assert new_row(7, subject="event:1").item.data is True


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), BadToken(), TooMany()])
def test_a_hub_that_is_away_is_no_row_s_fault(error: HubError) -> None:
    outcome, sent = drive([new_row(1), new_row(2)], lambda _: error)
    assert outcome == Outcome(away=error)
    assert len(sent) == 1


def test_only_the_row_the_hub_means_is_held_back() -> None:
    outcome, _ = drive([new_row(1), new_row(2, channel="/bad"), new_row(3)], refusing("/bad", ForbiddenChannel("/bad")))
    assert outcome.told == [1, 3]
    [failure] = outcome.failed
    assert failure.row.id == 2
    assert failure.due == 1001.0


def test_pauses_grow_up_to_a_bound() -> None:
    pauses = []
    for tries in range(TRIES - 1):
        outcome, _ = drive([new_row(1, channel="/bad", tries=tries)], refusing("/bad", ForbiddenChannel("/bad")))
        assert outcome.failed[0].due is not None
        pauses.append(outcome.failed[0].due - 1000.0)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def test_the_last_try_parks() -> None:
    outcome, _ = drive([new_row(1, channel="/bad", tries=TRIES - 1)], refusing("/bad", ForbiddenChannel("/bad")))
    assert outcome.failed[0].due is None


def test_what_can_never_succeed_is_parked_at_once() -> None:
    outcome, _ = drive([new_row(1, channel="/bad")], refusing("/bad", BadMessage()))
    assert outcome.failed[0].due is None


def test_a_newer_row_does_not_overtake_a_refused_one_of_its_channel_and_subject() -> None:
    rows = [
        new_row(1, channel="/bad", subject="event:1"),
        new_row(2, channel="/bad", subject="event:1"),
        new_row(3, channel="/good", subject="event:1"),
    ]
    outcome, sent = drive(rows, refusing("/bad", ForbiddenChannel("/bad")))
    assert outcome.told == [3]
    assert [failure.row.id for failure in outcome.failed] == [1]
    assert rows[1].item not in [items[0] for items in sent[1:]]


def test_a_hub_that_goes_away_half_way_leaves_the_rest_alone() -> None:
    answers = iter([ForbiddenChannel("/c"), None, BrokerUnavailable("away")])
    outcome, _ = drive([new_row(1), new_row(2), new_row(3)], lambda _: next(answers))
    assert outcome.told == [1]
    assert isinstance(outcome.away, BrokerUnavailable)
    assert not outcome.failed
