"""Proposes a mapping for a file that is not known, by the names of its columns and by their values."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from deploy.local.errors import MeshError
from deploy.local.imports.columns import IDENTITIES, SYNONYMS, normalised
from deploy.local.imports.currencies import CODES, currencies_of
from deploy.local.imports.mapping import FileRules, Mapping
from deploy.local.imports.money import PriceRefused, PriceRules, split_price
from deploy.local.imports.numerals import decide_decimal_mark
from deploy.local.imports.routes import EACH
from deploy.local.imports.survey import Column, Survey

_MAX_SUPPLIER_CHARACTERS = 20
# A sku is 64 characters with its supplier and a hyphen.
_MAX_OWN_SKU_CHARACTERS = 43
_MAX_ATTRIBUTE_CHARACTERS = 2000
# Of the values of a column so many must be of its kind; of one that is called a price, which others may
# stand in for ("on request"), so many: those rows are refused by name.
_MOST = 0.9
_HALF = 0.5
# Columns of amounts that hold where the price itself is empty, such as the price before a discount.
_OTHER_PRICES = ("actual_price", "regular_price", "list_price", "mrp", "original_price", "retail_price")
_LINKS = ("url", "link", "product_url", "product_link", "href")
_PICTURE = re.compile(r"image|img|photo|picture|bild", re.IGNORECASE)
# Kinds of numbers that are often no units on hand: the contents of a package are called so, too.
_NOT_PROPOSED = {"stock": {"quantity", "qty", "instock"}}


@dataclass
class _Draft:
    """Columns that are taken, and what for."""

    survey: Survey
    fields: dict[str, tuple[str, ...]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def take(self, name: str, columns: list[Column]) -> None:
        self.fields[name] = tuple(column.name for column in columns)
        self.taken |= {column.name for column in columns} | {column.root for column in columns}


def propose(
    survey: Survey, file: Path, rules: FileRules, *, supplier: str = "", currency: str = ""
) -> Mapping:
    """Propose a mapping.

    Args:
        survey: the first rows.
        file: whose name names the supplier, where nobody does.
        rules: how the file was read.
        supplier: who numbers the rows.
        currency: of prices that say none.

    Raises:
        MeshError: no column looks like a name, or none like a price.
    """
    _refuse_products_by_key(survey, file)
    draft = _Draft(survey)
    for name in ("name", "price"):
        columns = _prices(survey) if name == "price" else _named(survey, SYNONYMS[name])
        if not columns:
            found = ", ".join(column.name for column in survey.top()[:20])
            raise MeshError(
                f"{file} has no column that looks like a {name}: its columns are {found}."
                f"{_told_of_several(survey, name)}",
                f'Write a mapping by hand: [fields] with {name} = "COLUMN", as docs/imports.md shows.',
            )
        draft.take(name, columns if name == "price" else columns[:1])
    identity = _identity(draft)
    _take_others(draft)
    prices = _price_rules(draft, currency)
    return _with_the_rest(
        draft,
        Mapping(
            name=file.name,
            supplier=_slug(supplier or file.name.partition(".")[0]),
            sku_from=() if identity else _sku_from(draft),
            prices=prices,
            file=rules,
        ),
    )


def _named(survey: Survey, names: tuple[str, ...]) -> list[Column]:
    """Return the columns with one of some names, in that order; what is inside of objects comes last."""
    wanted = [normalised(name) for name in names]
    whole = {normalised(column.name): column for column in reversed(survey.columns.values())}
    leaves = {normalised(column.leaf): column for column in reversed(survey.columns.values())}
    found = [table[name] for table in (whole, leaves) for name in wanted if name in table]
    by_name = {column.name: column for column in found}
    return [column for column in by_name.values() if column.filled and not column.is_one_of_several]


def _told_of_several(survey: Survey, name: str) -> str:
    several = [
        column.name
        for column in _ending(survey, SYNONYMS[name])
        if column.is_one_of_several and column.filled
    ]
    return f" {several[0]} is one of several in a row, and no row's own." if several else ""


def _ending(survey: Survey, names: tuple[str, ...]) -> list[Column]:
    """Return the columns inside of objects that end with one of some names."""
    wanted = {normalised(name) for name in names}
    inside = [column for column in survey.columns.values() if column.name != column.root]
    return [column for column in inside if normalised(column.leaf) in wanted]


def _refuse_products_by_key(survey: Survey, file: Path) -> None:
    """Refuse rows that hold several objects with a name and a price each, of which one would be taken."""
    names, prices = (
        dict.fromkeys(column.name.rpartition(".")[0] for column in _ending(survey, SYNONYMS[name]))
        for name in ("name", "price")
    )
    both = [way for way in names if way in prices]
    if len(both) > 1:
        raise MeshError(
            f"{file} has several products in a row: {both[0]} and {both[1]} have a name and a price each.",
            "Give a row for each product, or write a mapping by hand, as docs/imports.md shows.",
        )


def _prices(survey: Survey) -> list[Column]:
    """Return the column of prices, and one that fills its gaps."""
    inside = tuple(f"{name}_{part}" for name in SYNONYMS["price"] for part in ("amount", "value"))
    called = _named(survey, (*SYNONYMS["price"], *inside))
    found = [column for column in called if _is_price(column)]
    found = found or [column for column in called if _is_price(column, _HALF)]
    if not found:
        found = [
            column
            for column in survey.columns.values()
            if re.search("price|preis|prix|precio|מחיר", column.name, re.IGNORECASE)
            and not column.is_one_of_several
            and _is_price(column)
        ]
    others = [column for column in _named(survey, _OTHER_PRICES) if _is_price(column)]
    # Fewer than half are amounts: those of the other rows are refused by name.
    found = found or others or [column for column in called if any(map(_has_number, column.values))]
    if not found:
        return []
    gaps = found[0].filled < survey.rows
    return found[:1] + [other for other in others if gaps and other is not found[0]][:1]


def _is_price(column: Column, share: float = _MOST) -> bool:
    good = sum(_has_number(value) for value in column.values)
    return bool(column.values) and good >= share * len(column.values)


def _has_number(value: object) -> bool:
    if isinstance(value, bool | list | dict):
        return False
    try:
        split_price(str(value))
    except PriceRefused:
        return False
    return True


def _identity(draft: _Draft) -> bool:
    """Take a column that tells every row of the survey apart as the sku."""
    for column in _named(draft.survey, (*SYNONYMS["sku"], *IDENTITIES)):
        texts = column.texts
        if (
            column.name not in draft.taken
            and column.filled == draft.survey.rows
            and len(set(texts)) == len(texts)
            and max(map(len, texts)) <= _MAX_OWN_SKU_CHARACTERS
        ):
            draft.take("sku", [column])
            return True
    return False


def _sku_from(draft: _Draft) -> tuple[str, ...]:
    links = [column.name for column in _named(draft.survey, _LINKS)[:1]]
    names = (*draft.fields.get("brand", ()), *draft.fields["name"])
    return (*names, *(links or draft.fields.get("image_urls", ())[:1]))


def _take_others(draft: _Draft) -> None:
    for name in ("currency", "description", "brand", "category_path", "stock", "active"):
        wanted = [each for each in SYNONYMS[name] if normalised(each) not in _NOT_PROPOSED.get(name, set())]
        free = [column for column in _named(draft.survey, tuple(wanted)) if column.name not in draft.taken]
        fitting = [column for column in free if _fits(name, column)]
        if fitting:
            draft.take(name, fitting[:1])
    pictures = [
        column
        for column in draft.survey.columns.values()
        if column.name not in draft.taken and _PICTURE.search(column.name) and _has_addresses(column)
    ]
    if pictures:
        draft.take("image_urls", pictures)
        draft.fields["image_urls"] = tuple(map(_way_to_each, pictures))


def _way_to_each(column: Column) -> str:
    return column.root + column.name.removeprefix(column.root).replace(".0.", EACH)


def _fits(name: str, column: Column) -> bool:
    texts = column.texts
    if name == "currency":
        return all(currencies_of(text) for text in texts)
    if name == "stock":
        return all(re.fullmatch(r"\d+(\.0+)?", text.strip()) for text in texts)
    if name == "active":
        return all(text.strip().casefold() in ("true", "false", "1", "0") for text in texts)
    return not any(isinstance(value, dict) for value in column.values)


def _has_addresses(column: Column) -> bool:
    firsts = [value[0] if isinstance(value, list) else value for value in column.values]
    return sum(str(first).lower().startswith(("http://", "https://")) for first in firsts) >= _MOST * len(
        firsts
    )


def _price_rules(draft: _Draft, currency: str) -> PriceRules:
    values = [value for name in draft.fields["price"] for value in draft.survey.columns[name].values]
    texts = [value for value in values if isinstance(value, str)]
    parted = [split_price(text) for text in texts if _has_number(text)]
    decimal = decide_decimal_mark(number for number, _ in parted)
    words = [word for _, word in parted if word]
    # What a few prices say of themselves says nothing of the others.
    if not currency and words and len(words) >= _MOST * len(values):
        common = frozenset.intersection(*map(currencies_of, set(words)))
        currency = "USD" if "USD" in common else min(common) if len(common) == 1 else ""
    return PriceRules(currency or _currency_of_name(draft), decimal)


def _currency_of_name(draft: _Draft) -> str:
    """Read the currency in a column's name: `price_eur`, `Price (ILS)`, `price_usd`."""
    for name in draft.fields["price"]:
        for word in re.split(r"[^A-Za-z₪€£₹]+", name):
            if word.upper() in CODES or (
                len(word) == 1 and len(currencies_of(word)) == 1 and not word.isalpha()
            ):
                return min(currencies_of(word))
    return ""


def _with_the_rest(draft: _Draft, mapping: Mapping) -> Mapping:
    """Give each other column a place: an attribute, an object of attributes, or ignored for its length."""
    attributes, facts, ignored = {}, [], []
    for column in draft.survey.top():
        if column.name in draft.taken:
            continue
        if any(isinstance(value, dict) for value in column.values):
            facts.append(column.name)
        elif not column.filled or max(map(len, column.texts)) > _MAX_ATTRIBUTE_CHARACTERS:
            ignored.append(column.name)
        else:
            attributes[column.name.strip()[:100]] = column.name
    return replace(
        mapping,
        fields=draft.fields,
        attributes=attributes,
        facts=tuple(facts),
        ignored=tuple(ignored),
    )


def _slug(text: str) -> str:
    return (
        re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")[:_MAX_SUPPLIER_CHARACTERS].strip("-")
        or "supplier"
    )
