"""What the words of a query mean in the index: what may stand for each, and how rare that is. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tantivy import Searcher

from services.product.search.index.documents import LONGEST_BEGIN, WEIGHTS
from services.product.search.index.queries import Meant
from services.product.search.vocabulary import Token, lexemes_of
from services.product.search.words import MAX_FORMS, with_forms


@dataclass(frozen=True)
class Reading:
    """A query's words, whatever the catalogue has of them."""

    # The query in lower case, as the database has it.
    lower: str
    tokens: Sequence[Token]
    # By the place of the first: the stem of two neighbours that are written as one.
    pairs: Mapping[int, str]

    def lexemes(self, *, is_typing: bool) -> list[str]:
        """Return the words that count."""
        return lexemes_of(self.tokens, is_typing=is_typing)


def means(
    searcher: Searcher,
    reading: Reading,
    *,
    is_typing: bool,
    synonyms: Mapping[str, Sequence[str]],
    near: Mapping[str, Sequence[str]],
) -> list[Meant]:
    """Return the words of a query with what may stand for each.

    Args:
        searcher: Of the index.
        reading: Of the query.
        is_typing: Its last word may be the begin of one.
        synonyms: By word, what a merchant has named.
        near: By word, what a mistyped one may have meant.
    """
    lexemes = reading.lexemes(is_typing=is_typing)
    forms = _joined_forms(reading)
    begins: dict[str, str] = {}
    if is_typing and reading.tokens:
        typed = reading.tokens[-1]
        if len(typed.text) <= LONGEST_BEGIN:
            begins[typed.lexemes[-1]] = typed.text
        longer = searcher.terms_with_prefix("named", typed.text, limit=MAX_FORMS) if not begins else []
        forms.setdefault(typed.lexemes[-1], []).extend(form for form, _ in longer)
    for others in (synonyms, near):
        for lexeme, named in others.items():
            forms.setdefault(lexeme, []).extend(named)
    every = {form for lexeme in lexemes for form in (lexeme, *forms.get(lexeme, ()))}
    counts = {form: _count(searcher, form) for form in every}
    known = {lexeme: [form for form in found if counts.get(form)] for lexeme, found in forms.items()}
    return [
        Meant(word, frozenset(synonyms.get(word.forms[0], ())), begins.get(word.forms[0], ""))
        for word in with_forms(lexemes, counts, known)
    ]


def unknown_in(words: Sequence[Meant]) -> list[str]:
    """Return the words that no product has, in no form."""
    return [each.word.forms[0] for each in words if not each.word.product_count and not each.begin]


def _joined_forms(reading: Reading) -> dict[str, list[str]]:
    forms: dict[str, list[str]] = {}
    for place, stem in reading.pairs.items():
        for token in reading.tokens[place : place + 2]:
            for lexeme in token.lexemes:
                forms.setdefault(lexeme, []).append(stem)
    return forms


def _count(searcher: Searcher, form: str) -> int:
    """Return how many products have a form, about: of several words those of the rarest."""
    return (
        min(
            max(searcher.doc_freq(field, lexeme) for field in WEIGHTS) for lexeme in form.split(" ") if lexeme
        )
        if form
        else 0
    )
