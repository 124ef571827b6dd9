"""Keeps each event of a feed exactly once, whenever it is killed: event and position in one transaction.

Arguments: the database, service, address, and the files of a certificate (ca, cert, key). Prints the position
of each event once it is kept, and ends at the head.
"""

import asyncio
import sqlite3
import sys

from commerce_mesh_client import Client, Identity, connect

SCHEMA = """
CREATE TABLE IF NOT EXISTS kept (position INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS done (one INTEGER PRIMARY KEY CHECK (one = 1), position INTEGER NOT NULL);
"""


async def keep(client: Client, database: sqlite3.Connection) -> None:
    row = database.execute("SELECT position FROM done").fetchone()
    async for event in client.follow(row[0] if row else 0, until_caught_up=True):
        database.execute("BEGIN IMMEDIATE")
        database.execute("INSERT INTO kept VALUES (?, ?)", (event.position, event.event_id))
        database.execute("INSERT OR REPLACE INTO done VALUES (1, ?)", (event.position,))
        database.execute("COMMIT")
        print(event.position, flush=True)


async def main() -> None:
    name, service, address, *files = sys.argv[1:]
    database = sqlite3.connect(name, isolation_level=None)
    database.executescript(SCHEMA)
    async with connect(service, address, identity=Identity.from_files(*files)) as client:
        await keep(client, database)


if __name__ == "__main__":
    asyncio.run(main())
