"""SQL of clients and authorizations: rows to domain and back. Transactions are the caller's."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from services.storage.postgres import Connection
from services.user.oauth.domain import (
    MAX_AUTHORIZATIONS,
    MAX_CLIENTS,
    Authorization,
    Client,
    ClientKind,
    ClientNotFound,
    TooManyClients,
)

# A code that comes again within this time ends what it gave; later it is only unknown.
AUTHORIZATIONS_KEPT = timedelta(days=1)


async def insert_client(
    conn: Connection,
    *,
    name: str,
    kind: ClientKind,
    secret_hash: bytes | None,
    redirect_uris: Sequence[str],
    scopes: Sequence[str],
    now: datetime,
) -> Client:
    """Register a client.

    Raises:
        TooManyClients: there are as many as there may be.
    """
    # Held to the end: of two at the same moment, the second one counts the first.
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('oauth_clients'))")
    count = await conn.fetchval("SELECT count(*) FROM oauth_clients WHERE delete_time IS NULL")
    if count >= MAX_CLIENTS:
        raise TooManyClients
    row = await conn.fetchrow(
        """
        INSERT INTO oauth_clients (name, kind, secret_hash, redirect_uris, scopes, create_time)
        VALUES ($1, $2, $3, $4, $5, $6)
        RETURNING client_id, name, kind, secret_hash, redirect_uris, scopes, session_id, create_time
        """,
        name,
        kind,
        secret_hash,
        redirect_uris,
        scopes,
        now,
    )
    return _client(row)


async def find_client(conn: Connection, client_id: UUID) -> Client | None:
    """Return a client that has not been removed."""
    row = await conn.fetchrow(
        """
        SELECT client_id, name, kind, secret_hash, redirect_uris, scopes, session_id, create_time
          FROM oauth_clients
         WHERE client_id = $1 AND delete_time IS NULL
        """,
        client_id,
    )
    return None if row is None else _client(row)


async def find_client_for_share(conn: Connection, client_id: UUID) -> Client | None:
    """Return a client and keep it from being removed until this transaction ends; others may do so too."""
    row = await conn.fetchrow(
        """
        SELECT client_id, name, kind, secret_hash, redirect_uris, scopes, session_id, create_time
          FROM oauth_clients
         WHERE client_id = $1 AND delete_time IS NULL
           FOR SHARE
        """,
        client_id,
    )
    return None if row is None else _client(row)


async def find_client_for_update(conn: Connection, client_id: UUID) -> Client | None:
    """Return a client and keep it as it is until this transaction ends."""
    row = await conn.fetchrow(
        """
        SELECT client_id, name, kind, secret_hash, redirect_uris, scopes, session_id, create_time
          FROM oauth_clients
         WHERE client_id = $1 AND delete_time IS NULL
           FOR UPDATE
        """,
        client_id,
    )
    return None if row is None else _client(row)


async def list_clients(conn: Connection) -> list[Client]:
    """List the clients, oldest first."""
    rows = await conn.fetch(
        """
        SELECT client_id, name, kind, secret_hash, redirect_uris, scopes, session_id, create_time
          FROM oauth_clients
         WHERE delete_time IS NULL
         ORDER BY client_id
         LIMIT $1
        """,
        MAX_CLIENTS,
    )
    return [_client(row) for row in rows]


async def delete_client(conn: Connection, client_id: UUID, *, now: datetime) -> Client | None:
    """Remove a client and return it; None where that was done before, or there never was one."""
    row = await conn.fetchrow(
        """
        UPDATE oauth_clients
           SET delete_time = $2
         WHERE client_id = $1 AND delete_time IS NULL
        RETURNING client_id, name, kind, secret_hash, redirect_uris, scopes, session_id, create_time
        """,
        client_id,
        now,
    )
    return None if row is None else _client(row)


async def was_client(conn: Connection, client_id: UUID) -> bool:
    """Tell whether there is or was such a client."""
    known: bool = await conn.fetchval(
        "SELECT EXISTS (SELECT FROM oauth_clients WHERE client_id = $1)", client_id
    )
    return known


async def begin_tokens_anew(conn: Connection, client_id: UUID) -> None:
    """Have a machine's next tokens end with something else than those before."""
    await conn.execute("UPDATE oauth_clients SET session_id = uuidv7() WHERE client_id = $1", client_id)


async def replace_secret(conn: Connection, client_id: UUID, secret_hash: bytes) -> None:
    """Give a client another secret."""
    await conn.execute(
        "UPDATE oauth_clients SET secret_hash = $2 WHERE client_id = $1", client_id, secret_hash
    )


async def drop_oldest_authorizations(conn: Connection, user_id: UUID) -> None:
    """Make room for one authorization more of a person whose account is held: the oldest beyond nine go.

    One that is exchanged at this moment is not waited for: the exchange waits for the account.
    """
    await conn.execute(
        """
        DELETE FROM oauth_authorizations
         WHERE authorization_id IN (SELECT authorization_id
                                      FROM oauth_authorizations
                                     WHERE user_id = $1 AND session_id IS NULL
                                     ORDER BY authorization_id DESC
                                    OFFSET $2
                                       FOR UPDATE SKIP LOCKED)
        """,
        user_id,
        MAX_AUTHORIZATIONS - 1,
    )


