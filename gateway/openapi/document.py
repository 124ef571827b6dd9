"""The contract as an OpenAPI 3.1 document of what the edge answers over REST."""

import re
from collections.abc import Iterator

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.model import Binding, Contract, Method, seconds
from gateway.contract.reasons import catalogue, own_reasons, shared_reasons
from gateway.contract.rest_checks import find_field
from gateway.edge.created import Created, created
from gateway.edge.json_fields import is_of_rest
from gateway.openapi.answers import (
    HEADERS,
    failure_answers,
    failure_components,
    success_headers,
)
from gateway.openapi.conditions import NOT_MODIFIED, header_parameters
from gateway.openapi.details import failure_schemas
from gateway.openapi.examples import Examples
from gateway.openapi.schemas import Schemas, Use
from gateway.openapi.words import in_json_names
from gateway.proto_json import Json

_FIELD_MASK = "google.protobuf.FieldMask"
_TOKEN = "accessToken"  # noqa: S105 the scheme's name
_ABOUT = (
    "Commerce Mesh over REST. Compiled from the contract: what stands here is what the edge enforces.\n\n"
    "Every failure answers google.rpc.Status; programs read `details[].reason`. 64-bit integers are strings. "
    "Fields and query parameters that the contract does not know are refused. A PATCH changes the fields in "
    "its body, empty ones too, unless `updateMask` names others. HEAD is answered where GET is. "
    "Lists come in pages: send `nextPageToken` back as `pageToken` until it is empty. "
    "A `requestId` (a UUID that the caller makes) lets a call be repeated without a second effect."
)


def document(contract: Contract) -> Json:
    """Return the whole document."""
    writer = _Writer(contract)
    paths = writer.paths()
    written: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "Commerce Mesh",
            "version": "v1",
            "description": _ABOUT,
            "contact": {"name": "The maintainers of Commerce Mesh"},
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "servers": [
            _server("http", "8080", "The edge"),
            _server("https", "8443", "The same, over TLS"),
        ],
        "tags": writer.tags(),
        "paths": paths,
        "components": {
            "schemas": {
                **dict(sorted(writer.schemas.components.items())),
                **failure_schemas([each.name for each in catalogue(contract)]),
            },
            "responses": failure_components(),
            "headers": HEADERS,
            "securitySchemes": {_TOKEN: _token_scheme(contract)},
        },
    }
    in_json: Json = in_json_names(written, contract)
    return in_json


def _server(scheme: str, port: str, description: str) -> Json:
    variables = {
        "host": {"default": "localhost", "description": "Where the mesh runs."},
        "port": {"default": port, "description": "Its port; `mesh up --port-offset` moves it."},
    }
    return {"url": f"{scheme}://{{host}}:{{port}}", "description": description, "variables": variables}


