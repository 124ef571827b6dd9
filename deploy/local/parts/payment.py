"""The payment sandbox of a mesh that has no provider of its own."""

from functools import partial
from pathlib import Path

from deploy.local.files import make_private_folder
from deploy.local.layout import Layout
from deploy.local.parts.part import Part
from deploy.local.parts.privileges import python_module


def payment_part(layout: Layout) -> Part:
    """Describe the sandbox."""
    folder = layout.data / "payment"
    return Part(
        name="payment",
        address=layout.address("payment"),
        command=python_module("deploy.local.payment_sandbox"),
        prepare=partial(_prepare, folder),
        environment={
            "SANDBOX_LISTEN_ADDRESS": layout.address("payment"),
            "SANDBOX_DATABASE_FILE": str(folder / "payments.sqlite3"),
            "SANDBOX_API_KEY_FILE": str(layout.secret("payment_api_key")),
        },
    )


async def _prepare(folder: Path) -> None:
    make_private_folder(folder)
