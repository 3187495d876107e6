"""What somebody wrote, cleaned and checked."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from ...pages.markdown import TextError, render_comment
from ...pages.requests import clean_line, clean_long
from ...services.mail.addresses import MAX_ADDRESS, BadAddress, parse_address
from .models import MAX_COMMENT, MAX_NAME
from .work import MAX_SOLUTION

#: Characters of a text that is made into HTML at once; 500 lists, or addresses that are none, are 13 ms.
_SHORT = 100

#: Characters of a name in which such that can't be seen are looked for: each takes 50 ns.
_LOOKED_AT = 10 * MAX_NAME

#: The field that people don't see. A program that fills in all there are fills it in too.
HIDDEN = "website"

#: A script names each comment of its own; a page's name is in its form.
_OWN_KEY = re.compile(r"own-[A-Za-z0-9-]{16,60}")

#: What turns the direction of what is after it, and what nobody sees: a name with them could look like another's.
_TURNS = re.compile("[\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\u00ad]")


@dataclass(frozen=True, slots=True)
class CommentForm:
    """What someone wrote, and by field what is wrong with it; what is wrong with none is of the field "".

    parent: the comment that it answers, 0 for none. form: what the page's form carried. key: a name that a script gave
    it, so that what is sent twice is one comment. mail: where answers are to be sent, or "". work: what the browser has
    computed for it. html: of the text, "" where something is wrong with that.
    """

    name: str = ""
    text: str = ""
    parent: int = 0
    hidden: str = ""
    form: str = ""
    key: str = ""
    mail: str = ""
    work: str = ""
    errors: tuple[tuple[str, str], ...] = ()
    html: str = ""

    @classmethod
    async def read(cls, fields: Mapping[str, str]) -> CommentForm:
        """A form as it came in, cleaned and checked."""
        name = fields.get("name", "")
        name = clean_line(_TURNS.sub("", name) if len(name) <= _LOOKED_AT else name, MAX_NAME)
        text = await clean_long(fields.get("text", ""), MAX_COMMENT)
        errors = []
        if not name:
            errors.append(("name", "Say who you are; any name will do."))
        elif len(name) > MAX_NAME:
            errors.append(("name", f"Names have at most {MAX_NAME} characters."))
        html, said = await rendered(text)
        if said is not None:
            errors.append(("text", said))
        mail = clean_line(fields.get("mail", ""), MAX_ADDRESS)
        if mail:
            try:
                parse_address(mail)
            except BadAddress as error:
                errors.append(("mail", f"No mail goes there: {error}."))
        parent = fields.get("parent", "")
        key = fields.get("key", "")
        return cls(
            name,
            text,
            int(parent) if re.fullmatch(r"[1-9][0-9]{0,8}", parent) else 0,
            fields.get(HIDDEN, "")[:200],
            fields.get("form", "")[:100],
            key if _OWN_KEY.fullmatch(key) else "",
            mail,
            fields.get("work", "")[: MAX_SOLUTION + 1],
            tuple(errors),
            html,
        )

    def error(self, field: str) -> str | None:
        """What is wrong with a field."""
        return dict(self.errors).get(field)

    def wrong(self, words: str, field: str = "") -> CommentForm:
        """The same with something wrong."""
        return replace(self, errors=(*self.errors, (field, words)))

    def named(self, thread_id: int, address: str) -> str | None:
        """What the same comment, sent again, is known by; None if nothing says that it was sent again."""
        if self.key:
            whose = self.key
        elif self.form:
            # A page's form is the same for all who read it.
            whose = f"{self.form}\n{address}"
        else:
            return None
        sent = f"{whose}\n{thread_id}\n{self.parent}\n{self.name}\n{self.text}"
        return hashlib.sha256(sent.encode(errors="surrogatepass")).hexdigest()


async def rendered(text: str) -> tuple[str, str | None]:
    """The HTML of a comment's text, and what is wrong with it. Of a longer one others have their turn meanwhile."""
    if not text:
        return "", "Write something first."
    if len(text) > MAX_COMMENT:
        return "", f"Comments have at most {MAX_COMMENT} characters; this one has {len(text)}."
    try:
        return (render_comment(text) if len(text) <= _SHORT else await asyncio.to_thread(render_comment, text)), None
    except TextError as error:
        return "", str(error)
