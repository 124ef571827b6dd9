"""Values of a file as texts and lists of texts."""

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

_PLACE = re.compile(r"\{(\w+)\}")
# Several addresses in one cell; what stands inside an address never parts it.
_BETWEEN_URLS = re.compile(r"[\s,;|]+(?=https?://)", re.IGNORECASE)


def fact_text(value: Any) -> str:
    """Write a fact as text: whole numbers without a fraction, no exponents, lists with commas."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return ", ".join(map(fact_text, _flat(value)))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, Decimal):
        return format(value.quantize(Decimal(1)) if _is_whole(value) else value, "f")
    return json.dumps(value, ensure_ascii=False, default=str)


def _flat(value: list[Any]) -> Iterator[Any]:
    """Yield what lists in lists hold; the file says how deep they are, so nothing here calls itself."""
    waiting = [iter(value)]
    while waiting:
        for each in waiting[-1]:
            if isinstance(each, list) and each:
                waiting.append(iter(each))
                break
            yield "" if isinstance(each, list) else each
        else:
            waiting.pop()


def _is_whole(value: Decimal) -> bool:
    # Past 28 digits there is nothing to tidy, and an exponent of millions must not be written out.
    return value.is_finite() and abs(value.adjusted()) <= 27 and value == value.to_integral_value()  # noqa: PLR2004


def facts_of(name: str, value: Any, template: str, *, is_object: bool) -> Iterator[tuple[str, str]]:
    """Yield the attributes that a column says: one, or those of an object; what says nothing is none."""
    if is_object and isinstance(value, dict):
        for key, each in value.items():
            if text := fact_text(each):
                yield str(key), text
    elif template and isinstance(value, list):
        texts = [_filled(template, each) for each in value if isinstance(each, dict)]
        if texts:
            yield name, ", ".join(texts)
    elif text := fact_text(value):
        yield name or "attributes", text


def _filled(template: str, values: dict[str, Any]) -> str:
    return _PLACE.sub(lambda match: fact_text(values.get(match[1])), template)


def list_of(value: Any, separator: str) -> list[str]:
    """Read a list: as JSON has it, or a text of parts; with no separator they are web addresses."""
    if isinstance(value, list):
        return [text for item in value if (text := fact_text(item).strip())]
    text = fact_text(value)
    parts = text.split(separator) if separator else _BETWEEN_URLS.split(text.strip())
    return [part.strip() for part in parts if part.strip()]
