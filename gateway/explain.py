"""The effective rules of a method at the edge, in its clients and in its server, each with its source."""

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.descriptor_pb2 import MethodOptions

from gateway.contract.model import Binding, Contract, Method, seconds
from gateway.contract.protoc import PROTOS
from gateway.contract.reasons import own_reasons, shared_reasons
from gateway.contract.source import SourceLine
from gateway.edge.arrival import ARRIVAL_SECONDS
from gateway.edge.created import created
from gateway.edge.kept import is_kept
from gateway.edge.limits import CALLS_OF_AN_ADDRESS, CALLS_PERIOD_SECONDS, KEPT_READS_OF_AN_ADDRESS
from gateway.edge.rest import MOST_VALUES, body_message, headers_read
from gateway.edge.routes import cache_control, idle_seconds, retry_conditions, retry_count
from gateway.find import IMAGE, find_method, read_contract

_LEVELS: dict[int, str] = {
    MethodOptions.NO_SIDE_EFFECTS: "NO_SIDE_EFFECTS",
    MethodOptions.IDEMPOTENT: "IDEMPOTENT",
}
_TITLE_WIDTH, _TEXT_WIDTH = 12, 74


@dataclass(frozen=True)
class Rule:
    """One rule in words, and the line of the contract it comes from; None for what holds everywhere."""

    title: str
    text: str
    place: SourceLine | None = None


@dataclass(frozen=True)
class Explanation:
    """The rules of a method, hop by hop."""

    method: str
    comment: str
    place: SourceLine
    edge: tuple[Rule, ...]
    client: tuple[Rule, ...]
    server: tuple[Rule, ...]

    def __str__(self) -> str:
        hops = (("at the edge", self.edge), ("in its clients", self.client), ("in its server", self.server))
        parts = [f"{self.method}  ({self.place})", f"  {self.comment}"]
        for hop, rules in hops:
            parts += ["", hop, *(_line(rule) for rule in rules)]
        return "\n".join(parts)


def explain(name: str, image: Path = IMAGE, protos: Path = PROTOS) -> str:
    """Return a method's rules as text.

    Args:
        name: What `find_method` understands.
        image: The compiled contract.
        protos: Its files, for exact lines.

    Raises:
        MethodNotFound: no method has this name, or several have.
    """
    contract = read_contract(image, protos)
    return str(explain_method(contract, find_method(contract, name)))


def explain_method(contract: Contract, method: Method) -> Explanation:
    """Return a method's rules, hop by hop."""
    return Explanation(
        method=method.name,
        comment=method.comment,
        place=method.sources.place(str(method.descriptor.full_name)),
        edge=tuple(_edge(contract, method)),
        client=tuple(_client(method)),
        server=tuple(_server(contract, method)),
    )


def _edge(contract: Contract, method: Method) -> Iterator[Rule]:
    if not method.exposed:
        yield Rule("route", "none: the edge answers as for an unknown method", method.place("edge"))
        return
    yield Rule("gRPC", f"/{method.name}, also as gRPC-Web", method.place("edge"))
    for binding in method.bindings:
        yield Rule("REST", f"{binding.verb} {binding.template}", method.http_place)
        yield from _rest(contract, method, binding)
    yield _access(contract, method)
    limit = method.rules.rate_limit
    calls = f"{limit.requests} calls in {seconds(limit.per):g} s"
    text = f"{calls} for each {method.limited_by}, else RATE_LIMITED"
    yield Rule("rate limit", text, method.place("rate_limit"))
    period = f"{CALLS_OF_AN_ADDRESS} calls in {CALLS_PERIOD_SECONDS:g} s"
    yield Rule("", f"{period} for each client address, over all methods")
    yield _size(
        method, "judged by the server, message by message" if method.streams else "else REQUEST_TOO_LARGE"
    )
    if not method.streams:
        yield Rule("arrival", f"the whole request within {ARRIVAL_SECONDS} s, else REQUEST_LATE")
    yield _deadline(method, "sent on to the server; a caller may ask for less")
    if method.streams:
        yield Rule("idle", f"ends after {idle_seconds(method):g} s without a byte", method.place("streams"))
    kind = method.place("max_attempts") if method.attempts > 1 else None
    conditions = retry_conditions(method).replace(",", ", ")
    yield Rule("retries", f"{retry_count(method)} at most, on {conditions}", kind)
    place = method.place("cache") if method.rules.HasField("cache") else None
    yield Rule("cache", cache_control(method), place)
    if is_kept(method):
        yield Rule("", "kept here too, and given again to REST reads without a token:", place)
        reads = f"{KEPT_READS_OF_AN_ADDRESS} in {CALLS_PERIOD_SECONDS:g} s"
        yield Rule("", f"{reads} for each client address, over all methods that are kept")


