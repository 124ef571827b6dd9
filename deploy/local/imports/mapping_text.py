"""A mapping as the small file that people edit, with samples of each column beside its line."""

import json
from collections.abc import Iterable

from deploy.local.imports.mapping import FileRules, Mapping
from deploy.local.imports.records import shown
from deploy.local.imports.routes import EACH
from deploy.local.imports.survey import Survey
from deploy.local.terminal import harmless

_SAMPLES = 2


def mapping_text(mapping: Mapping, survey: Survey, encoding: str) -> str:
    """Write a mapping in TOML, with what is worth a look as comments."""
    lines = [
        f"# How {harmless(shown(mapping.name))} becomes products. Each line may be edited.",
        "",
        "# Begins each sku: no supplier's products meet another's. Empty: the skus are the shop's own.",
        _line("supplier", mapping.supplier),
        "# Of prices that say none. Empty: such rows are refused.",
        _line("currency", mapping.prices.currency),
        "# What begins decimals in texts, '.' or ','. Empty: a number that can be read two ways is refused.",
        _line("decimal", mapping.prices.decimal),
        _line("encoding", encoding),
        *_file_lines(mapping.file),
    ]
    if mapping.sku_from:
        lines += [
            "# No column numbers the rows: a sku is made from these.",
            _line("sku_from", mapping.sku_from),
        ]
    if mapping.facts:
        lines += ["# Objects of attributes.", _line("facts", mapping.facts)]
    lines += ["# Columns that are left out.", _line("ignored", mapping.ignored), "", "[fields]"]
    for name, columns in mapping.fields.items():
        named = columns[0] if len(columns) == 1 else columns
        lines.append(_line(name, named) + _samples(survey, columns))
    lines += ["", "# Attributes of the product, each with its column.", "[attributes]"]
    for name, column in mapping.attributes.items():
        lines.append(_line(_quoted(name), column) + _samples(survey, [column]))
    lines += ["", "[constants]", "# Units of new products whose row says nothing."]
    if "stock" not in mapping.fields and not mapping.stock:
        lines.append("# No column looks like stock: every new product will be out of stock.")
    return "\n".join([*lines, _line("stock", mapping.stock)]) + "\n"


def _file_lines(rules: FileRules) -> list[str]:
    lines = []
    if rules.dialect:
        dialect = rules.dialect
        said = {"separator": dialect.separator, "quote": dialect.quote, "escape": dialect.escape}
        lines += [_line(key, value) for key, value in said.items()]
    if rules.header_line > 1:
        lines += ["# The line of the columns' names; what stands above it is left out."]
        lines += [_line("header_line", rules.header_line)]
    if rules.records is not None:
        lines += ["# Where the products stand in the document.", _line("records", rules.records)]
    return lines


def _line(key: str, value: str | int | Iterable[str]) -> str:
    if isinstance(value, int):
        return f"{key} = {value}"
    written = _quoted(value) if isinstance(value, str) else f"[{', '.join(map(_quoted, value))}]"
    return f"{key} = {written}"


def _quoted(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _samples(survey: Survey, columns: Iterable[str]) -> str:
    names = [name.replace(EACH, ".0.") for name in columns]
    texts = [text for name in names if name in survey.columns for text in survey.columns[name].texts[:50]]
    unlike = list(dict.fromkeys(texts))[:_SAMPLES]
    return f"  # {', '.join(_quoted(shown(text)[:40]) for text in unlike)}" if unlike else ""
