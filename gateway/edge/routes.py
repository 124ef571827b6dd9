"""The contract's methods as Envoy routes: who may call, for how long, how big, how often tried.

After the transcoder a REST call's path is /package.Service/Method, and what leads to a service is written
once, on that path. The filters before it, which keep it from parsing bodies for callers without a right,
find their rules by the REST path: each has a route of its own, which leads nowhere. A filter's settings on
a route are read when the call reaches the filter, except those of `filter_chain` and a `FilterConfig` that
switches a filter off, which are read before the path has changed.

A gRPC call's path never changes; its two routes differ by whether its body is here (gateway/edge/arrival.py).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from gateway.contract.model import Binding, Contract, Method
from gateway.edge.arrival import ARRIVAL, awaited, has_arrived
from gateway.edge.extension import extension, filter_config
from gateway.edge.kept import keeps
from gateway.edge.refusals import METADATA, told_of_method
from gateway.edge.request_headers import (
    answered_as_unknown,
    answered_with_verbs,
    judged,
    last_touch,
    told_as,
)
from gateway.edge.rest import as_meant, list_parameters, path_parameters
from gateway.proto_json import Json

ROUTES = "commerce"
UNKNOWN = "unknown"
TOKEN_REQUIRED, TOKEN_OPTIONAL = "token_required", "token_optional"
JWT_METADATA = "envoy.filters.http.jwt_authn"
# Which routes have reads that the edge may answer from what it keeps.
KEPT_READS = "public"
# Which routes count a call as one without a token, whatever it shows.
ANONYMOUS = "anonymous"
# The filters that look for a token: before the transcoder, and again when the method is certain.
TOKEN_FIRST, TOKEN_AGAIN = "envoy.filters.http.jwt_authn", "commerce.token_again"
METHOD_LIMIT, ADDRESS_LIMIT = "envoy.filters.http.local_ratelimit", "commerce.address_limit"

# Each message on the gRPC wire has a prefix of this size (gRPC over HTTP2, Length-Prefixed-Message).
_FRAME_PREFIX_BYTES = 5
# How often a call that certainly reached no handler is tried again.
_SAFE_RETRIES = 2
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
# gRPC's server answers CANCELLED to what arrives between its stop and the edge's hearing of it; calls that
# did reach a handler end by their deadlines, well before a stopping server would cancel them.
_SAFE_TO_RETRY = "cancelled,connect-failure,refused-stream,reset-before-request"
# No such cluster, on purpose. A direct_response would do, if the CORS filter looked at such routes.
NOWHERE = {"cluster": UNKNOWN, "cluster_not_found_response_code": "NOT_FOUND"}
# JSON writes a control character as six bytes; numbers and field names add to that.
JSON_BYTES_PER_WIRE_BYTE = 8
# The server ends an idle stream first, and says why; this is for a server that hangs.
_SERVER_FIRST_SECONDS = 5


def route_configuration(contract: Contract, others: Iterable[Json]) -> Json:
    """Return the RouteConfiguration of every exposed method and of `others`; the rest is unknown."""
    return {
        "name": ROUTES,
        "virtual_hosts": [
            {
                "name": ROUTES,
                "domains": ["*"],
                "routes": [
                    *(route for method in contract.exposed for route in _grpc_routes(method)),
                    *(
                        route
                        for method in contract.exposed
                        for binding in method.bindings
                        for route in _rest_routes(method, binding)
                    ),
                    *_other_verbs(contract),
                    *others,
                    unknown({"prefix": "/"}),
                ],
                **last_touch(),
                # What the servers accept is between them and the edge.
                "response_headers_to_remove": ["grpc-accept-encoding"],
            }
        ],
    }


def unknown(match: Json) -> Json:
    """Return the route of what no method answers, hidden ones too; the filter of the first look answers."""
    return {"name": UNKNOWN, "match": match, "route": NOWHERE, "metadata": answered_as_unknown()}


def internal_route(method: Method) -> Json:
    """Return a route to a method for the edge itself: no token, no limits, and no address of a caller.

    Envoy adds its machine's own; without one a service knows that nobody but the edge has asked.
    """
    return {
        "name": method.name,
        "match": grpc_match(f"/{method.name}"),
        "route": _action(method),
        "request_headers_to_remove": ["x-forwarded-for"],
    }


def grpc_match(path: str) -> Json:
    """Return what matches the calls of a gRPC method."""
    return {
        "path": path,
        # `path` alone would also match with a query behind it.
        "headers": [
            {"name": ":path", "string_match": {"exact": path}},
            {"name": ":method", "string_match": {"exact": "POST"}},
            # Not `grpc: {}`: gRPC-Web still has its own content type when the route is first looked for.
            {"name": "content-type", "string_match": {"prefix": "application/grpc"}},
        ],
    }


def seconds_text(seconds: float) -> str:
    """Write a duration as JSON does (google.protobuf.Duration)."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def retry_conditions(method: Method) -> str:
    """Return on what a hop tries again; UNAVAILABLE may come after an effect, so it must be repeatable."""
    return f"unavailable,{_SAFE_TO_RETRY}" if method.attempts > 1 else _SAFE_TO_RETRY


