"""Which message types our errors carry, read from the code that builds them, and where."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.contract import Contract
from gateway.protoc import ROOT
from gateway.source import Place

# The one place where errors get their details.
STATUS = ROOT / "services" / "status.py"


@dataclass(frozen=True)
class DetailType:
    """A message type named in our code: its proto file, its name in there, and where it is named."""

    proto: str
    name: str
    place: Place


def detail_types(module: Path) -> Iterator[DetailType]:
    """Yield every message type that a Python module names from a `*_pb2` module, line by line."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    aliases = dict(_aliases(tree))
    shown = f"{module.parent.name}/{module.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            if not node.attr.isupper():
                yield DetailType(aliases[node.value.id], node.attr, Place(shown, node.lineno))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").endswith("_pb2"):
            for name in node.names:
                yield DetailType(_proto(node.module or ""), name.name, Place(shown, node.lineno))


def is_described(contract: Contract, detail: DetailType) -> bool:
    """Tell whether the descriptor set knows a type; without it the edge answers an empty body."""
    try:
        file = contract.pool.FindFileByName(detail.proto)
    except KeyError:
        return False
    return detail.name in file.message_types_by_name or detail.name in file.enum_types_by_name


def _aliases(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for name in node.names:
                if name.name.endswith("_pb2"):
                    yield name.asname or name.name, _proto(f"{node.module}.{name.name}")


def _proto(module: str) -> str:
    return module.removesuffix("_pb2").replace(".", "/") + ".proto"
