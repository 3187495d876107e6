"""The navigation's links, which features hand in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: For whom a link is: everybody, those who have not signed in, those who have.
For = Literal["all", "visitors", "users"]


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the navigation.

    within: what a page's path begins with to be of this part, for `aria-current`; else its path alone. order: links are
    sorted by it, then by name.
    """

    name: str
    path: str
    to: For = "all"
    order: int = 50
    within: str | None = None

    def is_current(self, path: str) -> bool:
        """Whether a page at this path is of the link's part."""
        return path == self.path if self.within is None else path.startswith(self.within)

    def is_for(self, user: object | None) -> bool:
        """Whether it is shown to this user, or to a visitor who is none."""
        return self.to == "all" or (self.to == "users") == (user is not None)
