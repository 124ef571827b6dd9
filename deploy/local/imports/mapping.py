"""Which column of a file is which field of a product: a small TOML file that people keep and edit."""

import tomllib
from collections.abc import Mapping as AnyMapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from deploy.local.errors import MeshError
from deploy.local.imports.columns import FIELDS, normalised
from deploy.local.imports.delimited import Dialect
from deploy.local.imports.mapping_checks import MAX_STOCK, check_bytes, check_scale
from deploy.local.imports.money import PriceRules
from deploy.local.imports.texts import open_regular

_COMMITTED = Path(__file__).parent / "mappings"
_REMEDY = "Propose one with `mesh import FILE --plan`, and see what its lines say."
# Skus are as long as the contract lets them be: the supplier's own number needs room.
_MAX_SUPPLIER_CHARACTERS = 20
# A line for each of thousands of columns; what is larger is no mapping.
_MAX_BYTES = 4 * 1024 * 1024
_TEXTS = (
    "supplier",
    "currency",
    "decimal",
    "rest",
    "price_scale",
    "encoding",
    "separator",
    "quote",
    "escape",
    "records",
)
_LISTS = (
    "recognise",
    "sku_from",
    "facts",
    "prefixes",
    "ignored",
    "optional",
    "active_words",
    "inactive_words",
)
_TABLES = ("fields", "attributes", "templates", "constants")


@dataclass(frozen=True)
class FileRules:
    """How the bytes of a file are read; None: as the file shows."""

    encoding: str | None = None
    dialect: Dialect | None = None
    # The path of the array of products in a JSON document, such as `data.products`.
    records: str | None = None
    # The line of the names of columns, from 1; what stands above it is a title and no row.
    header_line: int = 1


@dataclass(frozen=True)
class Mapping:
    """What becomes of each column. Names of columns are compared blank- and case-blind."""

    name: str
    # Before each sku, with a hyphen; empty: the file's skus are the shop's own.
    supplier: str = ""
    # By field: of several columns the first that says something counts, of image_urls all do.
    fields: AnyMapping[str, tuple[str, ...]] = field(default_factory=dict)
    # A sku is made from these where the file has none of its own.
    sku_from: tuple[str, ...] = ()
    # Column by attribute.
    attributes: AnyMapping[str, str] = field(default_factory=dict)
    # How an attribute writes each object of a list: `{qFrom}+: {price}`.
    templates: AnyMapping[str, str] = field(default_factory=dict)
    # Columns whose value is an object of attributes.
    facts: tuple[str, ...] = ()
    # Columns that begin so are attributes under the rest of their name.
    prefixes: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    # Columns that are named here and that a file may lack.
    optional: tuple[str, ...] = ()
    # Whether columns that stand nowhere here become attributes.
    rest_is_attributes: bool = False
    prices: PriceRules = field(default_factory=PriceRules)
    stock: int = 0
    active_words: tuple[str, ...] = ()
    inactive_words: tuple[str, ...] = ()
    # A file with these columns is known by them.
    recognise: tuple[str, ...] = ()
    file: FileRules = field(default_factory=FileRules)

    def sku_of(self, own: str) -> str:
        """Return the shop's sku of what a supplier numbers so."""
        return f"{self.supplier}-{own}" if self.supplier else own


def read_mapping(path: Path) -> Mapping:
    """Read a mapping.

    Raises:
        MeshError: it is not there, no TOML, or says what no mapping says.
    """
    try:
        return _mapping(path.stem, tomllib.loads(_text_of(path)))
    except (OSError, ValueError, RecursionError) as error:
        problem = "it holds lists in lists" if isinstance(error, RecursionError) else error
        raise MeshError(f"The mapping {path} cannot be used: {problem}.", _REMEDY) from error


def _text_of(path: Path) -> str:
    with open_regular(path) as file:
        text = file.read(_MAX_BYTES + 1)
    if len(text) > _MAX_BYTES:
        raise ValueError(f"it is larger than {_MAX_BYTES:,} bytes")
    return text.decode().replace("\r\n", "\n")


