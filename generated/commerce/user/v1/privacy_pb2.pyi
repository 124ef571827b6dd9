import datetime

from buf.validate import validate_pb2 as _validate_pb2
from commerce.policy.v1 import policy_pb2 as _policy_pb2
from commerce.user.v1 import audit_pb2 as _audit_pb2
from commerce.user.v1 import auth_pb2 as _auth_pb2
from commerce.user.v1 import second_factor_pb2 as _second_factor_pb2
from commerce.user.v1 import user_pb2 as _user_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExportUserDataRequest(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class UserData(_message.Message):
    __slots__ = ("user", "sessions", "mails", "is_cut", "second_factor", "authorizations", "audit_events", "device_marks_from")
    USER_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    MAILS_FIELD_NUMBER: _ClassVar[int]
    IS_CUT_FIELD_NUMBER: _ClassVar[int]
    SECOND_FACTOR_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATIONS_FIELD_NUMBER: _ClassVar[int]
    AUDIT_EVENTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_MARKS_FROM_FIELD_NUMBER: _ClassVar[int]
    user: _user_pb2.User
    sessions: _containers.RepeatedCompositeFieldContainer[SessionRecord]
    mails: _containers.RepeatedCompositeFieldContainer[MailRecord]
    is_cut: bool
    second_factor: _second_factor_pb2.SecondFactor
    authorizations: _containers.RepeatedCompositeFieldContainer[AuthorizationRecord]
    audit_events: _containers.RepeatedCompositeFieldContainer[_audit_pb2.AuditEvent]
    device_marks_from: _timestamp_pb2.Timestamp
    def __init__(self, user: _Optional[_Union[_user_pb2.User, _Mapping]] = ..., sessions: _Optional[_Iterable[_Union[SessionRecord, _Mapping]]] = ..., mails: _Optional[_Iterable[_Union[MailRecord, _Mapping]]] = ..., is_cut: _Optional[bool] = ..., second_factor: _Optional[_Union[_second_factor_pb2.SecondFactor, _Mapping]] = ..., authorizations: _Optional[_Iterable[_Union[AuthorizationRecord, _Mapping]]] = ..., audit_events: _Optional[_Iterable[_Union[_audit_pb2.AuditEvent, _Mapping]]] = ..., device_marks_from: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class AuthorizationRecord(_message.Message):
    __slots__ = ("client_id", "redirect_uri", "scopes", "state", "nonce", "auth_time", "decide_time", "session_id")
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    REDIRECT_URI_FIELD_NUMBER: _ClassVar[int]
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    AUTH_TIME_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    client_id: str
    redirect_uri: str
    scopes: _containers.RepeatedScalarFieldContainer[str]
    state: str
    nonce: str
    auth_time: _timestamp_pb2.Timestamp
    decide_time: _timestamp_pb2.Timestamp
    session_id: str
    def __init__(self, client_id: _Optional[str] = ..., redirect_uri: _Optional[str] = ..., scopes: _Optional[_Iterable[str]] = ..., state: _Optional[str] = ..., nonce: _Optional[str] = ..., auth_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., session_id: _Optional[str] = ...) -> None: ...

class SessionRecord(_message.Message):
    __slots__ = ("session", "end_time")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    session: _auth_pb2.Session
    end_time: _timestamp_pb2.Timestamp
    def __init__(self, session: _Optional[_Union[_auth_pb2.Session, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MailRecord(_message.Message):
    __slots__ = ("kind", "create_time", "outcome")
    KIND_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    kind: str
    create_time: _timestamp_pb2.Timestamp
    outcome: str
    def __init__(self, kind: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., outcome: _Optional[str] = ...) -> None: ...

class ListErasuresRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListErasuresResponse(_message.Message):
    __slots__ = ("erasures", "next_page_token")
    ERASURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    erasures: _containers.RepeatedCompositeFieldContainer[Erasure]
    next_page_token: str
    def __init__(self, erasures: _Optional[_Iterable[_Union[Erasure, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Erasure(_message.Message):
    __slots__ = ("user_id", "erase_time")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ERASE_TIME_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    erase_time: _timestamp_pb2.Timestamp
    def __init__(self, user_id: _Optional[str] = ..., erase_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReplayErasuresRequest(_message.Message):
    __slots__ = ("erasures",)
    ERASURES_FIELD_NUMBER: _ClassVar[int]
    erasures: _containers.RepeatedCompositeFieldContainer[Erasure]
    def __init__(self, erasures: _Optional[_Iterable[_Union[Erasure, _Mapping]]] = ...) -> None: ...

class ReplayErasuresResponse(_message.Message):
    __slots__ = ("erased_count",)
    ERASED_COUNT_FIELD_NUMBER: _ClassVar[int]
    erased_count: int
    def __init__(self, erased_count: _Optional[int] = ...) -> None: ...

class ListKeyVersionsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListKeyVersionsResponse(_message.Message):
    __slots__ = ("versions", "unindexed_count", "plain_count", "unreadable")
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    UNINDEXED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PLAIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.RepeatedCompositeFieldContainer[KeyVersion]
    unindexed_count: int
    plain_count: int
    unreadable: _containers.RepeatedCompositeFieldContainer[UnreadableRow]
    def __init__(self, versions: _Optional[_Iterable[_Union[KeyVersion, _Mapping]]] = ..., unindexed_count: _Optional[int] = ..., plain_count: _Optional[int] = ..., unreadable: _Optional[_Iterable[_Union[UnreadableRow, _Mapping]]] = ...) -> None: ...

class UnreadableRow(_message.Message):
    __slots__ = ("purpose", "user_id")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    user_id: str
    def __init__(self, purpose: _Optional[str] = ..., user_id: _Optional[str] = ...) -> None: ...

class KeyVersion(_message.Message):
    __slots__ = ("purpose", "version", "row_count", "is_known")
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_KNOWN_FIELD_NUMBER: _ClassVar[int]
    purpose: str
    version: int
    row_count: int
    is_known: bool
    def __init__(self, purpose: _Optional[str] = ..., version: _Optional[int] = ..., row_count: _Optional[int] = ..., is_known: _Optional[bool] = ...) -> None: ...
