"""Which headers of a request pass the edge: those that someone behind reads, and no others.

A list of forbidden headers is never complete: `grpc-encoding` on a REST call once reached the connection that
all callers share, and broke the compressed calls of others.
"""

from collections.abc import Iterable
from pathlib import Path

from google.protobuf.descriptor import Descriptor

from gateway.contract.model import Contract
from gateway.edge.arrival import WHOLE_HEADER
from gateway.edge.bounds import LARGEST_HEADERS_BYTES, LONGEST_TARGET_BYTES
from gateway.edge.extension import filter_config
from gateway.edge.json_fields import message_tables
from gateway.edge.lua import script
from gateway.edge.refusals import REQUEST_INFO
from gateway.edge.rest import QUERY_SCRIPT, REQUEST_HEADERS
from gateway.proto_json import Json

# What the services read (services/rpc/identity.py and written.py, services/telemetry/tracing.py), and what
# gRPC itself does.
_READ_BY_SERVICES = frozenset({"authorization", "traceparent", "tracestate", "user-agent", "x-written"})
_READ_BY_GRPC = frozenset({"grpc-encoding", "grpc-timeout"})
# Every request has them; the edge writes those of HTTP that are sent on, and its own id of the call.
_OF_EVERY_REQUEST = frozenset({":authority", ":method", ":path", ":scheme", "content-type", "x-request-id"})
# For the filters and routes behind the first look: where the body ends, and whether TLS was spoken.
_READ_BY_EDGE = frozenset({"content-length", "transfer-encoding", "x-forwarded-proto", WHOLE_HEADER})
# Of the app: its pages know a form of their own by its cookie, and GraphQL's answers are of two types.
_READ_BY_APP = frozenset({"accept", "cookie"})
# The transcoder writes it, with whatever stood in the query.
_LEFT_BY_EDGE = "x-envoy-original-path"
# How many milliseconds a request took that has ended with its headers; where more is to come, it is empty and
# so left out.
_WHOLE_AFTER = "%REQUEST_DURATION%"
# gRPC's own library reads these compressions; a service meets no other.
_ENCODINGS = frozenset({"identity", "gzip", "deflate"})
# Of x-written, as services/rpc/written.py has them.
_LONGEST_SERVICE_LETTERS = 20
_MOST_DIGITS = 18
# The longest list that a query may hold has 100 values.
_MOST_PARAMETERS = 200
# Of a wrong parameter, in the refusal.
_LONGEST_NAME_CHARACTERS = 100
# Of a path that leads nowhere, in the log.
_MOST_WORDS = 8
# The filter; its metadata of a route is what it reads.
FIRST_LOOK = "envoy.filters.http.lua"
_QUERY_FIELDS_SCRIPT = Path(__file__).with_name("query_fields.lua")
_SCRIPT = Path(__file__).with_suffix(".lua")


def first_look(contract: Contract) -> Json:
    """Return the filter that gives a call its id, and judges and thins out its headers.

    It stands behind CORS and gRPC-Web, which read headers of their own. The routes that keep answers run
    another of its scripts (gateway/edge/kept.py).
    """
    names, files = first_look_parts(contract)
    # No route asks for what it takes away or writes, so the one that was found still holds.
    return {**script(names, *files), "clear_route_cache": False}


def first_look_parts(contract: Contract) -> tuple[dict[str, object], tuple[Path, ...]]:
    """Return the files of its script, and what stands above them."""
    rest = _OF_EVERY_REQUEST | _READ_BY_SERVICES | _READ_BY_EDGE
    tables = {
        "CALLED": rest | _READ_BY_GRPC,
        "WEB": rest | REQUEST_HEADERS,
        "APP": rest | _READ_BY_APP,
        "ENCODINGS": _ENCODINGS,
        "WORDS": _words(contract),
    }
    names = {
        **{name: dict.fromkeys(sorted(values), True) for name, values in tables.items()},
        "MESSAGE": "application/grpc",
        "LONGEST_TARGET": LONGEST_TARGET_BYTES,
        "LARGEST_HEADERS": LARGEST_HEADERS_BYTES,
        "LONGEST_SERVICE": _LONGEST_SERVICE_LETTERS,
        "MOST_DIGITS": _MOST_DIGITS,
        "WHOLE_HEADER": WHOLE_HEADER,
        "MOST_WORDS": _MOST_WORDS,
        "REQUEST_INFO": REQUEST_INFO,
        "MOST_PARAMETERS": _MOST_PARAMETERS,
        "LONGEST_NAME": _LONGEST_NAME_CHARACTERS,
        "FIELDS": message_tables(_queried(contract)),
    }
    return names, (QUERY_SCRIPT, _QUERY_FIELDS_SCRIPT, _SCRIPT)


