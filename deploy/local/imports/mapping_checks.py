"""What the lines of a mapping may say of bytes and numbers, told before a file is read by them."""

import codecs
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

# More units than any warehouse has.
MAX_STOCK = 1_000_000_000
_MIN_SCALE, _MAX_SCALE = Decimal("1e-9"), Decimal("1e9")
_PROBE = "sku\n"


def check_bytes(said: Mapping[str, Any]) -> None:
    """Check `encoding`, `separator`, `quote` and `escape`.

    Raises:
        ValueError: with the line and what is allowed.
    """
    encoding = said.get("encoding", "")
    if encoding and not _is_of_text(encoding):
        raise ValueError(f"encoding = {encoding!r} is none of texts, as utf-8, utf-16, cp1252 and big5 are")
    marks = {key: said[key] for key in ("separator", "quote", "escape") if said.get(key)}
    for key, mark in marks.items():
        if len(mark) > 1 or mark in "\r\n":
            raise ValueError(f"{key} = {mark!r} is not one character of a line")
    if len(set(marks.values())) < len(marks):
        raise ValueError("separator, quote and escape are three different characters")


def _is_of_text(encoding: str) -> bool:
    """Say whether texts can be read so piece by piece, with bytes in them that it does not have."""
    try:
        decoder = codecs.getincrementaldecoder(encoding)("surrogateescape")
        return decoder.decode(_PROBE.encode(encoding)) == _PROBE
    except (LookupError, ValueError):
        return False


def check_scale(text: str) -> None:
    """Check `price_scale`.

    Raises:
        ValueError: with what is allowed.
    """
    try:
        scale = Decimal(text)
        is_scale = scale.is_finite() and _MIN_SCALE <= scale <= _MAX_SCALE
    except ArithmeticError:
        is_scale = False
    if not is_scale:
        raise ValueError(f"price_scale = {text!r} is no number from 0.000000001 to 1000000000")
