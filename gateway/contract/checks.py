"""What the compiler refuses: each fault with its line of the contract and what to do about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gateway.contract.model import Contract, Method, enum_name, seconds
from gateway.contract.personal import personal_faults, personal_method_faults
from gateway.contract.reasons import catalogue_faults, method_faults, named
from gateway.contract.rest_checks import binding_faults, duplicate_paths
from gateway.contract.source import SourceLine
from services.roster import FROM_OUTSIDE, NAMES, OTHER_CALLERS

# Last segments of the SPIFFE ids that a method may name.
PEERS = frozenset({*NAMES, *OTHER_CALLERS, *FROM_OUTSIDE})
# gRPC clients treat a larger maxAttempts as 5 (gRFC A6).
MOST_ATTEMPTS = 5
_REPEATABLE = "set `idempotency_level`, give the request a required `request_id`, or remove `max_attempts`"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with the contract."""

    place: SourceLine
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}"


def find_faults(contract: Contract) -> list[Fault]:
    """Return everything wrong with a contract, in the order of its files."""
    faults = [fault for method in contract.methods for fault in _method_faults(contract, method)]
    faults += [Fault(*found) for found in duplicate_paths(contract)]
    faults += [Fault(*found) for found in personal_faults(contract)]
    faults += _role_faults(contract)
    faults += [Fault(*found) for found in catalogue_faults(contract)]
    return sorted(set(faults), key=lambda fault: (fault.place.file, fault.place.line, fault.message))


def _method_faults(contract: Contract, method: Method) -> Iterator[Fault]:
    if method.policy is None:
        yield Fault(
            method.place(),
            f"{method.name} has no policy: add `option (commerce.policy.v1.policy) = {{…}};` to it",
        )
        return
    checks: tuple[Callable[[Contract, Method], Iterator[tuple[str, str]]], ...] = (
        _incomplete,
        _misplaced_access,
        _ungranted,
        _bad_retry,
        _bad_cache,
        _bad_holds,
        _bad_streams,
        personal_method_faults,
        _bad_step_up,
        _bad_own_session,
        method_faults,
    )
    for check in checks:
        for key, message in check(contract, method):
            yield Fault(method.place(key), f"{method.name} {message}")
    for place, message in binding_faults(method):
        yield Fault(place, f"{method.name} {message}")