def is_whole() -> list[Json]:
    """Return what is done to a request's headers as they come: the first look shall see what has no body."""
    return [{"remove": WHOLE_HEADER}, {"append": {"header": {"key": WHOLE_HEADER, "value": _WHOLE_AFTER}}}]


def answered_as_unknown() -> Json:
    """Return the metadata of a route to nothing, by which the first look answers it."""
    return {"filter_metadata": _read_first(unknown=True)}


def answered_with_verbs(verbs: Iterable[str], path: str) -> Json:
    """Return the metadata of a route to a path that only other verbs may be used on (RFC 9110, 15.5.6)."""
    return {"filter_metadata": _read_first(allow=", ".join(sorted(verbs)), path=path)}


def judged(
    path: str,
    lists: Iterable[str],
    in_path: Iterable[str],
    *,
    bodiless: bool,
    needs_token: bool,
    ignores_token: bool,
    message: str,
) -> Json:
    """Return the metadata by which the first look judges a REST request (filter_metadata).

    Args:
        path: As `told_as` has it.
        lists: The fields that its query may name more than once.
        in_path: Those that it may not name, because the path does.
        bodiless: Whether it has no body.
        needs_token: Whether nobody may call without one.
        ignores_token: Whether one that is sent is not looked at.
        message: The request, whose fields its query may name; empty where its body is all of the request.
    """
    query = {
        "lists": dict.fromkeys(lists, True),
        "path": dict.fromkeys(in_path, True),
        "bodiless": bodiless,
        "needs_token": needs_token,
        **({"message": message} if message else {}),
    }
    return _read_first(path=path, query=query, **({"ignores_token": True} if ignores_token else {}))


def told_as(path: str, *, ignores_token: bool = False) -> Json:
    """Return the metadata by which the first look tells the log of a route's path (filter_metadata)."""
    return _read_first(path=path, **({"ignores_token": True} if ignores_token else {}))


def told_as_app(path: str) -> Json:
    """Return the metadata of a route to the app: its callers' cookies pass (filter_metadata)."""
    return _read_first(path=path, app=True)


def last_touch() -> Json:
    """Return what the routes do to a request's headers on its way to a service."""
    written = {
        "content-type": "application/grpc",
        "te": "trailers",
        # Envoy's own one names this machine for every caller on it.
        "x-forwarded-for": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    }
    return {
        "request_headers_to_remove": sorted({*_READ_BY_EDGE, *REQUEST_HEADERS, _LEFT_BY_EDGE}),
        "request_headers_to_add": [
            {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for key, value in written.items()
        ],
    }


def without_trailers() -> Json:
    """Return the filter that takes away a request's trailers: gRPC has none, and they would pass unjudged."""
    every = {"remove_on_match": {"key_matcher": {"safe_regex": {"regex": ".*"}}}}
    return filter_config(
        "header_mutation.v3.HeaderMutation", mutations={"request_trailers_mutations": [every]}
    )


def _read_first(**rules: object) -> Json:
    return {FIRST_LOOK: rules}


def _queried(contract: Contract) -> list[Descriptor]:
    """Return the requests of which a part may stand in a query, once each."""
    methods = {
        str(method.descriptor.input_type.full_name): method.descriptor.input_type
        for method in contract.exposed
        if any(binding.body != "*" for binding in method.bindings)
    }
    return [methods[name] for name in sorted(methods)]


def _words(contract: Contract) -> frozenset[str]:
    """Return what stands in the contract's paths: nobody's secret, wherever a caller writes it."""
    rest = (binding.template for method in contract.exposed for binding in method.bindings)
    paths = [*rest, *(method.name for method in contract.exposed)]
    return frozenset(word for path in paths for word in path.split("/") if word and "{" not in word)
