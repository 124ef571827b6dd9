"""The words of a query: which count, which others stand for them, and how much each of them tells. No I/O."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

# Each costs a walk through the index; more of them narrow a search no further.
MAX_WORDS = 16
# Of a word: its other forms, synonyms, or corrections.
MAX_FORMS = 8
# What belongs to a thing, fits it or feeds it, in the stems of names. Who looks for a laptop gets laptops
# before bags for them; who asks for one of these words gets what it asks for.
_ACCESSORIES = """
    accessori adapt adaptor arm backpack bag batteri bracket cabl cap cartridg case charger cleaner cord cover
    dock drum film filter fuser holder holster hood kit licens lock memori modul mount pad part pillow pouch
    protector rack replac ribbon shelf shell skin sleev spare stand stylus support toner tray warranti
"""
_ALL_ACCESSORIES = frozenset(_ACCESSORIES.split())
_LONGEST = 40
# Ways to leave one word out of a query: each costs a walk through the index.
_WAYS = 6


@dataclass(frozen=True)
class Word:
    """A word of a query with what may stand for it: lexemes of products' `search`, or several with blanks."""

    forms: tuple[str, ...]
    # How many products have one of the forms, about.
    product_count: int

    def query(self, mark: str = "") -> str:
        """Return it as a tsquery; the mark "=" asks for it in names."""
        return "(" + " | ".join(_all_of(form.split(" "), mark) for form in self.forms) + ")"


@dataclass(frozen=True)
class Question:
    """What a search asks for."""

    words: tuple[Word, ...]
    # By word: how rare it is, from 0.
    weights: tuple[float, ...]

    def all_named(self) -> str:
        """Return the tsquery of products with every word in their name."""
        return " & ".join(word.query("=") for word in self.words)

    def all(self) -> str:
        """Return the tsquery of products with every word."""
        return " & ".join(word.query() for word in self.words)

    def most(self) -> str:
        """Return the tsquery of products that lack one of three words or more."""
        match self.words:
            case () | (_,) | (_, _):
                return ""
        by_count = sorted(self.words, key=lambda word: word.product_count)
        # It is one of the commonest that may lack.
        fixed, free = by_count[:-_WAYS], by_count[-_WAYS:]
        ways = (" & ".join(word.query() for word in kept) for kept in combinations(free, len(free) - 1))
        either = "(" + " | ".join(f"({way})" for way in ways) + ")"
        return " & ".join([*(word.query() for word in fixed), either])

    def rarest(self) -> str:
        """Return the tsquery of products with the word that tells most, of those that there are."""
        word = min(self.words, key=lambda word: word.product_count or math.inf, default=None)
        return word.query() if word else ""

    def accessories(self) -> str:
        """Return the tsquery of names that have an accessory's word, but for those asked for."""
        return " | ".join(f"'={word}'" for word in sorted(_ALL_ACCESSORIES - self.lexemes()))

    def lexemes(self) -> set[str]:
        """Return all that its words may be."""
        return {lexeme for word in self.words for form in word.forms for lexeme in form.split(" ")}


def question_of(words: Sequence[Word], all_products: int, weights: Sequence[float] | None = None) -> Question:
    """Weigh the words of a query as BM25 does.

    Args:
        words: Those of the query.
        all_products: How many products were counted.
        weights: Of the page before: counts may have changed since.
    """
    if weights is None or len(weights) != len(words):
        weights = [_weight(min(word.product_count, all_products), all_products) for word in words]
    return Question(tuple(words), tuple(weights))


def accessories_of(lexemes: Iterable[str]) -> frozenset[str]:
    """Return those that name accessories."""
    return _ALL_ACCESSORIES.intersection(lexemes)


def joined(tokens: Sequence[str]) -> dict[int, str]:
    """Return neighbours written as one, by the place of the first: `laser jet` is laserjet too."""
    return {
        place: first + second
        for place, (first, second) in enumerate(pairwise(tokens))
        if (first + second).isalnum() and len(first + second) <= _LONGEST
    }


def with_forms(
    lexemes: Sequence[str], counts: Mapping[str, int], forms: Mapping[str, Sequence[str]]
) -> list[Word]:
    """Return words with what may stand for them, each once."""
    words = []
    for lexeme in dict.fromkeys(lexemes):
        every = tuple(dict.fromkeys((lexeme, *forms.get(lexeme, ()))))[:MAX_FORMS]
        words.append(Word(every, sum(counts.get(form, 0) for form in every)))
    return words[:MAX_WORDS]


def _all_of(lexemes: Sequence[str], mark: str) -> str:
    quoted = (f"{mark}{lexeme}".replace("\\", "\\\\").replace("'", "''") for lexeme in lexemes)
    return "(" + " & ".join(f"'{each}'" for each in quoted) + ")"


def _weight(product_count: int, all_products: int) -> float:
    return round(math.log(1 + (all_products - product_count + 0.5) / (product_count + 0.5)), 1)
