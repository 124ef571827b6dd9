from commerce.user.v1 import role_pb2 as _role_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionEndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_END_REASON_UNSPECIFIED: _ClassVar[SessionEndReason]
    SESSION_END_REASON_LOGGED_OUT: _ClassVar[SessionEndReason]
    SESSION_END_REASON_TOKEN_REUSED: _ClassVar[SessionEndReason]
    SESSION_END_REASON_SUPERSEDED: _ClassVar[SessionEndReason]
    SESSION_END_REASON_PASSWORD_CHANGED: _ClassVar[SessionEndReason]
    SESSION_END_REASON_ACCOUNT_DISABLED: _ClassVar[SessionEndReason]
    SESSION_END_REASON_ACCOUNT_CLOSED: _ClassVar[SessionEndReason]
    SESSION_END_REASON_SECOND_FACTOR_ADDED: _ClassVar[SessionEndReason]
SESSION_END_REASON_UNSPECIFIED: SessionEndReason
SESSION_END_REASON_LOGGED_OUT: SessionEndReason
SESSION_END_REASON_TOKEN_REUSED: SessionEndReason
SESSION_END_REASON_SUPERSEDED: SessionEndReason
SESSION_END_REASON_PASSWORD_CHANGED: SessionEndReason
SESSION_END_REASON_ACCOUNT_DISABLED: SessionEndReason
SESSION_END_REASON_ACCOUNT_CLOSED: SessionEndReason
SESSION_END_REASON_SECOND_FACTOR_ADDED: SessionEndReason

class UserCreated(_message.Message):
    __slots__ = ("user_id", "roles")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    roles: _containers.RepeatedScalarFieldContainer[_role_pb2.Role]
    def __init__(self, user_id: _Optional[str] = ..., roles: _Optional[_Iterable[_Union[_role_pb2.Role, str]]] = ...) -> None: ...

class UserUpdated(_message.Message):
    __slots__ = ("user_id", "changed_fields", "roles", "disabled")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    ROLES_FIELD_NUMBER: _ClassVar[int]
    DISABLED_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    changed_fields: _containers.RepeatedScalarFieldContainer[str]
    roles: _containers.RepeatedScalarFieldContainer[_role_pb2.Role]
    disabled: bool
    def __init__(self, user_id: _Optional[str] = ..., changed_fields: _Optional[_Iterable[str]] = ..., roles: _Optional[_Iterable[_Union[_role_pb2.Role, str]]] = ..., disabled: _Optional[bool] = ...) -> None: ...

class UserDeleted(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class UserErased(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class EmailConfirmed(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class PasswordReset(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class PasswordChanged(_message.Message):
    __slots__ = ("user_id", "by_mail")
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    BY_MAIL_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    by_mail: bool
    def __init__(self, user_id: _Optional[str] = ..., by_mail: _Optional[bool] = ...) -> None: ...

class SecondFactorAdded(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class SecondFactorRemoved(_message.Message):
    __slots__ = ("user_id",)
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    user_id: str
    def __init__(self, user_id: _Optional[str] = ...) -> None: ...

class SessionEnded(_message.Message):
    __slots__ = ("session_id", "user_id", "reason")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    USER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    user_id: str
    reason: SessionEndReason
    def __init__(self, session_id: _Optional[str] = ..., user_id: _Optional[str] = ..., reason: _Optional[_Union[SessionEndReason, str]] = ...) -> None: ...
