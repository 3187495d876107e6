"""Whether a name can be told from others by its look. Pure.

A category `Djangо`, whose last letter is Cyrillic, would stand beside the one that it looks like.
"""

from __future__ import annotations

import unicodedata

#: Scripts whose letters look like each other's (Unicode UTS 39, confusables).
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE"})


def mixed_word(text: str) -> str | None:
    """The first word of a text that has letters of several scripts which look alike; None without one."""
    for word in text.split():
        scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in word if letter.isalpha()}
        if len(scripts & _ALIKE) > 1:
            return word
    return None