def _rest(contract: Contract, method: Method, binding: Binding) -> Iterator[Rule]:
    if body := body_message(method, binding):
        text = f"at most {MOST_VALUES} values, all of them fields of {body.full_name}"
        yield Rule("body", f"{text}, else INVALID_REQUEST", method.http_place)
    if binding.verb == "PATCH":
        yield Rule("mask", "update_mask, else the fields that stand in the body", method.http_place)
    if names := ", ".join(headers_read(method, binding)):
        yield Rule("headers", names, method.http_place)
    if made := created(contract, method, binding):
        yield Rule("answers", f"201, with its location: {made.template}", method.http_place)


def _client(method: Method) -> Iterator[Rule]:
    yield Rule("deadline", "its own or what remains of its caller's less 20 ms, whichever is less")
    yield _repeatable(method)
    if method.attempts > 1:
        text = f"{method.attempts} attempts in all on UNAVAILABLE or CANCELLED, with backoff and a budget"
        yield Rule("retries", text, method.place("max_attempts"))
    else:
        yield Rule("retries", "none, except for calls that never left")
    yield Rule("balancing", "round robin over the processes that are SERVING")


def _server(contract: Contract, method: Method) -> Iterator[Rule]:
    if method.access == "internal":
        callers = ", ".join(method.rules.internal.services)
        yield Rule("callers", f"by certificate only: {callers}", method.place("internal"))
    else:
        yield Rule("callers", "anyone with a certificate of ours; the edge has one")
        yield _access(contract, method)
    owner = method.rules.scoped.any_owner
    if owner:
        text = f"one's own resources; everyone's with {owner} ({_roles(contract, [owner])}); else NOT_FOUND"
        yield Rule("ownership", text, method.place("scoped"))
    if personal := method.rules.scoped.personal:
        text = f"one's own as it is; everyone's with {personal} ({_roles(contract, [personal])}); else masked"
        yield Rule("personal", text, method.place("scoped"))
    if method.rules.scoped.own_session:
        text = "of people themselves, else CLIENT_NOT_ALLOWED: no OAuth client, whatever its scopes"
        yield Rule("session", text, method.place("scoped"))
    if method.rules.HasField("step_up"):
        some = "for some requests " if method.rules.step_up.on_demand else ""
        text = (
            f"{some}a log-in of the last {seconds(method.rules.step_up.max_age):g} s, else STEP_UP_REQUIRED; "
            "never a client's, CLIENT_NOT_ALLOWED"
        )
        yield Rule("step-up", text, method.place("step_up"))
    yield _deadline(method, "and no longer than the caller gives")
    yield _size(method, "each message" if method.streams else "else REQUEST_TOO_LARGE")
    if method.streams:
        limit = method.rules.streams
        text = f"{limit.per_caller} at once for each caller, {limit.total} in all, in each process"
        yield Rule("streams", f"{text}, else TOO_MANY_CALLS or OVERLOADED", method.place("streams"))
        text = f"waits {method.idle_seconds:g} s for the caller, then STREAM_IDLE"
        yield Rule("idle", text, method.place("streams"))
    request = str(method.descriptor.input_type.full_name)
    known = request.startswith("commerce.")
    yield Rule("validation", f"the rules of {request}", method.sources.place(request) if known else None)
    if method.rules.HasField("holds"):
        holds = method.rules.holds
        text = f"{holds.reservations} at once for each person, {holds.units} units in all"
        yield Rule("holds", f"{text}, {holds.units_of_product} of a product", method.place("holds"))
    if method.rules.cache.etag:
        yield Rule("etag", "the answer's etag is sent as a header too", method.place("cache"))
    yield from _reasons(contract, method)


