"""Code with its words told apart by classes, and the style sheet that colours them."""

from __future__ import annotations

import time
from html import escape

from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, _TokenType
from pygments.util import ClassNotFound

_NAMES = """
    bash c console cpp csharp css diff django docker elixir erlang go graphql haskell html http ini java javascript
    jinja json jsx kotlin less lua make markdown mysql nginx nim ocaml perl php postgresql powershell pycon pytb python
    r rst ruby rust scala scss sql sqlite3 swift toml tsx typescript vim xml yaml zig
"""
_OTHERS = """
    sh=bash shell=bash zsh=bash py=python python3=python py3=python js=javascript ts=typescript c++=cpp c#=csharp
    cs=csharp golang=go rs=rust rb=ruby yml=yaml htm=html xhtml=html svg=xml dockerfile=docker makefile=make
    postgres=postgresql sqlite=sqlite3 md=markdown patch=diff udiff=diff kt=kotlin hs=haskell ps1=powershell
    jinja2=jinja html+jinja=jinja html+django=django shell-session=console bash-session=console sh-session=console
    restructuredtext=rst
"""
#: Languages that are told apart. Others, and those whose lexers take too long over hostile code, stay plain.
LANGUAGES = frozenset(_NAMES.split())
_OTHER_NAMES = dict(pair.split("=") for pair in _OTHERS.split())

#: Characters of one block, and of a line of it. More is shown plain.
MAX_BLOCK = 10_000
MAX_LINE = 500
#: Seconds of this thread for all blocks of a text; what is left then is plain. Honest code takes 1 ms a kilobyte, but
#: some lexers take time with the square of what they are given.
MOST_SECONDS = 0.25

_SPACES = "\n" * 100


class Highlighter:
    """Highlights the blocks of one text, within the time that they have together."""

    def __init__(self) -> None:
        self._left = MOST_SECONDS

    def lines(self, code: str, language: str) -> list[str]:
        """The lines of some code as HTML, each with all its tags closed."""
        code = code.removesuffix("\n")
        is_long = len(code) > MAX_BLOCK or _SPACES in code or max(map(len, code.split("\n"))) > MAX_LINE
        if not is_long and self._left > 0 and (lexer := _lexer(language)):
            begun = time.thread_time()
            lines = _highlighted(code, lexer, begun + self._left)
            self._left -= time.thread_time() - begun
            if lines is not None:
                return lines
        return escape(code).split("\n")


def language_of(name: str) -> str | None:
    """The language of a name as people write it, or None if it is not known."""
    name = name.lower()
    name = _OTHER_NAMES.get(name, name)
    return name if name in LANGUAGES else None


def _lexer(language: str) -> Lexer | None:
    if language not in LANGUAGES:
        return None
    try:
        # A new one each time: some keep what they are at in themselves, and threads render beside each other.
        lexer: Lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return None
    return lexer


def _highlighted(code: str, lexer: Lexer, until: float) -> list[str] | None:
    """None if it is not done by then."""
    lines, line = [], []
    last, waiting = "", ""

    def put() -> None:
        if waiting:
            text = escape(waiting)
            line.append(f'<span class="{last}">{text}</span>' if last else text)

    for kind, value in lexer.get_tokens(code):
        if time.thread_time() > until:
            return None
        name = _class(kind)
        if name != last:
            put()
            last, waiting = name, ""
        first, *rest = value.split("\n")
        waiting += first
        for each in rest:
            put()
            lines.append("".join(line))
            line, waiting = [], each
    put()
    lines.append("".join(line))
    return lines


def _class(kind: _TokenType) -> str:
    while kind not in STANDARD_TYPES and kind.parent is not None:
        kind = kind.parent
    # Whitespace has no colour.
    name = STANDARD_TYPES.get(kind, "")
    return "" if name == "w" else name


#: Every class that code may have.
CLASSES = frozenset(name for name in STANDARD_TYPES.values() if name)

# By what they mean, so that a theme has few colours: on --code's ground each has a contrast of at least 4.5 to 1.
_GROUPS = {
    "soft": "c ch cm cpf c1 cs gp go gh gu linenos",
    "key": "k kc kd kn kp kr kt ow nt bp",
    "name": "nf fm nc ne nd no nn na nb vc vg vi vm ni nl py il",
    "text": "s sa sb sc dl sd s2 se sh si sx sr s1 ss gi ld",
    "number": "m mb mf mh mi mo l",
    "sign": "cp gd gr gt err",
}
#: The colours of code, light and dark.
PALETTES = {
    "light": {
        "ground": "#f6f1e9",
        "soft": "#655a52",
        "key": "#8a2be2",
        "name": "#1d4f91",
        "text": "#2d6a1f",
        "number": "#9a3412",
        "sign": "#b3152f",
    },
    "dark": {
        "ground": "#1b1613",
        "soft": "#b8aa9d",
        "key": "#d7a6ff",
        "name": "#8ec5ff",
        "text": "#a5d987",
        "number": "#f6a85c",
        "sign": "#ff9cac",
    },
}


def stylesheet() -> str:
    """static/blog.css."""
    names = PALETTES["light"]
    light = "\n".join(f"  --code-{name}: {colour};" for name, colour in names.items())
    dark = "\n".join(f"    --code-{name}: {colour};" for name, colour in PALETTES["dark"].items())
    rules = []
    for group, classes in _GROUPS.items():
        selectors = ", ".join(f".code .{name}" for name in classes.split())
        rules.append(f"{selectors} {{ color: var(--code-{group}); }}")
    coloured = "\n".join(rules)
    return f"""/* Code in posts. Made by web/features/blog/highlight.py. */

:root {{
{light}
}}

@media (prefers-color-scheme: dark) {{
  :root {{
{dark}
  }}
}}

.code {{
  margin-inline: 0; margin-bottom: 0; padding: 0.9rem 1rem; overflow-x: auto; border-radius: 0.625rem;
  background: var(--code-ground); color: var(--ink); font-size: 0.875rem; line-height: 1.5; tab-size: 4;
}}
.code code {{ font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }}
{coloured}
.code .ge {{ font-style: italic; }}
.code .gs {{ font-weight: 700; }}

/* A script puts it there; it takes no room, so nothing moves, and goes aside with what is scrolled. */
.post-text pre {{ position: relative; }}
.copy-code {{
  position: absolute; inset-block-start: 0.5rem; inset-inline-end: 0.5rem; min-width: 4.5rem; min-height: 0;
  padding: 0.2rem 0.6rem; font-size: 0.8125rem;
}}

/* Numbers are no text: they are neither copied nor read out. */
.code.lines code {{ counter-reset: line; }}
.code.lines .line {{ counter-increment: line; }}
.code.lines .line::before {{
  content: counter(line) / ""; display: inline-block; min-width: 2em; margin-right: 1em; text-align: right;
  color: var(--code-soft); user-select: none;
}}
"""
