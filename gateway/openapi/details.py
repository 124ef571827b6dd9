"""The details of a failure as JSON Schema: the messages of google/rpc/error_details.proto that we answer.

Their type stands in `@type`, as the JSON of every google.protobuf.Any has it, and tells them apart.
"""

from collections.abc import Sequence

from gateway.proto_json import Json

_TYPE = "type.googleapis.com/google.rpc."
_TEXT: Json = {"type": "string"}

# With what is always there: a violation of the whole names no field, and most reasons have no metadata.
_DETAILS: dict[str, tuple[str, Json, list[str]]] = {
    "ErrorInfo": (
        "Why it failed, for programs: `reason` is stable.",
        {
            "reason": {
                "type": "string",
                "description": "An operation lists those that it may give in `x-reasons`; more may come.",
                "pattern": "^[A-Z][A-Z0-9_]*$",
            },
            "domain": _TEXT,
            "metadata": {"type": "object", "additionalProperties": _TEXT},
        },
        ["reason", "domain"],
    ),
    "BadRequest": (
        "Which fields of the request are wrong.",
        {"fieldViolations": {"type": "array", "items": {"$ref": "#/components/schemas/FieldViolation"}}},
        ["fieldViolations"],
    ),
    "RetryInfo": (
        "When to try again, at the earliest.",
        {"retryDelay": {"type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,9})?s$"}},
        ["retryDelay"],
    ),
    "RequestInfo": (
        "Names the call in our logs.",
        {"requestId": _TEXT, "servingData": _TEXT},
        ["requestId"],
    ),
}
_FIELD_VIOLATION: Json = {
    "type": "object",
    "description": "One field and what is wrong with it.",
    "properties": {"field": _TEXT, "description": _TEXT, "reason": _TEXT},
    "required": ["description"],
}
_DETAIL: Json = {
    "description": "One of the details; `@type` says which.",
    "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in _DETAILS],
    "discriminator": {
        "propertyName": "@type",
        "mapping": {f"{_TYPE}{name}": f"#/components/schemas/{name}" for name in _DETAILS},
    },
}
_STATUS: Json = {
    "type": "object",
    "description": "google.rpc.Status: what every failure answers (AIP-193).",
    "properties": {
        "code": {
            "type": "integer",
            "description": "The gRPC code (google/rpc/code.proto).",
            "minimum": 1,
            "maximum": 16,
        },
        "message": {"type": "string", "description": "For people; it may change at any time."},
        "details": {
            "type": "array",
            "description": "Programs read these; an ErrorInfo is always among them.",
            "items": {"$ref": "#/components/schemas/ErrorDetail"},
        },
    },
    "required": ["code", "message", "details"],
}


def failure_schemas(reasons: Sequence[str]) -> dict[str, Json]:
    """Return the schemas of what every failure answers, by name.

    Args:
        reasons: Those of the catalogue.
    """
    details = {name: _detail(name, *parts) for name, parts in _DETAILS.items()}
    reason = details["ErrorInfo"]["properties"]["reason"]
    details["ErrorInfo"]["properties"]["reason"] = {**reason, "x-extensible-enum": list(reasons)}
    return {"Status": _STATUS, "ErrorDetail": _DETAIL, "FieldViolation": _FIELD_VIOLATION, **details}


def _detail(name: str, description: str, properties: Json, always_there: list[str]) -> Json:
    return {
        "type": "object",
        "description": description,
        "properties": {"@type": {"type": "string", "const": f"{_TYPE}{name}"}, **properties},
        "required": ["@type", *always_there],
    }
