"""Whether the edge and the services behind it are well, for load balancers: nobody needs a token to ask.

`/healthz` is about the edge alone, `/readyz` about the services too: each must have a process that answers
its health check. grpc.health.v1.Health/Check goes to the service that is asked about; without a name it is as
`/readyz`. Its Watch is unknown here: streams without an end, for everybody, would take places for ever.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gateway.contract.model import Contract
from gateway.edge.arrival import ARRIVAL, noted
from gateway.edge.clusters import KEYS_CLUSTER
from gateway.edge.extension import filter_config, http_filter
from gateway.edge.lua import script
from gateway.edge.refusals import METADATA, told_of_size
from gateway.edge.request_headers import told_as
from gateway.edge.routes import (
    ADDRESS_LIMIT,
    NOWHERE,
    TOKEN_AGAIN,
    TOKEN_FIRST,
    grpc_match,
    seconds_text,
    unknown,
)
from gateway.proto_json import Json

HEALTH = "commerce.health"
HEALTH_PATH, READY_PATH = "/healthz", "/readyz"
CHECK = "/grpc.health.v1.Health/Check"
_CHECK_SECONDS = 1.0
# Of a question with its frame: room for a name of 121 bytes.
_LARGEST_BYTES = 128
# Of the processes of a service, rounded up: one is enough.
_LEAST_PERCENT = {"value": 1}
_SCRIPT = Path(__file__).with_suffix(".lua")


def health_check(contract: Contract) -> Json:
    """Return the filter that finds the service of a Check. It is off where a route does not ask for it."""
    names = {
        "SERVICES": {method.service: method.area for method in contract.exposed},
        "ANY": min(method.area for method in contract.exposed),
        "READY_PATH": READY_PATH,
        "READY_CLUSTER": KEYS_CLUSTER,
        "PATIENCE": round(_CHECK_SECONDS * 1000),
    }
    return script(names, _SCRIPT)


def health_routes(contract: Contract, limits: Json) -> Iterator[Json]:
    """Yield the routes of every question; `limits` are those of an address that asks."""
    for path in (HEALTH_PATH, READY_PATH):
        # Answered by a filter before it.
        yield {**unknown({"path": path}), "typed_per_filter_config": {ADDRESS_LIMIT: limits}}
    asked = {
        "name": CHECK.removeprefix("/"),
        "metadata": {"filter_metadata": {METADATA: told_of_size(_LARGEST_BYTES), **told_as(CHECK)}},
        "typed_per_filter_config": {ADDRESS_LIMIT: limits, **_settings()},
    }
    for area in sorted({method.area for method in contract.exposed}):
        match = {**grpc_match(CHECK), "dynamic_metadata": [noted("asked", {"string_match": {"exact": area}})]}
        yield {**asked, "match": match, "route": _action(area)}
    yield {**asked, "match": grpc_match(CHECK), "route": NOWHERE}


def path_filters(services: Sequence[str]) -> list[Json]:
    """Return the filters that answer `/healthz` and `/readyz`: 200, or 503 also while the edge drains."""
    return [http_filter("health_check", _answered(HEALTH_PATH)), ready_filter(services)]


def ready_filter(services: Sequence[str]) -> Json:
    """Return the filter that answers `/readyz`."""
    least = dict.fromkeys(services, _LEAST_PERCENT)
    config = {**_answered(READY_PATH), "cluster_min_healthy_percentages": least}
    return {"name": "commerce.ready", "typed_config": config}


def check_filter(config: Json) -> Json:
    """Return the filter of Health/Check from what `health_check` has compiled; it stands behind ARRIVAL."""
    return {"name": HEALTH, "disabled": True, "typed_config": config}


def _answered(path: str) -> Json:
    header = {"name": ":path", "string_match": {"exact": path}}
    return filter_config("health_check.v3.HealthCheck", pass_through_mode=False, headers=[header])


def _settings() -> Json:
    """Let everybody in; a log tells nothing of those who ask for ever (gateway/edge/access_log.py)."""
    nobody_asked = filter_config("jwt_authn.v3.PerRouteConfig", disabled=True)
    arrival = {"largest": _LARGEST_BYTES, "told": "nowhere"}
    return {
        TOKEN_FIRST: nobody_asked,
        TOKEN_AGAIN: nobody_asked,
        "envoy.filters.http.rbac": filter_config("rbac.v3.RBACPerRoute"),
        ARRIVAL: filter_config("lua.v3.LuaPerRoute", filter_context=arrival),
        HEALTH: filter_config("lua.v3.LuaPerRoute", filter_context={}),
    }


def _action(area: str) -> Json:
    deadline = seconds_text(_CHECK_SECONDS)
    return {
        "cluster": area,
        "timeout": "0s",
        "max_stream_duration": {"max_stream_duration": deadline, "grpc_timeout_header_max": deadline},
    }
