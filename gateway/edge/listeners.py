"""The edge's listeners: plain and TLS for everyone, and a socket on which it reads the token keys."""

from collections.abc import Sequence
from pathlib import Path

from gateway.edge.arrival import ARRIVAL_SECONDS
from gateway.edge.bounds import MOST_HEADERS
from gateway.edge.compiled import CompiledEdge
from gateway.edge.extension import extension
from gateway.edge.request_headers import is_whole
from gateway.edge.routes import ROUTES, seconds_text
from gateway.edge.shares import CONNECTIONS_OF_A_LISTENER, shared_out, undivided
from gateway.proto_json import Json, typed
from services.roster import TRUST_DOMAIN

SERVER_SECRET = "edge_server"  # noqa: S105 a name
_CONNECTION_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_TLS_CONTEXT = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_REMOVE_EARLY = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
_REQUEST_ID = "envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"

# What is read of a connection before the others have their turn, and what waits to be written to it. With
# 1 MiB, one read worked through 250 requests whose headers unfold, and others waited 0.1 s for each.
_BUFFER_BYTES = 16 * 1024
# New connections taken before the others have their turn: who opens thousands fills the queue, not the loop.
_ACCEPTED_AT_ONCE = 8
_HEADERS_KB = 32
# A stream costs 38 kB here before it has sent anything. Callers of gRPC queue past this many; who calls as
# often as an address may has about 20 at once.
STREAMS_PER_CONNECTION = 32
# Plain and TLS.
CONNECTIONS_OF_THE_EDGE = 2 * CONNECTIONS_OF_A_LISTENER
_STREAM_WINDOW_BYTES = 64 * 1024
_CONNECTION_WINDOW_BYTES = 1024 * 1024
# Also for who connects and never speaks.
_CONNECTION_IDLE_SECONDS = 30
_STREAM_IDLE_SECONDS = 60
# An answer over HTTP/2 may be on its way for this long once it is whole: 1 MB at 170 kB a second.
_UNTAKEN_ANSWER_SECONDS = 6
_HANDSHAKE_SECONDS = 3
# What a connection may make the edge keep for it, beside its streams: frames on their way out, and among them
# the answers to its PING, SETTINGS and RST_STREAM.
_OUTBOUND_FRAMES = 2000
_OUTBOUND_CONTROL_FRAMES = 200
# What a connection may send that carries nothing: empty frames in a row; PRIORITY frames, by stream; and
# WINDOW_UPDATE frames, by DATA frame that it got.
_EMPTY_FRAMES = 1
_PRIORITY_FRAMES = 10
_WINDOW_UPDATES = 10
# On top of the longest deadline: time for the request to arrive.
_STREAM_ARRIVAL_SECONDS = 10
# Between "no new streams, please" and "no more streams" on an HTTP/2 connection that is to end. It must end
# well before its listener goes (--drain-time-s), which closes what is left.
_LAST_STREAMS_SECONDS = 0.25
SOCKET_MODE = 0o600

# Left empty, Envoy takes loopback and private networks for inside, and believes their x-envoy-* headers.
_NOBODY = {"address_prefix": "0.0.0.0", "prefix_len": 32}  # noqa: S104 matched, not bound to

# By it the refusals tell REST from gRPC, also before the first look at a request's headers.
_WRITTEN_BY_EDGE = "x-envoy-original-method"


def public_listener(
    name: str, address: tuple[str, int], manager: Json, certificate: Json | None = None, *, seed: int | None
) -> Json:
    """Return a listener for everyone; with a `certificate` (SdsSecretConfig) it speaks TLS.

    `seed` says which addresses share a part of its connections; None where those who connect are proxies.
    """
    chain: Json = {"filters": [manager]}
    if certificate is not None:
        chain["transport_socket"] = _tls(certificate)
        chain["transport_socket_connect_timeout"] = f"{_HANDSHAKE_SECONDS}s"
    host, port = address
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": name,
        "address": {"socket_address": {"address": host, "port_value": port}},
        **(undivided(name, chain) if seed is None else shared_out(name, chain, seed)),
        "per_connection_buffer_limit_bytes": _BUFFER_BYTES,
        "max_connections_to_accept_per_socket_event": _ACCEPTED_AT_ONCE,
    }


