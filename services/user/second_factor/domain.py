"""When a second factor may be turned on, and how its codes are refused. No I/O, no clock of its own."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from services.errors import FailedPrecondition, FieldViolation, InvalidArgument, Unauthenticated
from services.user.accounts.domain import (
    OpenedUser,
    SecondFactorAdded,
    SecondFactorRemoved,
    User,
    check_registrable,
)
from services.user.privacy.domain import DataKey

# More than anybody loses devices; each is good once.
RECOVERY_CODES = 10


class SecondFactorRequired(Unauthenticated):
    """The password is right. Whoever guesses is told so, and their try stays counted."""

    reason = "SECOND_FACTOR_REQUIRED"

    def __init__(self) -> None:
        super().__init__("the account has a second factor: send a code of its device, or a recovery code")


class SecondFactorInvalid(Unauthenticated):
    reason = "SECOND_FACTOR_INVALID"

    def __init__(self) -> None:
        super().__init__("the code is wrong, or was used before")


class TotpAlreadyOn(FailedPrecondition):
    reason = "TOTP_ALREADY_ON"

    def __init__(self) -> None:
        super().__init__("the account has a second factor: remove it first")


class EmailNotConfirmed(FailedPrecondition):
    reason = "EMAIL_NOT_CONFIRMED"

    def __init__(self) -> None:
        super().__init__("the address of the account is not confirmed: confirm it first")


class TotpNotEnrolled(FailedPrecondition):
    reason = "TOTP_NOT_ENROLLED"

    def __init__(self) -> None:
        super().__init__("there is no secret to confirm: make one")


class TotpCodeWrong(InvalidArgument):
    reason = "TOTP_CODE_WRONG"

    def __init__(self) -> None:
        text = "the code is not one of now"
        super().__init__(text, violations=[FieldViolation("totp_code", text, self.reason)])


@dataclass(frozen=True)
class FactorState:
    """What its person may know of a second factor."""

    enrol_time: datetime | None
    # None: no log-in asks for it.
    confirm_time: datetime | None
    recovery_codes_left: int


class ShopSecret(NamedTuple):
    """A secret that is under a key of the shop, and the data key to be its own."""

    data_key: DataKey
    sealed: bytes

    @property
    def user_id(self) -> UUID:
        return self.data_key.user_id


@dataclass(frozen=True)
class Totp:
    """An account's secret, as it is kept."""

    user_id: UUID
    sealed_secret: bytes
    # Under which it is encrypted; None: under a key of the shop, until the rotation has come to it.
    data_key: DataKey | None
    # None: no log-in asks for it yet.
    confirm_time: datetime | None
    # Of the last code that was accepted.
    last_step: int


def check_enrollable(user: OpenedUser) -> None:
    """Check that an account may have a second factor.

    Raises:
        EmailReserved: it is an operators', which never logs in.
        EmailNotConfirmed: its address may be a stranger's, who could set a new password by a mail, and would
            still be kept out by the second factor.
    """
    check_registrable(user.canonical_email)
    if user.email_verify_time is None:
        raise EmailNotConfirmed


def unconfirmed(totp: Totp | None) -> Totp:
    """Return a secret that a code may confirm.

    Raises:
        TotpNotEnrolled: there is none.
        TotpAlreadyOn: it is confirmed.
    """
    if totp is None:
        raise TotpNotEnrolled
    if totp.confirm_time is not None:
        raise TotpAlreadyOn
    return totp


def add(user: User, now: datetime) -> tuple[User, SecondFactorAdded]:
    """Have an account's log-ins ask for the second factor."""
    return replace(user, version=user.version + 1, update_time=now), SecondFactorAdded(user.user_id)


def remove(user: User, now: datetime) -> tuple[User, SecondFactorRemoved]:
    """Have an account's log-ins ask for the password alone."""
    return replace(user, version=user.version + 1, update_time=now), SecondFactorRemoved(user.user_id)
