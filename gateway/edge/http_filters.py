"""The edge's HTTP filters, in the one order that is safe.

Before the transcoder, what saves its work: addresses, tokens, limits and sizes are judged there first. After
it, tokens and scopes once more: only then is it certain which method is called, and a path that the routes
read in another way than the transcoder does would let REST calls in without a token.
"""

import base64
from collections.abc import Sequence

from gateway.edge.arrival import ARRIVAL, headers_of_answers
from gateway.edge.clusters import KEYS_CLUSTER
from gateway.edge.compiled import JWKS_PATH, CompiledEdge
from gateway.edge.extension import extension, filter_config, http_filter
from gateway.edge.health import check_filter, path_filters, ready_filter
from gateway.edge.kept import KEPT
from gateway.edge.limits import told_policy, told_rest
from gateway.edge.mutations import header, is_answer_over_grpc, is_grpc, unless, written
from gateway.edge.pages import page_files, page_headers
from gateway.edge.refusals import is_refusal_over_grpc, noted_code
from gateway.edge.request_headers import FIRST_LOOK, without_trailers
from gateway.edge.rest import CONDITIONAL, REST
from gateway.edge.routes import (
    ADDRESS_LIMIT,
    METHOD_LIMIT,
    TOKEN_AGAIN,
    TOKEN_FIRST,
    TOKEN_OPTIONAL,
    TOKEN_REQUIRED,
)
from gateway.edge.shared_limits import shared_limit_filter
from gateway.proto_json import Json

_SECONDS_PER_YEAR = 31_536_000
# A new signing key must be published this long before it signs.
_KEYS_REFRESH = "10s"
_KEYS_RETRY = "0.5s"
# Clocks may differ; the field's 0 means 60.
_CLOCK_SKEW_SECONDS = 1
_COMPRESSED_FROM_BYTES = 512
_COMPRESSED = ("application/json", "application/graphql-response+json")
# Kept in each thread: a token that was verified is not verified again at each call.
_VERIFIED_TOKENS = 1000

# What helmet sets (helmetjs.github.io, version 8), for an API that serves no pages.
_SECURITY_HEADERS = {
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "origin-agent-cluster": "?1",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-dns-prefetch-control": "off",
    "x-download-options": "noopen",
    "x-permitted-cross-domain-policies": "none",
    "x-xss-protection": "0",
}
_UNLESS_A_PAGE_SAYS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "SAMEORIGIN",
}
_HSTS = {"strict-transport-security": f"max-age={_SECONDS_PER_YEAR}; includeSubDomains"}
# On this machine it would turn every other program's plain pages of the same host away, for a year.
_THIS_MACHINE = "(?i)(localhost|.+[.]localhost|127[.][0-9]+[.][0-9]+[.][0-9]+|[[]::1[]])[.]?(:[0-9]+)?"
# What the way here leaves in a REST answer.
_LEAKED_HEADERS = (
    "grpc-status",
    "grpc-message",
    "grpc-encoding",
    "grpc-status-details-bin",
    "x-envoy-upstream-healthchecked-cluster",
)


def public_filters(
    edge: CompiledEdge, *, issuer: str, audience: str, secure: bool, keeps_answers: bool, shares_limits: bool
) -> list[Json]:
    """Return the filters of a public listener; `secure` where it speaks TLS."""
    shared = [shared_limit_filter(edge.limits[METHOD_LIMIT]["rate_limits"])] if shares_limits else []
    rules = _token_rules(issuer, audience)
    return [
        page_headers(),
        *([_stay_secure()] if secure else []),
        http_filter("header_to_metadata", noted_code()),
        _finish_rest_answers(),
        told_rest(),
        _limit(ADDRESS_LIMIT),
        *path_filters(edge.services),
        {"name": CONDITIONAL, "typed_config": edge.filters["conditional"], "disabled": True},
        *_compressors(),
        http_filter("cors", filter_config("cors.v3.Cors")),
        http_filter("grpc_web", filter_config("grpc_web.v3.GrpcWeb")),
        _first_look(edge, keeps_answers=keeps_answers),
        *page_files(),
        {"name": TOKEN_FIRST, "typed_config": rules},
        _limit(METHOD_LIMIT),
        http_filter("filter_chain", filter_config("filter_chain.v3.FilterChainConfig")),
        # For the routes that ask for it.
        {"name": REST, "typed_config": edge.filters["rest"], "disabled": True},
        {"name": "commerce.headers_of_answers", "typed_config": headers_of_answers()},
        _transcoder(edge, edge.filters["grpc_json_transcoder"]["services"]),
        http_filter("grpc_stats", edge.filters["grpc_stats"]),
        {"name": TOKEN_AGAIN, "typed_config": {**rules, "stat_prefix": "again."}},
        # Without a rule of the route nobody passes.
        http_filter("rbac", filter_config("rbac.v3.RBAC", rules={"action": "ALLOW"})),
        {"name": ARRIVAL, "typed_config": edge.filters["arrival"]},
        *shared,
        check_filter(edge.filters["health"]),
        http_filter("header_mutation", without_trailers()),
        _router(),
    ]


def keys_filters(edge: CompiledEdge) -> list[Json]:
    """Return the filters of the listener on which the edge asks itself for the token keys and its health."""
    return [ready_filter(edge.services), _transcoder(edge, [edge.keys["service"]]), _router()]


