"""Whether a comment is spam, and why. Pure: functions in a row, each gives a weight and a reason in words.

`judge` runs `CHECKS` over what somebody sent. Nothing is asked of others, and no word is secret: a moderator reads the
reasons, turns a verdict round, and `Learned` remembers the words of what was clicked.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

#: What a comment weighs that a moderator has to look at, and one that isn't taken.
HOLD = 5.0
REFUSE = 12.0

# Nobody needs more of a text to know it; what a check takes grows with its length alone.
_MOST = 5_000
_RECENT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A comment as it came in, with what is known of who sent it. What isn't known is left out and weighs nothing."""

    name: str
    text: str
    #: The address that is named as the sender's own, where a form asks for one.
    link: str = ""
    #: What came in the field that people don't see.
    hidden: str = ""
    #: What is wrong with the work that its browser was asked for; "" if nothing is, or none was asked.
    work: str = ""
    #: Seconds from the page's making to the sending of its form.
    age: float | None = None
    #: Comments in the last hour from the same address, and of the same visitor, without this one.
    by_address: int = 0
    by_visitor: int = 0
    #: Comments of this visitor that a moderator or time has let stand.
    good: int = 0
    #: Texts of the newest comments, of all posts; of refused ones too.
    recent: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Reason:
    """What a check found. weight: how much it speaks for spam; below 0 against it."""

    weight: float
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do with a comment, and everything that speaks for it, the weightiest first."""

    decision: Literal["publish", "hold", "refuse"]
    weight: float
    reasons: tuple[Reason, ...]


def judge(sent: Sent, learned: Learned | None = None) -> Verdict:
    """What all checks together say."""
    sees = _seen(sent)
    reasons = [reason for check in CHECKS for reason in check(sees)]
    if learned is not None:
        reasons += learned.judge(f"{sees.name} {sees.plain} {sent.link[:200]}")
    weight = round(sum(reason.weight for reason in reasons), 2)
    reasons.sort(key=lambda reason: -abs(reason.weight))
    decision: Literal["publish", "hold", "refuse"] = "publish"
    if weight >= HOLD:
        decision = "refuse" if weight >= REFUSE else "hold"
    return Verdict(decision, weight, tuple(reasons))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A comment with what several checks look at."""

    sent: Sent
    name: str
    text: str
    #: Without code, which is quoted and not said.
    prose: str
    #: The prose as it is read: no invisible characters, letters that only look Latin as Latin, in small.
    plain: str
    links: tuple[str, ...]


_CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|^(?: {4}|\t).*$", re.DOTALL | re.MULTILINE)
# A host's dot and two letters, or what says itself that it is an address.
_LINK = re.compile(
    r"(?:https?://|www\.)[^\s<>\"'\])]+|(?<![\w@./-])(?:[\w-]{1,63}\.){1,5}[a-z]{2,12}/[^\s<>\"'\])]*", re.I
)


def _seen(sent: Sent) -> _Seen:
    name, text = sent.name[:200], sent.text[:_MOST]
    sent = replace(sent, link=sent.link[:500])
    prose = _CODE.sub(" ", text)
    return _Seen(sent, name, text, prose, readable(prose), tuple(_LINK.findall(prose)))


# The checks


def hidden_field(seen: _Seen) -> Iterator[Reason]:
    if seen.sent.hidden.strip():
        yield Reason(REFUSE, "A field that people don't see was filled in.")


def work(seen: _Seen) -> Iterator[Reason]:
    # A browser without scripts is no sign of spam, so this alone only holds the comment.
    if seen.sent.work:
        yield Reason(HOLD, seen.sent.work)


def form_age(seen: _Seen) -> Iterator[Reason]:
    age = seen.sent.age
    if age is None:
        return
    if age < 2:
        yield Reason(5.0, f"The form was sent {max(age, 0):.1f} seconds after its page was made.")
    elif age < 4 and len(seen.text) > 120:
        yield Reason(3.0, f"{len(seen.text)} characters were written within {age:.1f} seconds.")
    elif age > 86_400:
        yield Reason(1.0, "The form was open for more than a day.")


