import datetime

from buf.validate import validate_pb2 as _validate_pb2
from commerce.policy.v1 import policy_pb2 as _policy_pb2
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

class MatchState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_STATE_UNSPECIFIED: _ClassVar[MatchState]
    MATCH_STATE_PROPOSED: _ClassVar[MatchState]
    MATCH_STATE_ACCEPTED: _ClassVar[MatchState]
    MATCH_STATE_REJECTED: _ClassVar[MatchState]
    MATCH_STATE_UNDONE: _ClassVar[MatchState]

class MatchRule(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MATCH_RULE_UNSPECIFIED: _ClassVar[MatchRule]
    MATCH_RULE_GTIN: _ClassVar[MatchRule]
    MATCH_RULE_BRAND_AND_MODEL: _ClassVar[MatchRule]
    MATCH_RULE_LIKENESS: _ClassVar[MatchRule]
MATCH_STATE_UNSPECIFIED: MatchState
MATCH_STATE_PROPOSED: MatchState
MATCH_STATE_ACCEPTED: MatchState
MATCH_STATE_REJECTED: MatchState
MATCH_STATE_UNDONE: MatchState
MATCH_RULE_UNSPECIFIED: MatchRule
MATCH_RULE_GTIN: MatchRule
MATCH_RULE_BRAND_AND_MODEL: MatchRule
MATCH_RULE_LIKENESS: MatchRule

class SupplierRecord(_message.Message):
    __slots__ = ("record_id", "supplier", "supplier_id", "own_product_id", "product_id", "create_time", "update_time")
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    SUPPLIER_FIELD_NUMBER: _ClassVar[int]
    SUPPLIER_ID_FIELD_NUMBER: _ClassVar[int]
    OWN_PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    record_id: str
    supplier: str
    supplier_id: str
    own_product_id: str
    product_id: str
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, record_id: _Optional[str] = ..., supplier: _Optional[str] = ..., supplier_id: _Optional[str] = ..., own_product_id: _Optional[str] = ..., product_id: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("match_id", "state", "record", "other_record", "rule", "probability", "evidence", "create_time", "update_time")
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    OTHER_RECORD_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    state: MatchState
    record: SupplierRecord
    other_record: SupplierRecord
    rule: MatchRule
    probability: float
    evidence: MatchEvidence
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    def __init__(self, match_id: _Optional[str] = ..., state: _Optional[_Union[MatchState, str]] = ..., record: _Optional[_Union[SupplierRecord, _Mapping]] = ..., other_record: _Optional[_Union[SupplierRecord, _Mapping]] = ..., rule: _Optional[_Union[MatchRule, str]] = ..., probability: _Optional[float] = ..., evidence: _Optional[_Union[MatchEvidence, _Mapping]] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class MatchEvidence(_message.Message):
    __slots__ = ("name", "other_name", "name_covered", "other_name_covered", "code", "shared_words", "numbers_differ", "price_ratio")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OTHER_NAME_FIELD_NUMBER: _ClassVar[int]
    NAME_COVERED_FIELD_NUMBER: _ClassVar[int]
    OTHER_NAME_COVERED_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    SHARED_WORDS_FIELD_NUMBER: _ClassVar[int]
    NUMBERS_DIFFER_FIELD_NUMBER: _ClassVar[int]
    PRICE_RATIO_FIELD_NUMBER: _ClassVar[int]
    name: str
    other_name: str
    name_covered: float
    other_name_covered: float
    code: str
    shared_words: _containers.RepeatedScalarFieldContainer[str]
    numbers_differ: bool
    price_ratio: float
    def __init__(self, name: _Optional[str] = ..., other_name: _Optional[str] = ..., name_covered: _Optional[float] = ..., other_name_covered: _Optional[float] = ..., code: _Optional[str] = ..., shared_words: _Optional[_Iterable[str]] = ..., numbers_differ: _Optional[bool] = ..., price_ratio: _Optional[float] = ...) -> None: ...

class FindMatchesRequest(_message.Message):
    __slots__ = ("propose_only",)
    PROPOSE_ONLY_FIELD_NUMBER: _ClassVar[int]
    propose_only: bool
    def __init__(self, propose_only: _Optional[bool] = ...) -> None: ...

class FindMatchesResponse(_message.Message):
    __slots__ = ("record_count", "merged_count", "proposed_count", "is_done")
    RECORD_COUNT_FIELD_NUMBER: _ClassVar[int]
    MERGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    IS_DONE_FIELD_NUMBER: _ClassVar[int]
    record_count: int
    merged_count: int
    proposed_count: int
    is_done: bool
    def __init__(self, record_count: _Optional[int] = ..., merged_count: _Optional[int] = ..., proposed_count: _Optional[int] = ..., is_done: _Optional[bool] = ...) -> None: ...

class ListMatchesRequest(_message.Message):
    __slots__ = ("state", "page_size", "page_token")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    state: MatchState
    page_size: int
    page_token: str
    def __init__(self, state: _Optional[_Union[MatchState, str]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMatchesResponse(_message.Message):
    __slots__ = ("matches", "next_page_token")
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.RepeatedCompositeFieldContainer[Match]
    next_page_token: str
    def __init__(self, matches: _Optional[_Iterable[_Union[Match, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListSupplierRecordsRequest(_message.Message):
    __slots__ = ("product_id", "page_size", "page_token")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    page_size: int
    page_token: str
    def __init__(self, product_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSupplierRecordsResponse(_message.Message):
    __slots__ = ("supplier_records", "next_page_token")
    SUPPLIER_RECORDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    supplier_records: _containers.RepeatedCompositeFieldContainer[SupplierRecord]
    next_page_token: str
    def __init__(self, supplier_records: _Optional[_Iterable[_Union[SupplierRecord, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class AcceptMatchRequest(_message.Message):
    __slots__ = ("match_id",)
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    def __init__(self, match_id: _Optional[str] = ...) -> None: ...

class RejectMatchRequest(_message.Message):
    __slots__ = ("match_id",)
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    def __init__(self, match_id: _Optional[str] = ...) -> None: ...

class UndoMatchRequest(_message.Message):
    __slots__ = ("match_id",)
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    def __init__(self, match_id: _Optional[str] = ...) -> None: ...
