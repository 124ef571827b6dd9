"""What the edge's access log tells, and of which calls.

A call that went on to a method with effects always has its line, unless it was refused there. Reads and
refusals, the edge's and the services', share so many lines a second: else a flood of them would push
everything else out of the log, which is of a bounded size.
"""

from collections.abc import Sequence
from pathlib import Path

from gateway.edge.arrival import EFFECTS, NOTES, READS, REFUSALS, noted
from gateway.edge.extension import extension
from gateway.proto_json import Json, typed

_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_SHARE = "envoy.extensions.access_loggers.filters.process_ratelimit.v3.ProcessRateLimitFilter"
# Of all callers and both listeners together. At 370 bytes a line, two files of 10 MiB reach back for at least
# eighteen minutes. One bucket for both: of several, Envoy reads the first into each.
SHARED_PER_SECOND = 50
_SHARED = "shared_lines"
# For so long a call waits for its line: told to Envoy as it starts (--file-flush-interval-msec), which would
# else wait ten seconds.
FLUSH_MILLISECONDS = 500

# Of what callers write, the log holds what it knows: HTTP/2 takes any word for a method.
_VERB = (
    "request.headers['x-envoy-original-method' in request.headers ? 'x-envoy-original-method' : ':method']"
)
_KNOWN_VERB = f"{_VERB} in ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']"
# A HEAD goes on as a GET (conditional.lua).
_IS_HEAD = f"'{NOTES}' in metadata.filter_metadata && 'head' in metadata.filter_metadata['{NOTES}']"

# No query, no id in a path, no address: nothing in it is about a person. The code is what a service or a
# refusal said: HTTP and gRPC-Web write it in ways of their own.
_LOGGED = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "method": "%ROUTE_NAME%",
    "path": f"%DYNAMIC_METADATA({NOTES}:request:path)%",
    "verb": f"%CEL({_IS_HEAD} ? 'HEAD' : {_KNOWN_VERB} ? {_VERB} : '')%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": f"%DYNAMIC_METADATA({NOTES}:grpc_status)%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    # Whether the edge answered from what it keeps.
    "kept": f"%DYNAMIC_METADATA({NOTES}:request:kept)%",
    "service": "%UPSTREAM_CLUSTER%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "duration_ms": "%DURATION%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "trace_id": "%REQ(X-REQUEST-ID)%",
}


def access_log(file: Path, bucket: Json) -> list[Json]:
    """Return the logs into a file, one JSON line a call; `bucket` is the config source of `shared_lines`.

    The first is about calls that went on to a service, the second about those that the edge refused.
    """
    effects, *others = (_is(noted("told", _text(each))) for each in (EFFECTS, READS, REFUSALS))
    went_on = [effects, _if_room(_any(others), bucket)]
    # Nobody notes that a call has not arrived: this matches where nothing is noted.
    stayed = _is(noted("arrived", {"bool_match": False}), unless_noted=True)
    # Whoever looks whether the edge is up does so for ever.
    stayed = _all(stayed, {"not_health_check_filter": {}})
    return [
        _log(file, _any(went_on)),
        _log(file, _if_room(stayed, bucket)),
    ]


def shared_lines() -> Json:
    """Return the bucket that reads and refusals take lines from, as a resource."""
    lines = SHARED_PER_SECOND
    bucket = {"max_tokens": lines, "tokens_per_fill": lines, "fill_interval": "1s"}
    return typed(
        "envoy.service.discovery.v3.Resource",
        name=_SHARED,
        resource=typed("envoy.type.v3.TokenBucket", **bucket),
    )


def _log(file: Path, told: Json) -> Json:
    return {**extension("file", _FILE, path=str(file), log_format={"json_format": _LOGGED}), "filter": told}


def _is(note: Json, *, unless_noted: bool = False) -> Json:
    return {"metadata_filter": {"matcher": note, "match_if_key_not_found": unless_noted}}


def _text(exact: str) -> Json:
    return {"string_match": {"exact": exact}}


def _any(filters: Sequence[Json]) -> Json:
    return {"or_filter": {"filters": list(filters)}}


def _all(*filters: Json) -> Json:
    return {"and_filter": {"filters": list(filters)}}


def _if_room(told: Json, bucket: Json) -> Json:
    """Ask the bucket only where the other agrees: it gives away a line when it is asked."""
    room = extension(_SHARED, _SHARE, dynamic_config={"resource_name": _SHARED, "config_source": bucket})
    return _all(told, {"extension_filter": room})
