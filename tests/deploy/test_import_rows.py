"""Records as rows: what cannot be taken costs its field, or the row where a product cannot do without."""

import json
from pathlib import Path
from typing import Any

import pytest
from commerce.product.v1.product_pb2 import ExportedProduct, Product
from google.protobuf import json_format
from google.type.money_pb2 import Money

from deploy.local.errors import MeshError
from deploy.local.imports import exporting
from deploy.local.imports.columns import FIELDS
from deploy.local.imports.mapping import committed_mappings, read_mapping
from tests.deploy.importing import Judged, judged

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
    "img_500x500": "http://images.example.com/h.jpg",
    "img_thumb": "http://images.example.com/t.jpg",
    "attr_t_colour": "Tin",
    "attr_n_weight": 800.0,
    "attr_t_weight": "heavy",
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
KETTLE = {"sku": "A", "name": "Kettle", "price": "9.99"}


def read(folder: Path, *rows: dict[str, Any], currency: str = "") -> Judged:
    return judged(folder, json.dumps(rows), currency=currency)


def test_bestbuy_row(tmp_path: Path) -> None:
    dearer = {**BESTBUY, "price": 59.99}
    other = {**BESTBUY, "image": "https://images.example.com/2.jpg"}
    found = read(tmp_path, BESTBUY, other, dearer)
    first, second = found.products
    assert found.prices[0] == ("USD", 49, 990_000_000)
    assert list(found.rows[0].row.request.category_path) == ["Kitchen", "Kettles"]
    assert first.sku != second.sku, "pictures tell apart what has one name"
    assert first.sku.startswith("bestbuy-")
    assert [each.reason for each in found.outcomes] == ["SKU_DUPLICATE"], "another price is no other product"


def test_icecat_row(tmp_path: Path) -> None:
    found = read(tmp_path, ICECAT, currency="EUR")
    [product] = found.products
    assert (product.sku, product.name) == ("icecat-77", "Ironworks KT-1 kettle")
    assert found.prices == [("EUR", 49, 950_000_000)], "cents"
    assert dict(product.attributes) == {
        "mpn": "KT-1",
        "ean": "111, 222",
        "colour": "Tin",
        "weight": "800",
        "attr_t_weight": "heavy",
    }
    assert len(product.image_urls) == 2
    assert found.ignored_columns == []


def test_jlcparts_row_keeps_prices_below_a_cent(tmp_path: Path) -> None:
    found = read(tmp_path, JLCPARTS, {**JLCPARTS, "sku": "C2", "price_breaks": []})
    [product] = found.products
    assert (product.sku, product.name, product.brand) == ("C1", "R-100", "Ohmite")
    assert found.prices == [("USD", 0, 200_000)]
    assert product.attributes["price breaks"] == "1+: 0.0002, 100+: 0.00005"
    assert found.rows[0].row.request.initial_quantity == 2800
    assert [each.sku for each in found.outcomes] == ["C2"]
    assert found.refusals == [(1, "price", "PRICE_MISSING")]


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("image_urls", ["http://e.com/a|b.jpg", "http://e.com/c.jpg"], ["http://e.com/c.jpg"]),
        ("image_urls", "javascript:alert(1)", []),
        ("description", "x" * 10_001, ""),
        ("description", "a\x1bb", ""),
        ("brand", "b" * 201, ""),
        ("attributes", {"good": "1", "long": "x" * 2001}, {"good": "1"}),
        ("attributes", {"good": "1", "k" * 101: "x"}, {"good": "1"}),
        ("attributes", {"good": "1", "bidi": "a\u202eb"}, {"good": "1"}),
    ],
)
def test_a_mistake_in_an_optional_field_costs_that_field(
    tmp_path: Path, field: str, value: object, kept: object
) -> None:
    found = read(tmp_path, {**KETTLE, field: value})
    [product] = found.products
    said = getattr(found.rows[0].row.request.product, field)
    assert said == kept
    assert product.name == "Kettle"
    assert found.remarks == [(field, "FIELD_LEFT_OUT")]


def test_more_attributes_and_images_than_a_product_has_are_told(tmp_path: Path) -> None:
    attributes = {f"k{number}": "v" for number in range(201)}
    images = [f"http://e.com/{number}" for number in range(21)]
    found = read(tmp_path, {**KETTLE, "attributes": attributes, "images": images})
    assert (len(found.products[0].attributes), len(found.products[0].image_urls)) == (200, 20)
    assert sorted(found.remarks) == [("attributes", "FIELD_LEFT_OUT"), ("image_urls", "FIELD_LEFT_OUT")]


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"sku": ""}, ("sku", "SKU_MISSING")),
        ({"sku": "x" * 65}, ("sku", "FIELD_INVALID")),
        ({"name": " "}, ("name", "NAME_MISSING")),
        ({"name": "n" * 501}, ("name", "FIELD_INVALID")),
        ({"name": "a\x00"}, ("name", "FIELD_INVALID")),
        ({"name": {"en": "Kettle"}}, ("name", "FIELD_INVALID")),
    ],
)
def test_a_mistake_in_what_is_needed_costs_the_row(
    tmp_path: Path, changes: dict[str, Any], refusal: tuple[str, str]
) -> None:
    found = read(tmp_path, {**KETTLE, **changes}, {**KETTLE, "sku": "B"})
    assert [product.sku for product in found.products] == ["B"]
    assert [each[1:] for each in found.refusals] == [refusal]


