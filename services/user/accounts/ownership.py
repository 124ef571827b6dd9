"""Whose account a request means, and whether it is the caller's to see."""

from functools import cache
from uuid import UUID

from services.errors import ScopeMissing, ServiceError
from services.rpc.identity import caller
from services.rpc.policy import policy_of
from services.user.accounts.domain import UserNotFound

_ME = {"", "me"}


def owned_user_id(text: str) -> UUID:
    """Return the id of the account that a request names; "me" and nothing are the caller's own.

    Raises:
        UserNotFound: it is another person's and the caller may not act for everyone.
        ScopeMissing: the caller may see it, and no more than that.
    """
    if text in _ME:
        return caller().require_subject()
    user_id = UUID(text)
    check_owned(user_id, UserNotFound())
    return user_id


def check_owned(user_id: UUID, hidden: ServiceError) -> None:
    """Check that what belongs to somebody is the caller's to act on.

    Args:
        user_id: Whose it is.
        hidden: What whoever may not even see it is told: the same as if it did not exist.

    Raises:
        ScopeMissing: the caller may see it: that it exists is no secret to them.
    """
    current = caller()
    if current.owns(user_id):
        return
    if _sees_all() in current.scopes:
        scopes = {"scopes": current.any_owner or ""}
        raise ScopeMissing("the access token does not allow this for somebody else", metadata=scopes)
    raise hidden


@cache
def _sees_all() -> str | None:
    return policy_of("/commerce.user.v1.UserService/GetUser").any_owner
