"""What the pages add, tried through the edge of a real mesh: `python -m tests.docs.trial`, in a copy.

Its own process: what runs here is the copy, and what runs the tests is the tree.
"""

import json

from deploy.local.shop import rest
from tests.support.stack import Stack, running_stack

_PRODUCT = {
    "sku": "HEAVY",
    "name": "An anvil",
    "price": {"currencyCode": "EUR", "units": "90"},
    "active": True,
    "weightGrams": 12_000,
}


def main() -> None:
    """Start a mesh from nothing; fail where one of the pages does not do what it says."""
    with running_stack(seed=False) as mesh:
        product_id = try_field(mesh)
        try_rpc(mesh, product_id)
        try_service(mesh)


def try_field(mesh: Stack) -> str:
    """Set the field over REST and read it as a stranger; return the product's id."""
    products, merchant = f"{mesh.rest_url}/v1/products", mesh.token("merchant")
    created = rest.call("POST", products, {"product": _PRODUCT}, token=merchant)
    assert created["weightGrams"] == 12_000, created
    one = f"{products}/{created['productId']}"
    rest.call("PATCH", f"{one}?updateMask=weightGrams", {"weightGrams": 900}, token=merchant)
    assert rest.call("GET", one)["weightGrams"] == 900
    assert refusal("PATCH", one, {"weightGrams": -1}, merchant) == (400, "INVALID_REQUEST")
    return str(created["productId"])


def try_rpc(mesh: Stack, product_id: str) -> None:
    """Call the method with and without a token."""
    url = f"{mesh.rest_url}/v1/products/{product_id}/stock/movements:count"
    assert rest.call("GET", url, token=mesh.token("merchant")) == {"movementCount": 0}
    assert refusal("GET", url) == (401, "TOKEN_MISSING")


def try_service(mesh: Stack) -> None:
    """Call the service through the edge, and see that it is a part like the others."""
    url = f"{mesh.rest_url}/v1/shipping:quote?weightGrams="
    assert rest.call("GET", f"{url}900")["upToGrams"] == 1000
    assert refusal("GET", f"{url}40000") == (400, "PARCEL_TOO_HEAVY")
    parts = {part["name"]: part for part in json.loads(mesh.mesh("status", "--json").stdout)["parts"]}
    assert parts["shipping"]["healthy"], parts


def refusal(
    verb: str, url: str, body: dict[str, object] | None = None, token: str | None = None
) -> tuple[int, str]:
    """Return the status and the reason that a call is refused with."""
    try:
        answer = rest.call(verb, url, body, token=token)
    except rest.RestError as error:
        return error.status, error.reason
    raise AssertionError(f"{verb} {url} was not refused: {answer}")


if __name__ == "__main__":
    main()
