"""reStructuredText into HTML, with what Sphinx adds to it shown as what it holds.

Nothing renders it again: a post of it is kept as the HTML that it became.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, ClassVar

from .imported import Refused

_BODY = re.compile(r"<body[^>]*>(.*?)</body\s*>", re.DOTALL | re.IGNORECASE)
#: Characters. The longest of Django's documents has 170,000, and takes 4 s.
MOST_RST = 500_000
# What docutils raises of its own where a text is not as it expects.
_MISTAKES = (ValueError, RecursionError, AttributeError, LookupError, TypeError, AssertionError, NotImplementedError)
_SUBSTITUTION = re.compile(
    r"^[ \t]*\.\.[ \t]+\|[^|\n]+\|[ \t]+replace::(.*(?:\n[ \t]+\S.*|\n[ \t]*(?=\n[ \t]+\S))*)", re.MULTILINE
)


def from_rst(source: str) -> tuple[dict[str, Any], str, str, str]:
    """Its fields, title, HTML, and "html". Directives that read files or pass HTML through stay out.

    Raises:
        Refused: docutils can't read it.
    """
    if len(source) > MOST_RST:
        raise Refused(f"it has more than {MOST_RST:,} characters, which is much for reStructuredText")
    # It takes 0.2 s to import, and only these posts need it.
    from docutils.core import publish_doctree, publish_from_doctree
    from docutils.nodes import docinfo, field_list, system_message, title
    from docutils.utils import SystemMessage

    # Docutils expands them one by one: ten that name the next ten times each are 10,000 million.
    if sum(found[1].count("|") // 2 for found in _SUBSTITUTION.finditer(source)) > 10:
        raise Refused("its substitutions name each other too often")
    _with_roles_of_sphinx()
    settings = {
        "file_insertion_enabled": False,
        "raw_enabled": False,
        "_disable_config": True,
        "report_level": 5,
        "halt_level": 5,
        "input_encoding": "unicode",
        "output_encoding": "unicode",
        "syntax_highlight": "none",
        "initial_header_level": 2,
        "line_length_limit": 20_000,
        "doctitle_xform": True,
        "docinfo_xform": False,
        "math_output": "LaTeX",
        "embed_stylesheet": False,
        "stylesheet_path": "",
        "smart_quotes": False,
        "section_self_link": False,
        "toc_backlinks": False,
        "id_prefix": "",
        "auto_id_prefix": "id",
    }
    try:
        tree = publish_doctree(source, settings_overrides=settings)
        fields: dict[str, Any] = {}
        # Pelican's fields are the first list of the document, under its title or without one.
        for node in [each for each in tree.children if isinstance(each, field_list | docinfo)][:1]:
            for each in node.children:
                fields[each.children[0].astext().lower().replace("-", "_")] = each.children[1].astext()
            tree.remove(node)
        for message in list(tree.findall(system_message)):
            if message.parent is not None:
                message.parent.remove(message)
        named = ""
        if tree.children and isinstance(tree.children[0], title):
            named = tree.children[0].astext()
        html = publish_from_doctree(tree, writer="html5", settings_overrides=settings)
    except (SystemMessage, *_MISTAKES) as error:
        raise Refused(f"its reStructuredText can't be read: {' '.join(str(error).split())[:200]}") from error
    return fields, named, _body_of(str(html)), "html"


_ROLES = """
    class func meth mod attr exc data ref doc term setting ttag tfilter lookup djadmin djadminopt option file envvar pep
    rfc ticket commit cve source program command kbd samp guilabel menuselection keyword obj const
"""
_NAMED = """
    class function method attribute data exception module setting templatetag templatefilter django-admin
    django-admin-option fieldlookup describe option rubric
"""
_LEFT_OUT = "toctree index highlight currentmodule contents tabularcolumns"


@cache
def _with_roles_of_sphinx() -> None:
    """What Sphinx adds and posts have: roles and blocks that are shown as what they hold."""
    from docutils import nodes
    from docutils.parsers.rst import Directive, directives, roles
    from docutils.parsers.rst.directives.admonitions import Note
    from docutils.parsers.rst.directives.body import CodeBlock

    # The types say that a role is a reference; these are literals, as some of docutils' own are.
    def role(_name: str, raw: str, text: str, *_: Any, **__: Any) -> tuple[Any, Any]:
        shown = re.sub(r"\s*<[^<>]*>$", "", text, count=1).lstrip("~!")
        return [nodes.literal(raw, shown)], []

    for name in _ROLES.split():
        roles.register_local_role(name, role)

    class Shown(Directive):
        """A block that Sphinx knows: its content as it is."""

        has_content = True
        optional_arguments = 100
        final_argument_whitespace = True
        option_spec = None

        def run(self) -> list[nodes.Node]:
            node = nodes.container()
            self.state.nested_parse(self.content, self.content_offset, node)
            return node.children

    class Named(Shown):
        def run(self) -> list[nodes.Node]:
            said = nodes.paragraph("", "", nodes.literal("", " ".join(self.arguments)))
            return [said, nodes.block_quote("", *super().run())]

    class Left(Shown):
        def run(self) -> list[nodes.Node]:
            return []

    class Code(CodeBlock):
        option_spec: ClassVar[dict[str, Any]] = {
            **(CodeBlock.option_spec or {}),
            **dict.fromkeys(("linenos", "force"), directives.flag),
            **dict.fromkeys(("caption", "emphasize-lines", "lineno-start", "hl_lines", "dedent"), directives.unchanged),
        }

    for name in ("code-block", "sourcecode", "code", "highlight-block"):
        directives.register_directive(name, Code)
    for name in ("versionadded", "versionchanged", "deprecated", "seealso"):
        directives.register_directive(name, type(name, (_versioned(Note, nodes),), {}))
    for name in _NAMED.split():
        directives.register_directive(name, Named)
    for name in _LEFT_OUT.split():
        directives.register_directive(name, Left)
    for name in ("console", "snippet"):
        directives.register_directive(name, Code)
    for name in ("only", "hlist", "centered", "glossary"):
        directives.register_directive(name, Shown)


def _versioned(base: Any, nodes: Any) -> Any:
    class Versioned(base):  # type: ignore[misc]
        optional_arguments = 100
        final_argument_whitespace = True

        def run(self) -> list[Any]:
            said = " ".join([self.name, *self.arguments])
            node = nodes.note("", nodes.paragraph("", "", nodes.strong("", said)))
            self.state.nested_parse(self.content, self.content_offset, node)
            return [node]

    return Versioned


_LITERAL = r'<span class="docutils literal">((?:<span class="pre">[^<]*</span>|[^<])*)</span>'


def _body_of(html: str) -> str:
    """What docutils made, in our classes, without its title."""
    found = _BODY.search(html)
    html = found[1] if found else html
    html = re.sub(r"^\s*<main[^>]*>|</main>\s*$", "", html)
    html = re.sub(r'<h1 class="title">.*?</h1>', "", html, count=1, flags=re.DOTALL)
    html = re.sub(
        r'<pre class="code (\S+) literal-block"><code>', r'<pre class="code"><code class="language-\1">', html
    )
    html = re.sub(r'<section id="([^"]+)">\s*<h([2-6])>', r'<section>\n<h\2 id="\1">', html)
    html = re.sub(_LITERAL, r"<code>\1</code>", html).replace('class="admonition-title"', 'class="title"')
    return html.replace('<pre class="literal-block">', '<pre class="code">').strip("\n")
