"""What must never happen is a constraint first; what was is never rewritten."""

from uuid import UUID

import asyncpg
import pytest

from services.storage.postgres import constraint_name
from tests.product.conftest import Shop


@pytest.mark.parametrize(
    ("statement", "constraint"),
    [
        ("UPDATE stock_levels SET free = -1 WHERE product_id = $1", "stock_levels_backorder_check"),
        (
            "UPDATE stock_levels SET free = -3, held = 2, backorder_limit = 3 WHERE product_id = $1",
            "stock_levels_on_hand_check",
        ),
        (
            "UPDATE stock_levels SET backorder_limit = -1 WHERE product_id = $1",
            "stock_levels_backorder_limit_check",
        ),
        ("UPDATE stock_levels SET hold_limit = -1 WHERE product_id = $1", "stock_levels_hold_limit_check"),
        ("UPDATE stock_levels SET held = -1 WHERE product_id = $1", "stock_levels_held_check"),
        ("UPDATE stock_levels SET committed = -1 WHERE product_id = $1", "stock_levels_committed_check"),
        ("UPDATE products SET price = -0.000000001 WHERE product_id = $1", "products_price_check"),
        ("UPDATE products SET currency = 'usd' WHERE product_id = $1", "products_currency_check"),
        ("UPDATE products SET sku = '' WHERE product_id = $1", "products_sku_check"),
        (
            """
            INSERT INTO stock_movements (product_id, kind, free_delta, held_delta, committed_delta,
                                         order_id, reason)
            VALUES ($1, 'RESERVED', -1, 2, 0, $1, '')
            """,
            "stock_movements_conserve_check",
        ),
        (
            """
            INSERT INTO stock_movements (product_id, kind, free_delta, held_delta, committed_delta, reason)
            VALUES ($1, 'RESERVED', -1, 1, 0, '')
            """,
            "stock_movements_conserve_check",
        ),
    ],
)
async def test_the_schema_refuses_what_must_never_be(shop: Shop, statement: str, constraint: str) -> None:
    product = await shop.create(5)
    with pytest.raises(asyncpg.CheckViolationError) as refused:
        await shop.pool.execute(statement, UUID(product.product_id))
    assert constraint_name(refused.value) == constraint


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM products",
        "DELETE FROM stock_levels",
        "DELETE FROM stock_movements",
        "UPDATE stock_movements SET free_delta = 0",
        "DELETE FROM reservations",
        "DELETE FROM reservation_lines",
        "UPDATE events SET type = ''",
        "TRUNCATE products CASCADE",
        "CREATE TABLE mine ()",
    ],
)
async def test_the_service_itself_cannot_rewrite_the_past(shop: Shop, statement: str) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await shop.pool.execute(statement)
