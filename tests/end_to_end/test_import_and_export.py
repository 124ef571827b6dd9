"""`mesh import` and `mesh export` on a running mesh: what one writes, the other reads and changes nothing."""

import json
import os
import re
import stat
from pathlib import Path
from uuid import uuid4

from tests.product.test_matches import gtin
from tests.support.stack import Stack

_MAPPING = """
supplier = "{supplier}"
currency = "EUR"
[fields]
sku = "Art"
name = "Name"
price = "Price"
[attributes]
{attribute} = "Colour"
"""


def write(folder: Path, supplier: str, *rows: str, attribute: str = "colour") -> tuple[str, ...]:
    """Write a supplier's file, and return how it is imported."""
    mapping, file = folder / "mapping.toml", folder / "rows.csv"
    mapping.write_text(_MAPPING.format(supplier=supplier, attribute=attribute))
    file.write_text("\n".join(["Art,Name,Price,Colour", *rows, ""]))
    return "import", str(file), "--mapping", str(mapping)


def exported(stack: Stack, path: Path, supplier: str) -> dict[str, bool]:
    """Return the supplier's products with whether they are for sale."""
    stack.mesh("export", str(path), "--supplier", supplier)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["sku"].removeprefix(f"{supplier}-"): row["active"] for row in rows}


def test_what_is_exported_changes_nothing_when_it_is_imported(stack: Stack, tmp_path: Path) -> None:
    everything = tmp_path / "all.jsonl"
    stack.mesh("export", str(everything))
    count = len(everything.read_text().splitlines())
    assert count > 0
    said = stack.mesh("import", str(everything)).stdout
    assert f"nothing changed; all {count:,} rows" in said


def test_what_a_supplier_has_no_more_is_taken_out_of_sale(stack: Stack, tmp_path: Path) -> None:
    supplier = f"s{uuid4().hex[:8]}"
    path = tmp_path / "rows.jsonl"
    stack.mesh(*write(tmp_path, f"{supplier}x", "1,Other,1.00,"))
    stack.mesh(*write(tmp_path, supplier, "1,Pot,3.50,red", "2,Pan,4.10,", "3,Lid,1.99,"))
    shorter = write(tmp_path, supplier, "1,Pot,3.50,red")
    # Without an answer nothing happens.
    unasked = stack.mesh(*shorter, "--retire-missing", check=False)
    assert unasked.returncode == 1
    assert f"2 products of {supplier} that are for sale are not in the file" in unasked.stdout
    assert exported(stack, path, supplier) == {"1": True, "2": True, "3": True}
    report = tmp_path / "report.csv"
    said = stack.mesh(*shorter, "--retire-missing", "--yes", "--report", str(report)).stdout
    assert "2 products were taken out of sale." in said
    assert f"0,0,{supplier}-2,retired" in report.read_text()
    assert exported(stack, path, supplier) == {"1": True, "2": False, "3": False}
    assert exported(stack, path, f"{supplier}x") == {"1": True}
    again = stack.mesh(*shorter, "--retire-missing", "--yes").stdout
    assert f"has all products of {supplier}" in again


def test_what_another_suppliers_record_is_merged_into_stays_for_sale_and_is_told_of(
    stack: Stack, tmp_path: Path
) -> None:
    suppliers, code = [f"s{uuid4().hex[:8]}" for _ in range(2)], gtin()
    for each in suppliers:
        stack.mesh(*write(tmp_path, each, f"1,Kettle,3.50,{code}", "2,Lid,4.10,", attribute="gtin"))
    stack.mesh("match")
    sold = {each: exported(stack, tmp_path / "rows.jsonl", each)["1"] for each in suppliers}
    assert sorted(sold.values()) == [False, True]
    [seller] = [each for each in suppliers if sold[each]]
    report = tmp_path / "report.csv"
    without = write(tmp_path, seller, "2,Lid,4.10,", attribute="gtin")
    said = stack.mesh(*without, "--retire-missing", "--yes", "--report", str(report)).stdout
    assert f"1 products of {seller} are not in the file, and stay for sale" in said
    assert f"0,0,{seller}-1,left,,,OTHER_SUPPLIERS" in report.read_text()
    assert exported(stack, tmp_path / "rows.jsonl", seller)["1"]


