"""Which records of two suppliers are one product: a score for each pair, and why. No I/O.

A GTIN, or brand and number of the model, decide alone. Elsewhere six things are weighed: how much of each
name stands in the other, how alike the names are spelled, a number of a model that both have, how rare the
rarest shared word is, numbers that differ, prices that differ. And a pair counts less where either record has
another that fits as well.
"""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from services.product.suppliers.words import CODE_BEGIN, Words

# A merge without a person, and what a person is asked about, from and to: probabilities.
SURE = 0.7
UNSURE = 0.08
# The commonest words find everything; a record is looked for by its rarest, of which each finds so many.
MAX_KEYS = 12
MAX_RECORDS_A_KEY = 100
MAX_RECORDS_WITH_KEY = 5_000
MAX_CANDIDATES = 40
# A logistic regression over pairs of two shops for electronics and two for software; tests.bench.matching
# measures them, also on the half of the pairs that they were not found with.
_BIAS = -12.9
_LESS_COVERED = 2.2
_MORE_COVERED = 4.0
_SPELLING = 2.2
_CODE = 3.1
_RAREST = 9.0
_NUMBERS_DIFFER = -1.0
_PRICES_DIFFER = -2.5
# The same over how far a pair stands above the next best of either record.
_RIVAL_BIAS = -1.0
_RIVAL_SCORE = 0.32
_RIVAL_OF_RECORD = 0.7
_RIVAL_OF_OTHER = 0.35
_MAX_LEAD = 4.0
# Where few records are near, a poor pair stands above all of them: others may still come that fit as well.
_LEAST_RIVAL = -3.0
# Of a price that one does not say: as the prices of the same product differ between shops on the average.
_USUAL_PRICE_RATIO = 0.35
_MAX_PRICE_RATIO = 2.5
# More records than a product has suppliers have such a code: it is no number of a model.
_MAX_SHARING_CODE = 12
_SHOWN_WORDS = 8
# Shorter ones begin or stand in very many words.
_LEAST_OF_PART = 3
_LEAST_OF_BEGIN = 4

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Corpus:
    """In how many records each key stands, of how many: what is rare tells more."""

    counts: Mapping[str, int]
    size: int

    def weight(self, key: str) -> float:
        return math.log(1 + self.size / max(self.counts.get(key, 1), 1))

    def is_rare(self, key: str) -> bool:
        return self.counts.get(key, 1) <= _MAX_SHARING_CODE

    def rarest(self, keys: Iterable[str]) -> list[str]:
        """Return the keys that a record is looked for by, the rarest first.

        What it alone has finds none: a name of many words of its own would be looked for by nothing else.
        """
        known = ((self.counts.get(key, 1), key) for key in keys)
        return [key for count, key in sorted(known) if 1 < count <= MAX_RECORDS_WITH_KEY][:MAX_KEYS]

    def nearest(self, keys: Set[str], others: Mapping[Key, Set[str]]) -> list[Key]:
        """Return whom to compare a record with: those with most of its keys, by how rare these are."""
        weights = {key: self.weight(key) ** 2 for key in keys}
        near = {
            name: sum(weights[key] for key in keys & other) / math.sqrt(1 + len(other))
            for name, other in others.items()
        }
        return sorted(near, key=lambda name: (-near[name], str(name)))[:MAX_CANDIDATES]


@dataclass(frozen=True)
class Likeness:
    """What speaks for and against two records being one product."""

    # The logit, before rivals are looked at; infinite where it is decided.
    score: float
    rule: str
    covered: tuple[float, float]
    code: str
    shared: tuple[str, ...]
    numbers_differ: bool
    price_ratio: float | None

    def evidence(self) -> dict[str, Any]:
        """Return what a person is told, as JSON."""
        told = asdict(self)
        told["covered"] = [round(share, 3) for share in self.covered]
        del told["score"], told["rule"]
        return told


def compare(record: Words, other: Words, corpus: Corpus) -> Likeness:
    """Weigh what two records say."""
    covered = (_covered(record, other, corpus), _covered(other, record, corpus))
    code, code_weight = _shared_code(record, other, corpus)
    shared = sorted(record.title & other.title, key=lambda word: (-corpus.weight(word), word))
    rarest = corpus.weight(shared[0]) / math.log(1 + corpus.size) if shared else 0.0
    differ = bool(record.numbers - other.numbers and other.numbers - record.numbers)
    ratio = _price_ratio(record, other)
    score = (
        _BIAS
        + _LESS_COVERED * min(covered)
        + _MORE_COVERED * max(covered)
        + _SPELLING * _same_spelling(record, other)
        + _CODE * code_weight
        + _RAREST * rarest
        + _NUMBERS_DIFFER * differ
        + _PRICES_DIFFER * (_USUAL_PRICE_RATIO if ratio is None else min(ratio, _MAX_PRICE_RATIO))
    )
    rule, decided = _decided(record, other)
    shown = tuple(shared[:_SHOWN_WORDS])
    return Likeness(score if decided is None else decided, rule, covered, code, shown, differ, ratio)


def probability(score: float, rival_of_record: float, rival_of_other: float) -> float:
    """Return how probable it is that a pair is one product.

    Args:
        score: Of the pair.
        rival_of_record: The best score of the first with another record of the second's supplier; -inf: none.
        rival_of_other: The best score of the second with another record of the first's supplier.
    """
    if math.isinf(score):
        return 1.0 if score > 0 else 0.0
    logit = (
        _RIVAL_BIAS
        + _RIVAL_SCORE * score
        + _RIVAL_OF_RECORD * _lead(score, rival_of_record)
        + _RIVAL_OF_OTHER * _lead(score, rival_of_other)
    )
    return 1 / (1 + math.exp(-logit))


