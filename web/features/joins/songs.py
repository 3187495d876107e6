"""Artists and songs by their numbers: always the same, and no two alike. Pure."""

from __future__ import annotations

from collections.abc import Iterator

#: Songs that an artist has on average.
PER_ARTIST = 10

_FIRST = [first + second for first in "bdklmn" for second in "aeiou"]
_LAST = (
    "brass",
    "harbour",
    "lantern",
    "river",
    "signal",
    "summer",
    "window",
    "winter",
    "morning",
    "station",
    "paper",
    "mirror",
    "copper",
    "cedar",
)
_WORDS = (
    "the",
    "a",
    "my",
    "your",
    "every",
    "no",
    "one",
    "last",
    "first",
    "blue",
    "slow",
    "long",
    "little",
    "silver",
    "distant",
    "quiet",
    "early",
    "open",
)

#: An odd number that has no factor in common with any count there can be below it: numbers times it are spread out.
_SPREAD = 2654435761


def artists_of(songs: int) -> int:
    """How many artists there are for so many songs."""
    return max(1, songs // PER_ARTIST)


def artist(number: int) -> tuple[int, str]:
    """An artist's id, which is its number, and name."""
    a, b = _mixed(number), _mixed(number + 7)
    name = _FIRST[a % 30] + _FIRST[a // 30 % 30] + _FIRST[b % 30]
    return number, f"{name.capitalize()} {_LAST[b // 30 % len(_LAST)].capitalize()} {number}"


def song(number: int, artists: int) -> tuple[int, str, int, int]:
    """A song's id, which is its number, title, seconds, and the id of its artist."""
    a, b = _mixed(number), _mixed(number + 13)
    words = (_WORDS[a % len(_WORDS)], _LAST[a // 20 % len(_LAST)], _FIRST[b % 30] + _FIRST[b // 30 % 30])
    return number, f"{' '.join(words).capitalize()} {number}", 90 + b % 300, a % artists + 1


def all_artists(songs: int) -> Iterator[tuple[int, str]]:
    """Every artist."""
    return map(artist, range(1, artists_of(songs) + 1))


def all_songs(songs: int) -> Iterator[tuple[int, str, int, int]]:
    """Every song."""
    artists = artists_of(songs)
    return (song(number, artists) for number in range(1, songs + 1))


def _mixed(number: int) -> int:
    mixed = number * _SPREAD % 2**32
    return mixed ^ mixed >> 15
