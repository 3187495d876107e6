"""Code of the site that sees each publication before this process's subscribers do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from .counters import Counters
from .protocol.channels import is_meta
from .protocol.publications import History, Publication

logger = logging.getLogger(__name__)

#: Sees a publication before this process's subscribers do: what it returns is delivered, None drops it. It
#: may give other data (`Publication.with_data`), keeps channel and position, and must not wait.
Extension = Callable[[Publication], Publication | None]


class Extensions:
    """The extensions of one node. `published`: they see each publication once, before it is encoded for all."""

    def __init__(self, counters: Counters) -> None:
        self.published: list[Extension] = []
        self._counters = counters

    def history(self, history: History) -> History:
        """What this process's subscribers may have of a channel's history."""
        if not self.published:
            return history
        passed = tuple(kept for kept in map(self._pass_one, history.publications) if kept is not None)
        return History(passed, history.top, history.recovered)

    def pass_out(self, publications: Sequence[Publication]) -> list[Publication]:
        """Let code of the site change publications, or drop them, for this process's subscribers."""
        passed = [kept for kept in map(self._pass_one, publications) if kept is not None]
        self._counters.withheld += len(publications) - len(passed)
        return passed

    def passed(self, publications: Sequence[Publication]) -> Sequence[Publication]:
        """As `pass_out`, where there is such code."""
        return self.pass_out(publications) if self.published else publications

    def _pass_one(self, publication: Publication) -> Publication | None:
        if is_meta(publication.channel):
            return publication
        kept = publication
        try:
            for extension in self.published:
                changed = extension(kept)
                if changed is None:
                    return None
                if (changed.channel, changed.position) != (publication.channel, publication.position):
                    raise ValueError("channel or position changed")
                kept = changed
        except Exception:
            # What should perhaps not be seen is not, and the others go on.
            logger.exception("extension failed", extra={"channel": publication.channel})
            return None
        return kept
