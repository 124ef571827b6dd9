"""SQL that forgets sessions and tokens that are over. Transactions are the caller's."""

from services.storage.forgetting import OVER_SESSIONS_KEPT, USED_TOKENS_KEPT
from services.storage.postgres import Connection


async def forget_used_tokens(conn: Connection, limit: int) -> int:
    """Forget the first token of up to `limit` sessions, if it was exchanged long ago, and return how many.

    One a session at a time: its successor is the first one then, and there is one first token a session.
    """
    forgotten = await conn.fetch(
        """
        DELETE FROM refresh_tokens
         WHERE token_hash IN (SELECT token_hash
                                FROM refresh_tokens
                               WHERE predecessor_hash IS NULL AND use_time < now() - $1::interval
                               ORDER BY use_time
                               LIMIT $2)
        RETURNING TRUE
        """,
        USED_TOKENS_KEPT,
        limit,
    )
    return len(forgotten)


async def forget_sessions(conn: Connection, limit: int) -> int:
    """Forget up to `limit` of the sessions that have been over for longest, and return how many.

    Their tokens go with them.
    """
    forgotten = await conn.fetch(
        """
        WITH old AS MATERIALIZED (
            SELECT session_id
              FROM sessions
             WHERE least(end_time, expire_time) < now() - $1::interval
             ORDER BY least(end_time, expire_time)
             LIMIT $2
        ), tokens AS (
            DELETE FROM refresh_tokens WHERE session_id IN (SELECT session_id FROM old)
        )
        DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM old) RETURNING TRUE
        """,
        OVER_SESSIONS_KEPT,
        limit,
    )
    return len(forgotten)
