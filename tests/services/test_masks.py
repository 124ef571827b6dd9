"""What an update asks to change, by its mask (AIP-134, AIP-161)."""

import pytest
from commerce.user.v1 import user_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.errors import InvalidArgument
from services.rpc.masks import masked_fields

UPDATABLE = ("display_name", "roles")
USER = user_pb2.User(display_name="Ada", email="ada@example.com")


@pytest.mark.parametrize(
    ("paths", "fields"),
    [([], ["display_name"]), (["*"], ["display_name", "roles"]), (["roles"], ["roles"])],
)
def test_the_mask_names_what_changes_and_without_one_what_is_populated(
    paths: list[str], fields: list[str]
) -> None:
    assert masked_fields(USER, FieldMask(paths=paths), UPDATABLE) == fields


def test_each_path_that_cannot_be_changed_is_named_and_the_wildcard_stands_alone() -> None:
    with pytest.raises(InvalidArgument) as refused:
        masked_fields(USER, FieldMask(paths=["roles", "email", "*"]), UPDATABLE)
    assert [each.description for each in refused.value.violations] == [
        "* cannot be changed",
        "email cannot be changed",
    ]
