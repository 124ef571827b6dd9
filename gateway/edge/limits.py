"""The contract's rate limits as local_ratelimit filters: a bucket per method and caller, and one per address.

They are settings of the routes, which all listeners share: a filter's own settings belong to one listener,
and a caller would have a bucket on each.
"""

import math
from collections.abc import Mapping

from gateway.contract.model import ADDRESS, PERSON, Contract, Method, seconds
from gateway.edge.extension import filter_config
from gateway.edge.mutations import ANYTHING, header_of_answer, is_answer_over_grpc, unless, written
from gateway.edge.refusals import METADATA, OAUTH_PATHS
from gateway.edge.routes import ANONYMOUS, JWT_METADATA, KEPT_READS, seconds_text
from gateway.proto_json import Json
from services.networks import IPV6_PREFIX_BITS

# Buckets of one table, each of 400 bytes; the default is 20. There is a table for each method, for each page
# and question for health, and for all calls, and none forgets by age: an address each call, as whoever has a
# network of IPv6 has, fills them all. Together they have 105 MB, of the edge's 512. A bucket that had to go
# is full when it comes back, which gives nothing to somebody who has so many addresses.
_MOST_CALLERS = 2_700
_MOST_CALLERS_OF_ALL = 15_000
_MOST_CALLERS_OF_A_PAGE = 650
# The filter needs a bucket for what no descriptor matches; the routes leave nothing to it.
_UNLIMITED = 4_294_967_295
# Of a method's limit, in the headers RateLimit and RateLimit-Policy; and where the routes keep the latter.
_POLICY_NAME, _POLICY = "method", "rate_limit_policy"
# Where the routes keep over how many seconds the service counts it that counts for several edges; and which
# windows that service has (gateway/edge/shared_limits.py).
RATE_LIMIT_WINDOW = "rate_limit_window"
SHARED_WINDOWS = {1: "second", 60: "minute", 3600: "hour", 86400: "day"}
_POLICY_HEADER = "ratelimit-policy"
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
# All calls of an address together, refused and unknown ones too: about twice what the contract lets one
# person read, and far below what keeps the edge busy.
CALLS_OF_AN_ADDRESS = 1000
CALLS_PERIOD_SECONDS = 1.0
# Of these, reads without a token that the edge may answer from what it keeps (edge/kept.py). What goes
# on to a service has the method's own limit too; who asks for nothing else has a fifth of the calls left.
KEPT_READS_OF_AN_ADDRESS = 800
# Of those without a token, in so many seconds, where the place says so (EdgeSettings.anonymous_calls). Such a
# caller reads a few pages and logs in; who harvests the catalogue gets ten pages a minute. Whoever shows a
# token is counted by it, and one that is no good is refused before it costs anything. Where a token is not
# looked at, a call with one counts as much, in a bucket beside it.
ANONYMOUS_CALLS = 100
ANONYMOUS_PERIOD_SECONDS = 900.0
# Asked for the edge's health: many times what load balancers need. A bucket of its own, so that no edge is
# taken for dead because a proxy's many callers have used up the other one.
_HEALTH_CALLS_OF_AN_ADDRESS = 50
# Of each of the edge's own files: the page for people takes five of them once, with 1.9 MB in all.
_PAGES_OF_AN_ADDRESS = 20


def rate_limits(contract: Contract) -> Json:
    """Return the limits of the methods, with the contract's own figures."""
    limited = [method for method in contract.exposed if method.rules.HasField("rate_limit")]
    return {
        **_limits(_common_period_seconds(limited), _MOST_CALLERS),
        "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        "rate_limits": [{"actions": [_method(), _subject()]}, {"actions": [_method(), _address()]}],
        "descriptors": [_descriptor(method) for method in limited],
    }


def policies(limits: Json) -> dict[str, dict[str, str]]:
    """Return what answers tell, by method, of what `rate_limits` returned, scaled for the place."""
    # The first entry of each descriptor names the method.
    buckets = {each["entries"][0]["value"]: each["token_bucket"] for each in limits["descriptors"]}
    return {
        method: {_POLICY: _policy(bucket), RATE_LIMIT_WINDOW: str(shared_window(_window_seconds(bucket)))}
        for method, bucket in buckets.items()
    }


def shared_window(period_seconds: float) -> int:
    """Return the shortest window of the service's that holds a period."""
    return min((each for each in SHARED_WINDOWS if each >= period_seconds), default=max(SHARED_WINDOWS))


def with_policy(route: Json, policies_of_methods: Mapping[str, Mapping[str, str]]) -> Json:
    """Return a route that knows what is told of its method's limit, where it has one."""
    known = route.get("metadata", {}).get("filter_metadata", {}).get(METADATA, {})
    policy = policies_of_methods.get(known.get("method"))
    if policy is None:
        return route
    told = {**route["metadata"]["filter_metadata"], METADATA: {**known, **policy}}
    return {**route, "metadata": {"filter_metadata": told}}