class _Writer:
    """Writes the operations and gathers the schemas they refer to."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.schemas = Schemas(contract)
        self._examples = Examples(self.schemas)

    def tags(self) -> list[Json]:
        services = {m.service: m.descriptor.containing_service for m in self._contract.exposed if m.bindings}
        return [
            {"name": service.name, "description": self._contract.comment(service)}
            for service in services.values()
        ]

    def paths(self) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for method in self._contract.exposed:
            for index, binding in enumerate(method.bindings):
                path = found.setdefault(_shown_path(method, binding), {})
                path[binding.verb.lower()] = self._operation(method, binding, index)
        return dict(sorted(found.items()))

    def _operation(self, method: Method, binding: Binding, index: int) -> Json:
        name = f"{method.descriptor.containing_service.name}_{method.descriptor.name}"
        operation: Json = {
            "operationId": name if index == 0 else f"{name}_{index + 1}",
            "tags": [method.descriptor.containing_service.name],
            "summary": method.comment.split(". ")[0].splitlines()[0].rstrip(".") if method.comment else name,
            "description": _description(self._contract, method),
            "security": [] if method.access == "public" else [{_TOKEN: []}],
        }
        if scopes := list(method.rules.scoped.any_of):
            operation["x-any-of-scopes"] = scopes
        own, shared = own_reasons(self._contract, method), shared_reasons(self._contract, method)
        operation["x-reasons"] = [reason.name for reason in (*own, *shared)]
        codes = {reason.code for reason in own}
        parameters = [
            *self._path_parameters(method, binding),
            *self._query_parameters(method, binding),
            *header_parameters(method, binding),
        ]
        if parameters:
            operation["parameters"] = parameters
        if binding.body:
            operation["requestBody"] = self._body(method, binding)
        made = created(self._contract, method, binding)
        answers = {"201" if made else "200": self._success(method, operation["operationId"], made)}
        if binding.verb == "GET" and method.rules.cache.etag:
            answers["304"] = NOT_MODIFIED
        operation["responses"] = {**answers, **failure_answers(method, binding, codes)}
        return operation

    def _path_parameters(self, method: Method, binding: Binding) -> Iterator[Json]:
        for path in binding.path_fields:
            field = _existing(method.descriptor.input_type, path)
            schema = self._path_schema(method, field, path)
            yield self._parameter("path", field.json_name, schema, required=True)

    def _path_schema(self, method: Method, field: FieldDescriptor, path: str) -> Json:
        """Look for the rules of a field inside a message also where the message is held."""
        schema = self.schemas.field(field, Use.INPUT)
        holder = method.descriptor.input_type.fields_by_name[path.split(".", maxsplit=1)[0]]
        if holder is field:
            return schema
        return {**schema, **self.schemas.rules_below(holder, field)}

    def _query_parameters(self, method: Method, binding: Binding) -> Iterator[Json]:
        if binding.body == "*":
            return
        for field in method.descriptor.input_type.fields:
            if field.name == binding.body or field.name in binding.path_fields or not is_of_rest(field):
                continue
            schema = self.schemas.field(field, Use.INPUT)
            if field.message_type is not None and field.message_type.full_name == _FIELD_MASK:
                schema |= self._mask(method, binding)
            required = "REQUIRED" in self._contract.behaviors(field)
            yield self._parameter("query", field.json_name, schema, required=required)

    def _mask(self, method: Method, binding: Binding) -> Json:
        """Let a mask name what a body may change (AIP-134), or everything."""
        schema = self._body_schema(method, binding)
        component = self.schemas.components[_reference(schema).rpartition("/")[2]]
        names = "|".join(name for name in component["properties"] if name != "etag")
        return {"pattern": rf"^(\*|({names})(,({names}))*)?$", "example": names.split("|", 1)[0]}

    def _parameter(self, place: str, name: str, schema: Json, *, required: bool) -> Json:
        schema = dict(schema)
        parameter: Json = {"name": name, "in": place, "required": required}
        if description := schema.pop("description", ""):
            parameter["description"] = description
        parameter["schema"] = schema
        if schema.get("type") == "array":
            parameter |= {"style": "form", "explode": True}
        parameter["example"] = schema.pop("example", None) or self._examples.value(name, schema)
        return parameter

    def _body_schema(self, method: Method, binding: Binding) -> Json:
        request = method.descriptor.input_type
        if binding.body == "*":
            return self.schemas.reference(request, Use.INPUT, without=binding.path_fields)
        field = _existing(request, binding.body)
        prefix = f"{binding.body}."
        within = [path.removeprefix(prefix) for path in binding.path_fields if path.startswith(prefix)]
        return self.schemas.body(field, Use.PATCH if binding.verb == "PATCH" else Use.INPUT, within)

    def _body(self, method: Method, binding: Binding) -> Json:
        schema = self._body_schema(method, binding)
        example = self._examples.value("", schema)
        return {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}

    def _success(self, method: Method, operation_id: str, made: Created | None) -> Json:
        schema = self.schemas.reference(method.descriptor.output_type, Use.ANSWER)
        content = {"schema": schema, "example": self._examples.value("", schema)}
        response: Json = {
            "description": "It was created, now or by the same request before." if made else "It worked.",
            "headers": success_headers(method, made),
            "content": {"application/json": content},
        }
        if "next_page_token" in method.descriptor.output_type.fields_by_name:
            response["links"] = {"nextPage": _next_page(operation_id, method)}
        return response


def _reference(schema: Json) -> str:
    """Return the reference that a schema is, or refines."""
    reference: str = schema["$ref"] if "$ref" in schema else schema["allOf"][0]["$ref"]
    return reference


def _existing(message: Descriptor, path: str) -> FieldDescriptor:
    field = find_field(message, path)
    if field is None:
        raise ValueError(f"{message.full_name} has no field {path}")
    return field


def _shown_path(method: Method, binding: Binding) -> str:
    """Return the path with JSON names: /v1/users/{userId} for /v1/users/{user.user_id}."""

    def shown(match: re.Match[str]) -> str:
        return "{" + _existing(method.descriptor.input_type, match[1]).json_name + "}"

    return re.sub(r"{([\w.]+)[^}]*}", shown, binding.template)


def _next_page(operation_id: str, method: Method) -> Json:
    kept = [path for binding in method.bindings for path in binding.path_fields]
    parameters = {
        _existing(method.descriptor.input_type, path).json_name: "$request.path."
        + str(_existing(method.descriptor.input_type, path).json_name)
        for path in kept
    }
    return {
        "operationId": operation_id,
        "parameters": {**parameters, "pageToken": "$response.body#/nextPageToken"},
        "description": "The next page, unless `nextPageToken` is empty.",
    }


def _description(contract: Contract, method: Method) -> str:
    limit = method.rules.rate_limit
    facts = [
        f"At most {limit.requests} calls every {seconds(limit.per):g} s from one {method.limited_by}",
        f"requests of at most {method.rules.max_request_bytes} bytes (as protobuf)",
    ]
    if method.deadline_seconds is not None:
        facts.append(f"answered within {method.deadline_seconds:g} s")
    text = [method.comment, "; ".join(facts) + "."]
    if method.access == "scoped":
        text.append("Needs one of the scopes: " + ", ".join(method.rules.scoped.any_of) + ".")
    if method.rules.scoped.own_session:
        text.append("Not for OAuth clients, whatever their scopes: CLIENT_NOT_ALLOWED.")
    if method.rules.HasField("step_up"):
        some = "Some requests want" if method.rules.step_up.on_demand else "Wants"
        age = f"{seconds(method.rules.step_up.max_age):g} seconds"
        text.append(f"{some} a log-in of the last {age}, else STEP_UP_REQUIRED; never a client's.")
    if owner := method.rules.scoped.any_owner:
        text.append(f"Without the scope {owner}, what belongs to others is as if it did not exist.")
    if scope := method.rules.scoped.personal:
        text.append(f"Without the scope {scope}, what is personal of others (`x-personal`) is masked.")
    if reasons := own_reasons(contract, method):
        listed = "\n".join(f"- `{reason.name}`: {reason.when} {reason.help}" for reason in reasons)
        text.append(f"It may be refused with:\n\n{listed}")
    return "\n\n".join(part for part in text if part)


def _token_scheme(contract: Contract) -> Json:
    roles = [f"{role.name}: {', '.join(sorted(role.scopes))}" for role in contract.roles]
    return {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": (
            "An access token of `POST /v1/sessions`. It carries the scopes of its holder's roles; "
            "an operation lists the scopes of which it needs one.\n\n" + "\n".join(roles)
        ),
    }
