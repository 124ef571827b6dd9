"""What happened, as the contract's events tell it (commerce/product/v1/events.proto)."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from services.events import NewEvent
from services.money import to_money
from services.product.domain_categories import Category
from services.product.domain_inventory import Reservation, State, Stock
from services.product.domain_products import Price, Product

_RESERVATION_EVENTS = {
    State.HELD: "StockReserved",
    State.COMMITTED: "StockCommitted",
    State.RELEASED: "StockReleased",
    State.EXPIRED: "StockReleased",
}


def product_created(product: Product) -> NewEvent:
    return _of_product(product, "ProductCreated", {"product": _snapshot(product)})


def product_updated(product: Product, changed: Sequence[str]) -> NewEvent:
    data = {"product": _snapshot(product), "changed_fields": list(changed)}
    return _of_product(product, "ProductUpdated", data)


def product_deleted(product: Product) -> NewEvent:
    data = {"product_id": str(product.product_id), "sku": product.details.sku}
    return _of_product(product, "ProductDeleted", data)


def category_created(category: Category) -> NewEvent:
    return _of_category(category, "CategoryCreated")


def category_updated(category: Category) -> NewEvent:
    return _of_category(category, "CategoryUpdated")


def category_deleted(category: Category, occur_time: datetime) -> NewEvent:
    return NewEvent(
        stream=f"category/{category.category_id}",
        version=category.version + 1,
        type="CategoryDeleted",
        data={"category_id": str(category.category_id)},
        occur_time=occur_time,
    )


def stock_adjusted(stock: Stock, delta: int, reason: str) -> NewEvent:
    """Tell of an adjustment; its stream's version counts adjustments, so that sales do not contend."""
    return NewEvent(
        stream=f"stock/{stock.product_id}",
        version=stock.adjustment_count,
        type="StockAdjusted",
        data={"product_id": str(stock.product_id), "delta": delta, "reason": reason},
        occur_time=stock.update_time,
    )


def stock_opened(product_id: UUID, quantity: int, occur_time: datetime) -> NewEvent:
    """Tell of the units that a new product came with."""
    stock = Stock(product_id, quantity, 0, 0, occur_time, adjustment_count=1)
    return stock_adjusted(stock, quantity, "initial quantity")


def reservation_changed(reservation: Reservation) -> NewEvent:
    """Tell of a reservation's new state."""
    data: dict[str, Any] = {
        "order_id": str(reservation.order_id),
        "lines": [
            {"product_id": str(line.product_id), "quantity": line.quantity} for line in reservation.lines
        ],
    }
    event_type = _RESERVATION_EVENTS[reservation.state]
    if event_type == "StockReleased":
        data["state"] = f"RESERVATION_STATE_{reservation.state}"
    return NewEvent(
        stream=f"reservation/{reservation.order_id}",
        version=reservation.version,
        type=event_type,
        data=data,
        occur_time=reservation.update_time,
    )


def _of_product(product: Product, event_type: str, data: Mapping[str, Any]) -> NewEvent:
    stream = f"product/{product.product_id}"
    return NewEvent(stream, product.version, event_type, data, product.update_time)


def _of_category(category: Category, event_type: str) -> NewEvent:
    data = {
        "category_id": str(category.category_id),
        "parent_id": str(category.parent_id or ""),
        "display_name": category.display_name,
    }
    stream = f"category/{category.category_id}"
    return NewEvent(stream, category.version, event_type, data, category.update_time)


def _snapshot(product: Product) -> dict[str, Any]:
    details = product.details
    return {
        "product_id": str(product.product_id),
        "sku": details.sku,
        "name": details.name,
        "description": details.description,
        "brand": details.brand,
        "category_id": str(details.category_id or ""),
        "price": _money(details.price),
        "attributes": dict(details.attributes),
        "image_urls": list(details.image_urls),
        "active": details.active,
    }


def _money(price: Price) -> dict[str, Any]:
    money = to_money(price.amount, price.currency)
    return {"currency_code": money.currency_code, "units": money.units, "nanos": money.nanos}
