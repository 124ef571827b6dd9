"""Files of any separator, quote, encoding and wrapper: each row is read, or refused by its line."""

import gzip
import json
from pathlib import Path

import pytest
from backports import zstd

from deploy.local.errors import MeshError
from deploy.local.imports import choosing
from deploy.local.imports.records import Record
from tests.deploy.importing import Judged, judged

HEAD = "sku,name,price\n"


@pytest.mark.parametrize("separator", [",", ";", "\t", "|", "#"])
def test_any_separator_and_spelling_of_the_header(tmp_path: Path, separator: str) -> None:
    header = separator.join([" SKU ", "Product Name", "PRICE", "currency_code"])
    row = separator.join(["7", '"Kettle, tin; big|small"', "12.50", "CHF"])
    found = judged(tmp_path, f"{header}\n{row}\n")
    assert found.prices == [("CHF", 12, 500_000_000)]
    assert (found.products[0].sku, found.products[0].name) == ("7", "Kettle, tin; big|small")


def test_rows_of_more_or_fewer_cells_than_the_header_are_refused_by_line(tmp_path: Path) -> None:
    found = judged(tmp_path, f"{HEAD}A,Kettle,1\n\nB,Pot\nC,Pan,1,x\nD,Lid,1\n")
    assert [product.sku for product in found.products] == ["A", "D"]
    assert found.refusals == [(4, "", "CELLS_DO_NOT_MATCH"), (5, "", "CELLS_DO_NOT_MATCH")]


@pytest.mark.parametrize(
    "rest", ["C,Pan,1\nD,Lid,1\n", 'C,"Pan",1\nD,Lid,1\n', 'C,"",1\nD,Lid,1\n', 'C,5" Pan,1\nD,Lid,1\n']
)
def test_an_unclosed_quote_costs_the_row_that_it_begins_in(tmp_path: Path, rest: str) -> None:
    found = judged(tmp_path, f'{HEAD}A,Kettle,1\nB,"Pot,1\n{rest}')
    assert found.products[0].sku == "A"
    assert found.products[-1].sku == "D"
    assert found.refusals[0][0] == 3
    assert found.refusals[0][2] in ("QUOTE_NOT_CLOSED", "QUOTE_MISPLACED")


def test_an_unclosed_quote_that_a_later_one_closes_swallows_no_rows(tmp_path: Path) -> None:
    found = judged(tmp_path, f'{HEAD}A,Kettle,1\nB,"Pot,1\nC,Pan,1\nD,"Lid",1\nE,Cup,1\n')
    assert [product.sku for product in found.products] == ["A", "C", "D", "E"]


def test_lines_are_counted_as_people_do(tmp_path: Path) -> None:
    found = judged(tmp_path, f'{HEAD}A,"Kettle\r\nof tin",1\n\nB,Pot,no\n')
    assert found.products[0].name == "Kettle\r\nof tin"
    assert found.refusals == [(5, "price", "PRICE_INVALID")]


def test_quotes_are_escaped_by_backslashes_or_doubled(tmp_path: Path) -> None:
    escaped = judged(tmp_path, 'sku,name,price\nA,"The \\"big\\" pot, red",1\nB,"Pan \\\\ lid",1\n')
    doubled = judged(tmp_path, 'sku,name,price\nA,"The ""big"" pot, red",1\nB,"C:\\",1\n')
    assert [each.name for each in escaped.products] == ['The "big" pot, red', "Pan \\ lid"]
    assert [each.name for each in doubled.products] == ['The "big" pot, red', "C:\\"]


@pytest.mark.parametrize("separator", [",", "\t"])
def test_backslashes_say_what_databases_mean_by_them(tmp_path: Path, separator: str) -> None:
    cells = [
        ("sku", "name", "price", "brand"),
        ("A", r"a\tb\nc\\\\n", "1", r"\N"),
        ("B", r'"5\" \\"', "1", r"\'s"),
        ("C", r"C:\dos", "1", ""),
        ("D", rf"a\{separator}b", "1", r"x\N"),
        ("E", rf"a\{separator}b", "1", "Eisen"),
    ]
    found = judged(tmp_path, "".join(separator.join(row) + "\n" for row in cells))
    assert [product.name for product in found.products] == ["a\tb\nc\\\\n", '5" \\', f"a{separator}b"]
    assert [product.brand for product in found.products] == ["", "'s", "Eisen"]
    assert found.refusals == [(4, "", "ESCAPE_UNKNOWN"), (5, "", "ESCAPE_UNKNOWN")]


