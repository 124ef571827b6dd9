"""Messages as JSON Schema (2020-12), as the transcoder writes and reads them (proto3 JSON mapping)."""

from collections.abc import Collection
from enum import Enum

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from gateway.contract.model import Contract
from gateway.openapi.rules import constraints, excluded_values, item_constraints, refinement, rule_messages
from gateway.proto_json import Json


class Use(Enum):
    """What a schema is for; its value ends the schema's name."""

    # What callers get: every field is there, except messages that are not set.
    ANSWER = ""
    # What callers send: without what the server owns.
    INPUT = "Input"
    # What callers send to change something: also without what cannot change, and nothing is required.
    PATCH = "Patch"


# By google.api.field_behavior (AIP-203).
_ALWAYS_THERE = frozenset({"OUTPUT_ONLY", "REQUIRED"})
_INTEGER_64 = r"^-?[0-9]{1,20}$"
_SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SINT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_SFIXED32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "minimum": 0},
    FieldDescriptor.TYPE_FIXED32: {"type": "integer", "minimum": 0},
}
_STRING_64: Json = {"type": "string", "format": "int64", "pattern": _INTEGER_64}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
    "google.protobuf.Any": {
        "type": "object",
        "description": "A message; `@type` names it.",
        "properties": {"@type": {"type": "string"}},
        "required": ["@type"],
        "additionalProperties": True,
    },
}


