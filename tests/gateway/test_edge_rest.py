"""What a REST caller says is what the service hears, or it is refused with the place where it is wrong."""

import json
import os
import random
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.backends import MISSING_ID, OTHER_ETAG, PAST_ETAG, PRODUCT_ID, Backends, Signer
from tests.gateway.callers import Answer, exchange, rest
from tests.gateway.conftest import CONTRACT, RunningEdge

PRODUCT = f"/v1/products/{PRODUCT_ID}"
SESSION = "/v1/sessions/0198c0de-0000-7000-8000-000000000002"
CANCEL = f"/v1/orders/{PRODUCT_ID}:cancel"
MUTATIONS = 300
# All that a product may be, in every form of JSON.
GOOD = (
    '{"name": "\\u00e4\\"\\\\/ \u00e4", "price": {"units": "-12", "nanos": 0 , "currencyCode":"EUR"},\n'
    ' "attributes": {"a": "", "b": "c"}, "image_urls": ["x", "y"], "active": true, "brand": null,'
    ' "createTime": "2026-01-31T12:00:00Z", "etag": "1e5"} '
)
MEANING = [*"{}[],:\"\\'/ \t\n\x0b\x00\x1f\x7f0123456789.-+eEu", "null", "true", "NaN", '"a"', "\\u12", ""]
KEY, OTHER_KEY = "0190E0C4-5f3e-7a51-9d7e-0a1b2c3d4e5f", "0190e0c4-5f3e-7a51-9d7e-0a1b2c3d4e60"


def _violation(answer: Answer) -> tuple[str, str]:
    """Return the one field that a request was refused for, and why."""
    assert (answer.http, answer.outcome) == (400, ("INVALID_ARGUMENT", "INVALID_REQUEST")), answer
    [detail] = [each for each in answer.body["details"] if each["@type"].endswith("BadRequest")]
    [violation] = detail["fieldViolations"]
    assert violation["description"]
    assert answer.body["message"].startswith(violation["field"])
    return violation["field"], violation["reason"]


async def _write(
    edge: RunningEdge, signer: Signer, verb: str, path: str, body: Any = None, **headers: str
) -> Answer:
    token = signer.token("products.write users.write orders.write inventory.write")
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await rest(edge, verb, path, token=token, body=body, headers=sent)


UNKNOWN, INVALID, TWICE = "FIELD_UNKNOWN", "VALUE_INVALID", "FIELD_REPEATED"


