"""How a refusal is spelled for its caller: by the names of JSON over REST, and with HTTP's own header."""

import pytest
from commerce.product.v1 import product_pb2
from commerce.user.v1 import user_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2, status_pb2

from services.errors import FieldViolation, InvalidArgument, Overloaded
from services.rpc.masks import masked_fields
from services.rpc.status import DETAILS_KEY, as_sent
from services.rpc.validation import violations_in
from services.telemetry.metadata import Metadata

CAMELS = ("updateMask", "displayName", "userId")
OVER_REST: Metadata = (("x-envoy-original-method", "GET"),)


def _violations(sent: str | bytes) -> list[error_details_pb2.BadRequest.FieldViolation]:
    assert isinstance(sent, bytes)
    bad_request = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad_request) for detail in status_pb2.Status.FromString(sent).details)
    return list(bad_request.field_violations)


@pytest.mark.parametrize(
    ("field", "spelled"),
    [
        ("page_size", "pageSize"),
        ("lines[0].product_id", "lines[0].productId"),
        ("product.attributes[net_weight].unit_of", "product.attributes[net_weight].unitOf"),
        ("user.email", "user.email"),
    ],
)
def test_fields_are_spelled_as_their_caller_spells_them(field: str, spelled: str) -> None:
    violation = FieldViolation(field, "is wrong", "WRONG")
    error = InvalidArgument(f"{field}: is wrong", violations=[violation])
    for metadata, expected in (((), field), (OVER_REST, spelled)):
        message, trailers = as_sent(error, "1", metadata)
        assert message == f"{expected}: is wrong"
        assert [each.field for each in _violations(dict(trailers)[DETAILS_KEY])] == [expected]


def test_a_mask_s_refusal_spells_all_fields_as_their_caller_does() -> None:
    mask = FieldMask(paths=["user_id"])
    with pytest.raises(InvalidArgument) as refused:
        masked_fields(user_pb2.User(), mask, ["display_name"])
    for metadata, words in (((), ("update_mask", "display_name", "user_id")), (OVER_REST, CAMELS)):
        message, trailers = as_sent(refused.value, "1", metadata)
        assert message == f'{words[0]} may name {words[1]}, or be "*"'
        [violation] = _violations(dict(trailers)[DETAILS_KEY])
        assert (violation.field, violation.description) == (words[0], f"{words[2]} cannot be changed")


@pytest.mark.parametrize(("seconds", "header"), [(0.2, "1"), (1.0, "1"), (1.5, "2"), (None, None)])
def test_when_to_come_back_is_said_in_whole_seconds_too(seconds: float | None, header: str | None) -> None:
    _, trailers = as_sent(Overloaded("not now", retry_after_seconds=seconds), "1", ())
    assert dict(trailers).get("retry-after") == header


def test_a_rule_of_a_message_names_the_field_that_it_is_about() -> None:
    user = user_pb2.CreateUserRequest(user=user_pb2.User(email="ada"), password="p" * 10)
    assert [violation.field for violation in violations_in(user)] == ["user.email"]
    product = product_pb2.CreateProductRequest(product=product_pb2.Product(sku="A"))
    assert {violation.field for violation in violations_in(product)} == {"product"}
