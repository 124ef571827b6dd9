"""What records of suppliers are compared by: words, numbers of models, GTINs. No I/O."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

# Of a text: more says nothing new of which product it is, and costs time in each comparison.
MAX_WORDS = 100
MAX_CODES = 12
# Of a description: what follows is about the brand and the warranty.
MAX_DESCRIPTION_CHARACTERS = 1_000
_ENTITY = re.compile(r"&#?[a-z0-9]{2,8};")
_PART = re.compile(r"[a-z]+|[0-9]+(?:\.[0-9]+)*|[^\W\d_a-z]+")
# Between white space: what may be the number of a model, with the marks that people put in or leave out.
_CHUNK = re.compile(r"[a-z0-9][a-z0-9./_-]*")
_MARKS = re.compile(r"[^a-z0-9]")
# "95w", "1080p", "5.8ghz": a size, which many products have.
_SIZE = re.compile(r"[0-9]+[a-z]{1,4}")
_CODE_LENGTHS = range(4, 41)
# As much of a code as must be equal: the rest may say the colour or the country.
CODE_BEGIN = 5
_LEAST_OF_PLURAL = 4
# Names of attributes, as plain letters.
_GTIN_NAMES = frozenset({"gtin", "gtin8", "gtin12", "gtin13", "gtin14", "ean", "ean13", "upc", "barcode"})
_MODEL_NAMES = frozenset({"model", "modelnumber", "modelno", "mpn", "manufacturerpartnumber", "partnumber"})
_GTIN_LENGTHS = (8, 12, 13, 14)


@dataclass(frozen=True)
class Offer:
    """What a supplier says of a product, as far as it tells which one it is."""

    name: str
    description: str
    brand: str
    # None: unknown. A price of zero says nothing either.
    price: Decimal | None
    currency: str
    gtin: str = ""
    model: str = ""


class Words:
    """An offer as it is compared and looked for."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        named = words_in(offer.name)
        self.title = frozenset(words_in(offer.brand)[:10] + named)
        # Words that one writes together and another apart.
        self.squeezed = "".join(named)
        self.numbers = frozenset(word for word in named if word[0].isdigit())
        self.codes = codes_in(f"{offer.name} {offer.model}")
        self._description = plain(offer.description[:MAX_DESCRIPTION_CHARACTERS])

    @cached_property
    def text(self) -> frozenset[str]:
        """All words, of the description too."""
        return self.title.union(words_in(self._description))

    @cached_property
    def all_codes(self) -> frozenset[str]:
        return self.codes.union(codes_in(self._description))

    @cached_property
    def trigrams(self) -> frozenset[str]:
        return frozenset(self.squeezed[place : place + 3] for place in range(len(self.squeezed) - 2))

    @cached_property
    def brand(self) -> str:
        return "".join(words_in(self.offer.brand))

    @cached_property
    def model(self) -> str:
        return _MARKS.sub("", plain(self.offer.model))

    @cached_property
    def keys(self) -> frozenset[str]:
        """What others that may be the same product are found by."""
        codes = {f"#{code}" for code in self.all_codes}
        begins = {f"~{code[:CODE_BEGIN]}" for code in self.all_codes if len(code) > CODE_BEGIN}
        return self.title | codes | begins | ({f"={self.offer.gtin}"} if self.offer.gtin else set())


def plain(text: str) -> str:
    """Lower case, no accents, no marks of trade."""
    text = unicodedata.normalize("NFKD", text.translate({0x2122: " ", 0xAE: " "})).lower()
    return _ENTITY.sub(" ", "".join(each for each in text if not unicodedata.combining(each)))


def words_in(text: str) -> list[str]:
    """Words, and numbers apart from the letters beside them; a plural as its singular."""
    return [_singular(part) for part in _PART.findall(plain(text).replace("'", ""))][:MAX_WORDS]


def codes_in(text: str) -> frozenset[str]:
    """Return what may be numbers of models: letters and digits together, or many digits, without marks."""
    found = (_MARKS.sub("", chunk) for chunk in _CHUNK.findall(plain(text)))
    return frozenset([code for code in found if _is_code(code)][:MAX_CODES])


def gtin_in(attributes: Mapping[str, str]) -> str:
    """Return the GTIN that attributes name, in 14 digits; empty where none has a right check digit."""
    for value in _named(attributes, _GTIN_NAMES):
        digits = re.sub(r"[\s-]", "", value)
        if digits.isascii() and digits.isdigit() and len(digits) in _GTIN_LENGTHS and _is_checked(digits):
            return digits.zfill(14)
    return ""


def model_in(attributes: Mapping[str, str]) -> str:
    """Return the number of the model that attributes name, or nothing."""
    return next((value.strip()[:100] for value in _named(attributes, _MODEL_NAMES) if value.strip()), "")


def _named(attributes: Mapping[str, str], names: frozenset[str]) -> Iterable[str]:
    return (attributes[key] for key in sorted(attributes) if _MARKS.sub("", plain(key)) in names)


def _is_checked(digits: str) -> bool:
    """Whether the last digit fits the others (GS1 General Specifications, 7.9), and one is not zero."""
    total = sum(int(digit) * (3, 1)[place % 2] for place, digit in enumerate(reversed(digits[:-1])))
    return total > 0 and (total + int(digits[-1])) % 10 == 0


def _is_code(code: str) -> bool:
    if len(code) not in _CODE_LENGTHS or not any(each.isdigit() for each in code):
        return False
    return len(code) >= CODE_BEGIN if code.isdigit() else not _SIZE.fullmatch(code)


def _singular(word: str) -> str:
    return (
        word[:-1]
        if len(word) >= _LEAST_OF_PLURAL and word.endswith("s") and not word.endswith("ss")
        else word
    )
