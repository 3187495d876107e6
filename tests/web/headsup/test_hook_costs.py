"""What the worst deliveries of who may sign one cost those who are served beside them."""

from __future__ import annotations

import pytest
from headsup_site import Site
from pushing import github
from rounds import pieces


@pytest.mark.parametrize("commit", [{}, []])
async def test_lists_of_short_commits_are_read_while_others_have_their_turn(site: Site, commit: object) -> None:
    """8,000 commits of two bytes, 32 kB in all, were a piece of 30 ms of the hook, and another of its job."""
    await site.watch()
    least = float("inf")
    for number in range(4):
        sent = github(
            {
                "ref": "refs/heads/main",
                "after": "a" * 40,
                "number": number,
                "repository": None,
                "commits": [commit] * 8_000,
            }
        )
        with pieces() as each:
            assert await site.told(sent, site.projects[0]) < 500
        least = min(least, max(each))
    assert least < 0.012
