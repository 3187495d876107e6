"""Reads HTML as browsers do, and says what of it could harm: for tests of what strangers write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import html5lib

HARMLESS_SCHEMES = {"", "http", "https", "mailto"}

#: What Markdown and HTML are made of, and what attacks are, to be put together at random.
MARKS = [
    *"*_`~<>|!&\\[]()#-+:@\n\t\"'= 1a.^\0é",
    "\n\n",
    "```",
    "> ",
    "- ",
    "1. ",
    "http://a.example/",
    "[x](y)",
    "<b>",
    "](",
    "&lt;",
    "    ",
    "javascript:",
    "data:",
    "<a href=",
    " onerror=",
    "[^1]",
]

# Of every kind known to get past some cleaner or other: what it is called, and what somebody would write.
ATTACKS = {
    "a script": "<script>alert(1)</script>",
    "a script in capitals": "<ScRiPt>alert(1)</sCrIpT>",
    "a script with a slash": "<script/x>alert(1)</script/x>",
    "a script that is not closed": "<script>alert(1)",
    "a script from elsewhere": '<script src="//evil.example/x.js"></script>',
    "a script within a script's tag": "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "a handler": '<img src="x" onerror="alert(1)">',
    "a handler without quotes": "<img src=x onerror=alert(1)>",
    "a handler after a slash": "<img/src=x/onerror=alert(1)>",
    "a handler after a form feed": "<img\x0csrc=x\x0conerror=alert(1)>",
    "a handler with a line's end": '<img src=x onerror\n=\n"alert(1)">',
    "a handler of an unknown tag": "<xss onpointerenter=alert(1)>x</xss>",
    "a handler that needs no mouse": "<details open ontoggle=alert(1)>",
    "a handler by animation": '<b style="animation-name:x" onanimationstart=alert(1)>',
    "a handler by focus": '<input autofocus onfocus="alert(1)">',
    "a handler within a title": '[x](http://a.example "\\" onmouseover=\\"alert(1)")',
    "a handler within an image's text": '![" onerror="alert(1)](x)',
    "a handler within an address": '[x](http://a.example/"onmouseover="alert(1))',
    "a handler in a fence's name": '```" onmouseover="alert(1)\nx\n```',
    "a handler in a heading": '# x" onmouseover="alert(1)',
    "a tag within an image's text": '<img alt="<h2>x onerror=alert(1) </h2>" src=x>',
    "a title that ends in an attribute": "<img alt='<h1 id=\"' src=x><h1>\" onerror=alert(1)</h1>",
    "a link to a script": "[x](javascript:alert(1))",
    "the same in capitals": "[x](JaVaScRiPt:alert(1))",
    "the same with an entity": "[x](javascript&colon;alert(1))",
    "the same with numbers": "[x](&#106;avascript:alert(1))",
    "the same after a space": "[x](<\x01javascript:alert(1)>)",
    "the same with a tab": '<a href="java\tscript:alert(1)">x</a>',
    "the same with a line's end": '<a href="java\nscript:alert(1)">x</a>',
    "the same by a name": "[x]\n\n[x]: javascript:alert(1)",
    "the same in angles": "<javascript:alert(1)>",
    "the same in HTML": '<a href="javascript:alert(1)">x</a>',
    "the same in HTML without quotes": "<a href=javascript&#58;alert(1)>x</a>",
    "vbscript": "[x](vbscript:msgbox)",
    "a file": "[x](file:///etc/passwd)",
    "a link with a page of its own": "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "a picture with one": '<img src="data:image/svg+xml,<svg onload=alert(1)>">',
    "a picture in the text with one": "![x](data:image/png;base64,AAAA)",
    "a style": "<style>*{display:none}</style>",
    "a style of one": '<p style="position:fixed;inset:0">x</p>',
    "a style sheet": '<link rel=stylesheet href="//evil.example/x.css">',
    "an import": "<style>@import'//evil.example/x.css'</style>",
    "a picture that draws itself": "<svg><script>alert(1)</script></svg>",
    "a handler of one": "<svg onload=alert(1)>",
    "an animation of a link": "<svg><a><animate attributeName=href values=javascript:alert(1) /><text>x</svg>",
    "a formula": '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src onerror=alert(1)&gt;">',
    "a formula's link": '<math href="javascript:alert(1)">x</math>',
    "another mutation": '<svg></p><style><a id="</style><img src=1 onerror=alert(1)>">',
    "a mutation by a template": "<template><style></template><img src=x onerror=alert(1)></style>",
    "a mutation by noscript": '<noscript><p title="</noscript><img src=x onerror=alert(1)>"></noscript>',
    "a mutation by a text area": '<textarea><img title="</textarea><img src=x onerror=alert(1)>">',
    "a mutation by a comment": "<!--><img src=x onerror=alert(1)>-->",
    "another one": "<!--!><img src=x onerror=alert(1)>--!>",
    "a mutation by CDATA": "<![CDATA[><img src=x onerror=alert(1)>]]>",
    "a mutation by an instruction": "<?x ><img src=x onerror=alert(1)>?>",
    "a frame": '<iframe src="javascript:alert(1)"></iframe>',
    "a frame with a text": '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
    "an object": '<object data="javascript:alert(1)"></object>',
    "an embed": "<embed src=javascript:alert(1)>",
    "a base": '<base href="//evil.example/">',
    "a refresh": '<meta http-equiv=refresh content="0;url=javascript:alert(1)">',
    "a form": '<form action="//evil.example"><input name=p><button formaction=javascript:alert(1)>x</button>',
    "a name that hides the page's": '<img name=getElementById><a id=location href="#x">x</a>',
    "an id that hides the page's": '<b id="comments">x</b>',
    "a null": "<scr\0ipt>alert(1)</scr\0ipt>",
    "a tag in another alphabet": "＜script＞alert(1)＜/script＞",
    "a picture list": '<img srcset="javascript:alert(1)" src=x>',
    "a picture's source": "<picture><source srcset=x onerror=alert(1)><img src=x></picture>",
    "a marquee": "<marquee onstart=alert(1)>x</marquee>",
    "a background": '<table background="javascript:alert(1)"><tr><td background=x>x</td></tr></table>',
    "a part in another namespace": "<x:script xmlns:x='http://www.w3.org/1999/xhtml'>alert(1)</x:script>",
    "a link that opens a page with power": '<a href="http://evil.example" target=_blank rel=opener>x</a>',
    "a ping": '<a href="http://a.example" ping="http://evil.example">x</a>',
    "an is": '<b is="x-y" slot="z" part="w" data-live="comments-1" hx-get="/x">x</b>',
    "a footnote's name": '[^"><script>]\n\n[^"><script>]: x',
    "a footnote": "x[^1]\n\n[^1]: <img src=x onerror=alert(1)>",
    "a table": "| <img src=x onerror=alert(1)> |\n|---|\n| <script>alert(1)</script> |",
    "code": "`<script>alert(1)</script>`\n\n    <script>alert(1)</script>",
    "a line of code": "```python lines\n</code></pre><script>alert(1)</script>\n```",
    "a task": "- [ ] <script>alert(1)</script>\n- [x]<img src=x onerror=alert(1)>",
}


def elements(html: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Each tag of a fragment with its attributes, as a browser makes them of it."""
    tree = html5lib.parseFragment(html, treebuilder="etree", namespaceHTMLElements=False)
    for each in tree.iter():
        if each.tag != "DOCUMENT_FRAGMENT":
            yield str(each.tag), dict(each.attrib)


