"""What the compiler refuses in REST paths (google.api.http)."""

import re
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.model import Binding, Contract, Method
from gateway.contract.source import SourceLine

_VERBS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_WITHOUT_BODY = frozenset({"GET", "DELETE"})


def binding_faults(method: Method) -> Iterator[tuple[SourceLine, str]]:
    """Yield what is wrong with the REST paths of one method."""
    for binding in method.bindings:
        for message in _faults(method, binding):
            yield method.http_place, message


def duplicate_paths(contract: Contract) -> Iterator[tuple[SourceLine, str]]:
    """Yield each path that two methods claim for one verb."""
    owners: dict[tuple[str, str], Method] = {}
    for method in contract.methods:
        for binding in method.bindings:
            key = binding.verb, re.sub(r"{[^}]*}", "{}", binding.template)
            owner = owners.setdefault(key, method)
            if owner is not method:
                claim = f"{method.name} has {binding.verb} {binding.template}"
                message = f"{claim}, which {owner.name} has already: give it a path of its own"
                yield method.http_place, message


def find_field(message: Descriptor, path: str) -> FieldDescriptor | None:
    """Return the field at a dotted path below a message, or None."""
    field: FieldDescriptor | None = None
    current: Descriptor | None = message
    for name in path.split("."):
        field = current.fields_by_name.get(name) if current is not None else None
        if field is None:
            return None
        current = field.message_type
    return field


def _faults(method: Method, binding: Binding) -> Iterator[str]:
    if binding.verb not in _VERBS:
        yield f"has the verb {binding.verb or 'nothing'}: use one of {', '.join(sorted(_VERBS))}"
    if not binding.template.startswith(("/v1/", "/.well-known/")):
        yield f"has the path {binding.template}: begin it with /v1/"
    if binding.body and binding.verb in _WITHOUT_BODY:
        yield f"has a body on {binding.verb}: remove `body`"
    if binding.verb == "GET" and not method.reads:
        yield "is read by GET: set `idempotency_level = NO_SIDE_EFFECTS`, or use another verb"
    if method.streams:
        yield "streams, and an error in mid-stream is lost over REST: remove its google.api.http option"
    if method.http is not None and method.http.response_body:
        yield "names a response_body: remove it and let the response be the whole message"
    request = method.descriptor.input_type
    if binding.body not in {"", "*"} and find_field(request, binding.body) is None:
        yield f'has the body `{binding.body}`, which {request.full_name} does not have: name a field, or "*"'
    for path in binding.path_fields:
        if find_field(request, path) is None:
            yield f"has {{{path}}} in its path, no field of {request.full_name}: name one of its fields"