@pytest.mark.parametrize(
    ("call", "violation"),
    [
        (("PATCH", PRODUCT, {"colour": "red"}), ("product.colour", UNKNOWN)),
        (("PATCH", "/v1/users/me", {"password": "x"}), ("user.password", UNKNOWN)),
        (("PATCH", PRODUCT, {"price": {"currency": "EUR"}}), ("product.price.currency", UNKNOWN)),
        (("PATCH", PRODUCT, b'{"na\xc3\xafve\xff": 1}'), ("product.na??ve?", UNKNOWN)),
        (("PATCH", PRODUCT, {"x" * 500: 1}), (f"product.{'x' * 100}...", UNKNOWN)),
        (("POST", "/v1/products", {"sku": "A"}), ("sku", UNKNOWN)),
        (("POST", "/v1/products", {"product": {"Name": "A"}}), ("product.Name", UNKNOWN)),
        (("POST", "/v1/orders", {"lines": [{}, {"product": 1}]}), ("lines[1].product", UNKNOWN)),
        (("PATCH", PRODUCT, {"name": 5}), ("product.name", INVALID)),
        (("PATCH", PRODUCT, {"name": ["a"]}), ("product.name", INVALID)),
        (("PATCH", PRODUCT, {"name": {"a": 1}}), ("product.name", INVALID)),
        (("PATCH", PRODUCT, {"active": "yes"}), ("product.active", INVALID)),
        (("PATCH", PRODUCT, {"imageUrls": "a"}), ("product.imageUrls", INVALID)),
        (("PATCH", PRODUCT, {"image_urls": ["a", None]}), ("product.image_urls[1]", INVALID)),
        (("PATCH", PRODUCT, {"attributes": {"size": 4}}), ("product.attributes[size]", INVALID)),
        (("PATCH", PRODUCT, {"price": "4 EUR"}), ("product.price", INVALID)),
        (("PATCH", PRODUCT, {"price": {"units": "4.5"}}), ("product.price.units", INVALID)),
        (("PATCH", PRODUCT, {"price": {"units": 2**63}}), ("product.price.units", INVALID)),
        (("PATCH", PRODUCT, {"price": {"nanos": 2**31}}), ("product.price.nanos", INVALID)),
        (("PATCH", PRODUCT, {"createTime": "yesterday"}), ("product.createTime", INVALID)),
        (("PATCH", "/v1/users/me", {"roles": ["ROLE_KING"]}), ("user.roles[0]", INVALID)),
        (("PATCH", PRODUCT, {"sku": ""}), ("product.sku", "FIELD_IMMUTABLE")),
        (("PATCH", PRODUCT, '{"name": "a", "name": "b"}'), ("product.name", TWICE)),
        (("PATCH", PRODUCT, '{"imageUrls": [], "image_urls": []}'), ("product.image_urls", TWICE)),
        (
            ("PATCH", PRODUCT, {"createTime": "2026-01-31T12:00:00Z"}),
            ("product.createTime", "FIELD_NOT_UPDATABLE"),
        ),
    ],
)
async def test_what_a_body_may_not_say_is_named(
    edge: RunningEdge, signer: Signer, call: tuple[str, str, Any], violation: tuple[str, str]
) -> None:
    assert _violation(await _write(edge, signer, *call)) == violation


@pytest.mark.parametrize(
    ("body", "mask"),
    [
        ({"active": False}, ["active"]),
        ({"name": "", "imageUrls": []}, ["name", "image_urls"]),
        ({"description": None}, ["description"]),
        ({"attributes": {}}, ["attributes"]),
        ({"price": {"currencyCode": "EUR", "units": "5", "nanos": -1}}, ["price"]),
        ({"image_urls": ["a"], "etag": "5", "productId": OTHER_KEY}, ["image_urls"]),
        ('{ "n\\u0061me" : "\\u00e4\\"\\\\" }', ["name"]),
        ({"name": "a", "updateTime": "2026-01-31T12:00:00.5+01:00"}, ["name"]),
        ({"sku": "A", "name": "a"}, ["name"]),
        ({"sku": "A"}, []),
        ({}, []),
        (None, []),
    ],
)
async def test_the_fields_in_a_patch_are_its_mask(
    edge: RunningEdge, backends: Backends, signer: Signer, body: Any, mask: list[str]
) -> None:
    answer = await _write(edge, signer, "PATCH", PRODUCT, body)
    assert answer.http == 200, answer
    assert list(backends.seen.request.update_mask.paths) == mask
    assert backends.seen.request.product.product_id == PRODUCT_ID


async def test_yes_or_no_is_not_left_open(edge: RunningEdge, backends: Backends, signer: Signer) -> None:
    """Programs write null for what they do not mean: it shall hide no product and let nobody in again."""
    before = len(backends.seen.calls)
    answer = await _write(edge, signer, "PATCH", PRODUCT, {"name": "x", "active": None})
    assert _violation(answer) == ("product.active", "VALUE_INVALID")
    assert len(backends.seen.calls) == before


async def test_a_mask_that_is_given_wins(edge: RunningEdge, backends: Backends, signer: Signer) -> None:
    for name in ("updateMask", "update_mask"):
        path = f"{PRODUCT}?{name}=imageUrls,active"
        assert (await _write(edge, signer, "PATCH", path, {"name": "x"})).http == 200
        assert list(backends.seen.request.update_mask.paths) == ["image_urls", "active"]


