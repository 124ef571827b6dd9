"""What accounts are and which changes are legal. No I/O, no wire, no clock of its own."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from services.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from services.user.accounts.emails import CanonicalEmail, canonical_email, masked_email
from services.user.privacy.domain import Personal, Sealed

# Kept for operators' accounts; the schema has the last word.
OPERATOR_EMAIL_DOMAIN = "operator.commerce.local"


class Role(StrEnum):
    """What a person may do; the names of commerce.user.v1.Role."""

    CUSTOMER = "ROLE_CUSTOMER"
    SUPPORT = "ROLE_SUPPORT"
    MERCHANT = "ROLE_MERCHANT"
    ADMIN = "ROLE_ADMIN"


class UserNotFound(NotFound):
    """No such account, or not the caller's: one answer for both."""

    reason = "USER_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("there is no such user")


class EmailTaken(AlreadyExists):
    reason = "EMAIL_TAKEN"

    def __init__(self) -> None:
        text = "an account with this e-mail address exists: log in, or use another address"
        super().__init__(text, violations=[FieldViolation("user.email", text, self.reason)])


class EmailReserved(InvalidArgument):
    reason = "EMAIL_RESERVED"

    def __init__(self) -> None:
        super().__init__("e-mail addresses of this domain cannot be registered")


class EmailFilterNotAllowed(PermissionDenied):
    reason = "EMAIL_FILTER_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__("only an administrator may look for an account by its e-mail address")


class PasswordTooCommon(InvalidArgument):
    """It is among the first that a guesser tries."""

    reason = "PASSWORD_TOO_COMMON"

    def __init__(self, field: str) -> None:
        text = "this password is guessed first: choose one that nobody else would think of"
        super().__init__(text, violations=[FieldViolation(field, text, self.reason)])


class RoleChangeNotAllowed(PermissionDenied):
    reason = "ROLE_CHANGE_NOT_ALLOWED"


class DisablingNotAllowed(PermissionDenied):
    reason = "DISABLING_NOT_ALLOWED"


@dataclass(frozen=True)
class User:
    """An account that is not closed."""

    user_id: UUID
    # The address and the name, as the row has them: most calls never read them.
    personal: Sealed | Personal
    # In the order of Role, none twice.
    roles: tuple[Role, ...]
    version: int
    create_time: datetime
    update_time: datetime
    # The account speaks for operators of this role and never logs in.
    operator_role: Role | None = None
    # When the person showed that they read what is sent to their address; None: not yet.
    email_verify_time: datetime | None = None
    # An administrator has barred it from logging in.
    disabled: bool = False

    @property
    def etag(self) -> str:
        """The version, as clients see it (AIP-154)."""
        return str(self.version)


@dataclass(frozen=True, kw_only=True)
class OpenedUser(User):
    """An account that is not closed, with what is personal of it, to be read."""

    opened: Personal

    @property
    def email(self) -> str:
        """The address, as the person wrote it."""
        return self.opened.email

    @property
    def display_name(self) -> str:
        """How the person is called."""
        return self.opened.display_name

    @property
    def canonical_email(self) -> CanonicalEmail:
        """What no two open accounts share."""
        return self.opened.canonical_email

    def with_personal(self, personal: Sealed | Personal) -> "OpenedUser":
        """Return the account as its row is to have it."""
        return replace(self, personal=personal)


# Events. No personal data: a log cannot forget.


@dataclass(frozen=True)
class UserCreated:
    user_id: UUID
    roles: tuple[Role, ...]


@dataclass(frozen=True)
class UserUpdated:
    user_id: UUID
    changed_fields: tuple[str, ...]
    roles: tuple[Role, ...]
    disabled: bool


@dataclass(frozen=True)
class UserDeleted:
    user_id: UUID


@dataclass(frozen=True)
class EmailConfirmed:
    user_id: UUID


@dataclass(frozen=True)
class PasswordChanged:
    user_id: UUID
    # By the token of a mail, instead of the old password.
    by_mail: bool


@dataclass(frozen=True)
class SecondFactorAdded:
    user_id: UUID


@dataclass(frozen=True)
class SecondFactorRemoved:
    user_id: UUID


UserEvent: TypeAlias = (
    UserCreated
    | UserUpdated
    | UserDeleted
    | EmailConfirmed
    | PasswordChanged
    | SecondFactorAdded
    | SecondFactorRemoved
)


@dataclass(frozen=True)
class UserChange:
    """What the caller wants changed; None leaves a field as it is."""

    display_name: str | None = None
    roles: tuple[Role, ...] | None = None
    disabled: bool | None = None
    # Immutable: it may be repeated, as in a resource that was read and sent back, but not changed.
    email: str | None = None


