"""The rooms' rules speak of files by name; here is that no file is forgotten."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_LINES = 400


def _listed(kind: str) -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return [
        module
        for contract in settings["contracts"]
        for module in contract.get("source_modules", ())
        if module.rpartition(".")[2].startswith(kind)
    ]


@pytest.mark.parametrize("kind", ["domain", "store"])
def test_import_rules_name_every_domain_and_store(kind: str) -> None:
    modules = [f"services.{path.parent.name}.{path.stem}" for path in ROOT.glob(f"services/*/{kind}*.py")]
    forgotten = [
        module for module in modules if not any(fnmatch(module, pattern) for pattern in _listed(kind))
    ]
    assert modules
    assert forgotten == []


def test_no_file_of_services_or_gateway_passes_400_lines() -> None:
    files = [path for room in ("services", "gateway") for path in (ROOT / room).rglob("*.py")]
    assert files
    assert [path for path in files if len(path.read_text().splitlines()) > MAX_LINES] == []
