"""Files that nobody has mapped: the proposal says what becomes of each column, and imports as it stands."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.cli.import_command import import_
from deploy.local.cli.importing import Wishes, plan_file
from deploy.local.errors import MeshError
from deploy.local.imports import choosing
from deploy.local.imports.mapping import committed_mappings, read_mapping
from deploy.local.imports.mapping_text import mapping_text
from deploy.local.imports.survey import survey_of
from tests.deploy.importing import Judged

# As shops of several countries write their files.
INDIAN = """,name,main_category,image,link,ratings,discount_price,actual_price
0,"Kettle, 1.5 l",appliances,https://e.com/1.jpg,https://e.com/p/1,4.2,"₹32,999","₹58,990"
1,Kettle,appliances,https://e.com/2.jpg,https://e.com/p/2,4.2,,"₹1,49,900"
"""
GERMAN = """Artikelnummer;Bezeichnung;Preis EUR;Hersteller;Bestand;Farbe
00-1;Kanne;1.250,00;Eisen;5;rot
00-2;Topf;12,50;Eisen;0;
"""
ISRAELI = """{"chain": {"id": 7}, "items": [
  {"ItemCode": "7290000000001", "ItemName": "חלב", "ItemPrice": "6.23", "Quantity": "1.00",
   "UnitOfMeasure": "ליטר"},
  {"ItemCode": "7290000000002", "ItemName": "לחם", "ItemPrice": "10.90", "Quantity": "500.00"}
]}"""
NESTED = """{"id": 1, "title": "Radio", "variants": [{"price": "19.00", "sku": "R-1"}], "images": [{"src": "https://e.com/r"}]}
{"id": 2, "title": "Tape", "variants": [{"price": "5.50", "sku": "T-1"}], "images": []}
"""


def planned(folder: Path, text: str, *edits: tuple[str, str]) -> Judged:
    """Propose a mapping, write it, edit it, and read the file by it."""
    path, kept = folder / "acme.txt", folder / "acme.toml"
    path.write_text(text, encoding="utf-8")
    file, mapping = choosing.plan(path)
    proposal = mapping_text(mapping, survey_of(file.survey()), file.form.encoding)
    for old, new in edits:
        assert old in proposal
        proposal = proposal.replace(old, new)
    kept.write_text(proposal, encoding="utf-8")
    return Judged(path, kept)


def test_a_file_of_an_indian_shop(tmp_path: Path) -> None:
    found = planned(tmp_path, INDIAN)
    assert found.prices == [("INR", 32_999, 0), ("INR", 149_900, 0)]
    assert found.outcomes == []
    assert len({product.sku for product in found.products}) == 2
    assert all(product.sku.startswith("acme-") for product in found.products)
    assert list(found.products[0].image_urls) == ["https://e.com/1.jpg"]
    assert found.products[0].attributes["ratings"] == "4.2"


def test_a_file_of_a_german_shop(tmp_path: Path) -> None:
    found = planned(tmp_path, GERMAN)
    assert found.prices == [("EUR", 1250, 0), ("EUR", 12, 500_000_000)]
    assert [product.sku for product in found.products] == ["acme-00-1", "acme-00-2"]
    assert [row.row.request.initial_quantity for row in found.rows] == [5, 0]
    assert dict(found.products[0].attributes) == {"Farbe": "rot"}
    assert found.products[0].brand == "Eisen"


def test_a_file_of_an_israeli_shop_needs_its_currency_said(tmp_path: Path) -> None:
    refused = planned(tmp_path, ISRAELI).outcomes
    assert [each.reason for each in refused] == ["CURRENCY_MISSING"] * 2
    assert "--currency or a mapping's line `currency`" in refused[0].message
    found = planned(tmp_path, ISRAELI, ('currency = ""', 'currency = "ILS"'))
    assert found.prices == [("ILS", 6, 230_000_000), ("ILS", 10, 900_000_000)]
    assert found.products[0].sku == "acme-7290000000001"
    assert found.products[0].attributes["Quantity"] == "1.00", "what a package holds is no stock"


def test_prices_inside_objects_are_found(tmp_path: Path) -> None:
    found = planned(tmp_path, NESTED, ('currency = ""', 'currency = "EUR"'))
    assert found.prices == [("EUR", 19, 0), ("EUR", 5, 500_000_000)]
    assert found.products[0].name == "Radio"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            NESTED.replace("}], ", '}, {"price": "20", "sku": "R-2"}], ', 1),
            "variants.0.price is one of several",
        ),
        (
            '{"items": [{"sku": 1, "name": "a", "price": 1}, {"sku": 2, "name": "b", "price": 1}]}\n' * 2,
            "one of",
        ),
        ('{"B1": {"name": "a", "price": 1}, "B2": {"name": "b", "price": 2}}\n' * 2, "B1 and B2 have"),
    ],
)
def test_no_product_stands_for_several_of_a_row(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(MeshError, match=told):
        planned(tmp_path, text)


def test_all_pictures_of_a_list_are_taken(tmp_path: Path) -> None:
    pictures = NESTED.replace('"images": [', '"images": [{"src": "https://e.com/1"}, ', 1)
    found = planned(tmp_path, pictures, ('currency = ""', 'currency = "EUR"'))
    assert list(found.products[0].image_urls) == ["https://e.com/1", "https://e.com/r"]


def test_an_array_that_is_not_read_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_text('{"old": [{"sku": "B"}], "products": [{"sku": "A", "name": "a", "price": 1}]}')
    told = plan(tmp_path, path, Wishes())
    assert "1 objects of old were not read" in told
    assert "1 created" in told


def test_titles_above_the_names_of_columns_are_left_out(tmp_path: Path) -> None:
    found = planned(tmp_path, f"Preisliste, Stand 3.11.\n\n{GERMAN}")
    assert found.mapping.file.header_line == 3
    assert [product.name for product in found.products] == ["Kanne", "Topf"]
    assert found.rows[0].line == 4
    assert planned(tmp_path, GERMAN).mapping.file.header_line == 1


def test_points_in_names_of_columns_are_no_ways(tmp_path: Path) -> None:
    text = "Art.-Nr.;Name;Preis EUR;Bild.0.Url;Gew. in kg\n7;Kanne;1,50;https://e.com/1;2\n"
    [product] = planned(tmp_path, text).products
    assert (product.sku, dict(product.attributes)) == ("acme-7", {"Gew. in kg": "2"})
    assert list(product.image_urls) == ["https://e.com/1"]


def test_a_price_on_request_costs_its_row_and_not_the_proposal(tmp_path: Path) -> None:
    found = planned(tmp_path, "id,title,price\n1,Pot,€1.50\n2,Pan,auf Anfrage\n3,Lid,€2.50\n")
    assert [product.sku for product in found.products] == ["acme-1", "acme-3"]
    assert found.refusals == [(3, "price", "PRICE_INVALID")]


def test_a_column_of_few_prices_is_read_row_by_row(tmp_path: Path) -> None:
    rows = "".join(f"{n},Pot {n},on request\n" for n in range(7))
    found = planned(tmp_path, f"Art Nr,Name,Price\n{rows}8,Pan,9.90 EUR\n9,Lid,4.50 EUR\n")
    assert found.prices == [("EUR", 9, 900_000_000), ("EUR", 4, 500_000_000)]
    assert {(field, reason) for _, field, reason in found.refusals} == {("price", "PRICE_INVALID")}


def test_a_plan_says_that_nothing_says_the_stock(tmp_path: Path) -> None:
    told = "No column looks like stock"
    assert planned(tmp_path, INDIAN, (told, told)).mapping.stock == 0
    assert planned(tmp_path, GERMAN).mapping.fields["stock"] == ("Bestand",)
    assert told not in (tmp_path / "acme.toml").read_text(encoding="utf-8")


def test_what_a_few_prices_say_is_not_proposed_for_all(tmp_path: Path) -> None:
    rows = "".join(f"{number},Pot,{number}.50\n" for number in range(1, 20))
    found = planned(tmp_path, f"id,title,price\n{rows}20,Pan,9.9 gbp\n")
    assert found.mapping.prices.currency == ""
    assert found.prices == [("GBP", 9, 900_000_000)]


def test_the_sku_of_an_unknown_file_has_its_supplier_before_it(tmp_path: Path) -> None:
    found = planned(tmp_path, "id,title,price\n1,Kettle,€9.99\n", ('supplier = "acme"', 'supplier = "tin"'))
    assert [product.sku for product in found.products] == ["tin-1"]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "name,colour\nKettle,red\n"])
def test_a_file_without_names_or_prices_gets_no_proposal(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(text)
    with pytest.raises(MeshError, match="no column that looks like"):
        choosing.plan(path)


def plan(folder: Path, path: Path, wishes: Wishes) -> str:
    """Plan a file where nothing runs, and return what is told."""
    told = io.StringIO()
    plan_file(folder / "data", path, Console(file=told, width=500), wishes)
    return told.getvalue()


def test_a_file_in_the_shop_s_own_form_is_planned_as_it_would_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own.csv"
    path.write_text("sku,name,price\nA,Kettle,1\n")
    told = plan(tmp_path, path, Wishes(currency="EUR"))
    assert "mapping ours; " in told
    assert f"`mesh import {path} --currency EUR` imports it." in told
    assert list(tmp_path.glob("*.toml")) == []
    told = plan(tmp_path, path, Wishes(supplier="tin"))
    assert 'supplier = "tin"' in told


def test_what_a_plan_is_asked_for_stands_in_its_mapping_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, kept = tmp_path / "rows.csv", tmp_path / "rows.csv.mapping.toml"
    path.write_text("id,title,price\n1,Kettle,9.99\n")
    plan(tmp_path, path, Wishes(currency="ILS", stock=7))
    assert read_mapping(kept).prices.currency == "ILS"
    assert read_mapping(kept).stock == 7
    assert "1 created" in plan(tmp_path, path, Wishes())
    with pytest.raises(MeshError, match="is there already, and --currency EUR would not be in it"):
        plan(tmp_path, path, Wishes(currency="EUR"))


def test_the_help_of_import_names_every_column_of_the_shop_s_own_form() -> None:
    help_text = import_.__doc__ or ""
    [ours] = [mapping for mapping in committed_mappings() if mapping.name == "ours"]
    named = {name for columns in ours.fields.values() for name in columns} | set(ours.facts)
    assert sorted(name for name in named if name not in help_text) == []


def test_a_mapping_of_any_name_says_the_currency_itself(tmp_path: Path) -> None:
    mapping = tmp_path / "ours.toml"
    mapping.write_text('currency = "EUR"\n[fields]\nsku = "sku"\nname = "name"\nprice = "price"\n')
    (tmp_path / "rows.csv").write_text("sku,name,price\nA,Kettle,9.50\n")
    assert Judged(tmp_path / "rows.csv", mapping).prices == [("EUR", 9, 500_000_000)]
