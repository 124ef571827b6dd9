"""gRPC service configs: how a caller of each service retries, balances and watches health.

No timeouts in them: `methodConfig.timeout` is not seen by the server. Callers pass a deadline instead.
"""

from gateway.contract.model import Contract, Method
from gateway.proto_json import Json

# grpc/service_config: retries stop while tokens are at half of maxTokens or below; each failure takes one,
# each success gives tokenRatio back, so at most about a tenth of the calls are retries.
_RETRY_TOKENS = 100
_RETRY_TOKENS_PER_SUCCESS = 0.1


def service_configs(contract: Contract) -> dict[str, Json]:
    """Return the service config for callers of each service, by service: order, product, user."""
    areas = sorted({method.area for method in contract.methods if not _is_everywhere(method)})
    return {area: _service_config([m for m in contract.methods if m.area == area]) for area in areas}


def _service_config(methods: list[Method]) -> Json:
    return {
        "loadBalancingConfig": [{"round_robin": {}}],
        # Works only together with round_robin, and with the health client module imported.
        "healthCheckConfig": {"serviceName": ""},
        "retryThrottling": {"maxTokens": _RETRY_TOKENS, "tokenRatio": _RETRY_TOKENS_PER_SUCCESS},
        "methodConfig": [_method_config(method) for method in methods if method.attempts > 1],
    }


def _method_config(method: Method) -> Json:
    return {
        "name": [{"service": method.service, "method": method.descriptor.name}],
        "retryPolicy": {
            "maxAttempts": method.attempts,
            "initialBackoff": "0.025s",
            "maxBackoff": "0.5s",
            "backoffMultiplier": 2,
            # CANCELLED by the peer: it is stopping, and the call reached no handler.
            "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"],
        },
    }


def _is_everywhere(method: Method) -> bool:
    """Tell whether every service offers a method, as it does the feed."""
    return method.area == "event"
