"""Pages (AIP-158): a capped size, and an opaque token of the last row's sort key."""

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID

from services.errors import PageTokenInvalid

DEFAULT_PAGE_SIZE = 25
MAX_PAGE_SIZE = 100

# Enough to notice an edited or truncated token; a token opens nothing that its list does not.
_CHECK_BYTES = 12


def page_size(requested: int) -> int:
    """Return the number of rows to read: 25 where the caller leaves it open, 100 at most."""
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def encode_token(key: Mapping[str, Any], *, filter: str) -> str:  # noqa: A002  the AIP's word
    """Return the token of the page after `key`.

    Args:
        key: The sort key of the last row: strings, numbers, UUIDs, datetimes, Decimals.
        filter: Everything else that the list depends on; the next page must be asked with the same.
    """
    body = json.dumps({name: _to_json(value) for name, value in key.items()}, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(body, filter) + body).decode().rstrip("=")


def decode_token(token: str, *, filter: str) -> dict[str, Any] | None:  # noqa: A002  the AIP's word
    """Return the key given to `encode_token`, with its types; None for the first page.

    Raises:
        PageTokenInvalid: not a token of ours, or one of another list.
    """
    if not token:
        return None
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        raise PageTokenInvalid("page_token is not valid") from None
    check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
    if check != _check(body, filter):
        raise PageTokenInvalid("page_token is not valid for this list")
    try:
        return _Key({name: _from_json(value) for name, value in json.loads(body).items()})
    except (AttributeError, ArithmeticError, TypeError, ValueError):
        raise PageTokenInvalid("page_token is not valid") from None


class _Key(dict[str, Any]):
    """A sort key; what a forged one lacks is the caller's fault."""

    def __missing__(self, name: str) -> NoReturn:
        raise PageTokenInvalid("page_token is not valid")


def _check(body: bytes, list_filter: str) -> bytes:
    return hashlib.sha256(list_filter.encode() + b"\0" + body).digest()[:_CHECK_BYTES]


def _to_json(value: Any) -> Any:
    match value:
        case UUID():
            return {"uuid": str(value)}
        case datetime():
            return {"time": value.isoformat()}
        case Decimal():
            return {"decimal": str(value)}
        case None | bool() | int() | float() | str():
            return value
    raise TypeError(f"a page key cannot hold {type(value).__name__}")


def _from_json(value: Any) -> Any:
    match value:
        case {"uuid": text}:
            return UUID(text)
        case {"time": text}:
            return datetime.fromisoformat(text)
        case {"decimal": text}:
            return Decimal(text)
    return value
