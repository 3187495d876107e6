"""The commands of the blog. What they do is imported when they are run."""

from __future__ import annotations

import argparse

from hub.cli import Command, Environ

#: As `moving_comments.READERS`, which a test compares: importing it here would cost every command SQLAlchemy.
TOOLS = ("disqus", "wordpress", "isso")


def _posts_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("import", "export"), help="bring files in, or write every post to one")
    parser.add_argument(
        "folder", metavar="DIR", help="of Markdown, HTML, reStructuredText and text; read with all in it"
    )
    parser.add_argument(
        "--rst",
        metavar="SUFFIX",
        action="append",
        default=[],
        help="files with this suffix are reStructuredText too, such as .txt; may be repeated",
    )
    parser.add_argument("--processes", metavar="N", type=int, help="that read and render; as many as processors")


def _posts(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import export_folder, import_folder

    return import_folder(found, environ) if found.action == "import" else export_folder(found, environ)


def _comments_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("import",), help="bring the comments of another tool in")
    parser.add_argument("file", metavar="FILE", help="Disqus's XML, WordPress's export (WXR), or isso's database")
    parser.add_argument("--from", dest="tool", choices=TOOLS, help="whose it is; else it is seen from the file")


def _comments(found: argparse.Namespace, environ: Environ) -> int:
    from .commands import import_file

    return import_file(found, environ)


COMMANDS = (
    Command(
        "posts",
        "import a folder of posts (Pelican, Hugo, Jekyll, plain files), or export all to one",
        _posts_arguments,
        _posts,
        epilog="Importing again changes nothing but what has changed in the files. Says what it skipped, and why.",
    ),
    Command(
        "comments",
        "import comments of Disqus, WordPress or isso into the posts that they were written to",
        _comments_arguments,
        _comments,
        epilog="Importing again adds what is new. Says what it skipped, and why.",
    ),
)
