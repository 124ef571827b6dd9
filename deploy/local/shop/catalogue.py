"""Rows of product files, whatever shop they come from, as rows of ProductService.ImportProducts.

A row that cannot be read becomes an ImportIssue: one bad row never stops the others.
"""

import csv
import gzip
import hashlib
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

from commerce.product.v1.product_pb2 import ImportIssue, ImportProductsRequest, Product
from google.protobuf import json_format
from google.type.money_pb2 import Money

from deploy.local.errors import MeshError
from services.rpc.fields import to_money

Row = Mapping[str, Any]
Item = ImportProductsRequest | ImportIssue

_NANO = Decimal("1e-9")
# What the messages cannot hold: int64 ends at nine of these.
_TOO_MUCH = Decimal(10**18)
_CSV_DELIMITERS = ",;\t|#"
_SKU_HASH_CHARACTERS = 20
_ATTRIBUTE_PREFIX = re.compile(r"^attr_[tn]_")
_PRICE = re.compile(r"^[^\d.,-]*(?P<amount>-?\d+(\.\d+)?)[^\d.,]*$")
# What other shops call our fields, in CSV and JSON alike; the first that is there counts.
_ALIASES = {
    "sku": ("sku", "id"),
    "name": ("name", "title"),
    "description": ("description", "short_description"),
    "brand": ("brand", "manufacturer", "supplier"),
    "category_path": ("category_path", "categoryPath", "categories", "category"),
    "price": ("price",),
    "currency": ("currency", "currency_code", "currencyCode"),
    "image_urls": ("image_urls", "imageUrls", "image_url", "image"),
    "stock": ("stock", "initialQuantity", "quantity"),
}


