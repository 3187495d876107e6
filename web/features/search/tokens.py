"""What a text is made of, for the index and for a query alike: words, names that must not fall apart, versions. Pure.

    "asyncio.gather in Python 3.11"   stream: asyncio gather in python 3.11    extras: asyncio.gather asynciogather 3.*

The stream is what phrases are made of. Extras are other ways to find the same place: whole identifiers, their parts by
camel case, parts joined, and the shorter versions that a version belongs to (`5.2.*` of 5.2.1).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise

import Stemmer

#: Characters of a word that are looked at; what is longer is no word.
MAX_WORD = 64

#: Scripts whose words have no spaces between them: Thai, kana, CJK ideographs, Hangul. Found by pairs of letters.
_UNSPACED = "\u0e00-\u0e7f\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_PICTURES = "\u2600-\u27bf\U0001f300-\U0001faff"
_W = r"[\w\u0300-\u036f]"

_TOKEN = re.compile(
    rf"""
      (?<![\w.])\.(?:[Nn][Ee][Tt])\b                              # .NET
    | \b[A-Za-z](?:\+\+|\#)(?![A-Za-z+\#])                        # C++ C# F#
    | \b[vV]?\d+(?:\.\d+)+(?:[A-Za-z]+\d*)?(?![\w])              # 3.11, v5.2.1, 5.2rc1
    | {_W}+(?:['’ʼ]{_W}+)*(?:(?:[._/-]|::|\#)+{_W}+(?:['’ʼ]{_W}+)*)*    # words, and identifiers of several
    | [{_PICTURES}]
    """,
    re.VERBOSE,
)
_VERSION = re.compile(r"[vV]?(\d+(?:\.\d+)+)([A-Za-z]+\d*)?")
_APART = re.compile(r"(?:[._/-]|::|#)+")
_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_RUNS = re.compile(rf"[{_UNSPACED}]+|[^{_UNSPACED}]+")
_HAS_UNSPACED = re.compile(rf"[{_UNSPACED}]")
_APOSTROPHES = re.compile("['’ʼ]")

_STOP_WORDS = """
    a about above after again against all am an and any are as at be because been before being below between both
    but by can could did do does doing down during each few for from further had has have having he her here hers
    him his how i if in into is it its itself just me more most my no nor not now of off on once only or other our
    ours out over own same she should so some such than that the their theirs them then there these they this
    those through to too under until up very was we were what when where which while who whom why will with would
    you your yours
"""

#: Words of a query that say little by themselves.
STOP_WORDS = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True, slots=True)
class Parts:
    """What one token of a text is found by. stream: its words, in their order; extras: other names of it.

    stems: of the stream; spelt: both.
    """

    stream: tuple[str, ...]
    extras: tuple[str, ...] = ()
    stems: tuple[str, ...] = field(init=False)
    spelt: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stems", tuple(map(stem, self.stream)))
        object.__setattr__(self, "spelt", self.stream + self.extras)


@dataclass(frozen=True, slots=True)
class Token:
    """A token where it stands in a text, in characters."""

    parts: Parts
    start: int
    end: int


class _Folds(dict[str, str]):
    """A character without its case, width and accents, by the character."""

    def __missing__(self, letter: str) -> str:
        whole = unicodedata.normalize("NFKC", letter).casefold()
        if not _HAS_UNSPACED.match(letter):
            # Marks belong to the letters of those scripts.
            apart = unicodedata.normalize("NFKD", whole)
            whole = "".join(each for each in apart if not unicodedata.combining(each))
        if len(self) < 70_000:
            self[letter] = whole
        return whole


_folds = _Folds()


def fold(text: str) -> str:
    """A text without case, width and accents; it may be longer or shorter than it was."""
    return text.lower() if text.isascii() else "".join(map(_folds.__getitem__, text))


#: What stands for a letter that folding makes two of.
TWO = "\0"


class _InPlace(dict[int, str]):
    """One character for each; `TWO` for a letter that becomes several."""

    def __missing__(self, code: int) -> str:
        letter = chr(code)
        folded = _folds[letter]
        self[code] = folded if len(folded) == 1 else TWO if letter.isalnum() else " "
        return self[code]


_in_place = _InPlace()


def fold_in_place(text: str) -> str:
    """The same of as many characters as the text has, each where it stood; `TWO` where that can't be."""
    return text.lower() if text.isascii() else text.translate(_in_place)


