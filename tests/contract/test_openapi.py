"""A bounded Schemathesis run: the running edge gives no 5xx and no answer outside the OpenAPI document."""

import asyncio
import json
import os
import random
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest
from commerce.user.v1 import role_pb2, user_pb2

from tests.world import USERS, World, log_in, new_customer

pytestmark = [pytest.mark.stack, pytest.mark.asyncio(loop_scope="session")]

DOCUMENT = Path(__file__).parents[2] / "generated" / "openapi.json"
# What an answer must keep to. Whether bad input is refused is the other tests' subject: the edge
# drops unknown JSON fields, by design.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
EXAMPLES_PER_OPERATION = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "12"))
PATIENCE_SECONDS = 240


async def test_no_answer_is_outside_the_document(world: World, tmp_path: Path) -> None:
    seed = int(os.environ.get("SCHEMATHESIS_SEED") or random.randrange(1 << 32))
    print(f"SCHEMATHESIS_SEED={seed}")
    token = await _administrator(world)
    report = tmp_path / "report.ndjson"
    program = [
        Path(sys.executable).with_name("schemathesis"),
        *("run", DOCUMENT, "--url", world.caller.target.http),
        *("--header", f"Authorization: Bearer {token}"),
        *("--checks", ",".join(CHECKS), "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", str(EXAMPLES_PER_OPERATION), "--seed", str(seed), "--workers", "2"),
        *("--request-timeout", "10", "--generation-database", "none", "--continue-on-failure"),
        *("--report", "ndjson", "--report-ndjson-path", report, "--no-color", "--warnings", "off"),
    ]
    done = await asyncio.to_thread(
        subprocess.run,
        program,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        cwd=tmp_path,
    )
    assert done.returncode == 0, f"SCHEMATHESIS_SEED={seed}\n{done.stdout[-20_000:]}{done.stderr[-2_000:]}"
    untried = _operations() - _tried(report)
    assert not untried, untried


async def _administrator(world: World) -> str:
    """Make an administrator whom the run may rename, log out and delete."""
    person = await new_customer(world.caller)
    user = user_pb2.User(user_id=person.user_id, roles=[role_pb2.ROLE_ADMIN])
    request = user_pb2.UpdateUserRequest(user=user)
    request.update_mask.paths.append("roles")
    _ = (await world.caller.call_rest(USERS + "UpdateUser", request, world.admin)).response
    return (await log_in(world.caller, person.email)).tokens.access_token
