"""The contract as the compiler reads it: methods with their rules, roles, and where each rule stands.

Everything comes from a descriptor set, never from generated modules: those are what is being made.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet, MethodOptions
from google.protobuf.descriptor_pool import DescriptorPool

from gateway.contract.source import SourceLine, Sources

if TYPE_CHECKING:
    from commerce.policy.v1.policy_pb2 import Policy
    from google.api.http_pb2 import HttpRule

_AREA = re.compile(r"commerce\.(\w+)\.v\d+$")
POLICY, GRANT, HTTP = "commerce.policy.v1.policy", "commerce.policy.v1.grant", "google.api.http"
PERSONAL = "commerce.policy.v1.personal"
ROLE = "commerce.user.v1.Role"
# Whose calls a rate limit counts together.
PERSON, ADDRESS = "person", "client address"


@dataclass(frozen=True)
class Binding:
    """One REST path of a method: verb in capitals, template as written, body as in google.api.http."""

    verb: str
    template: str
    body: str

    @property
    def path_fields(self) -> tuple[str, ...]:
        """Name the request's fields that stand in the path, dotted."""
        return tuple(re.findall(r"{([\w.]+)[^}]*}", self.template))


@dataclass(frozen=True)
class Role:
    """A role and the scopes it carries."""

    name: str
    scopes: frozenset[str]
    place: SourceLine


@dataclass(frozen=True)
class Method:
    """One RPC and what the contract says of it; `policy` and `http` are None where it says nothing."""

    descriptor: MethodDescriptor
    policy: "Policy | None"
    http: "HttpRule | None"
    idempotency_level: int
    requires_request_id: bool
    comment: str
    sources: Sources

    @property
    def service(self) -> str:
        """Return the full name of its service: `commerce.order.v1.OrderService`."""
        return str(self.descriptor.containing_service.full_name)

    @property
    def name(self) -> str:
        """Return `commerce.order.v1.OrderService/PlaceOrder`."""
        return f"{self.service}/{self.descriptor.name}"

    @property
    def area(self) -> str:
        """Return the service of ours that answers it: `order`."""
        match = _AREA.match(self.descriptor.containing_service.file.package)
        return match[1] if match else ""

    @property
    def rules(self) -> "Policy":
        """Return the policy of a contract that has been checked."""
        if self.policy is None:
            raise ValueError(f"{self.name} has no policy")
        return self.policy

    @property
    def exposed(self) -> bool:
        """Tell whether the edge has a route to it."""
        return enum_name(self.rules, "edge") == "EDGE_EXPOSURE_EXPOSED"

    @property
    def access(self) -> str:
        """Return public, scoped or internal."""
        return self.rules.WhichOneof("access") or ""

    @property
    def ignores_token(self) -> bool:
        """Tell whether a token that is sent is not looked at."""
        return self.rules.public.ignores_token

    @property
    def limited_by(self) -> str:
        """Return whose calls its rate limit counts: PERSON, or ADDRESS where no token need be sent."""
        return ADDRESS if self.access == "public" else PERSON

    @property
    def repeatable(self) -> bool:
        """Tell whether any call may be repeated: by idempotency_level or a required request_id (AIP-155)."""
        return self.requires_request_id or self.idempotency_level != MethodOptions.IDEMPOTENCY_UNKNOWN

    @property
    def reads(self) -> bool:
        """Tell whether a call leaves everything as it was."""
        return self.idempotency_level == MethodOptions.NO_SIDE_EFFECTS

    @property
    def attempts(self) -> int:
        """Return the attempts in all, the first included."""
        return max(1, self.rules.max_attempts)

    @property
    def streams(self) -> bool:
        """Tell whether either side sends more than one message."""
        return bool(self.descriptor.client_streaming or self.descriptor.server_streaming)

    @property
    def deadline_seconds(self) -> float | None:
        """Return how long a call may take; None for a stream without an end of its own."""
        return seconds(self.rules.deadline) if self.rules.HasField("deadline") else None

    @property
    def idle_seconds(self) -> float:
        """Return how long a stream of it waits for its caller."""
        return seconds(self.rules.streams.idle)

    @property
    def bindings(self) -> tuple[Binding, ...]:
        """Return its REST paths, the first one first."""
        if self.http is None:
            return ()
        rules = [self.http, *self.http.additional_bindings]
        return tuple(_binding(rule) for rule in rules)

    def place(self, key: str = "") -> SourceLine:
        """Return the line of a key of its policy, else of the policy, else of the rpc."""
        number = _option_number(self.descriptor, POLICY)
        entry = self.sources.entry(str(self.descriptor.full_name), number, key) if key else None
        return entry or self._option_place(number)

    @property
    def http_place(self) -> SourceLine:
        """Return the line of its REST paths, else of the rpc."""
        return self._option_place(_option_number(self.descriptor, HTTP))

    @property
    def idempotency_place(self) -> SourceLine:
        """Return the line of its idempotency_level, else of the rpc."""
        return self._option_place(MethodOptions.IDEMPOTENCY_LEVEL_FIELD_NUMBER)

    def _option_place(self, number: int) -> SourceLine:
        full_name = str(self.descriptor.full_name)
        return self.sources.option(full_name, number) or self.sources.place(full_name)


