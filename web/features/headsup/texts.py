"""The other mail there is: the one that asks whether somebody wants heads-ups at all. Pure."""

from __future__ import annotations

from ...services.mail.headers import header_text
from ...services.mail.messages import Mail


def confirmation(*, to: str, name: str, repository: str, owner: str, page: str) -> Mail:
    """Asks once. page: where one says yes, or never."""
    shown = header_text(repository, 200)
    who = header_text(owner, 100)
    text = (
        f"{who} would like to send you heads-ups of {shown}: a mail when a commit has something in it\n"
        "that you must know before you pull.\n\n"
        f"To get them, say yes here:\n{page}\n\n"
        "If you don't, nothing more comes. The same page has a way to never be asked again.\n"
    )
    return Mail(to=to, to_name=name, subject=f"Do you want heads-ups of {shown}?", text=text)
