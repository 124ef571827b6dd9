"""Sessions ↔ the messages of the contract."""

from uuid import UUID

from commerce.user.v1 import auth_pb2

from services.rpc.fields import timestamp
from services.user.sessions.domain import Session


def session_message(session: Session, *, current: UUID | None) -> auth_pb2.Session:
    """Write a session; `current` is the one that the call is made in."""
    return auth_pb2.Session(
        session_id=str(session.session_id),
        user_id=str(session.user_id),
        create_time=timestamp(session.create_time),
        last_use_time=timestamp(session.last_use_time),
        expire_time=timestamp(session.expire_time),
        device=session.device,
        current=session.session_id == current,
    )
