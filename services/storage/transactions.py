"""Which numbers of transactions can be those of writes: a caller may name any."""

# That may begin between two looks at the database, of which none that counts is older than two seconds.
_MOST_BEGUN = 100_000


def lacks(written: int, before: int, newest: int) -> bool:
    """Return whether what somebody has seen may lack a transaction's writes.

    A number that no transaction can have yet is no write's: what it asks for is nowhere, and whoever invents
    one would have every read go to the primary.

    Args:
        written: The transaction; 0: none.
        before: Every transaction below it had ended.
        newest: No transaction from it on had ended.
    """
    return before <= written < newest + _MOST_BEGUN
