"""One push and one rule: what is told, as a row keeps it, and the mail that tells it. Pure.

The mail of a push has all its remarks, oldest first. Every text is a stranger's: in the text part it stands as it was
written, in HTML it is escaped once, and a link is one only if it leads to http or https.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self
from urllib.parse import urlsplit

from markupsafe import Markup

from ...services.domains import may_be_split
from ...services.mail.addresses import BadAddress, parse_address
from ...services.mail.headers import header_text
from .cutting import cut
from .rules import Entry

#: Characters of a subject; remarks of one mail. What is beyond is counted, with a link.
MAX_SUBJECT = 150
MAX_ENTRIES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One remark in a heads-up. rest: characters of it that were left out; others: commits that say the same."""

    sha: str
    text: str
    revert: bool = False
    author: str = ""
    email: str = ""
    url: str = ""
    committer: str = ""
    rest: int = 0
    others: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadsUp:
    """What is told of a push by a rule.

    kind: "branch" or "tag"; ref: its name. entries: oldest first, MAX_ENTRIES at most; more: how many there are beyond.
    again: how many were told before in another commit. unseen: commits of the push that the forge does not list;
    truncated: it lists fewer and doesn't say how many. notes: what the reader should know of how it was made. replay:
    counts how often somebody sent it again.
    """

    repository: str
    repository_url: str = ""
    kind: str = "branch"
    ref: str = ""
    compare_url: str = ""
    pusher: str = ""
    forced: bool = False
    entries: tuple[Told, ...] = ()
    more: int = 0
    again: int = 0
    unseen: int = 0
    truncated: bool = False
    notes: tuple[str, ...] = ()
    replay: int = 0

    def as_data(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """From `as_data`; fields of a later release are left out."""
        known = {each.name for each in fields(cls)}
        told = {each.name for each in fields(Told)}
        values = {name: value for name, value in data.items() if name in known}
        values["entries"] = tuple(
            Told(**{name: value for name, value in each.items() if name in told}) for each in data.get("entries", ())
        )
        values["notes"] = tuple(data.get("notes", ()))
        return cls(**values)

    @property
    def count(self) -> int:
        """How many remarks there are, those beyond MAX_ENTRIES too."""
        return len(self.entries) + self.more


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """For whom a mail is. others: the addresses that get it too; log: the page of this push; out: takes one off."""

    others: Sequence[str] = ()
    log: str = ""
    out: str = ""
    words: Sequence[str] = field(default_factory=tuple)


def subject_of(headsup: HeadsUp) -> str:
    """`Headsup! ada/engine: run the migration first (+2)`, MAX_SUBJECT characters at most."""
    where = headsup.repository + (f" {headsup.ref}" if headsup.kind == "tag" else "")
    first = next((line.strip() for each in headsup.entries for line in each.text.split("\n") if line.strip()), "")
    more = f" (+{headsup.count - 1})" if headsup.count > 1 else ""
    again = "Again: " if headsup.replay else ""
    start = cut(header_text(f"{again}Headsup! {where}: "), MAX_SUBJECT - 40) if where else "Headsup! "
    return (
        start.rstrip() + " " + cut(header_text(first, 4 * MAX_SUBJECT), MAX_SUBJECT - len(start) - len(more) - 1) + more
    )


def reply_to(headsup: HeadsUp) -> str | None:
    """The author's address, if there is one author, whom mail reaches."""
    found = {each.email for each in headsup.entries}
    if len(found) != 1:
        return None
    text = found.pop()
    if "noreply" in text.lower() or "no-reply" in text.lower():
        return None
    try:
        address = parse_address(text)
    except BadAddress:
        return None
    return address.spec if address.is_ascii else None


def text_of(headsup: HeadsUp, reader: Reader) -> str:
    """The text part."""
    lines = [_heading(headsup), *facts_of(headsup)]
    if _link(headsup.compare_url):
        lines.append(headsup.compare_url)
    lines.append("")
    for each in headsup.entries:
        lines += ["-" * 40, shown_text(each), "", _by(each)]
        if _link(each.url):
            lines.append(each.url)
        lines.append("")
    if headsup.more:
        lines += ["-" * 40, _more(headsup), *([reader.log] if reader.log else []), ""]
    lines += ["=" * 40]
    if reader.others:
        lines.append(f"Also sent to: {', '.join(reader.others)}")
    if reader.log:
        lines.append(f"Why this was sent: {reader.log}")
    if reader.out:
        lines.append(f"No more of these: {reader.out}")
    return "\n".join(lines) + "\n"


def html_of(headsup: HeadsUp, reader: Reader) -> str:
    """The HTML part: a whole document."""
    entries = [_entry_html(each) for each in headsup.entries]
    if headsup.more:
        link = _anchor(reader.log, "All of them are in the log.") if _link(reader.log) else Markup()
        entries.append(Markup('<div class="entry"><p>{} {}</p></div>').format(_more(headsup), link))
    foot = []
    if reader.others:
        foot.append(Markup("Also sent to: {}").format(", ".join(reader.others)))
    links = [(reader.log, "Why this was sent"), (reader.out, "No more of these")]
    foot.append(Markup(" · ").join(_anchor(url, words) for url, words in links if _link(url)))
    facts = Markup("").join(Markup('<p class="facts">{}</p>').format(each) for each in facts_of(headsup))
    compare = Markup("<p>{}</p>").format(_anchor(headsup.compare_url, "See the changes"))
    return _DOCUMENT.format(
        title=subject_of(headsup),
        style=_STYLE,
        heading=_heading(headsup),
        facts=facts,
        compare=compare if _link(headsup.compare_url) else "",
        entries=Markup("\n").join(entries),
        foot=Markup("").join(Markup("<p>{}</p>").format(each) for each in foot if each),
    )


def shown_text(each: Told) -> str:
    """A remark as mails show it, and how many characters there are beyond."""
    return f"{each.text}\n[{each.rest} more characters are in the commit]" if each.rest else each.text


def told(entry: Entry) -> Told:
    """What a rule found, as it is told."""
    return Told(
        sha=entry.sha,
        text=entry.text,
        revert=entry.is_revert,
        author=entry.author,
        email=entry.email,
        url=entry.url,
        committer=entry.committer,
        rest=entry.rest,
        others=len(entry.others),
    )


def _heading(headsup: HeadsUp) -> str:
    what = "1 heads-up" if headsup.count == 1 else f"{headsup.count} heads-ups"
    where = f"tag {headsup.ref}" if headsup.kind == "tag" else f"branch {headsup.ref}"
    return header_text(f"{what} in {headsup.repository}, {where}", 600)


def facts_of(headsup: HeadsUp) -> list[str]:
    """What there is to say of the push itself, a sentence each."""
    facts = []
    if headsup.pusher:
        facts.append(header_text(f"Pushed by {headsup.pusher}{', forced' if headsup.forced else ''}.", 300))
    elif headsup.forced:
        facts.append("The push was forced.")
    if headsup.replay:
        facts.append("Somebody sent this again from the log.")
    if headsup.again:
        facts.append(f"Not repeated here: {headsup.again} that you were told in the last 14 days.")
    if headsup.unseen:
        facts.append(f"{headsup.unseen} more commits are not shown: the forge did not list them.")
    elif headsup.truncated:
        facts.append("The forge did not list all commits of this push.")
    return [*facts, *headsup.notes]


def _by(each: Told) -> str:
    who = f"By {each.author}" if each.author else "By somebody"
    committed = f", committed by {each.committer}" if each.committer else ""
    others = f", and {each.others} more that say the same" if each.others else ""
    return header_text(f"{'Reverted. ' if each.revert else ''}{who}{committed}, {each.sha[:10]}{others}", 400)


def _more(headsup: HeadsUp) -> str:
    return f"{headsup.more} more heads-ups are not shown here."


def _link(url: str) -> bool:
    """Whether a URL may be a link: what else there is runs a script, or is a page of its own."""
    if not may_be_split(url):
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and url.isprintable() and " " not in url


def _anchor(url: str, words: object) -> Markup:
    return Markup('<a href="{}">{}</a>').format(url, words) if _link(url) else Markup("{}").format(words)


def _entry_html(each: Told) -> Markup:
    by = _anchor(each.url, _by(each)) if _link(each.url) else _by(each)
    return Markup('<div class="entry">\n<p class="remark">{}</p>\n<p class="by">{}</p>\n</div>').format(
        shown_text(each), by
    )


_STYLE = Markup("""
body { margin: 0; padding: 24px 16px; background: #faf7f2; color: #1f1a17; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.mail { max-width: 640px; margin: 0 auto; }
h1 { font-size: 20px; line-height: 1.3; margin: 0 0 8px; }
p { margin: 0 0 8px; overflow-wrap: anywhere; }
a { color: #9a3412; }
.facts, .by, .foot { color: #655a52; font-size: 14px; }
.by a { color: inherit; }
.entry { margin: 16px 0 0; padding: 14px 16px; background: #ffffff; border: 1px solid #e4dcd1; border-radius: 12px; }
.entry p:last-child { margin-bottom: 0; }
.remark { white-space: pre-wrap; }
.foot { margin-top: 20px; }
@media (prefers-color-scheme: dark) {
  body { background: #16120f; color: #f4ede6; }
  a { color: #f6a85c; }
  .facts, .by, .foot { color: #b8aa9d; }
  .entry { background: #211b17; border-color: #3a3029; }
}
""")  # noqa: E501 - a style sheet's lines

_DOCUMENT = Markup("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<div class="mail">
<h1>{heading}</h1>
{facts}{compare}
{entries}
<div class="foot">
{foot}
</div>
</div>
</body>
</html>
""")