def key_of_caller(method: Method) -> str:
    """Name what a method's callers are counted by: the key of the descriptor that each call makes."""
    return _KEYS[method.limited_by]


def _policy(bucket: Json, name: str = _POLICY_NAME) -> str:
    return f'"{name}";q={bucket["max_tokens"]};w={_window_seconds(bucket)}'


def _window_seconds(bucket: Json) -> int:
    return math.ceil(float(bucket["fill_interval"].removesuffix("s")))


def told_policy() -> Json:
    """Return what writes RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers) into an answer over REST.

    A refusal by the limits of an address has it already (`with_own_policy`).
    """
    return written(_POLICY_HEADER, f"%METADATA(ROUTE:{METADATA}:{_POLICY})%", "ADD_IF_ABSENT")


def with_own_policy(limits: Json) -> Json:
    """Return the limits of an address, scaled for the place, with what their refusals tell of them."""
    told = {each["entries"][0]["key"]: each["token_bucket"] for each in limits["descriptors"]}
    value = ", ".join(_policy(bucket, _POLICIES[key]) for key, bucket in told.items())
    header = {"key": _POLICY_HEADER, "value": value}
    return {**limits, "response_headers_to_add": [{"header": header, "append_action": "ADD_IF_ABSENT"}]}


def told_rest() -> Json:
    """Return the filter that tells in RateLimit how much of a method's limit is left, and until when.

    It stands before the limits, whose own headers it reads; where they were not asked it says nothing.
    """
    left = f'"{_POLICY_NAME}";r=%RESP(X-RATELIMIT-REMAINING)%;t=%RESP(X-RATELIMIT-RESET)%'
    unasked = {"not_matcher": header_of_answer("x-ratelimit-remaining", ANYTHING)}
    # By the answer: conditions on it and on the request do not come together in one filter of Envoy's.
    return unless([unasked, is_answer_over_grpc()], [written("ratelimit", left)])


def address_limits() -> Json:
    """Return the limit of an address over everything that it calls, and over what the edge may have kept."""
    limits = _by_address(CALLS_OF_AN_ADDRESS, most=_MOST_CALLERS_OF_ALL)
    kept = {
        "entries": [_KEPT, {"key": _NO_TOKEN, "value": _NO_TOKEN}, {"key": _KEYS[ADDRESS]}],
        "token_bucket": _bucket(KEPT_READS_OF_AN_ADDRESS, CALLS_PERIOD_SECONDS),
    }
    return {
        **limits,
        "rate_limits": [*limits["rate_limits"], {"actions": [_kept(), _without_token(), _address()]}],
        "descriptors": [*limits["descriptors"], kept],
    }


def with_anonymous(limits: Json, calls: int) -> Json:
    """Return the limits of an address with one more, over its calls without a token in 15 minutes.

    Preflights do not count, nor calls of the app.
    """
    bucket = _bucket(calls, ANONYMOUS_PERIOD_SECONDS)
    without = [_ANONYMOUS, {"key": _KEYS[ADDRESS]}]
    unseen = [_ANONYMOUS, {"key": _TOKEN, "value": _TOKEN}, {"key": _KEYS[ADDRESS]}]
    return {
        **limits,
        "rate_limits": [
            *limits["rate_limits"],
            {"actions": [_matched(_ANONYMOUS["key"], [_shown(False), *_NOT_COUNTED]), _address()]},
            {"actions": [_of_route(_ANONYMOUS["key"]), _matched(_TOKEN, [_shown(True)]), _address()]},
        ],
        "descriptors": [
            *limits["descriptors"],
            *({"entries": entries, "token_bucket": bucket} for entries in (without, unseen)),
        ],
    }


def health_limits() -> Json:
    """Return the limit of an address that asks whether the edge is well."""
    return _by_address(_HEALTH_CALLS_OF_AN_ADDRESS, most=_MOST_CALLERS_OF_A_PAGE)


def page_limits() -> Json:
    """Return the limit of an address that reads the edge's own files (gateway/edge/pages.py)."""
    return _by_address(_PAGES_OF_AN_ADDRESS, most=_MOST_CALLERS_OF_A_PAGE)


def app_limits(calls: int, period_seconds: float) -> Json:
    """Return the limit of an address that calls one path of the app (gateway/edge/app.py)."""
    return _by_address(calls, most=_MOST_CALLERS_OF_A_PAGE, period_seconds=period_seconds)


def _by_address(calls: int, *, most: int, period_seconds: float = CALLS_PERIOD_SECONDS) -> Json:
    bucket = _bucket(calls, period_seconds)
    return {
        **_limits(period_seconds, most),
        "rate_limits": [{"actions": [_address()]}],
        "descriptors": [{"entries": [{"key": _KEYS[ADDRESS]}], "token_bucket": bucket}],
    }


