"""What kind of caller an agent is: a browser, a bot, a feed reader, a script or a monitor. Pure.

CrawlerDetect knows bots, and takes readers, monitors and scripts for such too; what we know of those comes first.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from enum import StrEnum

from crawlerdetect.crawlerdetect import get_compiled_crawler_regex, get_compiled_exclusions_regex

#: Characters of an agent that are looked at. Browsers' have some 120; each costs our expressions, and what takes
#: browsers' usual words out, a microsecond.
MAX_AGENT = 256

#: Characters of what is left without browsers' usual words that bots are looked for in. Each costs their one large
#: expression 17 µs, and in long runs of letters and digits more; bots that are known name themselves in the first 50.
_LEFT = 64

#: Agents remembered, and CPU seconds a second in which new ones are looked at closely: a browser's takes 0.2 ms and
#: the worst 2, and anybody can make up thousands.
_REMEMBERED = 4096
_CLOSELY = 0.02


class Kind(StrEnum):
    """What a caller is."""

    BROWSER = "browser"
    BOT = "bot"
    READER = "reader"
    SCRIPT = "script"
    MONITOR = "monitor"


#: In people's words.
NAMES = {
    Kind.BROWSER: "Browsers",
    Kind.BOT: "Bots",
    Kind.READER: "Feed readers",
    Kind.SCRIPT: "Scripts",
    Kind.MONITOR: "Monitors",
}

_MONITORS = re.compile(
    r"prometheus|kube-probe|healthcheck|googlehc|uptime|pingdom|statuscake|nagios|check_http|icinga|zabbix|datadog|"
    r"newrelicpinger|site24x7|better ?stack|blackbox|haproxy|consul health|checkly|hetrixtools|freshping|gatus|"
    r"^monit/|route ?53|traffic manager endpoint|statuspage|updown\.io|cronitor|sensu|grafana",
    re.IGNORECASE,
)
_READERS = re.compile(
    r"\brss\b|\bfeeds?\b|feed ?(?:ly|bin|er\b|reader|fetcher|parser|burner|hq|spot)|newsblur|inoreader|netnewswire|"
    r"miniflux|freshrss|tiny ?tiny|oldreader|newsboat|newsbeuter|akregator|liferea|reeder|bazqux|"
    r"podcast|overcast|pocket ?casts|antennapod|gpodder|castro|castbox|podverse|itunes/|websub|superfeedr|blogtrottr|"
    r"thunderbird|vienna/|readkit|selfoss|yarr\b|rssowl|commafeed|fluent ?reader",
    re.IGNORECASE,
)
_SCRIPTS = re.compile(
    r"^(?:curl|wget|python|aiohttp|http(?:x|ie)|okhttp|java|axios|node|undici|got|ky|postman|insomnia|ruby|perl|"
    r"lwp|libwww|php|guzzle|reqwest|dart|deno|bun|ktor|rest|kubectl|powershell|go-http|apache-http|jakarta|faraday|"
    r"typhoeus|hackney|mint/|finch|rust|hyper|ureq|isahc|unirest|winhttp|hey/|wrk|k6/|vegeta|ab/|apachebench|siege|"
    r"schemathesis|github-hookshot|gitlab|gitea|forgejo|bitbucket|stripe|twilio|slack-?hooks|mozilla/5\.0 \(windows nt;"
    r" windows nt [\d.]+; [a-z-]+\) windowspowershell)|python-requests|python-urllib|fanfare/",
    re.IGNORECASE,
)


def kind_of(agent: str) -> Kind:
    """The kind of a User-Agent. Who says nothing is a script."""
    agent = agent[:MAX_AGENT].strip()
    if not agent:
        return Kind.SCRIPT
    if _MONITORS.search(agent):
        return Kind.MONITOR
    if _READERS.search(agent):
        return Kind.READER
    if _SCRIPTS.search(agent):
        return Kind.SCRIPT
    left = get_compiled_exclusions_regex().sub("", agent)
    if get_compiled_crawler_regex().search(left, 0, _LEFT):
        return Kind.BOT
    return roughly(agent)


def roughly(agent: str) -> Kind:
    """A rough kind, by the first characters of the User-Agent alone."""
    return Kind.BROWSER if agent.startswith(("Mozilla/", "Opera/")) else Kind.SCRIPT


class Kinds:
    """Remembers kinds of agents, and bounds what finding them costs."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        spent: Callable[[], float] = time.thread_time,
        closely: float = _CLOSELY,
    ) -> None:
        self._clock = clock
        self._spent = spent
        self._closely = closely
        #: Those that are known by now: looked up before `of` is called, where every call counts.
        self.known: dict[str, Kind] = {}
        self._second = 0
        self._took = 0.0
        #: Agents that were looked at no closer than at a glance.
        self.glances = 0

    def of(self, agent: str) -> Kind:
        """As `kind_of`; at a glance where new agents have taken too much time in this second."""
        found = self.known.get(agent)
        return self._look(agent) if found is None else found

    def _look(self, agent: str) -> Kind:
        second = int(self._clock())
        if second != self._second:
            self._second, self._took = second, 0.0
        if self._took >= self._closely:
            self.glances += 1
            return roughly(agent)
        began = self._spent()
        found = kind_of(agent)
        self._took += self._spent() - began
        if len(agent) <= 4 * MAX_AGENT:
            if len(self.known) >= _REMEMBERED:
                self.known.clear()
            self.known[agent] = found
        return found
