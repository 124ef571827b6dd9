"""What the audit log tells of. No I/O, no wire, no clock of its own."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID


class AuditKind(StrEnum):
    """What happened; the contract says more of each (AuditEventKind)."""

    LOGGED_IN = "LOGGED_IN"
    LOG_IN_FAILED = "LOG_IN_FAILED"
    SESSION_ENDED = "SESSION_ENDED"
    ACCOUNT_CREATED = "ACCOUNT_CREATED"
    ACCOUNT_UPDATED = "ACCOUNT_UPDATED"
    ROLES_CHANGED = "ROLES_CHANGED"
    ACCOUNT_DISABLED = "ACCOUNT_DISABLED"
    ACCOUNT_ENABLED = "ACCOUNT_ENABLED"
    ACCOUNT_CLOSED = "ACCOUNT_CLOSED"
    EMAIL_CONFIRMED = "EMAIL_CONFIRMED"
    PASSWORD_CHANGED = "PASSWORD_CHANGED"  # noqa: S105  a word, not a secret
    PASSWORD_RESET = "PASSWORD_RESET"  # noqa: S105  a word, not a secret
    SECOND_FACTOR_ADDED = "SECOND_FACTOR_ADDED"
    SECOND_FACTOR_REMOVED = "SECOND_FACTOR_REMOVED"
    CLIENT_LET_IN = "CLIENT_LET_IN"
    OPERATOR_TOKEN_ISSUED = "OPERATOR_TOKEN_ISSUED"  # noqa: S105  a word, not a secret
    ACCOUNT_READ = "ACCOUNT_READ"
    ACCOUNTS_LISTED = "ACCOUNTS_LISTED"
    SESSIONS_LISTED = "SESSIONS_LISTED"
    AUDIT_EVENTS_LISTED = "AUDIT_EVENTS_LISTED"
    ACCOUNT_EXPORTED = "ACCOUNT_EXPORTED"
    SECOND_FACTOR_FAILED = "SECOND_FACTOR_FAILED"
    CLIENT_REGISTERED = "CLIENT_REGISTERED"
    CLIENT_SECRET_ROTATED = "CLIENT_SECRET_ROTATED"  # noqa: S105  a word, not a secret
    CLIENT_REMOVED = "CLIENT_REMOVED"


@dataclass(frozen=True, kw_only=True)
class Happening:
    """Something that happens now, without who does it, which the call says."""

    kind: AuditKind
    # On whom; None: on nobody in particular.
    user_id: UUID | None
    occur_time: datetime
    session_id: UUID | None = None
    # Which OAuth 2 client it was.
    client_id: UUID | None = None
    reason: str = ""
    count: int = 0
    # ROLE_… that the account has since.
    roles: tuple[str, ...] = ()
    # Who did it, where the call's token does not say it: whoever logs in.
    by: UUID | None = None
    # Of the call that it happened in, where that is not the one that tells of it.
    request_id: str = ""


@dataclass(frozen=True)
class Actor:
    """Who makes a call."""

    user_id: UUID | None
    session_id: UUID | None
    # The OAuth 2 client that does it, for the person or, as its own `user_id`, for itself.
    client_id: UUID | None
    # Of the certificate that brought the call; "" for the service itself.
    service: str
    # The call's trace id, 32 hex digits; "" outside of calls.
    request_id: str


@dataclass(frozen=True)
class AuditEvent:
    """An event of the log."""

    kind: str
    user_id: UUID | None
    actor_user_id: UUID | None
    actor_roles: tuple[str, ...]
    actor_session_id: UUID | None
    actor_client_id: UUID | None
    actor_service: str
    session_id: UUID | None
    client_id: UUID | None
    reason: str
    count: int
    roles: tuple[str, ...]
    request_id: str
    occur_time: datetime


@dataclass(frozen=True)
class ChainedEvent:
    """An event with its place in the chain, from 1 on."""

    position: int
    event: AuditEvent
    hash: bytes


@dataclass(frozen=True)
class Link:
    """Where a chain ends or begins: the place and the hash of one event; 0 and zeros before the first."""

    position: int
    hash: bytes