class Schemas:
    """Makes the schemas that a document refers to, each once."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.components: dict[str, Json] = {}

    def reference(self, message: Descriptor, use: Use, *, without: Collection[str] = ()) -> Json:
        """Return a reference to a message's schema, and make the schema if it is the first.

        Args:
            message: A message that is not one of the well-known ones.
            use: What the schema is for.
            without: Names of fields to leave out: they stand in the path.
        """
        name = _component_name(message, use)
        if name not in self.components:
            self.components[name] = {}
            self.components[name] = self._object(message, use, without)
        return {"$ref": f"#/components/schemas/{name}"}

    def field(self, field: FieldDescriptor, use: Use) -> Json:
        """Return the schema of one field, with its rules where callers send it."""
        schema = self._shape(field, use)
        if use is Use.ANSWER:
            schema |= self._form(field)
        else:
            schema = self._with_rules(schema, field, use)
        if self._contract.is_personal(field):
            schema = {**schema, "x-personal": True}
        return self._described(schema, field, use)

    def body(self, field: FieldDescriptor, use: Use, without: Collection[str]) -> Json:
        """Return the schema of a message field that is a whole body."""
        if field.message_type is None:
            raise ValueError(f"{field.full_name} holds no message and cannot be a body")
        schema = self.reference(field.message_type, use, without=without)
        return self._with_rules(schema, field, use)

    def rules_below(self, holder: FieldDescriptor, field: FieldDescriptor) -> Json:
        """Return what the expressions of a message field say of one field in it."""
        added = refinement(self._contract, holder, frozenset({field.json_name}))
        found: Json = added.get("properties", {}).get(field.json_name, {})
        return found

    def _object(self, message: Descriptor, use: Use, without: Collection[str]) -> Json:
        fields = [
            field for field in message.fields if field.name not in without and self._offered(field, use)
        ]
        schema: Json = {"type": "object"}
        if comment := self._contract.comment(message):
            schema["description"] = comment
        schema["properties"] = {field.json_name: self.field(field, use) for field in fields}
        if required := [field.json_name for field in fields if self._required(field, use)]:
            schema["required"] = required
        return schema

    def _offered(self, field: FieldDescriptor, use: Use) -> bool:
        behaviors = self._contract.behaviors(field)
        if use is Use.ANSWER:
            return "INPUT_ONLY" not in behaviors
        return "OUTPUT_ONLY" not in behaviors and not (use is Use.PATCH and "IMMUTABLE" in behaviors)

    def _required(self, field: FieldDescriptor, use: Use) -> bool:
        behaviors = self._contract.behaviors(field)
        if use is Use.ANSWER:
            # An `optional` field is the one member of a oneof that protoc makes for it.
            if field.containing_oneof is not None:
                return False
            # What we own, or were given with certainty, is always there.
            return field.is_repeated or not field.has_presence or not behaviors.isdisjoint(_ALWAYS_THERE)
        return use is Use.INPUT and "REQUIRED" in behaviors

    def _shape(self, field: FieldDescriptor, use: Use) -> Json:
        message = field.message_type
        if message is not None and message.GetOptions().map_entry:
            return {"type": "object", "additionalProperties": self._one(message.fields_by_name["value"], use)}
        one = self._one(field, use)
        return {"type": "array", "items": one} if field.is_repeated else one

    def _one(self, field: FieldDescriptor, use: Use) -> Json:
        if field.message_type is not None:
            known = _WELL_KNOWN.get(str(field.message_type.full_name))
            return dict(known) if known else self._message(field, field.message_type, _nested(use))
        if field.enum_type is not None:
            return self._enum(field, field.enum_type, use)
        return dict(_SCALARS.get(field.type, _STRING_64))

    def _enum(self, field: FieldDescriptor, enum: EnumDescriptor, use: Use) -> Json:
        refused = frozenset[int]() if use is Use.ANSWER else excluded_values(self._contract, field)
        name = f"{enum.name}{Use.INPUT.value if refused else Use.ANSWER.value}"
        self._keep(name, self._named_values(enum, refused))
        return {"$ref": f"#/components/schemas/{name}"}

    def _named_values(self, enum: EnumDescriptor, refused: Collection[int]) -> Json:
        values = [value for value in enum.values if value.number not in refused]
        path = str(enum.full_name)
        notes = [(value.name, self._contract.sources.comment(f"{path}.{value.name}")) for value in values]
        lines = [self._contract.comment(enum), *(f"{name}: {note}" for name, note in notes if note)]
        schema: Json = {"type": "string", "enum": [value.name for value in values]}
        text = "\n".join(line for line in lines if line)
        return {**schema, "description": text} if text else schema

    def _keep(self, name: str, schema: Json) -> None:
        if self.components.setdefault(name, schema) != schema:
            raise ValueError(f"two schemas would be called {name}")

    def _form(self, field: FieldDescriptor) -> Json:
        """Return what is certain about a text that we answer."""
        if field.type != FieldDescriptor.TYPE_STRING or field.is_repeated:
            return {}
        known = constraints(self._contract, field)
        if "pattern" in known or not field.name.endswith("_id"):
            return {key: known[key] for key in ("format", "pattern") if key in known}
        return {"format": "uuid"}

    def _with_rules(self, schema: Json, field: FieldDescriptor, use: Use) -> Json:
        if field.message_type is not None and "$ref" in schema:
            return self._refined(schema, field)
        schema = {**schema, **constraints(self._contract, field)}
        if "additionalProperties" in schema:
            schema["propertyNames"] = item_constraints(self._contract, field, "keys")
            schema["additionalProperties"] = {
                **schema["additionalProperties"],
                **item_constraints(self._contract, field, "values"),
            }
        elif field.is_repeated and "$ref" not in schema["items"]:
            schema["items"] = {**schema["items"], **item_constraints(self._contract, field, "items")}
        return schema

    def _refined(self, schema: Json, field: FieldDescriptor) -> Json:
        """Add what is asked of a message in this place, unless it was made for this place."""
        if field.message_type is not None and schema == _new(field.message_type):
            return schema
        offered = frozenset(self.components[schema["$ref"].rpartition("/")[2]].get("properties", ()))
        added = refinement(self._contract, field, offered)
        return {"allOf": [schema, added]} if added else schema

    def _message(self, field: FieldDescriptor, message: Descriptor, use: Use) -> Json:
        """Refer to a message; where some of its fields may not stand in this place, to one without them."""
        added = refinement(self._contract, field, frozenset(each.json_name for each in message.fields))
        asked = {} if use is Use.ANSWER else added.get("properties", {})
        barred = {name for name, each in asked.items() if 0 in (each.get("maxLength"), each.get("maxItems"))}
        if not barred:
            return self.reference(message, use)
        without = [each.name for each in message.fields if each.json_name in barred]
        schema = self._object(message, use, without)
        properties = {name: {**each, **asked.get(name, {})} for name, each in schema["properties"].items()}
        required = {*schema.get("required", ()), *added.get("required", ())} & properties.keys()
        self._keep(f"New{message.name}", {**schema, "properties": properties, "required": sorted(required)})
        return _new(message)

    def _described(self, schema: Json, field: FieldDescriptor, use: Use) -> Json:
        notes = [self._contract.comment(field)]
        if use is not Use.ANSWER:
            notes += [f"Rule: {message}." for message in rule_messages(self._contract, field)]
        notes.append(schema.get("description", ""))
        text = "\n".join(note for note in notes if note)
        return {**schema, "description": text} if text else schema


def _component_name(message: Descriptor, use: Use) -> str:
    name = str(message.name)
    return name if name.endswith("Request") else name + use.value


def _new(message: Descriptor) -> Json:
    return {"$ref": f"#/components/schemas/New{message.name}"}


def _nested(use: Use) -> Use:
    """Give a message inside a change as a whole."""
    return Use.INPUT if use is Use.PATCH else use
