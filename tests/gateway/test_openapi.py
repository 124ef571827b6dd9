"""The OpenAPI document says what the edge does, and is valid."""

import json
import re
from typing import Any, get_args

import jsonschema
import pytest
from commerce.product.v1 import product_pb2
from openapi_spec_validator import validate

from gateway.contract.protoc import PROTOS
from gateway.generate import GENERATED, read_contract
from gateway.openapi.document import document
from services.rpc.status import Detail

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


def test_what_creates_says_so_and_where(openapi: Json) -> None:
    answers = {name: each["responses"] for name, each in operations(openapi).items()}
    made = {name: each["201"] for name, each in answers.items() if "201" in each}
    assert made.keys() == {"POST /v1/users", "POST /v1/orders", "POST /v1/products", "POST /v1/categories"}
    assert all(answer["headers"]["location"] for answer in made.values())


def test_every_operation_says_how_it_fails(openapi: Json) -> None:
    for name, operation in operations(openapi).items():
        answers = set(operation["responses"])
        assert {"400", "401", "404", "413", "429", "500", "503", "504", "default"} <= answers, name
        assert len(answers & {"200", "201"}) == 1, name
    limited = openapi["components"]["responses"]["RateLimited"]
    assert {"retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"} <= set(
        limited["headers"]
    )


def test_scopes_stand_where_they_are_asked_for(openapi: Json) -> None:
    found = operations(openapi)
    assert found["GET /v1/orders"]["security"] == [{"accessToken": []}]
    assert found["GET /v1/orders"]["x-any-of-scopes"] == ["orders.read", "orders.read_any"]
    assert found["GET /v1/products"]["security"] == []
    assert "x-any-of-scopes" not in found["GET /v1/products"]
    assert "403" in found["GET /v1/orders"]["responses"]
    # It is public, and shows some products to some people only.
    assert "403" in found["GET /v1/products"]["responses"]
    assert "403" not in found["GET /v1/products/{productId}"]["responses"]


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
    # 304 has none.
    return [content for holder in holders for content in holder.get("content", {}).values()]