def text_of(html: str) -> str:
    tree = html5lib.parseFragment(html, treebuilder="etree", namespaceHTMLElements=False)
    return "".join(tree.itertext())


def harm(html: str, *, tags: Any, prefix: str | None) -> list[str]:
    """What a fragment has that it must not; ids begin with the prefix, or there are none."""
    found = []
    # Raises for whatever is not as the standard has it.
    html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parseFragment(html)
    for tag, attributes in elements(html):
        if tag not in tags:
            found.append(f"<{tag}>")
        for name, value in attributes.items():
            if name.startswith("on") or name in (
                "style",
                "target",
                "name",
                "srcset",
                "ping",
                "is",
                "action",
                "formaction",
            ):
                found.append(f"{tag} {name}={value}")
            if name in ("href", "src", "cite"):
                # Browsers leave out what is below a space.
                address = "".join(c for c in value if c > " ").lower()
                if urlsplit(address).scheme not in HARMLESS_SCHEMES:
                    found.append(f"{tag} {name}={value}")
            if name == "id" and (prefix is None or not value.startswith(prefix)):
                found.append(f"{tag} id={value}")
            if name.startswith(("data-", "hx-")):
                found.append(f"{tag} {name}")
        if tag == "a" and "href" in attributes and "noopener" not in attributes.get("rel", ""):
            found.append(f"a rel={attributes.get('rel')}")
    return found
