"""The OpenAPI document, as those who did not write it take it: linters, and clients that are made from it."""

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.generate import GENERATED
from tests.clients.tools import HERE, run
from tests.support.stack import Stack

pytestmark = pytest.mark.clients

DOCUMENT = GENERATED / "openapi.json"
FOLDER = HERE / "openapi"
SEEN = {
    "email": True,
    "placed": "ORDER_STATE_PENDING",
    "listed": True,
    "missing": "ORDER_NOT_FOUND",
}


def test_spectral_and_redocly_report_nothing(npm_tools: Path) -> None:
    spectral = (npm_tools / "spectral", "lint", "--fail-severity", "hint", "--ruleset", "spectral.yaml")
    assert "No results" in run(spectral, DOCUMENT, folder=FOLDER)
    redocly = (npm_tools / "redocly", "lint", "--extends", "recommended-strict", "--format", "json")
    found = json.loads(run(redocly, DOCUMENT, folder=FOLDER))
    assert found["totals"] == {"errors": 0, "warnings": 0, "ignored": 0}


@pytest.mark.stack
def test_a_typed_client_of_typescript_shops(stack: Stack, npm_tools: Path, tmp_path: Path) -> None:
    for name in ("shop.ts", "tsconfig.json", "package.json"):
        (tmp_path / name).write_bytes((FOLDER / name).read_bytes())
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    run((npm_tools / "openapi-typescript", DOCUMENT), "--output", tmp_path / "api.ts", folder=FOLDER)
    run((npm_tools / "tsc", "--project", "."), folder=tmp_path)
    _check(run(("node", "out/shop.js"), stack.rest_url, folder=tmp_path))


@pytest.mark.stack
def test_a_generated_client_of_python_shops(stack: Stack, python_tools: Path, tmp_path: Path) -> None:
    generate = (python_tools / "openapi-python-client", "generate", "--path", DOCUMENT)
    settings = ("--meta", "none", "--config", FOLDER / "generator.yaml", "--fail-on-warning")
    run(generate, "--output-path", tmp_path / "shop_client", *settings, folder=FOLDER)
    (tmp_path / "shop.py").write_bytes((FOLDER / "shop.py").read_bytes())
    seen = _check(run((python_tools / "python", "shop.py"), stack.rest_url, folder=tmp_path))
    assert seen["typed"]


def _check(printed: str) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(printed)
    assert seen.items() >= SEEN.items()
    # It may have been paid for in between.
    assert seen["cancelled"] in {"ORDER_STATE_CANCELLING", "ORDER_STATE_CANCELLED"}
    return seen
