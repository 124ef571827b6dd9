"""Pages: what fits on one, and tokens that open nothing but their own list."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from commerce.product.v1 import product_pb2

from services.errors import PageTokenInvalid
from services.settings import secret_lines
from services.storage.paging import MAX_PAGE_BYTES, IdKey, Pages


class EveryType(NamedTuple):
    """A key of every type that there is."""

    id: UUID
    time: datetime
    rank: float
    number: int
    name: str


class Number(NamedTuple):
    number: int


KEY, OTHER_KEY = b"one key of page tokens", b"another key of page tokens"
OWNER = UUID(int=1)
ROW = product_pb2.Product(sku="a row")


def asked(**fields: Any) -> product_pb2.ListProductsRequest:
    return product_pb2.ListProductsRequest(**fields)


def token_of(key: Any, *keys: bytes, owner: UUID | None = None, **fields: Any) -> str:
    """Return the token that a first page of one row ends with."""
    page = Pages(keys or [KEY]).open(asked(**fields, page_size=1), type(key), owner=owner)
    _, token = asyncio.run(page.cut([ROW, ROW], lambda row: row, lambda _: key))
    return token


def after(token: str, key: Any, *keys: bytes, owner: UUID | None = None, **fields: Any) -> Any:
    return Pages(keys or [KEY]).open(asked(**fields, page_token=token), key, owner=owner).after


@pytest.mark.parametrize(("page_size", "rows"), [(0, 26), (1, 2), (100, 101), (101, 101), (2**31 - 1, 101)])
def test_page_size_is_capped(page_size: int, rows: int) -> None:
    assert Pages([KEY]).open(asked(page_size=page_size), IdKey).limit == rows


def test_page_token_gives_the_key_back_with_its_types() -> None:
    moment = datetime(2026, 11, 22, 8, 30, 0, 123456, tzinfo=UTC)
    key = EveryType(uuid4(), moment, 0.06079271, 7, 'é"')
    assert after(token_of(key), EveryType) == key
    assert after("", EveryType) is None


def test_page_token_opens_its_own_list_filters_and_owner_alone() -> None:
    key = IdKey(UUID(int=7))
    token = token_of(key, owner=OWNER, brand="a")
    assert after(token, IdKey, owner=OWNER, brand="a", page_size=3) == key
    others: list[tuple[UUID | None, dict[str, Any]]] = [
        (OWNER, {"brand": "b"}),
        (OWNER, {"sku": "a"}),
        (OWNER, {"brand": "a", "show_inactive": True}),
        (UUID(int=2), {"brand": "a"}),
        (None, {"brand": "a"}),
    ]
    for owner, fields in others:
        with pytest.raises(PageTokenInvalid):
            after(token, IdKey, owner=owner, **fields)
    search = product_pb2.SearchProductsRequest(page_token=token_of(key))
    with pytest.raises(PageTokenInvalid):
        Pages([KEY]).open(search, IdKey)


def test_changed_page_token_is_refused_wherever_it_is_changed() -> None:
    token = token_of(IdKey(UUID(int=7)))
    changed = [
        token[:place] + digit + token[place + 1 :]
        for place in range(len(token))
        for digit in "AB_"
        if token[place] != digit
    ]
    for wrong in (*changed, "x", "====", "é", token[:-4], token + "AAAA", token + "=", json.dumps({"id": 1})):
        with pytest.raises(PageTokenInvalid):
            after(wrong, IdKey)


def test_page_token_of_an_older_version_with_other_types_is_refused() -> None:
    keys = [IdKey(UUID(int=7)), Number(7), EveryType(UUID(int=7), datetime.now(UTC), 0.5, 7, "a")]
    for signed in keys:
        for read in keys:
            if type(signed) is not type(read):
                with pytest.raises(PageTokenInvalid):
                    after(token_of(signed), type(read))


def test_page_token_keys_are_rotated_without_a_refusal() -> None:
    old, new = token_of(Number(7), KEY), token_of(Number(7), OTHER_KEY, KEY)
    assert after(old, Number, OTHER_KEY, KEY) == after(new, Number, KEY, OTHER_KEY) == (7,)
    for token, keys in ((old, [OTHER_KEY]), (new, [KEY])):
        with pytest.raises(PageTokenInvalid):
            after(token, Number, *keys)


async def test_page_ends_by_bytes_with_at_least_one_row() -> None:
    rows = [
        product_pb2.Product(description="x" * round(size))
        for size in (MAX_PAGE_BYTES + 1, 0.6 * MAX_PAGE_BYTES, 0.3 * MAX_PAGE_BYTES, 0.6 * MAX_PAGE_BYTES)
    ]
    seen, token = [], ""
    while True:
        page = Pages([KEY]).open(asked(page_token=token, page_size=3), Number)
        start = page.after.number if page.after else 0
        messages, token = await page.cut(
            rows[start : start + page.limit], lambda row: row, lambda row: Number(rows.index(row) + 1)
        )
        seen.append(len(messages))
        if not token:
            break
    assert seen == [1, 2, 1]


async def test_other_calls_have_their_turn_while_a_long_page_is_made() -> None:
    made: list[product_pb2.Product] = []

    def make(row: product_pb2.Product) -> product_pb2.Product:
        made.append(row)
        return row

    page = Pages([KEY]).open(asked(page_size=100), Number)
    making = asyncio.create_task(page.cut([ROW] * 101, make, lambda _: Number(1)))
    longest = 0
    while not making.done():
        before = len(made)
        await asyncio.sleep(0)
        longest = max(longest, len(made) - before)
    assert (len(made), longest) == (100, 4)


def test_a_file_of_page_token_keys_without_secrets_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    for content in ("", "\n", "short\n", f"{'a' * 43}\nshort\n"):
        file.write_text(content)
        with pytest.raises(ValueError, match="not secrets of 32 bytes"):
            secret_lines(str(file))
    file.write_text(f"{'a' * 43}\n{'b' * 43}\n")
    assert secret_lines(str(file)) == (b"a" * 43, b"b" * 43)
