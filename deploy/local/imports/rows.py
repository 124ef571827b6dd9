"""Records as rows of ProductService.ImportProducts, by a mapping; what cannot be is refused or told of."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from commerce.product.v1.product_pb2 import ImportRow, Product
from google.protobuf.field_mask_pb2 import FieldMask

from deploy.local.imports.facts import fact_text, facts_of, list_of
from deploy.local.imports.mapping import Mapping
from deploy.local.imports.money import PriceRefused, read_price, says_currency
from deploy.local.imports.numerals import NumberRefused, parse_number
from deploy.local.imports.records import Record, RowRefused, is_text, shown
from deploy.local.imports.routes import Routes, Values
from services.rpc.validation import violations_in

# The contract's max_request_bytes of ImportProducts: one that is larger would end the call of all its rows.
MAX_MESSAGE_BYTES = 65_536
# What stands before each row of a message: a tag of one byte and a length of three at most.
FRAME_BYTES = 4
MAX_ROW_BYTES = MAX_MESSAGE_BYTES - FRAME_BYTES
_SKU_HASH_CHARACTERS = 20
# As the contract has it; a product with more is imported with the first of them.
_MAX_ATTRIBUTES = 200
_MAX_IMAGES = 20
# What a product is without; a mistake in any other field costs that field alone.
_NEEDED = {"sku", "name", "price"}
_TEXTS = {"description", "brand"}
# What a row's columns change of a product that is in the shop, by our field; an empty column empties it.
_UPDATED = {
    "name": "name",
    "price": "price",
    "description": "description",
    "brand": "brand",
    "category_path": "category_id",
    "image_urls": "image_urls",
    "active": "active",
    "attributes": "attributes",
}
# As the product service has it: what acts on terminals or turns text around.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x9b\u202a-\u202e\u2066-\u2069]")
_SUBSCRIPT = re.compile(r"^(?P<field>\w+)\[(?P<key>.*)\]$", re.DOTALL)
_TRUE, _FALSE = ("true", "1"), ("false", "0")
# What the wire cannot carry; how many units a product may begin with is judged by the service.
_ENDLESS = 2**63


@dataclass(frozen=True)
class Remark:
    """What is odd in a row that is imported all the same."""

    field: str
    value: str
    reason: str
    message: str


@dataclass
class Row:
    """A row that can be sent."""

    request: ImportRow
    remarks: list[Remark] = field(default_factory=list)


class Converter:
    """Turns the records of one file into rows."""

    def __init__(self, mapping: Mapping) -> None:
        self._mapping = mapping
        self._routes = Routes(mapping)
        self._prices = mapping.prices
        # The line where the file first says a currency, where one was assumed before.
        self.currency_said_at: int | None = None

    @property
    def ignored_columns(self) -> list[str]:
        """Columns met so far that stand nowhere in the mapping."""
        return list(self._routes.unknown)

    def sku_of(self, record: Record) -> str:
        """Name a record's product for a report, as far as it can be named."""
        try:
            return self._sku(self._routes.sort(record.values))
        except RowRefused:
            return ""

    def convert(self, record: Record) -> Row:
        """Make a row of a record.

        Raises:
            RowRefused: it has no sku, name or price, or one, its stock or its activity cannot be read.
        """
        values = self._routes.sort(record.values)
        if self._prices.is_assumed and row_says_currency(values):
            self.currency_said_at = record.line
            self._prices = replace(self._prices, currency="", is_assumed=False)
        try:
            return self._row(record.line, values)
        except UnicodeEncodeError:
            _refuse_what_is_no_text(values)
            raise

    def _row(self, line: int, values: Values) -> Row:
        remarks: list[Remark] = []
        product = Product(
            sku=self._sku(values),
            name=self._name(values),
            description=_text(values, "description"),
            brand=_text(values, "brand"),
            attributes=self._attributes(values, remarks),
            image_urls=_images(values, remarks),
            active=self._active(values),
        )
        product.price.CopyFrom(self._price(values))
        broken = _leave_out_what_breaks_a_rule(product)
        remarks += broken
        # Of a text that was left out the product keeps what it has.
        said = values.keys() - ({remark.field for remark in broken} & _TEXTS)
        request = ImportRow(
            row_number=line,
            product=product,
            category_path=list_of(_first(values, "category_path"), ">"),
            initial_quantity=self._stock(values),
            update_mask=FieldMask(paths=sorted({_UPDATED[name] for name in said & _UPDATED.keys()})),
            supplier=self._mapping.supplier,
        )
        if not (product.price.units or product.price.nanos):
            remarks.append(
                Remark("price", "0", "PRICE_ZERO", "The price is zero: it is for sale for nothing.")
            )
        _refuse_what_is_too_large(request)
        return Row(request, remarks)

    def _sku(self, values: Values) -> str:
        own = _text(values, "sku")
        if not own and self._mapping.sku_from:
            own = _derived(values.get("sku_from", ()))
        if not own:
            raise RowRefused("sku", "", "SKU_MISSING", "The row has no sku.")
        return self._mapping.sku_of(own)

    def _name(self, values: Values) -> str:
        name = _text(values, "name")
        if not name:
            raise RowRefused("name", "", "NAME_MISSING", "The row has no name.")
        return name

    def _price(self, values: Values) -> Any:
        value = _first(values, "price")
        if value is None:
            raise RowRefused("price", "", "PRICE_MISSING", "The row has no price.")
        try:
            return read_price(value, _text(values, "currency"), self._prices)
        except PriceRefused as error:
            raise RowRefused(
                "price", value, error.reason, f"{shown(value)!r} is refused: {error}."
            ) from error

    def _stock(self, values: Values) -> int:
        value = _first(values, "stock")
        if value is None:
            return self._mapping.stock
        try:
            units = _number(value, self._prices.decimal)
        except NumberRefused as error:
            raise RowRefused("stock", value, "STOCK_INVALID", f"{shown(value)!r}: {error}.") from error
        if not units.is_finite() or units != units.to_integral_value() or not 0 <= units < _ENDLESS:
            told = f"{shown(value)!r} is not a whole number of units, 0 or more."
            raise RowRefused("stock", value, "STOCK_INVALID", told)
        return int(units)

    def _active(self, values: Values) -> bool:
        value = _first(values, "active")
        if value is None or isinstance(value, bool):
            return value is not False
        word = str(value).strip().casefold()
        if word in (*_TRUE, *self._mapping.active_words):
            return True
        if word in (*_FALSE, *self._mapping.inactive_words):
            return False
        told = f"{shown(value)!r} is neither true nor false; active_words or inactive_words may say which."
        raise RowRefused("active", value, "ACTIVE_INVALID", told)

    def _attributes(self, values: Values, remarks: list[Remark]) -> dict[str, str]:
        found: dict[str, str] = {}
        for name, value in values.get("attributes", ()):
            template = self._mapping.templates.get(name, "")
            for key, text in facts_of(name, value, template, is_object=name == ""):
                if found.setdefault(key, text) != text:
                    told = f"The attribute {key} stands twice: {shown(text)!r} was left out."
                    remarks.append(Remark("attributes", shown(text), "FIELD_LEFT_OUT", told))
        if len(found) > _MAX_ATTRIBUTES:
            left = len(found) - _MAX_ATTRIBUTES
            told = f"A product has {_MAX_ATTRIBUTES} attributes: {left} were left out."
            remarks.append(Remark("attributes", str(len(found)), "FIELD_LEFT_OUT", told))
            found = dict(list(found.items())[:_MAX_ATTRIBUTES])
        return found


