"""What workers write to each other about who is with them: where, in which parts, and what is no report."""

from __future__ import annotations

from typing import Any

#: The channel of reports. Only the hub itself can publish to a meta channel.
REPORTS = "/meta/presence"

#: About how many bytes a report may have, as the log keeps it as one entry; what is more goes into the next.
REPORT_BYTES = 48 * 1024


class Parts:
    """Cuts what is reported into parts of about REPORT_BYTES each; a channel's long list of users too.

    parts: by channel, what is reported of it.
    """

    def __init__(self) -> None:
        self.parts: list[dict[str, list[Any]]] = []
        self._size = REPORT_BYTES

    def add(self, channel: str, head: list[Any], lists: tuple[list[str], ...]) -> None:
        """Report `[*head, *lists]` of a channel, in as many parts as that takes."""
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
    """Raise LookupError, TypeError or ValueError if this is not a report: another release may write to our log."""
    if not isinstance(report["worker"], str):
        raise TypeError("worker is not a name")
    for count, *lists in (*report.get("snapshot", {}).values(), *report.get("channels", {}).values()):
        if not isinstance(count, int) or not all(isinstance(name, str) for names in lists for name in names):
            raise TypeError("not a count with names")
    if {len(each) for each in report.get("snapshot", {}).values()} - {2}:
        raise ValueError("not a snapshot")
    if {len(each) for each in report.get("channels", {}).values()} - {3}:
        raise ValueError("not changes")
