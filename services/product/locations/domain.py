"""Locations, and from which of them an order's units are taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.errors import AlreadyExists, FailedPrecondition, NotFound, ResourceExhausted

MAX_LOCATIONS = 100


class LocationNotFound(NotFound):
    reason = "LOCATION_NOT_FOUND"


class LocationNameTaken(AlreadyExists):
    reason = "LOCATION_NAME_TAKEN"


class TooManyLocations(ResourceExhausted):
    """There are as many as there may be."""

    reason = "TOO_MANY_LOCATIONS"


class SameLocation(FailedPrecondition):
    """A transfer from a location to itself."""

    reason = "SAME_LOCATION"


@dataclass(frozen=True)
class Location:
    """A place where stock lies, beside the default location, which has no row."""

    location_id: UUID
    display_name: str
    # Stock is taken from the highest first; the default location has 0.
    priority: int
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def etag(self) -> str:
        return str(self.version)


@dataclass(frozen=True)
class LocationLevel:
    """A product's units at a location."""

    location_id: UUID
    free: int
    held: int
    committed: int
    priority: int


def allot(
    quantity: int, free: Mapping[UUID | None, int], priorities: Mapping[UUID | None, int]
) -> dict[UUID, int]:
    """Say how many units are taken from which location; the rest is the default location's (None).

    The highest priority comes first, and of equal ones where most is free.
    """
    taken: dict[UUID, int] = {}
    left = quantity
    for location_id in sorted(free, key=lambda each: (-priorities[each], -free[each], str(each or ""))):
        units = min(left, max(free[location_id], 0))
        left -= units
        if location_id is not None and units:
            taken[location_id] = units
    return taken


def not_found(location_id: UUID) -> LocationNotFound:
    """Say that there is no such location."""
    return LocationNotFound("there is no such location", metadata={"location_id": str(location_id)})
