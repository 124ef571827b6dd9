"""Products ↔ the messages of the contract."""

from collections.abc import Iterable

from commerce.product.v1 import product_pb2

from services.product.catalogue.domain import Price, Product, ProductDetails
from services.rpc.fields import read_optional_id, timestamp, to_decimal, to_money


def read_details(message: product_pb2.Product, *, is_filed: bool = True) -> ProductDetails:
    """Read what a shop says of a product; the server's own fields are left out.

    Args:
        message: the product.
        is_filed: its category_id counts; an import files by paths.
    """
    return ProductDetails(
        sku=message.sku,
        name=message.name,
        description=message.description,
        brand=message.brand,
        category_id=read_optional_id(message.category_id) if is_filed else None,
        price=Price(to_decimal(message.price), message.price.currency_code),
        attributes=dict(message.attributes),
        image_urls=tuple(message.image_urls),
        active=message.active,
    )


def product_message(product: Product, left_out: Iterable[str] = ()) -> product_pb2.Product:
    """Write a product, without some of its fields."""
    details = product.details
    message = product_pb2.Product(
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
    for name in left_out:
        message.ClearField(name)
    return message
