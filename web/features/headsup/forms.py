"""What somebody typed to set up a project or a rule, cleaned and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit

from ...pages.requests import clean_line, clean_text
from ...services.domains import may_be_split
from ...services.mail.addresses import Address
from .globs import MAX_PATTERN, MAX_PATTERNS, split_patterns
from .models import MAX_PATTERNS_TEXT, MAX_SEND_TO, MAX_URL, HeadsupRule, HeadsupTarget
from .recipients import MAX_RECIPIENTS, Recipients, parse_recipients, without_doubles
from .remark import DEFAULT_WORD, MAX_WORD, MAX_WORDS, Words
from .rules import Rule

#: The fields that hold addresses, with what people call them.
ADDRESSES = {"to": "send_to", "cc": "send_cc", "bcc": "send_bcc"}

_MAX_URLS = 10

#: Stars of one pattern.
_MAX_STARS = 10


@dataclass(frozen=True, slots=True)
class RuleForm:
    """The fields of a rule as text, and by field what is wrong with it."""

    words: str = DEFAULT_WORD
    case_sensitive: bool = False
    strict: bool = False
    breaking: bool = False
    branches: str = ""
    tags_only: bool = False
    tags: str = ""
    paths: str = ""
    asks_api: bool = False
    send_to: str = ""
    send_cc: str = ""
    send_bcc: str = ""
    slack: str = ""
    webhook: str = ""
    errors: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> RuleForm:
        """A form as it came in, checked."""
        form = cls(
            words=clean_text(fields.get("words", ""), 2_000),
            case_sensitive=is_ticked(fields.get("case_sensitive")),
            strict=is_ticked(fields.get("strict")),
            breaking=is_ticked(fields.get("breaking")),
            branches=clean_text(fields.get("branches", ""), MAX_PATTERNS_TEXT),
            tags_only=is_ticked(fields.get("tags_only")),
            tags=clean_text(fields.get("tags", ""), MAX_PATTERNS_TEXT),
            paths=clean_text(fields.get("paths", ""), MAX_PATTERNS_TEXT),
            asks_api=is_ticked(fields.get("asks_api")),
            send_to=clean_text(fields.get("send_to", ""), MAX_SEND_TO),
            send_cc=clean_text(fields.get("send_cc", ""), MAX_SEND_TO),
            send_bcc=clean_text(fields.get("send_bcc", ""), MAX_SEND_TO),
            slack=clean_text(fields.get("slack", ""), MAX_SEND_TO),
            webhook=clean_text(fields.get("webhook", ""), MAX_SEND_TO),
        )
        if not form.words and not form.breaking:
            form = replace(form, words=DEFAULT_WORD)
        form._check()
        return form

    @classmethod
    def of(cls, rule: HeadsupRule, targets: list[HeadsupTarget]) -> RuleForm:
        """The form that shows a rule as it is."""

        def those(kind: str) -> str:
            return "\n".join(
                f'"{each.name}" <{each.address}>' if each.name else each.address
                for each in targets
                if each.kind == kind
            )

        return cls(
            words=rule.words,
            case_sensitive=rule.case_sensitive,
            strict=rule.strict,
            breaking=rule.breaking,
            branches=rule.branches,
            tags_only=rule.tags_only,
            tags=rule.tags,
            paths=rule.paths,
            asks_api=rule.asks_api,
            send_to=those("to"),
            send_cc=those("cc"),
            send_bcc=those("bcc"),
            slack=those("slack"),
            webhook=those("webhook"),
        )

    @property
    def has_advanced(self) -> bool:
        """Whether something is set that is folded away at first."""
        plain = RuleForm(words=self.words, send_to=self.send_to, errors=self.errors)
        return self != plain or any(name not in {"words", "send_to"} for name in self.errors)

    @property
    def word_list(self) -> tuple[str, ...]:
        """The words, each once."""
        lines = (clean_line(each, MAX_WORD + 1) for each in self.words.replace(",", "\n").split("\n"))
        return tuple(dict.fromkeys(each for each in lines if each))

    def rule(self, id: int = 0) -> Rule:
        """The rule that it would be."""
        return Rule(
            id=id,
            words=Words(self.word_list, self.case_sensitive, self.strict, self.breaking),
            branches=split_patterns(self.branches),
            tags_only=self.tags_only,
            tags=split_patterns(self.tags),
            paths=split_patterns(self.paths),
            asks_api=self.asks_api,
        )

    def addresses(self) -> dict[str, tuple[Address, ...]]:
        """By kind of target, each address once in all."""
        return without_doubles({kind: self._recipients(kind) for kind in ADDRESSES})

    def urls(self) -> dict[str, tuple[str, ...]]:
        """By kind of target, the URLs."""
        return {kind: tuple(dict.fromkeys(getattr(self, kind).split())) for kind in ("slack", "webhook")}

    def put(self, rule: HeadsupRule) -> None:
        """Write it into a row; only of a form without errors."""
        rule.words = "\n".join(self.word_list)
        rule.case_sensitive, rule.strict, rule.breaking = self.case_sensitive, self.strict, self.breaking
        rule.branches, rule.tags, rule.paths = self.branches, self.tags, self.paths
        rule.tags_only, rule.asks_api = self.tags_only, self.asks_api

    def _recipients(self, kind: str) -> Recipients:
        return parse_recipients(getattr(self, ADDRESSES[kind]))

    def _check(self) -> None:
        errors = self.errors
        words = self.word_list
        if len(words) > MAX_WORDS:
            errors["words"] = f"A rule has at most {MAX_WORDS} words."
        elif any(len(word) > MAX_WORD for word in words):
            errors["words"] = f"A word has at most {MAX_WORD} characters."
        for name in ("branches", "tags", "paths"):
            patterns = split_patterns(getattr(self, name))
            if len(patterns) > MAX_PATTERNS or any(len(each) > MAX_PATTERN for each in patterns):
                errors[name] = f"At most {MAX_PATTERNS} patterns, of at most {MAX_PATTERN} characters."
            elif any(each.count("*") > _MAX_STARS for each in patterns):
                errors[name] = f"A pattern has at most {_MAX_STARS} stars."
        count = 0
        for kind, name in ADDRESSES.items():
            found = self._recipients(kind)
            count += len(found.addresses)
            if len(getattr(self, name)) > MAX_SEND_TO:
                errors[name] = f"At most {MAX_SEND_TO} characters."
            elif found.bad:
                errors[name] = f"{found.bad[0]!r} is no valid email address."
        if count > MAX_RECIPIENTS:
            errors["send_to"] = f"A rule has at most {MAX_RECIPIENTS} addresses."
        urls = self.urls()
        for kind, some in urls.items():
            if len(some) > _MAX_URLS:
                errors[kind] = f"At most {_MAX_URLS} addresses."
            elif bad := next((each for each in some if not _is_url(each)), None):
                errors[kind] = f"{bad[:80]!r} is no address that begins with https://."
        if not count and not any(urls.values()) and "send_to" not in errors:
            errors["send_to"] = "Say who gets it: an address, or another target below."


def is_ticked(text: str | None) -> bool:
    """Whether a box is ticked."""
    return (text or "").lower() in {"true", "on", "1", "yes"}


def _is_url(text: str) -> bool:
    if len(text) > MAX_URL or not may_be_split(text):
        return False
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"https", "http"} and bool(parts.hostname) and text.isprintable()