def keys_listener(socket: Path, edge: CompiledEdge, filters: Sequence[Json]) -> Json:
    """Return the listener of the edge's own: one route, on a socket that only this user can open."""
    host = {"name": "keys", "domains": ["*"], "routes": [edge.keys["route"]]}
    manager = _manager("keys", filters, route_config={"name": "keys", "virtual_hosts": [host]})
    return {
        "@type": "type.googleapis.com/envoy.config.listener.v3.Listener",
        "name": "keys",
        "address": {"pipe": {"path": str(socket), "mode": SOCKET_MODE}},
        "filter_chains": [{"filters": [manager]}],
    }


def public_manager(
    name: str,
    edge: CompiledEdge,
    filters: Sequence[Json],
    *,
    routes: Json,
    access_log: Sequence[Json],
    trusted_proxies: int,
) -> Json:
    """Return the connection manager of a public listener.

    Args:
        name: Prefix of its statistics.
        edge: The compiled contract.
        filters: Its HTTP filters, in order.
        routes: The config source of the routes (RDS).
        access_log: Where calls are told (gateway/edge/access_log.py).
        trusted_proxies: How many hops of x-forwarded-for are believed.
    """
    return _manager(
        name,
        filters,
        rds={"route_config_name": ROUTES, "config_source": routes},
        local_reply_config=edge.refusals,
        access_log=list(access_log),
        common_http_protocol_options=_connection_options(),
        http2_protocol_options=_http2_options(),
        # An upgrade may be ignored (RFC 9110, 7.8): there is nothing here to upgrade to.
        http_protocol_options={"ignore_http_11_upgrade": [{"safe_regex": {"regex": ".+"}}]},
        max_request_headers_kb=_HEADERS_KB,
        request_timeout=f"{edge.longest_deadline_seconds + _STREAM_ARRIVAL_SECONDS}s",
        stream_idle_timeout=f"{_STREAM_IDLE_SECONDS}s",
        stream_flush_timeout=f"{_UNTAKEN_ANSWER_SECONDS}s",
        drain_timeout=f"{_LAST_STREAMS_SECONDS}s",
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        # The address is the connection's, or the one that the outermost trusted proxy saw; no caller is
        # trusted to name another, nor to be inside. Limits, bodies and services all count by this one.
        use_remote_address=True,
        xff_num_trusted_hops=trusted_proxies,
        internal_address_config={"cidr_ranges": [_NOBODY]},
        # Made here, not taken from outside; nothing of the trace is packed into it.
        request_id_extension={"typed_config": typed(_REQUEST_ID, pack_trace_reason=False)},
        always_set_request_id_in_response=True,
        early_header_mutation_extensions=[
            extension("forged", _REMOVE_EARLY, mutations=[{"remove": _WRITTEN_BY_EDGE}, *is_whole()])
        ],
        server_name=TRUST_DOMAIN,
    )


def _connection_options() -> Json:
    return {
        "idle_timeout": f"{_CONNECTION_IDLE_SECONDS}s",
        "max_headers_count": MOST_HEADERS,
        "headers_with_underscores_action": "REJECT_REQUEST",
        # For every stream whose route has no limit of its own: it is still arriving.
        "max_stream_duration": seconds_text(ARRIVAL_SECONDS),
    }


def _http2_options() -> Json:
    return {
        "max_concurrent_streams": STREAMS_PER_CONNECTION,
        "initial_stream_window_size": _STREAM_WINDOW_BYTES,
        "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
        "max_outbound_frames": _OUTBOUND_FRAMES,
        "max_outbound_control_frames": _OUTBOUND_CONTROL_FRAMES,
        "max_consecutive_inbound_frames_with_empty_payload": _EMPTY_FRAMES,
        "max_inbound_priority_frames_per_stream": _PRIORITY_FRAMES,
        "max_inbound_window_update_frames_per_data_frame_sent": _WINDOW_UPDATES,
        "connection_keepalive": {"interval": "60s", "timeout": "20s"},
    }


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