def rate(seen: _Seen) -> Iterator[Reason]:
    # A hall full of people shares an address; a visitor is one browser.
    for count, usual, whose in ((seen.sent.by_address, 30, "this address"), (seen.sent.by_visitor, 10, "this visitor")):
        if count > usual:
            yield Reason(min(8.0, 2.0 * count / usual), f"{count} comments came from {whose} within an hour.")


def good_before(seen: _Seen) -> Iterator[Reason]:
    if seen.sent.good:
        some = "1 comment" if seen.sent.good == 1 else f"{seen.sent.good} comments"
        yield Reason(-min(4.0, 1.0 + seen.sent.good), f"This visitor has written {some} that stood.")


def repeats(seen: _Seen) -> Iterator[Reason]:
    mine = _shingles(seen.plain)
    # "Thanks, that helped!" is said by many.
    if len(mine) < 20:
        return
    most = 0.0
    for other in seen.sent.recent[:_RECENT]:
        theirs = _shingles_of(other[:_MOST])
        if theirs:
            same = len(mine & theirs)
            most = max(most, same / (len(mine) + len(theirs) - same))
    if most > 0.95:
        yield Reason(6.0, "The same text was sent before.")
    elif most > 0.6:
        yield Reason(4.0, f"A text much like it was sent before ({most:.0%} of it the same).")


@lru_cache(maxsize=64)
def _shingles_of(text: str) -> frozenset[str]:
    # The newest texts are compared with each that comes; they are taken apart once.
    return frozenset(_shingles(readable(_CODE.sub(" ", text))))


def _shingles(plain: str) -> set[str]:
    """A text as the runs of four letters that it has, without spaces and signs; a word changed changes a few."""
    letters = "".join(c for c in plain if c.isalnum())
    return {letters[at : at + 4] for at in range(len(letters) - 3)}


# Where people who write about software point to. A link there is worth nothing to who sells something else.
_TRUSTED_NAMES = """
github.com gitlab.com codeberg.org bitbucket.org python.org pypi.org readthedocs.io stackoverflow.com
    stackexchange.com wikipedia.org mozilla.org djangoproject.com npmjs.com docs.rs crates.io go.dev rust-lang.org
    postgresql.org redis.io sqlite.org ietf.org rfc-editor.org w3.org whatwg.org kernel.org debian.org ubuntu.com
    archlinux.org news.ycombinator.com lobste.rs arxiv.org doi.org developer.chrome.com caniuse.com
    nginx.org docker.com kubernetes.io aiohttp.org sqlalchemy.org youtube.com archive.org localhost
    example.com example.org"""
_TRUSTED = frozenset(_TRUSTED_NAMES.split())
_CHEAP = re.compile(
    r"\.(?:xyz|top|icu|click|bet|casino|loans?|vip|win|bid|club|shop|site|online|buzz|cyou|monster|fun|live|poker|"
    r"sbs|cfd|"
    r"men|date|review|stream|science|work|party|trade|webcam|cam|sex|porn|su)(?:[/:?#]|$)",
    re.I,
)
_SHORTENED = re.compile(
    r"^(?:https?://)?(?:bit\.ly|t\.me|wa\.me|tinyurl\.com|cutt\.ly|is\.gd|goo\.gl|rb\.gy|t\.ly|ow\.ly)\b", re.I
)
_TAGS = re.compile(r"<a\s[^>]{0,200}href|\[url[=\]]|\[link[=\]]", re.I)


def host_of(link: str) -> str:
    """The host of an address, in small, without www."""
    host = re.split(r"[/?#]", re.sub(r"^[a-z]+://", "", link.lower()), maxsplit=1)[0]
    return host.rpartition("@")[2].partition(":")[0].removeprefix("www.").rstrip(".")


def _is_trusted(link: str) -> bool:
    host = host_of(link)
    labels = host.split(".")[-4:]
    return any(".".join(labels[at:]) in _TRUSTED for at in range(len(labels)))


