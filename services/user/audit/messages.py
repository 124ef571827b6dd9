"""Events of the audit log ↔ the messages of the contract."""

from uuid import UUID

from commerce.user.v1 import audit_pb2

from services.audit_chain import event_hash
from services.rpc.fields import timestamp
from services.user.audit.domain import AuditEvent, ChainedEvent, Link

_KIND = "AUDIT_EVENT_KIND_"


def audit_message(position: int, event: AuditEvent) -> audit_pb2.AuditEvent:
    """Write an event as the hash covers it.

    Raises:
        ValueError: a later version of the service wrote it, of a kind that this one does not know.
    """
    return audit_pb2.AuditEvent(
        position=position,
        kind=_KIND + event.kind,
        occur_time=timestamp(event.occur_time),
        user_id=_text(event.user_id),
        actor_user_id=_text(event.actor_user_id),
        actor_roles=event.actor_roles,
        actor_session_id=_text(event.actor_session_id),
        actor_service=event.actor_service,
        session_id=_text(event.session_id),
        reason=event.reason,
        count=event.count,
        roles=event.roles,
        request_id=event.request_id,
        actor_client_id=_text(event.actor_client_id),
        client_id=_text(event.client_id),
    )


def chained_message(chained: ChainedEvent) -> audit_pb2.AuditEvent:
    """Write an event with its hash."""
    message = audit_message(chained.position, chained.event)
    message.hash = chained.hash.hex()
    return message


def message_for(chained: ChainedEvent, reader: UUID) -> audit_pb2.AuditEvent:
    """Write an event for somebody who is no administrator: others are no more than their roles to them."""
    message = chained_message(chained)
    message.ClearField("hash")
    if chained.event.actor_user_id != reader:
        message.ClearField("actor_user_id")
        message.ClearField("actor_session_id")
        message.ClearField("actor_client_id")
    return message


def kind_of(value: audit_pb2.AuditEventKind) -> str | None:
    """Read a kind that may be left out."""
    return audit_pb2.AuditEventKind.Name(value).removeprefix(_KIND) if value else None


def head_message(head: Link, checkpoint: Link) -> audit_pb2.AuditHead:
    """Write both ends of the log."""
    return audit_pb2.AuditHead(
        position=head.position,
        hash=head.hash.hex(),
        forgotten_position=checkpoint.position,
        forgotten_hash=checkpoint.hash.hex(),
    )


def hash_of(previous: bytes, position: int, event: AuditEvent) -> bytes:
    """Return the hash of an event at its place."""
    return event_hash(previous, audit_message(position, event))


def _text(identifier: UUID | None) -> str:
    return "" if identifier is None else str(identifier)
