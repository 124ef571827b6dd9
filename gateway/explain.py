"""The effective rules of a method at the edge, in its clients and in its server, each with its source."""

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from google.protobuf.descriptor_pb2 import MethodOptions

from gateway.contract import Contract, Method, seconds
from gateway.protoc import PROTOS, ROOT
from gateway.routes import cache_control, retry_conditions, retry_count
from gateway.source import Place

_IMAGE = ROOT / "generated" / "commerce.binpb"
_HTTP, _IDEMPOTENCY_LEVEL = 72295728, 34
_LEVELS: dict[int, str] = {
    MethodOptions.NO_SIDE_EFFECTS: "NO_SIDE_EFFECTS",
    MethodOptions.IDEMPOTENT: "IDEMPOTENT",
}
_TITLE_WIDTH, _TEXT_WIDTH = 12, 74
_SUGGESTIONS = 5


class MethodNotFound(LookupError):
    """No method has this name; the message suggests near ones."""


@dataclass(frozen=True)
class Rule:
    """One rule in words, and the line of the contract it comes from; None for what holds everywhere."""

    title: str
    text: str
    place: Place | None = None


@dataclass(frozen=True)
class Explanation:
    """The rules of a method, hop by hop."""

    method: str
    comment: str
    place: Place
    edge: tuple[Rule, ...]
    client: tuple[Rule, ...]
    server: tuple[Rule, ...]

    def __str__(self) -> str:
        hops = (("at the edge", self.edge), ("in its clients", self.client), ("in its server", self.server))
        parts = [f"{self.method}  ({self.place})", f"  {self.comment}"]
        for hop, rules in hops:
            parts += ["", hop, *(_line(rule) for rule in rules)]
        return "\n".join(parts)


def explain(name: str, image: Path = _IMAGE, protos: Path = PROTOS) -> str:
    """Return a method's rules as text.

    Args:
        name: `commerce.order.v1.OrderService/PlaceOrder`, `OrderService.PlaceOrder` or `PlaceOrder`.
        image: The compiled contract.
        protos: Its files, for exact lines.

    Raises:
        MethodNotFound: no method has this name, or several have.
    """
    contract = _read(image, protos)
    return str(explain_method(contract, find_method(contract, name)))


def find_method(contract: Contract, name: str) -> Method:
    """Return the method that a full or short name means.

    Raises:
        MethodNotFound: no method has this name, or several have.
    """
    wanted = name.strip().lstrip("/").replace("/", ".").lower()
    found = [
        method
        for method in contract.methods
        if f".{method.name.replace('/', '.')}".lower().endswith(f".{wanted}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise MethodNotFound(f"{name} may be any of: {', '.join(method.name for method in found)}")
    raise MethodNotFound(f"there is no method {name}; near it: {', '.join(_near(contract, wanted))}")


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
        yield Rule("REST", f"{binding.verb} {binding.template}", method.option_place(_HTTP))
    yield _access(contract, method)
    limit = method.rules.rate_limit
    who = "client address" if method.access == "public" else "person"
    text = f"{limit.requests} calls in {seconds(limit.per):g} s for each {who}, else RATE_LIMITED"
    yield Rule("rate limit", text, method.place("rate_limit"))
    yield _size(
        method, "judged by the server, message by message" if method.streams else "else REQUEST_TOO_LARGE"
    )
    yield _deadline(method, "sent on to the server; a caller may ask for less")
    kind = method.place("max_attempts") if method.attempts > 1 else None
    conditions = retry_conditions(method).replace(",", ", ")
    yield Rule("retries", f"{retry_count(method)} at most, on {conditions}", kind)
    place = method.place("cache") if method.rules.HasField("cache") else None
    yield Rule("cache", cache_control(method), place)


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
    yield _deadline(method, "and no longer than the caller gives")
    yield _size(method, "each message" if method.streams else "else REQUEST_TOO_LARGE")
    request = str(method.descriptor.input_type.full_name)
    known = request.startswith("commerce.")
    yield Rule("validation", f"the rules of {request}", method.sources.place(request) if known else None)
    if method.rules.cache.etag:
        yield Rule("etag", "the answer's etag is sent as a header too", method.place("cache"))


def _access(contract: Contract, method: Method) -> Rule:
    if method.access == "public":
        return Rule("access", "anyone; a token that is sent must be valid", method.place("public"))
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
        return Rule("repeatable", f"yes: {level}", method.option_place(_IDEMPOTENCY_LEVEL))
    if method.repeatable:
        field = f"{method.descriptor.input_type.full_name}.request_id"
        return Rule("repeatable", "yes: every request carries a request_id", method.sources.place(field))
    place = method.sources.place(str(method.descriptor.full_name))
    return Rule("repeatable", "no: neither idempotency_level nor a required request_id", place)


def _line(rule: Rule) -> str:
    where = str(rule.place) if rule.place else "every method"
    text = f"  {rule.title:<{_TITLE_WIDTH}} {rule.text}"
    return f"{text:<{_TEXT_WIDTH}}  {where}"


def _near(contract: Contract, wanted: str) -> list[str]:
    last = wanted.rpartition(".")[2]
    names = {method.descriptor.name.lower(): method.name for method in contract.methods}
    near = difflib.get_close_matches(last, names, n=_SUGGESTIONS, cutoff=0.4)
    return [names[name] for name in near] or sorted(names.values())[:_SUGGESTIONS]


@cache
def _read(image: Path, protos: Path) -> Contract:
    return Contract(image.read_bytes(), protos)