def links(seen: _Seen) -> Iterator[Reason]:
    strange = [link for link in seen.links if not _is_trusted(link)]
    words = len(seen.plain.split())
    if _TAGS.search(seen.prose):
        yield Reason(4.0, "It has links in markup of other sites.")
    hosts = sorted({host_of(link) for link in strange})
    if len(hosts) > 3:
        yield Reason(min(6.0, 1.0 + len(hosts)), f"It links to {len(hosts)} sites.")
    elif hosts:
        yield Reason(1.0, f"It links to {', '.join(hosts)[:100]}.")
    if strange and words < 8 + 4 * len(strange):
        yield Reason(1.5, "It is little more than its links.")
    cheap = [host_of(link) for link in [*strange, seen.sent.link] if link and _CHEAP.search(link)]
    if cheap:
        yield Reason(2.5, f"Names such as {cheap[0][:60]} cost next to nothing, and spammers use them up.")
    if any(_SHORTENED.match(link) for link in strange):
        yield Reason(2.5, "Where its link leads is hidden behind a shortener or a messenger.")


_HOST_NAME = re.compile(
    r"(?:https?://|www\.)|\b[\w-]{2,}\.(?:com|net|org|ru|info|biz|io|xyz|top|bet|shop|online|site|club|su)\b", re.I
)
_SALES_NAME = re.compile(
    r"\b(?:casino|slots?|betting|poker|loans?|seo|backlinks?|essay|writing service|viagra|cialis|pharmacy|crypto|forex|"
    r"bitcoin|recovery|cheap|buy|best|online|escorts?|agency|services?|company|reviews?|bonus|hacker|marketing|"
    r"shop|store|"
    r"flights?|hotels?|plumb(?:er|ing)|roofing|movers|cleaning|repairs?|vape|rental|near me|followers|insurance|"
    r"lawyers?|"
    r"казино|ставки|займ|кредит|купить)\b",
    re.I,
)


def sender(seen: _Seen) -> Iterator[Reason]:
    if _HOST_NAME.search(seen.name):
        yield Reason(4.0, "The name is an address.")
    sold = {found.lower() for found in _SALES_NAME.findall(readable(seen.name))}
    if sold:
        yield Reason(3.5 + 1.5 * (len(sold) > 1), f"The name sells something ({', '.join(sorted(sold))}).")
    if seen.sent.link and not _is_trusted(seen.sent.link):
        yield Reason(0.5, f"The name links to {host_of(seen.sent.link)[:60]}.")