def _limits(period_seconds: float, most: int) -> Json:
    return filter_config(
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="edge",
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        # Without it gRPC clients see UNAVAILABLE, and retry.
        rate_limited_as_resource_exhausted=True,
        enable_retry_after_header=True,
        max_dynamic_descriptors=most,
        always_consume_default_token_bucket=False,
        token_bucket=_bucket(_UNLIMITED, period_seconds),
    )


def scale(config: Json, factor: float) -> Json:
    """Return the filter's configuration with every limit multiplied, for a place of another size."""
    scaled = [
        {**descriptor, "token_bucket": _scaled(descriptor["token_bucket"], factor)}
        for descriptor in config["descriptors"]
    ]
    return {**config, "descriptors": scaled}


def _scaled(bucket: Json, factor: float) -> Json:
    tokens = min(_UNLIMITED, max(1, round(bucket["max_tokens"] * factor)))
    return {**bucket, "max_tokens": tokens, "tokens_per_fill": tokens}


def _descriptor(method: Method) -> Json:
    limit = method.rules.rate_limit
    return {
        "entries": [{"key": "method", "value": method.name}, {"key": key_of_caller(method)}],
        "token_bucket": _bucket(limit.requests, seconds(limit.per)),
    }


_KEPT = {"key": "kept", "value": KEPT_READS}
_NO_TOKEN = "no_token"  # noqa: S105 a name
_ANONYMOUS = {"key": ANONYMOUS, "value": ANONYMOUS}
_TOKEN = "token"  # noqa: S105 a name
# Preflights of browsers, which never carry a token; and paths with limits of their own, where clients show
# who they are in other ways (gateway/edge/app.py).
_NOT_COUNTED: list[Json] = [
    {"name": ":method", "string_match": {"exact": "OPTIONS"}, "invert_match": True},
    {"name": ":path", "string_match": {"prefix": OAUTH_PATHS}, "invert_match": True},
]
# Anything else in `authorization` is looked at by nobody where a token may be missing.
_SHAPE_OF_A_TOKEN = "(?i:bearer) +[A-Za-z0-9_-]+[.][A-Za-z0-9_-]+[.][A-Za-z0-9_-]+"  # noqa: S105
# By the descriptor that each kind of caller makes below.
_KEYS = {ADDRESS: "masked_remote_address", PERSON: "subject"}
# What the limits of an address are called in RateLimit-Policy, by the first entry of each.
_POLICIES = {_KEYS[ADDRESS]: "address", _KEPT["key"]: "kept", ANONYMOUS: "anonymous"}


def _bucket(tokens: int, period_seconds: float) -> Json:
    return {
        "max_tokens": tokens,
        "tokens_per_fill": tokens,
        "fill_interval": seconds_text(period_seconds),
    }


def _method() -> Json:
    return _of_route("method")


def _kept() -> Json:
    return _of_route(_KEPT["key"])


def _of_route(name: str) -> Json:
    key = {"key": METADATA, "path": [{"key": name}]}
    return {"metadata": {"descriptor_key": name, "source": "ROUTE_ENTRY", "metadata_key": key}}


def _without_token() -> Json:
    header = {"name": "authorization", "present_match": True}
    return {
        "header_value_match": {
            "descriptor_key": _NO_TOKEN,
            "descriptor_value": _NO_TOKEN,
            "expect_match": False,
            "headers": [header],
        }
    }


def _matched(name: str, headers: list[Json]) -> Json:
    """Return what makes an entry of a call with all these headers: its name, twice."""
    return {"header_value_match": {"descriptor_key": name, "descriptor_value": name, "headers": headers}}


def _shown(is_shown: bool) -> Json:
    """Return what matches a call that shows something like an access token, or one that does not."""
    return {
        "name": "authorization",
        "string_match": {"safe_regex": {"regex": _SHAPE_OF_A_TOKEN}},
        "invert_match": not is_shown,
        "treat_missing_header_as_empty": True,
    }


def _subject() -> Json:
    key = {"key": JWT_METADATA, "path": [{"key": "jwt"}, {"key": "sub"}]}
    return {"metadata": {"descriptor_key": "subject", "source": "DYNAMIC", "metadata_key": key}}


def _address() -> Json:
    return {"masked_remote_address": {"v6_prefix_mask_len": IPV6_PREFIX_BITS}}


def _common_period_seconds(methods: list[Method]) -> float:
    """Every period must be a multiple of the default bucket's."""
    periods = [round(seconds(method.rules.rate_limit.per) * 1000) for method in methods]
    return math.gcd(*periods) / 1000 if periods else 1.0
