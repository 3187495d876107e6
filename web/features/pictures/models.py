"""A picture in a row: what makes a model the owner of one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON
from sqlalchemy.orm import Mapped, mapped_column

from .forms import Shown


class HasPicture:
    """Mixin of a model that may have a picture; it has a slug too, and an id.

    `class Post(HasPicture, Base)`. The column has what a page needs to show it (`forms.Shown`): no page asks for more.
    """

    picture: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

    @property
    def shown_picture(self) -> Shown | None:
        """The picture, as pages show it."""
        return None if self.picture is None else Shown.from_row(self.picture)


def picture_of(row: Any) -> Shown | None:
    """The picture of a row of columns, as pages show it."""
    return None if row.picture is None else Shown.from_row(row.picture)


def owner_of(table: str) -> type[Any]:
    """The model of a table. Raises LookupError for one without pictures."""
    return {model.__tablename__: model for model in HasPicture.__subclasses__()}[table]  # type: ignore[attr-defined]