@pytest.mark.parametrize(
    ("body", "position"),
    [
        ('{"name": ', 10),
        ('{"name" "a"}', 9),
        ('{"name": "a",}', 14),
        ("{'name': 'a'}", 2),
        ('{"name": "a"} {}', 15),
        ('["name"]', 1),
        ('{"name": "a\n"}', 12),
        ('{"name": "\\q"}', 12),
        ('{"price": {"units": 01}}', 21),
        ('{"price": {"units": 1.}}', 23),
        ('{"active": tru}', 12),
        (" ", 2),
    ],
)
async def test_a_body_that_is_no_json_is_told_where(
    edge: RunningEdge, signer: Signer, body: str, position: int
) -> None:
    answer = await _write(edge, signer, "PATCH", PRODUCT, body)
    assert (answer.http, answer.outcome) == (400, ("INVALID_ARGUMENT", "INVALID_REQUEST"))
    assert answer.body["details"][0]["metadata"] == {"position": str(position)}
    assert f"byte {position}" in answer.body["message"]


async def test_json_is_what_python_takes_for_json(edge: RunningEdge, signer: Signer) -> None:
    seed = int(os.environ.get("FUZZ_SEED", secrets.randbits(32)))
    chance = random.Random(seed)
    for _ in range(MUTATIONS):
        body = _mutated(chance)
        answer = await _write(edge, signer, "PATCH", PRODUCT, body)
        assert answer.http in {200, 400}, (seed, body, answer)
        malformed = answer.http == 400 and "position" in answer.body["details"][0].get("metadata", {})
        if isinstance(_read(body), dict):
            assert not malformed, (seed, body, answer)
        else:
            # A field before the fault may be refused first.
            assert answer.http == 400, (seed, body, answer)


def _mutated(chance: random.Random) -> str:
    """Break a good body in a few places, each by a character that means something in JSON."""
    characters = list(GOOD)
    for _ in range(chance.randint(0, 3)):
        place = chance.randrange(len(characters))
        characters[place : place + chance.randint(0, 1)] = chance.choice(MEANING)
    return "".join(characters)


def _read(body: str) -> Any:
    """Read JSON, without the numbers that only Python knows."""
    try:
        return json.loads(body, parse_constant=lambda _: json.loads(""))
    except json.JSONDecodeError:
        return None


async def test_a_body_has_so_many_values(edge: RunningEdge, signer: Signer) -> None:
    few = await _write(edge, signer, "PATCH", PRODUCT, {"imageUrls": ["a"] * 4999})
    many = await _write(edge, signer, "PATCH", PRODUCT, {"imageUrls": ["a"] * 5000})
    assert few.http == 200
    assert many.body["message"] == "The body has more than 5000 values."


async def test_an_idempotency_key_is_the_request_id(
    edge: RunningEdge, backends: Backends, signer: Signer
) -> None:
    for key in (KEY, f'"{KEY}"'):
        for body in ({}, {"requestId": KEY.lower()}, {"requestId": ""}, None):
            answer = await _write(edge, signer, "POST", "/v1/orders", body, Idempotency_Key=key)
            assert answer.http == 201, answer
            assert backends.seen.request.request_id.lower() == KEY.lower()


async def test_what_was_created_is_told_with_its_place(edge: RunningEdge, signer: Signer) -> None:
    for path, body in (
        ("/v1/orders", {"requestId": KEY}),
        ("/v1/products", {"product": {"name": "x" * 50_000}}),
    ):
        answer = await _write(edge, signer, "POST", path, body)
        identity = answer.body[f"{path.removeprefix('/v1/').removesuffix('s')}Id"]
        assert (answer.http, answer.headers["location"]) == (201, f"{path}/{identity}")
        assert answer.headers["cache-control"] == "no-store"


async def test_an_answer_without_an_id_that_can_stand_in_a_path_was_created_nowhere(
    edge: RunningEdge, signer: Signer
) -> None:
    for name in ("", "a/b", 'a"b', "ä"):
        answer = await _write(edge, signer, "POST", "/v1/orders", {"requestId": name})
        assert (answer.http, answer.body["orderId"], "location" in answer.headers) == (200, name, False)


