"""The contract's rules of each method, as the process uses them. Nothing here is a rule of its own."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType

import commerce
from commerce.policy.v1 import policy_pb2, reason_pb2
from commerce.user.v1 import role_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.duration_pb2 import Duration


class Access(StrEnum):
    """Who may call (commerce.policy.v1.Policy.access)."""

    PUBLIC = "public"
    SCOPED = "scoped"
    INTERNAL = "internal"


@dataclass(frozen=True)
class HoldLimit:
    """So much at most may be held for one person at once."""

    reservations: int
    units: int
    # Where the product's own stock says nothing else.
    units_of_product: int


@dataclass(frozen=True)
class StreamRule:
    """How many streams of a method may be open in this process, and how long one waits for its caller."""

    per_caller: int
    total: int
    idle_seconds: float


@dataclass(frozen=True)
class MethodPolicy:
    """The effective rules of one method."""

    # "/commerce.order.v1.OrderService/PlaceOrder"
    method: str
    access: Access
    # Any one of these suffices (access scoped).
    scopes: frozenset[str]
    # No token of an OAuth client does (access scoped).
    own_session: bool
    # Who carries this scope may act on everyone's resources.
    any_owner: str | None
    # Who carries this scope gets others' personal fields as they are; else they are masked.
    personal: str | None
    # An access token beside the request is not looked at (access public).
    ignores_token: bool
    # Last segments of the callers' SPIFFE ids (access internal).
    services: frozenset[str]
    deadline_seconds: float | None
    # Answers may be kept for a time.
    is_cached: bool
    # Answers carry an etag, by which the caller need not take the same one again.
    sends_etag: bool
    max_request_bytes: int
    # Whether the edge has a route to it.
    exposed: bool
    # Attempts in all, the first included; 1: none is repeated.
    max_attempts: int
    client_streaming: bool
    server_streaming: bool
    holds: HoldLimit | None
    # Set where either side streams.
    streams: StreamRule | None
    # How many seconds ago the caller's session may have logged in; None: any.
    step_up_seconds: float | None
    # The method itself knows for which requests.
    steps_up_on_demand: bool
    # Why it may refuse a call (ErrorInfo.reason): its own, and those that any method of a kind may give.
    reasons: frozenset[str]


@cache
def policies() -> Mapping[str, MethodPolicy]:
    """Return the rules of every method of every commerce.* service, by full method path."""
    found = {}
    for file in _contract_files():
        for service in file.services_by_name.values():
            for method in service.methods:
                policy = _read(method)
                found[policy.method] = policy
    return MappingProxyType(found)


def policy_of(method: str) -> MethodPolicy:
    """Return the rules of "/package.Service/Method".

    Raises:
        KeyError: the contract has no such method.

    """
    return policies()[method]


@cache
def contract_scopes() -> frozenset[str]:
    """Return every scope that a method of the contract asks for, of callers or for what is others'."""
    named = ({*each.scopes, each.any_owner, each.personal} for each in policies().values())
    return frozenset(scope for scopes in named for scope in scopes if scope)


@cache
def scopes_of_role(role: int) -> frozenset[str]:
    """Return the scopes that a value of commerce.user.v1.Role carries."""
    value = role_pb2.Role.DESCRIPTOR.values_by_number[role]
    # protoc types an extension as a FieldDescriptor, types-protobuf wants its own class.
    grant: policy_pb2.RoleGrant = value.GetOptions().Extensions[policy_pb2.grant]  # type: ignore[index, unused-ignore]
    return frozenset(grant.scopes)


def _contract_files() -> Iterator[FileDescriptor]:
    for root in map(Path, commerce.__path__):
        for path in sorted(root.rglob("*_pb2.py")):
            name = ".".join(("commerce", *path.relative_to(root).with_suffix("").parts))
            yield importlib.import_module(name).DESCRIPTOR


def _read(method: MethodDescriptor) -> MethodPolicy:
    rules: policy_pb2.Policy = method.GetOptions().Extensions[policy_pb2.policy]  # type: ignore[index, unused-ignore]
    return MethodPolicy(
        method=f"/{method.containing_service.full_name}/{method.name}",
        access=Access(rules.WhichOneof("access")),
        scopes=frozenset(rules.scoped.any_of),
        own_session=rules.scoped.own_session or (rules.HasField("step_up") and not rules.step_up.on_demand),
        any_owner=rules.scoped.any_owner or None,
        personal=rules.scoped.personal or None,
        ignores_token=rules.public.ignores_token,
        services=frozenset(rules.internal.services),
        deadline_seconds=_seconds(rules.deadline) if rules.HasField("deadline") else None,
        is_cached=rules.HasField("cache"),
        sends_etag=rules.cache.etag,
        max_request_bytes=rules.max_request_bytes,
        exposed=rules.edge == policy_pb2.EDGE_EXPOSURE_EXPOSED,
        max_attempts=max(1, rules.max_attempts),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
        holds=_hold_limit(rules),
        streams=_stream_rule(rules),
        step_up_seconds=_seconds(rules.step_up.max_age) if rules.HasField("step_up") else None,
        steps_up_on_demand=rules.step_up.on_demand,
        reasons=shared_reasons().union(map(_reason_name, rules.reasons)),
    )


@cache
def shared_reasons() -> frozenset[str]:
    """Return the reasons that a method of some kind gives without naming them."""
    values = reason_pb2.Reason.DESCRIPTOR.values
    shared = (
        value.number
        for value in values
        if value.GetOptions().Extensions[reason_pb2.reason].given_by  # type: ignore[index, unused-ignore]
    )
    return frozenset(map(_reason_name, shared))


def _reason_name(number: int) -> str:
    return reason_pb2.Reason.Name(number).removeprefix("REASON_")


def _hold_limit(rules: policy_pb2.Policy) -> HoldLimit | None:
    if not rules.HasField("holds"):
        return None
    limit = rules.holds
    return HoldLimit(limit.reservations, limit.units, limit.units_of_product)


def _stream_rule(rules: policy_pb2.Policy) -> StreamRule | None:
    if not rules.HasField("streams"):
        return None
    limit = rules.streams
    return StreamRule(limit.per_caller, limit.total, _seconds(limit.idle))


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
