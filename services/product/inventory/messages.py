"""Stock and its movements ↔ the messages of the contract."""

from commerce.product.v1 import inventory_pb2

from services.product.inventory.domain import RecordedMovement, Stock
from services.rpc.fields import timestamp


def stock_message(stock: Stock) -> inventory_pb2.Stock:
    return inventory_pb2.Stock(
        product_id=str(stock.product_id),
        free=stock.free + stock.backordered,
        held=stock.held,
        committed=stock.committed,
        on_hand=stock.on_hand,
        update_time=timestamp(stock.update_time),
        backordered=stock.backordered,
        backorder_limit=stock.backorder_limit,
        available=stock.free + stock.backorder_limit,
        hold_limit=stock.hold_limit,
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
        location_id=str(movement.location_id or ""),
        create_time=timestamp(recorded.create_time),
    )
