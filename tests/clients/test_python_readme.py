"""The code in the README of the client for Python runs, and does what the text beside it says."""

import re
from textwrap import indent
from typing import Any

import commerce_mesh_client as client
import pytest

from services.errors import NotFound, PositionUnknown
from tests.clients.conftest import PACKAGE
from tests.support.net import PRODUCT_ID, Net

BLOCKS = re.findall(
    r"^```python\n(.*?)^```$", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.M | re.S
)


async def run(block: str, net: Net, ports: dict[str, int], **names: Any) -> None:
    """Run a block inside a coroutine, where it stands for part of one, against servers of the plumbing."""
    files = net.authority.files("operator")
    written = {'"ca.crt"': files.ca, '"tls.crt"': files.cert, '"tls.key"': files.key}
    for text, path in written.items():
        block = block.replace(text, repr(str(path)))
    for address, port in ports.items():
        block = block.replace(address, f"127.0.0.1:{port}")
    scope = dict(names)
    exec(f"async def run():\n{indent(block, '    ')}", scope)  # noqa: S102  the README's own words
    await scope["run"]()


def raising(error: Exception) -> Any:
    async def refuse(*_: Any) -> Any:
        raise error

    return refuse


@pytest.mark.any_reason
async def test_first_block_calls_and_tells_of_a_refusal(net: Net, capsys: pytest.CaptureFixture[str]) -> None:
    server = await net.start("product", GetProduct=raising(NotFound("no such product")))
    await run(BLOCKS[0], net, {"localhost:50052": server.port}, product_id=PRODUCT_ID)
    assert capsys.readouterr().out.startswith("NOT_FOUND {} () None ")


async def test_second_block_follows(net: Net) -> None:
    async def follow(*_: Any) -> Any:
        raise PositionUnknown("past the head")
        yield

    server = await net.start("order", Follow=follow)
    files = net.authority.files("operator")
    identity = client.Identity.from_files(files.ca, files.cert, files.key)
    names = {"connect": client.connect, "identity": identity, "position": 7}
    with pytest.raises(client.OutOfRange) as raised:
        await run(BLOCKS[1], net, {"localhost:50053": server.port}, **names)
    assert raised.value.reason == "POSITION_UNKNOWN"


def test_readme_has_no_other_code() -> None:
    assert len(BLOCKS) == 2
