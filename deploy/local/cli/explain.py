"""Methods and reasons of the contract, explained: `mesh explain`."""

import sys

from deploy.local.cli.methods import find
from deploy.local.errors import MeshError
from gateway.explain import explain_method, table
from gateway.find import read_contract
from gateway.reasons import explain_reason, find_reason, near_reasons


def explain(name: str | None) -> None:
    """Print the rules of a method, what a reason means, or a table of all methods."""
    if name is not None:
        sys.stdout.write(f"{_explained(name)}\n")
        return
    for row in table(read_contract()):
        sys.stdout.write("{:<41} {:<46} {}\n".format(*row))


def _explained(name: str) -> str:
    reason = find_reason(read_contract(), name)
    if reason is not None:
        return explain_reason(read_contract(), reason)
    if near := near_reasons(read_contract(), name):
        raise MeshError(f"There is no reason {name}.", f"Near it: {', '.join(near)}.")
    return str(explain_method(read_contract(), find(name)))