# What is said in public reports of comment spam, by kind. A word alone may be anybody's; two of a kind are rarely.
_KINDS: dict[str, tuple[str, ...]] = {
    "gambling": (
        r"casinos?|slots?|jackpots?|roulette|baccarat|blackjack|sportsbook|betting|bookmakers?|gambl\w+|poker|wager\w*",
        r"free spins?|no[- ]deposit|welcome bonus|bonus codes?|deposit bonus|real money|big wins?|high odds|"
        r"place (?:your )?bets?",
        r"judi|togel|gacor|slot online|situs|bandar|maxwin|rtp|taruhan|daftar",
        r"казино|ставк\w+|букмекер\w*|фриспин\w*|рулетк\w+|игров\w+ автомат\w*|слот\w*|джекпот\w*|выигр\w+",
        r"зеркал\w+|промокод\w*|бездепозитн\w+|бонус\w*|рабочее зеркало|регистрац\w+",
    ),
    "medicine without a prescription": (
        r"viagra|cialis|levitra|sildenafil|tadalafil|tramadol|xanax|ozempic|semaglutide|modafinil|ivermectin|"
        r"phentermine|"
        r"oxycodone|ambien|kamagra|steroids?",
        r"without (?:a )?(?:prescription|rx)|no (?:prescription|rx)|online pharmacy|canadian pharmac\w+|pharmacy|"
        r"generic",
        r"overnight (?:delivery|shipping)|discreet(?:ly)?|erectile|weight loss|lose \d+ ?(?:kg|pounds|lbs)|keto|"
        r"cbd|gummies|pills?|no questions asked",
        r"herbal (?:cure|remed\w+|medicine)|cured? (?:me|my|of)|dr\.? \w+ (?:cured|helped|spell)|spell caster|"
        r"herpes|libido",
    ),
    "search engine ranking": (
        r"seo|search engine optimi[sz]\w+|serp|backlinks?|dofollow|do-follow|link[- ]building|guest posts?|"
        r"da ?\d\d\+?|pbn",
        r"rank(?:ing|ed|s)? (?:higher|your|on|#?1|first)|first page of google|page one|google rankings?|"
        r"(?:more|organic|targeted|boost|drive|increase) (?:your )?(?:web(?:site)? )?(?:traffic|visitors)",
        r"link exchange|exchange links|sponsored (?:posts?|articles?)|paid (?:posts?|links?)|domain authority|"
        r"high[- ]authority|"
        r"link insertions?|place (?:a|our) link|contextual links?|permanent links?",
        r"your (?:website|site|blog)(?:'s)? (?:could|is missing|has|needs|isn't|is not|ranks?)|free (?:audit|"
        r"quote|proposal)|"
        r"(?:visit|check out|look at) my (?:web ?site|homepage|site|web ?page|blog)|my (?:web ?blog|web-site|homepage)",
    ),
    "money that comes back": (
        r"(?:recover(?:y|ed|ing)?|retriev\w+|got back|lost) (?:all )?(?:of )?(?:my |your |their )?(?:lost |"
        r"stolen )?(?:\w+ )?"
        r"(?:funds?|bitcoins?|btc|crypto\w*|usdt|money|investments?|assets|savings|wallets?|ethereum|eth)",
        r"(?:crypto|bitcoin|asset|fund)s? recovery|recovery (?:experts?|agents?|specialists?|services?|team|"
        r"company)|ethical hackers?|"
        r"hackers?|certified (?:hacker|recovery)|private investigator|wizard|cyber\w* (?:experts?|genius|intelligence)",
        r"scammed|scammers?|fake (?:investment|broker|trading)|investment platform|trading platform|broker|ponzi|"
        r"forex|binary options",
        r"(?:invest(?:ed|ing|ment)?|made|earn(?:ed|ing|s)?|profits?)(?: of)? (?:over )?\$? ?\d[\d,.]*k?|"
        r"guaranteed (?:returns?|profits?)|"
        r"passive income|daily (?:profit|returns?)|financial freedom|trading (?:signals?|bot)|double your|"
        r"account manager",
        r"(?:whats ?app|telegram|email|contact|reach|text|write)(?: (?:him|her|them|me|us|out|to))*(?: (?:on|at|"
        r"via|through|to))? ?:? ?(?:\+?[\w(@.])[\w.@+()-]*",
    ),
    "written for students": (
        r"essays?|dissertations?|thesis|term papers?|coursework|assignments?|homework|research papers?",
        r"writing (?:services?|help|experts?|company|agency)|write my|do my|pay someone|(?:professional|academic|"
        r"expert) writers?|ghostwrit\w+",
        r"plagiari[sz]m[- ]free|100% original|before (?:the |your )?deadlines?|a\+ grade|any deadline|"
        r"top[- ]quality|24/7|native writers?|"
        r"(?:take|pass) my (?:online )?(?:class|exam|course)",
    ),
    "credit": (
        r"payday|loans?|lend(?:er|ing)|credit (?:score|repair|cards?)|mortgage|займ\w*|кредит\w*|микрозайм\w*",
        r"(?:instant|quick|easy|fast|guaranteed) (?:approval|cash|loans?|money)|no credit check|bad credit|"
        r"low(?:est)? interest|"
        r"без отказа|на карту|без справок|без проверки|за \d+ минут",
        r"interest rates? (?:of|as low)|apply (?:now|today|online)|get funded|оформить|онлайн",
    ),
    "goods": (
        r"replicas?|rolex|louis vuitton|gucci|designer (?:bags?|watches)|counterfeit|fake (?:id|passport|"
        r"documents?)|driver'?s licen[cs]e|"
        r"диплом\w*|iptv|followers|instagram likes|youtube views|subscribers|aged accounts|escorts?|call girls?|"
        r"(?:hot|sexy|single|lonely) (?:girls?|women|singles)|onlyfans|nudes?|dating|porn|xxx",
        r"buy (?:now|online|cheap|real|verified)|best prices?|cheap(?:est)?|\d+% off|discount\w*|special offer|"
        r"limited (?:time|offer)|"
        r"wholesale|free (?:shipping|delivery)|order (?:now|today|here)|купить|недорого|цена|доставк\w+|скидк\w+|"
        r"заказать",
        r"click (?:here|the link|now)|visit (?:us|our)|near me|in your (?:area|city)|24/7|подробнее|переходи\w*|"
        r"жми|сайт\w*",
    ),
}
_EXPRESSIONS = {
    kind: tuple(re.compile(rf"(?<!\w)(?:{each})(?!\w)") for each in each_kind) for kind, each_kind in _KINDS.items()
}


