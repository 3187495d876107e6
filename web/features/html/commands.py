"""What the command of html does."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from hub.cli import Wrong

from ...services.addresses import Guard, parse_networks
from ...services.outbound import Outbound, OutboundError
from . import finding
from .checker import Checker
from .documents import Document, unpacked
from .filters import BadBaseline, Filter, Filters, read_baseline, write_baseline
from .kept import Kept
from .reports import as_github, as_json, as_text
from .server import Server
from .verdicts import Unchecked, Verdict, exit_code

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".htm": "text/html; charset=utf-8",
    ".xhtml": "application/xhtml+xml",
    ".svg": "image/svg+xml",
    ".css": "text/css; charset=utf-8",
}


def html(found: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Check, print, and return the exit code."""
    kept = _baseline(found)
    filters = Filters([*kept, *(Filter(text, reason="given on the command line") for text in found.ignore)])
    server = Server(lambda: finding.command(finding.java(found.java), finding.jar(found.jar)), None, kept=found.keep)
    kept_verdicts = _kept(found, environ)
    verdicts: list[Verdict] = []
    try:
        checker = Checker(server, filters, level=found.level, kept=kept_verdicts)
        for where in found.where:
            for document in _documents(where, is_piece=found.piece):
                verdicts.append(document if isinstance(document, Verdict) else checker.check(document))
    finally:
        server.close()
        if kept_verdicts is not None:
            kept_verdicts.close()
    if found.write_baseline:
        Path(found.baseline).write_text(write_baseline(verdicts, kept), encoding="utf-8")
        print(f"{found.baseline}: {sum(len(each.messages) for each in verdicts)} messages; give each its reason")
        return 0
    shown = {"json": as_json, "github": as_github}.get(found.format)
    print(as_text(verdicts, filters.unused()) if shown is None else shown(verdicts))
    return exit_code(verdicts)


def _baseline(found: argparse.Namespace) -> list[Filter]:
    if found.baseline is None:
        if found.write_baseline:
            raise Wrong("into which file? say --baseline FILE")
        return []
    path = Path(found.baseline)
    if not path.exists() and found.write_baseline:
        return []
    try:
        return read_baseline(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, BadBaseline) as error:
        raise Wrong(f"{path}: {error}") from None


def _kept(found: argparse.Namespace, environ: Mapping[str, str]) -> Kept | None:
    """The results of former runs; None if they are not to be kept, or no validator was found."""
    if found.no_cache:
        return None
    home = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME") or "~").expanduser() / ".cache")
    folder = Path(found.cache) if found.cache else Path(home) / "fanfare" / "html"
    try:
        return Kept(folder, finding.identity(finding.jar(found.jar)))
    except Unchecked:
        return None


def _documents(where: str, *, is_piece: bool) -> list[Document | Verdict]:
    if urlsplit(where).scheme in {"http", "https"}:
        return [asyncio.run(_fetched(where, is_piece=is_piece))]
    path = Path(where)
    files = [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _TYPES and file.is_file())
    found: list[Document | Verdict] = []
    for file in files:
        kind = _TYPES.get(file.suffix.lower(), "text/html; charset=utf-8")
        try:
            found.append(Document(str(file), file.read_bytes(), kind, is_piece))
        except OSError as error:
            found.append(Verdict("unchecked", str(file), why=error.strerror or str(error)))
    return found


async def _fetched(url: str, *, is_piece: bool) -> Document | Verdict:
    # Who types an address may mean a machine of his own network.
    outbound = Outbound(Guard(parse_networks("0.0.0.0/0 ::/0")), "fanfare-html")
    try:
        answer = await outbound.fetch(url)
        kind = answer.headers.get("Content-Type", "")
        if answer.status != 200:
            return Verdict("unchecked", url, why=f"status {answer.status}")
        return Document(url, unpacked(answer.body, ""), kind, is_piece)
    except (OutboundError, Unchecked) as error:
        return Verdict("unchecked", url, why=str(error))
    finally:
        await outbound.close()
