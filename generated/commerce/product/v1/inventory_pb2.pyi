import datetime

from buf.validate import validate_pb2 as _validate_pb2
from commerce.policy.v1 import policy_pb2 as _policy_pb2
from google.api import annotations_pb2 as _annotations_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import status_pb2 as _status_pb2
from google.type import money_pb2 as _money_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StockMovementKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STOCK_MOVEMENT_KIND_UNSPECIFIED: _ClassVar[StockMovementKind]
    STOCK_MOVEMENT_KIND_ADJUSTED: _ClassVar[StockMovementKind]
    STOCK_MOVEMENT_KIND_RESERVED: _ClassVar[StockMovementKind]
    STOCK_MOVEMENT_KIND_COMMITTED: _ClassVar[StockMovementKind]
    STOCK_MOVEMENT_KIND_RELEASED: _ClassVar[StockMovementKind]
    STOCK_MOVEMENT_KIND_EXPIRED: _ClassVar[StockMovementKind]
    STOCK_MOVEMENT_KIND_TRANSFERRED: _ClassVar[StockMovementKind]

class ReservationState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESERVATION_STATE_UNSPECIFIED: _ClassVar[ReservationState]
    RESERVATION_STATE_HELD: _ClassVar[ReservationState]
    RESERVATION_STATE_COMMITTED: _ClassVar[ReservationState]
    RESERVATION_STATE_RELEASED: _ClassVar[ReservationState]
    RESERVATION_STATE_EXPIRED: _ClassVar[ReservationState]
STOCK_MOVEMENT_KIND_UNSPECIFIED: StockMovementKind
STOCK_MOVEMENT_KIND_ADJUSTED: StockMovementKind
STOCK_MOVEMENT_KIND_RESERVED: StockMovementKind
STOCK_MOVEMENT_KIND_COMMITTED: StockMovementKind
STOCK_MOVEMENT_KIND_RELEASED: StockMovementKind
STOCK_MOVEMENT_KIND_EXPIRED: StockMovementKind
STOCK_MOVEMENT_KIND_TRANSFERRED: StockMovementKind
RESERVATION_STATE_UNSPECIFIED: ReservationState
RESERVATION_STATE_HELD: ReservationState
RESERVATION_STATE_COMMITTED: ReservationState
RESERVATION_STATE_RELEASED: ReservationState
RESERVATION_STATE_EXPIRED: ReservationState

class Stock(_message.Message):
    __slots__ = ("product_id", "free", "held", "committed", "on_hand", "update_time", "backordered", "backorder_limit", "available", "hold_limit", "locations")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    ON_HAND_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    BACKORDERED_FIELD_NUMBER: _ClassVar[int]
    BACKORDER_LIMIT_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    HOLD_LIMIT_FIELD_NUMBER: _ClassVar[int]
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    free: int
    held: int
    committed: int
    on_hand: int
    update_time: _timestamp_pb2.Timestamp
    backordered: int
    backorder_limit: int
    available: int
    hold_limit: int
    locations: _containers.RepeatedCompositeFieldContainer[LocationStock]
    def __init__(self, product_id: _Optional[str] = ..., free: _Optional[int] = ..., held: _Optional[int] = ..., committed: _Optional[int] = ..., on_hand: _Optional[int] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., backordered: _Optional[int] = ..., backorder_limit: _Optional[int] = ..., available: _Optional[int] = ..., hold_limit: _Optional[int] = ..., locations: _Optional[_Iterable[_Union[LocationStock, _Mapping]]] = ...) -> None: ...

class LocationStock(_message.Message):
    __slots__ = ("location_id", "free", "held", "committed")
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    location_id: str
    free: int
    held: int
    committed: int
    def __init__(self, location_id: _Optional[str] = ..., free: _Optional[int] = ..., held: _Optional[int] = ..., committed: _Optional[int] = ...) -> None: ...

