"""What a browser computes before its comment is taken, as it is asked for and looked at."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import altcha
import pytest
from hypothesis import given
from hypothesis import strategies as st
from talking import POST, Writer, comments, records, working_settings

from web.db.database import Database
from web.features.comments.models import Status
from web.features.comments.work import LIFE, MAX_SOLUTION, MISSING, Work
from web.settings import Settings

ASKS = "/comments/work"
#: Rounds of a try: all of a solution take some milliseconds.
ROUNDS = 10


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The library has no clock of ours."""
    clock = Clock()
    monkeypatch.setattr("altcha.v2.time.time", clock)
    return clock


@pytest.fixture
def work(clock: Clock) -> Work:
    return Work(b"a key", ROUNDS, clock)


def solved(challenge: dict[str, Any], **other: Any) -> str:
    """A solution as a form carries it. other: of the challenge's parameters, after it was solved."""
    asked = altcha.Challenge.from_dict(challenge)
    found = altcha.solve_challenge(asked)
    assert found is not None
    said = json.loads(base64.b64decode(altcha.Payload(asked, found).to_base64()))
    said["challenge"]["parameters"] |= other
    return packed(said)


def packed(said: Any) -> str:
    return base64.b64encode(json.dumps(said).encode()).decode()


async def test_work_that_is_done_counts_once(work: Work) -> None:
    solution = solved(work.challenge())
    assert len(solution) < MAX_SOLUTION / 2
    assert await work.wrong(solution) is None
    assert await work.wrong(solution) == "The work that came with it was done for another comment."
    assert await work.wrong(solved(work.challenge())) is None


async def test_work_has_an_end_and_is_forgotten_then(work: Work, clock: Clock) -> None:
    solution, late = solved(work.challenge()), solved(work.challenge())
    assert await work.wrong(solution) is None
    clock.now += LIFE + 1
    assert await work.wrong(late) == "The work that came with it is too old."
    assert not work._used, "what can't count again needs no memory"


@pytest.mark.parametrize(
    "other",
    [{"cost": 1}, {"keyPrefix": ""}, {"expiresAt": 2_000_000_000}, {"nonce": "00" * 16}, {"algorithm": "SHA-256"}],
)
async def test_a_challenge_can_not_be_made_easier(work: Work, other: dict[str, Any]) -> None:
    assert await work.wrong(solved(work.challenge(), **other)) == "The work that came with it is not right."


async def test_a_solution_is_computed_and_not_guessed(work: Work) -> None:
    said = {"challenge": work.challenge(), "solution": {"counter": 0, "derivedKey": "00" * 32}}
    assert await work.wrong(packed(said)) == "The work that came with it is not right."


async def test_work_for_another_site_counts_for_nothing_here(work: Work, clock: Clock) -> None:
    other = Work(b"another key", ROUNDS, clock)
    assert await work.wrong(solved(other.challenge())) == "The work that came with it is not right."


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda some: (
        st.lists(some, max_size=3)
        | st.dictionaries(
            st.sampled_from(["challenge", "solution", "parameters", "signature", "expiresAt", "counter", "derivedKey"]),
            some,
        )
    ),
    max_leaves=12,
)


@given(st.text(max_size=50) | ANYTHING.map(packed) | st.just("A" * (MAX_SOLUTION + 1)))
async def test_whatever_is_sent_as_work_is_answered_in_words(text: str) -> None:
    said = await Work(b"a key", ROUNDS).wrong(text)
    assert said is not None
    assert said.startswith(("The work that came with it", MISSING))


class TestSite:
    """A site that asks for work."""

    @pytest.fixture
    def settings(self, site_url: str, tmp_path: Path) -> Settings:
        return working_settings(site_url, tmp_path, ROUNDS)

    async def test_a_comment_with_work_is_published_and_one_without_waits_and_says_why(
        self, ada: Writer, database: Database
    ) -> None:
        challenge = await (await ada.browser.fetch(ASKS)).json()
        assert challenge["parameters"]["cost"] == ROUNDS
        solution = solved(challenge)
        await ada.send(POST, name="Ada", text="Done", work=solution)
        await ada.send(POST, name="Ada", text="Without")
        await ada.send(POST, name="Ada", text="Once more", work=solution)
        assert [each.status for each in await comments(database)] == [Status.PUBLISHED, Status.HELD, Status.HELD]
        reasons = [each.reasons for each in await records(database)]
        assert "work" not in reasons[0]
        assert MISSING in reasons[1]
        assert "was done for another comment" in reasons[2]

    async def test_the_same_comment_sent_again_is_one_though_its_work_is_used(
        self, ada: Writer, database: Database
    ) -> None:
        solution = solved(await (await ada.browser.fetch(ASKS)).json())
        sent = {"name": "Ada", "text": "Once", "work": solution, "key": "own-" + "1" * 24}
        first, again = await ada.send(POST, **sent), await ada.send(POST, **sent)
        assert (await first.json())["comment"]["id"] == (await again.json())["comment"]["id"]
        assert [each.status for each in await comments(database)] == [Status.PUBLISHED]

    async def test_who_runs_no_scripts_is_told_beforehand(self, ada: Writer) -> None:
        await ada.browser.look("/events/brass-on-the-quay")
        assert 'data-work="/comments/work"' in ada.browser.page
        assert "so a moderator will look at it first" in ada.browser.page


async def test_a_site_that_asks_for_none_has_no_challenges(ada: Writer) -> None:
    assert (await ada.browser.fetch(ASKS)).status == 404
    await ada.browser.look("/events/brass-on-the-quay")
    assert "data-work" not in ada.browser.page
