"""The provider's state in SQLite: payments, effects, and the first answer to every key."""

import asyncio
import json
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeAlias

from deploy.local.payment_sandbox.faults import Fault, Step, behaviour_of, fault_at

_SCHEMA = (Path(__file__).parent / "schema.sql").read_text(encoding="utf-8")
_UNITS = Decimal(10_000)
# Of a column of SQLite.
_LARGEST_UNITS = 2**63 - 1


class Refused(Exception):
    """The request cannot be done; nothing was."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Answer:
    """What to answer, and what goes wrong with it."""

    body: dict[str, Any]
    fault: Fault | None = None


Work: TypeAlias = Callable[[sqlite3.Connection], Answer]


class Ledger:
    """One SQLite database and its one writer; calls that come together share a commit and its fsync."""

    def __init__(self, file: Path) -> None:
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        self._db.executescript("PRAGMA foreign_keys = ON;" + _SCHEMA)
        self._waiting: list[tuple[Work, asyncio.Future[Answer]]] = []

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    async def authorize(self, key: str, amount: str, currency: str, token: str) -> Answer:
        """Set an amount aside, once for each key.

        Raises:
            Refused: the key is closed or was used for another request.
        """
        call = _Call(key, Step.AUTHORIZE, json.dumps([Step.AUTHORIZE.value, amount, currency, token]))
        return await self._run(
            lambda db: _once(db, call, token, lambda: _authorize(db, key, amount, currency, token))
        )

    async def move(self, step: Step, key: str, payment_id: str, amount: str | None) -> Answer:
        """Capture or refund an amount of a payment, or void it, once for each key.

        Raises:
            Refused: the payment is unknown or not in a state for it, the amount does not fit, or the key
                was used for another request.
        """
        call = _Call(key, step, json.dumps([step.value, payment_id, amount]))

        def work(db: sqlite3.Connection) -> Answer:
            token = str(_payment(db, "payment_id", payment_id)["token"])
            return _once(db, call, token, lambda: _move(db, call, payment_id, amount))

        return await self._run(work)

    async def find(self, key: str) -> Answer:
        """Return the payment as it is now that was authorized under the key.

        Raises:
            Refused: there is none.
        """
        return await self._run(lambda db: Answer(_view(_payment(db, "key", key))))

    async def close_key(self, key: str) -> Answer:
        """Return the payment under the key; without one, make sure that there never will be."""
        return await self._run(lambda db: _close_key(db, key))

    async def effects(self) -> Answer:
        """Return everything that really happened, oldest first."""
        return await self._run(_effects)

    async def _run(self, work: Work) -> Answer:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((work, done))
        if len(self._waiting) == 1:
            # Once the event loop has read what came with it. While the disk is waited for others come, and
            # share the next commit; a thread for it would cost more than it gives.
            loop.call_soon(self._commit_waiting)
        return await done

    def _commit_waiting(self) -> None:
        batch, self._waiting = self._waiting, []
        outcomes = self._commit([work for work, _ in batch])
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            _settle(future, outcome)

    def _commit(self, batch: Sequence[Work]) -> Sequence[Answer | Exception]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            outcomes = [self._attempt(work) for work in batch]
            self._db.execute("COMMIT")
        except sqlite3.Error as error:  # a full disk, say: nothing of the batch happened
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            return [error] * len(batch)
        return outcomes

    def _attempt(self, work: Work) -> Answer | Exception:
        self._db.execute("SAVEPOINT attempt")
        try:
            outcome: Answer | Exception = work(self._db)
        except Refused as refusal:
            self._db.execute("ROLLBACK TO attempt")
            outcome = refusal
        except sqlite3.IntegrityError:
            self._db.execute("ROLLBACK TO attempt")
            outcome = Refused(409, "amount_does_not_fit")
        except (ArithmeticError, ValueError):  # numbers and texts that SQLite cannot take
            self._db.execute("ROLLBACK TO attempt")
            outcome = Refused(400, "invalid_request")
        self._db.execute("RELEASE attempt")
        return outcome


def _settle(future: "asyncio.Future[Answer]", outcome: Answer | Exception) -> None:
    if future.done():
        return  # whoever asked has gone
    if isinstance(outcome, Answer):
        future.set_result(outcome)
    else:
        future.set_exception(outcome)


@dataclass(frozen=True)
class _Call:
    """A request that is done once."""

    key: str
    step: Step
    # Tells it from any other request.
    request: str


def _once(db: sqlite3.Connection, call: _Call, token: str, act: Callable[[], dict[str, Any]]) -> Answer:
    first = db.execute("SELECT request, body FROM answers WHERE key = ?", (call.key,)).fetchone()
    if first is not None:
        if first["request"] != call.request:
            raise Refused(409, "idempotency_key_reused")
        return Answer(json.loads(first["body"]))
    fault = fault_at(token, call.step)
    if fault is Fault.ERROR or (fault is Fault.ERROR_ONCE and _fails_now(db, call.key)):
        return Answer({}, Fault.ERROR)
    body = act()
    db.execute(
        "INSERT INTO answers (key, request, body) VALUES (?, ?, ?)",
        (call.key, call.request, json.dumps(body)),
    )
    return Answer(body, None if fault is Fault.ERROR_ONCE else fault)


def _fails_now(db: sqlite3.Connection, key: str) -> bool:
    return db.execute("INSERT OR IGNORE INTO failed_once (key) VALUES (?)", (key,)).rowcount == 1


def _authorize(db: sqlite3.Connection, key: str, amount: str, currency: str, token: str) -> dict[str, Any]:
    if db.execute("SELECT 1 FROM closed_keys WHERE key = ?", (key,)).fetchone():
        raise Refused(409, "key_closed")
    code, requested = behaviour_of(token).decline_code, _to_units(amount)
    if requested > _LARGEST_UNITS:
        code, requested = "amount_too_large", 0
    payment_id = f"pay_{uuid.uuid4().hex}"
    db.execute(
        """
        INSERT INTO payments (payment_id, key, token, currency, requested, authorized, state, decline_code)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)
        """,
        (payment_id, key, token, currency, requested, 0 if code else requested)
        + (("DECLINED", code) if code else ("AUTHORIZED", None)),
    )
    payment = _payment(db, "payment_id", payment_id)
    if not code:
        _record(db, Step.AUTHORIZE, key, payment, requested)
    return _view(payment)


def _move(db: sqlite3.Connection, call: _Call, payment_id: str, amount: str | None) -> dict[str, Any]:
    units = 0 if amount is None else _to_units(amount)
    changed = db.execute(_MOVES[call.step], {"payment_id": payment_id, "units": units}).rowcount
    payment = _payment(db, "payment_id", payment_id)
    if not changed:
        raise Refused(409, f"payment_{payment['state'].lower()}")
    _record(db, call.step, call.key, payment, units)
    return _view(payment)


_MOVES = {
    Step.CAPTURE: """
        UPDATE payments SET state = 'CAPTURED', captured = captured + :units
         WHERE payment_id = :payment_id AND state = 'AUTHORIZED'
        """,
    Step.VOID: """
        UPDATE payments SET state = 'VOIDED'
         WHERE payment_id = :payment_id AND state = 'AUTHORIZED'
        """,
    Step.REFUND: """
        UPDATE payments
           SET refunded = refunded + :units,
               state = CASE WHEN refunded + :units = captured THEN 'REFUNDED' ELSE state END
         WHERE payment_id = :payment_id AND state = 'CAPTURED'
        """,
}


def _close_key(db: sqlite3.Connection, key: str) -> Answer:
    found = db.execute("SELECT * FROM payments WHERE key = ?", (key,)).fetchone()
    if found is not None:
        return Answer({"payment": _view(found)})
    db.execute("INSERT OR IGNORE INTO closed_keys (key) VALUES (?)", (key,))
    return Answer({"payment": None})


def _effects(db: sqlite3.Connection) -> Answer:
    rows = db.execute("SELECT * FROM effects ORDER BY effect_id").fetchall()
    return Answer({"effects": [{**dict(row), "amount": _from_units(row["amount"])} for row in rows]})


def _record(db: sqlite3.Connection, step: Step, key: str, payment: sqlite3.Row, units: int) -> None:
    now = datetime.now(UTC).isoformat()
    db.execute(
        """
        INSERT INTO effects (kind, payment_id, key, amount, currency, create_time)
        VALUES (?, ?, ?, ?, ?, ?)
        """,
        (step.value, payment["payment_id"], key, units, payment["currency"], now),
    )


def _payment(db: sqlite3.Connection, column: str, value: str) -> sqlite3.Row:
    query = {
        "key": "SELECT * FROM payments WHERE key = ?",
        "payment_id": "SELECT * FROM payments WHERE payment_id = ?",
    }[column]
    row: sqlite3.Row | None = db.execute(query, (value,)).fetchone()
    if row is None:
        raise Refused(404, "payment_not_found")
    return row


def _view(payment: sqlite3.Row) -> dict[str, Any]:
    view = {name: payment[name] for name in ("payment_id", "key", "state", "currency", "decline_code")}
    return view | {name: _from_units(payment[name]) for name in ("authorized", "captured", "refunded")}


def _to_units(amount: str) -> int:
    units = Decimal(amount) * _UNITS
    if units < 0 or units != int(units):
        raise Refused(400, "invalid_amount")
    return int(units)


def _from_units(units: int) -> str:
    return str(Decimal(units) / _UNITS)