class Location(_message.Message):
    __slots__ = ("location_id", "display_name", "priority", "create_time", "update_time", "etag")
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    location_id: str
    display_name: str
    priority: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    def __init__(self, location_id: _Optional[str] = ..., display_name: _Optional[str] = ..., priority: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class CreateLocationRequest(_message.Message):
    __slots__ = ("location", "request_id")
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    location: Location
    request_id: str
    def __init__(self, location: _Optional[_Union[Location, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class ListLocationsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListLocationsResponse(_message.Message):
    __slots__ = ("locations", "next_page_token")
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    locations: _containers.RepeatedCompositeFieldContainer[Location]
    next_page_token: str
    def __init__(self, locations: _Optional[_Iterable[_Union[Location, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateLocationRequest(_message.Message):
    __slots__ = ("location", "update_mask")
    LOCATION_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    location: Location
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, location: _Optional[_Union[Location, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class TransferStockRequest(_message.Message):
    __slots__ = ("product_id", "from_location_id", "to_location_id", "quantity", "reason", "request_id")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    FROM_LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    TO_LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    from_location_id: str
    to_location_id: str
    quantity: int
    reason: str
    request_id: str
    def __init__(self, product_id: _Optional[str] = ..., from_location_id: _Optional[str] = ..., to_location_id: _Optional[str] = ..., quantity: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class GetStockRequest(_message.Message):
    __slots__ = ("product_id",)
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    def __init__(self, product_id: _Optional[str] = ...) -> None: ...

class BatchGetStockRequest(_message.Message):
    __slots__ = ("product_ids",)
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, product_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchGetStockResponse(_message.Message):
    __slots__ = ("stocks",)
    STOCKS_FIELD_NUMBER: _ClassVar[int]
    stocks: _containers.RepeatedCompositeFieldContainer[Stock]
    def __init__(self, stocks: _Optional[_Iterable[_Union[Stock, _Mapping]]] = ...) -> None: ...

class AdjustStockRequest(_message.Message):
    __slots__ = ("product_id", "delta", "reason", "request_id", "location_id")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    delta: int
    reason: str
    request_id: str
    location_id: str
    def __init__(self, product_id: _Optional[str] = ..., delta: _Optional[int] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., location_id: _Optional[str] = ...) -> None: ...

class SetStockPolicyRequest(_message.Message):
    __slots__ = ("product_id", "backorder_limit", "hold_limit")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    BACKORDER_LIMIT_FIELD_NUMBER: _ClassVar[int]
    HOLD_LIMIT_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    backorder_limit: int
    hold_limit: int
    def __init__(self, product_id: _Optional[str] = ..., backorder_limit: _Optional[int] = ..., hold_limit: _Optional[int] = ...) -> None: ...

class ListStockMovementsRequest(_message.Message):
    __slots__ = ("product_id", "page_size", "page_token")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    page_size: int
    page_token: str
    def __init__(self, product_id: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListStockMovementsResponse(_message.Message):
    __slots__ = ("movements", "next_page_token")
    MOVEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    movements: _containers.RepeatedCompositeFieldContainer[StockMovement]
    next_page_token: str
    def __init__(self, movements: _Optional[_Iterable[_Union[StockMovement, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class StockMovement(_message.Message):
    __slots__ = ("movement_id", "product_id", "kind", "free_delta", "held_delta", "committed_delta", "order_id", "reason", "create_time", "location_id")
    MOVEMENT_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    FREE_DELTA_FIELD_NUMBER: _ClassVar[int]
    HELD_DELTA_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_DELTA_FIELD_NUMBER: _ClassVar[int]
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    movement_id: str
    product_id: str
    kind: StockMovementKind
    free_delta: int
    held_delta: int
    committed_delta: int
    order_id: str
    reason: str
    create_time: _timestamp_pb2.Timestamp
    location_id: str
    def __init__(self, movement_id: _Optional[str] = ..., product_id: _Optional[str] = ..., kind: _Optional[_Union[StockMovementKind, str]] = ..., free_delta: _Optional[int] = ..., held_delta: _Optional[int] = ..., committed_delta: _Optional[int] = ..., order_id: _Optional[str] = ..., reason: _Optional[str] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., location_id: _Optional[str] = ...) -> None: ...

class WatchStockRequest(_message.Message):
    __slots__ = ("product_ids", "resume_token")
    PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    product_ids: _containers.RepeatedScalarFieldContainer[str]
    resume_token: str
    def __init__(self, product_ids: _Optional[_Iterable[str]] = ..., resume_token: _Optional[str] = ...) -> None: ...

class WatchStockResponse(_message.Message):
    __slots__ = ("resume_token", "previous_token", "stock", "removed_product_id")
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STOCK_FIELD_NUMBER: _ClassVar[int]
    REMOVED_PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    resume_token: str
    previous_token: str
    stock: Stock
    removed_product_id: str
    def __init__(self, resume_token: _Optional[str] = ..., previous_token: _Optional[str] = ..., stock: _Optional[_Union[Stock, _Mapping]] = ..., removed_product_id: _Optional[str] = ...) -> None: ...

class VerifyStockRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyStockResponse(_message.Message):
    __slots__ = ("checked_count", "divergent_product_ids", "unclaimed_product_ids")
    CHECKED_COUNT_FIELD_NUMBER: _ClassVar[int]
    DIVERGENT_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    UNCLAIMED_PRODUCT_IDS_FIELD_NUMBER: _ClassVar[int]
    checked_count: int
    divergent_product_ids: _containers.RepeatedScalarFieldContainer[str]
    unclaimed_product_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, checked_count: _Optional[int] = ..., divergent_product_ids: _Optional[_Iterable[str]] = ..., unclaimed_product_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class Reservation(_message.Message):
    __slots__ = ("order_id", "state", "lines", "expire_time")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    state: ReservationState
    lines: _containers.RepeatedCompositeFieldContainer[ReservationLine]
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, order_id: _Optional[str] = ..., state: _Optional[_Union[ReservationState, str]] = ..., lines: _Optional[_Iterable[_Union[ReservationLine, _Mapping]]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ReservationLine(_message.Message):
    __slots__ = ("product_id", "quantity", "sku", "name", "unit_price", "backordered_quantity", "locations")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    SKU_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UNIT_PRICE_FIELD_NUMBER: _ClassVar[int]
    BACKORDERED_QUANTITY_FIELD_NUMBER: _ClassVar[int]
    LOCATIONS_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    quantity: int
    sku: str
    name: str
    unit_price: _money_pb2.Money
    backordered_quantity: int
    locations: _containers.RepeatedCompositeFieldContainer[LocationQuantity]
    def __init__(self, product_id: _Optional[str] = ..., quantity: _Optional[int] = ..., sku: _Optional[str] = ..., name: _Optional[str] = ..., unit_price: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., backordered_quantity: _Optional[int] = ..., locations: _Optional[_Iterable[_Union[LocationQuantity, _Mapping]]] = ...) -> None: ...

class LocationQuantity(_message.Message):
    __slots__ = ("location_id", "quantity")
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    location_id: str
    quantity: int
    def __init__(self, location_id: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...

class ReserveStockRequest(_message.Message):
    __slots__ = ("order_id", "lines", "ttl", "holder_id", "expected_total")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    TTL_FIELD_NUMBER: _ClassVar[int]
    HOLDER_ID_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_TOTAL_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    lines: _containers.RepeatedCompositeFieldContainer[ReserveStockLine]
    ttl: _duration_pb2.Duration
    holder_id: str
    expected_total: _money_pb2.Money
    def __init__(self, order_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[ReserveStockLine, _Mapping]]] = ..., ttl: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., holder_id: _Optional[str] = ..., expected_total: _Optional[_Union[_money_pb2.Money, _Mapping]] = ...) -> None: ...

class ReserveStockLine(_message.Message):
    __slots__ = ("product_id", "quantity")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    quantity: int
    def __init__(self, product_id: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...

class CommitReservationRequest(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class ReleaseReservationRequest(_message.Message):
    __slots__ = ("order_id",)
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    def __init__(self, order_id: _Optional[str] = ...) -> None: ...

class ReservationResult(_message.Message):
    __slots__ = ("reservation", "status")
    RESERVATION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    reservation: Reservation
    status: _status_pb2.Status
    def __init__(self, reservation: _Optional[_Union[Reservation, _Mapping]] = ..., status: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class BatchReserveStockRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[ReserveStockRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[ReserveStockRequest, _Mapping]]] = ...) -> None: ...

class BatchReserveStockResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ReservationResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ReservationResult, _Mapping]]] = ...) -> None: ...

class BatchCommitReservationsRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[CommitReservationRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[CommitReservationRequest, _Mapping]]] = ...) -> None: ...

class BatchCommitReservationsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ReservationResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ReservationResult, _Mapping]]] = ...) -> None: ...

class BatchReleaseReservationsRequest(_message.Message):
    __slots__ = ("requests",)
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[ReleaseReservationRequest]
    def __init__(self, requests: _Optional[_Iterable[_Union[ReleaseReservationRequest, _Mapping]]] = ...) -> None: ...

class BatchReleaseReservationsResponse(_message.Message):
    __slots__ = ("results",)
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[ReservationResult]
    def __init__(self, results: _Optional[_Iterable[_Union[ReservationResult, _Mapping]]] = ...) -> None: ...
