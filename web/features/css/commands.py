"""What the command of css does."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from hub.cli import DONE, FAILED, Wrong

from .fetching import CannotFetch, fetch, loader, new_outbound, url_of
from .inline import Result, Sheets, inline


def css(found: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print the page; 1 if it stays as it was."""
    result = asyncio.run(_made(found))
    # As it came, with its own ends of lines.
    sys.stdout.buffer.write(result.html.encode())
    sys.stdout.flush()
    if found.report:
        print("\n".join(_report(result)), file=sys.stderr)
    elif result.left:
        print(f"fanfare: the page is as it was: {result.left}", file=sys.stderr)
    return FAILED if result.left else DONE


async def _made(found: argparse.Namespace) -> Result:
    root = None if found.root is None else Path(found.root)
    keep = [name for name in found.keep.replace(" ", "").split(",") if name]
    outbound = new_outbound()
    try:
        page = await fetch(outbound, url_of(found.page), root)
        html = page.body.decode(page.charset or "utf-8")
        sheets = Sheets(loader(outbound, root))
        return await asyncio.to_thread(inline, html, page.url, sheets.plan, keep=keep, explain=found.report)
    except CannotFetch as error:
        raise Wrong(str(error)) from None
    except (UnicodeDecodeError, LookupError):
        raise Wrong(f"{found.page}: not in {page.charset or 'utf-8'}") from None
    finally:
        await outbound.close()


def _report(result: Result) -> list[str]:
    lines = [f"the page is as it was: {result.left}"] if result.left else []
    for sheet in result.sheets:
        if sheet.state == "link":
            lines.append(f"{sheet.url}: stays as it is: {sheet.why}")
            continue
        share = 100 * sheet.after / sheet.before if sheet.before else 0
        lines.append(
            f"{sheet.url}: {sheet.after:,} of {sheet.before:,} characters ({share:.0f} %),"
            f" {sheet.kept} of {sheet.rules} rules"
        )
        lines += [f"  {line}: {selector}: {why}" for line, selector, why in sheet.reasons]
    return lines
