"""Envoy's way of naming an extension and its typed configuration."""

from collections.abc import Mapping
from typing import Any

from gateway.proto_json import Json, typed

_FILTERS = "envoy.extensions.filters.http."


def extension(name: str, message: str, **fields: Any) -> Json:
    """Return a named extension with its configuration."""
    return {"name": name, "typed_config": typed(message, **fields)}


def filter_config(message: str, **fields: Any) -> Json:
    """Return an HTTP filter's configuration; `message` without `envoy.extensions.filters.http.`."""
    return typed(_FILTERS + message, **fields)


def http_filter(name: str, config: Mapping[str, Any]) -> Json:
    """Return an HTTP filter of the stock name `envoy.filters.http.<name>`."""
    return {"name": f"envoy.filters.http.{name}", "typed_config": dict(config)}
