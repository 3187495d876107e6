"""The site's kept pages with their sheets in them: made when a page is, from plans that are there before it is.

A page without scripts looks the same for ever; in one that has some, what comes later may use any rule. So css.js puts
the whole sheet in the style's place once the page is shown. It stays in the browser's cache, and the browser says of
the next page that it has it (Available-Dictionary, RFC 9842): such a page has its link.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path

from markupsafe import Markup
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from ...pages.assets import PREFIX, Assets
from ...pages.styles import Styled
from .errors import LeftSheet
from .inline import Result, Sheets, inline
from .plan import Plan, compile_sheet

#: Seconds of a core that a page may take; ours take a millisecond. Not of the clock: a machine that stops this process
#: for a while makes no page costly, and what it had to leave would stay as it was until it changes.
SECONDS = 0.25

#: What our scripts set is in the whole sheet, which comes after the page is shown. Between the two there is: live.js
#: says what it does with these.
KEEP = frozenset({".is-new", ".error", ".notice", ".panel", ".copy-code", "dialog", "[data-state]"})

#: A name by which the page is known to itself; what is relative to it is told without it.
_ORIGIN = "https://site.invalid"


@lru_cache(maxsize=64)
def _compiled(text: str, url: str) -> Plan:
    return compile_sheet(text, url)


class SiteStyles:
    """Makes pages' other forms. assets: where the sheets are. on: False to leave every page as it is."""

    def __init__(self, assets: Assets, *, on: bool = True) -> None:
        self._assets = assets
        self._on = on
        self.counts: Counter[str] = Counter()

    def prepare(self, folder: Path) -> None:
        """Compile the sheets there are, before pages need them. May take a tenth of a second."""
        if self._on:
            for path in sorted(folder.glob("*.css")):
                try:
                    self._plan(_ORIGIN + self._assets.url(path.name))
                except LeftSheet:
                    continue

    def styled(self, body: bytes, path: str) -> Styled:
        """A page's other form (`pages.styles.Styles`)."""
        if not self._on:
            return Styled("")
        try:
            result = self._result(body, path)
        except Exception as error:  # noqa: BLE001  # counted: whatever it was, the page is there as it was
            self.counts["failed"] += 1
            return Styled(f'original; why="{type(error).__name__}"')
        self.counts["inline" if not result.left else "original"] += 1
        if result.left:
            return Styled(result.header)
        script = Markup('<script src="{}" defer></script>').format(self._assets.url("css.js"))
        # Behind the last style, in the head: what a page's own scripts add comes after it.
        html = re.sub("(?i)</head>", lambda match: f"{script}\n{match[0]}", result.html, count=1)
        return Styled(result.header, html.encode(), result.hashes, self._known(result, path))

    async def metrics(self) -> list[Metric]:
        """How many pages were made, by what became of them, in Prometheus's words."""
        made = CounterMetricFamily(
            "site_css_pages", "pages by what became of their sheets: inline, original, failed", labels=["how"]
        )
        for how in ("inline", "original", "failed"):
            made.add_metric([how], self.counts[how])
        return [made]

    def _result(self, body: bytes, path: str) -> Result:
        began, until = time.perf_counter(), time.thread_time() + SECONDS

        def late() -> bool:
            # The clock is asked first: that is no call into the kernel.
            return time.perf_counter() - began > SECONDS and time.thread_time() > until

        return inline(body.decode(), _ORIGIN + path, self._plan, keep=KEEP, late=late)

    def _plan(self, url: str) -> Plan:
        name = url.partition("?")[0].removeprefix(_ORIGIN + PREFIX)
        try:
            asset = self._assets.get(name)
        except LookupError:
            raise LeftSheet("it is not one of ours") from None
        return _compiled(asset.body.decode(), url)

    def _known(self, result: Result, path: str) -> str:
        """What a browser says that has a page's sheets: the one that it is asked about at that path came with them."""
        names = [
            sheet.url.partition("?")[0].removeprefix(_ORIGIN + PREFIX)
            for sheet in result.sheets
            if sheet.state != "link" and sheet.url.startswith(_ORIGIN)
        ]
        matches = {name: match.rstrip("*") for name, match in self._assets.dictionaries.items()}
        found = [name for name in names if name in matches and path.startswith(matches[name])]
        if not found:
            return ""
        # Of several that match a browser takes the longest pattern (RFC 9842, §2.2.3).
        name = max(found, key=lambda each: len(matches[each]))
        return f":{base64.b64encode(hashlib.sha256(self._assets.get(name).body).digest()).decode()}:"


__all__ = ["KEEP", "Sheets", "SiteStyles"]