def _reasons(contract: Contract, method: Method) -> Iterator[Rule]:
    """Name why it refuses a call; `mesh explain REASON` says more of each."""
    own = ", ".join(reason.name for reason in own_reasons(contract, method))
    shared = ", ".join(reason.name for reason in shared_reasons(contract, method))
    place = method.place("reasons") if own else None
    for title, names, where in (("reasons", own, place), ("" if own else "reasons", shared, None)):
        lines = textwrap.wrap(names, _TEXT_WIDTH - _TITLE_WIDTH - 3)
        for line in lines:
            yield Rule(title if line is lines[0] else "", line, where)


def table(contract: Contract) -> Iterator[tuple[str, str, str]]:
    """Yield each method, as it may be named, with its REST paths and who may call it."""
    for method in contract.methods:
        paths = (
            [f"{binding.verb} {binding.template}" for binding in method.bindings] if method.exposed else []
        )
        yield method.name.rpartition(".")[2], ", ".join(paths), callers(contract, method)


def callers(contract: Contract, method: Method) -> str:
    """Say who may call a method: anyone, people of some roles, or services."""
    if method.access == "internal":
        return f"by certificate: {', '.join(method.rules.internal.services)}"
    return "anyone" if method.access == "public" else _roles(contract, list(method.rules.scoped.any_of))


def _access(contract: Contract, method: Method) -> Rule:
    if method.access == "public":
        token = "is not looked at" if method.ignores_token else "must be valid"
        return Rule("access", f"anyone; a token that is sent {token}", method.place("public"))
    scopes = list(method.rules.scoped.any_of)
    text = f"a token with {' or '.join(scopes)} ({_roles(contract, scopes)})"
    return Rule("access", text, method.place("scoped"))


def _roles(contract: Contract, scopes: list[str]) -> str:
    names = [role.name.removeprefix("ROLE_").lower() for role in contract.roles if role.scopes & set(scopes)]
    return ", ".join(names)


def _size(method: Method, otherwise: str) -> Rule:
    text = f"at most {method.rules.max_request_bytes} bytes on the gRPC wire, {otherwise}"
    return Rule("request", text, method.place("max_request_bytes"))


def _deadline(method: Method, note: str) -> Rule:
    if method.deadline_seconds is None:
        return Rule("deadline", "none: a stream ends when it is idle", method.place())
    return Rule("deadline", f"{method.deadline_seconds:g} s, {note}", method.place("deadline"))


def _repeatable(method: Method) -> Rule:
    if level := _LEVELS.get(method.idempotency_level):
        return Rule("repeatable", f"yes: {level}", method.idempotency_place)
    if method.repeatable:
        field = f"{method.descriptor.input_type.full_name}.request_id"
        return Rule("repeatable", "yes: every request carries a request_id", method.sources.place(field))
    place = method.sources.place(str(method.descriptor.full_name))
    return Rule("repeatable", "no: neither idempotency_level nor a required request_id", place)


def _line(rule: Rule) -> str:
    where = str(rule.place) if rule.place else "every method"
    text = f"  {rule.title:<{_TITLE_WIDTH}} {rule.text}"
    return f"{text:<{_TEXT_WIDTH}}  {where}"
