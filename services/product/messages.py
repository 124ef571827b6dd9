"""Messages of the contract ↔ the domain."""

from datetime import datetime
from uuid import UUID

from commerce.product.v1 import category_pb2, inventory_pb2, product_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.money import to_decimal, to_money
from services.product.domain_categories import Category
from services.product.domain_inventory import RecordedMovement, Reservation, Stock
from services.product.domain_products import Price, Product, ProductDetails


def read_details(message: product_pb2.Product) -> ProductDetails:
    """Read what a shop says of a product; the server's own fields are left out."""
    return ProductDetails(
        sku=message.sku,
        name=message.name,
        description=message.description,
        brand=message.brand,
        category_id=read_optional_id(message.category_id),
        price=Price(to_decimal(message.price), message.price.currency_code),
        attributes=dict(message.attributes),
        image_urls=tuple(message.image_urls),
        active=message.active,
    )


def read_optional_id(text: str) -> UUID | None:
    """Read an id that may be empty."""
    return UUID(text) if text else None


def product_message(product: Product) -> product_pb2.Product:
    details = product.details
    return product_pb2.Product(
        product_id=str(product.product_id),
        sku=details.sku,
        name=details.name,
        description=details.description,
        brand=details.brand,
        category_id=str(details.category_id or ""),
        price=to_money(details.price.amount, details.price.currency),
        attributes=details.attributes,
        image_urls=details.image_urls,
        active=details.active,
        create_time=timestamp(product.create_time),
        update_time=timestamp(product.update_time),
        etag=product.etag,
    )


def category_message(category: Category) -> category_pb2.Category:
    return category_pb2.Category(
        category_id=str(category.category_id),
        parent_id=str(category.parent_id or ""),
        display_name=category.display_name,
        path=category.path,
        create_time=timestamp(category.create_time),
        update_time=timestamp(category.update_time),
        etag=category.etag,
    )


def stock_message(stock: Stock) -> inventory_pb2.Stock:
    return inventory_pb2.Stock(
        product_id=str(stock.product_id),
        free=stock.free,
        held=stock.held,
        committed=stock.committed,
        on_hand=stock.on_hand,
        update_time=timestamp(stock.update_time),
    )


def movement_message(recorded: RecordedMovement) -> inventory_pb2.StockMovement:
    movement = recorded.movement
    return inventory_pb2.StockMovement(
        movement_id=str(recorded.movement_id),
        product_id=str(movement.product_id),
        kind=f"STOCK_MOVEMENT_KIND_{movement.kind}",
        free_delta=movement.free_delta,
        held_delta=movement.held_delta,
        committed_delta=movement.committed_delta,
        order_id=str(movement.order_id or ""),
        reason=movement.reason,
        create_time=timestamp(recorded.create_time),
    )


def reservation_message(reservation: Reservation) -> inventory_pb2.Reservation:
    return inventory_pb2.Reservation(
        order_id=str(reservation.order_id),
        state=f"RESERVATION_STATE_{reservation.state}",
        lines=[
            inventory_pb2.ReservationLine(
                product_id=str(line.product_id),
                quantity=line.quantity,
                sku=line.sku,
                name=line.name,
                unit_price=to_money(line.price.amount, line.price.currency),
            )
            for line in reservation.lines
        ],
        expire_time=timestamp(reservation.expire_time) if reservation.expire_time else None,
    )


def timestamp(moment: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(moment)
    return message