async def test_a_change_creates_nothing(edge: RunningEdge, signer: Signer) -> None:
    for verb, path, body in (("PATCH", PRODUCT, {"name": "x"}), ("POST", CANCEL, {})):
        answer = await _write(edge, signer, verb, path, body)
        assert (answer.http, "location" in answer.headers) == (200, False)


@pytest.mark.parametrize(
    ("key", "body", "reason"),
    [
        (KEY, {"requestId": OTHER_KEY}, "VALUES_DIFFER"),
        ("a key", {}, "VALUE_INVALID"),
        (f"{KEY}, {KEY}", {}, "VALUE_INVALID"),
    ],
)
async def test_an_idempotency_key_that_cannot_be_the_request_id_is_refused(
    edge: RunningEdge, signer: Signer, key: str, body: Any, reason: str
) -> None:
    answer = await _write(edge, signer, "POST", "/v1/orders", body, Idempotency_Key=key)
    assert _violation(answer) == ("Idempotency-Key", reason)


@pytest.mark.parametrize(
    "call",
    [
        ("PATCH", PRODUCT, {"name": "a"}),
        ("PATCH", PRODUCT, {"name": "a", "etag": "a&b"}),
        ("POST", CANCEL, {}),
        ("POST", CANCEL, None),
        ("DELETE", PRODUCT, None),
        ("DELETE", f"{PRODUCT}?etag=a%26b", None),
    ],
)
async def test_if_match_is_the_etag_of_the_request(
    edge: RunningEdge, backends: Backends, signer: Signer, call: tuple[str, str, Any]
) -> None:
    for tag in ('"a&b"', 'W/"a&b"'):
        answer = await _write(edge, signer, *call, If_Match=tag)
        assert answer.http == 200, answer
        request = backends.seen.request
        assert getattr(request, "product", request).etag == "a&b"


async def test_if_match_of_anything_asks_for_no_version(
    edge: RunningEdge, backends: Backends, signer: Signer
) -> None:
    assert (await _write(edge, signer, "DELETE", PRODUCT, If_Match="*")).http == 200
    assert backends.seen.request.etag == ""


@pytest.mark.parametrize(
    ("tag", "body", "reason"),
    [('"1"', {"etag": "2"}, "VALUES_DIFFER"), ('"1", "2"', {}, "VALUE_INVALID"), ('""', {}, "VALUE_INVALID")],
)
async def test_if_match_that_cannot_be_the_etag_is_refused(
    edge: RunningEdge, signer: Signer, tag: str, body: Any, reason: str
) -> None:
    assert _violation(await _write(edge, signer, "POST", CANCEL, body, If_Match=tag)) == ("If-Match", reason)


async def test_a_failed_if_match_is_a_failed_precondition_of_http(edge: RunningEdge, signer: Signer) -> None:
    by_header = await _write(edge, signer, "POST", CANCEL, If_Match=f'"{PAST_ETAG}"')
    by_body = await _write(edge, signer, "POST", CANCEL, {"etag": PAST_ETAG})
    other = await _write(edge, signer, "POST", CANCEL, If_Match=f'"{OTHER_ETAG}"')
    assert (by_header.http, by_body.http) == (412, 409)
    assert by_header.outcome == by_body.outcome == ("ABORTED", "ETAG_MISMATCH")
    assert (other.http, other.reason) == (409, "VERSION_CONFLICT")


