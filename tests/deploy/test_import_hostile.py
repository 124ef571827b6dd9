"""Files, mappings and reports that are made to hurt: each costs itself, and says so."""

import csv
import gzip
import json
import os
from pathlib import Path

import pytest
from rich.console import Console

from deploy.local.cli.importing import Wishes, plan_file
from deploy.local.errors import MeshError
from deploy.local.imports import texts
from deploy.local.imports.report import Outcome, ReportFile, refuse_to_overwrite
from tests.deploy.importing import Judged, judged

ROW = {"sku": "A", "name": "Kettle", "price": 1, "currency": "EUR"}
MAPPING = 'currency = "EUR"\n[fields]\nsku = "sku"\nname = "name"\nprice = "price"\n'


def planned(folder: Path, path: Path, wishes: Wishes | None = None) -> str:
    """Run `mesh import --plan` where no mesh runs, and return what it prints."""
    with (folder / "told").open("w+", encoding="utf-8") as told:
        plan_file(folder / "none", path, Console(file=told, soft_wrap=True, width=200), wishes or Wishes())
        told.seek(0)
        return told.read()


@pytest.mark.parametrize("report", ["rows.csv", "link.csv", "hard.csv", "rows.toml"])
def test_a_report_is_not_written_over_what_is_read(tmp_path: Path, report: str) -> None:
    rows, mapping = tmp_path / "rows.csv", tmp_path / "rows.toml"
    rows.write_text("sku,name,price\nA,Kettle,1\n")
    mapping.write_text(MAPPING)
    (tmp_path / "link.csv").symlink_to(rows)
    (tmp_path / "hard.csv").hardlink_to(rows)
    with pytest.raises(MeshError, match="would overwrite"):
        planned(tmp_path, rows, Wishes(mapping=mapping, report=tmp_path / report))
    assert rows.read_text() == "sku,name,price\nA,Kettle,1\n"
    assert mapping.read_text() == MAPPING


