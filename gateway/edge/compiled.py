"""The compiled edge configuration: what the contract says, without anything of a place."""

import json
from dataclasses import dataclass
from pathlib import Path

from gateway.contract.model import Contract, Method
from gateway.edge.arrival import arrival
from gateway.edge.health import health_check, health_routes
from gateway.edge.kept import kept_answers
from gateway.edge.limits import address_limits, health_limits, rate_limits
from gateway.edge.refusals import local_replies, missing_details
from gateway.edge.request_headers import first_look
from gateway.edge.rest import conditional, rest
from gateway.edge.routes import ADDRESS_LIMIT, METHOD_LIMIT, internal_route, route_configuration
from gateway.edge.shared_limits import service_limits
from gateway.edge.transcoding import statistics, transcoder
from gateway.proto_json import Json

JWKS_PATH = "/.well-known/jwks.json"
_DESCRIPTORS = "transcoder.binpb"


@dataclass(frozen=True)
class CompiledEdge:
    """What write_edge adds endpoints, ports and certificates to."""

    routes: Json
    filters: Json
    # By the name of the filter that reads them from the routes.
    limits: Json
    refusals: Json
    # How the edge gets the keys that verify tokens: {service, route}.
    keys: Json
    # The services that routes lead to: [order, product, user].
    services: list[str]
    longest_deadline_seconds: float
    descriptors: bytes


def compile_edge(contract: Contract, descriptors: bytes) -> dict[str, bytes]:
    """Return the files of generated/envoy by name; `descriptors` are the contract's, for the transcoder."""
    keys = _keys_method(contract)
    parts: dict[str, Json] = {
        "routes.json": route_configuration(contract, health_routes(contract, health_limits())),
        "filters.json": {
            "lua": first_look(contract),
            "arrival": arrival(missing_details()),
            "health": health_check(contract),
            "kept": kept_answers(contract),
            "rest": rest(contract),
            "conditional": conditional(),
            "grpc_json_transcoder": transcoder(contract),
            "grpc_stats": statistics(contract),
        },
        "limits.json": {METHOD_LIMIT: rate_limits(contract), ADDRESS_LIMIT: address_limits()},
        "refusals.json": local_replies(),
        "edge.json": {
            "keys": {"service": keys.service, "route": internal_route(keys)},
            "services": sorted({method.area for method in contract.exposed}),
            "longest_deadline_seconds": max(method.deadline_seconds or 0 for method in contract.exposed),
        },
    }
    files = {name: dump(part) for name, part in parts.items()}
    # The service that counts for several edges takes YAML, which JSON is.
    return {**files, _DESCRIPTORS: descriptors, "ratelimit.yaml": dump(service_limits(contract))}


def load_compiled(folder: Path) -> CompiledEdge:
    """Read what compile_edge wrote."""
    edge = _load(folder / "edge.json")
    return CompiledEdge(
        routes=_load(folder / "routes.json"),
        filters=_load(folder / "filters.json"),
        limits=_load(folder / "limits.json"),
        refusals=_load(folder / "refusals.json"),
        keys=edge["keys"],
        services=edge["services"],
        longest_deadline_seconds=edge["longest_deadline_seconds"],
        descriptors=(folder / _DESCRIPTORS).read_bytes(),
    )


def dump(value: Json) -> bytes:
    """Write JSON for people and diffs, the same bytes each time."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _keys_method(contract: Contract) -> Method:
    for method in contract.exposed:
        if any(binding.template == JWKS_PATH for binding in method.bindings):
            return method
    raise ValueError(f"no method answers GET {JWKS_PATH}, so the edge cannot verify tokens")


def _load(path: Path) -> Json:
    loaded: Json = json.loads(path.read_bytes())
    return loaded
