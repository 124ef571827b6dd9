"""What a row is known by once it was written: the same row again needs no look at what it says."""

import hashlib
from typing import TypeAlias

from commerce.product.v1 import product_pb2

from services.product.catalogue.domain import UPDATABLE_FIELDS
from services.rpc.masks import EVERYTHING

# A row that is alone in its message, or one of many.
AskedRow: TypeAlias = product_pb2.ImportProductsRequest | product_pb2.ImportRow

# As the schema has it.
_BYTES = 16
# With another field, what was written before it was known is not what the row says now.
_FIELDS = ",".join(UPDATABLE_FIELDS).encode()


def digest_of(row: AskedRow, version: int) -> bytes:
    """Return what a row is known by as long as its product stays at a version.

    How many units a new product begins with is no part of it: they mean nothing to one that is there.
    """
    said = product_pb2.ImportRow(
        product=row.product,
        category_path=row.category_path,
        update_mask=row.update_mask,
        supplier=row.supplier,
    )
    # Another library may write other bytes of the same row; that costs a comparison.
    content = said.SerializeToString(deterministic=True)
    return hashlib.blake2b(b"%d %s %s" % (version, _FIELDS, content), digest_size=_BYTES).digest()


def says_category(row: AskedRow) -> bool:
    """Tell whether a row files a product that is there already."""
    paths = row.update_mask.paths
    return not paths or "category_id" in paths or list(paths) == [EVERYTHING]