def row_says_currency(values: Values) -> bool:
    """Tell whether a row's price or another of its columns says a currency."""
    return says_currency(_first(values, "price"), str(_first(values, "currency") or ""))


def _number(value: Any, decimal: str) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise NumberRefused("NUMBER_INVALID", "it is no number")
    return parse_number(value.strip(), decimal) if isinstance(value, str) else Decimal(value)


def _first(values: Values, name: str) -> Any:
    """Return the first of a field's values that says something; a text of blanks says nothing."""
    for _, value in values.get(name, ()):
        if value is not None and value != "" and not (isinstance(value, str) and not value.strip()):
            return value
    return None


def _text(values: Values, name: str) -> str:
    value = _first(values, name)
    if isinstance(value, dict):
        raise RowRefused(name, value, "FIELD_INVALID", f"{name} is an object where a text is needed.")
    return fact_text(value).strip()


def _derived(identity: Iterable[tuple[str, Any]]) -> str:
    """Make a stable sku from what tells a product apart in a source that has none."""
    texts = [fact_text(value) for _, value in identity]
    digest = hashlib.sha256("\x1f".join(texts).encode("utf-8", "surrogatepass")).hexdigest()
    return digest[:_SKU_HASH_CHARACTERS] if any(texts) else ""


def _images(values: Values, remarks: list[Remark]) -> list[str]:
    urls = [url for _, value in values.get("image_urls", ()) for url in list_of(value, "")]
    unique = list(dict.fromkeys(urls))
    if len(unique) > _MAX_IMAGES:
        told = f"A product has {_MAX_IMAGES} images: {len(unique) - _MAX_IMAGES} were left out."
        remarks.append(Remark("image_urls", str(len(unique)), "FIELD_LEFT_OUT", told))
    return unique[:_MAX_IMAGES]


