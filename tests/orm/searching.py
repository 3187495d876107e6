"""Programs made from seeds: the same in every run of the tests, others when one searches for faults.

A gate that throws dice fails whoever is next, so the tests run programs of the same seeds each time. Searching is a
run of its own (`make search`, or with these in the environment of pytest):

    SEARCH=5000            run so many programs of each test instead, of seeds never tried before
    SEARCH_SEED=571649     begin with this seed: what a failure names, to see it again (SEARCH=1 for it alone)
"""

from __future__ import annotations

import os
import random
from collections.abc import Collection, Iterator


def seeds(count: int, once: Collection[int] = ()) -> Iterator[int]:
    """The seeds of the programs to run: `count` fixed ones, unless the environment asks for others.

    once: seeds of programs that failed once; they are run with the fixed ones.
    """
    wanted = os.environ.get("SEARCH")
    if wanted is None:
        return iter([*once, *range(count)])
    first = os.environ.get("SEARCH_SEED")
    start = random.randrange(1 << 40) if first is None else int(first)
    return iter(range(start, start + int(wanted)))