def test_a_cell_or_a_row_that_is_too_long_is_refused_and_the_next_is_read(tmp_path: Path) -> None:
    long_cell, long_row, long_line = "x" * 131_073, "y" * 70_000, "z" * 2_000_000
    head = "sku,name,price,description,note\n"
    rows = f"A,Kettle,1,,{long_cell}\nB,Pot,1,{long_row},\nC,{long_row},1,,\nD,{long_line},1,,\nE,Cup,1,,\n"
    found = judged(tmp_path, head + rows)
    # A description that is too long costs itself; a name, the row.
    assert [product.sku for product in found.products] == ["B", "E"]
    assert sorted((line, reason) for line, _, reason in found.refusals) == [
        (2, "CELL_TOO_LONG"),
        (4, "FIELD_INVALID"),
        (5, "ROW_TOO_LARGE"),
    ]


def test_a_row_over_64_kib_is_refused_alone(tmp_path: Path) -> None:
    attributes = {f"key {number}": "v" * 1900 for number in range(40)}
    rows = [
        {"sku": "A", "name": "Kettle", "price": 1, "attributes": attributes},
        {"sku": "B", "name": "Pot", "price": 1},
    ]
    found = judged(tmp_path, json.dumps(rows, indent=1))
    assert [product.sku for product in found.products] == ["B"]
    assert found.refusals == [(2, "row", "ROW_TOO_LARGE")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_are_told_by_the_bytes(tmp_path: Path, encoding: str) -> None:
    found = judged(tmp_path, f"{HEAD}A,Käse größer,1\nB,Brötchen,1\n".encode(encoding))
    assert [product.name for product in found.products] == ["Käse größer", "Brötchen"]


def test_an_encoding_that_the_bytes_do_not_tell_must_be_said(tmp_path: Path) -> None:
    content = f"{HEAD}A,חלב,1\n".encode("windows-1255")
    with pytest.raises(MeshError, match="neither UTF-8 nor UTF-16") as caught:
        judged(tmp_path, content)
    assert "--encoding" in caught.value.remedy
    assert judged(tmp_path, content, encoding="windows-1255").products[0].name == "חלב"
    with pytest.raises(MeshError, match="unknown encoding"):
        judged(tmp_path, content, encoding="hebrew-ish")
    _, proposal = choosing.plan(tmp_path / "rows", encoding="windows-1255")
    assert proposal.file.encoding == "windows-1255"


def test_a_byte_that_the_encoding_does_not_have_costs_its_row(tmp_path: Path) -> None:
    found = judged(tmp_path, f"{HEAD}A,Käse größer,1\nB,Br".encode() + b"\xf6tchen,1\nC,Tee,1\n")
    assert [product.sku for product in found.products] == ["A", "C"]
    assert found.refusals == [(3, "name", "TEXT_INVALID")]


def test_a_lone_surrogate_is_a_refused_row(tmp_path: Path) -> None:
    rows = '{"sku": "A", "name": "a\\ud800", "price": 1}\n{"sku": "B\\udfff", "name": "b", "price": 1}\n'
    found = judged(tmp_path, rows + '{"sku": "C", "name": "c", "price": 1}\n')
    assert [product.sku for product in found.products] == ["C"]
    assert found.refusals == [(1, "name", "TEXT_INVALID"), (2, "sku", "TEXT_INVALID")]
    assert found.outcomes[0].value == "a\\ud800"


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_compression_is_told_by_the_bytes(tmp_path: Path, pack: object) -> None:
    assert callable(pack)
    found = judged(tmp_path, pack(f"{HEAD}A,Kettle,1\n".encode()))
    assert [product.sku for product in found.products] == ["A"]


def test_a_file_that_breaks_off_says_where(tmp_path: Path) -> None:
    text = HEAD + "".join(f"S{number},Kettle {number * 7919},1\n" for number in range(20_000))
    found = judged(tmp_path, gzip.compress(text.encode())[:-2000])
    assert len(found.rows) > 1000
    assert found.refusals[-1][2] == "FILE_BROKEN"
    assert found.refusals[-1][0] > 1000


ROW = '{"sku": "A", "name": "Kettle", "price": 1.50}'


@pytest.mark.parametrize(
    "text",
    [
        f"[{ROW}]",
        f"{ROW}\n",
        f"\n{ROW}\n{ROW}\n",
        f'{{"products": [{ROW}]}}',
        f'{{\n"page": {{"n": 1}}, "tags": ["x"],\n"data": {{"items": [\n{ROW}\n]}}}}',
        f'{{"categories": [{{"id": 1}}], "products": [{ROW}]}}',
    ],
)
def test_arrays_lines_and_wrappers_are_read(tmp_path: Path, text: str) -> None:
    found = judged(tmp_path, text)
    assert [product.name for product in found.products] == ["Kettle"]


TWICE = ROW.replace('"price"', '"price": 5.00, "price"')


@pytest.mark.parametrize("form", ["{0}\n{1}\n{0}\n", "[{0},\n{1},\n{0}]", '{{"items": [{0},\n{1},\n{0}]}}'])
@pytest.mark.parametrize("twice", [TWICE, ROW.replace("}", ', "attributes": {"a": "1", "a": "2"}}')])
def test_an_object_that_says_a_key_twice_is_refused(tmp_path: Path, form: str, twice: str) -> None:
    found = judged(tmp_path, form.format(ROW, twice))
    assert found.refusals[0] == (2, "", "KEY_TWICE")
    assert [row.line for row in found.rows] == [1]


@pytest.mark.parametrize("second", ["price", "Price", " PRICE "])
def test_of_columns_with_one_heading_the_first_counts_and_the_others_are_told(
    tmp_path: Path, second: str
) -> None:
    found = judged(tmp_path, f"sku,name,price,{second}\nA,Kettle,5.00,1.00\n")
    assert found.prices == [("USD", 5, 0)]
    assert found.ignored_columns == [f"{second.strip()} (4)"]


def test_keys_of_one_spelling_that_say_two_things_are_refused(tmp_path: Path) -> None:
    same = ROW.replace("}", ', "Price": 1.50, "Name": ""}').replace('"A"', '"B"')
    found = judged(tmp_path, "\n".join([ROW.replace("}", ', "Price": 1}'), same]))
    assert found.refusals == [(1, "price", "COLUMN_TWICE")]
    assert [product.sku for product in found.products] == ["B"]


def test_a_line_that_is_no_json_fails_alone(tmp_path: Path) -> None:
    found = judged(tmp_path, f"{ROW}\n{{oops\n\n[1]\n{ROW.replace('A', 'B')}\n")
    assert [product.sku for product in found.products] == ["A", "B"]
    assert found.refusals == [(2, "", "ROW_UNREADABLE"), (4, "", "ROW_UNREADABLE")]


def test_an_array_that_stops_being_json_says_from_which_line(tmp_path: Path) -> None:
    found = judged(tmp_path, f"[{ROW},\n7,\n{{oops}},\n{ROW}]")
    assert [product.sku for product in found.products] == ["A"]
    assert found.refusals == [(2, "", "ROW_UNREADABLE"), (3, "", "FILE_BROKEN")]


@pytest.mark.parametrize("content", [b"", b"[]", b"\x1f\x8b broken", b"InvoiceNo,StockCode\n1,A\n"])
def test_a_file_without_products_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(MeshError):
        judged(tmp_path, content)


def test_a_spreadsheet_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="spreadsheet") as caught:
        judged(tmp_path, b"PK\x03\x04\x14\x00")
    assert "as CSV" in caught.value.remedy


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MeshError, match="cannot be read"):
        Judged(tmp_path / "none.csv")


