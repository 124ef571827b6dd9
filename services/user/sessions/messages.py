"""Sessions ↔ the messages of the contract."""

from uuid import UUID

from commerce.user.v1 import auth_pb2

from services.rpc.fields import timestamp
from services.rpc.identity import caller
from services.user.sessions.domain import Session


def shown_session(session: Session) -> auth_pb2.Session:
    """Write a session for the caller: another's device is left out unless they may read it."""
    message = session_message(session, current=caller().session_id)
    if not caller().may_read_personal(session.user_id):
        message.ClearField("device")
    return message


def session_message(session: Session, *, current: UUID | None) -> auth_pb2.Session:
    """Write a session as it is; `current` is the one that the call is made in."""
    return auth_pb2.Session(
        session_id=str(session.session_id),
        user_id=str(session.user_id),
        create_time=timestamp(session.create_time),
        last_use_time=timestamp(session.last_use_time),
        expire_time=timestamp(session.expire_time),
        device=session.device,
        current=session.session_id == current,
        client_id=str(session.client_id or ""),
        scopes=session.scopes,
    )
