"""What the index holds of a product: its fields, and how a row becomes a document. No I/O."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from uuid import UUID

from tantivy import Document, Index, Schema, SchemaBuilder, TextAnalyzerBuilder, Tokenizer

from services.product.search.words import accessories_of
from services.storage.cursors import Cursor

# Of what stands in this module: an index of another version is made anew.
VERSION = 1
# Who types less than this of a word is answered from the begins of names; longer ones begin few words.
LONGEST_BEGIN = 2
# More of them in one name than a query asks for: such a thing belongs to another.
MAX_ACCESSORIES = 2
# Fields of words, and how much one that stands there tells. The best of a word's fields counts.
WEIGHTS = {"named": 1.0, "branded": 0.8, "described": 0.9, "forms": 0.6, "specified": 0.2}
NO_ACCESSORY = "-"
_BITS = 2**64


def _new_schema() -> Schema:
    """Return the fields of all documents. One of them is no product but the cursor."""
    builder = SchemaBuilder()
    for name in WEIGHTS:
        builder.add_text_field(name, tokenizer_name="words", index_option="position")
    for name in ("begins", "accessories"):
        builder.add_text_field(name, tokenizer_name="words", index_option="basic")
    for name in ("product_id", "sku", "name", "currency"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic")
    for name in ("brand", "category_id"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_json_field("attributes", tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_boolean_field("in_stock", indexed=True, fast=True)
    builder.add_float_field("price", indexed=True, fast=True)
    for name in ("created", "id_head", "id_tail"):
        builder.add_integer_field(name, fast=True)
    builder.add_text_field("cursor", stored=True, tokenizer_name="raw", index_option="basic")
    return builder.build()


SCHEMA = _new_schema()


def prepare(index: Index) -> Index:
    """Have an index take words as they are: PostgreSQL has made stems of them."""
    index.register_tokenizer("words", TextAnalyzerBuilder(Tokenizer.whitespace()).build())
    return index


def product_document(row: Mapping[str, Any]) -> Document:
    """Return the document of a row of `index.store.read_products`."""
    head, tail = divmod(row["product_id"].int, _BITS)
    named: Sequence[str] = row["named"]
    document = Document(
        product_id=str(row["product_id"]),
        sku=row["sku"],
        name=row["lower_name"],
        currency=row["currency"],
        brand=row["brand"] or [],
        category_id=str(row["category_id"] or "") or [],
        named=" ".join(named),
        branded=" ".join(row["branded"]),
        described=" ".join(row["described"]),
        forms=" ".join(row["forms"]),
        specified=" ".join(row["specified"]),
        begins=" ".join({word[:length] for word in named for length in range(1, LONGEST_BEGIN + 1)}),
        accessories=accessories_term(accessories_of(named)),
        in_stock=row["in_stock"],
        price=float(row["price"]),
        created=row["created"],
        id_head=_signed(head),
        id_tail=_signed(tail),
    )
    # "=": what looks like a date would be taken for one.
    values = {attribute_key(name): f"={value}" for name, value in row["attributes"].items()}
    document.add_json("attributes", json.dumps(values))
    return document


def cursor_document(cursor: Cursor) -> Document:
    """Return the document that says how far the index has come: it is committed with what it tells of."""
    return Document(cursor=["cursor", json.dumps([cursor.position, cursor.event_id])])


def read_cursor(document: Document) -> Cursor:
    """Read what `cursor_document` wrote."""
    return Cursor(*json.loads(document["cursor"][1]))


def attribute_key(name: str) -> str:
    """Return an attribute's name as one step of a path in the index, where dots part steps."""
    return quote(name, safe=" ").replace(".", "%2E")


def accessories_term(words: Iterable[str]) -> str:
    """Return the one term that says which words of accessories a name has."""
    return "+".join(sorted(words)[: MAX_ACCESSORIES + 1]) or NO_ACCESSORY


def id_of(head: int, tail: int) -> UUID:
    """Return the id of the numbers that a product's document holds."""
    return UUID(int=head % _BITS * _BITS + tail % _BITS)


def _signed(number: int) -> int:
    return number - _BITS if number >= _BITS // 2 else number
