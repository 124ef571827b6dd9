"""Rows of product files from different shops: each becomes a row to import, or an issue that says why not."""

import csv
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from commerce.product.v1.product_pb2 import ImportIssue, ImportProductsRequest
from google.protobuf import json_format

from deploy.local.cli.main import import_
from deploy.local.errors import MeshError
from deploy.local.shop.catalogue import _ALIASES, Catalogue, Defaults, open_catalogue

BESTBUY = {
    "name": "Tin Kettle",
    "description": "Sings.",
    "brand": "Ironworks",
    "categories": ["Kitchen", "Kettles"],
    "price": 49.99,
    "image": "https://images.example.com/1.jpg",
    "popularity": 21,
}
ICECAT = {
    "id": "77",
    "name": "KT-1",
    "title": "Ironworks KT-1 kettle",
    "ean": ["111", "222"],
    "supplier": "Ironworks",
    "price": 4995,
    "short_description": "A kettle",
    "img_high": "http://images.example.com/h.jpg",
    "img_thumb": "http://images.example.com/t.jpg",
    "attr_t_colour": "Tin",
    "attr_n_weight": 800.0,
}
JLCPARTS = {
    "sku": "C1",
    "mpn": "R-100",
    "description": "Resistor 100 Ω",
    "category_path": ["Resistors", "Chip"],
    "price_breaks": [
        {"qFrom": 1, "qTo": 99, "price": 0.0002},
        {"qFrom": 100, "qTo": None, "price": 0.00005},
    ],
    "stock": 2800,
    "image_url": None,
    "product_url": None,
    "datasheet_url": "https://data.example.com/c1.pdf",
    "joints": 2,
    "attributes": {"Manufacturer": "Ohmite", "Resistance": "100Ω"},
}


def json_file(folder: Path, rows: Sequence[object]) -> Path:
    path = folder / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def opened(path: Path, **defaults: Any) -> Catalogue:
    return open_catalogue(path, Defaults(**defaults))


def only_request(catalogue: Catalogue) -> ImportProductsRequest:
    (item,) = catalogue.items
    assert isinstance(item, ImportProductsRequest), item
    return item


def only_issue(catalogue: Catalogue) -> ImportIssue:
    (item,) = catalogue.items
    assert isinstance(item, ImportIssue), item
    return item


def test_bestbuy_row(tmp_path: Path) -> None:
    catalogue = opened(json_file(tmp_path, [BESTBUY]))
    row = only_request(catalogue)
    assert catalogue.format_name == "bestbuy"
    assert (row.row_number, row.product.name, row.product.brand) == (1, "Tin Kettle", "Ironworks")
    price = row.product.price
    assert (price.currency_code, price.units, price.nanos) == ("USD", 49, 990_000_000)
    assert list(row.category_path) == ["Kitchen", "Kettles"]
    assert list(row.product.image_urls) == ["https://images.example.com/1.jpg"]
    assert row.product.active
    assert row.initial_quantity == 0


def test_derived_sku_is_stable_and_tells_pictures_apart(tmp_path: Path) -> None:
    other = {**BESTBUY, "image": "https://images.example.com/2.jpg"}
    dearer = {**BESTBUY, "price": 59.99}
    skus = [
        item.product.sku
        for item in opened(json_file(tmp_path, [BESTBUY, other, dearer])).items
        if isinstance(item, ImportProductsRequest)
    ]
    assert skus[0] != skus[1]
    assert skus[0] == skus[2], "a product whose price changed is the same product"


def test_icecat_row(tmp_path: Path) -> None:
    catalogue = opened(json_file(tmp_path, [ICECAT]), currency="EUR", stock=3)
    row = only_request(catalogue)
    assert catalogue.format_name == "icecat"
    assert (row.product.sku, row.product.name) == ("icecat-77", "Ironworks KT-1 kettle")
    price = row.product.price
    assert (price.currency_code, price.units, price.nanos) == ("EUR", 49, 950_000_000), "cents"
    assert dict(row.product.attributes) == {
        "mpn": "KT-1",
        "ean": "111, 222",
        "colour": "Tin",
        "weight": "800",
    }
    assert len(row.product.image_urls) == 2
    assert row.initial_quantity == 3


def test_jlcparts_row_keeps_prices_below_a_cent(tmp_path: Path) -> None:
    catalogue = opened(json_file(tmp_path, [JLCPARTS]))
    row = only_request(catalogue)
    assert catalogue.format_name == "jlcparts"
    assert (row.product.sku, row.product.name, row.product.brand) == ("C1", "R-100", "Ohmite")
    assert (row.product.price.units, row.product.price.nanos) == (0, 200_000)
    assert row.product.attributes["price breaks"] == "1+: 0.0002, 100+: 0.00005"
    assert row.initial_quantity == 2800
    assert not row.product.image_urls


def test_jlcparts_row_without_a_price_fails_alone(tmp_path: Path) -> None:
    rows = [JLCPARTS, {**JLCPARTS, "sku": "C2", "price_breaks": []}, {**JLCPARTS, "sku": "C3"}]
    items = list(opened(json_file(tmp_path, rows)).items)
    assert [type(item) for item in items] == [ImportProductsRequest, ImportIssue, ImportProductsRequest]
    assert isinstance(items[1], ImportIssue)
    assert (items[1].row_number, items[1].sku, items[1].reason) == (2, "C2", "PRICE_MISSING")