class RowError(Exception):
    """A row that cannot be sent; `reason` is stable, the text says what is wrong."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Defaults:
    """What holds where a source says nothing."""

    currency: str = "USD"
    # Units on hand of a product that is new.
    stock: int = 0


@dataclass(frozen=True)
class Catalogue:
    """A file of products."""

    path: Path
    # How many rows it has, about: a line break inside a CSV cell counts as one.
    row_count: int
    # Where its rows come from: bestbuy, icecat, jlcparts or general.
    format_name: str
    items: Iterator[Item]


def open_catalogue(path: Path, defaults: Defaults) -> Catalogue:
    """Recognise a file by its fields and read it, a row at a time.

    Raises:
        MeshError: it is not there, not readable, or holds no products that we understand.
    """
    try:
        row_count = _count_rows(path)
        rows = _read_rows(path)
        first = next(rows, None)
    except (OSError, EOFError, UnicodeDecodeError, json.JSONDecodeError, csv.Error) as error:
        raise MeshError(f"{path} cannot be read: {error}.", "Give a JSON, JSON lines or CSV file.") from error
    if first is None:
        raise MeshError(f"{path} holds no rows.", "Give a file with products in it.")
    format_name, convert = _recognise(path, first)
    items = _convert_all(itertools.chain([first], rows), convert, defaults)
    return Catalogue(path, row_count, format_name, items)


def _recognise(path: Path, first: Row | RowError) -> tuple[str, "Convert"]:
    if isinstance(first, RowError):
        return "general", _from_general
    for name, fields, convert in _FORMATS:
        if fields <= first.keys():
            return name, convert
    if not any(name in first for name in _ALIASES["name"]) or "price" not in first:
        found = ", ".join(list(first)[:12])
        raise MeshError(
            f"{path} is no catalogue that we understand: its fields are {found}.",
            "A product has a name (or title) and a price, and may have a sku (or id), description, brand, "
            "category_path, currency, stock, attributes and image_urls.",
        )
    return "general", _from_general


def _convert_all(rows: Iterator[Row | RowError], convert: "Convert", defaults: Defaults) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        try:
            if isinstance(row, RowError):
                raise row
            request = convert(row, defaults)
            request.row_number = number
            yield request
        except RowError as error:
            sku = "" if isinstance(row, RowError) else str(_first(row, "sku") or "")[:64]
            yield ImportIssue(row_number=number, sku=sku, reason=error.reason, message=str(error))


def _open_text(path: Path) -> IO[str]:
    raw = path.open("rb")
    plain = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
    return io.TextIOWrapper(plain, encoding="utf-8-sig", newline="")


def _kind(path: Path) -> str:
    """Tell csv, lines and array apart: by the name, and JSON by how it begins."""
    name = path.name.removesuffix(".gz").lower()
    if name.endswith((".csv", ".tsv")):
        return "csv"
    with _open_text(path) as text:
        beginning = text.read(1024).lstrip()
    return "array" if beginning.startswith("[") else "lines"


def _count_rows(path: Path) -> int:
    kind = _kind(path)
    with _open_text(path) as text:
        if kind == "array":
            return len(json.load(text))
        lines = sum(1 for line in text if line.strip())
    return lines - 1 if kind == "csv" else lines


def _read_rows(path: Path) -> Iterator[Row | RowError]:
    kind = _kind(path)
    with _open_text(path) as text:
        if kind == "csv":
            header = text.readline()
            delimiter = max(_CSV_DELIMITERS, key=header.count)
            names = next(csv.reader([header], delimiter=delimiter))
            yield from csv.DictReader(text, names, delimiter=delimiter)
        elif kind == "array":
            yield from map(_row, json.load(text))
        else:
            yield from (_parse_line(line) for line in text if line.strip())


def _parse_line(line: str) -> Row | RowError:
    try:
        return _row(json.loads(line))
    except json.JSONDecodeError as error:
        return RowError("ROW_UNREADABLE", f"The line is not JSON: {error}.")


def _row(value: object) -> Row | RowError:
    if isinstance(value, dict):
        return value
    return RowError("ROW_UNREADABLE", "The row is not a JSON object.")


def _first(row: Row, name: str) -> Any:
    return next((row[alias] for alias in _ALIASES[name] if row.get(alias) not in (None, "")), None)


def _text(value: object) -> str:
    """Write a fact as text: whole numbers without a fraction, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _money(price: object, currency: str) -> Money:
    if price is None or price == "":
        raise RowError("PRICE_MISSING", "The row has no price.")
    if isinstance(price, dict):
        return _money_of_the_api(price, currency)
    match = _PRICE.match(str(price).strip())
    amount = Decimal(match["amount"]) if match else _TOO_MUCH
    if abs(amount) >= _TOO_MUCH:
        raise RowError("PRICE_INVALID", f"{str(price)[:40]!r} is not a price.")
    return to_money(amount.quantize(_NANO, rounding=ROUND_DOWN), currency)


def _money_of_the_api(price: Row, currency: str) -> Money:
    """Read google.type.Money in its JSON, as the API answers a price: nothing is rounded on the way."""
    try:
        return json_format.ParseDict({"currencyCode": currency, **price}, Money())
    except json_format.ParseError as error:
        raise RowError("PRICE_INVALID", f"{json.dumps(price)[:80]} is not a price.") from error


def _request(
    row: Row, defaults: Defaults, *, sku: str, price: object, attributes: Mapping[str, object]
) -> ImportProductsRequest:
    """Build a row from the fields that all shops have in common, and what each has of its own."""
    facts = {key: _text(value) for key, value in attributes.items() if _text(value)}
    product = Product(
        sku=sku,
        name=_text(_first(row, "name")),
        description=_text(_first(row, "description")),
        brand=_text(_first(row, "brand")),
        price=_money(price, _text(_first(row, "currency")) or defaults.currency),
        attributes=facts,
        image_urls=_list(_first(row, "image_urls")),
        active=row.get("active") not in (False, "false", "0"),
    )
    return ImportProductsRequest(
        product=product,
        category_path=_list(_first(row, "category_path"), separator=">"),
        initial_quantity=_quantity(_first(row, "stock"), defaults),
    )


