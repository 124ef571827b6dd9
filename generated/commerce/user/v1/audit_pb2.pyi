import datetime

from buf.validate import validate_pb2 as _validate_pb2
from commerce.policy.v1 import policy_pb2 as _policy_pb2
from commerce.user.v1 import role_pb2 as _role_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AuditEventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUDIT_EVENT_KIND_UNSPECIFIED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_LOGGED_IN: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_LOG_IN_FAILED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_SESSION_ENDED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNT_CREATED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNT_UPDATED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ROLES_CHANGED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNT_DISABLED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNT_ENABLED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNT_CLOSED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_EMAIL_CONFIRMED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_PASSWORD_CHANGED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_PASSWORD_RESET: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_OPERATOR_TOKEN_ISSUED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNT_READ: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNTS_LISTED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_SESSIONS_LISTED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_AUDIT_EVENTS_LISTED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_SECOND_FACTOR_ADDED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_SECOND_FACTOR_REMOVED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_CLIENT_LET_IN: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_ACCOUNT_EXPORTED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_SECOND_FACTOR_FAILED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_CLIENT_REGISTERED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_CLIENT_SECRET_ROTATED: _ClassVar[AuditEventKind]
    AUDIT_EVENT_KIND_CLIENT_REMOVED: _ClassVar[AuditEventKind]
AUDIT_EVENT_KIND_UNSPECIFIED: AuditEventKind
AUDIT_EVENT_KIND_LOGGED_IN: AuditEventKind
AUDIT_EVENT_KIND_LOG_IN_FAILED: AuditEventKind
AUDIT_EVENT_KIND_SESSION_ENDED: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNT_CREATED: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNT_UPDATED: AuditEventKind
AUDIT_EVENT_KIND_ROLES_CHANGED: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNT_DISABLED: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNT_ENABLED: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNT_CLOSED: AuditEventKind
AUDIT_EVENT_KIND_EMAIL_CONFIRMED: AuditEventKind
AUDIT_EVENT_KIND_PASSWORD_CHANGED: AuditEventKind
AUDIT_EVENT_KIND_PASSWORD_RESET: AuditEventKind
AUDIT_EVENT_KIND_OPERATOR_TOKEN_ISSUED: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNT_READ: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNTS_LISTED: AuditEventKind
AUDIT_EVENT_KIND_SESSIONS_LISTED: AuditEventKind
AUDIT_EVENT_KIND_AUDIT_EVENTS_LISTED: AuditEventKind
AUDIT_EVENT_KIND_SECOND_FACTOR_ADDED: AuditEventKind
AUDIT_EVENT_KIND_SECOND_FACTOR_REMOVED: AuditEventKind
AUDIT_EVENT_KIND_CLIENT_LET_IN: AuditEventKind
AUDIT_EVENT_KIND_ACCOUNT_EXPORTED: AuditEventKind
AUDIT_EVENT_KIND_SECOND_FACTOR_FAILED: AuditEventKind
AUDIT_EVENT_KIND_CLIENT_REGISTERED: AuditEventKind
AUDIT_EVENT_KIND_CLIENT_SECRET_ROTATED: AuditEventKind
AUDIT_EVENT_KIND_CLIENT_REMOVED: AuditEventKind

class AuditEvent(_message.Message):
    __slots__ = ("position", "kind", "occur_time", "user_id", "actor_user_id", "actor_roles", "actor_session_id", "actor_service", "session_id", "reason", "count", "roles", "request_id", "hash", "actor_client_id", "client_id")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OCCUR_TIME_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_USER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_ROLES_FIELD_NUMBER: _ClassVar[int]
    ACTOR_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ACTOR_SERVICE_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    ACTOR_CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    position: int
    kind: AuditEventKind
    occur_time: _timestamp_pb2.Timestamp
    user_id: str
    actor_user_id: str
    actor_roles: _containers.RepeatedScalarFieldContainer[_role_pb2.Role]
    actor_session_id: str
    actor_service: str
    session_id: str
    reason: str
    count: int
    roles: _containers.RepeatedScalarFieldContainer[_role_pb2.Role]
    request_id: str
    hash: str
    actor_client_id: str
    client_id: str
    def __init__(self, position: _Optional[int] = ..., kind: _Optional[_Union[AuditEventKind, str]] = ..., occur_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., user_id: _Optional[str] = ..., actor_user_id: _Optional[str] = ..., actor_roles: _Optional[_Iterable[_Union[_role_pb2.Role, str]]] = ..., actor_session_id: _Optional[str] = ..., actor_service: _Optional[str] = ..., session_id: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ..., roles: _Optional[_Iterable[_Union[_role_pb2.Role, str]]] = ..., request_id: _Optional[str] = ..., hash: _Optional[str] = ..., actor_client_id: _Optional[str] = ..., client_id: _Optional[str] = ...) -> None: ...

class ListAuditEventsRequest(_message.Message):
    __slots__ = ("user_id", "kind", "occur_time_from", "occur_time_before", "page_size", "page_token")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    OCCUR_TIME_FROM_FIELD_NUMBER: _ClassVar[int]
    OCCUR_TIME_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    kind: AuditEventKind
    occur_time_from: _timestamp_pb2.Timestamp
    occur_time_before: _timestamp_pb2.Timestamp
    page_size: int
    page_token: str
    def __init__(self, user_id: _Optional[str] = ..., kind: _Optional[_Union[AuditEventKind, str]] = ..., occur_time_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., occur_time_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAuditEventsResponse(_message.Message):
    __slots__ = ("audit_events", "next_page_token")
    AUDIT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    audit_events: _containers.RepeatedCompositeFieldContainer[AuditEvent]
    next_page_token: str
    def __init__(self, audit_events: _Optional[_Iterable[_Union[AuditEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetAuditHeadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AuditHead(_message.Message):
    __slots__ = ("position", "hash", "forgotten_position", "forgotten_hash")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_POSITION_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_HASH_FIELD_NUMBER: _ClassVar[int]
    position: int
    hash: str
    forgotten_position: int
    forgotten_hash: str
    def __init__(self, position: _Optional[int] = ..., hash: _Optional[str] = ..., forgotten_position: _Optional[int] = ..., forgotten_hash: _Optional[str] = ...) -> None: ...
