"""The rules of text that all nouns of the product service share."""

import re
from collections.abc import Iterable

from services.errors import (
    FieldViolation,
    InvalidArgument,
)

# C0 and DEL but for white space (PostgreSQL holds no NUL, terminals obey ESC), CSI, and the marks that turn
# text around: "gpj.exe" shows as "exe.jpg". The rest of C1 stays: real names have it where a trade mark was.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x9b\u202a-\u202e\u2066-\u2069]")


def refuse(violations: Iterable[FieldViolation]) -> None:
    """Raise InvalidArgument where there are violations; its message tells of the first."""
    found = tuple(violations)
    if found:
        raise InvalidArgument(f"{found[0].field}: {found[0].description}", violations=found)


def text_violations(field: str, *texts: str) -> list[FieldViolation]:
    """Find characters that nobody types and that make text show as another, or act on what shows it."""
    if any(_CONTROLS.search(text) for text in texts):
        description = "must not contain control characters or marks that turn text around"
        return [FieldViolation(field, description, "TEXT_HAS_CONTROL")]
    return []
