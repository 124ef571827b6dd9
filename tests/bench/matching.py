"""How well records of two suppliers are matched, by pairs that people found: precision, recall and F1.

`python -m tests.bench.matching FOLDER...`: each folder has gt.csv.gz with the pairs and two other files with
the records, of which the first by name is D1. Told by halves: the weights of services/product/suppliers were
found on the first alone.
"""

import argparse
import csv
import gzip
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

from services.product.suppliers.domain import (
    MAX_RECORDS_A_KEY,
    SURE,
    UNSURE,
    Corpus,
    Pair,
    compare,
    one_to_one,
    with_rivals,
)
from services.product.suppliers.words import Offer, Words

Records = Mapping[str, Words]
Found = set[tuple[str, str]]


@dataclass(frozen=True)
class Task:
    """Two suppliers' records, and which are the same."""

    records: Records
    others: Records
    truth: Found


@dataclass(frozen=True)
class Quality:
    """How near what was found is to the truth."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / (self.precision + self.recall or 1)


def read_task(folder: Path) -> Task:
    """Read the three files of a folder."""
    truth = {(row["D1"], row["D2"]) for row in _rows(folder / "gt.csv.gz")}
    first, second = sorted(path for path in folder.glob("*.csv.gz") if path.name != "gt.csv.gz")
    return Task(_records(first), _records(second), truth)


def match(task: Task) -> list[Pair[str]]:
    """Return the likeliest pairs in which each record stands once, with their probabilities."""
    corpus = corpus_of([*task.records.values(), *task.others.values()])
    wanted = set(candidates(task.records, task.others, corpus))
    wanted |= {(record, other) for other, record in candidates(task.others, task.records, corpus)}
    pairs = [
        Pair(record, other, compare(task.records[record], task.others[other], corpus).score)
        for record, other in sorted(wanted)
    ]
    return one_to_one(with_rivals(pairs), UNSURE)


def corpus_of(records: Iterable[Words]) -> Corpus:
    """Count keys as the service counts them."""
    counts: Counter[str] = Counter()
    size = 0
    for record in records:
        counts.update(record.keys)
        size += 1
    return Corpus(counts, size)


def candidates(records: Records, others: Records, corpus: Corpus) -> Iterable[tuple[str, str]]:
    """Find what may be the same as the store does: by the rarest keys, and of these the nearest."""
    having: dict[str, list[str]] = defaultdict(list)
    for name, other in others.items():
        for key in other.keys:
            having[key].append(name)
    for name, record in records.items():
        found = {each for key in corpus.rarest(record.keys) for each in having[key][:MAX_RECORDS_A_KEY]}
        for each in corpus.nearest(record.keys, {each: others[each].keys for each in found}):
            yield name, each


def in_first_half(pair: tuple[str, str]) -> bool:
    """Part pairs by a hash of the first record's id."""
    return hashlib.sha256(pair[0].encode()).digest()[0] % 2 == 0


def quality(found: Found, truth: Found) -> Quality:
    right = len(found & truth)
    return Quality(right / len(found) if found else 0.0, right / len(truth) if truth else 0.0)


def _rows(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8", errors="replace", newline="") as file:
        heading = file.readline().strip()
        separator = re.sub(r"[\w\"]", "", heading)[:1]
        return list(csv.DictReader(file, fieldnames=heading.split(separator), delimiter=separator))


def _records(path: Path) -> Records:
    return {row["id"]: Words(_offer(row)) for row in _rows(path)}


def _offer(row: Mapping[str, str]) -> Offer:
    try:
        price = Decimal(re.sub(r"[^0-9.]", "", row.get("price") or ""))
    except InvalidOperation:
        price = None
    return Offer(
        name=row.get("name") or row.get("title") or "",
        description=row.get("description") or "",
        brand=row.get("manufacturer") or row.get("brand") or "",
        price=price,
        currency="USD",
    )


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="+", type=Path)
    for folder in parser.parse_args().folder:
        task = read_task(folder)
        pairs = match(task)
        for what, least in (("found", UNSURE), ("sure", SURE)):
            found = {(pair.record, pair.other) for pair in pairs if pair.score >= least}
            for half, is_first in (("tuned on", True), ("kept back", False)):
                of_half = quality(
                    {pair for pair in found if in_first_half(pair) == is_first},
                    {pair for pair in task.truth if in_first_half(pair) == is_first},
                )
                told = f"precision {of_half.precision:.3f} recall {of_half.recall:.3f} F1 {of_half.f1:.3f}"
                print(f"{folder.name:14} {what:5} {half:9} {told}")


if __name__ == "__main__":
    _main()
