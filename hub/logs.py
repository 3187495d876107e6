"""The log's lines: a fixed message, and facts beside it. Configured once, by the command."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any

#: What every record has; anything else on it came as `extra`.
_PLAIN = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {"message", "asctime", "taskName"}


#: Whose debug lines are written.
_OURS = frozenset({"hub", "web"})


def configure(level: str, form: str) -> None:
    """Log to standard error from `level` on, as "text" or "json". Replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else TextLines())
    handler.addFilter(_is_ours)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _is_ours(record: logging.LogRecord) -> bool:
    """Whether to write a record. At debug only our own: the database's driver logs every statement with its values.

    Those have password hashes and texts of visitors in them, and are a dozen lines every two seconds.
    """
    return record.levelno > logging.DEBUG or record.name.partition(".")[0] in _OURS


def facts(record: logging.LogRecord) -> dict[str, Any]:
    """What was logged as `extra`."""
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


class TextLines(logging.Formatter):
    """`12:30:01 INFO hub.node session ended session=3f9a reason=expired`"""

    def format(self, record: logging.LogRecord) -> str:
        words = [time.strftime("%H:%M:%S", time.localtime(record.created)), record.levelname, record.name]
        words.append(record.getMessage())
        words.extend(f"{name}={_word(value)}" for name, value in facts(record).items())
        line = " ".join(words)
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonLines(logging.Formatter):
    """One JSON object a line, for machines; `time` is in seconds since 1970."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry.update((name, value) for name, value in facts(record).items() if name not in entry)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def _word(value: object) -> str:
    text = str(value)
    # Quoted, a value can't break the line or pass for another fact.
    return text if text and text.isprintable() and not any(char in ' "=' for char in text) else json.dumps(text)