@pytest.mark.parametrize(
    ("call", "headers"),
    [
        (("PATCH", PRODUCT, {"product_id": OTHER_KEY, "name": "x"}), {}),
        (("POST", CANCEL, {"order_id": OTHER_KEY}), {}),
        (("PATCH", PRODUCT, {"brand": "x", "etag": ""}), {"If_Match": '"1"'}),
        (("POST", f"{PRODUCT}/stock:adjust", {"delta": 5, "request_id": ""}), {"Idempotency_Key": KEY}),
    ],
)
async def test_a_body_does_not_override_what_the_path_or_a_header_says(
    edge: RunningEdge, signer: Signer, call: tuple[str, str, Any], headers: dict[str, str]
) -> None:
    answer = await _write(edge, signer, *call, **headers)
    assert (answer.http, answer.reason) == (400, "INVALID_REQUEST")


@pytest.mark.parametrize(
    ("path", "violation"),
    [
        ("/v1/products?pageSise=5", ("pageSise", UNKNOWN)),
        ("/v1/products?pageSize=5&Brand=x", ("Brand", UNKNOWN)),
        ("/v1/products?page_size=many", ("page_size", INVALID)),
        ("/v1/products?pageSize=3000000000", ("pageSize", INVALID)),
        ("/v1/products?page%53ize=x", ("pageSize", INVALID)),
        ("/v1/orders?state=PAID", ("state", INVALID)),
        ("/v1/products?showInactive=maybe", ("showInactive", INVALID)),
        (f"/v1/products/{PRODUCT_ID}?x<y>=1", ("x?y?", UNKNOWN)),
        (f"/v1/products/{PRODUCT_ID}?{'x' * 500}=1", ("x" * 100, UNKNOWN)),
        ("/v1/products?pageSize=", ("pageSize", INVALID)),
        ("/v1/products?=5", ("", UNKNOWN)),
        # Of gRPC alone: what it leaves out would come as "" or false.
        (f"/v1/products/{PRODUCT_ID}?readMask=name", ("readMask", UNKNOWN)),
        ("/v1/products:search?query=a&read%5Fmask.paths=name", ("read_mask.paths", UNKNOWN)),
        (f"/v1/products/{PRODUCT_ID}?page.size=1", ("page.size", UNKNOWN)),
    ],
)
async def test_a_query_that_is_wrong_is_refused_with_the_parameter(
    edge: RunningEdge, signer: Signer, path: str, violation: tuple[str, str]
) -> None:
    assert _violation(await rest(edge, "GET", path, token=signer.token("orders.read"))) == violation


async def test_who_shows_no_token_where_one_is_needed_is_told_that_first(edge: RunningEdge) -> None:
    assert (await rest(edge, "GET", "/v1/orders?state=PAID")).outcome == ("UNAUTHENTICATED", "TOKEN_MISSING")


async def test_a_parameter_that_is_wrong_is_named_in_a_write_too(edge: RunningEdge, signer: Signer) -> None:
    assert _violation(await _write(edge, signer, "DELETE", f"{PRODUCT}?etags=1")) == ("etags", UNKNOWN)
    answer = await _write(edge, signer, "PATCH", f"{PRODUCT}?product.colour=red", {"name": "a"})
    assert _violation(answer) == ("product.colour", UNKNOWN)


@pytest.mark.parametrize(
    "query", ["brand=&showInactive=true", "page_size=5", "pageSize=%35", "pageToken=a%26b", "", "&&"]
)
async def test_a_query_that_is_right_is_left_as_it_is(edge: RunningEdge, query: str) -> None:
    answer = await rest(edge, "GET", f"/v1/products?{query}")
    assert answer.http == 200, answer


@pytest.mark.parametrize("verb", ["GET", "DELETE"])
async def test_a_call_that_has_no_body_is_given_none(edge: RunningEdge, signer: Signer, verb: str) -> None:
    answer = await _write(edge, signer, verb, PRODUCT, {"product_id": OTHER_KEY})
    assert _violation(answer) == ("body", UNKNOWN)


@pytest.mark.parametrize("kind", ["application/grpcx", "application/grpc;x", "application/grpc-webx"])
async def test_what_only_begins_like_grpc_is_refused(edge: RunningEdge, signer: Signer, kind: str) -> None:
    """The transcoder takes it for JSON, and all who judge REST for gRPC."""
    answer = await _write(edge, signer, "PATCH", PRODUCT, {"colour": "red"}, content_type=kind)
    assert answer.headers["grpc-status"] == "3"
    assert answer.headers["grpc-message"].startswith("content-type")