BY_KEY = {"BS1": {"name": "Pot", "price": 1.5}, "BS2": {"name": "Pan", "price": 2, "brand": "Eisen"}}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [BY_KEY, {"products": BY_KEY}, {"data": {"all": BY_KEY}}])
def test_rows_under_keys_are_read_with_the_key_as_a_column(
    tmp_path: Path, wrapped: dict[str, object], indent: int | None
) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(wrapped, indent=indent))
    file, mapping = choosing.plan(path, supplier="bs", currency="EUR")
    records = list(file.read())
    assert [record.values["key"] for record in records if isinstance(record, Record)] == ["BS1", "BS2"]
    assert (mapping.fields["sku"], mapping.fields["name"]) == (("key",), ("name",))
    assert file.form.records is not None
    assert file.form.records.endswith("*")


def test_rows_under_keys_end_where_their_document_breaks(tmp_path: Path) -> None:
    rows = {f"K{n}": {"sku": f"K{n}", "name": "Pot", "price": "1 EUR"} for n in range(5)}
    found = judged(tmp_path, json.dumps(rows, indent=1)[:-30])
    assert [product.sku for product in found.products] == ["K0", "K1", "K2", "K3"]
    assert [reason for _, _, reason in found.refusals] == ["FILE_BROKEN"]