async def drop_authorizations(conn: Connection, user_id: UUID, *, exchanged_too: bool = False) -> None:
    """Make decisions and codes void that wait; the person's account is held, as it is by an exchange.

    For whatever ends a person's sessions, or has their log-ins ask for more: a code from before would begin
    a session after it. Those that were exchanged stay, so that a second use is noticed, unless the account
    goes.
    """
    await conn.execute(
        "DELETE FROM oauth_authorizations WHERE user_id = $1 AND (session_id IS NULL OR $2)",
        user_id,
        exchanged_too,
    )


async def insert_authorization(
    conn: Connection,
    *,
    client_id: UUID,
    user_id: UUID,
    redirect_uri: str,
    scopes: Sequence[str],
    code_challenge: str,
    nonce: str,
    state: str,
    password_mark: bytes,
    second_factor: bool,
    consent_hash: bytes,
    now: datetime,
    expire_time: datetime,
) -> None:
    """Write what a person has logged in for."""
    await conn.execute(
        """
        INSERT INTO oauth_authorizations (client_id, user_id, redirect_uri, scopes, code_challenge, nonce,
                                          state, password_mark, second_factor, consent_hash, auth_time,
                                          expire_time)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        """,
        client_id,
        user_id,
        redirect_uri,
        scopes,
        code_challenge,
        nonce,
        state,
        password_mark,
        second_factor,
        consent_hash,
        now,
        expire_time,
    )


async def list_authorizations(conn: Connection, user_id: UUID, limit: int) -> list[Authorization]:
    """Return what clients have asked a person for, the newest first."""
    rows = await conn.fetch(
        """
        SELECT authorization_id, client_id, user_id, redirect_uri, scopes, code_challenge, nonce, state,
               password_mark, second_factor, auth_time, decide_time, expire_time, session_id
          FROM oauth_authorizations
         WHERE user_id = $1
         ORDER BY authorization_id DESC
         LIMIT $2
        """,
        user_id,
        limit,
    )
    return [_authorization(row) for row in rows]


async def find_by_consent(conn: Connection, consent_hash: bytes) -> Authorization | None:
    """Return the authorization that waits for a decision, and hold it."""
    row = await conn.fetchrow(
        """
        SELECT authorization_id, client_id, user_id, redirect_uri, scopes, code_challenge, nonce, state,
               password_mark, second_factor, auth_time, decide_time, expire_time, session_id
          FROM oauth_authorizations
         WHERE consent_hash = $1
           FOR UPDATE
        """,
        consent_hash,
    )
    return None if row is None else _authorization(row)


async def find_person_of_code(conn: Connection, code_hash: bytes, client_id: UUID) -> UUID | None:
    """Return who has allowed a client what it shows a code for."""
    user_id: UUID | None = await conn.fetchval(
        "SELECT user_id FROM oauth_authorizations WHERE code_hash = $1 AND client_id = $2",
        code_hash,
        client_id,
    )
    return user_id


async def find_by_code(conn: Connection, code_hash: bytes) -> Authorization | None:
    """Return a code's authorization, and hold it: of two exchanges at once, one sees the other's session."""
    row = await conn.fetchrow(
        """
        SELECT authorization_id, client_id, user_id, redirect_uri, scopes, code_challenge, nonce, state,
               password_mark, second_factor, auth_time, decide_time, expire_time, session_id
          FROM oauth_authorizations
         WHERE code_hash = $1
           FOR UPDATE
        """,
        code_hash,
    )
    return None if row is None else _authorization(row)


async def decide(
    conn: Connection,
    authorization: Authorization,
    code_hash: bytes | None,
    *,
    now: datetime,
    expire_time: datetime,
) -> None:
    """Note a person's decision and, where they allow it, the code. The authorization must be held."""
    await conn.execute(
        """
        UPDATE oauth_authorizations
           SET decide_time = $2, code_hash = $3, expire_time = $4
         WHERE authorization_id = $1
        """,
        authorization.authorization_id,
        now,
        code_hash,
        expire_time,
    )


async def note_exchange(conn: Connection, authorization: Authorization, session_id: UUID) -> None:
    """Note what a code was exchanged for. The authorization must be held."""
    await conn.execute(
        "UPDATE oauth_authorizations SET session_id = $2 WHERE authorization_id = $1",
        authorization.authorization_id,
        session_id,
    )


async def forget_authorizations(conn: Connection, limit: int) -> int:
    """Forget up to `limit` authorizations that have been over for longest, and return how many."""
    forgotten = await conn.fetch(
        """
        DELETE FROM oauth_authorizations
         WHERE authorization_id IN (SELECT authorization_id
                                      FROM oauth_authorizations
                                     WHERE expire_time < now() - $1::interval
                                     ORDER BY expire_time
                                     LIMIT $2)
        RETURNING TRUE
        """,
        AUTHORIZATIONS_KEPT,
        limit,
    )
    return len(forgotten)


def _client(row: asyncpg.Record | None) -> Client:
    if row is None:
        raise ClientNotFound
    lists = {"redirect_uris": tuple(row["redirect_uris"]), "scopes": tuple(row["scopes"])}
    return Client(**{**row, **lists, "kind": ClientKind(row["kind"])})


def _authorization(row: asyncpg.Record) -> Authorization:
    return Authorization(**{**row, "scopes": tuple(row["scopes"])})
