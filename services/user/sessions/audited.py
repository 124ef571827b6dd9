"""What the audit log tells of sessions that begin and end."""

from datetime import datetime
from uuid import UUID

from services.user.audit.domain import AuditKind, Happening
from services.user.sessions.domain import EndReason, Session


def begun(
    kind: AuditKind, session: Session, *, roles: tuple[str, ...] = (), by: UUID | None = None
) -> Happening:
    """Return what is told of a session that begins, by whom where the call does not say it."""
    return Happening(
        kind=kind,
        user_id=session.user_id,
        session_id=session.session_id,
        client_id=session.client_id,
        occur_time=session.create_time,
        roles=roles,
        by=by,
    )


def ended(session_id: UUID, user_id: UUID, reason: EndReason, now: datetime) -> Happening:
    """Return what is told of a session that has ended."""
    return Happening(
        kind=AuditKind.SESSION_ENDED,
        user_id=user_id,
        session_id=session_id,
        reason=reason,
        occur_time=now,
    )