def kinds(seen: _Seen) -> Iterator[Reason]:
    """What spam is about, by several signs of one kind."""
    plain = f"{readable(seen.name)} \n {seen.plain}"
    leads = any(not _is_trusted(link) for link in seen.links) or _CONTACT.search(seen.plain)
    for kind, expressions in _EXPRESSIONS.items():
        found = [[" ".join(each.split()) for each in expression.findall(plain)] for expression in expressions]
        groups = [words for words in found if words]
        different = {word for words in groups for word in words}
        # Each group is another thing that such texts say; within one, other words of it say it again.
        weight = {0: 0.0, 1: 1.0, 2: 4.0}.get(len(groups), 6.5) + min(2.0, 0.7 * max(0, len(different) - len(groups)))
        if groups:
            # Who sells has to be found.
            weight += 1.5 if leads else 0.0
            shown = ", ".join(sorted(different, key=len, reverse=True)[:4])
            yield Reason(round(weight, 2), f"It speaks of {kind} ({shown[:120]}).")


_PRAISE = re.compile(
    r"(?:great|nice|excellent|awesome|amazing|fantastic|wonderful|good|superb|informative|brilliant|outstanding|"
    r"valuable|"
    r"helpful|magnificent|fabulous|terrific|marvell?ous|remarkable|impressive)[ ,]+(?:and \w+ )?"
    r"(?:post|blog|article|content|information|info|site|website|web ?page|share|sharing|work|job|read|"
    r"write[- ]?up|piece|points?)|"
    r"(?:thanks?|thank you)(?: \w+){0,2} for (?:sharing|posting|the (?:great |wonderful |valuable )?(?:info\w*|"
    r"post))|keep (?:it up|up the|posting|writing|sharing)|"
    r"i(?:'m| am|'ll| will)? (?:definitely |surely |certainly )?(?:bookmark\w*|be back|come back|return)|book-?marked|"
    r"stumbled (?:up)?on|came across (?:your|this)|really (?:enjoyed|liked|impressed)|very (?:informative|helpful|"
    r"useful)|"
    r"this (?:blog|site|web ?site|web ?page) (?:is|has|provides|really)|your (?:blog|site|web ?site|"
    r"writing(?: style)?|web ?page|posts?|articles?)|"
    r"(?:waiting|looking forward) for (?:your|more)|(?:subscribe|shared?) (?:to |this |it )?(?:with|your|on) \w+|"
    r"topic(?: is)?(?: very)? interesting|"
    r"(?:such|so much) (?:a )?(?:great|useful|valuable|helpful)"
)


def praise(seen: _Seen) -> Iterator[Reason]:
    """Praise that would fit any page, and a link or a name that profits by it."""
    found = {" ".join(each.split()) for each in _PRAISE.findall(seen.plain)}
    if not found:
        return
    strange = any(not _is_trusted(link) for link in seen.links)
    sells = bool(_SALES_NAME.search(readable(seen.name)) or _HOST_NAME.search(seen.name))
    linked = bool(seen.sent.link) and not _is_trusted(seen.sent.link)
    shown = ", ".join(sorted(found)[:3])
    if strange or sells or linked:
        yield Reason(
            min(5.0, 2.5 + len(found)),
            f"It praises in words that fit any page ({shown[:100]}), with a link or a trade.",
        )
    elif len(found) > 1:
        yield Reason(min(3.0, 0.75 * len(found)), f"It praises in words that fit any page ({shown[:100]}).")


