"""Fills a place into the compiled edge configuration and writes what Envoy reads.

Envoy watches the files: each is moved into place as a whole, so a running one takes the change over
without losing a call. Certificates are watched by themselves and need no writing.
"""

import hashlib
import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.clusters import AUTHORITY_SECRET, CLIENT_SECRET, keys_cluster, service_cluster
from gateway.compiled import CompiledEdge, load_compiled
from gateway.extension import Json, extension
from gateway.http_filters import cors_policy, keys_filters, public_filters
from gateway.listeners import SERVER_SECRET, keys_listener, public_listener, public_manager

Address = tuple[str, int]

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 a type
_MONITORS = "envoy.extensions.resource_monitors."
_MOST_CONNECTIONS = 10_000
# Streams reset at once: more than this many on a connection, and it is closed (rapid reset).
_RESET_STREAMS = 250
# A socket's path must fit into sockaddr_un (unix(7)).
_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class EdgePlace:
    """Everything about one edge that the contract does not say.

    Args:
        http_address: Where plain REST, gRPC and gRPC-Web are answered.
        https_address: The same over TLS.
        admin_address: Envoy's own page; on loopback.
        services: Where the processes of user, product and order listen.
        server_cert, server_key: The edge's public certificate.
        client_cert, client_key: What the edge shows to services: spiffe://commerce.local/edge.
        client_ca: Who must have signed the services' certificates.
        issuer, audience: What access tokens must say.
        access_log: The file that gets one JSON line a call.
        rate_limit_scale: Multiplies every limit of the contract.
        cors_origins: Origins whose browsers may read answers.
        max_heap_bytes: Past 95 % of it, new calls are refused.
    """

    http_address: Address
    https_address: Address
    admin_address: Address
    services: Mapping[str, Sequence[Address]]
    server_cert: Path
    server_key: Path
    client_cert: Path
    client_key: Path
    client_ca: Path
    issuer: str
    audience: str
    access_log: Path
    rate_limit_scale: float = 1.0
    cors_origins: Sequence[str] = ()
    max_heap_bytes: int = 1024 * 1024 * 1024


class EdgePlaceError(Exception):
    """A place that Envoy cannot be configured for; the message says what to change."""


def write_edge(place: EdgePlace, contract_dir: Path, out: Path) -> Path:
    """Write Envoy's configuration and return its bootstrap file. May be repeated while Envoy runs.

    What changed reaches a running Envoy at once, the bootstrap (admin address, heap) when it starts.

    Args:
        place: The place to fill in.
        contract_dir: generated/envoy.
        out: A folder of the edge's own; Envoy reads from there.

    Raises:
        EdgePlaceError: a service has no endpoint, the admin page is not on loopback, or `out` is too deep.
    """
    edge = load_compiled(contract_dir)
    _check(place, edge, out)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    # What others refer to comes first.
    for secret in _secrets(place):
        _write_resources(_secret_file(out, secret["name"]), [secret])
    _write_resources(out / "cds.json", _clusters(place, edge, out))
    _write_resources(out / "rds.json", [_routes(place, edge)])
    _write_resources(out / "lds.json", _listeners(place, edge, out))
    return _replace(out / "bootstrap.json", _bootstrap(place, out))


def _check(place: EdgePlace, edge: CompiledEdge, out: Path) -> None:
    missing = [service for service in edge.services if not place.services.get(service)]
    if missing:
        raise EdgePlaceError(f"no address is given for {', '.join(missing)}: name one in EdgePlace.services")
    if not ipaddress.ip_address(place.admin_address[0]).is_loopback:
        raise EdgePlaceError(f"Envoy's admin page must stay on loopback, not on {place.admin_address[0]}")
    if len(os.fsencode(_socket(out))) > _SOCKET_PATH_BYTES:
        raise EdgePlaceError(f"the path {_socket(out)} is too long for a socket: use a shorter folder")


def _clusters(place: EdgePlace, edge: CompiledEdge, out: Path) -> list[Json]:
    client, authority = _secret_ref(out, CLIENT_SECRET), _secret_ref(out, AUTHORITY_SECRET)
    services = [
        service_cluster(name, place.services[name], client=client, authority=authority)
        for name in edge.services
    ]
    return [*services, keys_cluster(_socket(out))]


def _routes(place: EdgePlace, edge: CompiledEdge) -> Json:
    policy = {"envoy.filters.http.cors": cors_policy(place.cors_origins)}
    hosts = [{**host, "typed_per_filter_config": policy} for host in edge.routes["virtual_hosts"]]
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        **edge.routes,
        "virtual_hosts": hosts,
    }


