"""Example values for schemas: plausible by name, valid by rule, the same each time."""

from typing import Any

from gateway.openapi.schemas import Schemas
from gateway.proto_json import Json

_UUID = "0198c0de-5a1e-7c0d-8b5e-3f2a1b0c9d8e"
_BY_NAME: dict[str, Any] = {
    "accessToken": "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIwMTk4In0.c2lnbmF0dXJl",
    "alg": "EdDSA",
    "attributes": ["voltage=18 V"],
    "brand": "Bosch",
    "cancelReason": "CANCEL_REASON_UNSPECIFIED",
    "crv": "Ed25519",
    "currencyCode": "USD",
    "description": "18 V, two batteries",
    "device": "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "displayName": "Ada Lovelace",
    "email": "ada@example.com",
    "totpCode": "492039",
    "etag": "1",
    "expiresInSeconds": 900,
    "facet": "brand",
    "imageUrls": ["https://images.example.com/drill.jpg"],
    "kty": "OKP",
    "maxPrice": "199.99",
    "minPrice": "49.50",
    "name": "Cordless drill",
    "nanos": 990000000,
    "newPassword": "another horse, other batteries",
    "nextPageToken": "",
    "oldPassword": "correct horse battery staple",
    "pageSize": 25,
    "pageToken": "",
    "parentId": "",
    "password": "correct horse battery staple",
    "path": ["Tools", "Drills"],
    "paymentToken": "tok_ok",
    "quantity": 1,
    "query": "cordless drill",
    "reason": "delivery 4711",
    "refreshToken": "gR9sQ0Yy3mJ8vT1xW5zB7nK2",
    "requestId": "5f0c2a5e-9d3b-4b8f-8d55-6f2c7b9a1e34",
    "sku": "DRILL-18V",
    "token": "AZoicgq0c7OsHK2sHC5dYw-SY5Xn3oJbQ0v1mZk8rT2xWgHfLpEuNdAiBqCsVjKo",
    "tokenType": "Bearer",
    "units": "129",
    "updateMask": "displayName",
    "use": "sig",
    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
}
_BY_FORMAT = {"int64": "3", "date-time": "2026-01-31T09:30:00Z", "uuid": _UUID}


class Examples:
    """Makes examples from schemas, following references."""

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    def value(self, name: str, schema: Json) -> Any:
        """Return an example of a schema for a property of this name."""
        schema = self._resolved(schema)
        if schema.get("maxLength") == 0:
            return ""
        if schema.get("maxItems") == 0:
            return []
        if name in _BY_NAME and _is_kind(_BY_NAME[name], schema):
            return _BY_NAME[name]
        if schema.get("type") == "object":
            return self._object(schema)
        if schema.get("type") == "array":
            return [self.value(name.removesuffix("s"), schema["items"])]
        return _scalar(name, schema)

    def _object(self, schema: Json) -> Json:
        if "@type" in schema.get("properties", {}):
            return {"@type": "type.googleapis.com/commerce.order.v1.OrderConfirmed", "orderId": _UUID}
        if "additionalProperties" in schema:
            return {"voltage": "18 V"}
        return {name: self.value(name, each) for name, each in schema.get("properties", {}).items()}

    def _resolved(self, schema: Json) -> Json:
        if "$ref" in schema:
            return self._schemas.components[schema["$ref"].rpartition("/")[2]]
        if "allOf" not in schema:
            return schema
        merged: Json = {}
        for part in map(self._resolved, schema["allOf"]):
            properties = {**merged.get("properties", {})}
            for name, each in part.get("properties", {}).items():
                properties[name] = {**properties.get(name, {}), **each}
            merged = {**merged, **part, "properties": properties}
        return merged


def _is_kind(value: Any, schema: Json) -> bool:
    kinds = {"string": str, "integer": int, "array": list, "object": dict, "boolean": bool, "number": float}
    return isinstance(value, kinds.get(schema.get("type", ""), ())) and value in schema.get("enum", [value])


def _scalar(name: str, schema: Json) -> Any:
    if "enum" in schema:
        return schema["enum"][min(1, len(schema["enum"]) - 1)]
    if schema["type"] == "integer":
        return max(3, schema.get("minimum", 0))
    if schema["type"] == "number":
        return 0.5
    if schema["type"] == "boolean":
        return True
    return _BY_FORMAT.get(schema.get("format", ""), _UUID if name.endswith("Id") else "example")
