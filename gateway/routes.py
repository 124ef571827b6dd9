"""The contract's methods as Envoy routes: who may call, for how long, how big, how often tried.

After the transcoder a REST call's path is /package.Service/Method, so every rule is written once, on
that path. A filter's settings on a route are read when the call reaches the filter, which is after the
path has changed; a `FilterConfig` that switches a filter off is read before, and must not be used here.
"""

from gateway.contract import Contract, Method
from gateway.extension import Json, extension, filter_config
from gateway.refusals import missing_details

ROUTES = "commerce"
UNKNOWN = "unknown"
TOKEN_REQUIRED, TOKEN_OPTIONAL = "token_required", "token_optional"
JWT_METADATA = "envoy.filters.http.jwt_authn"
# Route metadata that the rate limits read.
METADATA = "commerce"

# Each message on the gRPC wire has a prefix of this size (gRPC over HTTP2, Length-Prefixed-Message).
_FRAME_PREFIX_BYTES = 5
# How often a call that certainly reached no handler is tried again.
_SAFE_RETRIES = 2
_PREVIOUS_HOSTS = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
# gRPC's server answers CANCELLED to what arrives between its stop and the edge's hearing of it; calls that
# did reach a handler end by their deadlines, well before a stopping server would cancel them.
_SAFE_TO_RETRY = "cancelled,connect-failure,refused-stream,reset-before-request"
_STREAM_IDLE_SECONDS = 60
# Enabled for 0 % of the calls, which is the default.
_UNLIMITED = filter_config(
    "local_ratelimit.v3.LocalRateLimit",
    stat_prefix=UNKNOWN,
    token_bucket={"max_tokens": 1, "tokens_per_fill": 1, "fill_interval": "1s"},
)
# Headers that only the edge itself may act on, or that tell services what outsiders made up.
_NOT_FORWARDED = ["baggage", "cookie", "x-envoy-original-path"]


def route_configuration(contract: Contract) -> Json:
    """Return the RouteConfiguration of every exposed method; anything else is unknown."""
    return {
        "name": ROUTES,
        "virtual_hosts": [
            {
                "name": ROUTES,
                "domains": ["*"],
                "routes": [*(_route(method) for method in contract.exposed), _unknown()],
                "request_headers_to_remove": _NOT_FORWARDED,
                "response_headers_to_add": [missing_details()],
                # What the servers accept is between them and the edge.
                "response_headers_to_remove": ["grpc-accept-encoding"],
            }
        ],
    }


def internal_route(method: Method) -> Json:
    """Return a route to a method for the edge itself: no token, no limits."""
    return {"name": method.name, "match": _match(method), "route": _action(method)}


def seconds_text(seconds: float) -> str:
    """Write a duration as JSON does (google.protobuf.Duration)."""
    return f"{seconds:.9f}".rstrip("0").rstrip(".") + "s"


def retry_conditions(method: Method) -> str:
    """Return on what a hop tries again; UNAVAILABLE may come after an effect, so it must be repeatable."""
    return f"unavailable,{_SAFE_TO_RETRY}" if method.attempts > 1 else _SAFE_TO_RETRY


def retry_count(method: Method) -> int:
    """Return how often a hop tries again."""
    return method.attempts - 1 if method.attempts > 1 else _SAFE_RETRIES


def cache_control(method: Method) -> str:
    """Return the Cache-Control of an answer that succeeded."""
    if not method.rules.HasField("cache"):
        return "no-store"
    cache = method.rules.cache
    kind = "private" if cache.private else "public"
    return f"{kind}, max-age={cache.max_age.seconds}" if cache.max_age.seconds else f"{kind}, no-cache"


def _route(method: Method) -> Json:
    route: Json = {
        "name": method.name,
        "match": _match(method),
        "route": _action(method),
        "decorator": {"operation": method.name},
        "metadata": {"filter_metadata": {METADATA: {"method": method.name}}},
        "typed_per_filter_config": {
            "envoy.filters.http.jwt_authn": _token_rule(method),
            "envoy.filters.http.rbac": _scope_rule(method),
            **_size_rules(method),
        },
    }
    if method.rules.HasField("cache"):
        route["response_headers_to_add"] = [_cache_header(method)]
    return route


def _match(method: Method) -> Json:
    path = f"/{method.name}"
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


def _action(method: Method) -> Json:
    action: Json = {"cluster": method.area, "timeout": "0s", "retry_policy": _retry_policy(method)}
    if method.streams:
        action["idle_timeout"] = seconds_text(_STREAM_IDLE_SECONDS)
    if method.deadline_seconds is not None:
        # Unlike `timeout`, this reaches the server as its deadline, and caps what the client asks for.
        deadline = seconds_text(method.deadline_seconds)
        action["max_stream_duration"] = {"max_stream_duration": deadline, "grpc_timeout_header_max": deadline}
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


def _size_rules(method: Method) -> Json:
    """Limit the request's size twice: each filter sees only one kind of call.

    body_size_limit counts what native callers send, but its settings are found by the path before
    transcoding. `buffer` sees transcoded calls, but lets a message through that comes in one piece.
    """
    if method.streams:
        # A stream is not held up; its server judges each message.
        return {"envoy.filters.http.buffer": filter_config("buffer.v3.BufferPerRoute", disabled=True)}
    largest = method.rules.max_request_bytes + _FRAME_PREFIX_BYTES
    limit = {
        "name": "envoy.filters.http.body_size_limit",
        "typed_config": filter_config("body_size_limit.v3.BodySizeLimit", max_request_bytes=largest),
    }
    return {
        "envoy.filters.http.buffer": filter_config(
            "buffer.v3.BufferPerRoute", buffer={"max_request_bytes": largest}
        ),
        "envoy.filters.http.filter_chain": filter_config(
            "filter_chain.v3.FilterChainConfigPerRoute", filter_chain={"filters": [limit]}
        ),
    }


def _cache_header(method: Method) -> Json:
    return {
        "header": {"key": "cache-control", "value": cache_control(method)},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }


def _unknown() -> Json:
    """Answer what no method answers; hidden methods are unknown here."""
    return {
        "name": UNKNOWN,
        "match": {"prefix": "/"},
        # No such cluster, on purpose. A direct_response would do, if the CORS filter looked at such routes.
        "route": {"cluster": UNKNOWN, "cluster_not_found_response_code": "NOT_FOUND"},
        "typed_per_filter_config": {
            "envoy.filters.http.jwt_authn": filter_config("jwt_authn.v3.PerRouteConfig", disabled=True),
            "envoy.filters.http.rbac": filter_config("rbac.v3.RBACPerRoute"),
            "envoy.filters.http.local_ratelimit": _UNLIMITED,
            "envoy.filters.http.buffer": filter_config("buffer.v3.BufferPerRoute", disabled=True),
        },
    }
