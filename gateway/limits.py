"""The contract's rate limits as one local_ratelimit filter: a bucket per method and caller."""

import math

from gateway.contract import Contract, Method, seconds
from gateway.extension import Json, filter_config
from gateway.routes import JWT_METADATA, METADATA, seconds_text

# The default of 20 evicts live buckets; each costs a few hundred bytes.
_MOST_CALLERS = 100_000
# The filter needs a bucket for what no descriptor matches; the routes leave nothing to it.
_UNLIMITED = 4_294_967_295
_ALWAYS = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
# An IPv6 host has a whole /64 to call from (RFC 6177).
_IPV6_PREFIX_BITS = 64


def rate_limits(contract: Contract) -> Json:
    """Return the filter's configuration, with the contract's own figures."""
    limited = [method for method in contract.exposed if method.rules.HasField("rate_limit")]
    return filter_config(
        "local_ratelimit.v3.LocalRateLimit",
        stat_prefix="edge",
        filter_enabled=_ALWAYS,
        filter_enforced=_ALWAYS,
        # Without it gRPC clients see UNAVAILABLE, and retry.
        rate_limited_as_resource_exhausted=True,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
        enable_retry_after_header=True,
        max_dynamic_descriptors=_MOST_CALLERS,
        always_consume_default_token_bucket=False,
        token_bucket=_bucket(_UNLIMITED, _common_period_seconds(limited)),
        rate_limits=[{"actions": [_method(), _subject()]}, {"actions": [_method(), _address()]}],
        descriptors=[_descriptor(method) for method in limited],
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
    caller = "address" if method.access == "public" else "subject"
    limit = method.rules.rate_limit
    return {
        "entries": [{"key": "method", "value": method.name}, {"key": _KEYS[caller]}],
        "token_bucket": _bucket(limit.requests, seconds(limit.per)),
    }


_KEYS = {"address": "masked_remote_address", "subject": "subject"}


def _bucket(tokens: int, period_seconds: float) -> Json:
    return {
        "max_tokens": tokens,
        "tokens_per_fill": tokens,
        "fill_interval": seconds_text(period_seconds),
    }


def _method() -> Json:
    key = {"key": METADATA, "path": [{"key": "method"}]}
    return {"metadata": {"descriptor_key": "method", "source": "ROUTE_ENTRY", "metadata_key": key}}


def _subject() -> Json:
    key = {"key": JWT_METADATA, "path": [{"key": "jwt"}, {"key": "sub"}]}
    return {"metadata": {"descriptor_key": "subject", "source": "DYNAMIC", "metadata_key": key}}


def _address() -> Json:
    return {"masked_remote_address": {"v6_prefix_mask_len": _IPV6_PREFIX_BITS}}


def _common_period_seconds(methods: list[Method]) -> float:
    """Every period must be a multiple of the default bucket's."""
    periods = [round(seconds(method.rules.rate_limit.per) * 1000) for method in methods]
    return math.gcd(*periods) / 1000 if periods else 1.0