def test_what_the_server_owns_is_answered_and_never_asked_for(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    assert "createTime" in schemas["Product"]["properties"]
    assert not {"productId", "createTime"} & set(schemas["NewProduct"]["properties"])
    assert not {"productId", "sku"} & set(schemas["ProductPatch"]["properties"])
    assert "required" not in schemas["ProductPatch"]
    assert {"sku", "name", "price"} == set(schemas["NewProduct"]["required"])


def test_what_is_always_there_is_required(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    for answer in ("Product", "Order", "OrderLine", "User", "Session", "CreateSessionResponse", "Event"):
        optional = {"emailVerifyTime"} if answer == "User" else set()
        assert set(schemas[answer]["required"]) == set(schemas[answer]["properties"]) - optional, answer


def test_what_may_not_stand_in_a_new_thing_is_not_offered(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    assert set(schemas["NewUser"]["properties"]) == {"email", "displayName"}
    assert schemas["NewUser"]["required"] == ["email"]
    assert "etag" in schemas["UserPatch"]["properties"]
    assert "etag" not in schemas["NewProduct"]["properties"]
    assert schemas["CreateUserRequest"]["properties"]["user"]["$ref"].endswith("/NewUser")


def test_ids_are_uuids_in_answers_too(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    assert schemas["Order"]["properties"]["orderId"]["format"] == "uuid"
    assert schemas["OrderLine"]["properties"]["productId"]["format"] == "uuid"
    # None for an adjustment, and none for a category at the top.
    for answer, field in (("StockMovement", "orderId"), ("Category", "parentId")):
        assert schemas[answer]["properties"][field]["pattern"].startswith("^$|")


def test_enums_are_named_once(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    assert schemas["OrderState"]["enum"][2] == "ORDER_STATE_CONFIRMED"
    assert schemas["Order"]["properties"]["state"]["$ref"].endswith("/OrderState")
    named = [name for name, schema in schemas.items() if "enum" in schema]
    # The choices of a text, such as orderBy, are in small letters and stand where it does.
    assert len(re.findall(r'"enum": \["[A-Z]', json.dumps(openapi))) == len(named)
    # Where some values are refused.
    assert set(schemas["Role"]["enum"]) - set(schemas["RoleInput"]["enum"]) == {"ROLE_UNSPECIFIED"}


def test_a_failures_details_are_told_apart_by_their_type(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    detail = schemas["ErrorDetail"]
    assert detail["discriminator"]["propertyName"] == "@type"
    for url, reference in detail["discriminator"]["mapping"].items():
        assert {"$ref": reference} in detail["oneOf"]
        assert schemas[reference.rpartition("/")[2]]["properties"]["@type"]["const"] == url
    known = {f"type.googleapis.com/{each.DESCRIPTOR.full_name}" for each in get_args(Detail)}
    assert set(detail["discriminator"]["mapping"]) == known


def test_texts_name_fields_as_json_does(openapi: Json) -> None:
    texts = json.dumps(openapi)
    assert "nextPageToken` of the page before" in texts
    # Scopes and reasons keep their names.
    assert "orders.read_any" in texts
    assert re.findall(r"`(?:next_page_token|page_size|request_id|product_id)`", texts) == []


def test_protovalidate_rules_are_schema_keywords(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    line = schemas["PlaceOrderLineInput"]["properties"]
    assert (line["quantity"]["minimum"], line["quantity"]["maximum"]) == (1, 10000)
    assert line["productId"]["format"] == "uuid"
    assert schemas["PlaceOrderRequest"]["properties"]["lines"]["maxItems"] == 100
    attributes = schemas["NewProduct"]["properties"]["attributes"]
    assert (attributes["maxProperties"], attributes["propertyNames"]["maxLength"]) == (200, 100)
    roles = schemas["UserPatch"]["properties"]["roles"]
    assert roles["uniqueItems"]
    assert roles["items"]["$ref"].endswith("/RoleInput")
    assert schemas["NewUser"]["properties"]["email"]["format"] == "email"
    assert schemas["NewUser"]["properties"]["email"]["maxLength"] == 254


def test_numbers_of_64_bits_are_strings_are_strings(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    assert schemas["Stock"]["properties"]["free"]["type"] == "string"
    assert schemas["Money"]["properties"]["units"]["type"] == "string"
    assert schemas["Order"]["properties"]["createTime"]["format"] == "date-time"


def test_lists_are_paged_and_linked(openapi: Json) -> None:
    listing = operations(openapi)["GET /v1/products"]
    parameters = {parameter["name"]: parameter for parameter in listing["parameters"]}
    assert parameters["pageSize"]["schema"]["maximum"] == 100
    assert parameters["pageToken"]["in"] == "query"
    assert parameters["orderBy"]["schema"]["enum"][:3] == ["", "create_time", "create_time desc"]
    assert listing["responses"]["200"]["links"]["nextPage"]["operationId"] == listing["operationId"]


def test_a_read_mask_is_no_parameter_of_rest(openapi: Json) -> None:
    assert "read_mask" in product_pb2.GetProductRequest.DESCRIPTOR.fields_by_name
    named = {
        parameter["name"] for each in operations(openapi).values() for parameter in each.get("parameters", ())
    }
    assert "updateMask" in named
    assert "readMask" not in named


def test_an_update_mask_names_what_may_change(openapi: Json) -> None:
    update = operations(openapi)["PATCH /v1/users/{userId}"]
    mask = next(parameter for parameter in update["parameters"] if parameter["name"] == "updateMask")
    names = "(displayName|roles|disabled)"
    assert mask["schema"]["pattern"] == rf"^(\*|{names}(,{names})*)?$"


def test_what_is_personal_is_marked_wherever_it_stands(openapi: Json) -> None:
    schemas = openapi["components"]["schemas"]
    marked = {
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, rules in schema.get("properties", {}).items()
        if rules.get("x-personal")
    }
    assert {"User.email", "User.displayName", "Session.device", "CreateSessionRequest.email"} <= marked
    assert not {"User.userId", "User.roles"} & marked
    parameters = {each["name"]: each for each in openapi["paths"]["/v1/users"]["get"]["parameters"]}
    assert parameters["email"]["schema"]["x-personal"]
    assert "users.read_personal" in openapi["paths"]["/v1/users"]["get"]["description"]
