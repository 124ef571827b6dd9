from buf.validate import validate_pb2 as _validate_pb2
from commerce.policy.v1 import policy_pb2 as _policy_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.type import money_pb2 as _money_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LedgerAccount(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LEDGER_ACCOUNT_UNSPECIFIED: _ClassVar[LedgerAccount]
    LEDGER_ACCOUNT_CUSTOMER_RECEIVABLE: _ClassVar[LedgerAccount]
    LEDGER_ACCOUNT_PENDING_SALES: _ClassVar[LedgerAccount]
    LEDGER_ACCOUNT_PROVIDER_CLEARING: _ClassVar[LedgerAccount]
    LEDGER_ACCOUNT_SALES: _ClassVar[LedgerAccount]
    LEDGER_ACCOUNT_REFUNDS: _ClassVar[LedgerAccount]
LEDGER_ACCOUNT_UNSPECIFIED: LedgerAccount
LEDGER_ACCOUNT_CUSTOMER_RECEIVABLE: LedgerAccount
LEDGER_ACCOUNT_PENDING_SALES: LedgerAccount
LEDGER_ACCOUNT_PROVIDER_CLEARING: LedgerAccount
LEDGER_ACCOUNT_SALES: LedgerAccount
LEDGER_ACCOUNT_REFUNDS: LedgerAccount

class VerifyLedgerRequest(_message.Message):
    __slots__ = ("after_order_id",)
    AFTER_ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    after_order_id: str
    def __init__(self, after_order_id: _Optional[str] = ...) -> None: ...

class VerifyLedgerResponse(_message.Message):
    __slots__ = ("checked_count", "divergent_order_ids", "balances", "next_order_id")
    CHECKED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIVERGENT_ORDER_IDS_FIELD_NUMBER: _ClassVar[int]
    BALANCES_FIELD_NUMBER: _ClassVar[int]
    NEXT_ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    checked_count: int
    divergent_order_ids: _containers.RepeatedScalarFieldContainer[str]
    balances: _containers.RepeatedCompositeFieldContainer[AccountBalance]
    next_order_id: str
    def __init__(self, checked_count: _Optional[int] = ..., divergent_order_ids: _Optional[_Iterable[str]] = ..., balances: _Optional[_Iterable[_Union[AccountBalance, _Mapping]]] = ..., next_order_id: _Optional[str] = ...) -> None: ...

class AccountBalance(_message.Message):
    __slots__ = ("account", "debits", "credits")
    ACCOUNT_FIELD_NUMBER: _ClassVar[int]
    DEBITS_FIELD_NUMBER: _ClassVar[int]
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    account: LedgerAccount
    debits: _money_pb2.Money
    credits: _money_pb2.Money
    def __init__(self, account: _Optional[_Union[LedgerAccount, str]] = ..., debits: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., credits: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...
