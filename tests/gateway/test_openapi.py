"""The OpenAPI document says what the edge does, and is valid."""

import json
from typing import Any

import jsonschema
import pytest
from openapi_spec_validator import validate

from gateway.generate import GENERATED, read_contract
from gateway.openapi import document
from gateway.protoc import PROTOS

Json = dict[str, Any]


@pytest.fixture(scope="module")
def openapi() -> Json:
    loaded: Json = json.loads((GENERATED / "openapi.json").read_text())
    return loaded


def operations(openapi: Json) -> dict[str, Json]:
    return {
        f"{verb.upper()} {path}": operation
        for path, verbs in openapi["paths"].items()
        for verb, operation in verbs.items()
    }


def test_the_document_is_valid_and_that_of_the_contract(openapi: Json) -> None:
    validate(openapi)
    assert openapi["openapi"].startswith("3.1")
    assert openapi == document(read_contract(PROTOS))


def test_every_exposed_path_is_there_and_nothing_else(openapi: Json) -> None:
    contract = read_contract(PROTOS)
    expected = sum(len(method.bindings) for method in contract.exposed)
    found = operations(openapi)
    assert len(found) == expected
    assert len({operation["operationId"] for operation in found.values()}) == expected
    assert "PATCH /v1/users/{userId}" in found
    text = json.dumps(openapi["paths"])
    assert "ReserveStock" not in text
    assert "IssueOperatorToken" not in text


def test_every_operation_says_how_it_fails(openapi: Json) -> None:
    for name, operation in operations(openapi).items():
        assert {"200", "400", "401", "404", "413", "429", "500", "503", "504", "default"} <= set(
            operation["responses"]
        ), name
    limited = openapi["components"]["responses"]["RateLimited"]
    assert {"retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(
        limited["headers"]
    )


def test_scopes_stand_where_they_are_asked_for(openapi: Json) -> None:
    found = operations(openapi)
    assert found["GET /v1/orders"]["security"] == [
        {"accessToken": ["orders.read"]},
        {"accessToken": ["orders.read_any"]},
    ]
    assert found["GET /v1/products"]["security"] == [{}, {"accessToken": []}]
    assert "403" in found["GET /v1/orders"]["responses"]
    assert "403" not in found["GET /v1/products"]["responses"]


def test_every_example_keeps_to_its_schema(openapi: Json) -> None:
    checked = 0
    for name, operation in operations(openapi).items():
        places = [*operation.get("parameters", ()), *_contents(operation, openapi)]
        for place in places:
            schema = {**place["schema"], "components": openapi["components"]}
            try:
                jsonschema.validate(place["example"], schema, format_checker=jsonschema.FormatChecker())
            except jsonschema.ValidationError as error:
                pytest.fail(f"{name}: {error.message} in {place['example']}")
            checked += 1
    assert checked > 100


def _contents(operation: Json, openapi: Json) -> list[Json]:
    holders = [operation["requestBody"]] if "requestBody" in operation else []
    for response in operation["responses"].values():
        found = response.get("$ref", "").rpartition("/")[2]
        holders.append(openapi["components"]["responses"][found] if found else response)
    return [content for holder in holders for content in holder["content"].values()]


def test_what_the_server_owns_is_answered_and_never_asked_for(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    assert "createTime" in schemas["Product"]["properties"]
    assert not {"productId", "createTime"} & set(schemas["ProductInput"]["properties"])
    assert not {"productId", "sku"} & set(schemas["ProductPatch"]["properties"])
    assert "required" not in schemas["ProductPatch"]
    assert {"sku", "name", "price"} == set(schemas["ProductInput"]["required"])
    assert "imageUrls" in schemas["Product"]["required"]
    assert "price" not in schemas["Product"]["required"]


def test_protovalidate_rules_are_schema_keywords(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    line = schemas["PlaceOrderLineInput"]["properties"]
    assert (line["quantity"]["minimum"], line["quantity"]["maximum"]) == (1, 10000)
    assert line["productId"]["format"] == "uuid"
    assert schemas["PlaceOrderRequest"]["properties"]["lines"]["maxItems"] == 100
    attributes = schemas["ProductInput"]["properties"]["attributes"]
    assert (attributes["maxProperties"], attributes["propertyNames"]["maxLength"]) == (200, 100)
    roles = schemas["UserPatch"]["properties"]["roles"]
    assert roles["uniqueItems"]
    assert "ROLE_UNSPECIFIED" not in roles["items"]["enum"]
    created = operations(openapi)["POST /v1/users"]["requestBody"]["content"]["application/json"]["schema"]
    user = schemas[created["$ref"].rpartition("/")[2]]["properties"]["user"]["allOf"][1]
    assert user["properties"]["email"] == {"format": "email", "maxLength": 254}
    assert user["properties"]["roles"] == {"maxItems": 0}


def test_numbers_of_64_bits_are_strings_and_enums_names(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    assert schemas["Stock"]["properties"]["free"]["type"] == "string"
    assert schemas["Money"]["properties"]["units"]["type"] == "string"
    assert schemas["Order"]["properties"]["state"]["enum"][2] == "ORDER_STATE_CONFIRMED"
    assert schemas["Order"]["properties"]["createTime"]["format"] == "date-time"


def test_lists_are_paged_and_linked(openapi: Json) -> None:
    listing = operations(openapi)["GET /v1/products"]
    parameters = {parameter["name"]: parameter for parameter in listing["parameters"]}
    assert parameters["pageSize"]["schema"]["maximum"] == 100
    assert parameters["pageToken"]["in"] == "query"
    assert listing["responses"]["200"]["links"]["nextPage"]["operationId"] == listing["operationId"]


def test_an_update_mask_names_what_may_change(openapi: Json) -> None:
    update = operations(openapi)["PATCH /v1/users/{userId}"]
    mask = next(parameter for parameter in update["parameters"] if parameter["name"] == "updateMask")
    assert mask["schema"]["pattern"] == r"^(\*|(displayName|roles)(,(displayName|roles))*)?$"