def test_what_nobody_looked_at_takes_no_more_out_of_sale_than_a_small_share(
    stack: Stack, tmp_path: Path
) -> None:
    supplier, path = f"s{uuid4().hex[:8]}", tmp_path / "rows.jsonl"
    stack.mesh(*write(tmp_path, supplier, *(f"{n},Pot,3.50,red" for n in range(12))))
    cut_off = write(tmp_path, supplier, "0,Pot,3.50,red")
    for agreed in (["--yes"], ["--yes-up-to", "10"]):
        refused = stack.mesh(*cut_off, "--retire-missing", *agreed, check=False)
        assert refused.returncode == 1
        assert "it is 11 of 12 products" in " ".join((refused.stdout + refused.stderr).split())
    assert set(exported(stack, path, supplier).values()) == {True}
    said = stack.mesh(*cut_off, "--retire-missing", "--yes-up-to", "11").stdout
    assert "11 products were taken out of sale." in said


def test_only_what_a_suppliers_rows_made_is_exported_as_its_own_and_taken_out_of_sale(
    stack: Stack, tmp_path: Path
) -> None:
    supplier, path = f"s{uuid4().hex[:8]}", tmp_path / "rows.jsonl"
    shops = tmp_path / "shop.csv"
    shops.write_text(f"sku,name,price\n{supplier}-own,Lid,2.00\n")
    stack.mesh("import", str(shops))
    stack.mesh(*write(tmp_path, f"{supplier}-eu", "9,Other,1.00,"))
    stack.mesh(*write(tmp_path, supplier, "1,Pot,3.50,red", "2,Pan,4.10,"))
    said = stack.mesh("export", str(path), "--supplier", supplier).stdout
    assert "Left out, as no supplier's record has them: 1 " in said
    said = stack.mesh(*write(tmp_path, supplier, "1,Pot,3.50,red"), "--retire-missing", "--yes").stdout
    assert f"stay for sale: no supplier's record has them: {supplier}-own\n" in said
    assert "1 products were taken out of sale." in said
    assert exported(stack, path, supplier) == {"1": True, "2": False}
    assert exported(stack, path, f"{supplier}-eu") == {"9": True}
    everything = tmp_path / "all.jsonl"
    stack.mesh("export", str(everything))
    rows = [json.loads(line) for line in everything.read_text().splitlines()]
    assert [each["active"] for each in rows if each["sku"] == f"{supplier}-own"] == [True]


def test_an_export_replaces_files_alone_and_leaves_their_mode_to_the_umask(
    stack: Stack, tmp_path: Path
) -> None:
    kept, link, pipe = tmp_path / "kept", tmp_path / "link", tmp_path / "pipe"
    kept.write_text("kept")
    link.symlink_to(kept)
    os.mkfifo(pipe)
    for path in (link, pipe, tmp_path, tmp_path / "none" / "file"):
        refused = stack.mesh("export", str(path), check=False)
        assert refused.returncode == 1
        assert "Traceback" not in refused.stderr
    assert (link.is_symlink(), pipe.is_fifo(), kept.read_text()) == (True, True, "kept")
    before = os.umask(0o027)
    try:
        stack.mesh("export", str(kept), "--supplier", "nobody")
    finally:
        os.umask(before)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640
    assert sorted(each.name for each in tmp_path.iterdir()) == ["kept", "link", "pipe"]


def test_a_file_with_refused_rows_takes_nothing_out_of_sale(stack: Stack, tmp_path: Path) -> None:
    supplier = f"s{uuid4().hex[:8]}"
    stack.mesh(*write(tmp_path, supplier, "1,Pot,3.50,red", "2,Pan,4.10,"))
    torn = write(tmp_path, supplier, "1,Pot,3.50,red", "2,Pan,free,")
    refused = stack.mesh(*torn, "--retire-missing", "--yes", check=False)
    assert refused.returncode == 1
    assert "Nothing was taken out of sale" in refused.stdout + refused.stderr
    assert exported(stack, tmp_path / "rows.jsonl", supplier) == {"1": True, "2": True}


def test_matching_says_what_it_found_and_where_that_is_listed(stack: Stack, tmp_path: Path) -> None:
    code, suppliers = gtin(), [f"m{uuid4().hex[:8]}" for _ in range(2)]
    for supplier in suppliers:
        stack.mesh(*write(tmp_path, supplier, f"1,A kettle,5,{code}", attribute="ean"))
    said = stack.mesh("match", "--propose-only").stdout
    assert re.search(r"[1-9][0-9]* records looked at: 0 merged, [1-9][0-9]* proposed", said), said
    assert "`mesh matches list` shows what is proposed" in said
