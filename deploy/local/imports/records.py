"""What a file of products is made of, whatever its format: records, and places that cannot be read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Longer than any row that the contract takes; what is longer is no record but a mistake, and is not kept.
MAX_RECORD_CHARACTERS = 1024 * 1024
# More columns than any file has: what has more is data.
MAX_COLUMNS = 20_000
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Record:
    """A row as its file has it: values by column, and the line it begins at, from 1."""

    line: int
    values: Mapping[str, Any]


@dataclass(frozen=True)
class Unreadable:
    """A row that cannot be read: the line it begins at, a stable reason, and what is wrong."""

    line: int
    reason: str
    message: str
    value: str = ""


def is_text(text: str) -> bool:
    """Say whether a text can be written: no lone surrogate, nor a byte of another encoding, is in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class RowRefused(Exception):
    """A row that is not sent: the field, its value and the rule that it breaks; `reason` is stable."""

    def __init__(self, field_name: str, value: object, reason: str, message: str) -> None:
        super().__init__(message)
        self.field, self.value, self.reason, self.message = field_name, shown(value), reason, message


def shown(value: object) -> str:
    """Write a value as a report shows it: short, and with what is no text escaped."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    short = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "…"
    return short.encode("utf-8", "backslashreplace").decode()
