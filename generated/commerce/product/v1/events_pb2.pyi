from commerce.product.v1 import inventory_pb2 as _inventory_pb2
from google.type import money_pb2 as _money_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProductSnapshot(_message.Message):
    __slots__ = ("product_id", "sku", "name", "description", "brand", "category_id", "price", "attributes", "image_urls", "active")
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    SKU_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    BRAND_FIELD_NUMBER: _ClassVar[int]
    CATEGORY_ID_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    IMAGE_URLS_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    sku: str
    name: str
    description: str
    brand: str
    category_id: str
    price: _money_pb2.Money
    attributes: _containers.ScalarMap[str, str]
    image_urls: _containers.RepeatedScalarFieldContainer[str]
    active: bool
    def __init__(self, product_id: _Optional[str] = ..., sku: _Optional[str] = ..., name: _Optional[str] = ..., description: _Optional[str] = ..., brand: _Optional[str] = ..., category_id: _Optional[str] = ..., price: _Optional[_Union[_money_pb2.Money, _Mapping]] = ..., attributes: _Optional[_Mapping[str, str]] = ..., image_urls: _Optional[_Iterable[str]] = ..., active: _Optional[bool] = ...) -> None: ...

class ProductCreated(_message.Message):
    __slots__ = ("product",)
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    product: ProductSnapshot
    def __init__(self, product: _Optional[_Union[ProductSnapshot, _Mapping]] = ...) -> None: ...

class ProductUpdated(_message.Message):
    __slots__ = ("product", "changed_fields")
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    product: ProductSnapshot
    changed_fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, product: _Optional[_Union[ProductSnapshot, _Mapping]] = ..., changed_fields: _Optional[_Iterable[str]] = ...) -> None: ...

class ProductDeleted(_message.Message):
    __slots__ = ("product_id", "sku")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    SKU_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    sku: str
    def __init__(self, product_id: _Optional[str] = ..., sku: _Optional[str] = ...) -> None: ...

class ProductsMerged(_message.Message):
    __slots__ = ("match_id", "supplier", "supplier_id", "product_id", "merged_into")
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    SUPPLIER_FIELD_NUMBER: _ClassVar[int]
    SUPPLIER_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    MERGED_INTO_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    supplier: str
    supplier_id: str
    product_id: str
    merged_into: str
    def __init__(self, match_id: _Optional[str] = ..., supplier: _Optional[str] = ..., supplier_id: _Optional[str] = ..., product_id: _Optional[str] = ..., merged_into: _Optional[str] = ...) -> None: ...

class MatchRejected(_message.Message):
    __slots__ = ("match_id",)
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    def __init__(self, match_id: _Optional[str] = ...) -> None: ...

class MatchUndone(_message.Message):
    __slots__ = ("match_id", "product_id", "was_merged_into")
    MATCH_ID_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    WAS_MERGED_INTO_FIELD_NUMBER: _ClassVar[int]
    match_id: str
    product_id: str
    was_merged_into: str
    def __init__(self, match_id: _Optional[str] = ..., product_id: _Optional[str] = ..., was_merged_into: _Optional[str] = ...) -> None: ...

class CategoryCreated(_message.Message):
    __slots__ = ("category_id", "parent_id", "display_name")
    CATEGORY_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    category_id: str
    parent_id: str
    display_name: str
    def __init__(self, category_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., display_name: _Optional[str] = ...) -> None: ...

class CategoryUpdated(_message.Message):
    __slots__ = ("category_id", "parent_id", "display_name")
    CATEGORY_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    category_id: str
    parent_id: str
    display_name: str
    def __init__(self, category_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., display_name: _Optional[str] = ...) -> None: ...

class CategoryDeleted(_message.Message):
    __slots__ = ("category_id",)
    CATEGORY_ID_FIELD_NUMBER: _ClassVar[int]
    category_id: str
    def __init__(self, category_id: _Optional[str] = ...) -> None: ...

class StockAdjusted(_message.Message):
    __slots__ = ("product_id", "delta", "reason", "location_id")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    delta: int
    reason: str
    location_id: str
    def __init__(self, product_id: _Optional[str] = ..., delta: _Optional[int] = ..., reason: _Optional[str] = ..., location_id: _Optional[str] = ...) -> None: ...

class LocationCreated(_message.Message):
    __slots__ = ("location_id", "display_name", "priority")
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    location_id: str
    display_name: str
    priority: int
    def __init__(self, location_id: _Optional[str] = ..., display_name: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class LocationUpdated(_message.Message):
    __slots__ = ("location_id", "display_name", "priority")
    LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    location_id: str
    display_name: str
    priority: int
    def __init__(self, location_id: _Optional[str] = ..., display_name: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class StockTransferred(_message.Message):
    __slots__ = ("product_id", "quantity", "from_location_id", "to_location_id", "reason")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    FROM_LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    TO_LOCATION_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    quantity: int
    from_location_id: str
    to_location_id: str
    reason: str
    def __init__(self, product_id: _Optional[str] = ..., quantity: _Optional[int] = ..., from_location_id: _Optional[str] = ..., to_location_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class StockPolicyChanged(_message.Message):
    __slots__ = ("product_id", "backorder_limit", "hold_limit")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    BACKORDER_LIMIT_FIELD_NUMBER: _ClassVar[int]
    HOLD_LIMIT_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    backorder_limit: int
    hold_limit: int
    def __init__(self, product_id: _Optional[str] = ..., backorder_limit: _Optional[int] = ..., hold_limit: _Optional[int] = ...) -> None: ...

class ReservedLine(_message.Message):
    __slots__ = ("product_id", "quantity")
    PRODUCT_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTITY_FIELD_NUMBER: _ClassVar[int]
    product_id: str
    quantity: int
    def __init__(self, product_id: _Optional[str] = ..., quantity: _Optional[int] = ...) -> None: ...

class StockReserved(_message.Message):
    __slots__ = ("order_id", "lines")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    lines: _containers.RepeatedCompositeFieldContainer[ReservedLine]
    def __init__(self, order_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[ReservedLine, _Mapping]]] = ...) -> None: ...

class StockCommitted(_message.Message):
    __slots__ = ("order_id", "lines")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    lines: _containers.RepeatedCompositeFieldContainer[ReservedLine]
    def __init__(self, order_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[ReservedLine, _Mapping]]] = ...) -> None: ...

class StockReleased(_message.Message):
    __slots__ = ("order_id", "lines", "state")
    ORDER_ID_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    order_id: str
    lines: _containers.RepeatedCompositeFieldContainer[ReservedLine]
    state: _inventory_pb2.ReservationState
    def __init__(self, order_id: _Optional[str] = ..., lines: _Optional[_Iterable[_Union[ReservedLine, _Mapping]]] = ..., state: _Optional[_Union[_inventory_pb2.ReservationState, str]] = ...) -> None: ...
