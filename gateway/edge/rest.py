"""REST that keeps its word: what its callers say is done, or refused with the place where it is wrong.

A script before the transcoder judges the bodies of writes by the contract's fields, since the transcoder
drops what it does not know; takes the fields that stand in the body of a PATCH for its mask; reads the
headers of HTTP that mean a field of the request; and says of what was created that it was, and where it is.
Another one, nearest to the caller, answers reads that say HEAD or If-None-Match; no other read runs it.
"""

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor import Descriptor

from gateway.contract.model import Binding, Contract, Method
from gateway.contract.rest_checks import find_field
from gateway.edge.arrival import ARRIVAL_SECONDS, BODIES, body_bounds
from gateway.edge.created import created
from gateway.edge.extension import filter_config
from gateway.edge.json_fields import message_tables
from gateway.edge.lua import script
from gateway.proto_json import Json

REST, CONDITIONAL = "commerce.rest", "commerce.conditional"
# The headers of HTTP that mean something to a REST request.
REQUEST_HEADERS = frozenset({"idempotency-key", "if-match", "if-none-match"})
# Fields, elements of lists and entries of maps, of one body. An order of 100 lines has 303.
MOST_VALUES = 5000
# Of objects in one another. The contract's fields end long before, unless a message holds itself.
DEEPEST = 32
QUERY_SCRIPT = Path(__file__).with_name("query.lua")
# Compares what a caller has with what there is.
ETAGS_SCRIPT = Path(__file__).with_name("etags.lua")
_CONDITIONAL_SCRIPTS = (ETAGS_SCRIPT, Path(__file__).with_name("conditional.lua"))
_SCRIPTS = (
    *BODIES,
    QUERY_SCRIPT,
    Path(__file__).with_name("json_body.lua"),
    Path(__file__).with_suffix(".lua"),
)


def rest(contract: Contract) -> Json:
    """Return the filter of writes. It runs on routes with a setting of it only."""
    writes = [(method, binding) for method, binding in _bindings(contract) if binding.verb != "GET"]
    rules = {_key(binding): _rule(contract, method, binding) for method, binding in writes}
    messages = {body for method, binding in writes if (body := body_message(method, binding))}
    names = {
        **body_bounds(),
        "SECONDS": ARRIVAL_SECONDS,
        "MOST_VALUES": MOST_VALUES,
        "DEEPEST": DEEPEST,
        "MESSAGES": message_tables(sorted(messages, key=lambda message: str(message.full_name))),
        "RULES": rules,
    }
    return script(names, *_SCRIPTS, long_runs=True)


def conditional() -> Json:
    """Return the filter of reads that want no body, or not always; it too runs where a route has it set."""
    return script({}, *_CONDITIONAL_SCRIPTS)


def as_meant(binding: Binding) -> Json:
    """Return the setting of a route for whose requests a filter is to run."""
    if binding.verb == "GET":
        return {CONDITIONAL: filter_config("lua.v3.LuaPerRoute", filter_context={})}
    return {REST: filter_config("lua.v3.LuaPerRoute", filter_context={"rule": _key(binding)})}


def body_message(method: Method, binding: Binding) -> Descriptor | None:
    """Return the message that a REST body is, if the path takes one."""
    request = method.descriptor.input_type
    if binding.body in {"", "*"}:
        return request if binding.body else None
    field = find_field(request, binding.body)
    return None if field is None else field.message_type


def list_parameters(method: Method) -> list[str]:
    """Return the fields that may stand in a query more than once, without case and underscores."""
    return sorted(_plain(field.name) for field in method.descriptor.input_type.fields if field.is_repeated)


def path_parameters(binding: Binding) -> list[str]:
    """Return the fields that stand in a path, without case and underscores."""
    return sorted(_plain(path) for path in binding.path_fields)


def etag_field(method: Method, binding: Binding) -> str:
    """Return the path of the field that names the version to change; empty where there is none."""
    paths = ("etag", f"{binding.body}.etag") if binding.body not in {"", "*"} else ("etag",)
    request = method.descriptor.input_type
    return next((path for path in paths if find_field(request, path) is not None), "")


def headers_read(method: Method, binding: Binding) -> list[str]:
    """Return the headers of HTTP that mean something to the requests of a path."""
    if binding.verb == "GET":
        return ["If-None-Match"] if method.rules.cache.etag else []
    repeats = "request_id" in method.descriptor.input_type.fields_by_name
    return [
        *(["Idempotency-Key"] if repeats else []),
        *(["If-Match"] if etag_field(method, binding) else []),
    ]


def _bindings(contract: Contract) -> Iterator[tuple[Method, Binding]]:
    for method in contract.exposed:
        for binding in method.bindings:
            yield method, binding


def _key(binding: Binding) -> str:
    return f"{binding.verb} {binding.template}"


def _rule(contract: Contract, method: Method, binding: Binding) -> Json:
    rule: Json = {}
    if message := body_message(method, binding):
        rule["message"] = str(message.full_name)
        if binding.body != "*":
            rule["within"] = binding.body
        if binding.verb == "PATCH" and "update_mask" in method.descriptor.input_type.fields_by_name:
            rule |= _changes(contract, message, binding)
    if "request_id" in method.descriptor.input_type.fields_by_name:
        rule["request_id"] = "request_id"
    if etag := etag_field(method, binding):
        rule["etag"] = etag
    if made := created(contract, method, binding):
        rule["created"] = {"collection": made.collection, "field": made.field}
    return rule


def _changes(contract: Contract, message: Descriptor, binding: Binding) -> Json:
    """Tell apart, by name, what a PATCH may change, what is fixed, what the server sets; and what is bool."""
    named = {path.rpartition(".")[2] for path in binding.path_fields} | {"etag"}
    behaviors = {field: contract.behaviors(field) for field in message.fields if field.name not in named}
    owned = {field.name: field.json_name for field, said in behaviors.items() if "OUTPUT_ONLY" in said}
    fixed = {field.name: field.json_name for field, said in behaviors.items() if "IMMUTABLE" in said}
    changeable = [field.name for field in behaviors if field.name not in {**owned, **fixed}]
    flags = {
        field.name: field.json_name
        for field in behaviors
        if field.type == field.TYPE_BOOL and field.name in changeable
    }
    return {"changeable": changeable, "owned": owned, "fixed": fixed, "flags": flags}


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