@pytest.mark.parametrize("compressed", [False, True])
def test_json_lines_are_read_and_a_broken_one_fails_alone(tmp_path: Path, *, compressed: bool) -> None:
    text = json.dumps(BESTBUY) + "\n{oops\n\n" + "[1]\n" + json.dumps(BESTBUY) + "\n"
    path = tmp_path / ("rows.jsonl.gz" if compressed else "rows.jsonl")
    path.write_bytes(gzip.compress(text.encode()) if compressed else text.encode())
    catalogue = opened(path)
    reasons = [getattr(item, "reason", "") for item in catalogue.items]
    assert reasons == ["", "ROW_UNREADABLE", "ROW_UNREADABLE", ""]
    assert catalogue.row_count == 4


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "#"])
def test_csv_of_any_delimiter_under_the_names_of_others(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "rows.csv"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(["id", "title", "manufacturer", "category", "price", "currency", "stock"])
        writer.writerow(["7", "Kettle, tin", "Ironworks", "Kitchen > Kettles", "12.50", "CHF", "4"])
    row = only_request(opened(path))
    assert (row.product.sku, row.product.name, row.product.brand) == ("7", "Kettle, tin", "Ironworks")
    assert list(row.category_path) == ["Kitchen", "Kettles"]
    assert (row.product.price.currency_code, row.product.price.units) == ("CHF", 12)
    assert row.initial_quantity == 4


@pytest.mark.parametrize(
    ("price", "reason"),
    [
        ("", "PRICE_MISSING"),
        ("$9,9.9", "PRICE_INVALID"),
        ("free", "PRICE_INVALID"),
        ("1.2.3", "PRICE_INVALID"),
    ],
)
def test_a_price_that_is_none_is_told(tmp_path: Path, price: str, reason: str) -> None:
    issue = only_issue(opened(json_file(tmp_path, [{"sku": "A", "name": "Kettle", "price": price}])))
    assert (issue.sku, issue.reason) == ("A", reason)


@pytest.mark.parametrize("price", ["$9.90", "9.9 gbp", 9.9, "9.90", "€ 9.90"])
def test_a_price_with_its_sign_is_a_price(tmp_path: Path, price: object) -> None:
    row = only_request(opened(json_file(tmp_path, [{"sku": "A", "name": "Kettle", "price": price}])))
    assert (row.product.price.units, row.product.price.nanos) == (9, 900_000_000)


def test_a_price_beyond_what_money_can_say_fails_alone(tmp_path: Path) -> None:
    issue = only_issue(opened(json_file(tmp_path, [{"sku": "A", "name": "Kettle", "price": "9" * 30}])))
    assert issue.reason == "PRICE_INVALID"


@pytest.mark.parametrize("stock", ["many", "1e400", "nan", 10**30])
def test_a_stock_that_is_no_number_fails_alone(tmp_path: Path, stock: object) -> None:
    row = {"sku": "A", "name": "Kettle", "price": 1, "stock": stock}
    assert only_issue(opened(json_file(tmp_path, [row]))).reason == "STOCK_INVALID"


@pytest.mark.parametrize("rows", [[{"InvoiceNo": 1, "StockCode": "A"}], [{"name": "Kettle"}], []])
def test_a_file_without_products_is_refused(tmp_path: Path, rows: list[object]) -> None:
    with pytest.raises(MeshError):
        opened(json_file(tmp_path, rows))


@pytest.mark.parametrize("content", [b"\x1f\x8b broken", b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / ("rows.jsonl.gz" if content.startswith(b"\x1f") else "rows.jsonl")
    path.write_bytes(content)
    with pytest.raises(MeshError, match="cannot be read"):
        opened(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="cannot be read"):
        opened(tmp_path / "none.json")


def test_a_price_may_have_the_api_s_own_form(tmp_path: Path) -> None:
    rows = [
        {"name": "Kettle", "price": {"currencyCode": "EUR", "units": "24", "nanos": 999_999_999}},
        {"name": "Pot", "price": {"units": 3}},
        {"name": "Pan", "price": {"units": "three"}},
        {"name": "Lid", "price": {"amount": 3}},
    ]
    kettle, pot, pan, lid = open_catalogue(json_file(tmp_path, rows), Defaults(currency="JPY")).items
    assert isinstance(kettle, ImportProductsRequest)
    assert isinstance(pot, ImportProductsRequest)
    price = kettle.product.price
    assert (price.currency_code, price.units, price.nanos) == ("EUR", 24, 999_999_999)
    assert (pot.product.price.currency_code, pot.product.price.units) == ("JPY", 3)
    for issue in (pan, lid):
        assert isinstance(issue, ImportIssue)
        assert issue.reason == "PRICE_INVALID"


def test_a_product_as_the_api_answers_it_can_be_imported(tmp_path: Path) -> None:
    row = {
        "sku": "K-1",
        "name": "Kettle",
        "price": {"currencyCode": "EUR", "units": "24", "nanos": 0},
        "imageUrls": ["https://images.example.com/1.jpg"],
        "attributes": {"colour": "tin"},
        "active": False,
    }
    (item,) = open_catalogue(json_file(tmp_path, [row]), Defaults()).items
    assert isinstance(item, ImportProductsRequest)
    found = json_format.MessageToDict(item.product, always_print_fields_with_no_presence=True)
    assert found.items() >= row.items()


def test_the_help_of_import_names_every_field_that_is_read() -> None:
    help_text = import_.__doc__ or ""
    for field, aliases in _ALIASES.items():
        line = re.search(rf"^ *{field} [^\n]*(\n {{18}}[^\n]*)?", help_text, re.M)
        assert line, field
        assert [name for name in aliases if not re.search(rf"\b{name}\b", line[0])] == []
