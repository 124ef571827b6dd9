"""What commands take for a method's name, and how a shell completes it."""

from deploy.local.errors import MeshError
from gateway.contract.model import Method
from gateway.find import MethodNotFound, find_method, read_contract


def find(name: str) -> Method:
    """Return the method that a name or a REST path means.

    Raises:
        MeshError: none has this name, or several have.
    """
    try:
        return find_method(read_contract(), name)
    except MethodNotFound as error:
        remedy = (
            "Name it like OrderService/PlaceOrder, PlaceOrder or POST /v1/orders; `mesh explain` lists all."
        )
        raise MeshError(f"{error}.", remedy) from error


def complete(incomplete: str) -> list[str]:
    """List the methods whose name, with or without its service, begins like this."""
    short = [method.name.rpartition(".")[2] for method in read_contract().methods]
    names = [*short, *(name.partition("/")[2] for name in short)]
    return [name for name in names if name.lower().startswith(incomplete.lower())]
