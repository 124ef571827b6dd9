"""protovalidate rules as JSON Schema (2020-12), as far as JSON Schema can say them."""

import re
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from gateway.contract.model import Contract, enum_name
from gateway.proto_json import Json

RULES = "buf.validate.field"
UUID_PATTERN = "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_STRING_KEYS = {"min_len": "minLength", "max_len": "maxLength", "pattern": "pattern"}
_NUMBER_KEYS = {"gte": "minimum", "gt": "exclusiveMinimum", "lte": "maximum", "lt": "exclusiveMaximum"}
_LIST_KEYS = {"min_items": "minItems", "max_items": "maxItems"}
_MAP_KEYS = {"min_pairs": "minProperties", "max_pairs": "maxProperties"}
_SMALL_NUMBERS = ("int32", "uint32", "sint32", "fixed32", "sfixed32", "float", "double")

# Parts of CEL expressions over a message, joined by &&, that JSON Schema can say too.
_MATCHES = re.compile(r"this\.(\w+)\.matches\('(.*)'\)$")
_EMAIL = re.compile(r"this\.(\w+)\.isEmail\(\)$")
_SIZE_AT_MOST = re.compile(r"size\(this\.(\w+)\) <= (\d+)$")
_BOUND = re.compile(r"this\.(\w+) (>=|<=) (-?\d+)$")
_PRESENT = re.compile(r"this\.(\w+) != ''$|has\(this\.(\w+)\)$")
_ABSENT = re.compile(r"this\.(\w+) == ''$|!has\(this\.(\w+)\)$|size\(this\.(\w+)\) == 0$|!this\.(\w+)$")


def constraints(contract: Contract, field: FieldDescriptor) -> Json:
    """Return the JSON Schema keywords that a field's rules amount to."""
    rules = contract.field_option(field, RULES)
    if rules is None or enum_name(rules, "ignore") == "IGNORE_ALWAYS":
        return {}
    found = _kind_constraints(rules)
    may_be_empty = enum_name(rules, "ignore") == "IGNORE_IF_ZERO_VALUE"
    if may_be_empty and "pattern" in found:
        found["pattern"] = f"^$|{found['pattern']}"
        found.pop("format", None)
    if may_be_empty and "enum" in found:
        found["enum"] = ["", *found["enum"]]
    return found


def item_constraints(contract: Contract, field: FieldDescriptor, part: str) -> Json:
    """Return the keywords for a list's `items`, or a map's `keys` or `values`."""
    rules = contract.field_option(field, RULES)
    if rules is None or enum_name(rules, "ignore") == "IGNORE_ALWAYS":
        return {}
    holder = rules.repeated if part == "items" else rules.map
    return _kind_constraints(getattr(holder, part))


def excluded_values(contract: Contract, field: FieldDescriptor) -> frozenset[int]:
    """Return the enum values that a field refuses."""
    rules = contract.field_option(field, RULES)
    if rules is None:
        return frozenset()
    chosen = rules.repeated.items.enum if field.is_repeated else rules.enum
    return frozenset(chosen.not_in)


def rule_messages(contract: Contract, field: FieldDescriptor) -> list[str]:
    """Return the rules that are written as expressions, in their own words."""
    rules = contract.field_option(field, RULES)
    return [rule.message for rule in rules.cel if rule.message] if rules is not None else []


def refinement(contract: Contract, field: FieldDescriptor, offered: frozenset[str]) -> Json:
    """Return what a message field's expressions add to its message's schema; empty for nothing.

    Args:
        contract: The contract.
        field: A field that holds a message.
        offered: JSON names of the message's properties in this place; others are left alone.
    """
    rules = contract.field_option(field, RULES)
    if rules is None or field.message_type is None:
        return {}
    properties: dict[str, Json] = {}
    required: set[str] = set()
    for rule in rules.cel:
        for clause in rule.expression.split(" && "):
            _add_clause(clause, field.message_type, properties, required)
    known = {name: schema for name, schema in sorted(properties.items()) if name in offered and schema}
    found: Json = {"properties": known} if known else {}
    if needed := sorted(required & offered):
        found["required"] = needed
    return found


def _add_clause(clause: str, message: Descriptor, properties: dict[str, Json], required: set[str]) -> None:
    for pattern, keywords in (
        (_MATCHES, lambda m: {"pattern": m[2]}),
        (_EMAIL, lambda m: {"format": "email"}),
        (_SIZE_AT_MOST, lambda m: {"maxLength": int(m[2])}),
        (_BOUND, lambda m: {"minimum" if m[2] == ">=" else "maximum": int(m[3])}),
        (_PRESENT, lambda m: {}),
        (_ABSENT, lambda m: {}),
    ):
        match = pattern.fullmatch(clause)
        field = _named(match, message) if match else None
        if match is None or field is None:
            continue
        schema = properties.setdefault(field.json_name, {})
        if pattern is _ABSENT:
            schema.update(_empty(field))
        elif pattern is _PRESENT:
            required.add(field.json_name)
            schema.update({"minLength": 1} if field.message_type is None else {})
        elif pattern is not _BOUND or _is_number(field):
            schema.update(keywords(match))


def _named(match: re.Match[str], message: Descriptor) -> FieldDescriptor | None:
    names = [group for group in match.groups() if group in message.fields_by_name]
    return message.fields_by_name[names[0]] if names else None


def _empty(field: FieldDescriptor) -> Json:
    if field.is_repeated:
        return {"maxItems": 0}
    return {"maxLength": 0} if field.message_type is None else {}


def _is_number(field: FieldDescriptor) -> bool:
    return field.cpp_type in {FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32}


def _kind_constraints(rules: Any) -> Json:
    kind = rules.WhichOneof("type")
    if kind == "string":
        return _string(rules.string)
    if kind in _SMALL_NUMBERS:
        return _renamed(getattr(rules, kind), _NUMBER_KEYS)
    if kind == "repeated":
        found = _renamed(rules.repeated, _LIST_KEYS)
        return {**found, "uniqueItems": True} if rules.repeated.unique else found
    if kind == "map":
        return _renamed(rules.map, _MAP_KEYS)
    return {}


def _string(rules: Any) -> Json:
    found = _renamed(rules, _STRING_KEYS)
    if values := list(getattr(rules, "in")):
        found["enum"] = values
    known = rules.WhichOneof("well_known")
    if known == "uuid":
        found |= {"format": "uuid", "pattern": UUID_PATTERN}
    elif known in {"email", "uri"}:
        found["format"] = known
    return found


def _renamed(rules: Any, keys: dict[str, str]) -> Json:
    present = {field.name for field, _ in rules.ListFields()}
    return {keyword: getattr(rules, key) for key, keyword in keys.items() if key in present}
