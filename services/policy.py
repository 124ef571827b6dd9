"""The contract's rules of each method, as the process uses them. Nothing here is a rule of its own."""

import importlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from types import MappingProxyType

import commerce
from commerce.policy.v1 import policy_pb2
from commerce.user.v1 import role_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import MethodOptions
from google.protobuf.duration_pb2 import Duration


class Access(StrEnum):
    """Who may call (commerce.policy.v1.Policy.access)."""

    PUBLIC = "public"
    SCOPED = "scoped"
    INTERNAL = "internal"


@dataclass(frozen=True)
class RateLimit:
    """So many requests in each period, for each subject or client address."""

    requests: int
    per_seconds: float


@dataclass(frozen=True)
class CacheRule:
    """Whether the caller may keep an answer."""

    max_age_seconds: float
    etag: bool
    private: bool


@dataclass(frozen=True)
class MethodPolicy:
    """The effective rules of one method."""

    # "/commerce.order.v1.OrderService/PlaceOrder"
    method: str
    access: Access
    # Any one of these suffices (access scoped).
    scopes: frozenset[str]
    # Who carries this scope may act on everyone's resources.
    any_owner: str | None
    # Last segments of the callers' SPIFFE ids (access internal).
    services: frozenset[str]
    deadline_seconds: float | None
    rate_limit: RateLimit | None
    cache: CacheRule | None
    max_request_bytes: int
    # Whether the edge has a route to it.
    exposed: bool
    # Attempts in all, the first included; 1: none is repeated.
    max_attempts: int
    # By idempotency_level or by a required request_id in the request.
    repeatable: bool
    client_streaming: bool
    server_streaming: bool


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
        any_owner=rules.scoped.any_owner or None,
        services=frozenset(rules.internal.services),
        deadline_seconds=_seconds(rules.deadline) if rules.HasField("deadline") else None,
        rate_limit=_rate_limit(rules),
        cache=_cache_rule(rules),
        max_request_bytes=rules.max_request_bytes,
        exposed=rules.edge == policy_pb2.EDGE_EXPOSURE_EXPOSED,
        max_attempts=max(1, rules.max_attempts),
        repeatable=_is_repeatable(method),
        client_streaming=method.client_streaming,
        server_streaming=method.server_streaming,
    )


def _rate_limit(rules: policy_pb2.Policy) -> RateLimit | None:
    if not rules.HasField("rate_limit"):
        return None
    return RateLimit(rules.rate_limit.requests, _seconds(rules.rate_limit.per))


def _cache_rule(rules: policy_pb2.Policy) -> CacheRule | None:
    if not rules.HasField("cache"):
        return None
    return CacheRule(_seconds(rules.cache.max_age), rules.cache.etag, rules.cache.private)


def _is_repeatable(method: MethodDescriptor) -> bool:
    if method.GetOptions().idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN:
        return True
    # One that may be left out leaves a call that must not be repeated.
    request_id = method.input_type.fields_by_name.get("request_id")
    if request_id is None:
        return False
    return (
        field_behavior_pb2.REQUIRED in request_id.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    )


def _seconds(duration: Duration) -> float:
    return duration.seconds + duration.nanos / 1e9
