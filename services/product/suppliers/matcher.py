"""Finds matches of records that are new or changed, a bounded batch at a time. Several may run at once.

Nothing is locked while records are compared: what is found is decided record by record, each in a transaction
that looks again at what it changes.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from services.errors import VersionConflict
from services.product.catalogue.domain import ProductNotFound
from services.product.suppliers import match_store, merging, store
from services.product.suppliers.domain import SURE, UNSURE, Corpus, Likeness, compare, probability
from services.product.suppliers.records import MergeBlocked, NewMatch
from services.product.suppliers.store import Candidate
from services.storage.postgres import Connection, Pool, connection, transaction

# Some tenths of a second each.
_KEYED_AT_ONCE = 200
_COMPARED_AT_ONCE = 20
# What was found is of another state than now: the record is compared again in the next round.
_MOVED = (ProductNotFound, VersionConflict)


@dataclass(frozen=True)
class Round:
    """What one batch did."""

    looked_at: int
    merged: int
    proposed: int
    is_done: bool


@dataclass(frozen=True)
class _Rated:
    other: Candidate
    likeness: Likeness


class Matcher:
    """Looks at records, in steps."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, *, propose_only: bool) -> Round:
        """Note the keys of the next records, or compare the next ones once all keys are noted.

        Args:
            propose_only: Leave also what is sure to a person.
        """
        if await self._note_keys():
            return Round(0, 0, 0, is_done=False)
        async with connection(self._pool) as conn:
            due = await store.list_due(conn, _COMPARED_AT_ONCE)
            found = {record_id: await _best_match(conn, record_id) for record_id in due}
        # The likeliest first: of two records of a supplier that want one product, it gets it.
        in_order = sorted(found.items(), key=lambda each: -(each[1].probability if each[1] else 0))
        merged = proposed = 0
        for record_id, match in in_order:
            is_merged, is_proposed = await self._decide(record_id, match, propose_only=propose_only)
            merged, proposed = merged + is_merged, proposed + is_proposed
        return Round(len(due), merged, proposed, is_done=not due)

    async def _note_keys(self) -> int:
        async with transaction(self._pool) as conn:
            unkeyed = await store.lock_unkeyed(conn, _KEYED_AT_ONCE)
            steps: Counter[str] = Counter()
            for each in unkeyed:
                steps.update(each.words.keys - each.keys)
                steps.subtract(each.keys - each.words.keys)
            if unkeyed:
                await store.note_keys(conn, unkeyed, {key: step for key, step in steps.items() if step})
        return len(unkeyed)

    async def _decide(
        self, record_id: UUID, match: NewMatch | None, *, propose_only: bool
    ) -> tuple[bool, bool]:
        """Write what was found of a record; return whether it was merged, and whether a person is asked."""
        try:
            async with transaction(self._pool) as conn:
                match_id = await _propose(conn, match) if match else None
                is_sure = match is not None and match.probability >= SURE and not propose_only
                is_merged = match_id is not None and is_sure and await _merge(conn, match_id)
                await store.note_compared(conn, record_id)
        except _MOVED:
            return False, False
        return is_merged, match_id is not None and not is_merged


async def _propose(conn: Connection, match: NewMatch) -> UUID | None:
    await merging.lock_pair(conn, match.record_id, match.other_record_id)
    return await match_store.insert_match(conn, match)


async def _merge(conn: Connection, match_id: UUID) -> bool:
    try:
        async with conn.transaction():
            await merging.accept(conn, match_id)
    except MergeBlocked:
        # What is in the way of a merge leaves it to a person.
        return False
    return True


async def _best_match(conn: Connection, record_id: UUID) -> NewMatch | None:
    """Compare a record with what is near, and return the likeliest match that is worth a look."""
    record = (await store.read_candidates(conn, [record_id])).get(record_id)
    # What others are merged into is their place, and moves no more.
    if record is None or record.record.is_merged or len(record.suppliers) > 1:
        return None
    rated = await _rate(conn, record, record.record.supplier, is_of_others=True)
    matched = await match_store.find_matched(conn, record_id, [each.other.record.record_id for each in rated])
    free = [
        each
        for each in rated
        if record.record.supplier not in each.other.suppliers and each.other.record.record_id not in matched
    ]
    if not free:
        return None
    best = max(free, key=lambda each: each.likeness.score)
    # What was decided of a rival is decided: one that was rejected makes no other doubtful.
    rivals = (
        each
        for each in rated
        if each.other.record.supplier == best.other.record.supplier
        and each.other.record.record_id not in matched
    )
    back = await _rate(conn, best.other, record.record.supplier, is_of_others=False)
    chance = probability(best.likeness.score, _best_but(rivals, best.other), _best_but(back, record))
    if chance < UNSURE:
        return None
    evidence = {
        **best.likeness.evidence(),
        "names": [record.words.offer.name, best.other.words.offer.name],
    }
    return NewMatch(record_id, best.other.record.record_id, best.likeness.rule, chance, evidence)


async def _rate(conn: Connection, record: Candidate, supplier: str, *, is_of_others: bool) -> list[_Rated]:
    """Compare a record with the nearest of a supplier, or of all others."""
    counts, size = await store.read_counts(conn, record.words.keys)
    corpus = Corpus(counts, size)
    having = await store.find_having(
        conn, corpus.rarest(record.words.keys), supplier=supplier, is_of_others=is_of_others
    )
    near = await store.read_candidates(conn, corpus.nearest(record.words.keys, having))
    keys = record.words.keys.union(*(each.words.keys for each in near.values()))
    counts, size = await store.read_counts(conn, keys)
    # Tens of milliseconds of this process's time: other calls have theirs meanwhile.
    return await asyncio.to_thread(_rated, record, near, Corpus(counts, size))


def _rated(record: Candidate, near: Mapping[UUID, Candidate], corpus: Corpus) -> list[_Rated]:
    return [_Rated(each, compare(record.words, each.words, corpus)) for each in near.values()]


def _best_but(rated: Iterable[_Rated], left_out: Candidate) -> float:
    """Return the best score of others than one."""
    scores = (each.likeness.score for each in rated if each.other.record != left_out.record)
    return max(scores, default=-math.inf)
