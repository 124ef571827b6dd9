"""Finding a method of the compiled contract by what a person calls it: its name, or its path in REST."""

import difflib
import re
from functools import cache
from pathlib import Path

from gateway.contract.model import Binding, Contract, Method
from gateway.contract.protoc import PROTOS, ROOT

IMAGE = ROOT / "generated" / "commerce.binpb"
_SUGGESTIONS = 5
_REST = re.compile(r"(?:(?P<verb>[A-Za-z]+)\s+)?(?P<path>/[^?]*)(?:\?.*)?")
_VARIABLE = re.compile(r"{[^}]*}")


class MethodNotFound(LookupError):
    """No method has this name, or several have; the message names those."""


@cache
def read_contract(image: Path = IMAGE, protos: Path = PROTOS) -> Contract:
    """Read a compiled contract.

    Args:
        image: The descriptor set.
        protos: Its files, for exact lines.
    """
    return Contract(image.read_bytes(), protos)


def find_method(contract: Contract, name: str) -> Method:
    """Return the method that a full or short name means, or a path in REST, as a template or as called.

    Args:
        contract: Where to look.
        name: `commerce.order.v1.OrderService/PlaceOrder`, `OrderService.PlaceOrder`, `PlaceOrder`,
            `GET /v1/orders/{order_id}` or `/v1/orders/0190e0c4-5f3e-7a51-9d7e-0a1b2c3d4e5f`.

    Raises:
        MethodNotFound: no method has this name, or several have.
    """
    wanted = name.strip().lstrip("/").replace("/", ".").lower()
    found = [
        method
        for method in contract.methods
        if f".{method.name.replace('/', '.')}".lower().endswith(f".{wanted}")
    ]
    rest = None if found else _REST.fullmatch(name.strip())
    if rest:
        found = _at_path(contract, (rest["verb"] or "").upper(), rest["path"])
    if len(found) == 1:
        return found[0]
    if found:
        raise MethodNotFound(f"{name} may be any of: {', '.join(method.name for method in found)}")
    near = _near_paths(contract, rest["path"]) if rest else _near(contract, wanted)
    raise MethodNotFound(f"there is no method {name}; near it: {', '.join(near)}")


def _at_path(contract: Contract, verb: str, path: str) -> list[Method]:
    """Return the methods at a path; one whose template says it letter by letter goes before the others."""
    found = [
        (len(binding.path_fields), method)
        for method in contract.exposed
        for binding in method.bindings
        if verb in ("", binding.verb) and _is_at(binding, path)
    ]
    fewest = min((count for count, _ in found), default=0)
    return [method for count, method in found if count == fewest]


def _is_at(binding: Binding, path: str) -> bool:
    pieces = _VARIABLE.split(binding.template)
    return bool(re.fullmatch("[^/:]+".join(map(re.escape, pieces)), path))


def _near(contract: Contract, wanted: str) -> list[str]:
    last = wanted.rpartition(".")[2]
    names = {method.descriptor.name.lower(): method.name for method in contract.methods}
    near = difflib.get_close_matches(last, names, n=_SUGGESTIONS, cutoff=0.4)
    return [names[name] for name in near] or sorted(names.values())[:_SUGGESTIONS]


def _near_paths(contract: Contract, path: str) -> list[str]:
    paths = [
        f"{binding.verb} {binding.template}" for method in contract.exposed for binding in method.bindings
    ]
    return difflib.get_close_matches(path, paths, n=_SUGGESTIONS, cutoff=0.0)
