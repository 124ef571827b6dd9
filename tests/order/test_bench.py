"""What the bench asks the database: nothing else would say before its next run that it cannot be asked."""

import pytest

from services.storage.postgres import connection
from tests.bench.orders import CONFIRMED
from tests.bench.statements import ORDERS, WAITING
from tests.conftest import DatabaseHandle


@pytest.mark.parametrize("question", [CONFIRMED, ORDERS, WAITING])
async def test_each_question_of_the_bench_fits_the_schema(
    order_database: DatabaseHandle, question: str
) -> None:
    pool = await order_database.pool()
    async with connection(pool) as conn:
        await conn.prepare(question)
    await pool.close()