async def test_a_mask_in_any_spelling_is_a_mask(
    edge: RunningEdge, backends: Backends, signer: Signer
) -> None:
    for name in ("update%5Fmask", "update_mask.paths"):
        assert (await _write(edge, signer, "PATCH", f"{PRODUCT}?{name}=name", {"active": False})).http == 200
        assert list(backends.seen.request.update_mask.paths) == ["name"]


async def test_a_request_id_that_is_written_in_escapes_is_not_another(
    edge: RunningEdge, signer: Signer
) -> None:
    body = f'{{"requestId": "\\u0030{OTHER_KEY[1:]}"}}'
    answer = await _write(edge, signer, "POST", "/v1/orders", body, Idempotency_Key=KEY)
    assert _violation(answer) == ("Idempotency-Key", "VALUES_DIFFER")


@pytest.mark.parametrize("call", [("POST", f"{PRODUCT}/stock:adjust", {"delta": 5}), ("DELETE", SESSION)])
async def test_a_version_is_not_asked_of_what_has_none(
    edge: RunningEdge, signer: Signer, call: tuple[str, ...]
) -> None:
    """RFC 9110, 13.1.1: what cannot be judged must not be done."""
    answer = await _write(edge, signer, *call, If_Match='"1"')
    assert _violation(answer) == ("If-Match", "VALUE_INVALID")


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("known", ['"7"', 'W/"7"', '"6", "7"', "*"])
async def test_what_is_known_already_is_not_sent_again(edge: RunningEdge, known: str, encoding: str) -> None:
    sent = {"if-none-match": known, "accept-encoding": encoding}
    answer = await rest(edge, "GET", PRODUCT, headers=sent)
    assert (answer.http, answer.body) == (304, "")
    assert answer.headers["etag"] == ('"7"' if encoding == "identity" else 'W/"7"')
    assert answer.headers["cache-control"] == "public, max-age=5"
    assert not answer.headers.keys() & {"content-length", "content-type", "transfer-encoding"}


@pytest.mark.parametrize("known", [{}, {"if-none-match": '"7"'}])
async def test_no_cache_that_others_share_keeps_what_a_token_was_shown_for(
    edge: RunningEdge, signer: Signer, known: dict[str, str]
) -> None:
    """A merchant sees more of the same address than a guest (RFC 9111, 3.5)."""
    answer = await rest(edge, "GET", PRODUCT, headers=known, token=signer.token("products.write"))
    assert answer.http == (304 if known else 200)
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_what_is_not_known_is_sent(edge: RunningEdge) -> None:
    answer = await rest(edge, "GET", PRODUCT, headers={"if-none-match": '"6", "77"'})
    assert (answer.http, answer.body["etag"]) == (200, "7")
    refused = await rest(edge, "GET", f"/v1/products/{MISSING_ID}", headers={"if-none-match": "*"})
    assert refused.outcome == ("NOT_FOUND", "PRODUCT_NOT_FOUND")


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_head_is_answered_as_get_without_a_body(edge: RunningEdge, encoding: str) -> None:
    # On one connection, where a body that nobody expects would be taken for the next answer.
    for path, status in ((PRODUCT, 200), (f"/v1/products/{MISSING_ID}", 404), ("/v1/orders", 401)):
        lines = f"host: edge\r\naccept-encoding: {encoding}\r\n"
        head = f"HEAD {path} HTTP/1.1\r\n{lines}\r\n"
        last = f"GET {path} HTTP/1.1\r\n{lines}connection: close\r\n\r\n"
        first, _, second = (await exchange(edge, (head + last).encode())).partition(b"\r\n\r\n")
        assert first.startswith(f"HTTP/1.1 {status} ".encode())
        assert second.startswith(f"HTTP/1.1 {status} ".encode())
        got = second.partition(b"\r\n\r\n")[0]
        assert _lasting(first) == _lasting(got)


