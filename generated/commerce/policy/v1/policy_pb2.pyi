import datetime

from commerce.policy.v1 import reason_pb2 as _reason_pb2
from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EdgeExposure(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EDGE_EXPOSURE_UNSPECIFIED: _ClassVar[EdgeExposure]
    EDGE_EXPOSURE_EXPOSED: _ClassVar[EdgeExposure]
    EDGE_EXPOSURE_HIDDEN: _ClassVar[EdgeExposure]
EDGE_EXPOSURE_UNSPECIFIED: EdgeExposure
EDGE_EXPOSURE_EXPOSED: EdgeExposure
EDGE_EXPOSURE_HIDDEN: EdgeExposure
POLICY_FIELD_NUMBER: _ClassVar[int]
policy: _descriptor.FieldDescriptor
PERSONAL_FIELD_NUMBER: _ClassVar[int]
personal: _descriptor.FieldDescriptor
GRANT_FIELD_NUMBER: _ClassVar[int]
grant: _descriptor.FieldDescriptor

class Policy(_message.Message):
    __slots__ = ("public", "scoped", "internal", "deadline", "rate_limit", "cache", "max_request_bytes", "edge", "max_attempts", "holds", "streams", "step_up", "reasons")
    PUBLIC_FIELD_NUMBER: _ClassVar[int]
    SCOPED_FIELD_NUMBER: _ClassVar[int]
    INTERNAL_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    RATE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    CACHE_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BYTES_FIELD_NUMBER: _ClassVar[int]
    EDGE_FIELD_NUMBER: _ClassVar[int]
    MAX_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    HOLDS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    STEP_UP_FIELD_NUMBER: _ClassVar[int]
    REASONS_FIELD_NUMBER: _ClassVar[int]
    public: PublicAccess
    scoped: ScopedAccess
    internal: InternalAccess
    deadline: _duration_pb2.Duration
    rate_limit: RateLimit
    cache: CachePolicy
    max_request_bytes: int
    edge: EdgeExposure
    max_attempts: int
    holds: HoldLimit
    streams: StreamLimit
    step_up: StepUp
    reasons: _containers.RepeatedScalarFieldContainer[_reason_pb2.Reason]
    def __init__(self, public: _Optional[_Union[PublicAccess, _Mapping]] = ..., scoped: _Optional[_Union[ScopedAccess, _Mapping]] = ..., internal: _Optional[_Union[InternalAccess, _Mapping]] = ..., deadline: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., rate_limit: _Optional[_Union[RateLimit, _Mapping]] = ..., cache: _Optional[_Union[CachePolicy, _Mapping]] = ..., max_request_bytes: _Optional[int] = ..., edge: _Optional[_Union[EdgeExposure, str]] = ..., max_attempts: _Optional[int] = ..., holds: _Optional[_Union[HoldLimit, _Mapping]] = ..., streams: _Optional[_Union[StreamLimit, _Mapping]] = ..., step_up: _Optional[_Union[StepUp, _Mapping]] = ..., reasons: _Optional[_Iterable[_Union[_reason_pb2.Reason, str]]] = ...) -> None: ...

class PublicAccess(_message.Message):
    __slots__ = ("ignores_token",)
    IGNORES_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ignores_token: bool
    def __init__(self, ignores_token: _Optional[bool] = ...) -> None: ...

class ScopedAccess(_message.Message):
    __slots__ = ("any_of", "any_owner", "personal", "own_session")
    ANY_OF_FIELD_NUMBER: _ClassVar[int]
    ANY_OWNER_FIELD_NUMBER: _ClassVar[int]
    PERSONAL_FIELD_NUMBER: _ClassVar[int]
    OWN_SESSION_FIELD_NUMBER: _ClassVar[int]
    any_of: _containers.RepeatedScalarFieldContainer[str]
    any_owner: str
    personal: str
    own_session: bool
    def __init__(self, any_of: _Optional[_Iterable[str]] = ..., any_owner: _Optional[str] = ..., personal: _Optional[str] = ..., own_session: _Optional[bool] = ...) -> None: ...

class StepUp(_message.Message):
    __slots__ = ("max_age", "on_demand")
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    ON_DEMAND_FIELD_NUMBER: _ClassVar[int]
    max_age: _duration_pb2.Duration
    on_demand: bool
    def __init__(self, max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., on_demand: _Optional[bool] = ...) -> None: ...

class InternalAccess(_message.Message):
    __slots__ = ("services",)
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, services: _Optional[_Iterable[str]] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("requests", "per")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PER_FIELD_NUMBER: _ClassVar[int]
    requests: int
    per: _duration_pb2.Duration
    def __init__(self, requests: _Optional[int] = ..., per: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class StreamLimit(_message.Message):
    __slots__ = ("per_caller", "total", "idle")
    PER_CALLER_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    IDLE_FIELD_NUMBER: _ClassVar[int]
    per_caller: int
    total: int
    idle: _duration_pb2.Duration
    def __init__(self, per_caller: _Optional[int] = ..., total: _Optional[int] = ..., idle: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CachePolicy(_message.Message):
    __slots__ = ("max_age", "etag", "private")
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_FIELD_NUMBER: _ClassVar[int]
    max_age: _duration_pb2.Duration
    etag: bool
    private: bool
    def __init__(self, max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., etag: _Optional[bool] = ..., private: _Optional[bool] = ...) -> None: ...

class HoldLimit(_message.Message):
    __slots__ = ("reservations", "units", "units_of_product")
    RESERVATIONS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    UNITS_OF_PRODUCT_FIELD_NUMBER: _ClassVar[int]
    reservations: int
    units: int
    units_of_product: int
    def __init__(self, reservations: _Optional[int] = ..., units: _Optional[int] = ..., units_of_product: _Optional[int] = ...) -> None: ...

class RoleGrant(_message.Message):
    __slots__ = ("scopes",)
    SCOPES_FIELD_NUMBER: _ClassVar[int]
    scopes: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, scopes: _Optional[_Iterable[str]] = ...) -> None: ...
