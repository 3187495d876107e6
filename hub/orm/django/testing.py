"""For a site's own tests: what would have been told, without a hub.

def test_a_comment_is_told(self):
    with recorded_hints() as hints:
        Comment.objects.create(article_id=17)
    self.assertEqual(hints, [("comments-17", True)])
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock

from django.db import transaction
from django.test import TestCase

from ...protocol.channels import to_fanout
from ..declarations import Notice
from .telling import telling


@contextmanager
def recorded_hints(using: str = "default") -> Iterator[list[tuple[str, Any]]]:
    """The hints that the block commits, as (channel, data), channels in Fanout form.

    Works inside a TestCase too, whose transaction never commits: what would be committed by then
    counts. What is rolled back, savepoints included, is not there. Nothing is written or published.
    """
    hints: list[tuple[str, Any]] = []

    def write(found: Sequence[Notice], alias: str) -> None:
        told = [(to_fanout(one.channel), json.loads(one.data)) for one in dict.fromkeys(found)]
        with transaction.atomic(using=alias, savepoint=False):
            transaction.on_commit(lambda: hints.extend(told), using=alias)

    # As if there were a key: what a site's tests see is what its production would tell.
    listening = mock.patch.object(telling, "listens", return_value=True)
    with (
        listening,
        mock.patch.object(telling, "write", write),
        TestCase.captureOnCommitCallbacks(using=using, execute=True),
    ):
        yield hints
