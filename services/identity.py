"""Who calls: the peer's certificate and the person's token. What each may do is services/policy.py's."""

from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from services.errors import TokenMissing


@dataclass(frozen=True)
class Caller:
    """The service on the other end of the connection and the person it speaks for."""

    # Last segment of the peer's SPIFFE id: "edge", "order", …
    service: str | None
    subject: UUID | None
    session_id: UUID | None
    scopes: frozenset[str]
    # Carries the method's any_owner scope.
    acts_for_any: bool

    def require_subject(self) -> UUID:
        """Return the person's id.

        Raises:
            TokenMissing: the call came without a token.
        """
        if self.subject is None:
            raise TokenMissing("an access token is required")
        return self.subject

    def owns(self, user_id: UUID) -> bool:
        """Return whether a resource of `user_id` is theirs to see and change."""
        return self.acts_for_any or self.subject == user_id


_caller: ContextVar[Caller] = ContextVar("caller")


def caller() -> Caller:
    """Return who makes the current call; there is one inside every RPC of the contract."""
    return _caller.get()


def set_caller(current: Caller) -> None:
    """Set who makes the current call; the interceptor does, and tests of a servicer alone."""
    _caller.set(current)
