"""The contract's rate limits for several edges together, by Envoy's global rate limit protocol.

Each edge keeps its own limits (gateway/edge/limits.py), which cost no hop and turn floods away. What passes
them is asked about at a service that counts for all: envoyproxy/ratelimit, with what `service_limits` makes
for it. While that does not answer, each edge's own limits hold alone.

The filter asks only on routes that lead to a cluster, and a call over REST has none before its body is here:
so it stands behind the filter that waits for that.
"""

import math
from collections.abc import Sequence

from gateway.contract.model import Contract, Method, seconds
from gateway.edge.clusters import service_cluster
from gateway.edge.extension import filter_config, http_filter
from gateway.edge.limits import RATE_LIMIT_WINDOW, SHARED_WINDOWS, key_of_caller, shared_window
from gateway.edge.refusals import METADATA
from gateway.proto_json import Json
from services.roster import RATE_LIMITS

DOMAIN = "commerce"
# A hop to it and one from it to its Redis; past it the call goes on.
_TIMEOUT = "0.05s"


def service_limits(contract: Contract) -> Json:
    """Return the configuration of envoyproxy/ratelimit (its README, "Configuration")."""
    limited = [method for method in contract.exposed if method.rules.HasField("rate_limit")]
    return {"domain": DOMAIN, "descriptors": [_descriptor(method) for method in limited]}


def shared_limit_filter(rate_limits: Sequence[Json]) -> Json:
    """Return the filter that asks.

    Args:
        rate_limits: What each call is counted by, as the edge's own limits have it.
    """
    whole_window = {"key": "retry-after", "value": f"%METADATA(ROUTE:{METADATA}:{RATE_LIMIT_WINDOW})%"}
    return http_filter(
        "ratelimit",
        filter_config(
            "ratelimit.v3.RateLimit",
            domain=DOMAIN,
            rate_limits=list(rate_limits),
            rate_limit_service={
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": RATE_LIMITS}},
            },
            timeout=_TIMEOUT,
            # Without it gRPC clients see UNAVAILABLE, and retry.
            rate_limited_as_resource_exhausted=True,
            disable_x_envoy_ratelimited_header=True,
            response_headers_to_add=[{"header": whole_window}],
        ),
    )


def shared_limit_cluster(endpoints: Sequence[tuple[str, int]], *, client: Json, authority: Json) -> Json:
    """Return the cluster of the service that counts: over mutual TLS, as every other."""
    return service_cluster(RATE_LIMITS, endpoints, client=client, authority=authority)


def _descriptor(method: Method) -> Json:
    limit = {"key": key_of_caller(method), "rate_limit": _rate(method)}
    return {"key": "method", "value": method.name, "descriptors": [limit]}


def _rate(method: Method) -> Json:
    """Return a limit as so many in a window of the service's."""
    limit = method.rules.rate_limit
    period = seconds(limit.per)
    window = shared_window(period)
    return {"unit": SHARED_WINDOWS[window], "requests_per_unit": math.floor(limit.requests * window / period)}
