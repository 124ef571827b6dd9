"""Why methods refuse calls: the contract's catalogue of reasons, and which of them each method may give."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf.descriptor import EnumValueDescriptor
from google.rpc import code_pb2

from gateway.contract.model import Contract, Method, enum_name
from gateway.contract.source import SourceLine

_REASON, _RULE = "commerce.policy.v1.Reason", "commerce.policy.v1.reason"
_PREFIX, _UNSPECIFIED = "REASON_", "REASON_UNSPECIFIED"
_KIND_PREFIX = "GIVEN_BY_"


@dataclass(frozen=True)
class Reason:
    """A reason of the catalogue."""

    # As in ErrorInfo.reason: OUT_OF_STOCK
    name: str
    # The name of the gRPC code that it comes with.
    code: str
    when: str
    help: str
    # The kind of methods that give it without naming it; "": those that name it.
    kind: str
    place: SourceLine


def _has_field(name: str) -> Callable[[Method], bool]:
    return lambda method: name in method.descriptor.input_type.fields_by_name


def _may_name_a_version(method: Method) -> bool:
    return _has_field("etag")(method) or _has_field("update_mask")(method)


_IS_OF_KIND: dict[str, Callable[[Method], bool]] = {
    "EVERYWHERE": lambda _: True,
    "EXPOSED": lambda method: method.exposed,
    "SCOPED": lambda method: method.access == "scoped",
    "INTERNAL": lambda method: method.access == "internal",
    "STREAMS": lambda method: method.streams,
    "PAGES": _has_field("page_token"),
    "ETAGS": _may_name_a_version,
    "REQUEST_IDS": _has_field("request_id"),
    "WRITES": lambda method: not method.reads,
    # The app refuses whole queries before a method is called.
    "GRAPHQL": lambda _: False,
}


@cache
def catalogue(contract: Contract) -> tuple[Reason, ...]:
    """Return the reasons of a contract, as numbered; none, where it has no catalogue."""
    try:
        enum = contract.pool.FindEnumTypeByName(_REASON)
    except KeyError:
        return ()
    return tuple(
        _read(contract, value)
        for value in enum.values
        if value.name != _UNSPECIFIED and contract.option(value, "EnumValueOptions", _RULE) is not None
    )


def own_reasons(contract: Contract, method: Method) -> list[Reason]:
    """Return the reasons that a method names, as it names them."""
    known = {reason.name: reason for reason in catalogue(contract)}
    return [known[name] for name in named(method) if name in known]


def shared_reasons(contract: Contract, method: Method) -> list[Reason]:
    """Return the reasons that a method gives as all of its kind do."""
    return [reason for reason in catalogue(contract) if _is_shared(reason, method)]


def named(method: Method) -> list[str]:
    """Return the names that stand in a method's policy."""
    enum: Any = method.rules.DESCRIPTOR.fields_by_name["reasons"].enum_type
    return [enum.values_by_number[number].name.removeprefix(_PREFIX) for number in method.rules.reasons]


def methods_of(contract: Contract, reason: Reason) -> list[Method]:
    """Return the methods that may give a reason."""
    return [m for m in contract.methods if _is_shared(reason, m) or reason.name in named(m)]


def catalogue_faults(contract: Contract) -> Iterator[tuple[SourceLine, str]]:
    """Yield what is wrong with the catalogue."""
    try:
        enum = contract.pool.FindEnumTypeByName(_REASON)
    except KeyError:
        return
    known = {reason.name: reason for reason in catalogue(contract)}
    for value in enum.values:
        name = value.name.removeprefix(_PREFIX)
        place = contract.sources.place(f"{_REASON}.{value.name}")
        reason = known.get(name)
        if value.name == _UNSPECIFIED:
            continue
        if reason is None or not (reason.when and reason.help) or reason.code == "OK":
            yield place, f"{name} does not say all: set `code`, `when` and `help`"


def method_faults(contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the reasons that a method names: the key of its policy, and the fault."""
    names = named(method)
    shared = {reason.name for reason in shared_reasons(contract, method)}
    for name in names:
        if f"{_PREFIX}{name}" == _UNSPECIFIED:
            yield "reasons", "names no reason: replace REASON_UNSPECIFIED"
        elif name in shared:
            yield "reasons", f"names {name}, which all methods of its kind give: remove it"
        elif names.count(name) > 1:
            yield "reasons", f"names {name} more than once"


def _is_shared(reason: Reason, method: Method) -> bool:
    return reason.kind != "" and _IS_OF_KIND[reason.kind](method)


def _read(contract: Contract, value: EnumValueDescriptor) -> Reason:
    rule = contract.option(value, "EnumValueOptions", _RULE)
    kind = enum_name(rule, "given_by").removeprefix(_KIND_PREFIX)
    return Reason(
        name=value.name.removeprefix(_PREFIX),
        code=code_pb2.Code.Name(rule.code),
        when=rule.when,
        help=rule.help,
        kind="" if kind == "UNSPECIFIED" else kind,
        place=contract.sources.place(f"{_REASON}.{value.name}"),
    )
