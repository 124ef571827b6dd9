"""Whose account a request means, and whether it is the caller's to see."""

from uuid import UUID

from services.rpc.identity import caller
from services.user.accounts.domain import UserNotFound

_ME = {"", "me"}


def owned_user_id(text: str) -> UUID:
    """Return the id of the account that a request names; "me" and nothing are the caller's own.

    Raises:
        UserNotFound: it is another person's and the caller may not act for everyone.
    """
    if text in _ME:
        return caller().require_subject()
    user_id = UUID(text)
    if not caller().owns(user_id):
        raise UserNotFound
    return user_id