class Contract:
    """A compiled descriptor set, read with the options it declares itself."""

    def __init__(self, image: bytes, protos: Path) -> None:
        self.image = image
        self.pool = DescriptorPool()
        files = FileDescriptorSet.FromString(image).file
        for file in files:
            self.pool.Add(file)
        self.ours = {file.name: file for file in files if file.package.startswith("commerce.")}
        self.sources = Sources(protos, self.ours)

    @cached_property
    def methods(self) -> tuple[Method, ...]:
        """Return every method of our services, by name."""
        return tuple(sorted(self._methods(), key=lambda method: method.name))

    @cached_property
    def exposed(self) -> tuple[Method, ...]:
        """Return the methods that the edge has routes to, by name."""
        return tuple(method for method in self.methods if method.exposed)

    @cached_property
    def roles(self) -> tuple[Role, ...]:
        """Return the roles and their scopes, as numbered."""
        try:
            enum = self.pool.FindEnumTypeByName(ROLE)
        except KeyError:
            return ()
        return tuple(
            Role(
                value.name,
                frozenset(self.option(value, "EnumValueOptions", GRANT).scopes),
                self.sources.place(f"{ROLE}.{value.name}"),
            )
            for value in enum.values
            if self.option(value, "EnumValueOptions", GRANT) is not None
        )

    def option(self, descriptor: Any, kind: str, name: str) -> Any:
        """Return an extension of a descriptor's options, or None where it is not set.

        Args:
            descriptor: Any descriptor of this contract.
            kind: The name of its options message, such as MethodOptions.
            name: The extension's full name.
        """
        try:
            extension: Any = self.pool.FindExtensionByName(name)
        except KeyError:
            return None
        kind_of_options = self.pool.FindMessageTypeByName(f"google.protobuf.{kind}")
        read = message_factory.GetMessageClass(kind_of_options)
        options = read.FromString(descriptor.GetOptions().SerializeToString())
        if extension.is_repeated:
            return options.Extensions[extension]
        return options.Extensions[extension] if options.HasExtension(extension) else None

    def field_option(self, field: FieldDescriptor, name: str) -> Any:
        """Return an extension of a field's options, or None where it is not set."""
        return self.option(field, "FieldOptions", name)

    def behaviors(self, field: FieldDescriptor) -> frozenset[str]:
        """Return a field's google.api.field_behavior (AIP-203), by name."""
        values = self.field_option(field, "google.api.field_behavior") or ()
        enum = self.pool.FindEnumTypeByName("google.api.FieldBehavior")
        return frozenset(enum.values_by_number[value].name for value in values)

    def is_personal(self, field: FieldDescriptor) -> bool:
        """Tell whether a field tells of a person."""
        return bool(self.field_option(field, PERSONAL))

    def comment(self, descriptor: Any) -> str:
        """Return what the contract says above a name."""
        return self.sources.comment(str(descriptor.full_name))

    @cached_property
    def messages(self) -> tuple[Descriptor, ...]:
        """Return the messages of our files that stand in no other message, as written."""
        files = (self.pool.FindFileByName(name) for name in self.ours)
        return tuple(message for file in files for message in file.message_types_by_name.values())

    def message(self, full_name: str) -> Descriptor:
        """Return a message by its full name."""
        return self.pool.FindMessageTypeByName(full_name)

    def _methods(self) -> Iterator[Method]:
        for name in self.ours:
            for service in self.pool.FindFileByName(name).services_by_name.values():
                for method in service.methods:
                    yield self._read(method)

    def _read(self, method: MethodDescriptor) -> Method:
        return Method(
            descriptor=method,
            policy=self.option(method, "MethodOptions", POLICY),
            http=self.option(method, "MethodOptions", HTTP),
            idempotency_level=method.GetOptions().idempotency_level,
            requires_request_id=self._requires_request_id(method),
            comment=self.sources.comment(str(method.full_name)),
            sources=self.sources,
        )

    def _requires_request_id(self, method: MethodDescriptor) -> bool:
        field = method.input_type.fields_by_name.get("request_id")
        return field is not None and "REQUIRED" in self.behaviors(field)


def seconds(duration: Any) -> float:
    """Return a google.protobuf.Duration as seconds."""
    return float(duration.seconds) + float(duration.nanos) / 1e9


def enum_name(message: Any, field: str) -> str:
    """Return the name of the value that a message has in an enum field."""
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    return str(enum.values_by_number[getattr(message, field)].name)


def _option_number(method: MethodDescriptor, name: str) -> int:
    """Return the field number of an option; 0, which no field has, where no file declares it."""
    try:
        return int(method.containing_service.file.pool.FindExtensionByName(name).number)
    except KeyError:
        return 0


def _binding(rule: "HttpRule") -> Binding:
    verb = rule.WhichOneof("pattern") or ""
    if verb == "custom":
        return Binding(rule.custom.kind, rule.custom.path, rule.body)
    return Binding(verb.upper(), getattr(rule, verb), rule.body)
