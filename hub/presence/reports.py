"""What workers write to each other about who is with them: where, in which parts, and what is no report."""

from __future__ import annotations

from typing import Any

#: Where workers tell each other. Nobody else can publish to a meta channel.
REPORTS = "/meta/presence"

#: Bytes of a report before the next begins, about; the log holds it as one entry.
REPORT_BYTES = 48 * 1024


class Parts:
    """Splits what is reported into parts of about REPORT_BYTES; a long list of a channel too."""

    def __init__(self) -> None:
        self.parts: list[dict[str, list[Any]]] = []
        self._size = REPORT_BYTES

    def add(self, channel: str, head: list[Any], lists: tuple[list[str], ...]) -> None:
        """`[*head, *lists]` of a channel, over as many parts as it takes."""
        self._begin(channel, head, len(lists))
        for number, names in enumerate(lists):
            for name in names:
                if self._size >= REPORT_BYTES:
                    self._begin(channel, head, len(lists))
                self.parts[-1][channel][len(head) + number].append(name)
                self._size += len(name) + 3

    def _begin(self, channel: str, head: list[Any], lists: int) -> None:
        if self._size >= REPORT_BYTES:
            self.parts.append({})
            self._size = 0
        self.parts[-1][channel] = [*head, *([] for _ in range(lists))]
        self._size += len(channel) + 16


def check_report(report: Any) -> None:
    """Raise LookupError, TypeError or ValueError for what is no report: another version may write to our log."""
    if not isinstance(report["worker"], str):
        raise TypeError("worker is not a name")
    for count, *lists in (*report.get("snapshot", {}).values(), *report.get("channels", {}).values()):
        if not isinstance(count, int) or not all(isinstance(name, str) for names in lists for name in names):
            raise TypeError("not a count with names")
    if {len(each) for each in report.get("snapshot", {}).values()} - {2}:
        raise ValueError("not a snapshot")
    if {len(each) for each in report.get("channels", {}).values()} - {3}:
        raise ValueError("not changes")
