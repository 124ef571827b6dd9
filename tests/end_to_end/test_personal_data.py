"""Keys are rotated and erasures kept by `mesh`, while people use the shop."""

import asyncio
import json
from functools import partial
from pathlib import Path
from uuid import uuid4

import pytest
from commerce.user.v1 import privacy_pb2, user_pb2

from tests.support.calls import Outcome
from tests.support.stack import Stack
from tests.support.world import PRIVACY, USERS, World, log_in, new_customer

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]


@pytest.mark.parametrize("purpose", ["kek", "data", "index"])
async def test_a_key_is_rotated_without_a_failed_call(stack: Stack, world: World, purpose: str) -> None:
    stop, outcomes = asyncio.Event(), list[Outcome]()
    me = user_pb2.GetUserRequest(user_id="me")

    async def live() -> None:
        person = await new_customer(world.caller)
        token = person.token
        while not stop.is_set():
            outcomes.append(await world.caller.call_rest(USERS + "GetUser", me, token))
            renamed = user_pb2.UpdateUserRequest(
                user=user_pb2.User(user_id="me", display_name=f"Name {len(outcomes)}")
            )
            outcomes.append(await world.caller.call_rest(USERS + "UpdateUser", renamed, token))
            # By the address: it fails the test itself. The newest session goes on: the hundredth one after
            # it ends the oldest.
            token = (await log_in(world.caller, person.email)).tokens.access_token

    load = [asyncio.create_task(live()) for _ in range(2)]
    said = (await asyncio.to_thread(stack.mesh, "keys", "rotate", purpose)).stdout
    stop.set()
    await asyncio.gather(*load)
    failed = [each for each in outcomes if each.code != "OK"]
    assert not failed
    assert len(outcomes) > 10
    assert "0 rows need an older version" in said
    listed = (await asyncio.to_thread(stack.mesh, "keys", "list")).stdout
    rows = [line.split() for line in listed.splitlines() if line.split()[:1] == [purpose]]
    assert len(rows) == 1, listed
    assert rows[0][3] == "yes"
    key_file = stack.place.secret("personal_keys")
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert len([line for line in key_file.read_text().splitlines() if line.startswith(purpose)]) == 1
    # The processes' own caches of a minute are not what answers.
    assert (await world.caller.call_rest(USERS + "GetUser", me, world.anna.token)).code == "OK"


async def test_of_two_rotations_at_once_one_is_refused(stack: Stack, world: World) -> None:
    """Each writes the whole file: one would take the other's key out, and nothing opens the rows under it."""
    rotate = partial(stack.mesh, "keys", "rotate", check=False)
    rotations = [asyncio.to_thread(rotate, each) for each in ("kek", "data")]
    done = await asyncio.gather(*rotations)
    assert sorted(each.returncode for each in done) == [0, 1], [each.stderr for each in done]
    listed = (await asyncio.to_thread(stack.mesh, "keys", "list")).stdout
    assert not [line for line in listed.splitlines() if line.split()[-1:] == ["no"]], listed
    me = user_pb2.GetUserRequest(user_id="me")
    assert (await world.caller.call_rest(USERS + "GetUser", me, world.anna.token)).code == "OK"


async def test_erasures_are_exported_and_replayed_by_mesh(stack: Stack, world: World, tmp_path: Path) -> None:
    person = await new_customer(world.caller)
    log = tmp_path / "erasures.jsonl"
    log.write_text("".join(json.dumps({"userId": each}) + "\n" for each in (person.user_id, str(uuid4()))))
    said = (await asyncio.to_thread(stack.mesh, "erasures", "replay", str(log))).stdout
    assert "1 of 2 were there again" in said
    gone = await world.caller.call_rest(
        USERS + "GetUser", user_pb2.GetUserRequest(user_id=person.user_id), world.admin
    )
    assert gone.reason == "USER_NOT_FOUND"
    await asyncio.to_thread(stack.mesh, "erasures", "export", str(log))
    assert log.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [set(each) for each in lines] == [{"userId", "eraseTime"}] * len(lines)
    assert person.user_id in {each["userId"] for each in lines}
    refused = await asyncio.to_thread(stack.mesh, "erasures", "replay", str(stack.place.state), check=False)
    assert refused.returncode != 0
    assert "is no file of erasures" in refused.stderr


async def test_a_person_takes_their_data_along_over_rest(world: World) -> None:
    person = await new_customer(world.caller)
    request = privacy_pb2.ExportUserDataRequest(user_id="me")
    outcome = await world.caller.call_rest(PRIVACY + "ExportUserData", request, person.token)
    assert outcome.code == "OK"
    assert outcome.response.user.email == person.email
    assert len(outcome.response.sessions) == 1