def cors_policy(origins: Sequence[str]) -> Json:
    """Return the CORS policy for browsers of these origins; with none, no other origin may read."""
    return filter_config(
        "cors.v3.CorsPolicy",
        allow_origin_string_match=[{"exact": origin} for origin in origins],
        allow_methods="GET, HEAD, POST, PATCH, DELETE",
        allow_headers=(
            "authorization, content-type, grpc-timeout, idempotency-key, if-match, if-none-match, "
            "traceparent, tracestate, x-grpc-web, x-user-agent, x-written"
        ),
        expose_headers=(
            "age, allow, etag, grpc-status, grpc-message, grpc-status-details-bin, location, ratelimit, "
            "ratelimit-policy, retry-after, www-authenticate, x-ratelimit-limit, x-ratelimit-remaining, "
            "x-ratelimit-reset, x-request-id, x-written"
        ),
        max_age="600",
        forward_not_matching_preflights=False,
    )


def _first_look(edge: CompiledEdge, *, keeps_answers: bool) -> Json:
    """Run another script on the routes that keep answers: other calls do not pay for it."""
    look = edge.filters["lua"]
    # A route that names a script which is not there would have none at all.
    scripts = {KEPT: edge.filters["kept"] if keeps_answers else look["default_source_code"]}
    return {"name": FIRST_LOOK, "typed_config": {**look, "source_codes": scripts}}


def _finish_rest_answers() -> Json:
    """Wrap up what REST callers get, refusals included; gRPC's own headers stay as they are."""
    mutations: list[Json] = [{"remove": name} for name in _LEAKED_HEADERS]
    mutations += [written(key, value) for key, value in _SECURITY_HEADERS.items()]
    # A page of the app says more exactly what it needs.
    mutations += [written(key, value, "ADD_IF_ABSENT") for key, value in _UNLESS_A_PAGE_SAYS.items()]
    # A cache of others shall not answer who names a write with what it has from before.
    mutations.append(written("vary", "origin, x-written", "APPEND_IF_EXISTS_OR_ADD"))
    mutations.append(told_policy())
    # What may be kept says so (gateway/edge/arrival.lua).
    mutations.append(written("cache-control", "no-store", "ADD_IF_ABSENT"))
    return unless([is_answer_over_grpc(), is_refusal_over_grpc()], mutations)


def _stay_secure() -> Json:
    """Tell browsers that they need not try without TLS."""
    return unless([is_grpc(), _is_this_machine()], [written(key, value) for key, value in _HSTS.items()])


def _is_this_machine() -> Json:
    return header(":authority", safe_regex={"google_re2": {}, "regex": _THIS_MACHINE})


def _compressors() -> list[Json]:
    brotli = extension("brotli", "envoy.extensions.compression.brotli.compressor.v3.Brotli", quality=4)
    gzip = extension(
        "gzip",
        "envoy.extensions.compression.gzip.compressor.v3.Gzip",
        compression_level="COMPRESSION_LEVEL_4",
    )
    return [_compressor("brotli", brotli), _compressor("gzip", gzip)]


def _compressor(name: str, library: Json) -> Json:
    common = {
        "min_content_length": _COMPRESSED_FROM_BYTES,
        "content_type_matcher": [{"exact": kind} for kind in _COMPRESSED],
    }
    config = filter_config(
        "compressor.v3.Compressor",
        compressor_library=library,
        response_direction_config={"common_config": common, "weaken_etag_on_compress": True},
    )
    return {"name": f"envoy.filters.http.compressor.{name}", "typed_config": config}


def _transcoder(edge: CompiledEdge, services: Sequence[str]) -> Json:
    config = {**edge.filters["grpc_json_transcoder"], "services": list(services)}
    config["proto_descriptor_bin"] = base64.b64encode(edge.descriptors).decode()
    return http_filter("grpc_json_transcoder", config)


def _limit(name: str) -> Json:
    """Return a filter whose limits stand with the routes."""
    return {
        "name": name,
        "typed_config": filter_config("local_ratelimit.v3.LocalRateLimit", stat_prefix="edge"),
    }


def _token_rules(issuer: str, audience: str) -> Json:
    """Verify every token that is sent; where one must be sent, the route says so."""
    either = {"requires_any": {"requirements": [{"provider_name": "commerce"}, {"allow_missing": {}}]}}
    return filter_config(
        "jwt_authn.v3.JwtAuthentication",
        providers={"commerce": _provider(issuer, audience)},
        requirement_map={TOKEN_REQUIRED: {"provider_name": "commerce"}, TOKEN_OPTIONAL: either},
        # For a route that says nothing.
        rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "commerce"}}],
    )


def _provider(issuer: str, audience: str) -> Json:
    return {
        "issuer": issuer,
        "audiences": [audience],
        "require_expiration": True,
        "clock_skew_seconds": _CLOCK_SKEW_SECONDS,
        # The default also takes tokens from ?access_token=, where logs and referrers see them.
        "from_headers": [{"name": "Authorization", "value_prefix": "Bearer "}],
        # The services verify it again.
        "forward": True,
        "payload_in_metadata": "jwt",
        "normalize_payload_in_metadata": {"space_delimited_claims": ["scope"]},
        "jwt_cache_config": {"jwt_cache_size": _VERIFIED_TOKENS},
        "remote_jwks": {
            "http_uri": {"uri": f"http://edge{JWKS_PATH}", "cluster": KEYS_CLUSTER, "timeout": "1s"},
            "cache_duration": _KEYS_REFRESH,
            # A listener that replaces another waits until it has the keys. The first one waits for no more
            # than the first try, which fails: it comes before any listener listens.
            "async_fetch": {"fast_listener": False, "failed_refetch_duration": _KEYS_RETRY},
        },
    }


def _router() -> Json:
    return http_filter("router", filter_config("router.v3.Router", suppress_envoy_headers=True))
