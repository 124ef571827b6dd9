"""REST ↔ gRPC at the edge: which services are transcoded, and how."""

from gateway.contract.model import Contract
from gateway.edge.extension import filter_config
from gateway.edge.routes import JSON_BYTES_PER_WIRE_BYTE
from gateway.proto_json import Json

# Four times what a gRPC client takes by default; pages are capped far below.
_LARGEST_RESPONSE_BYTES = 16 * 1024 * 1024


def transcoder(contract: Contract) -> Json:
    """Return the transcoder's configuration without its descriptors."""
    services = sorted({method.service for method in contract.exposed if method.bindings})
    largest = max(
        (method.rules.max_request_bytes for method in contract.exposed if method.bindings), default=1024
    )
    return filter_config(
        "grpc_json_transcoder.v3.GrpcJsonTranscoder",
        services=services,
        convert_grpc_status=True,
        # `/v1/orders/1:ship` is unknown, not the order "1:ship".
        match_unregistered_custom_verb=True,
        query_param_unescape_plus=True,
        request_validation_options={
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            # Else a body that names a field of the path again says what is meant, and not the path.
            "reject_binding_body_field_collisions": True,
        },
        # Every field is there, always: callers need no defaults of their own.
        print_options={"always_print_primitive_fields": True},
        max_request_body_size=largest * JSON_BYTES_PER_WIRE_BYTE,
        max_response_body_size=_LARGEST_RESPONSE_BYTES,
    )


def statistics(contract: Contract) -> Json:
    """Return grpc_stats, counting by method: names from the contract only, so nobody can make up more."""
    names: dict[str, list[str]] = {}
    for method in contract.exposed:
        names.setdefault(method.service, []).append(method.descriptor.name)
    allowed = [{"name": service, "method_names": methods} for service, methods in sorted(names.items())]
    return filter_config(
        "grpc_stats.v3.FilterConfig",
        individual_method_stats_allowlist={"services": allowed},
        enable_upstream_stats=True,
    )
