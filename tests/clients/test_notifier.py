"""What the notifier does about a product whose name it cannot ask for, against a server of the plumbing."""

import runpy
from collections.abc import Callable
from typing import Any

import commerce_mesh_client as client
import pytest
from commerce.order.v1 import order_pb2
from commerce.product.v1 import product_pb2

from services.errors import Code, UpstreamError
from tests.clients.callers import identity_of
from tests.conftest import ROOT
from tests.support.net import PRODUCT_ID, Net

# What the peers here refuse with is their own.
pytestmark = pytest.mark.any_reason

LINE = order_pb2.OrderLine(product_id=PRODUCT_ID, name="as it was ordered")
NOTIFIER = ROOT / "examples" / "notifier" / "notifier.py"


def refusing_first(code: Code, calls: list[Code]) -> Callable[..., Any]:
    async def answer(*_: Any) -> product_pb2.Product:
        calls.append(code)
        if len(calls) == 1:
            raise UpstreamError(code, "TOLD", "no")
        return product_pb2.Product(name="as it is now")

    return answer


async def name_of(net: Net, get_product: Callable[..., Any]) -> str:
    server = await net.start("product", GetProduct=get_product)
    identity = identity_of(net.authority.files("operator"))
    async with client.connect("product", f"127.0.0.1:{server.port}", identity=identity) as products:
        return str(await runpy.run_path(str(NOTIFIER))["name_of"](products, LINE))


@pytest.mark.parametrize("code", [Code.ABORTED, Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED])
async def test_what_may_pass_is_asked_again(net: Net, code: Code) -> None:
    calls: list[Code] = []
    assert await name_of(net, refusing_first(code, calls)) == "as it is now"
    assert len(calls) == 2


@pytest.mark.parametrize(
    "code", [Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED, Code.INTERNAL, Code.NOT_FOUND, Code.UNKNOWN]
)
async def test_what_no_attempt_mends_leaves_the_name_of_the_order(net: Net, code: Code) -> None:
    calls: list[Code] = []
    assert await name_of(net, refusing_first(code, calls)) == "as it was ordered"
    assert len(calls) == 1


@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.UNAUTHENTICATED])
async def test_notifier_that_may_not_ask_ends(net: Net, code: Code) -> None:
    with pytest.raises(client.CallError) as raised:
        await name_of(net, refusing_first(code, []))
    assert raised.value.code.name == code.value