def _listeners(place: EdgePlace, edge: CompiledEdge, out: Path) -> list[Json]:
    certificate = _secret_ref(out, SERVER_SECRET)
    return [
        public_listener("http", place.http_address, _manager(place, edge, out, "http")),
        public_listener("https", place.https_address, _manager(place, edge, out, "https"), certificate),
        keys_listener(_socket(out), edge, keys_filters(edge)),
    ]


def _manager(place: EdgePlace, edge: CompiledEdge, out: Path, name: str) -> Json:
    filters = public_filters(
        edge,
        issuer=place.issuer,
        audience=place.audience,
        limit_scale=place.rate_limit_scale,
        secure=name == "https",
    )
    return public_manager(
        name, edge, filters, routes=_source(out / "rds.json"), access_log=place.access_log.absolute()
    )


def _secrets(place: EdgePlace) -> list[Json]:
    return [
        _certificate(SERVER_SECRET, place.server_cert, place.server_key),
        _certificate(CLIENT_SECRET, place.client_cert, place.client_key),
        _secret(AUTHORITY_SECRET, validation_context=_watched(place.client_ca, trusted_ca=place.client_ca)),
    ]


def _certificate(name: str, chain: Path, key: Path) -> Json:
    return _secret(name, tls_certificate=_watched(chain, certificate_chain=chain, private_key=key))


def _secret(name: str, **content: Json) -> Json:
    return {"@type": f"type.googleapis.com/{_SECRET}", "name": name, **content}


def _watched(near: Path, **files: Path) -> Json:
    named: Json = {field: {"filename": str(path.absolute())} for field, path in files.items()}
    return {**named, "watched_directory": {"path": str(near.absolute().parent)}}


def _bootstrap(place: EdgePlace, out: Path) -> Json:
    host, port = place.admin_address
    return {
        "node": {"id": "edge", "cluster": "edge"},
        "admin": {"address": {"socket_address": {"address": host, "port_value": port}}},
        "dynamic_resources": {
            "cds_config": _source(out / "cds.json"),
            "lds_config": _source(out / "lds.json"),
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _runtime()}]},
        "overload_manager": _overload(place.max_heap_bytes),
    }


def _runtime() -> Json:
    return {
        "overload": {
            "premature_reset_total_stream_count": _RESET_STREAMS,
            "premature_reset_min_stream_lifetime_seconds": 1,
        }
    }


def _overload(max_heap_bytes: int) -> Json:
    heap, connections = "fixed_heap", "global_downstream_max_connections"
    monitors = [
        extension(
            f"envoy.resource_monitors.{heap}",
            f"{_MONITORS}{heap}.v3.FixedHeapConfig",
            max_heap_size_bytes=max_heap_bytes,
        ),
        extension(
            f"envoy.resource_monitors.{connections}",
            f"{_MONITORS}downstream_connections.v3.DownstreamConnectionsConfig",
            max_active_downstream_connections=_MOST_CONNECTIONS,
        ),
    ]
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": monitors,
        "actions": [
            _at_heap("shrink_heap", 0.9),
            _at_heap("disable_http_keepalive", 0.92),
            _at_heap("stop_accepting_requests", 0.95),
            _at_heap("stop_accepting_connections", 0.98),
        ],
    }


def _at_heap(action: str, part: float) -> Json:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": part}}
    return {"name": f"envoy.overload_actions.{action}", "triggers": [trigger]}


def _source(path: Path) -> Json:
    return {"path_config_source": {"path": str(path.absolute())}, "resource_api_version": "V3"}


def _secret_ref(out: Path, name: str) -> Json:
    return {"name": name, "sds_config": _source(_secret_file(out, name))}


def _secret_file(out: Path, name: str) -> Path:
    """Name a secret's file: Envoy reads one secret from each (SDS)."""
    return out / f"secret_{name}.json"


def _socket(out: Path) -> Path:
    return out.absolute() / "keys.sock"


def _write_resources(path: Path, resources: Sequence[Json]) -> None:
    text = json.dumps(resources, sort_keys=True)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    _replace(path, {"version_info": version, "resources": list(resources)})


def _replace(path: Path, content: Json) -> Path:
    """Move a file into place, unless it is there already: Envoy reloads what is moved."""
    text = json.dumps(content, indent=1)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return path
    fresh = path.with_suffix(".new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    return path