def committed_mappings() -> list[Mapping]:
    """Return the mappings of the formats that are known, the most particular first."""
    known = [read_mapping(path) for path in sorted(_COMMITTED.glob("*.toml"))]
    return sorted(known, key=lambda mapping: -len(mapping.recognise))


def known_mapping(columns: frozenset[str]) -> Mapping | None:
    """Find the committed mapping of a file by its columns (normalised), or None."""
    return next((mapping for mapping in committed_mappings() if _is_of(mapping, columns)), None)


def _is_of(mapping: Mapping, columns: frozenset[str]) -> bool:
    """Say whether a file has the columns that a mapping is known by, a field of ours under any name of it."""
    return all(
        not columns.isdisjoint(map(normalised, mapping.fields.get(name, ()) if name in FIELDS else (name,)))
        or normalised(name) in columns
        for name in mapping.recognise
    )


def _mapping(name: str, said: dict[str, Any]) -> Mapping:
    _check(said)
    constants = said.get("constants", {})
    lists = {key: tuple(said.get(key, ())) for key in _LISTS}
    columns = {
        key: (value,) if isinstance(value, str) else tuple(value) for key, value in said["fields"].items()
    }
    return Mapping(
        name=name,
        supplier=said.get("supplier", ""),
        fields=columns,
        attributes=said.get("attributes", {}),
        templates=said.get("templates", {}),
        rest_is_attributes=said.get("rest", "ignored") == "attributes",
        prices=PriceRules(
            said.get("currency", ""), said.get("decimal", ""), Decimal(said.get("price_scale", "1"))
        ),
        stock=constants.get("stock", 0),
        file=_file_rules(said),
        **lists,
    )


def _file_rules(said: dict[str, Any]) -> FileRules:
    separator = said.get("separator", "")
    dialect = Dialect(separator, said.get("quote", '"'), said.get("escape", "")) if separator else None
    return FileRules(said.get("encoding") or None, dialect, said.get("records"), said.get("header_line", 1))


def _check(said: dict[str, Any]) -> None:
    """Refuse what no mapping says: a line that is misspelt would be a column that vanishes.

    Raises:
        ValueError: with the line.
    """
    for key, value in said.items():
        kind = str if key in _TEXTS else list if key in _LISTS else dict if key in _TABLES else None
        if key == "header_line" and type(value) is int and value > 0:
            continue
        if kind is None or not isinstance(value, kind):
            raise ValueError(f"{key} = {value!r} is no line of a mapping")
    unknown = set(said.get("fields", {})) - set(FIELDS)
    if unknown or "fields" not in said:
        raise ValueError(f"[fields] may hold {', '.join(FIELDS)}, and not {', '.join(unknown) or 'nothing'}")
    if said.get("decimal", "") not in ("", ".", ","):
        raise ValueError("decimal is '.', ',' or empty")
    if len(said.get("supplier", "")) > _MAX_SUPPLIER_CHARACTERS:
        raise ValueError(f"supplier has more than {_MAX_SUPPLIER_CHARACTERS} characters")
    check_bytes(said)
    check_scale(said.get("price_scale", "1"))
    _check_values(said)


def _check_values(said: dict[str, Any]) -> None:
    listed = [*said["fields"].values(), *(said.get(key, []) for key in _LISTS)]
    names = [each for value in listed for each in (value if isinstance(value, list) else [value])]
    names += [*said.get("attributes", {}).values(), *said.get("templates", {}).values()]
    if not all(isinstance(name, str) for name in names):
        raise ValueError("columns are named by texts")
    stock = said.get("constants", {}).get("stock", 0)
    is_stock = type(stock) is int and 0 <= stock <= MAX_STOCK
    if said.get("constants", {}).keys() - {"stock"} or not is_stock:
        raise ValueError(f"[constants] may hold stock, a whole number from 0 to {MAX_STOCK:,}")
    own = {normalised(name) for name in _as_list(said["fields"].get("sku", []))}
    if "id" in own and not said.get("supplier"):
        raise ValueError(
            'the column id numbers the rows of one supplier: say supplier = "NAME", which begins skus'
        )


def _as_list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value
