"""Messages of the contract ↔ the domain."""

from datetime import datetime

from commerce.user.v1 import auth_pb2, role_pb2, user_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.errors import FieldViolation, InvalidArgument
from services.policy import scopes_of_role
from services.user.domain import Role, Session, User, UserChange

_UPDATABLE = {"display_name", "roles"}
_EVERYTHING = {"*"}


def user_message(user: User) -> user_pb2.User:
    """Write an account."""
    return user_pb2.User(
        user_id=str(user.user_id),
        email=user.email,
        display_name=user.display_name,
        roles=[role.value for role in user.roles],
        create_time=_timestamp(user.create_time),
        update_time=_timestamp(user.update_time),
        etag=user.etag,
    )


def session_message(session: Session) -> auth_pb2.Session:
    """Write a session."""
    return auth_pb2.Session(
        session_id=str(session.session_id),
        user_id=str(session.user_id),
        create_time=_timestamp(session.create_time),
        last_use_time=_timestamp(session.last_use_time),
        expire_time=_timestamp(session.expire_time),
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
    user = request.user
    paths = set(request.update_mask.paths)
    populated = {field.name for field, _ in user.ListFields()}
    _check_mask(paths)
    # What the server owns is ignored in a resource that comes back whole (AIP-203), the e-mail compared.
    wanted = paths or populated
    everything = wanted == _EVERYTHING
    return UserChange(
        display_name=user.display_name if everything or "display_name" in wanted else None,
        roles=tuple(map(role_of, user.roles)) if everything or "roles" in wanted else None,
        email=user.email if (everything or not paths) and user.email else None,
    )


def _check_mask(paths: set[str]) -> None:
    if paths <= _UPDATABLE or paths == _EVERYTHING:
        return
    violations = [
        FieldViolation("update_mask", f"{path} cannot be changed", "FIELD_NOT_UPDATABLE")
        for path in sorted(paths - _UPDATABLE)
    ]
    raise InvalidArgument('update_mask may name display_name and roles, or be "*"', violations=violations)


def _timestamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message
