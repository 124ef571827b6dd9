"""Pages (AIP-158): capped in rows and in bytes, with an opaque, signed token of where the next one begins."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar, get_type_hints
from uuid import UUID

from google.protobuf.message import Message

from services.errors import PageTokenInvalid
from services.read_mask import READ_MASK

DEFAULT_PAGE_SIZE = 25
MAX_PAGE_SIZE = 100
# A hundred rows of ordinary size fit: of three real catalogues the largest hundred in a row have 150 kB. Each
# byte may become six of JSON, and with pages of 1 MiB a caller who took 20 of them a second, as the contract
# lets it, stopped the edge for two seconds.
MAX_PAGE_BYTES = 256 * 1024

# Between so many, other calls have their turn. gRPC hands over about one new call in each round of the event
# loop: while pages of a hundred rows were made in one piece, new calls queued up in front of it.
_ROWS_A_STEP = 4

# The fields of a list that do not say which rows it has. They may differ from page to page (AIP-158).
_NO_FILTERS = frozenset({"page_size", "page_token", READ_MASK})

_MAC_BYTES = hashlib.sha256().digest_size


class IdKey(NamedTuple):
    """The key of lists that are sorted by one id."""

    id: UUID


# A NamedTuple: names and types of what a list is sorted by. Types: UUID, datetime, int, float, str.
Key = TypeVar("Key", bound=tuple[Any, ...])
Row = TypeVar("Row")
RowMessage = TypeVar("RowMessage", bound=Message)


class Pages:
    """Opens the pages that requests ask for.

    Args:
        token_keys: Secrets that sign tokens: the first signs, all verify.
    """

    def __init__(self, token_keys: Sequence[bytes]) -> None:
        self._token_keys = tuple(token_keys)

    def open(self, request: Message, key: type[Key], *, owner: UUID | None = None) -> "Page[Key]":
        """Read `page_size` and `page_token` of a request; its other fields, but a read mask, are the filters.

        Args:
            request: Of a list method.
            key: What the list is sorted by.
            owner: Whose list it is, where not everyone's is the same: a token works for nobody else.

        Raises:
            PageTokenInvalid: the token is not of this list, these filters and this owner.
        """
        asked: Any = request
        size = min(asked.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        signer = _Signer(self._token_keys, _place(request, owner))
        after = _read_key(signer.verified(asked.page_token), key) if asked.page_token else None
        return Page(size, after, signer)


class Page(Generic[Key]):
    """One page of a list."""

    def __init__(self, size: int, after: Key | None, signer: "_Signer") -> None:
        # Key of the last row of the page before; None on the first page.
        self.after = after
        self._size = size
        self._signer = signer

    @property
    def limit(self) -> int:
        """How many rows to read: one more than fit tells that there is a next page."""
        return self._size + 1

    async def cut(
        self,
        rows: Sequence[Row],
        to_message: Callable[[Row], RowMessage],
        key_of: Callable[[Row], Key],
        *,
        is_whole: bool = True,
    ) -> tuple[list[RowMessage], str]:
        """Return the messages that fit on the page, at least one, and the token of the next or "".

        Args:
            rows: `limit` of them at most.
            to_message: Makes a row's message.
            key_of: Returns what a row is sorted by.
            is_whole: Rows are fewer than `limit` only where there are no more.
        """
        messages: list[RowMessage] = []
        size_bytes = 0
        for place, row in enumerate(rows[: self._size], 1):
            await give_way(place)
            message = to_message(row)
            size_bytes += message.ByteSize()
            if messages and size_bytes > MAX_PAGE_BYTES:
                break
            messages.append(message)
        if len(messages) == len(rows) and is_whole:
            return messages, ""
        return messages, self._signer.sign(_write_key(key_of(rows[len(messages) - 1])))


async def give_way(place: int) -> None:
    """Let other calls have their turn before every few rows; `place` counts the rows from 1."""
    if place % _ROWS_A_STEP == 0:
        await asyncio.sleep(0)


class _Signer:
    """Tokens of one list: HMAC-SHA-256 over the place where the token is good, and the row's key."""

    def __init__(self, token_keys: Sequence[bytes], place: bytes) -> None:
        self._token_keys = token_keys
        self._place = place

    def sign(self, body: bytes) -> str:
        return _to_text(self._mac(self._token_keys[0], body) + body)

    def verified(self, token: str) -> bytes:
        raw = _from_text(token)
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        # Every key is tried, also after one has matched: the time tells nothing.
        matches = [hmac.compare_digest(mac, self._mac(key, body)) for key in self._token_keys]
        if not any(matches):
            _refuse()
        return body

    def _mac(self, token_key: bytes, body: bytes) -> bytes:
        return hmac.digest(token_key, self._place + body, "sha256")


def _place(request: Message, owner: UUID | None) -> bytes:
    """Name where a token is good: the method's request, its filters and the owner, in a fixed length."""
    filters = type(request)()
    filters.CopyFrom(request)
    for name in _NO_FILTERS.intersection(request.DESCRIPTOR.fields_by_name):
        filters.ClearField(name)
    names = f"{request.DESCRIPTOR.full_name}\0{owner or ''}\0".encode()
    return hashlib.sha256(names + filters.SerializeToString(deterministic=True)).digest()


def _write_key(key: tuple[Any, ...]) -> bytes:
    values = [value if isinstance(value, int | float | str) else _to_json(value) for value in key]
    return json.dumps(values, separators=(",", ":")).encode()


def _to_json(value: UUID | datetime) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _read_key(body: bytes, key: type[Key]) -> Key:
    """Read a key with its declared types; one that an older version signed may have others."""
    kinds = get_type_hints(key).values()
    try:
        values = [_read_value(kind, value) for kind, value in zip(kinds, json.loads(body), strict=True)]
    except (TypeError, ValueError):
        _refuse()
    return key(*values)


def _read_value(kind: type[Any], value: object) -> Any:
    if kind is UUID and isinstance(value, str):
        return UUID(value)
    if kind is datetime and isinstance(value, str):
        return datetime.fromisoformat(value)
    if type(value) is not kind:
        raise TypeError(f"a key has {type(value).__name__} for {kind.__name__}")
    return value


def _to_text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _from_text(token: str) -> bytes:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        _refuse()
    # Unused bits of the last digit: one token has one spelling.
    return raw if _to_text(raw) == token else _refuse()


def _refuse() -> NoReturn:
    raise PageTokenInvalid("page_token is not valid for this list")