# Sent to so many pages, word for word, that who meets them knows them.
_WORN_OUT = re.compile(
    r"browser compatibility issues|how long have you been blogging|make blogging look easy|"
    r"could not be written any better|"
    r"reminds me of my (?:old|previous|good old) room ?mate|useful piece of info|just shared this (?:helpful|"
    r"useful) info|"
    r"spent my half an hour|always i used to (?:check|read)|early in the (?:dawn|morning), (?:since|because) i|"
    r"very open with a (?:really )?clear (?:description|explanation|clarification)|lucky me i (?:came|found|"
    r"discovered)|"
    r"surfing on-?line more than|magnificent goods from you|marvell?ous posting|i blog (?:frequently|often|"
    r"quite often)|"
    r"pretty section of content|good article regarding media print|contents? (?:present|"
    r"existing) at this (?:web ?)?site|"
    r"i just wrote an? (?:extremely|really|very) long comment|which blog platform|quality based posts|"
    r"heard some other (?:people|folks) talking about|everything is very open|touched some (?:nice|good|"
    r"pleasant) (?:points|things)|"
    r"my (?:cousin|brother) (?:suggested|recommended) i (?:might|would|may)|take (?:a )?feed-?(?:back|"
    r"s) to keep up to date|"
    r"if you('?re| are) (?:even )?remotely interested|this paragraph (?:gives|is|will|offers)|"
    r"this web ?site (?:is|was)\.\.\. how"
)


def worn_out(seen: _Seen) -> Iterator[Reason]:
    found = _WORN_OUT.search(seen.plain)
    if found:
        yield Reason(5.0, f"Comments with these words have been sent to many sites ({found[0][:60]}).")


# Names of characters say their script: "CYRILLIC SMALL LETTER A". Only these three have letters that look alike.
_ALIKE = ("LATIN", "CYRILLIC", "GREEK")
_LOOKS_LATIN = str.maketrans(
    "аеорсухіјѕһԁԛԝвкмнтьАВЕКМНОРСТХУІЈЅαορνικτυχεΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "aeopcyxijshdqwbkmhtbABEKMHOPCTXYIJSaopviktuxeABEZHIKMNOPTYX",
)
_WORD = re.compile(r"[^\W\d_]{2,}")


def _scripts(word: str) -> set[str]:
    return {name for c in word if (name := unicodedata.name(c, "").partition(" ")[0]) in _ALIKE}


def scripts(seen: _Seen) -> Iterator[Reason]:
    """Words with letters of two alphabets, which look like other words."""
    if seen.name.isascii() and seen.prose.isascii():
        return
    mixed = [word for word in _WORD.findall(_without_invisible(seen.name)) if len(_scripts(word)) > 1]
    if mixed:
        yield Reason(4.0, f"The name mixes alphabets that look alike ({mixed[0][:40]}).")
    mixed = [word for word in _WORD.findall(_without_invisible(seen.prose)) if len(_scripts(word)) > 1]
    # μs and Δx are words of engineers; one may be a slip of the keyboard.
    mixed = [word for word in mixed if len(word) > 3]
    if mixed:
        shown = ", ".join(mixed[:3])
        yield Reason(min(6.0, 1.5 + 1.5 * len(mixed)), f"Words mix alphabets that look alike ({shown[:100]}).")
    styled = sum(
        unicodedata.name(c, "").startswith(("MATHEMATICAL ", "FULLWIDTH LATIN", "CIRCLED LATIN")) for c in seen.prose
    )
    if styled > 8:
        yield Reason(4.0, "Letters are written with look-alikes from mathematics.")


_MARKS = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_DIRECTIONS = frozenset("\u202a\u202b\u2066\u2067\u2068")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
_UNSEEN = re.compile("[\u00ad\u200b\u2060-\u2064\u180e\ufeff\U000e0000-\U000e007f\u115f\u1160\u3164\uffa0]")
# Within words of Persian and India's scripts, and in emoji, these two are spelling.
_JOINERS = re.compile("(?<=[A-Za-zА-Яа-я])[\u200c\u200d]+(?=[A-Za-zА-Яа-я])")


