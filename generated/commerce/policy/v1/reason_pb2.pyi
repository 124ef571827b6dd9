from google.protobuf import descriptor_pb2 as _descriptor_pb2
from google.rpc import code_pb2 as _code_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GivenBy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GIVEN_BY_UNSPECIFIED: _ClassVar[GivenBy]
    GIVEN_BY_EVERYWHERE: _ClassVar[GivenBy]
    GIVEN_BY_EXPOSED: _ClassVar[GivenBy]
    GIVEN_BY_SCOPED: _ClassVar[GivenBy]
    GIVEN_BY_INTERNAL: _ClassVar[GivenBy]
    GIVEN_BY_STREAMS: _ClassVar[GivenBy]
    GIVEN_BY_PAGES: _ClassVar[GivenBy]
    GIVEN_BY_ETAGS: _ClassVar[GivenBy]
    GIVEN_BY_REQUEST_IDS: _ClassVar[GivenBy]
    GIVEN_BY_WRITES: _ClassVar[GivenBy]

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_INVALID_REQUEST: _ClassVar[Reason]
    REASON_REQUEST_MISSING: _ClassVar[Reason]
    REASON_REQUEST_LATE: _ClassVar[Reason]
    REASON_REQUEST_TOO_LARGE: _ClassVar[Reason]
    REASON_ENCODING_UNKNOWN: _ClassVar[Reason]
    REASON_METHOD_UNKNOWN: _ClassVar[Reason]
    REASON_TOO_MANY_CALLS: _ClassVar[Reason]
    REASON_OVERLOADED: _ClassVar[Reason]
    REASON_SERVICE_UNAVAILABLE: _ClassVar[Reason]
    REASON_DEADLINE_EXCEEDED: _ClassVar[Reason]
    REASON_CANCELLED: _ClassVar[Reason]
    REASON_INTERNAL: _ClassVar[Reason]
    REASON_RATE_LIMITED: _ClassVar[Reason]
    REASON_HTTP_VERSION_UNKNOWN: _ClassVar[Reason]
    REASON_TOKEN_INVALID: _ClassVar[Reason]
    REASON_TOKEN_EXPIRED: _ClassVar[Reason]
    REASON_TOKEN_MISSING: _ClassVar[Reason]
    REASON_SCOPE_MISSING: _ClassVar[Reason]
    REASON_CALLER_UNKNOWN: _ClassVar[Reason]
    REASON_CALLER_NOT_ALLOWED: _ClassVar[Reason]
    REASON_STREAM_IDLE: _ClassVar[Reason]
    REASON_PAGE_TOKEN_INVALID: _ClassVar[Reason]
    REASON_ETAG_MISMATCH: _ClassVar[Reason]
    REASON_REQUEST_ID_REUSED: _ClassVar[Reason]
    REASON_VERSION_CONFLICT: _ClassVar[Reason]
    REASON_POSITION_UNKNOWN: _ClassVar[Reason]
    REASON_USER_NOT_FOUND: _ClassVar[Reason]
    REASON_EMAIL_TAKEN: _ClassVar[Reason]
    REASON_EMAIL_RESERVED: _ClassVar[Reason]
    REASON_ROLE_CHANGE_NOT_ALLOWED: _ClassVar[Reason]
    REASON_CREDENTIALS_INVALID: _ClassVar[Reason]
    REASON_LOGIN_THROTTLED: _ClassVar[Reason]
    REASON_SESSION_NOT_FOUND: _ClassVar[Reason]
    REASON_REFRESH_TOKEN_INVALID: _ClassVar[Reason]
    REASON_REFRESH_TOKEN_REUSED: _ClassVar[Reason]
    REASON_PRODUCT_NOT_FOUND: _ClassVar[Reason]
    REASON_SKU_TAKEN: _ClassVar[Reason]
    REASON_PRODUCT_TOO_LARGE: _ClassVar[Reason]
    REASON_BATCH_TOO_LARGE: _ClassVar[Reason]
    REASON_SEARCH_TOO_SLOW: _ClassVar[Reason]
    REASON_CATEGORY_NOT_FOUND: _ClassVar[Reason]
    REASON_CATEGORY_NAME_TAKEN: _ClassVar[Reason]
    REASON_CATEGORY_CYCLE: _ClassVar[Reason]
    REASON_CATEGORY_NOT_EMPTY: _ClassVar[Reason]
    REASON_CATEGORY_TOO_DEEP: _ClassVar[Reason]
    REASON_CATEGORY_TOO_BROAD: _ClassVar[Reason]
    REASON_STOCK_BELOW_ZERO: _ClassVar[Reason]
    REASON_OUT_OF_STOCK: _ClassVar[Reason]
    REASON_PRICE_CHANGED: _ClassVar[Reason]
    REASON_CURRENCY_MIXED: _ClassVar[Reason]
    REASON_TOO_MANY_HOLDS: _ClassVar[Reason]
    REASON_HOLD_TOO_LARGE: _ClassVar[Reason]
    REASON_RESERVATION_NOT_FOUND: _ClassVar[Reason]
    REASON_RESERVATION_MISMATCH: _ClassVar[Reason]
    REASON_RESERVATION_RELEASED: _ClassVar[Reason]
    REASON_RESERVATION_CHANGED: _ClassVar[Reason]
    REASON_NOT_YET: _ClassVar[Reason]
    REASON_ORDER_NOT_FOUND: _ClassVar[Reason]
