"""Fills a place into the compiled edge configuration and writes what Envoy reads.

Envoy watches the files: each is moved into place as a whole, so a running one takes the change over
without losing a call. Certificates are watched by themselves and need no writing.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.edge.access_log import access_log, shared_lines
from gateway.edge.app import APP, app_routes
from gateway.edge.clusters import AUTHORITY_SECRET, CLIENT_SECRET, app_cluster, keys_cluster, service_cluster
from gateway.edge.compiled import CompiledEdge, load_compiled
from gateway.edge.errors import EdgeSettingsError
from gateway.edge.extension import extension
from gateway.edge.files import move_into_place
from gateway.edge.http_filters import cors_policy, keys_filters, public_filters
from gateway.edge.limits import (
    ANONYMOUS_CALLS,
    policies,
    scale,
    with_anonymous,
    with_own_policy,
    with_policy,
)
from gateway.edge.listeners import (
    CONNECTIONS_OF_THE_EDGE,
    SERVER_SECRET,
    SOCKET_MODE,
    keys_listener,
    public_listener,
    public_manager,
)
from gateway.edge.origins import check_origin
from gateway.edge.pages import Pages
from gateway.edge.route_tree import by_prefix
from gateway.edge.routes import ADDRESS_LIMIT, METHOD_LIMIT
from gateway.edge.shared_limits import shared_limit_cluster
from gateway.proto_json import Json, typed

Address = tuple[str, int]

_SECRET = "envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105 a type
_MONITORS = "envoy.extensions.resource_monitors."
# Those of the public listeners, and the edge's own to its keys.
_MOST_CONNECTIONS = CONNECTIONS_OF_THE_EDGE + 100
# Streams reset at once: more than this many on a connection, and it is closed (rapid reset). With 250, three
# connections that were opened anew took a victim's p99 from 24 to 560 ms; with 50, from 26 to 140.
_RESET_STREAMS = 50
# Requests begun in one read of a connection; the rest wait for the next turn of the loop. Without it one read
# begins thousands of streams and answers each, before it looks at the resets behind them or at another
# connection: the edge grew by 3 GB. With 10, the 50 streams of each of 60 connections held up a new caller,
# who needs several turns, for 3.6 s.
_REQUESTS_PER_READ = 1
# Left alone, the allocator keeps whatever an attack once made it take for five minutes, for it counts with
# another one like it, and the steady release leaves that alone. Past the soft limit, twice what an edge at
# rest has, it gives back what is free before it takes more: after 60 connections with 100 bodies each that
# never came it kept 20 to 37 MB, and 15 to 60 without.
_GIVEN_BACK = {
    "bytes_to_release": 16 * 1024 * 1024,
    "memory_release_interval": "0.5s",
    "soft_memory_limit_bytes": 80 * 1024 * 1024,
}
_SEED_BITS = 32
# What the timeouts of gateway/edge/listeners.py shrink to while memory runs short.
_SHORTEST_TIMEOUTS = {
    "HTTP_DOWNSTREAM_CONNECTION_IDLE": "2s",
    "HTTP_DOWNSTREAM_STREAM_IDLE": "5s",
    "HTTP_DOWNSTREAM_STREAM_FLUSH": "0.5s",
    "TRANSPORT_SOCKET_CONNECT": "1s",
}
# A socket's path must fit into sockaddr_un (unix(7)).
_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class EdgeSettings:
    """Everything about one edge that the contract does not say.

    Args:
        http_address: Where plain REST, gRPC and gRPC-Web are answered.
        https_address: The same over TLS.
        services: Where the processes of each listen.
        app: Where the processes of the app listen (gateway/app); none leaves out its paths.
        server_cert, server_key: The edge's public certificate.
        client_cert, client_key: What the edge shows to services: spiffe://commerce.local/edge.
        client_ca: Who must have signed the services' certificates.
        issuer, audience: What access tokens must say.
        access_log: The file that gets one JSON line a call.
        rate_limit_scale: Multiplies every limit.
        anonymous_calls: How often an address may call without a token in 15 minutes; None: as with one.
        cors_origins: Origins whose pages may read answers, as browsers write them (gateway/edge/origins.py).
        trusted_proxies: How many hops of x-forwarded-for are believed; 0 where callers connect to the edge.
        swagger_ui: The folder of Swagger UI's files, for the page that shows the OpenAPI document to people.
        graphiql: The folder of GraphiQL's files, for the page that asks GraphQL; it asks for the schema too.
        docs: The folder of the guide's sources, docs/ of the project; the edge shows it at /docs/guide.
        keeps_answers: Whether public reads are answered from what was answered before (gateway/edge/kept.py).
        shared_limits: Where the service listens that counts calls for several edges; none: each counts alone.
        max_heap_bytes: Past 95 % of it, new calls are refused.
    """

    http_address: Address
    https_address: Address
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
    app: Sequence[Address] = ()
    anonymous_calls: int | None = ANONYMOUS_CALLS
    cors_origins: Sequence[str] = ()
    trusted_proxies: int = 0
    swagger_ui: Path | None = None
    graphiql: Path | None = None
    docs: Path | None = None
    keeps_answers: bool = True
    shared_limits: Sequence[Address] = ()
    max_heap_bytes: int = 1024 * 1024 * 1024


def write_edge(place: EdgeSettings, contract_dir: Path, out: Path) -> Path:
    """Write Envoy's configuration and return its bootstrap file. May be repeated while Envoy runs.

    What changed reaches a running Envoy at once, the bootstrap (heap, runtime) when it starts.

    Args:
        place: The place to fill in.
        contract_dir: generated/envoy; beside it stands the OpenAPI document.
        out: A folder of the edge's own; Envoy reads from there.

    Raises:
        EdgeSettingsError: a service has no endpoint, `out` is too deep for a socket, an origin is none,
            or a page's file is missing.
    """
    edge = load_compiled(contract_dir)
    _check(place, edge, out)
    out.mkdir(parents=True, exist_ok=True, mode=0o700)
    # What others refer to comes first.
    for secret in _secrets(place):
        _write_resources(_secret_file(out, secret["name"]), [secret])
    _write_resources(out / "cds.json", _clusters(place, edge, out))
    _write_resources(out / "shared_lines.json", [shared_lines()])
    document = contract_dir.with_name("openapi.json")
    copies = out.absolute() / "pages"
    pages = Pages.read(document, place.swagger_ui, place.docs, copies, graphiql=place.graphiql)
    pages.write()
    _write_resources(out / "rds.json", [_routes(place, edge, pages)])
    _write_resources(out / "lds.json", _listeners(place, edge, out))
    return _replace(out / "bootstrap.json", _bootstrap(place, out))


def admin_socket(out: Path) -> Path:
    """Name the socket on which Envoy answers about itself, to this user alone."""
    return out.absolute() / "admin.sock"


def _check(place: EdgeSettings, edge: CompiledEdge, out: Path) -> None:
    missing = [service for service in edge.services if not place.services.get(service)]
    if missing:
        raise EdgeSettingsError(
            f"no address is given for {', '.join(missing)}: name one in EdgeSettings.services"
        )
    for origin in place.cors_origins:
        check_origin(origin)
    for socket in (_keys_socket(out), admin_socket(out)):
        if len(os.fsencode(socket)) > _SOCKET_PATH_BYTES:
            raise EdgeSettingsError(f"the path {socket} is too long for a socket: use a shorter folder")


def _clusters(place: EdgeSettings, edge: CompiledEdge, out: Path) -> list[Json]:
    client, authority = _secret_ref(out, CLIENT_SECRET), _secret_ref(out, AUTHORITY_SECRET)
    services = [
        service_cluster(name, place.services[name], client=client, authority=authority)
        for name in edge.services
    ]
    app = [app_cluster(APP, place.app, client=client, authority=authority)] if place.app else []
    shared = [
        shared_limit_cluster(at, client=client, authority=authority) for at in [place.shared_limits] if at
    ]
    return [*services, *app, *shared, keys_cluster(_keys_socket(out))]


def _routes(place: EdgeSettings, edge: CompiledEdge, pages: Pages) -> Json:
    told = dict(edge.limits)
    if place.anonymous_calls is not None:
        told[ADDRESS_LIMIT] = with_anonymous(told[ADDRESS_LIMIT], place.anonymous_calls)
    limits = {name: scale(limit, place.rate_limit_scale) for name, limit in told.items()}
    limits[ADDRESS_LIMIT] = with_own_policy(limits[ADDRESS_LIMIT])
    policy = {"envoy.filters.http.cors": cors_policy(place.cors_origins), **limits}
    limited = limits[METHOD_LIMIT]
    of_pages = list(pages.routes(place.rate_limit_scale))
    of_pages += app_routes(place.rate_limit_scale) if place.app else []
    hosts = [
        # The last route stands for all that is unknown.
        {
            **{name: part for name, part in host.items() if name != "routes"},
            "typed_per_filter_config": policy,
            "matcher": by_prefix([*_told(host["routes"][:-1], limited), *of_pages, host["routes"][-1]]),
        }
        for host in edge.routes["virtual_hosts"]
    ]
    return {
        "@type": "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
        **edge.routes,
        "virtual_hosts": hosts,
    }


def _told(routes: Sequence[Json], limits: Json) -> list[Json]:
    told = policies(limits)
    return [with_policy(route, told) for route in routes]


def _listeners(place: EdgeSettings, edge: CompiledEdge, out: Path) -> list[Json]:
    certificate, seed = _secret_ref(out, SERVER_SECRET), None if place.trusted_proxies else _seed(out)
    http, https = _manager(place, edge, out, "http"), _manager(place, edge, out, "https")
    return [
        public_listener("http", place.http_address, http, seed=seed),
        public_listener("https", place.https_address, https, certificate, seed=seed),
        keys_listener(_keys_socket(out), edge, keys_filters(edge)),
    ]


def _seed(out: Path) -> int:
    """Return a number that nobody else knows, the same each time: another one would renew the listeners."""
    path = out / "seed"
    # An empty file is what a machine that lost its power may leave.
    if not path.exists() or not path.read_text(encoding="ascii"):
        move_into_place(path, str(secrets.randbits(_SEED_BITS)).encode())
    return int(path.read_text(encoding="ascii"))


def _manager(place: EdgeSettings, edge: CompiledEdge, out: Path, name: str) -> Json:
    filters = public_filters(
        edge,
        issuer=place.issuer,
        audience=place.audience,
        secure=name == "https",
        keeps_answers=place.keeps_answers,
        shares_limits=bool(place.shared_limits),
    )
    log = access_log(place.access_log.absolute(), _source(out / "shared_lines.json"))
    return public_manager(
        name,
        edge,
        filters,
        routes=_source(out / "rds.json"),
        access_log=log,
        trusted_proxies=place.trusted_proxies,
    )


def _secrets(place: EdgeSettings) -> list[Json]:
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


def _bootstrap(place: EdgeSettings, out: Path) -> Json:
    return {
        "node": {"id": "edge", "cluster": "edge"},
        # No port: any page in a browser on this machine could post to one, and end the edge.
        "admin": {"address": {"pipe": {"path": str(admin_socket(out)), "mode": SOCKET_MODE}}},
        "dynamic_resources": {
            "cds_config": _source(out / "cds.json"),
            "lds_config": _source(out / "lds.json"),
        },
        "layered_runtime": {"layers": [{"name": "static", "static_layer": _runtime()}]},
        "overload_manager": _overload(place.max_heap_bytes),
        "memory_allocator_manager": _GIVEN_BACK,
    }


def _runtime() -> Json:
    return {
        "http": {"max_requests_per_io_cycle": _REQUESTS_PER_READ},
        "overload": {
            "premature_reset_total_stream_count": _RESET_STREAMS,
            "premature_reset_min_stream_lifetime_seconds": 1,
        },
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
            _shorter_timeouts(),
            _at_heap("shrink_heap", 0.9),
            _at_heap("disable_http_keepalive", 0.92),
            _at_heap("stop_accepting_requests", 0.95),
            _at_heap("stop_accepting_connections", 0.98),
        ],
    }


def _at_heap(action: str, part: float) -> Json:
    trigger = {"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": part}}
    return {"name": f"envoy.overload_actions.{action}", "triggers": [trigger]}


def _shorter_timeouts() -> Json:
    """Wait ever less for callers who hold memory and do nothing, before it comes to refusing everyone."""
    trigger = {
        "name": "envoy.resource_monitors.fixed_heap",
        "scaled": {"scaling_threshold": 0.4, "saturation_threshold": 0.8},
    }
    return {
        "name": "envoy.overload_actions.reduce_timeouts",
        "triggers": [trigger],
        "typed_config": typed(
            "envoy.config.overload.v3.ScaleTimersOverloadActionConfig",
            timer_scale_factors=[
                {"timer": timer, "min_timeout": shortest} for timer, shortest in _SHORTEST_TIMEOUTS.items()
            ],
        ),
    }


def _source(path: Path) -> Json:
    return {"path_config_source": {"path": str(path.absolute())}, "resource_api_version": "V3"}


def _secret_ref(out: Path, name: str) -> Json:
    return {"name": name, "sds_config": _source(_secret_file(out, name))}


def _secret_file(out: Path, name: str) -> Path:
    """Name a secret's file: Envoy reads one secret from each (SDS)."""
    return out / f"secret_{name}.json"


def _keys_socket(out: Path) -> Path:
    return out.absolute() / "keys.sock"


def _write_resources(path: Path, resources: Sequence[Json]) -> None:
    text = json.dumps(resources, sort_keys=True)
    version = hashlib.sha256(text.encode()).hexdigest()[:16]
    _replace(path, {"version_info": version, "resources": list(resources)})


def _replace(path: Path, content: Json) -> Path:
    """Move a file into place, unless it is there already: Envoy reloads what is moved."""
    # On one line: with line breaks the json module does without its encoder in C, which is ten times as fast.
    text = json.dumps(content)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return path
    move_into_place(path, text.encode())
    return path
