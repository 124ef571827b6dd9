"""The edge's listeners: plain and TLS for everyone, and a socket on which it reads the token keys."""

from collections.abc import Sequence
from pathlib import Path

from gateway.clusters import TRUST_DOMAIN
from gateway.compiled import CompiledEdge
from gateway.extension import Json, extension, typed
from gateway.routes import ROUTES

SERVER_SECRET = "edge_server"  # noqa: S105 a name
_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_REMOVE_EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_REQUEST_ID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"
_ACCESS_LOG = "envoy.extensions.access_loggers.file.v3.FileAccessLog"

_BUFFER_BYTES = 1024 * 1024
_HEADERS_KB = 32
_HEADERS_COUNT = 100
_STREAMS_PER_CONNECTION = 100
_STREAM_WINDOW_BYTES = 64 * 1024
_CONNECTION_WINDOW_BYTES = 1024 * 1024
_HEADERS_SECONDS = 10
_CONNECTION_IDLE_SECONDS = 300
_STREAM_IDLE_SECONDS = 60
# On top of the longest deadline: time for the request to arrive.
_ARRIVAL_SECONDS = 10
# Between "no new streams, please" and "no more streams" on an HTTP/2 connection that is to end. It must end
# well before its listener goes (--drain-time-s), which closes what is left.
_LAST_STREAMS_SECONDS = 0.25
_SOCKET_MODE = 0o600

# Left empty, Envoy takes loopback and private networks for inside, and believes their x-envoy-* headers.
_NOBODY = {"address_prefix": "0.0.0.0", "prefix_len": 32}  # noqa: S104 matched, not bound to

# Headers that say who someone is, or how this edge has changed a call: nobody outside may set them.
_FORGEABLE = (
    "x-envoy-original-method",
    "x-envoy-original-path",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-user",
    "x-jwt-payload",
    "x-real-ip",
    "x-remote-user",
    "x-spiffe-id",
    "x-user-id",
    "x-user-roles",
    "x-user-scopes",
)

# No query, no path of a resource, no address: nothing in it is about a person.
_LOGGED = {
    "time": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "method": "%ROUTE_NAME%",
    "verb": "%REQ(X-ENVOY-ORIGINAL-METHOD?:METHOD)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "grpc_status": "%GRPC_STATUS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "flags": "%RESPONSE_FLAGS%",
    "service": "%UPSTREAM_CLUSTER%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "duration_ms": "%DURATION%",
    "request_bytes": "%BYTES_RECEIVED%",
    "response_bytes": "%BYTES_SENT%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "traceparent": "%REQ(TRACEPARENT)%",
}


def public_listener(
    name: str, address: tuple[str, int], manager: Json, certificate: Json | None = None
) -> Json:
    """Return a listener for everyone; with a `certificate` (SdsSecretConfig) it speaks TLS."""
    chain: Json = {"filters": [manager]}
    if certificate is not None:
        chain["transport_socket"] = _tls(certificate)
    host, port = address
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": host, "port_value": port}},
        "filter_chains": [chain],
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
    }


def keys_listener(socket: Path, edge: CompiledEdge, filters: Sequence[Json]) -> Json:
    """Return the listener of the edge's own: one route, on a socket that only this user can open."""
    host = {"name": "keys", "domains": ["*"], "routes": [edge.keys["route"]]}
    manager = _manager("keys", filters, route_config={"name": "keys", "virtual_hosts": [host]})
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "keys",
        "address": {"pipe": {"path": str(socket), "mode": _SOCKET_MODE}},
        "filter_chains": [{"filters": [manager]}],
    }


def public_manager(
    name: str, edge: CompiledEdge, filters: Sequence[Json], *, routes: Json, access_log: Path
) -> Json:
    """Return the connection manager of a public listener.

    Args:
        name: Prefix of its statistics.
        edge: The compiled contract.
        filters: Its HTTP filters, in order.
        routes: The config source of the routes (RDS).
        access_log: The file that gets one JSON line a call.
    """
    return _manager(
        name,
        filters,
        rds={"route_config_name": ROUTES, "config_source": routes},
        local_reply_config=edge.refusals,
        access_log=[
            extension("file", _ACCESS_LOG, path=str(access_log), log_format={"json_format": _LOGGED})
        ],
        common_http_protocol_options={
            "idle_timeout": f"{_CONNECTION_IDLE_SECONDS}s",
            "max_headers_count": _HEADERS_COUNT,
            "headers_with_underscores_action": "REJECT_REQUEST",
        },
        http2_protocol_options={
            "max_concurrent_streams": _STREAMS_PER_CONNECTION,
            "initial_stream_window_size": _STREAM_WINDOW_BYTES,
            "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
            "connection_keepalive": {"interval": "60s", "timeout": "20s"},
        },
        max_request_headers_kb=_HEADERS_KB,
        request_headers_timeout=f"{_HEADERS_SECONDS}s",
        request_timeout=f"{edge.longest_deadline_seconds + _ARRIVAL_SECONDS}s",
        stream_idle_timeout=f"{_STREAM_IDLE_SECONDS}s",
        drain_timeout=f"{_LAST_STREAMS_SECONDS}s",
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        # The address is the connection's; no caller is trusted to name another, nor to be inside.
        use_remote_address=True,
        internal_address_config={"cidr_ranges": [_NOBODY]},
        # Made here, not taken from outside; nothing of the trace is packed into it.
        request_id_extension={"typed_config": typed(_REQUEST_ID, pack_trace_reason=False)},
        always_set_request_id_in_response=True,
        early_header_mutation_extensions=[
            extension("forged", _REMOVE_EARLY, mutations=[{"remove": header} for header in _FORGEABLE])
        ],
        server_name=TRUST_DOMAIN,
    )


def _manager(name: str, filters: Sequence[Json], **settings: object) -> Json:
    return extension(
        "envoy.filters.network.http_connection_manager",
        _CONNECTION_MANAGER,
        stat_prefix=name,
        http_filters=list(filters),
        **settings,
    )


def _tls(certificate: Json) -> Json:
    context = typed(
        _TLS_CONTEXT,
        common_tls_context={
            "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
            "alpn_protocols": ["h2", "http/1.1"],
            "tls_certificate_sds_secret_configs": [certificate],
        },
    )
    return {"name": "envoy.transport_sockets.tls", "typed_config": context}
