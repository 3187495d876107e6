"""All that the guards let pass, each with its reason. Prefer to mend the page."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ignored:
    """A fault that is none. message: an expression for the whole of what the validator says, or the name of axe's rule
    and the selector of the element, as "color-contrast #main > p"."""

    message: str
    reason: str

    def match(self, message: str) -> bool:
        """Whether this is what a message says."""
        return re.fullmatch(self.message, message) is not None


#: Of the HTML validator.
MARKUP: tuple[Ignored, ...] = ()

#: Files of tests whose answers are not looked at by the HTML validator.
UNCHECKED: dict[str, str] = {
    "tests/web/html/test_watcher.py": "has pages with faults, to be found by another",
    "tests/web/test_openapi.py": "its posts and categories are any characters by chance, of private use too",
    "tests/web/test_site_costs.py": "times the longest and worst words: 200,000 of U+0001 in a form",
}

#: Of axe.
AXE: tuple[Ignored, ...] = ()
