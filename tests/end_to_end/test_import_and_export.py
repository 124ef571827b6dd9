"""`mesh import` and `mesh export` on a running mesh: what one writes, the other reads and changes nothing."""

import json
from pathlib import Path
from uuid import uuid4

from tests.support.stack import Stack

_MAPPING = """
supplier = "{supplier}"
currency = "EUR"
[fields]
sku = "Art"
name = "Name"
price = "Price"
[attributes]
colour = "Colour"
"""


def write(folder: Path, supplier: str, *rows: str) -> tuple[str, ...]:
    """Write a supplier's file, and return how it is imported."""
    mapping, file = folder / "mapping.toml", folder / "rows.csv"
    mapping.write_text(_MAPPING.format(supplier=supplier))
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


def test_a_file_with_refused_rows_takes_nothing_out_of_sale(stack: Stack, tmp_path: Path) -> None:
    supplier = f"s{uuid4().hex[:8]}"
    stack.mesh(*write(tmp_path, supplier, "1,Pot,3.50,red", "2,Pan,4.10,"))
    torn = write(tmp_path, supplier, "1,Pot,3.50,red", "2,Pan,free,")
    refused = stack.mesh(*torn, "--retire-missing", "--yes", check=False)
    assert refused.returncode == 1
    assert "Nothing was taken out of sale" in refused.stdout + refused.stderr
    assert exported(stack, tmp_path / "rows.jsonl", supplier) == {"1": True, "2": True}
