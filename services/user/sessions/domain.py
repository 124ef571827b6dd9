"""What sessions are and when they end. No I/O, no wire, no clock of its own."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from services.errors import (
    FieldViolation,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)

# A lost device is locked out when its owner stops using it for so long.
REFRESH_LIFETIME = timedelta(days=30)
# How long a stolen access token goes on working whose session nobody ends.
ACCESS_LIFETIME = timedelta(minutes=15)
# More than the devices of anyone; without it a script that logs in again and again fills the lists, the
# indexes and the memory of whoever reads them.
MAX_LIVE_SESSIONS = 100


class EndReason(StrEnum):
    """Why a session ended before its time."""

    LOGGED_OUT = "LOGGED_OUT"
    TOKEN_REUSED = "TOKEN_REUSED"  # noqa: S105  a word, not a secret
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    # By a newer one: the account had as many as it may have.
    SUPERSEDED = "SUPERSEDED"
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105  a word, not a secret
    ACCOUNT_DISABLED = "ACCOUNT_DISABLED"
    # It began without the second factor that the account has now.
    SECOND_FACTOR_ADDED = "SECOND_FACTOR_ADDED"


class CredentialsInvalid(Unauthenticated):
    """No such account or another password: one answer for both."""

    reason = "CREDENTIALS_INVALID"

    def __init__(self) -> None:
        super().__init__("the e-mail address or the password is wrong")


class OldPasswordWrong(InvalidArgument):
    """Not CREDENTIALS_INVALID: clients log their person out for that."""

    reason = "OLD_PASSWORD_WRONG"

    def __init__(self) -> None:
        text = "the old password is wrong"
        super().__init__(text, violations=[FieldViolation("old_password", text, self.reason)])


class PasswordWrong(InvalidArgument):
    """In a session that goes on. Not CREDENTIALS_INVALID: clients log their person out for that."""

    reason = "PASSWORD_WRONG"

    def __init__(self) -> None:
        text = "the password is wrong"
        super().__init__(text, violations=[FieldViolation("password", text, self.reason)])


class AccountDisabled(PermissionDenied):
    """The password is right: nobody else is told."""

    reason = "ACCOUNT_DISABLED"

    def __init__(self) -> None:
        super().__init__("this account has been disabled: ask the shop")


class LoginThrottled(ResourceExhausted):
    reason = "LOGIN_THROTTLED"


class SessionNotFound(NotFound):
    """No live session of that id, or not the caller's: one answer for both."""

    reason = "SESSION_NOT_FOUND"

    def __init__(self) -> None:
        super().__init__("there is no such session")


class RefreshTokenInvalid(Unauthenticated):
    reason = "REFRESH_TOKEN_INVALID"

    def __init__(self) -> None:
        super().__init__("the refresh token is not valid, or no longer: log in again")


class RefreshTokenReused(Unauthenticated):
    reason = "REFRESH_TOKEN_REUSED"

    def __init__(self) -> None:
        super().__init__("the refresh token was used before, so its session has ended: log in again")


@dataclass(frozen=True)
class Session:
    """One log-in on one device, alive until it ends or its refresh token expires."""

    session_id: UUID
    user_id: UUID
    create_time: datetime
    last_use_time: datetime
    expire_time: datetime
    # What the program that logged in said it was.
    device: str = ""
    end_time: datetime | None = None
    # The client that the person has let in by it, and for what; None: they have logged in themselves.
    client_id: UUID | None = None
    scopes: tuple[str, ...] = ()
    # When it last showed the password; None: when it began.
    auth_time: datetime | None = None
    # Whether it showed the second factor too.
    second_factor: bool = False

    @property
    def authenticated_at(self) -> datetime:
        """When it last showed who it is."""
        return self.auth_time or self.create_time

    @property
    def methods(self) -> tuple[str, ...]:
        """By what."""
        return methods(second_factor=self.second_factor)


def methods(*, second_factor: bool) -> tuple[str, ...]:
    """Return by what a person has shown who they are, in the words of RFC 8176 (amr)."""
    return ("pwd", "otp", "mfa") if second_factor else ("pwd",)


def check_refresh(session: Session, *, token_used: bool, now: datetime) -> None:
    """Decide whether a refresh token of a session may be exchanged (RFC 9700, section 4.14.2).

    Raises:
        RefreshTokenReused: two hold the token, one of them a thief; the session must end for both.
        RefreshTokenInvalid: the session has ended or expired.
    """
    if token_used:
        raise RefreshTokenReused
    if session.end_time is not None or session.expire_time <= now:
        raise RefreshTokenInvalid
