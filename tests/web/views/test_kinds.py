"""What kind of caller an agent is, and what finding it may cost."""

from __future__ import annotations

import itertools

import pytest
from cpu import least, taking

from web.features.views.kinds import Kind, Kinds, kind_of

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36"
AGENTS = {
    CHROME: Kind.BROWSER,
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:130.0) Gecko/20100101 Firefox/130.0": Kind.BROWSER,
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 Safari/604.1": Kind.BROWSER,
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)": Kind.BOT,
    "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)": Kind.BOT,
    "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)": Kind.BOT,
    "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)": Kind.BOT,
    "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)": Kind.BOT,
    "Feedly/1.0 (+http://www.feedly.com/fetcher.html; 12 subscribers)": Kind.READER,
    "NetNewsWire (RSS Reader; https://netnewswire.com/)": Kind.READER,
    "Miniflux/2.1.4 (+https://miniflux.app)": Kind.READER,
    "FreshRSS/1.24.1 (Linux; https://freshrss.org)": Kind.READER,
    "AntennaPod/3.5.0": Kind.READER,
    "Mozilla/5.0 (X11; Linux x86_64; rv:115.0) Gecko/20100101 Thunderbird/115.12.2": Kind.READER,
    "curl/8.5.0": Kind.SCRIPT,
    "Wget/1.21.3": Kind.SCRIPT,
    "python-requests/2.32.3": Kind.SCRIPT,
    "Python/3.11 aiohttp/3.14.3": Kind.SCRIPT,
    "Go-http-client/2.0": Kind.SCRIPT,
    "GitHub-Hookshot/3f0a9b1": Kind.SCRIPT,
    "okhttp/4.12.0": Kind.SCRIPT,
    "our own thing": Kind.SCRIPT,
    "": Kind.SCRIPT,
    "Prometheus/2.53.0": Kind.MONITOR,
    "kube-probe/1.30": Kind.MONITOR,
    "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)": Kind.MONITOR,
    "ELB-HealthChecker/2.0": Kind.MONITOR,
}


@pytest.mark.parametrize(("agent", "kind"), AGENTS.items())
def test_agents_have_their_kinds(agent: str, kind: Kind) -> None:
    assert kind_of(agent) is kind


def test_new_agents_are_looked_at_closely_for_so_long_a_second() -> None:
    at, spent = [0.0], itertools.count()
    kinds = Kinds(clock=lambda: at[0], spent=lambda: float(next(spent)), closely=2.0)
    found = [kinds.of(f"Mozilla/5.0 Googlebot/{number}") for number in range(4)]
    assert found == [Kind.BOT, Kind.BOT, Kind.BROWSER, Kind.BROWSER]
    assert kinds.glances == 2
    at[0] = 1.0
    assert kinds.of("Mozilla/5.0 Googlebot/3") is Kind.BOT
    # What is known costs nothing.
    at[0] = 1.5
    assert [kinds.of("Mozilla/5.0 Googlebot/0") for _ in range(9)] == [Kind.BOT] * 9


@pytest.mark.parametrize("run", ["a", "A1", "http", " a", "1.1 ", "(+;", "bo t/1 "])
def test_an_agent_is_looked_at_for_a_short_time(run: str) -> None:
    """250 characters without a bot's name took the bots' expression 4 to 13 ms; a hundred a second were let in."""
    agent = (run * 250)[:250]
    kind_of(agent)
    assert kind_of(agent) is Kind.SCRIPT
    assert least(lambda: kind_of(agent), 40, enough=0.003) < 0.003


def test_new_agents_take_a_bounded_time_of_a_second() -> None:
    """A thousand made-up agents took the loop a second of each; most are looked at roughly now, and counted."""
    kinds = Kinds(clock=lambda: 0.0)
    # What knows bots is made once.
    kind_of("a")
    with taking() as taken:
        for number in range(1000):
            kinds.of(f"{number}" + "a1" * 120)
    assert taken.seconds < 0.05
    assert 900 < kinds.glances < 1000


def test_long_agents_are_not_remembered() -> None:
    kinds = Kinds()
    for number in range(10):
        kinds.of("x" * 2000 + str(number))
    assert kinds.known == {}
