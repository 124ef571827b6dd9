"""The services behind the edge as Envoy clusters: mutual TLS, health, and how much each may be asked."""

from collections.abc import Sequence
from pathlib import Path

from gateway.proto_json import Json, typed
from services.roster import TRUST_DOMAIN

KEYS_CLUSTER = "edge_keys"
CLIENT_SECRET, AUTHORITY_SECRET = "edge_client", "authority"

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
# Few streams a connection, so that the workers which share a port share the calls.
_STREAMS_PER_CONNECTION = 20
# Connections are renewed now and then, so that a new worker gets its part.
_CONNECTION_LIFETIME = "300s"
# A draining service says NOT_SERVING for 2 s before it stops.
_HEALTH_INTERVAL = "1s"
_MOST_REQUESTS = 2000
# A window holds the largest message (services/rpc/server.py), and a connection's those of four streams.
_STREAM_WINDOW_BYTES = 1024 * 1024
_CONNECTION_WINDOW_BYTES = 4 * _STREAM_WINDOW_BYTES
# The kernel's queues between the edge and the service are the ones to keep short.
_BUFFER_BYTES = 1024 * 1024
_RETRIES_PERCENT_OF_CALLS = 20.0


def service_cluster(
    service: str, endpoints: Sequence[tuple[str, int]], *, client: Json, authority: Json
) -> Json:
    """Return the cluster of one service.

    Args:
        service: The last segment of its SPIFFE id, and the cluster's name.
        endpoints: Where its processes listen.
        client: Where the edge's own certificate comes from (SdsSecretConfig).
        authority: Where the authority's comes from, which signed the services'.
    """
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": service,
        "type": "STRICT_DNS",
        "lb_policy": "LEAST_REQUEST",
        "connect_timeout": "1s",
        "load_assignment": {
            "cluster_name": service,
            "endpoints": [{"lb_endpoints": [_endpoint(*endpoint) for endpoint in endpoints]}],
        },
        "typed_extension_protocol_options": {_HTTP_OPTIONS: _http2()},
        "transport_socket": _mutual_tls(service, client, authority),
        "upstream_connection_options": {"tcp_keepalive": {"keepalive_time": 30, "keepalive_interval": 5}},
        "health_checks": [_health_check()],
        "outlier_detection": _outlier_detection(),
        "circuit_breakers": {"thresholds": [_thresholds()]},
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
    }


def app_cluster(name: str, endpoints: Sequence[tuple[str, int]], *, client: Json, authority: Json) -> Json:
    """Return the cluster of the app, which speaks HTTP/1.1 and has the gateway's certificate.

    Args:
        name: The cluster's.
        endpoints: Where its processes listen.
        client: Where the edge's own certificate comes from (SdsSecretConfig).
        authority: Where the authority's comes from, which signed the gateway's.
    """
    cluster = service_cluster(name, endpoints, client=client, authority=authority)
    options = typed(
        _HTTP_OPTIONS,
        explicit_http_config={"http_protocol_options": {}},
        common_http_protocol_options={"max_connection_duration": _CONNECTION_LIFETIME},
    )
    check = {key: value for key, value in _health_check().items() if key != "grpc_health_check"}
    return {
        **cluster,
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
        "transport_socket": _mutual_tls("gateway", client, authority, protocol="http/1.1"),
        "health_checks": [{**check, "http_health_check": {"path": "/healthz"}}],
    }


def keys_cluster(socket: Path) -> Json:
    """Return the cluster through which the edge reads the token keys from itself."""
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    return {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
        "name": KEYS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": KEYS_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _endpoint(host: str, port: int) -> Json:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}


def _http2() -> Json:
    return typed(
        _HTTP_OPTIONS,
        explicit_http_config={
            "http2_protocol_options": {
                "max_concurrent_streams": _STREAMS_PER_CONNECTION,
                "initial_stream_window_size": _STREAM_WINDOW_BYTES,
                "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
            }
        },
        common_http_protocol_options={"max_connection_duration": _CONNECTION_LIFETIME},
    )


def _mutual_tls(service: str, client: Json, authority: Json, *, protocol: str = "h2") -> Json:
    identity = f"spiffe://{TRUST_DOMAIN}/{service}"
    peer = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": identity}}]}
    context = typed(
        _TLS_CONTEXT,
        common_tls_context={
            # Both: Envoy's own maximum is TLSv1_2 where it is the client.
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_3",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": [protocol],
            "tls_certificate_sds_secret_configs": [client],
            "combined_validation_context": {
                "default_validation_context": peer,
                "validation_context_sds_secret_config": authority,
            },
        },
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}


def _health_check() -> Json:
    """Ask often, also before the first call; one lost answer says nothing yet.

    Where all hosts seem sick, Envoy's panic threshold tries them all the same: with workers that share
    a port, the one that is stopping may be the one that was asked.
    """
    return {
        "grpc_health_check": {},
        "timeout": "1s",
        "interval": _HEALTH_INTERVAL,
        "no_traffic_interval": _HEALTH_INTERVAL,
        "interval_jitter": "0.1s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
    }


def _outlier_detection() -> Json:
    """Leave out a host that fails all its calls; what a caller can provoke (500, 501) does not count."""
    return {
        "split_external_local_origin_errors": True,
        "consecutive_local_origin_failure": 5,
        "consecutive_gateway_failure": 10,
        "enforcing_consecutive_gateway_failure": 100,
        "enforcing_consecutive_5xx": 0,
        "enforcing_success_rate": 0,
        "enforcing_local_origin_success_rate": 0,
        "interval": "1s",
        "base_ejection_time": "5s",
        "max_ejection_time": "30s",
        "max_ejection_percent": 50,
    }


def _thresholds() -> Json:
    return {
        "max_connections": 1024,
        "max_pending_requests": _MOST_REQUESTS,
        "max_requests": _MOST_REQUESTS,
        # The default of 3 retries at once starves them.
        "retry_budget": {
            "budget_percent": {"value": _RETRIES_PERCENT_OF_CALLS},
            "min_retry_concurrency": 10,
        },
        "track_remaining": True,
    }