def check_registrable(email: CanonicalEmail) -> None:
    """Check that a person may register with this address.

    Raises:
        EmailReserved: it is one of the operators' domain.
    """
    if email.endswith(f"@{OPERATOR_EMAIL_DOMAIN}"):
        raise EmailReserved


def register(user_id: UUID, email: str, display_name: str, now: datetime) -> tuple[OpenedUser, UserCreated]:
    """Open a customer's account."""
    personal = Personal(email, display_name)
    return _open(OpenedUser(user_id, personal, (Role.CUSTOMER,), 1, now, now, opened=personal))


def open_operator_account(user_id: UUID, role: Role, now: datetime) -> tuple[OpenedUser, UserCreated]:
    """Open the account that speaks for operators of a role."""
    name = role.removeprefix("ROLE_").lower()
    personal = Personal(f"{name}@{OPERATOR_EMAIL_DOMAIN}", f"Operator ({name})")
    return _open(OpenedUser(user_id, personal, (role,), 1, now, now, operator_role=role, opened=personal))


def update(
    user: OpenedUser, change: UserChange, *, by_administrator: bool, reads_email: bool, now: datetime
) -> tuple[OpenedUser, UserUpdated | None]:
    """Change an account; a new name stands in `opened`, and is to be encrypted.

    The event is None, and the account the same, where nothing differs.

    Raises:
        InvalidArgument: the change names another e-mail address, or no role at all.
        RoleChangeNotAllowed: the roles differ, and the caller may not change them, or nobody may.
        DisablingNotAllowed: the same of `disabled`.
    """
    _check_email_unchanged(change, user.email if reads_email else masked_email(user.email))
    wanted = replace(
        user,
        opened=_named(user.opened, change.display_name),
        roles=user.roles if change.roles is None else _in_order(change.roles),
        disabled=user.disabled if change.disabled is None else change.disabled,
    )
    if wanted.roles != user.roles:
        _check_role_change(user, by_administrator=by_administrator)
    if wanted.disabled != user.disabled:
        _check_disabling(user, by_administrator=by_administrator)
    changed = tuple(
        name for name in ("display_name", "roles", "disabled") if getattr(wanted, name) != getattr(user, name)
    )
    if not changed:
        return user, None
    updated = replace(wanted, version=user.version + 1, update_time=now)
    return updated, UserUpdated(user.user_id, changed, updated.roles, updated.disabled)


def confirm_email(user: User, now: datetime) -> tuple[User, EmailConfirmed]:
    """Confirm the address of an account, which is not confirmed yet."""
    confirmed = replace(user, email_verify_time=now, version=user.version + 1, update_time=now)
    return confirmed, EmailConfirmed(user.user_id)


def close(user: User, now: datetime) -> tuple[User, UserDeleted]:
    """Close an account; `update_time` of the result is when."""
    return replace(user, version=user.version + 1, update_time=now), UserDeleted(user.user_id)


def change_password(user: User, now: datetime, *, by_mail: bool) -> tuple[User, PasswordChanged]:
    """Give an account another password; the hash itself is the store's alone."""
    return replace(user, version=user.version + 1, update_time=now), PasswordChanged(user.user_id, by_mail)


def _open(user: OpenedUser) -> tuple[OpenedUser, UserCreated]:
    return user, UserCreated(user.user_id, user.roles)


def _named(personal: Personal, display_name: str | None) -> Personal:
    return personal if display_name is None else replace(personal, display_name=display_name)


def _check_email_unchanged(change: UserChange, shown: str) -> None:
    # With what the caller is shown: whoever may not read the address would learn whether a guess is right.
    if change.email is not None and canonical_email(change.email) != canonical_email(shown):
        raise _invalid("user.email", "the e-mail address cannot be changed", "IMMUTABLE")


def _check_role_change(user: User, *, by_administrator: bool) -> None:
    if not by_administrator:
        raise RoleChangeNotAllowed("only an administrator may change roles")
    if user.operator_role is not None:
        raise RoleChangeNotAllowed("an operator's account keeps its role")


def _check_disabling(user: User, *, by_administrator: bool) -> None:
    if not by_administrator:
        raise DisablingNotAllowed("only an administrator may disable accounts, or enable them again")
    if user.operator_role is not None:
        raise DisablingNotAllowed("an operator's account is barred by withdrawing the certificate")


def _in_order(roles: tuple[Role, ...]) -> tuple[Role, ...]:
    if not roles:
        raise _invalid("user.roles", "an account has at least one role", "REQUIRED")
    return tuple(role for role in Role if role in roles)


def _invalid(field: str, description: str, reason: str) -> InvalidArgument:
    return InvalidArgument(description, violations=[FieldViolation(field, description, reason)])
