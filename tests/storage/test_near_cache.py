"""What a process keeps is bounded, never older than what it was told of, and unused once nobody tells it."""

from uuid import UUID, uuid4

import pytest

from services.storage import near_cache
from services.storage.near_cache import FRESH_SECONDS, Kept, NearCache


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> NearCache:
    cache = NearCache(clock)
    cache.settle(clock.now, before=10, newest=12)
    return cache


def kept(version: int, size: int = 1) -> Kept:
    return Kept(b"x" * size, version)


def fill(cache: NearCache, *versions: int) -> UUID:
    key = uuid4()
    with cache.filling() as read:
        for version in versions:
            read.put(key, kept(version))
    return key


def test_an_older_version_never_takes_the_place_of_a_newer_one(cache: NearCache) -> None:
    assert cache.get(fill(cache, 2, 1)) == kept(2)
    assert cache.get(fill(cache, 1, 2)) == kept(2)


def test_what_changed_is_given_up_and_what_was_read_after_the_change_is_not(cache: NearCache) -> None:
    old, new = fill(cache, 1), fill(cache, 2)
    for key in (old, new):
        cache.hear(key, 2)
    assert (cache.get(old), cache.get(new)) == (None, kept(2))


def test_what_was_read_before_a_change_and_comes_after_it_is_not_kept(cache: NearCache) -> None:
    key = uuid4()
    with cache.filling() as read:
        cache.hear(key, 2)
        read.put(key, kept(1))
    assert cache.get(key) is None


def test_what_was_read_before_all_was_forgotten_is_not_kept(cache: NearCache, clock: Clock) -> None:
    key = uuid4()
    with cache.filling() as read:
        cache.forget()
        read.put(key, kept(1))
    cache.settle(clock.now, before=10, newest=12)
    assert cache.get(key) is None


def test_nothing_is_answered_once_nobody_has_told_of_changes_for_too_long(
    cache: NearCache, clock: Clock
) -> None:
    key = fill(cache, 1)
    clock.now += FRESH_SECONDS
    assert cache.get(key) == kept(1)
    clock.now += 0.001
    assert cache.get(key) is None
    cache.settle(clock.now, before=10, newest=12)
    assert cache.get(key) == kept(1)


def test_who_has_written_is_answered_once_that_is_known_to_be_heard(cache: NearCache, clock: Clock) -> None:
    key = fill(cache, 1)
    assert cache.get(key, written=10) is None
    cache.settle(clock.now, before=11, newest=12)
    assert cache.get(key, written=10) == kept(1)


def test_a_number_that_no_transaction_can_have_is_no_write_s(cache: NearCache, clock: Clock) -> None:
    key = fill(cache, 1)
    for plausible in (10, 12, 1_000):
        assert cache.get(key, written=plausible) is None
    assert cache.get(key, written=10**17) == kept(1)
    cache.settle(clock.now, before=10, newest=10**17)
    assert cache.get(key, written=10**17) is None


@pytest.mark.parametrize(
    ("bound", "most"), [("_MOST_ENTRIES", 3), ("_MOST_BYTES", 300)], ids=["entries", "bytes"]
)
def test_the_longest_unread_make_room(
    cache: NearCache, bound: str, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_cache, bound, most)
    keys = [uuid4() for _ in range(4)]
    with cache.filling() as read:
        for key in keys[:3]:
            read.put(key, kept(1, size=100))
        cache.get(keys[0])
        read.put(keys[3], kept(1, size=100))
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]


def test_what_takes_another_s_place_is_counted_once(
    cache: NearCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_cache, "_MOST_BYTES", 300)
    other = fill(cache, 1)
    key = uuid4()
    with cache.filling() as read:
        for version in range(1, 20):
            read.put(key, kept(version, size=100))
    assert cache.get(other) is not None