def _list(value: object, separator: str | None = None) -> list[str]:
    if isinstance(value, list):
        return [_text(item) for item in value if item]
    text = _text(value)
    parts = text.split(separator) if separator else text.split()
    return [part.strip() for part in parts if part.strip()]


def _quantity(value: object, defaults: Defaults) -> int:
    if value is None:
        return defaults.stock
    try:
        units = Decimal(str(value))
    except InvalidOperation:
        units = _TOO_MUCH
    if not units.is_finite() or abs(units) >= _TOO_MUCH:
        raise RowError("STOCK_INVALID", f"{str(value)[:40]!r} is not a number of units.")
    return int(units)


def _derived_sku(prefix: str, *identity: object) -> str:
    """Make a stable sku from what tells a product apart in a source that has none."""
    digest = hashlib.sha256("\x1f".join(map(_text, identity)).encode()).hexdigest()
    return f"{prefix}-{digest[:_SKU_HASH_CHARACTERS]}"


def _from_bestbuy(row: Row, defaults: Defaults) -> ImportProductsRequest:
    # Names repeat; the picture's address tells such products apart.
    sku = _derived_sku("bestbuy", row.get("brand"), row.get("name"), row.get("image"))
    own = {"popularity": row.get("popularity")}
    return _request(row, defaults, sku=sku, price=row.get("price"), attributes=own)


def _from_icecat(row: Row, defaults: Defaults) -> ImportProductsRequest:
    cents = row.get("price")
    price = Decimal(cents) / 100 if isinstance(cents, int) else cents
    own: dict[str, object] = {"mpn": row.get("name"), "ean": row.get("ean")}
    for key, value in row.items():
        if key.startswith("attr_"):
            short = _ATTRIBUTE_PREFIX.sub("", key)
            own[key if short in own else short] = value
    images = list(dict.fromkeys(filter(None, map(row.get, ("img_high", "img_500x500", "img_thumb")))))
    named = {**row, "name": row.get("title"), "image_urls": images}
    return _request(named, defaults, sku=f"icecat-{_text(row.get('id'))}", price=price, attributes=own)


def _from_jlcparts(row: Row, defaults: Defaults) -> ImportProductsRequest:
    breaks = [each for each in row.get("price_breaks") or [] if isinstance(each, dict)]
    tiers = ", ".join(f"{_text(each.get('qFrom'))}+: {_decimal_text(each.get('price'))}" for each in breaks)
    facts = row.get("attributes")
    own: dict[str, object] = dict(facts) if isinstance(facts, dict) else {}
    own |= {"mpn": row.get("mpn"), "joints": row.get("joints"), "price breaks": tiers}
    own |= {"product page": row.get("product_url"), "datasheet": row.get("datasheet_url")}
    named = {**row, "name": row.get("mpn"), "brand": own.get("Manufacturer")}
    price = _decimal_text(breaks[0].get("price")) if breaks else None
    return _request(named, defaults, sku=_text(row.get("sku")), price=price, attributes=own)


def _decimal_text(value: object) -> str:
    """Write a number without an exponent: 0.00002 is no 2e-05 to a reader."""
    return format(Decimal(str(value)), "f") if isinstance(value, int | float) else _text(value)


def _from_general(row: Row, defaults: Defaults) -> ImportProductsRequest:
    facts = row.get("attributes")
    sku = _text(_first(row, "sku")) or _derived_sku("row", _first(row, "brand"), _first(row, "name"))
    own = facts if isinstance(facts, dict) else {}
    return _request(row, defaults, sku=sku, price=row.get("price"), attributes=own)


Convert = Callable[[Row, Defaults], ImportProductsRequest]

_FORMATS: tuple[tuple[str, set[str], Convert], ...] = (
    ("bestbuy", {"name", "brand", "categories", "price", "image", "popularity"}, _from_bestbuy),
    ("icecat", {"id", "title", "ean", "supplier", "price"}, _from_icecat),
    ("jlcparts", {"sku", "mpn", "category_path", "price_breaks", "attributes"}, _from_jlcparts),
)