def tokens(text: str) -> Iterator[Token]:
    """The tokens of a text, in composed form (NFC), with their places."""
    for found in _TOKEN.finditer(text):
        yield Token(parts_of(found[0]), found.start(), found.end())


_parts: dict[str, Parts] = {}


def parts_of(raw: str) -> Parts:
    """What one token is found by."""
    found = _parts.get(raw)
    if found is None:
        if len(raw) > 2 * MAX_WORD:
            return _split(raw)
        if len(_parts) > 200_000:
            _parts.clear()
        found = _parts[raw] = _split(raw)
    return found


def all_parts(text: str) -> list[Parts]:
    """What a text is found by, without places."""
    return [_parts.get(raw) or parts_of(raw) for raw in _TOKEN.findall(text)]


def _split(raw: str) -> Parts:
    raw = raw.strip("_")
    if not raw:
        return Parts(())
    if len(raw) <= MAX_WORD and (version := _VERSION.fullmatch(raw)):
        number, rest = version[1], version[2] or ""
        pieces = number.split(".")
        shorter = tuple(".".join(pieces[:count]) + ".*" for count in range(1, len(pieces)))
        whole = (number + rest).lower()
        return Parts((whole[:MAX_WORD],), shorter + ((number + ".*",) if rest else ()))
    if raw[-1] in "+#" or raw[0] == ".":
        return Parts((raw.lower(),))
    words = [word for word in _APART.split(raw) if word]
    stream: list[str] = []
    extras: list[str] = []
    for word in words:
        stream += _words(word)
        extras += _camel(word)
    if len(words) > 1:
        whole = fold(raw)
        if len(whole) <= MAX_WORD:
            extras.append(whole)
            if len(words) <= 3:
                extras.append("".join(_APART.split(whole)))
    return Parts(tuple(stream), tuple(dict.fromkeys(extras)))


def _words(word: str) -> list[str]:
    """One word as it is found: two of unspaced scripts overlap."""
    if word.isascii():
        found = _bare(word.lower())
        return [found[:MAX_WORD]] if found else []
    stream: list[str] = []
    for run in _RUNS.findall(word):
        folded = fold(run)
        if not _HAS_UNSPACED.match(run):
            folded = _bare(folded)
            if folded:
                stream.append(folded[:MAX_WORD])
        elif len(folded) == 1:
            stream.append(folded)
        else:
            stream += (first + second for first, second in pairwise(folded))
    return stream


def _bare(word: str) -> str:
    """Without apostrophes, which are letters: don't is one word, and Django's is Django's own."""
    if not _APOSTROPHES.search(word):
        return word
    first, *rest = _APOSTROPHES.split(word)
    return first if rest == ["s"] and len(first) > 2 else first + "".join(rest)


def _camel(word: str) -> list[str]:
    if not word.isascii() or word.islower() or word.isupper() or word[1:].islower():
        return []
    pieces = [piece.lower() for piece in _CAMEL.findall(word)]
    return pieces if len(pieces) > 1 else []


@cache
def _stemmer() -> Stemmer.Stemmer:
    return Stemmer.Stemmer("english", 0)


_stems: dict[str, str] = {}


def stem(word: str) -> str:
    """A word without its ending. What has digits or signs in it, or is short, is as it is."""
    found = _stems.get(word)
    if found is None:
        if len(_stems) > 200_000:
            _stems.clear()
        found = _stems[word] = _stemmer().stemWord(word) if len(word) > 3 and word.isalpha() else word
    return found


def may_be_misspelt(word: str) -> bool:
    """Whether a word may be a typo of another: numbers, versions, codes and short words are what they say."""
    return len(word) >= 4 and word.isalpha() and not _HAS_UNSPACED.search(word)
