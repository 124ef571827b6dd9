"""The routes to the app (gateway/app): its paths one by one, each with its limits, and no others.

They pass the filters of all calls. Those of OAuth 2 do not pass the tokens': its clients show who they are in
ways of their own, which the app and the user service judge.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.edge.arrival import ARRIVAL, awaited, has_arrived
from gateway.edge.extension import filter_config
from gateway.edge.limits import app_limits, scale
from gateway.edge.refusals import APP_SCHEME, METADATA, told_of_size
from gateway.edge.request_headers import answered_with_verbs, told_as_app
from gateway.edge.routes import METHOD_LIMIT, NOWHERE, TOKEN_AGAIN, TOKEN_FIRST, TOKEN_OPTIONAL
from gateway.proto_json import Json, typed

# The cluster's name.
APP = "app"
_DEADLINE = "10s"
# As gateway/app/forms.py and gateway/app/graphql/requests.py take them.
_LARGEST_BYTES = 16 * 1024
_SECOND, _MINUTE = 1.0, 60.0


@dataclass(frozen=True)
class AppPath:
    """A path of the app, and how often an address may call it in a period."""

    path: str
    verbs: tuple[str, ...]
    calls: int
    period_seconds: float
    # A token that is no good is refused here, as for a public method; the services judge what it may.
    looks_at_token: bool = False


PATHS = (
    AppPath("/oauth2/authorize", ("GET",), 60, _MINUTE),
    # As CreateSession: both have passwords tried.
    AppPath("/oauth2/login", ("POST",), 20, _MINUTE),
    AppPath("/oauth2/consent", ("POST",), 20, _MINUTE),
    AppPath("/oauth2/style.css", ("GET",), 20, _SECOND),
    # As RefreshSession.
    AppPath("/oauth2/token", ("POST",), 60, _MINUTE),
    AppPath("/oauth2/revoke", ("POST",), 60, _MINUTE),
    # Once for each call that a client's own service takes.
    AppPath("/oauth2/introspect", ("POST",), 50, _SECOND),
    AppPath("/oauth2/userinfo", ("GET", "POST"), 20, _SECOND),
    # As ListProducts, the dearest method below it.
    AppPath("/graphql", ("POST",), 10, _SECOND, looks_at_token=True),
    AppPath("/.well-known/openid-configuration", ("GET",), 20, _SECOND),
    AppPath("/.well-known/oauth-authorization-server", ("GET",), 20, _SECOND),
)


def app_routes(rate_limit_scale: float) -> Iterator[Json]:
    """Yield the routes to each path, and what other verbs are told."""
    for each in PATHS:
        for verb in each.verbs:
            yield from _routes(each, verb, rate_limit_scale)
        yield {
            "name": each.path,
            "match": {"path": each.path},
            "route": NOWHERE,
            "metadata": answered_with_verbs(set(each.verbs), each.path),
        }


def _routes(each: AppPath, verb: str, rate_limit_scale: float) -> Iterator[Json]:
    """Yield the way to the app for a call whose body is here, and none before (gateway/edge/arrival.py)."""
    match: Json = {
        "path": each.path,
        "headers": [{"name": ":method", "string_match": {"exact": verb}}],
    }
    limits = scale(app_limits(each.calls, each.period_seconds), rate_limit_scale)
    route: Json = {
        "name": each.path,
        "match": match,
        "route": _action(),
        "decorator": {"operation": each.path},
        "metadata": {"filter_metadata": {METADATA: told_of_size(_LARGEST_BYTES), **told_as_app(each.path)}},
        "request_body_buffer_limit": _LARGEST_BYTES,
        # The virtual host writes over them after this, for gRPC (gateway/edge/request_headers.py).
        "request_headers_to_add": [
            _kept("x-app-content-type", "%REQ(content-type)%"),
            _kept(APP_SCHEME, "%REQ(x-forwarded-proto)%"),
        ],
        "typed_per_filter_config": {
            TOKEN_FIRST: _token_rule(each),
            TOKEN_AGAIN: filter_config("jwt_authn.v3.PerRouteConfig", disabled=True),
            METHOD_LIMIT: limits,
            # It refuses what is no method of the contract.
            "envoy.filters.http.grpc_json_transcoder": typed(
                "envoy.config.route.v3.FilterConfig", disabled=True
            ),
            "envoy.filters.http.rbac": _everybody(),
            ARRIVAL: awaited(_LARGEST_BYTES, reads=verb == "GET", cache=""),
        },
    }
    yield {**route, "match": {**match, **has_arrived()}}
    yield {**route, "route": NOWHERE}


def _token_rule(each: AppPath) -> Json:
    if each.looks_at_token:
        return filter_config("jwt_authn.v3.PerRouteConfig", requirement_name=TOKEN_OPTIONAL)
    return filter_config("jwt_authn.v3.PerRouteConfig", disabled=True)


def _action() -> Json:
    return {
        "cluster": APP,
        "timeout": "0s",
        "max_stream_duration": {"max_stream_duration": _DEADLINE},
        # What certainly reached no handler.
        "retry_policy": {"retry_on": "connect-failure,reset-before-request", "num_retries": 2},
    }


def _kept(key: str, value: str) -> Json:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _everybody() -> Json:
    policy = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    rules = {"action": "ALLOW", "policies": {"public": policy}}
    return filter_config("rbac.v3.RBACPerRoute", rbac={"rules": rules})