def retry_count(method: Method) -> int:
    """Return how often a hop tries again."""
    return method.attempts - 1 if method.attempts > 1 else _SAFE_RETRIES


def idle_seconds(method: Method) -> float:
    """Return after what time without a byte the edge ends a stream."""
    return method.idle_seconds + _SERVER_FIRST_SECONDS


def cache_control(method: Method) -> str:
    """Return the Cache-Control of an answer that succeeded."""
    if not method.rules.HasField("cache"):
        return "no-store"
    cache = method.rules.cache
    kind = "private" if cache.private else "public"
    return f"{kind}, max-age={cache.max_age.seconds}" if cache.max_age.seconds else f"{kind}, no-cache"


def _grpc_routes(method: Method) -> Iterator[Json]:
    match = grpc_match(f"/{method.name}")
    route: Json = {
        "name": method.name,
        "match": match,
        "route": _action(method),
        "decorator": {"operation": method.name},
        "metadata": _metadata(method, told_as(f"/{method.name}", ignores_token=method.ignores_token)),
        "typed_per_filter_config": _settings(method),
    }
    if method.streams:
        yield route
        return
    # Else a body over HTTP/1.1 has no more room than the connection's own buffer while it is awaited.
    route["request_body_buffer_limit"] = method.rules.max_request_bytes + _FRAME_PREFIX_BYTES
    yield {**route, "match": {**match, **has_arrived()}}
    yield {**route, "route": NOWHERE}


def _settings(method: Method) -> Json:
    # A stream is not held up; its server judges each message.
    largest = None if method.streams else method.rules.max_request_bytes + _FRAME_PREFIX_BYTES
    return {
        TOKEN_FIRST: _token_rule(method),
        TOKEN_AGAIN: _token_rule(method),
        "envoy.filters.http.rbac": _scope_rule(method),
        ARRIVAL: awaited(largest, reads=method.reads, cache=_kept_as(method)),
        **(_arriving_bytes(largest) if largest else {}),
        **keeps(method),
    }


def _rest_routes(method: Method, binding: Binding) -> Iterator[Json]:
    largest = method.rules.max_request_bytes * JSON_BYTES_PER_WIRE_BYTE
    in_path = path_parameters(binding)
    read_first = judged(
        binding.template,
        list_parameters(method),
        in_path,
        bodiless=not binding.body,
        needs_token=method.access != "public",
        ignores_token=method.ignores_token,
        message="" if binding.body == "*" else str(method.descriptor.input_type.full_name),
    )
    settings = {TOKEN_FIRST: _token_rule(method), **_arriving_bytes(largest)}
    route: Json = {
        "name": method.name,
        "match": _rest_match(binding),
        "route": NOWHERE,
        "metadata": _metadata(method, read_first),
        "typed_per_filter_config": settings,
    }
    if kept := keeps(method, binding.template):
        route["typed_per_filter_config"] = {**settings, **kept}
        route["metadata"] = _metadata(method, read_first, kept=KEPT_READS)
    as_asked = {
        **route,
        "typed_per_filter_config": {**route["typed_per_filter_config"], **as_meant(binding)},
    }
    if binding.verb != "GET":
        # Else a body over HTTP/1.1 has no more room than the connection's own buffer while it is awaited.
        yield {**as_asked, "request_body_buffer_limit": largest}
        return
    # Most reads are left alone: a script costs each of them.
    yield {**as_asked, "match": _rest_match(replace(binding, verb="HEAD"))}
    if method.rules.cache.etag:
        knowing = {"name": "if-none-match", "present_match": True}
        yield {**as_asked, "match": _rest_match(binding, knowing)}
    yield route


