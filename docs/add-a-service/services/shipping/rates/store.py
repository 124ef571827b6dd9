"""SQL over rates."""

from services.shipping.rates.domain import ParcelTooHeavy, Rate
from services.storage.postgres import Connection


async def get_rate(conn: Connection, weight_grams: int) -> Rate:
    """Return the rate of a parcel.

    Raises:
        ParcelTooHeavy: it weighs more than the last rate takes.
    """
    row = await conn.fetchrow(
        """
        SELECT up_to_grams, price, currency
          FROM rates
         WHERE up_to_grams >= $1
         ORDER BY up_to_grams
         LIMIT 1
        """,
        weight_grams,
    )
    if row is None:
        raise ParcelTooHeavy("nobody carries a parcel of this weight")
    return Rate(**row)
