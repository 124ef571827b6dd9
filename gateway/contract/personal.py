"""What the compiler refuses of fields that tell of a person (commerce.policy.v1.personal)."""

from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.model import Contract, Method
from gateway.contract.rest_checks import find_field
from gateway.contract.source import SourceLine

# Where a service's events stand, by the contract's order.
_EVENTS = "/events.proto"


def personal_faults(contract: Contract) -> Iterator[tuple[SourceLine, str]]:
    """Yield what is wrong with each personal field, and each event that holds one."""
    for message in contract.messages:
        for field in message.fields:
            if contract.is_personal(field):
                for text in _field_faults(field):
                    yield contract.sources.place(str(field.full_name)), f"{field.full_name} {text}"
        if message.file.name.endswith(_EVENTS) and (held := _personal_in(contract, message, frozenset())):
            told = f"{message.full_name} is an event and holds {held.full_name}, which is personal"
            yield (
                contract.sources.place(str(message.full_name)),
                f"{told}: a log cannot forget; name the person by an id",
            )


def personal_method_faults(contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a method whose request or answer holds personal fields."""
    scope = method.rules.scoped.personal
    if scope and scope not in frozenset[str]().union(*(role.scopes for role in contract.roles)):
        yield "scoped", f"has personal {scope}, which no role grants: add it to a role, or correct it"
    held = _personal_in(contract, method.descriptor.output_type, frozenset())
    if method.access == "scoped" and held and not scope:
        yield (
            "scoped",
            f"answers with {held.full_name}, which is personal: name the scope that sees others', `personal`",
        )
    if scope and not held:
        yield "scoped", "names who sees personal fields and answers with none: remove `personal`"
    for binding in method.bindings:
        for path in binding.path_fields:
            field = find_field(method.descriptor.input_type, path)
            if field is not None and contract.is_personal(field):
                yield "", f"has {{{path}}} in its path, which is personal and would stand in logs: move it"


def _field_faults(field: FieldDescriptor) -> Iterator[str]:
    if field.type != FieldDescriptor.TYPE_STRING:
        yield "is personal and no text: mark the texts in it instead"
    if not field.GetOptions().debug_redact:
        yield "is personal and shown wherever its message is printed: set `debug_redact = true`"


def _personal_in(contract: Contract, message: Descriptor, seen: frozenset[str]) -> FieldDescriptor | None:
    """Return the first personal field of a message, also in the messages within it."""
    for field in message.fields:
        if contract.is_personal(field):
            return field
        inner = field.message_type
        if inner is not None and inner.full_name not in seen:
            found = _personal_in(contract, inner, seen | {str(message.full_name)})
            if found is not None:
                return found
    return None