def invisible(seen: _Seen) -> Iterator[Reason]:
    for what, text in (("name", seen.name), ("text", seen.prose)):
        if text.isascii():
            continue
        # Marks of direction belong to texts that have both; an override makes letters go the other way than theirs.
        both = bool(_RIGHT_TO_LEFT.search(text))
        if any(c in "\u202d\u202e" for c in text):
            yield Reason(5.0, f"The {what} turns the direction of writing round.")
        elif not both and any(c in _DIRECTIONS for c in text):
            yield Reason(1.5, f"The {what} has marks of direction that nothing in it needs.")
        count = len(_JOINERS.findall(text)) + len(_UNSEEN.findall(text))
        count += 0 if both else sum(c in "\u200e\u200f" for c in text)
        # One may come along when something is copied.
        if count > 2 or (count and what == "name"):
            yield Reason(5.0, f"The {what} has {count} characters that can't be seen.")
        marks = sum(unicodedata.combining(c) > 0 for c in text)
        if marks > 20 and marks > len(text) / 3 and unicodedata.name(text[0], "").startswith("LATIN"):
            yield Reason(3.0, f"The {what} is covered with accents.")


_CONTACT = re.compile(
    r"(?:whats ?app|telegram|viber|signal|wechat|skype|телеграм\w*|"
    r"ватсап\w*)\W{0,12}(?:\w+\W+){0,4}[+@(]?\d[\d ().-]{6,}|(?<!\w)\+\d[\d ().-]{8,}|"
    r"[\w.+-]{2,40}@(?:gmail|outlook|yahoo|proton|protonmail|hotmail|mail|usa|consultant|engineer|techie|"
    r"cyber\w*)\.\w{2,4}"
)


def contact(seen: _Seen) -> Iterator[Reason]:
    found = _CONTACT.search(seen.plain)
    if found:
        yield Reason(2.5, f"It asks to be contacted elsewhere ({found[0].strip()[:60]}).")


def shouting(seen: _Seen) -> Iterator[Reason]:
    letters = [c for c in seen.prose if c.isalpha() and c.lower() != c.upper()]
    if len(letters) > 40 and sum(c.isupper() for c in letters) > 0.6 * len(letters):
        yield Reason(1.5, "Most of it is in capitals.")
    if seen.prose.count("!") > 4 or len(re.findall("[💰💸🤑🔥🎰💯👇👉✅🚀💎]", seen.prose)) > 2:
        yield Reason(1.5, "It shouts.")


#: In the order in which they look. Another check is another line.
CHECKS: tuple[Callable[[_Seen], Iterator[Reason]], ...] = (
    hidden_field,
    work,
    form_age,
    rate,
    good_before,
    repeats,
    links,
    sender,
    kinds,
    praise,
    worn_out,
    scripts,
    invisible,
    contact,
    shouting,
)


def _without_invisible(text: str) -> str:
    return text if text.isascii() else _MARKS.sub("", _UNSEEN.sub("", _JOINERS.sub("", text)))


def readable(text: str) -> str:
    """A text as an eye reads it, in small: composed, without what can't be seen, look-alikes as what they look like."""
    if not text.isascii():
        # At most as many as one letter can hold; composing takes time with the square of the marks on a letter.
        text = re.sub("([\u0300-\u036f]{4})[\u0300-\u036f]+", r"\1", _without_invisible(text))
        text = unicodedata.normalize("NFKC", text)
        text = _WORD.sub(
            lambda found: found[0].translate(_LOOKS_LATIN) if len(_scripts(found[0])) > 1 else found[0], text
        )
        text = text.replace("’", "'")
    return text.lower()


# What a moderator's clicks teach


#: Words that are remembered. The rarest are forgotten first.
MOST_WORDS = 20_000
_WORDS_OF_ONE = 300
# Fewer clicks on either side than this say nothing yet.
_ENOUGH = 5
_TOKEN = re.compile(r"[^\W_][\w'-]{2,24}")


