"""How a browser is named to its user: short, and without what would follow them about. Pure."""

from __future__ import annotations

import ipaddress
import re

#: Characters of what a browser says of itself that are looked at.
_LOOKED_AT = 400

#: In the order they are looked for: most say that they are Safari or Chrome too.
_BROWSERS = (
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/")),
    ("Opera", re.compile(r"OPR/|Opera")),
    ("Samsung Internet", re.compile(r"SamsungBrowser/")),
    ("Firefox", re.compile(r"(?:Firefox|FxiOS)/")),
    ("Chrome", re.compile(r"(?:Chrome|CriOS|Chromium)/")),
    ("Safari", re.compile(r"Safari/")),
    ("curl", re.compile(r"curl/")),
)
_SYSTEMS = (
    ("iPhone", re.compile(r"iPhone")),
    ("iPad", re.compile(r"iPad")),
    ("Android", re.compile(r"Android")),
    ("Windows", re.compile(r"Windows")),
    ("ChromeOS", re.compile(r"CrOS")),
    ("macOS", re.compile(r"Mac OS X|Macintosh")),
    ("Linux", re.compile(r"Linux|X11")),
)


def browser_name(agent: str) -> str:
    """A short name for a User-Agent, such as "Firefox on Linux": words of ours only, never a stranger's."""
    agent = agent[:_LOOKED_AT]
    browser = next((name for name, pattern in _BROWSERS if pattern.search(agent)), "")
    system = next((name for name, pattern in _SYSTEMS if pattern.search(agent)), "")
    return " on ".join(filter(None, (browser, system))) or "another program"


def network_of(address: str) -> str:
    """The network that an address is in: /24, or /64 for IPv6; "" for what is no address."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        parsed = parsed.ipv4_mapped or parsed
    length = 64 if isinstance(parsed, ipaddress.IPv6Address) else 24
    return str(ipaddress.ip_network((parsed, length), strict=False))
