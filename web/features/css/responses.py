"""What the middlewares share: which answers are looked at, and how an answer's headers change with its body."""

from __future__ import annotations

import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .inline import Result, Sheets, inline
from .policy import with_hashes

#: Says what was done, or why nothing was.
HEADER = "CSS-Inline"

#: Bytes of a page that is looked at, and pages whose result is remembered.
MAX_BODY = 1024**2
REMEMBERED = 512

_POLICIES = frozenset({"content-security-policy", "content-security-policy-report-only"})
#: Of the bytes that were: they are others now.
_OF_BYTES = frozenset({"content-length", "content-md5", "digest", "content-digest", "repr-digest"})

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent instead."""

    body: bytes
    headers: list[tuple[str, str]]


class Optimiser:
    """Puts sheets into pages. load: a sheet's text by its URL, None where there is none; `folders` makes one. keep:
    names that scripts set. seconds: what one page may take."""

    def __init__(self, load: Callable[[str], str | None], *, keep: Iterable[str] = (), seconds: float = 1.0) -> None:
        self._sheets = Sheets(load)
        self._keep = tuple(keep)
        self._seconds = seconds
        #: By body and place: the sheets are read once, so a restart brings new ones.
        self._results: dict[bytes, Result] = {}
        self.counts: Counter[str] = Counter()

    def wants(self, method: str, status: int, headers: Headers) -> bool:
        """Whether an answer may be a page to look at."""
        found = {name.lower(): value for name, value in headers}
        kind = found.get("content-type", "").lower()
        charset = re.search(r"charset\s*=\s*\"?([\w-]+)", kind)
        return (
            method == "GET"
            and status == 200
            and kind.partition(";")[0].strip() == "text/html"
            and (charset is None or charset[1] == "utf-8")
            and found.get("content-encoding", "identity") == "identity"
            and "no-transform" not in found.get("cache-control", "")
            and int(found.get("content-length", "0") or 0) <= MAX_BODY
        )

    def answer(self, url: str, body: bytes, headers: Headers) -> Answer:
        """A page's answer with its sheets in it, or as it was with a header that says why. Never raises."""
        result = self._result(url, body)
        new, left = result.html.encode(), result.left
        changed: list[tuple[str, str]] = []
        if not left:
            for name, value in headers:
                lower = name.lower()
                if lower in _POLICIES:
                    allowed = with_hashes(value, result.hashes)
                    if allowed is None:
                        left = "its policy forbids styles"
                        break
                    changed.append((name, allowed))
                elif lower == "etag" and not value.startswith("W/"):
                    changed.append((name, f"W/{value}"))
                elif lower not in _OF_BYTES:
                    changed.append((name, value))
        if left:
            self.counts["original"] += 1
            return Answer(body, [*headers, (HEADER, f'original; why="{left}"')])
        self.counts["inline"] += 1
        return Answer(new, [*changed, ("Content-Length", str(len(new))), (HEADER, result.header)])

    def _result(self, url: str, body: bytes) -> Result:
        key = hashlib.blake2b(body + b"\0" + url.partition("?")[0].encode(), digest_size=16).digest()
        found = self._results.get(key)
        if found is None:
            try:
                html = body.decode()
            except UnicodeDecodeError:
                return Result("", left="it is not UTF-8")
            until = time.monotonic() + self._seconds
            try:
                found = inline(html, url, self._sheets.plan, keep=self._keep, late=lambda: time.monotonic() > until)
            except Exception as error:  # noqa: BLE001  # said in the header: the page is there as it was
                found = Result(html, left=type(error).__name__)
            if len(self._results) >= REMEMBERED:
                self._results.pop(next(iter(self._results)))
            self._results[key] = found
        return found


def folders(where: Mapping[str, Path]) -> Callable[[str], str | None]:
    """Sheets from folders: `{"/static/": Path("static")}`; what is elsewhere stays a link."""

    def load(url: str) -> str | None:
        path = re.sub(r"^[a-z]+://[^/]*", "", url).partition("?")[0]
        for prefix, folder in where.items():
            if path.startswith(prefix):
                file = (folder / path[len(prefix) :]).resolve()
                if file.is_relative_to(folder.resolve()) and file.is_file():
                    return file.read_text(encoding="utf-8")
        return None

    return load