@dataclass(frozen=True)
class Pair(Generic[Key]):
    """Two records that may be one product."""

    record: Key
    other: Key
    score: float


def with_rivals(pairs: Sequence[Pair[Key]]) -> list[Pair[Key]]:
    """Return pairs of two suppliers with the probability as their score."""
    of_record, of_other = _best_two(pairs, "record"), _best_two(pairs, "other")
    return [
        Pair(
            pair.record,
            pair.other,
            probability(
                pair.score,
                _rival(of_record[pair.record], pair.score),
                _rival(of_other[pair.other], pair.score),
            ),
        )
        for pair in pairs
    ]


def one_to_one(pairs: Iterable[Pair[Key]], least: float) -> list[Pair[Key]]:
    """Return the likeliest pairs, none below `least`, in which each record stands once."""
    records: set[Key] = set()
    others: set[Key] = set()
    chosen = []
    for pair in sorted(pairs, key=lambda pair: -pair.score):
        if pair.score >= least and pair.record not in records and pair.other not in others:
            chosen.append(pair)
            records.add(pair.record)
            others.add(pair.other)
    return chosen


def _decided(record: Words, other: Words) -> tuple[str, float | None]:
    """Return what decides alone, and how."""
    if record.offer.gtin and other.offer.gtin:
        return ("GTIN", math.inf) if record.offer.gtin == other.offer.gtin else ("GTIN", -math.inf)
    if record.brand and record.brand == other.brand and record.model and record.model == other.model:
        return "BRAND_AND_MODEL", math.inf
    return "LIKENESS", None


def _covered(record: Words, other: Words, corpus: Corpus) -> float:
    """Return which share of a name another has, by the weight of the words."""
    total = sum(corpus.weight(word) for word in record.title)
    found = sum(corpus.weight(word) * _found(word, other) for word in record.title)
    return found / total if total else 0.0


def _found(word: str, other: Words) -> float:
    """Return how well another record has a word: wholly, in part or shortened, or in its text alone."""
    if word in other.title:
        return 1.0
    if len(word) >= _LEAST_OF_PART and word in other.squeezed:
        return 0.8
    begins = (each for each in other.title if len(each) >= _LEAST_OF_BEGIN)
    if any(word.startswith(each) for each in begins):
        return 0.8
    return 0.5 if word in other.text else 0.0


def _same_spelling(record: Words, other: Words) -> float:
    """Return which share of the shorter name's trigrams the other has: words are joined, cut and mistyped."""
    shorter = min(len(record.trigrams), len(other.trigrams))
    return len(record.trigrams & other.trigrams) / shorter if shorter else 0.0


def _shared_code(record: Words, other: Words, corpus: Corpus) -> tuple[str, float]:
    """Return the number of a model that both have, one of them in its name, and how sure it is one."""
    pairs = {(mine, theirs) for mine in record.codes for theirs in other.all_codes}
    pairs |= {(mine, theirs) for mine in record.all_codes for theirs in other.codes}
    weighed = ((_code_weight(mine, theirs, corpus), min(mine, theirs, key=len)) for mine, theirs in pairs)
    weight, code = max(weighed, default=(0.0, ""))
    return (code, weight) if weight else ("", 0.0)


def _code_weight(mine: str, theirs: str, corpus: Corpus) -> float:
    """Return 1 for a rare code, and less for one that goes on with the letters of a colour or a country."""
    if mine == theirs:
        return 1.0 if corpus.is_rare(f"#{mine}") else 0.5
    short, long = sorted((mine, theirs), key=len)
    same = next(
        (place for place, (one, two) in enumerate(zip(short, long, strict=False)) if one != two), len(short)
    )
    is_begin = same >= max(CODE_BEGIN, len(short) - 3) and any(each.isdigit() for each in short[:same])
    # "3050" does not begin "30501": the number goes on, or turns into another.
    is_cut = short[same - 1].isdigit() and (short[same : same + 1] + long[same : same + 1]).isdigit()
    if is_begin and not is_cut:
        return 0.8 * same / len(long)
    return 0.6 if len(short) >= CODE_BEGIN and short in long and not is_begin else 0.0


def _price_ratio(record: Words, other: Words) -> float | None:
    """Return the logarithm of how far prices lie apart; None where they do not compare."""
    mine, theirs = record.offer, other.offer
    if not mine.price or not theirs.price or mine.currency != theirs.currency:
        return None
    return abs(math.log(mine.price / theirs.price))


def _lead(score: float, rival: float) -> float:
    return max(min(score - max(rival, _LEAST_RIVAL), _MAX_LEAD), -_MAX_LEAD)


def _best_two(pairs: Iterable[Pair[Key]], side: str) -> dict[Key, list[float]]:
    scores: dict[Key, list[float]] = {}
    for pair in pairs:
        scores.setdefault(getattr(pair, side), []).append(pair.score)
    return {key: sorted(each, reverse=True)[:2] for key, each in scores.items()}


def _rival(best: Sequence[float], score: float) -> float:
    """Return the best score but this one."""
    others = best[1:] if best[0] == score else best
    return others[0] if others else -math.inf
