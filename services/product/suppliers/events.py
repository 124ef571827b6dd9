"""What happened to matches, as the contract's events tell it (commerce/product/v1/events.proto)."""

from typing import Any

from services.product.suppliers.records import Match
from services.storage.events import NewEvent


def products_merged(match: Match) -> NewEvent:
    data = {
        "match_id": str(match.match_id),
        "supplier": match.record.supplier,
        "supplier_id": match.record.supplier_id,
        "product_id": str(match.record.own_product_id),
        "merged_into": str(match.record.product_id),
    }
    return _of_match(match, "ProductsMerged", data)


def match_rejected(match: Match) -> NewEvent:
    return _of_match(match, "MatchRejected", {"match_id": str(match.match_id)})


def match_undone(match: Match, was_merged_into: str) -> NewEvent:
    data = {
        "match_id": str(match.match_id),
        "product_id": str(match.record.own_product_id),
        "was_merged_into": was_merged_into,
    }
    return _of_match(match, "MatchUndone", data)


def _of_match(match: Match, event_type: str, data: dict[str, Any]) -> NewEvent:
    # A proposal is version 1 and no event: nothing has happened to a product yet.
    return NewEvent(f"match/{match.match_id}", match.version - 1, event_type, data, match.update_time)
