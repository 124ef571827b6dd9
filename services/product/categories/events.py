"""What happened to categories, as the contract's events tell it (commerce/product/v1/events.proto)."""

from datetime import datetime

from services.product.categories.domain import Category
from services.storage.events import NewEvent


def category_created(category: Category) -> NewEvent:
    return _of_category(category, "CategoryCreated")


def category_updated(category: Category) -> NewEvent:
    return _of_category(category, "CategoryUpdated")


def category_deleted(category: Category, occur_time: datetime) -> NewEvent:
    return NewEvent(
        stream=f"category/{category.category_id}",
        version=category.version + 1,
        type="CategoryDeleted",
        data={"category_id": str(category.category_id)},
        occur_time=occur_time,
    )


def _of_category(category: Category, event_type: str) -> NewEvent:
    data = {
        "category_id": str(category.category_id),
        "parent_id": str(category.parent_id or ""),
        "display_name": category.display_name,
    }
    stream = f"category/{category.category_id}"
    return NewEvent(stream, category.version, event_type, data, category.update_time)
