"""The contract's catalogue of reasons for people: generated/reasons.md, and `mesh explain REASON`."""

import difflib
from collections.abc import Iterator

from gateway.contract.model import Contract, Method
from gateway.contract.reasons import Reason, catalogue, methods_of

_ABOUT = """# Why calls are refused

Compiled from `protos/commerce/policy/v1/reason.proto` and the methods' policies by `make generate`.

Every refusal carries a `google.rpc.Status` whose details begin with an ErrorInfo: its `reason` is one of
these and stays as it is. Decide by the reason; the message is for people and may change. The table in
`docs/rest.md` says which HTTP status a code has over REST. `mesh explain REASON` prints one of these,
`mesh explain METHOD` those of a method.
"""
_SUGGESTIONS = 5
_KINDS = {
    "EVERYWHERE": "Any method",
    "EXPOSED": "Any method at the edge",
    "SCOPED": "Any method that needs a token",
    "INTERNAL": "Any method that services call",
    "STREAMS": "Any stream",
    "PAGES": "Any method whose request has a `page_token`",
    "ETAGS": "Any method whose request has an `etag` or an `update_mask`",
    "REQUEST_IDS": "Any method whose request has a `request_id`",
    "WRITES": "Any method that changes something",
    "GRAPHQL": "The path `/graphql`",
}


def page(contract: Contract) -> str:
    """Return the whole page, in Markdown."""
    reasons = catalogue(contract)
    shared = [reason for reason in reasons if reason.kind]
    own = [reason for reason in reasons if not reason.kind]
    parts = [_ABOUT, "## Of methods of a kind\n", *_table(contract, shared)]
    return "\n".join([*parts, "\n## Of single methods\n", *_table(contract, own), ""])


def explain_reason(contract: Contract, reason: Reason) -> str:
    """Return what a reason means, as text."""
    given_by = _given_by(contract, reason)
    return "\n".join(
        [
            f"{reason.name}  {reason.code}  ({reason.place})",
            f"  when      {reason.when}",
            f"  help      {reason.help}",
            f"  given by  {given_by.replace('`', '')}",
        ]
    )


def near_reasons(contract: Contract, name: str) -> list[str]:
    """Name the reasons that one which does not exist is near to."""
    names = [reason.name for reason in catalogue(contract)]
    return difflib.get_close_matches(name.strip().upper(), names, n=_SUGGESTIONS, cutoff=0.7)


def find_reason(contract: Contract, name: str) -> Reason | None:
    """Return the reason of this name; None where there is none."""
    return next((reason for reason in catalogue(contract) if reason.name == name.strip().upper()), None)


def _table(contract: Contract, reasons: list[Reason]) -> Iterator[str]:
    yield "| Reason | Code | When | What helps | Given by |"
    yield "|---|---|---|---|---|"
    for reason in reasons:
        given_by = _given_by(contract, reason)
        yield f"| `{reason.name}` | {reason.code} | {reason.when} | {reason.help} | {given_by} |"


def _given_by(contract: Contract, reason: Reason) -> str:
    named = [_short(method) for method in methods_of(contract, reason)]
    if not reason.kind:
        return ", ".join(named)
    return _KINDS[reason.kind]


def _short(method: Method) -> str:
    return method.name.rpartition(".")[2]
