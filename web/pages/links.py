"""The links that every page has, which features hand in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..identity.roles import Permission, Role, may

#: For whom a link is: everybody, those who have not signed in, those who have, or those who have a permission.
For = Literal["all", "visitors", "users"] | Permission


@dataclass(frozen=True, slots=True)
class Link:
    """A link of the navigation, or of the pages' foot.

    within: what a page's path begins with to be of this part, for `aria-current`; else its path alone. order: links are
    sorted by it, then by name. foot: for what few look for; the navigation is for the parts of the site.
    """

    name: str
    path: str
    to: For = "all"
    order: int = 50
    within: str | None = None
    foot: bool = False

    def is_current(self, path: str) -> bool:
        """Whether a page at this path is of the link's part."""
        return path == self.path if self.within is None else path.startswith(self.within)

    def is_for(self, role: Role) -> bool:
        """Whether it is shown to who has this role."""
        if isinstance(self.to, Permission):
            return may(role, self.to)
        return self.to == "all" or (self.to == "visitors") == (role is Role.VISITOR)