def words_of(text: str) -> set[str]:
    """The words of a text that are learned, each once; of scripts without spaces, pairs of characters."""
    found: dict[str, None] = {}
    for word in _TOKEN.findall(readable(text[:_MOST])):
        if len(found) >= _WORDS_OF_ONE:
            break
        if "\u3040" <= word[0] <= "\u9fff":
            found.update((word[at : at + 2], None) for at in range(len(word) - 1))
        elif not word.isdigit():
            found[word] = None
    for link in _LINK.findall(text[:_MOST])[:10]:
        found[f"site:{host_of(link)[:60]}"] = None
    return set(found)


@dataclass(slots=True)
class Learned:
    """Words of comments that a moderator called spam or good: how many of each had the word.

    Plain values, for a table: `words` are its rows, `comments` the row of the word "". `learn` and `unlearn` return the
    words whose rows are changed, or gone.
    """

    words: dict[str, tuple[int, int]] = field(default_factory=dict)
    comments: tuple[int, int] = (0, 0)

    def learn(self, text: str, *, is_spam: bool) -> set[str]:
        """Take a click. When a verdict is turned round, the earlier one is unlearned first."""
        self.comments = _plus(self.comments, is_spam, 1)
        changed = words_of(text)
        for word in changed:
            self.words[word] = _plus(self.words.get(word, (0, 0)), is_spam, 1)
        if len(self.words) > MOST_WORDS:
            # A tenth at once, so that not every click sorts them all. Of the rarest, those longest unchanged.
            for word in sorted(self.words, key=lambda each: sum(self.words[each]))[: MOST_WORDS // 10]:
                del self.words[word]
                changed.add(word)
        return changed

    def unlearn(self, text: str, *, is_spam: bool) -> set[str]:
        """Take a click back. A word that has been forgotten since stays so."""
        self.comments = _plus(self.comments, is_spam, -1)
        changed = {word for word in words_of(text) if word in self.words}
        for word in changed:
            counts = _plus(self.words[word], is_spam, -1)
            if any(counts):
                self.words[word] = counts
            else:
                del self.words[word]
        return changed

    def probability(self, text: str) -> tuple[float, list[str]]:
        """How likely it is spam, and the words that say most about it, the weightiest first."""
        spam, good = self.comments
        if min(spam, good) < _ENOUGH:
            return 0.5, []
        said: list[tuple[float, str]] = []
        for word in words_of(text):
            in_spam, in_good = self.words.get(word, (0, 0))
            if in_spam + in_good:
                # Half a sighting on both sides: a word seen once says a little.
                odds = math.log((in_spam + 0.4) / (spam + 0.8)) - math.log((in_good + 0.4) / (good + 0.8))
                said.append((odds, word))
        said.sort(key=lambda each: (-abs(each[0]), each[1]))
        # Those that say most. Words come in company: what they say together is less than their sum.
        weightiest = said[:15]
        # Of few it takes more: "very helpful, thank you" is what spam says as well.
        total = sum(odds for odds, _ in weightiest) / max(1.0, len(weightiest) ** 0.5) * min(1.0, len(weightiest) / 8)
        side = [word for odds, word in weightiest if odds * total > 0]
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, total)))), side

    def judge(self, text: str) -> Iterable[Reason]:
        """At most one reason."""
        likely, said = self.probability(text)
        # A few clicks hold no comment that nothing else speaks against; after 60 on either side words may.
        most = min(6.0, 2.0 + min(self.comments) / 20)
        weight = round(min(most, max(-4.0, 2.2 * math.log(max(likely, 1e-9) / max(1 - likely, 1e-9)))), 2)
        if abs(weight) >= 0.5 and said:
            kind = "spam" if weight > 0 else "good"
            yield Reason(weight, f"Its words were in comments that moderators called {kind}: {', '.join(said[:5])}.")


def _plus(counts: tuple[int, int], is_spam: bool, by: int) -> tuple[int, int]:
    spam, good = counts
    return (max(0, spam + by), good) if is_spam else (spam, max(0, good + by))


def restored(rows: Mapping[str, tuple[int, int]]) -> Learned:
    """What was learned, from the rows of a table; the one of the word "" counts comments."""
    words = dict(rows)
    return Learned(comments=words.pop("", (0, 0)), words=words)
