"""What happened to products, as the contract's events tell it (commerce/product/v1/events.proto)."""

from collections.abc import Mapping, Sequence
from typing import Any

from services import money
from services.product.catalogue.domain import Product
from services.storage.events import NewEvent


def product_created(product: Product) -> NewEvent:
    return _of_product(product, "ProductCreated", {"product": _snapshot(product)})


def product_updated(product: Product, changed: Sequence[str]) -> NewEvent:
    data = {"product": _snapshot(product), "changed_fields": list(changed)}
    return _of_product(product, "ProductUpdated", data)


def product_deleted(product: Product) -> NewEvent:
    data = {"product_id": str(product.product_id), "sku": product.details.sku}
    return _of_product(product, "ProductDeleted", data)


def _of_product(product: Product, event_type: str, data: Mapping[str, Any]) -> NewEvent:
    stream = f"product/{product.product_id}"
    return NewEvent(stream, product.version, event_type, data, product.update_time)


def _snapshot(product: Product) -> dict[str, Any]:
    details = product.details
    return {
        "product_id": str(product.product_id),
        "sku": details.sku,
        "name": details.name,
        "description": details.description,
        "brand": details.brand,
        "category_id": str(details.category_id or ""),
        "price": money.to_json(details.price.amount, details.price.currency),
        "attributes": dict(details.attributes),
        "image_urls": list(details.image_urls),
        "active": details.active,
    }
