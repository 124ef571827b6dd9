"""Where the edge waits for the body of a unary call: for how long, for how much, and for how many at a time.

It also notes what a call was and how it ended, for the access log and the ETag of REST: nearer to a service
stands no other script.

A call has no way to its service before its body is here. Until then the connection manager's own limit on a
stream's life holds, from its first byte on; with the way, the method's deadline takes its place.
"""

from collections.abc import Mapping
from pathlib import Path

from google.rpc import code_pb2

from gateway.edge.extension import filter_config
from gateway.edge.lua import script
from gateway.proto_json import Json

ARRIVAL = "commerce.arrival"
# Where the scripts note what others read (dynamic metadata).
NOTES = "commerce"
# The header of a request whose body is here, or that has none (gateway/edge/request_headers.py).
WHOLE_HEADER = "x-whole"
# As long as services/rpc/interceptors.py waits for a message, by test. It counts from a call's first byte, so
# that its headers are in it.
ARRIVAL_SECONDS = 2
# Of one network, in each thread and on each listener. A body that comes with its headers counts only while it
# is read; one that is left lying costs the edge 40 kB.
MOST_BODIES = 100
# How long bodies that were given up may count, at the longest. An address has a hundred calls in this time.
_SWEEP_MILLISECONDS = 100
# Tells in Lua, as services/networks.py does in Python, who is behind an address.
NETWORK_SCRIPT = Path(__file__).with_name("network.lua")
# What a log tells of a call that went on to a service (gateway/edge/access_log.py).
EFFECTS, READS, REFUSALS = "effects", "reads", "refusals"
# Every other code says that the caller asked for what may not or cannot be, and that nothing came of it.
_NO_REFUSALS = frozenset(
    {
        code_pb2.OK,
        code_pb2.CANCELLED,
        code_pb2.UNKNOWN,
        code_pb2.DEADLINE_EXCEEDED,
        code_pb2.INTERNAL,
        code_pb2.UNAVAILABLE,
        code_pb2.DATA_LOSS,
    }
)
# Keeps each network's unfinished bodies few, with body_bounds() above it.
BODIES = (NETWORK_SCRIPT, Path(__file__).with_name("bodies.lua"))


def arrival(details: Mapping[int, str]) -> Json:
    """Return the filter. It stands behind the transcoder, which passes on what it has of a body.

    `details` are, by code, what an answer without any is given: its grpc-status-details-bin.
    """
    names = {
        **body_bounds(),
        "SECONDS": ARRIVAL_SECONDS,
        "CODES": {str(code): name for name, code in sorted(code_pb2.Code.items(), key=lambda each: each[1])},
        "REFUSALS": {str(code): True for code in sorted(set(code_pb2.Code.values()) - _NO_REFUSALS)},
        "DETAILS": {str(code): text for code, text in details.items()},
    }
    return script(names, *BODIES, Path(__file__).with_suffix(".lua"))


def body_bounds() -> dict[str, object]:
    """Return what a script that waits for bodies has above it."""
    return {
        "WHOLE_HEADER": WHOLE_HEADER,
        "MOST_BODIES": MOST_BODIES,
        "SWEEP_MILLISECONDS": _SWEEP_MILLISECONDS,
    }


def awaited(largest_bytes: int | None, *, reads: bool, cache: str) -> Json:
    """Return the filter's setting on a route.

    Args:
        largest_bytes: The largest body on the gRPC wire; None for a stream.
        reads: Whether the method has no effects.
        cache: The Cache-Control of an answer that succeeded; empty where nobody may keep it.
    """
    rules: Json = {"streams": True} if largest_bytes is None else {"largest": largest_bytes}
    rules |= {"told": READS if reads else EFFECTS, **({"cache": cache} if cache else {})}
    return filter_config("lua.v3.LuaPerRoute", filter_context=rules)


def has_arrived() -> Json:
    """Return what a route asks of a call whose body is here, or is a stream that nobody waits for."""
    return {"dynamic_metadata": [noted("arrived", {"bool_match": True})]}


def headers_of_answers() -> Json:
    """Return the filter that gives REST the headers that a service or the contract meant.

    It stands before the transcoder. A service sends its own in trailing metadata, which costs it least; the
    transcoder drops those.
    """
    written = [
        {
            "append": {
                "header": {"key": key, "value": f"%DYNAMIC_METADATA({NOTES}:{note})%"},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        }
        for key, note in (
            ("etag", "etag"),
            ("x-written", "written"),
            ("retry-after", "retry_after"),
            ("www-authenticate", "challenge"),
            ("cache-control", "cache"),
        )
    ]
    return filter_config("header_mutation.v3.HeaderMutation", mutations={"response_mutations": written})


def noted(key: str, value: Json) -> Json:
    """Return what matches a note about a call (MetadataMatcher)."""
    return {"filter": NOTES, "path": [{"key": key}], "value": value}
