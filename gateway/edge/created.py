"""Which REST calls make what a GET reads: they answer 201 and say where it is (RFC 9110, 15.3.2)."""

from dataclasses import dataclass

from gateway.contract.model import Binding, Contract, Method


@dataclass(frozen=True)
class Created:
    """What a POST on a collection makes.

    Args:
        collection: Its path, which the resource's begins with: `/v1/orders`.
        field: The field of the answer that the resource's path ends with, as JSON spells it: `orderId`.
        template: The path of the resource, as the contract writes it: `/v1/orders/{order_id}`.
    """

    collection: str
    field: str
    template: str


def created(contract: Contract, method: Method, binding: Binding) -> Created | None:
    """Tell what a REST path creates: a POST on a collection that answers as GET of one of its resources does.

    The resource's id must be the answer's first field, so that it stands first in JSON too.
    """
    if binding.verb != "POST" or binding.path_fields or ":" in binding.template:
        return None
    answer = method.descriptor.output_type
    for read in contract.exposed:
        if read.descriptor.output_type is not answer:
            continue
        for path in read.bindings:
            field = answer.fields_by_number.get(1)
            if field and path.verb == "GET" and path.template == f"{binding.template}/{{{field.name}}}":
                return Created(binding.template, str(field.json_name), path.template)
    return None
