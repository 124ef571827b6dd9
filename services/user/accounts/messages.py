"""Accounts ↔ the messages of the contract."""

from commerce.user.v1 import role_pb2, user_pb2

from services.rpc.fields import timestamp
from services.rpc.identity import caller
from services.rpc.masks import masked_fields
from services.rpc.policy import scopes_of_role
from services.user.accounts.domain import OpenedUser, Role, User, UserChange
from services.user.accounts.emails import masked_email

_UPDATABLE = ("display_name", "roles", "disabled")


def shown_user(user: OpenedUser) -> user_pb2.User:
    """Write an account for the caller: another's address is masked unless they may read it."""
    message = user_message(user)
    if not caller().may_read_personal(user.user_id):
        message.email = masked_email(message.email)
    return message


def user_message(user: OpenedUser) -> user_pb2.User:
    """Write an account as it is."""
    message = unread_user(user)
    message.email, message.display_name = user.email, user.display_name
    return message


def unread_user(user: User) -> user_pb2.User:
    """Write an account without what is personal of it, which nobody can read."""
    return user_pb2.User(
        user_id=str(user.user_id),
        roles=[role.value for role in user.roles],
        create_time=timestamp(user.create_time),
        update_time=timestamp(user.update_time),
        etag=user.etag,
        email_verify_time=user.email_verify_time and timestamp(user.email_verify_time),
        disabled=user.disabled,
    )


def role_of(value: role_pb2.Role) -> Role:
    """Read a role."""
    return Role(role_pb2.Role.Name(value))


def scopes_of(roles: tuple[Role, ...]) -> frozenset[str]:
    """Return what the roles may do together, as the contract grants it."""
    return frozenset[str]().union(*(scopes_of_role(role_pb2.Role.Value(role)) for role in roles))


def change_of(request: user_pb2.UpdateUserRequest) -> UserChange:
    """Read what is to change (AIP-134): what the mask names, or without one what is populated.

    Raises:
        InvalidArgument: the mask names a field that does not exist or is not the caller's to change.
    """
    user, mask = request.user, request.update_mask
    names = masked_fields(user, mask, _UPDATABLE)
    # What the server owns is ignored in a resource that comes back whole (AIP-203), the e-mail compared.
    return UserChange(
        display_name=user.display_name if "display_name" in names else None,
        roles=tuple(map(role_of, user.roles)) if "roles" in names else None,
        disabled=user.disabled if "disabled" in names else None,
        email=user.email or None,
    )
