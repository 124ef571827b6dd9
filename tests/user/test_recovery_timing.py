"""Whether somebody has an address is not told by how long the answer takes."""

import statistics
import time
from itertools import cycle, islice

import pytest
from commerce.user.v1 import recovery_pb2

from services.storage.postgres import Pool
from tests.user.conftest import UserService, some_email
from tests.user.test_mails import add_user

# It compares times: nothing else may run beside it.
pytestmark = [pytest.mark.alone, pytest.mark.asyncio(loop_scope="session")]

_PAIRS = 600
# Of a call. What is written for nobody and for somebody differs by less; a row more or less is a third.
_MOST_DIFFERENCE = 0.1


async def test_an_unknown_address_is_answered_as_quickly_as_a_known_one(
    service: UserService, pool: Pool
) -> None:
    known = [(await add_user(pool)).email for _ in range(20)]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for email in islice(cycle(known), _PAIRS):
        # In turn: whatever slows the machine for a while slows both.
        for is_known, address in ((True, email), (False, some_email())):
            request = recovery_pb2.RequestPasswordResetRequest(email=address)
            began = time.perf_counter()
            await service.recovery.RequestPasswordReset(request)
            seconds[is_known].append(time.perf_counter() - began)
    of_known, of_unknown = (statistics.median(seconds[is_known]) for is_known in (True, False))
    told = f"known {of_known * 1e3:.3f} ms, unknown {of_unknown * 1e3:.3f} ms (medians of {_PAIRS})"
    print(told)
    assert abs(of_known - of_unknown) < _MOST_DIFFERENCE * of_unknown, told
