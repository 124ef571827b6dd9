"""What is asked of the index: a question's words and filters as queries of it, and its scores. No I/O."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from uuid import UUID

from tantivy import FieldType, Occur, Query, Searcher

from services.product.search.index.documents import (
    MAX_ACCESSORIES,
    NO_ACCESSORY,
    SCHEMA,
    WEIGHTS,
    accessories_term,
    attribute_key,
)
from services.product.search.store import Filters
from services.product.search.words import Question, Word, accessories_of

# A word that was found counts for more than all that BM25 says of sixteen, and to have the query as its whole
# name or sku for more than sixteen words. Scores have 24 bits: to the thousandth of a word's score.
_FOUND = 1024.0
_EXACT = 32768.0
# Shares of what the words of the query tell together.
_NO_ACCESSORY = 0.12
_TOGETHER = 0.05
# A synonym tells a little less than the word itself.
_SYNONYM = 0.8
# Each word of a product's two kinds of text may have one between it and the next.
_SLOP = 1


@dataclass(frozen=True)
class Meant:
    """A word of a query as the index has it."""

    # With what may stand for it; the word itself is the first.
    word: Word
    # The forms that a merchant has named.
    synonyms: frozenset[str] = frozenset()
    # Set: any word of a name that begins so stands for it too.
    begin: str = ""


class Queries:
    """Makes the queries of one search."""

    def __init__(self, searcher: Searcher, words: Sequence[Meant], question: Question) -> None:
        self._searcher = searcher
        self._words = words
        self._question = question
        self._has_word = [self._scored(each) for each in words]

    def all_words(self) -> Query:
        """Return the query for what has every word; it counts none of them."""
        told = sum(self._question.weights)
        extra = [self._no_accessory(told), *self._together(told)]
        return Query.boolean_query(
            [(Occur.Must, each) for each in self._has_word] + [(Occur.Should, each) for each in extra]
        )

    def most_words(self) -> Query:
        """Return the query for what lacks one word at most."""
        return self._some_words(len(self._words) - 1, [])

    def rarest_word(self) -> Query:
        """Return the query for what has the word that tells most, of those that there are."""
        known = [place for place, each in enumerate(self._words) if each.word.product_count]
        if not known:
            return Query.empty_query()
        rarest = min(known, key=lambda place: self._words[place].word.product_count)
        return self._some_words(1, [self._has_word[rarest]])

    def exact(self, query: str, lower: str) -> Query:
        """Return the query for what has this as its whole sku or name.

        Args:
            query: As it was typed.
            lower: The same as the database has it in lower case.
        """
        either = [(Occur.Should, self._term("sku", query)), (Occur.Should, self._term("name", lower))]
        return Query.const_score_query(Query.boolean_query(either), _EXACT)

    def _some_words(self, least: int, needed: Sequence[Query]) -> Query:
        counted = [
            Query.boolean_query([(Occur.Must, each), (Occur.Must, Query.const_score_query(each, _FOUND))])
            for each in self._has_word
        ]
        some = Query.boolean_query([(Occur.Should, each) for each in counted], least)
        parts = [(Occur.Must, Query.const_score_query(each, 0.0)) for each in needed]
        extra = self._no_accessory(sum(self._question.weights))
        return Query.boolean_query([(Occur.Must, some), *parts, (Occur.Should, extra)])

    def _scored(self, meant: Meant) -> Query:
        """Return the query for one word: in the field where it tells most, in the form that tells most."""
        found = []
        for form in meant.word.forms:
            share = _SYNONYM if form in meant.synonyms else 1.0
            found += [
                Query.boost_query(self._all_of(form, field), share * weight)
                for field, weight in WEIGHTS.items()
                if all(self._searcher.doc_freq(field, lexeme) for lexeme in form.split(" "))
            ]
        if meant.begin:
            found.append(self._term("begins", meant.begin))
        return Query.disjunction_max_query(found, 0.0) if found else Query.empty_query()

    def _all_of(self, form: str, field: str) -> Query:
        terms = [self._term(field, lexeme) for lexeme in form.split(" ")]
        return terms[0] if len(terms) == 1 else Query.boolean_query([(Occur.Must, each) for each in terms])

    def _no_accessory(self, told: float) -> Query:
        """Return the query for names without a word of an accessory but for those asked for."""
        asked = sorted(accessories_of(self._question.lexemes()))[: 2 * MAX_ACCESSORIES]
        sets = [each for size in range(1, MAX_ACCESSORIES + 1) for each in combinations(asked, size)]
        terms = [NO_ACCESSORY, *map(accessories_term, sets)]
        return Query.const_score_query(
            Query.term_set_query(SCHEMA, "accessories", terms), _NO_ACCESSORY * told
        )

    def _together(self, told: float) -> list[Query]:
        """Return the queries for texts where the words follow one another."""
        lexemes: list[str | tuple[int, str]] = [each.word.forms[0] for each in self._words]
        if len(lexemes) == 1:
            return []
        return [
            Query.const_score_query(
                Query.phrase_query(SCHEMA, field, lexemes, _SLOP), max(_TOGETHER * told, 0.0)
            )
            for field in ("named", "described")
        ]

    def _term(self, field: str, value: str) -> Query:
        return Query.term_query(SCHEMA, field, value)


def narrowed(query: Query, filters: Filters, without: Iterable[UUID]) -> Query:
    """Return a query for what is found and passes the filters, but for the products that are left out."""
    parts = [(Occur.Must, query)]
    parts += [(Occur.Must, Query.const_score_query(each, 0.0)) for each in _filters(filters)]
    left_out = [str(each) for each in without]
    if left_out:
        parts.append((Occur.MustNot, Query.term_set_query(SCHEMA, "product_id", left_out)))
    return Query.boolean_query(parts)


def _filters(filters: Filters) -> list[Query]:
    sets = {"brand": filters.brands, "category_id": [str(each) for each in filters.category_ids or ()]}
    found = [Query.term_set_query(SCHEMA, name, list(values)) for name, values in sets.items() if values]
    if filters.currency:
        found.append(Query.term_query(SCHEMA, "currency", filters.currency))
    if filters.is_in_stock:
        found.append(Query.term_query(SCHEMA, "in_stock", True))
    if filters.min_price is not None or filters.max_price is not None:
        least, most = (
            None if each is None else float(each) for each in (filters.min_price, filters.max_price)
        )
        found.append(Query.range_query(SCHEMA, "price", FieldType.Float, least, most))
    for name, value in filters.attributes.items():
        found.append(Query.term_query(SCHEMA, f"attributes.{attribute_key(name)}", f"={value}"))
    return found


def read_score(score: float) -> tuple[int, int, float]:
    """Return what a score says: if the whole name is the query, how many words were counted, the rest."""
    exact, rest = divmod(score, _EXACT)
    found, rank = divmod(rest, _FOUND)
    return int(exact), int(found), rank


def weigh(product_count: int, all_products: int) -> float:
    """Return how rare a word is, as BM25 has it."""
    return math.log(1 + (all_products - product_count + 0.5) / (product_count + 0.5))


def either(queries: Sequence[Query]) -> Query:
    """Return the query for what one of these finds."""
    return reduce(lambda one, other: one.or_should_match(other), queries)
