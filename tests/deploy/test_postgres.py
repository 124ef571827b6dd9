"""The embedded cluster: passwords everywhere, durable, least rights for the app's role."""

import asyncpg
import pytest

from deploy.local import postgres
from tests.conftest import RunningCluster


async def test_connection_without_password_is_refused(postgres_cluster: RunningCluster) -> None:
    port = postgres_cluster.cluster.port
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(
            f"postgresql://{postgres.SUPERUSER}@127.0.0.1:{port}/postgres", password="wrong"
        )