def test_a_report_beside_what_is_read_is_taken(tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("sku,name,price\nA,Kettle,1\n")
    refuse_to_overwrite(tmp_path / "report.csv", rows, tmp_path / "none.toml", None)
    refuse_to_overwrite(None, rows)


def test_a_plan_writes_through_no_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rows.csv").write_text("sku,name,price\nA,Kettle,1 EUR\n")
    Path("rows.csv.mapping.toml").symlink_to(tmp_path / "target")
    with pytest.raises(MeshError, match="mapping cannot be written"):
        planned(tmp_path, Path("rows.csv"), Wishes(mapping=Path("rows.csv.mapping.toml")))
    assert not Path("target").exists()


def test_a_report_holds_nothing_that_a_terminal_or_a_spreadsheet_obeys(tmp_path: Path) -> None:
    said = ["\x1b[31mred\x1b]0;own\x07", "=cmd|' /C calc'!A0", "+1", "-1", "@SUM(A1)", "s\ud800", "A-1"]
    with ReportFile(tmp_path / "report.csv") as written:
        written.write([Outcome(2, 1, each, "refused", each, each, "R", each) for each in said])
    with (tmp_path / "report.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = ["\\u001b[31mred\\u001b]0;own\\u0007", *(f"'{each}" for each in said[1:5]), "s\\ud800", "A-1"]
    for column in ("sku", "field", "value", "message"):
        assert [row[column] for row in rows] == wanted


def test_names_that_cannot_be_written_are_shown_escaped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("[red]\x1b[2J.jsonl")
    path.write_text(json.dumps({**ROW, "\ud800col": 1, "\x1b[2Jx": 1}) + "\n")
    told = planned(tmp_path, path)
    assert "\\ud800col" in told
    assert "[red]\\u001b[2J.jsonl: nothing was imported; it would be: 1 rows: 1 created" in told
    assert "\x1b" not in told


@pytest.mark.parametrize("kind", ["list", "object"])
def test_lists_in_lists_cost_their_row_at_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    begin, end = ("[", "]") if kind == "list" else ('{"a":', "}")
    row = json.dumps({**ROW, "sku": "SKU", "attributes": {"a": "DEEP"}, "deep": "DEEP"})
    # Around what Python itself can follow, the deepest first: a plan looks at few.
    depths = [*range(1000, 600, -4), 100]
    rows = [
        row.replace("SKU", f"S{depth}").replace('"DEEP"', begin * depth + "1" + end * depth)
        for depth in depths
    ]
    found = judged(tmp_path, "\n".join([*rows, json.dumps(ROW)]))
    assert found.products[-1].sku == "A"
    assert len(found.rows) + len(found.outcomes) == len(depths) + 1
    assert {outcome.reason for outcome in found.outcomes} <= {"ROW_UNREADABLE"}
    assert f"would be: {len(depths) + 1} rows: " in planned(tmp_path, found.file.path)


@pytest.mark.parametrize("price", ["1e29", "1e1000000", "-1e1000000", "1e-1000000"])
def test_an_exponent_beyond_any_price_costs_its_row(tmp_path: Path, price: str) -> None:
    rows = json.dumps({**ROW, "price": "PRICE"}).replace('"PRICE"', price)
    found = judged(tmp_path, rows + "\n" + json.dumps({**ROW, "sku": "B"}))
    assert [product.sku for product in found.products] == ["B"]
    assert found.refusals == [(1, "price", "PRICE_INVALID")]


def test_a_header_of_more_columns_than_any_file_has_is_refused(tmp_path: Path) -> None:
    header = ",".join(["sku", "name", "price", *(f"c{number}" for number in range(100_000))])
    with pytest.raises(MeshError, match="Line 1: The header has 100,003 columns"):
        judged(tmp_path, f"{header}\n{',' * 100_002}\n")


def test_columns_of_one_name_are_told_apart(tmp_path: Path) -> None:
    found = judged(tmp_path, "sku,name,price,c,c (6),c\nA,Kettle,1,x,y,z\n")
    assert found.ignored_columns == ["c", "c (6)", "c (6) (6)"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        *(
            (f"encoding = {name}", "encoding")
            for name in ['"undefined"', '"punycode"', '"x\\u0000y"', '"hex"']
        ),
        ('separator = ";;"', "separator"),
        ('separator = "\\n"', "separator"),
        ('quote = "ab"', "quote"),
        ('separator = ";"\nquote = ";"', "three different"),
        *((f'price_scale = "{text}"', "price_scale") for text in ["NaN", "sNaN", "1E+999999999", "-1", "x"]),
        ("constants = {stock = 99999999999999999999}", "stock"),
        ("constants = {stock = true}", "stock"),
        (f"facts = {'[' * 5000}", "lists in lists"),
    ],
)
def test_a_mistake_in_a_mapping_is_told_with_its_line(tmp_path: Path, line: str, told: str) -> None:
    rows, mapping = tmp_path / "rows.csv", tmp_path / "rows.toml"
    rows.write_text("sku,name,price\nA,Kettle,1\n")
    mapping.write_text(f"{line}\n{MAPPING}")
    with pytest.raises(MeshError, match=f"(?s)cannot be used: .*{told}"):
        Judged(rows, mapping)


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    rows, pipe = tmp_path / "rows.csv", tmp_path / "pipe"
    rows.write_text("sku,name,price\nA,Kettle,1\n")
    os.mkfifo(pipe)
    for path, mapping in ((pipe, None), (Path("/dev/zero"), None), (rows, pipe), (rows, Path("/dev/zero"))):
        with pytest.raises(MeshError, match="no regular file"):
            Judged(path, mapping)


def test_a_file_that_unpacks_without_end_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_UNPACKED_BYTES", 100_000)
    rows = "".join(f"S{number},Kettle,1\n" for number in range(50))
    found = judged(tmp_path, gzip.compress((f"sku,name,price\n{rows}" + ",,\n" * 200_000).encode()))
    assert len(found.rows) == 50
    assert [(each.reason, "unpacks to more than" in each.message) for each in found.outcomes] == [
        ("FILE_BROKEN", True)
    ]


def test_a_file_of_empty_lines_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_MAX_EMPTY_LINES", 1000)
    found = judged(tmp_path, "sku,name,price\nA,Kettle,1\n" + "\n" * 1000 + "B,Pot,1\n" + "\n" * 1001)
    assert [product.sku for product in found.products] == ["A", "B"]
    assert [each.reason for each in found.outcomes] == ["FILE_BROKEN"]
