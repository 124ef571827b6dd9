"""Names of fields in texts: comments of the contract spell them as protobuf does, and REST as JSON does."""

import re
from typing import Any

from google.protobuf.descriptor import Descriptor

from gateway.contract.model import Contract

# A word with an underscore, but no part of a scope, a path or a reason, and no value, which stands in quotes.
_NAME = re.compile(r"(?<![\w./\"-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w/-])")
_TEXTS = frozenset({"description", "summary"})


def in_json_names(document: Any, contract: Contract) -> Any:
    """Return the document with each field that a text names as JSON spells it."""
    names = _json_names(contract)

    def written(node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            return {name: written(each, name) for name, each in node.items()}
        if isinstance(node, list):
            return [written(each) for each in node]
        if key in _TEXTS and isinstance(node, str):
            return _NAME.sub(lambda match: names.get(match[0], match[0]), node)
        return node

    return written(document)


def _json_names(contract: Contract) -> dict[str, str]:
    found: dict[str, str] = {}
    seen: set[str] = set()
    for method in contract.exposed:
        for message in (method.descriptor.input_type, method.descriptor.output_type):
            _gather(message, found, seen)
    return found


def _gather(message: Descriptor, found: dict[str, str], seen: set[str]) -> None:
    if message.full_name in seen:
        return
    seen.add(str(message.full_name))
    for field in message.fields:
        found[str(field.name)] = str(field.json_name)
        if field.message_type is not None:
            _gather(field.message_type, found, seen)