def _lasting(head: bytes) -> set[bytes]:
    """Return the headers that do not differ from call to call."""
    changing = (b"date:", b"x-request-id:", b"x-ratelimit", b"connection:", b"transfer-encoding:")
    return {line for line in head.splitlines() if not line.startswith(changing)}


@pytest.mark.parametrize(
    ("verb", "path", "allowed"),
    [
        ("PUT", PRODUCT, "DELETE, GET, HEAD, PATCH"),
        ("OPTIONS", "/v1/orders", "GET, HEAD, POST"),
        ("POST", "/v1/products:search", "GET, HEAD"),
        ("GET", CANCEL, "POST"),
    ],
)
async def test_another_verb_learns_which_there_are(
    edge: RunningEdge, verb: str, path: str, allowed: str
) -> None:
    answer = await rest(edge, verb, path)
    assert (answer.http, answer.outcome) == (405, ("UNIMPLEMENTED", "METHOD_UNKNOWN"))
    assert answer.headers["allow"] == allowed


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/v1/products?pageSize=1&pageSize=1", "pageSize"),
        ("/v1/products?pageSize=1&page_size=2", "page_size"),
        ("/v1/products?brand&brand=a", "brand"),
        ("/v1/products?page_size=1&page%5Fsize=2", "page_size"),
        (f"{PRODUCT}?product%5Fid={MISSING_ID}", "productid"),
        (f"{PRODUCT}?productId={MISSING_ID}", "productid"),
    ],
)
async def test_a_parameter_that_is_one_is_given_once(edge: RunningEdge, path: str, field: str) -> None:
    assert _violation(await rest(edge, "GET", path)) == (field, "FIELD_REPEATED")


async def test_a_query_of_more_parameters_than_any_call_has_is_refused_before_they_are_read(
    edge: RunningEdge,
) -> None:
    most = await rest(edge, "GET", "/v1/products?" + "&".join(f"a{number}=1" for number in range(200)))
    many = await rest(edge, "GET", "/v1/products?" + "a&" * 8000)
    for answer in (most, many):
        assert (answer.http, answer.reason) == (400, "INVALID_REQUEST")
    assert _violation(most)[0] == "a0"
    assert _violation(many)[0] == "query"


async def test_a_refusal_repeats_no_more_of_a_name_than_it_takes_to_find_it(edge: RunningEdge) -> None:
    name = "b" * 7000
    answer = await rest(edge, "GET", f"/v1/products?{name}&{name}")
    assert _violation(answer)[0] == "b" * 100


@pytest.mark.parametrize(
    "broken",
    {
        "local function complete(handle, rule, text)": "error(0)",
        "local function read_body(handle)": "local no; no.body()",
        "local function write(handle)": "local no = ({})[0].rule",
    }.items(),
)
async def test_a_write_that_the_edge_fails_to_read_goes_no_further(
    start_edge: Callable[..., RunningEdge],
    backends: Backends,
    signer: Signer,
    tmp_path: Path,
    broken: tuple[str, str],
) -> None:
    """Envoy lets pass what a script fails on, and nobody would have judged it."""
    contract = tmp_path / CONTRACT.name
    shutil.copytree(CONTRACT, contract)
    shutil.copy(CONTRACT.with_name("openapi.json"), tmp_path)
    filters = contract / "filters.json"
    compiled = filters.read_text(encoding="utf-8")
    assert compiled.count(broken[0]) == 1
    filters.write_text(compiled.replace(broken[0], " ".join(broken)), encoding="utf-8")
    edge, before = start_edge(backends, contract=contract), len(backends.seen.calls)
    answer = await _write(edge, signer, "PATCH", PRODUCT, {"name": "x"})
    assert (answer.http, answer.outcome) == (500, ("INTERNAL", "INTERNAL"))
    assert "UpdateProduct" not in backends.seen.calls[before:]
