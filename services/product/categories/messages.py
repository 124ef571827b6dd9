"""Categories ↔ the messages of the contract."""

from commerce.product.v1 import category_pb2

from services.product.categories.domain import Category
from services.rpc.fields import timestamp


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
