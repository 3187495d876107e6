"""What somebody wrote, cleaned and checked."""

from __future__ import annotations

from dataclasses import dataclass

from ...pages.requests import clean_line, clean_long
from .models import MAX_COMMENT, MAX_NAME


@dataclass(frozen=True, slots=True)
class CommentForm:
    """What someone wrote, and by field what is wrong with it."""

    name: str = ""
    text: str = ""
    errors: tuple[tuple[str, str], ...] = ()

    @classmethod
    async def read(cls, fields: dict[str, str]) -> CommentForm:
        """A form as it came in, cleaned and checked."""
        name = clean_line(fields.get("name", ""), MAX_NAME)
        text = await clean_long(fields.get("text", ""), MAX_COMMENT)
        errors = []
        if not name:
            errors.append(("name", "Say who you are; any name will do."))
        elif len(name) > MAX_NAME:
            errors.append(("name", f"Names have at most {MAX_NAME} characters."))
        if not text:
            errors.append(("text", "Write something first."))
        elif len(text) > MAX_COMMENT:
            errors.append(("text", f"Comments have at most {MAX_COMMENT} characters; this one has {len(text)}."))
        return cls(name, text, tuple(errors))

    def error(self, field: str) -> str | None:
        """What is wrong with a field."""
        return dict(self.errors).get(field)