GIVEN_BY_UNSPECIFIED: GivenBy
GIVEN_BY_EVERYWHERE: GivenBy
GIVEN_BY_EXPOSED: GivenBy
GIVEN_BY_SCOPED: GivenBy
GIVEN_BY_INTERNAL: GivenBy
GIVEN_BY_STREAMS: GivenBy
GIVEN_BY_PAGES: GivenBy
GIVEN_BY_ETAGS: GivenBy
GIVEN_BY_REQUEST_IDS: GivenBy
GIVEN_BY_WRITES: GivenBy
REASON_UNSPECIFIED: Reason
REASON_INVALID_REQUEST: Reason
REASON_REQUEST_MISSING: Reason
REASON_REQUEST_LATE: Reason
REASON_REQUEST_TOO_LARGE: Reason
REASON_ENCODING_UNKNOWN: Reason
REASON_METHOD_UNKNOWN: Reason
REASON_TOO_MANY_CALLS: Reason
REASON_OVERLOADED: Reason
REASON_SERVICE_UNAVAILABLE: Reason
REASON_DEADLINE_EXCEEDED: Reason
REASON_CANCELLED: Reason
REASON_INTERNAL: Reason
REASON_RATE_LIMITED: Reason
REASON_HTTP_VERSION_UNKNOWN: Reason
REASON_TOKEN_INVALID: Reason
REASON_TOKEN_EXPIRED: Reason
REASON_TOKEN_MISSING: Reason
REASON_SCOPE_MISSING: Reason
REASON_CALLER_UNKNOWN: Reason
REASON_CALLER_NOT_ALLOWED: Reason
REASON_STREAM_IDLE: Reason
REASON_PAGE_TOKEN_INVALID: Reason
REASON_ETAG_MISMATCH: Reason
REASON_REQUEST_ID_REUSED: Reason
REASON_VERSION_CONFLICT: Reason
REASON_POSITION_UNKNOWN: Reason
REASON_USER_NOT_FOUND: Reason
REASON_EMAIL_TAKEN: Reason
REASON_EMAIL_RESERVED: Reason
REASON_ROLE_CHANGE_NOT_ALLOWED: Reason
REASON_CREDENTIALS_INVALID: Reason
REASON_LOGIN_THROTTLED: Reason
REASON_SESSION_NOT_FOUND: Reason
REASON_REFRESH_TOKEN_INVALID: Reason
REASON_REFRESH_TOKEN_REUSED: Reason
REASON_PRODUCT_NOT_FOUND: Reason
REASON_SKU_TAKEN: Reason
REASON_PRODUCT_TOO_LARGE: Reason
REASON_BATCH_TOO_LARGE: Reason
REASON_SEARCH_TOO_SLOW: Reason
REASON_CATEGORY_NOT_FOUND: Reason
REASON_CATEGORY_NAME_TAKEN: Reason
REASON_CATEGORY_CYCLE: Reason
REASON_CATEGORY_NOT_EMPTY: Reason
REASON_CATEGORY_TOO_DEEP: Reason
REASON_CATEGORY_TOO_BROAD: Reason
REASON_STOCK_BELOW_ZERO: Reason
REASON_OUT_OF_STOCK: Reason
REASON_PRICE_CHANGED: Reason
REASON_CURRENCY_MIXED: Reason
REASON_TOO_MANY_HOLDS: Reason
REASON_HOLD_TOO_LARGE: Reason
REASON_RESERVATION_NOT_FOUND: Reason
REASON_RESERVATION_MISMATCH: Reason
REASON_RESERVATION_RELEASED: Reason
REASON_RESERVATION_CHANGED: Reason
REASON_NOT_YET: Reason
REASON_ORDER_NOT_FOUND: Reason
REASON_FIELD_NUMBER: _ClassVar[int]
reason: _descriptor.FieldDescriptor

class ReasonRule(_message.Message):
    __slots__ = ("code", "when", "help", "given_by")
    CODE_FIELD_NUMBER: _ClassVar[int]
    WHEN_FIELD_NUMBER: _ClassVar[int]
    HELP_FIELD_NUMBER: _ClassVar[int]
    GIVEN_BY_FIELD_NUMBER: _ClassVar[int]
    code: _code_pb2.Code
    when: str
    help: str
    given_by: GivenBy
    def __init__(self, code: _Optional[_Union[_code_pb2.Code, str]] = ..., when: _Optional[str] = ..., help: _Optional[str] = ..., given_by: _Optional[_Union[GivenBy, str]] = ...) -> None: ...