def _incomplete(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    rules = method.rules
    if not method.access:
        yield "", "says nothing of who may call: set `public`, `scoped` or `internal`"
    if method.deadline_seconds is None and not method.streams:
        yield "", "has no deadline: set `deadline`, as every unary method must"
    if method.deadline_seconds is not None and method.deadline_seconds <= 0:
        yield "deadline", "has no time to answer: set a `deadline` above 0"
    if rules.max_request_bytes == 0:
        yield "", "does not limit its requests: set `max_request_bytes`"
    if enum_name(rules, "edge") == "EDGE_EXPOSURE_UNSPECIFIED":
        yield "edge", "does not say whether the edge shows it: set `edge` to EXPOSED or HIDDEN"
    if method.exposed and not rules.HasField("rate_limit"):
        yield "", "is exposed without a limit: set `rate_limit`"
    if rules.HasField("rate_limit") and (
        rules.rate_limit.requests == 0 or seconds(rules.rate_limit.per) <= 0
    ):
        yield "rate_limit", "has a rate limit that lets nothing through: set `requests` and `per` above 0"


def _misplaced_access(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    if method.access == "internal":
        if method.exposed:
            yield "edge", "is internal and exposed: set `edge` to HIDDEN, or give it another access"
        unknown = sorted(set(method.rules.internal.services) - PEERS)
        if unknown:
            yield "internal", f"lets in {', '.join(unknown)}, who are not among {', '.join(sorted(PEERS))}"
        if not method.rules.internal.services:
            yield "internal", "lets no service in: name its callers in `internal.services`"
    if method.access == "scoped" and not method.rules.scoped.any_of:
        yield "scoped", "asks for no scope: name one in `scoped.any_of`, or make it `public`"
    if method.http is not None and not method.exposed:
        kind = "internal" if method.access == "internal" else "hidden"
        yield "", f"is {kind} and has a REST path: remove its google.api.http option, or expose it"


def _ungranted(contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    if method.access != "scoped":
        return
    granted = frozenset[str]().union(*(role.scopes for role in contract.roles))
    for scope in method.rules.scoped.any_of:
        if scope not in granted:
            yield (
                "scoped",
                f"asks for scope {scope}, which no role grants: add it to a role, or correct it",
            )
    owner = method.rules.scoped.any_owner
    if owner and owner not in granted:
        yield "scoped", f"has any_owner {owner}, which no role grants: add it to a role, or correct it"


def _bad_retry(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    if method.attempts == 1:
        return
    if not method.repeatable:
        yield "max_attempts", f"is retried but may not be repeated: {_REPEATABLE}"
    if method.streams:
        yield "max_attempts", "is retried but streams: remove `max_attempts`, its caller resumes it"
    if method.attempts > MOST_ATTEMPTS:
        yield (
            "max_attempts",
            f"has more attempts than gRPC makes: set `max_attempts` to {MOST_ATTEMPTS} or less",
        )


def _bad_cache(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    if not method.rules.HasField("cache"):
        return
    cache = method.rules.cache
    if not method.reads:
        yield "cache", "lets answers be kept but has effects: set NO_SIDE_EFFECTS, or remove `cache`"
    if method.access != "public" and not cache.private:
        yield "cache", "lets shared caches keep answers meant for one caller: set `cache.private`"
    if cache.etag and "etag" not in method.descriptor.output_type.fields_by_name:
        yield (
            "cache",
            "sends the ETag of a response without an `etag` field: add the field, or remove `cache.etag`",
        )


def _bad_holds(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    if not method.rules.HasField("holds"):
        return
    limit = method.rules.holds
    if 0 in {limit.reservations, limit.units, limit.units_of_product}:
        text = "set `reservations`, `units` and `units_of_product` above 0"
        yield "holds", f"has a bound that lets nobody hold anything: {text}"
    if "holder_id" not in method.descriptor.input_type.fields_by_name:
        yield "holds", "bounds what a person holds without knowing whom: give the request a `holder_id`"


def _bad_step_up(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    if not method.rules.HasField("step_up"):
        return
    if method.access != "scoped":
        yield "step_up", "wants a recent log-in of whom it does not know: make it `scoped`"
    if seconds(method.rules.step_up.max_age) <= 0:
        yield "step_up", "wants a log-in that nobody has: set `step_up.max_age` above 0"
    if "STEP_UP_REQUIRED" not in named(method):
        yield "step_up", "does not say that it refuses old log-ins: add REASON_STEP_UP_REQUIRED to `reasons`"


def _bad_own_session(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    key = "step_up" if method.rules.HasField("step_up") else "scoped"
    refuses = key == "step_up" or method.rules.scoped.own_session
    if refuses and "CLIENT_NOT_ALLOWED" not in named(method):
        yield key, "does not say that it refuses clients: add REASON_CLIENT_NOT_ALLOWED to `reasons`"


def _bad_streams(_contract: Contract, method: Method) -> Iterator[tuple[str, str]]:
    limited = method.rules.HasField("streams")
    if method.streams and not limited:
        yield "", "streams without a limit: set `streams`"
    if limited and not method.streams:
        yield "streams", "has a limit for streams and does not stream: remove `streams`"
    limit = method.rules.streams
    if limited and not (0 < limit.per_caller <= limit.total and seconds(limit.idle) > 0):
        yield (
            "streams",
            "lets no stream live: set `per_caller`, a `total` not below it, and `idle` above 0",
        )


def _role_faults(contract: Contract) -> Iterator[Fault]:
    for role in contract.roles:
        if not role.scopes:
            yield Fault(role.place, f"{role.name} grants no scope: add `scopes` to its grant, or remove it")