def _refuse_what_is_no_text(values: Values) -> None:
    """Refuse what cannot be sent: a lone surrogate, or a byte that its encoding does not have."""
    for name, found in values.items():
        for column, value in found:
            text = value if isinstance(value, str) else fact_text(value)
            if not is_text(text):
                told = f"{column or name} holds a lone surrogate or a byte of another encoding."
                raise RowRefused(column or name, text, "TEXT_INVALID", told)


def _leave_out_what_breaks_a_rule(product: Product) -> list[Remark]:
    """Take out of a product each optional value that the contract refuses, and tell of it.

    Raises:
        RowRefused: what breaks a rule is needed.
    """
    remarks = []
    images: set[int] = set()
    for path, rule in _broken_rules(product):
        name, key = _parted(path)
        value = _value_at(product, name, key)
        if name in _NEEDED:
            raise RowRefused(name, value, "FIELD_INVALID", f"{name} {rule}.")
        told = f"{path} {rule}; it was left out."
        remarks.append(Remark(name, shown(value), "FIELD_LEFT_OUT", told))
        if name == "image_urls":
            images.add(int(key))
        elif name == "attributes":
            product.attributes.pop(key, None)
        else:
            product.ClearField(name)
    if images:
        product.image_urls[:] = [url for index, url in enumerate(product.image_urls) if index not in images]
    return remarks


def _parted(path: str) -> tuple[str, str]:
    match = _SUBSCRIPT.match(path)
    return (match["field"], match["key"]) if match else (path.partition(".")[0], "")


def _value_at(product: Product, name: str, key: str) -> object:
    if name == "image_urls":
        return product.image_urls[int(key)]
    if name == "attributes":
        return product.attributes.get(key, key)
    return "" if name == "price" else getattr(product, name)


def _broken_rules(product: Product) -> Iterator[tuple[str, str]]:
    """Name each value that the contract or the product service refuses once, with the rule."""
    found = {each.field: each.description for each in violations_in(product)}
    found |= dict.fromkeys(_with_controls(product), "must not contain control characters")
    yield from sorted(found.items())


def _with_controls(product: Product) -> Iterator[str]:
    everything = (product.sku, product.name, product.description, product.brand)
    # Most products have none: one search of all their texts says so.
    if not _CONTROLS.search("".join((*everything, *product.attributes, *product.attributes.values()))):
        return
    for name in ("sku", "name", "description", "brand"):
        if _CONTROLS.search(getattr(product, name)):
            yield name
    for key, value in product.attributes.items():
        if _CONTROLS.search(key) or _CONTROLS.search(value):
            yield f"attributes[{key}]"


def _refuse_what_is_too_large(request: ImportRow) -> None:
    size = request.ByteSize()
    if size > MAX_ROW_BYTES:
        told = f"The row is {size:,} bytes, and {MAX_ROW_BYTES:,} are taken at most."
        raise RowRefused("row", "", "ROW_TOO_LARGE", told)