def test_of_rows_with_one_sku_the_first_counts_and_the_others_are_named(tmp_path: Path) -> None:
    found = judged(tmp_path, "sku,name,price\nA,Kettle,free\nA,Kettle,1\nB,Pot,1\nA,Pan,2\nB,Pot,1\n")
    assert [(product.sku, product.name) for product in found.products] == [("A", "Kettle"), ("B", "Pot")]
    duplicates = [each for each in found.outcomes if each.result == "duplicate"]
    assert [(each.line, each.sku) for each in duplicates] == [(5, "A"), (6, "B")]
    assert "line 3 " in duplicates[0].message, "a row that is refused is no first"


@pytest.mark.parametrize("number", ["1e30000000", "1.5e-30000000", "0e30000000"])
def test_a_number_beyond_all_amounts_is_not_written_out(tmp_path: Path, number: str) -> None:
    found = judged(tmp_path, f'[{{"sku": "A", "name": "K", "price": 1, "attributes": {{"n": {number}}}}}]')
    assert found.products[0].attributes["n"] == number


def test_a_row_changes_what_its_columns_say_also_where_they_are_empty(tmp_path: Path) -> None:
    found = judged(tmp_path, "sku,name,price,category,brand\nA,Kettle,1,,\n")
    assert list(found.rows[0].row.request.update_mask.paths) == ["brand", "category_id", "name", "price"]
    found = read(tmp_path, {**KETTLE, "brand": "b" * 201})
    assert list(found.rows[0].row.request.update_mask.paths) == ["name", "price"], "it was left out"
    found = read(tmp_path, {**KETTLE, "attributes": {"colour": "tin"}, "active": False})
    assert list(found.rows[0].row.request.update_mask.paths) == ["active", "attributes", "name", "price"]


def test_a_file_that_lacks_a_column_of_its_mapping_is_refused(tmp_path: Path) -> None:
    rows, mapping = tmp_path / "rows.csv", tmp_path / "mapping.toml"
    rows.write_text("Nr,Title,Price,Manufacturer\n1,Kettle,1 EUR,Eisen\n")
    said = '[fields]\nname = "title"\nprice = "Price"\nbrand = "Maker"\n[attributes]\ncolour = "Color.0"\n'
    mapping.write_text(f'sku_from = ["Nr", "Titel"]\n{said}')
    with pytest.raises(MeshError, match=r"names: Maker, Titel, Color\.0") as caught:
        Judged(rows, mapping)
    assert "Nr, Title, Price, Manufacturer" in caught.value.remedy
    mapping.write_text(f'sku_from = ["Nr"]\noptional = ["MAKER", "Color.0"]\n{said}')
    found = Judged(rows, mapping)
    assert [product.name for product in found.products] == ["Kettle"]
    assert "brand" not in found.rows[0].row.request.update_mask.paths


def test_unknown_columns_are_named_once(tmp_path: Path) -> None:
    found = read(tmp_path, {**KETTLE, "colour": "tin"}, {**KETTLE, "sku": "B", "colour": "red", "size": 1})
    assert found.ignored_columns == ["colour", "size"]


def test_a_product_as_the_api_answers_it_can_be_imported(tmp_path: Path) -> None:
    row = {
        "sku": "K-1",
        "name": "Kettle",
        "price": {"currencyCode": "EUR", "units": "24", "nanos": 0},
        "imageUrls": ["https://images.example.com/1.jpg"],
        "attributes": {"colour": "tin"},
        "active": False,
    }
    found = read(tmp_path, {**row, "productId": "0190e0c4", "etag": "1"})
    said = json_format.MessageToDict(found.products[0], always_print_fields_with_no_presence=True)
    assert said.items() >= row.items()
    assert found.ignored_columns == []


def test_id_becomes_no_sku_without_a_supplier(tmp_path: Path) -> None:
    with pytest.raises(MeshError) as caught:
        judged(tmp_path, "id,name,price\n1,Kettle,9.99\n")
    assert "--plan" in caught.value.remedy
    mapping = tmp_path / "mapping.toml"
    mapping.write_text('[fields]\nsku = "id"\nname = "name"\nprice = "price"\n')
    with pytest.raises(MeshError, match="supplier"):
        read_mapping(mapping)


@pytest.mark.parametrize(
    "line",
    [
        "curency = 'EUR'",
        "decimal = ';'",
        "stock = 3",
        "ignored = 'x'",
        "price_scale = 'x'",
        "header_line = 0",
        "= 1",
    ],
)
def test_a_line_that_no_mapping_has_is_refused(tmp_path: Path, line: str) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(f'{line}\n[fields]\nname = "name"\nprice = "price"\n')
    with pytest.raises(MeshError, match="cannot be used"):
        read_mapping(mapping)


def test_the_mapping_that_the_docs_show_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "imports.md").read_text(encoding="utf-8")
    shown = page.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "mapping.toml").write_text(shown, encoding="utf-8")
    mapping = read_mapping(tmp_path / "mapping.toml")
    assert (mapping.sku_of("4711"), mapping.prices.decimal) == ("acme-4711", ",")
    assert mapping.fields["price"] == ("Aktionspreis", "Preis")


def test_the_committed_mappings_name_fields_alone() -> None:
    mappings = committed_mappings()
    assert sorted(mapping.name for mapping in mappings) == ["bestbuy", "icecat", "jlcparts", "ours"]
    assert all(set(mapping.fields) <= set(FIELDS) for mapping in mappings)


@pytest.mark.parametrize(("units", "nanos"), [(0, 0), (0, 10_000_000), (12, 0)])
def test_a_price_is_read_back_as_it_was_exported(tmp_path: Path, units: int, nanos: int) -> None:
    price = Money(currency_code="EUR", units=units, nanos=nanos)
    product = Product(sku="A", name="Kettle", price=price, active=True)
    path = tmp_path / "rows.jsonl"
    path.write_text(exporting.line_of(ExportedProduct(product=product)) + "\n")
    assert [each.price for each in Judged(path).products] == [price]
