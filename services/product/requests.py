"""Parts that requests of several nouns share: field masks (AIP-134, AIP-161) and page tokens (AIP-158)."""

from collections.abc import Sequence
from uuid import UUID

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from services.errors import FieldViolation, InvalidArgument, PageTokenInvalid
from services.paging import decode_token, encode_token


def masked_fields(message: Message, mask: FieldMask, updatable: Sequence[str]) -> list[str]:
    """Return the fields that an update asks to change: its mask's, or the populated ones without a mask.

    Raises:
        InvalidArgument: the mask names a field that cannot be changed.
    """
    if "*" in mask.paths:
        return list(updatable)
    if mask.paths:
        wrong = [path for path in mask.paths if path not in updatable]
        if wrong:
            description = f"{wrong[0]} cannot be changed; only {', '.join(updatable)}"
            violation = FieldViolation("update_mask", description, "FIELD_NOT_UPDATABLE")
            raise InvalidArgument(f"update_mask: {description}", violations=[violation])
        return list(mask.paths)
    populated = {field.name for field, _ in message.ListFields()}
    return [name for name in updatable if name in populated]


def id_of_token(token: str, list_name: str) -> UUID | None:
    """Return the id after which a page begins; None for the first.

    Raises:
        PageTokenInvalid: not a token of this list.
    """
    key = decode_token(token, filter=list_name)
    if key is None:
        return None
    last = key.get("id")
    if not isinstance(last, UUID):
        raise PageTokenInvalid("page_token is not valid")
    return last


def token_of_id(last: UUID, list_name: str) -> str:
    """Return the token of the page after the row with this id."""
    return encode_token({"id": last}, filter=list_name)
