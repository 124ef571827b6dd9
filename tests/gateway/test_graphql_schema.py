"""The schema says of a message what the contract does, all of it and nothing else."""

from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from graphql import GraphQLObjectType, assert_valid_schema, get_named_type, is_leaf_type

from gateway.app.graphql.schema import load_schema, methods
from gateway.contract.protoc import PROTOS
from gateway.generate import read_contract
from gateway.graphql import fields, sdl
from gateway.graphql.fields import RPCS
from gateway.graphql.sdl import SchemaError, schema_text
from services.rpc.policy import policies

SCHEMA, COSTS = load_schema()


def types() -> dict[str, GraphQLObjectType]:
    return {name: each for name, each in SCHEMA.type_map.items() if isinstance(each, GraphQLObjectType)}


def messages(answer: Descriptor) -> Iterator[Descriptor]:
    """The messages below an answer, which have types."""
    for field in answer.fields:
        kind = field.message_type
        if (
            kind is not None
            and kind.file.package == "commerce.product.v1"
            and not kind.GetOptions().map_entry
        ):
            yield kind
            yield from messages(kind)


ANSWERED = {each.full_name: each for method in methods() for each in messages(method.output_type)}


def test_the_schema_is_valid() -> None:
    assert_valid_schema(SCHEMA)


@pytest.mark.parametrize("name", sorted(ANSWERED))
def test_a_type_has_each_field_of_its_message_and_no_other_but_what_calls_answer(name: str) -> None:
    message = ANSWERED[name]
    found = set(types()[message.name].fields)
    related = {rpc.name for rpc in RPCS if rpc.parent == message.name}
    assert found == {each.json_name for each in message.fields} | related


def test_a_method_takes_what_its_request_has_but_for_masks_and_pages() -> None:
    for rpc in RPCS:
        if rpc.parent != "Query":
            continue
        [request] = [each.input_type for each in methods() if each.full_name == rpc.method.replace("/", ".")]
        named = {each.json_name for each in request.fields} - {"readMask"}
        if "pageSize" in named:
            named = named - {"pageSize", "pageToken"} | {"first", "after"}
        assert set(types()["Query"].fields[rpc.name].args) == named, rpc.name


def test_each_method_of_the_schema_reads_and_is_open_at_the_edge() -> None:
    """What a token opens there it opens here, and a query changes nothing."""
    contract = {f"/{each.name}": each for each in read_contract(PROTOS).methods}
    for rpc in RPCS:
        assert policies()["/" + rpc.method].exposed
        assert contract["/" + rpc.method].reads


def test_each_list_of_objects_says_how_long_it_may_be() -> None:
    """Else what is in it would be counted once."""
    sized = {name for rule in COSTS.rules.values() for name in rule.sized_fields}
    unsized = [
        f"{kind.name}.{name}"
        for kind in types().values()
        if not kind.name.startswith("__")
        for name, field in kind.fields.items()
        if "[" in str(field.type) and not is_leaf_type(get_named_type(field.type)) and name not in sized
        if not COSTS.rules[kind.name, name].list_size
    ]
    assert unsized == []


def test_a_list_whose_size_nobody_has_said_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {name: size for name, size in fields.LIST_SIZES.items() if not name.endswith("Facet.values")}
    monkeypatch.setattr(sdl, "LIST_SIZES", sizes)
    with pytest.raises(SchemaError, match=r"Facet\.values"):
        schema_text(read_contract(PROTOS))


def test_a_type_that_the_schema_has_no_name_for_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    scalars = {kind: name for kind, name in sdl._SCALARS.items() if kind != FieldDescriptor.TYPE_BOOL}
    monkeypatch.setattr(sdl, "_SCALARS", scalars)
    with pytest.raises(SchemaError):
        schema_text(read_contract(PROTOS))
