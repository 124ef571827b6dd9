"""What HTTP has words for means over REST what it says: request by request, with the answer to each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import uuid4

import pytest
from commerce.product.v1 import product_pb2
from commerce.user.v1 import auth_pb2

from tests.support.calls import Outcome
from tests.support.world import AUTH, ORDERS, PASSWORD, PRODUCTS, World, new_customer, new_product, order_of

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

# More than an account may fail to log in.
FAILED_LOGINS = 11
INVALID = 400, "INVALID_REQUEST"


@dataclass(frozen=True)
class Sent:
    """A request of the merchant."""

    verb: str
    path: str
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    async def answer(self, world: World) -> Outcome:
        product = await new_product(world.caller, world.admin)
        raw = self.body if isinstance(self.body, bytes) else None
        return await world.caller.send(
            self.verb,
            self.path.format(product=product.product_id),
            json_body=None if raw else self.body,
            raw_body=raw,
            headers=self.headers,
            token=world.roles["merchant"].token,
        )


PRODUCT = "/v1/products/{product}"
NOT_ONE = {"requestId": str(uuid4())}
# Each with HTTP's status, our reason, and what is named: a field, a place in the body, what would help.
REFUSED = {
    "an unknown field": (Sent("PATCH", PRODUCT, {"colour": "red"}), *INVALID, "product.colour"),
    "one further down": (Sent("POST", "/v1/orders", {"lines": [{"sku": "A"}]}), *INVALID, "lines[0].sku"),
    "a bad number": (Sent("PATCH", PRODUCT, {"price": {"units": "much"}}), *INVALID, "product.price.units"),
    "no JSON": (Sent("PATCH", PRODUCT, b'{"name": }'), *INVALID, "10"),
    "the server's own": (
        Sent("PATCH", PRODUCT, {"createTime": "2026-01-31T12:00:00Z"}),
        *INVALID,
        "product.createTime",
    ),
    "what is fixed": (Sent("PATCH", PRODUCT, {"sku": ""}), *INVALID, "product.sku"),
    "another of it": (Sent("PATCH", PRODUCT, {"sku": "OTHER", "name": "x"}), *INVALID, "product.sku"),
    "an empty name": (Sent("PATCH", PRODUCT, {"name": ""}), *INVALID, "product.name"),
    "a parameter twice": (Sent("GET", "/v1/products?pageSize=1&page_size=2"), *INVALID, "page_size"),
    "too large a page": (Sent("GET", "/v1/products?page_size=101"), *INVALID, "pageSize"),
    "an unknown order": (Sent("GET", "/v1/products?orderBy=name"), *INVALID, "orderBy"),
    "a time in another order": (
        Sent("GET", "/v1/products?orderBy=create_time&updateTimeFrom=2026-01-31T12:00:00Z"),
        *INVALID,
        "updateTimeFrom",
    ),
    "a day for a time": (
        Sent("GET", "/v1/products?orderBy=update_time&updateTimeFrom=2026-01-31"),
        *INVALID,
        "updateTimeFrom",
    ),
    "no e-mail address": (
        Sent("POST", "/v1/users", {"user": {"email": "ada"}, "password": PASSWORD}),
        *INVALID,
        "user.email",
    ),
    "no UUID as a key": (
        Sent("POST", "/v1/orders", {}, {"Idempotency-Key": "mine"}),
        *INVALID,
        "Idempotency-Key",
    ),
    "a key and another": (
        Sent("POST", "/v1/orders", NOT_ONE, {"Idempotency-Key": str(uuid4())}),
        *INVALID,
        "Idempotency-Key",
    ),
    "a version and another": (
        Sent("PATCH", PRODUCT, {"etag": "1"}, {"If-Match": '"2"'}),
        *INVALID,
        "If-Match",
    ),
    "another verb": (Sent("PUT", PRODUCT, {}), 405, "METHOD_UNKNOWN", ""),
    "a past version": (Sent("DELETE", PRODUCT, None, {"If-Match": '"past"'}), 412, "ETAG_MISMATCH", ""),
    "a missing scope": (Sent("GET", "/v1/users"), 403, "SCOPE_MISSING", "users.read_any"),
    "a large body": (Sent("POST", "/v1/sessions", b" " * 100_000), 413, "REQUEST_TOO_LARGE", "4096"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_meant_is_refused_by_name(world: World, name: str) -> None:
    sent, status, reason, named = REFUSED[name]
    answer = await sent.answer(world)
    assert (answer.http_status, answer.reason) == (status, reason), answer
    assert not named or named in _named(answer), answer.text


def _named(answer: Outcome) -> list[str]:
    """Return the fields of a refusal, and what its ErrorInfo tells beside its reason."""
    details = json.loads(answer.text)["details"]
    fields = [each["field"] for detail in details for each in detail.get("fieldViolations", ())]
    return [*fields, *details[0].get("metadata", {}).values()]


async def test_a_patch_changes_what_stands_in_it_and_nothing_else(world: World) -> None:
    product = await new_product(world.caller, world.admin)
    path, token = f"/v1/products/{product.product_id}", world.roles["merchant"].token
    full = {
        "description": "Long",
        "brand": "B",
        "imageUrls": ["https://example.com/a"],
        "attributes": {"a": "b"},
    }
    for body in (full, {"description": "", "imageUrls": [], "attributes": {}}, {"active": False}):
        assert (await world.caller.send("PATCH", path, json_body=body, token=token)).http_status == 200
    read = json.loads((await world.caller.send("GET", path, token=token)).text)
    assert (read["description"], read["imageUrls"], read["attributes"]) == ("", [], {})
    assert (read["active"], read["brand"], read["sku"]) == (False, "B", product.sku)
    assert (await world.caller.send("GET", path)).reason == "PRODUCT_NOT_FOUND"


async def test_a_resource_goes_back_as_it_was_read(world: World) -> None:
    for path, token in (
        (f"/v1/products/{world.product_id}", world.roles["merchant"].token),
        (f"/v1/categories/{world.category_id}", world.roles["merchant"].token),
        ("/v1/users/me", world.anna.token),
    ):
        read = json.loads((await world.caller.send("GET", path, token=token)).text)
        again = await world.caller.send("PATCH", path, json_body=read, token=token)
        assert json.loads(again.text) == read


async def test_an_idempotency_key_makes_a_repetition_of_it(world: World) -> None:
    order = {"lines": [{"productId": world.product_id, "quantity": 1}], "paymentToken": "tok_ok"}
    headers, token = {"Idempotency-Key": f'"{uuid4()}"'}, world.anna.token
    first, again = [
        await world.caller.send("POST", "/v1/orders", json_body=order, headers=headers, token=token)
        for _ in range(2)
    ]
    assert (first.http_status, again.http_status) == (201, 201), first
    assert json.loads(first.text)["orderId"] == json.loads(again.text)["orderId"]
    assert again.headers["location"] == first.headers["location"]
    read = await world.caller.send("GET", first.headers["location"], token=token)
    assert json.loads(read.text)["orderId"] == json.loads(first.text)["orderId"]
    order["lines"] = [{"productId": world.product_id, "quantity": 2}]
    other = await world.caller.send("POST", "/v1/orders", json_body=order, headers=headers, token=token)
    assert (other.http_status, other.reason) == (400, "REQUEST_ID_REUSED")


async def test_a_change_is_made_to_the_version_that_was_seen(world: World) -> None:
    product = await new_product(world.caller, world.admin)
    path, token = f"/v1/products/{product.product_id}", world.roles["merchant"].token
    seen = {"If-Match": (await world.caller.send("GET", path)).headers["etag"]}
    first, late = [
        await world.caller.send("PATCH", path, json_body={"brand": brand}, headers=seen, token=token)
        for brand in ("A", "B")
    ]
    assert first.http_status == 200
    assert (late.http_status, late.verdict) == (412, ("ABORTED", "ETAG_MISMATCH"))
    request = product_pb2.DeleteProductRequest(product_id=product.product_id, etag=product.etag)
    assert (await world.caller.call_grpc(PRODUCTS + "DeleteProduct", request, token)).verdict == late.verdict


async def test_what_has_not_changed_is_not_sent_again(world: World) -> None:
    for path, token in ((f"/v1/products/{world.product_id}", None), ("/v1/users/me", world.anna.token)):
        read = await world.caller.send("GET", path, token=token)
        known = {"If-None-Match": read.headers["etag"]}
        again = await world.caller.send("GET", path, headers=known, token=token)
        assert (again.http_status, again.text) == (304, "")
        assert again.headers["cache-control"] == read.headers["cache-control"]
        head = await world.caller.send("HEAD", path, token=token)
        assert (head.http_status, head.text) == (200, "")
        assert head.headers["etag"] == read.headers["etag"]


async def test_a_list_is_filtered_and_sorted_as_asked(world: World) -> None:
    token, brand = world.roles["merchant"].token, f"Brand {uuid4()}"
    made = [await new_product(world.caller, world.admin, units=0) for _ in range(3)]
    for product, active in zip(made, (True, False, True), strict=True):
        change = {"brand": brand, "active": active}
        path = f"/v1/products/{product.product_id}"
        assert (await world.caller.send("PATCH", path, json_body=change, token=token)).http_status == 200
    start = made[0].create_time.ToJsonString()
    for parameters, wanted in (
        ({"brand": brand, "orderBy": "create_time desc"}, (2, 0)),
        ({"brand": brand, "orderBy": "create_time", "showInactive": "true"}, (0, 1, 2)),
        ({"brand": brand, "orderBy": "create_time desc", "showInactive": "true"}, (2, 1, 0)),
        ({"brand": brand, "active": "false"}, (1,)),
        ({"updateTimeFrom": start, "orderBy": "update_time", "active": "false", "pageSize": "100"}, (1,)),
    ):
        answer = await world.caller.send("GET", "/v1/products", params=[*parameters.items()], token=token)
        listed = [each["sku"] for each in json.loads(answer.text)["products"] if each["brand"] == brand]
        assert listed == [made[place].sku for place in wanted], (parameters, answer)


async def test_a_service_that_is_asked_too_often_says_when_to_come_back(world: World) -> None:
    person = await new_customer(world.caller)
    request = auth_pb2.CreateSessionRequest(email=person.email, password="not this one, surely")
    for _ in range(FAILED_LOGINS):
        answer = await world.caller.call_rest(AUTH + "CreateSession", request)
    assert answer.http_status == 429, answer
    assert int(answer.headers["retry-after"]) >= 1
    assert "RetryInfo" in answer.text


async def test_over_grpc_the_same_is_said_of_the_same(world: World) -> None:
    bad = order_of("lamp")
    over_rest = await world.caller.call_rest(ORDERS + "PlaceOrder", bad, world.anna.token)
    over_grpc = await world.caller.call_grpc(ORDERS + "PlaceOrder", bad, world.anna.token)
    assert over_rest.verdict == over_grpc.verdict == ("INVALID_ARGUMENT", "INVALID_REQUEST")
    assert "lines[0].productId" in over_rest.text
    assert "lines[0].product_id" in over_grpc.text