def _rest_match(binding: Binding, *headers: Json) -> Json:
    return {
        "safe_regex": {"regex": _path_pattern(binding.template)},
        "headers": [{"name": ":method", "string_match": {"exact": binding.verb}}, *headers],
    }


def _other_verbs(contract: Contract) -> Iterator[Json]:
    """Yield a route for each known path, behind those for its verbs."""
    verbs: dict[str, set[str]] = {}
    templates: dict[str, str] = {}
    for method in contract.exposed:
        for binding in method.bindings:
            pattern = _path_pattern(binding.template)
            known = {"GET", "HEAD"} if binding.verb == "GET" else {binding.verb}
            verbs.setdefault(pattern, set()).update(known)
            templates[pattern] = binding.template
    for pattern, known in verbs.items():
        metadata = answered_with_verbs(known, templates[pattern])
        yield {**unknown({"safe_regex": {"regex": pattern}}), "metadata": metadata}


def _path_pattern(template: str) -> str:
    """Write a REST path as a regular expression; what follows a colon is a verb (AIP-136)."""
    return "".join(
        "[^/:]+" if part.startswith("{") else re.escape(part) for part in re.split(r"({[^}]*})", template)
    )


def _metadata(method: Method, read_first: Json, **more: str) -> Json:
    unseen = {ANONYMOUS: ANONYMOUS} if method.ignores_token else {}
    known = {"method": method.name, **told_of_method(method), **unseen, **more}
    return {"filter_metadata": {METADATA: known, **read_first}}


def _action(method: Method) -> Json:
    # 0: no limit, in place of the one while a body arrives.
    deadline = seconds_text(method.deadline_seconds or 0)
    action: Json = {
        "cluster": method.area,
        "timeout": "0s",
        "retry_policy": _retry_policy(method),
        # Unlike `timeout`, this reaches the server as its deadline, and caps what the client asks for.
        "max_stream_duration": {"max_stream_duration": deadline, "grpc_timeout_header_max": deadline},
    }
    if method.streams:
        action["idle_timeout"] = seconds_text(idle_seconds(method))
    return action


def _retry_policy(method: Method) -> Json:
    return {
        "retry_on": retry_conditions(method),
        "num_retries": retry_count(method),
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [extension("envoy.retry_host_predicates.previous_hosts", _PREVIOUS_HOSTS)],
        "host_selection_retry_max_attempts": 3,
    }


def _token_rule(method: Method) -> Json:
    rule = TOKEN_OPTIONAL if method.access == "public" else TOKEN_REQUIRED
    return filter_config("jwt_authn.v3.PerRouteConfig", requirement_name=rule)


def _scope_rule(method: Method) -> Json:
    principals = [_carries(scope) for scope in sorted(method.rules.scoped.any_of)] or [{"any": True}]
    policy = {"permissions": [{"any": True}], "principals": principals}
    rules = {"action": "ALLOW", "policies": {method.access: policy}}
    return filter_config("rbac.v3.RBACPerRoute", rbac={"rules": rules})


def _carries(scope: str) -> Json:
    value = {"list_match": {"one_of": {"string_match": {"exact": scope}}}}
    path = [{"key": "jwt"}, {"key": "scope"}]
    return {"sourced_metadata": {"metadata_matcher": {"filter": JWT_METADATA, "path": path, "value": value}}}


def _arriving_bytes(largest: int) -> Json:
    limit = {
        "name": "envoy.filters.http.body_size_limit",
        "typed_config": filter_config("body_size_limit.v3.BodySizeLimit", max_request_bytes=largest),
    }
    chain = filter_config("filter_chain.v3.FilterChainConfigPerRoute", filter_chain={"filters": [limit]})
    return {"envoy.filters.http.filter_chain": chain}


def _kept_as(method: Method) -> str:
    """Return the Cache-Control of an answer that somebody may keep."""
    return cache_control(method) if method.rules.HasField("cache") else ""
