"""Finds the mapping of a file: the one that is given, a committed one, or none."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deploy.local.errors import MeshError
from deploy.local.imports.columns import normalised
from deploy.local.imports.mapping import FileRules, Mapping, known_mapping, read_mapping
from deploy.local.imports.money import PriceRefused, PriceRules, split_price
from deploy.local.imports.numerals import decide_decimal_mark
from deploy.local.imports.product_file import ProductFile
from deploy.local.imports.proposal import propose
from deploy.local.imports.records import Record, RowRefused
from deploy.local.imports.routes import Routes, Values
from deploy.local.imports.rows import row_says_currency
from deploy.local.imports.survey import survey_of

# In the documents, prices of the shop's own form that say no currency are in this one.
_OWN_CURRENCY = "USD"


def choose(
    path: Path, mapping_path: Path | None, *, currency: str = "", stock: int | None = None, encoding: str = ""
) -> tuple[ProductFile, Mapping]:
    """Open a file and find its mapping.

    Args:
        path: the file.
        mapping_path: of its mapping; None: a committed one.
        currency: of prices that say none; empty: as the mapping says.
        stock: units of new products whose row says nothing; None: as the mapping says.
        encoding: of the file; empty: as the mapping says, or the bytes tell.

    Raises:
        MeshError: it cannot be read, holds no rows, lacks a column of the mapping, or no mapping fits.
    """
    given = read_mapping(mapping_path) if mapping_path else None
    rules = given.file if given else FileRules()
    file = ProductFile(path, replace(rules, encoding=encoding or rules.encoding))
    records = surveyed(file)
    mapping = given or known_mapping(_normalised_columns(records))
    if mapping is None:
        found = ", ".join(dict.fromkeys(name for record in records[:10] for name in record.values))
        raise MeshError(
            f"{path} is no catalogue that is known: its columns are {found[:400]}.",
            f"`mesh import {path} --plan` proposes what becomes of each, and imports nothing.",
        )
    if given:
        _refuse_absent_columns(path, given, records)
    mapping = replace(mapping, prices=_price_rules(mapping, records, currency, is_given=given is not None))
    return file, mapping if stock is None else replace(mapping, stock=stock)


def is_known(path: Path, encoding: str = "") -> bool:
    """Say whether a file is imported without a mapping of its own.

    Raises:
        MeshError: it cannot be read, or holds no rows.
    """
    records = surveyed(ProductFile(path, FileRules(encoding or None)))
    return known_mapping(_normalised_columns(records)) is not None


def plan(
    path: Path, *, supplier: str = "", currency: str = "", encoding: str = ""
) -> tuple[ProductFile, Mapping]:
    """Open a file and propose a mapping for it, also where a committed one is known.

    Raises:
        MeshError: it cannot be read, holds no rows, or shows neither names nor prices.
    """
    file = ProductFile(path, FileRules(encoding or None))
    file = ProductFile(path, FileRules(encoding or None, header_line=file.header_line()))
    form = file.form
    rules = FileRules(form.encoding, form.dialect, form.records, form.header_line)
    return file, propose(survey_of(surveyed(file)), path, rules, supplier=supplier, currency=currency)


def _normalised_columns(records: list[Record]) -> frozenset[str]:
    return frozenset(normalised(name) for record in records for name in record.values)


def surveyed(file: ProductFile) -> list[Record]:
    """Return the first records.

    Raises:
        MeshError: there are none.
    """
    records = file.survey()
    if not records:
        raise MeshError(
            f"{file.path} holds no rows that can be read.",
            "Give a file with products in it: a JSON array, JSON lines, or a header and rows.",
        )
    return records


def _refuse_absent_columns(path: Path, mapping: Mapping, records: list[Record]) -> None:
    columns = dict.fromkeys(name for record in records for name in record.values)
    if absent := Routes(mapping).absent(columns):
        raise MeshError(
            f"{path} lacks columns that the mapping names: {', '.join(absent)[:400]}.",
            f"Its columns are {', '.join(columns)[:400]}. Correct the mapping, or name them in `optional`.",
        )


def _price_rules(mapping: Mapping, records: list[Record], currency: str, *, is_given: bool) -> PriceRules:
    """Fill in what a mapping leaves to the file and to the one who imports it."""
    prices, rows = mapping.prices, list(_sorted_rows(mapping, records))
    if not prices.decimal:
        prices = replace(prices, decimal=decide_decimal_mark(_price_numbers(rows)))
    if currency:
        return replace(prices, currency=currency)
    # Beside prices that say euros, a price that says nothing is not taken for dollars: it is refused.
    if mapping.name == "ours" and not is_given and not any(map(row_says_currency, rows)):
        return replace(prices, currency=_OWN_CURRENCY, is_assumed=True)
    return prices


def _sorted_rows(mapping: Mapping, records: list[Record]) -> Iterator[Values]:
    routes = Routes(mapping)
    for record in records:
        with suppress(RowRefused):
            yield routes.sort(record.values)


def _price_numbers(rows: list[Values]) -> Iterator[str]:
    """Yield the numbers of all prices that are texts."""
    for _, value in (each for row in rows for each in row.get("price", ())):
        if isinstance(value, str) and value.strip():
            with suppress(PriceRefused):
                yield split_price(value)[0]
