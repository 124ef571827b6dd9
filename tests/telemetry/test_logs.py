"""What a process prints when something goes wrong that nobody foresaw: kinds and places, no texts."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT

# An error as asyncpg makes it: its text quotes a value, its detail the row.
ERROR = """
from asyncpg import CheckViolationError
error = CheckViolationError("the value canary")
error.detail = "Failing row contains (canary)."
error.constraint_name = "users_email_check"
"""
ENDS_THE_PROCESS = "raise error"
IN_A_FORGOTTEN_TASK = """
import asyncio, gc
async def main():
    async def fail():
        raise error
    task = asyncio.create_task(fail(), name="canary")
    await asyncio.sleep(0)
    del task
    gc.collect()
asyncio.run(main())
"""


@pytest.mark.parametrize("failure", [ENDS_THE_PROCESS, IN_A_FORGOTTEN_TASK])
def test_an_exception_that_nobody_caught_is_logged_by_its_kind_and_place(failure: str) -> None:
    configured = "from services.telemetry import logs\nfrom services.settings import TelemetrySettings\n"
    configured += 'logs.configure("user", TelemetrySettings())\n'
    program = [sys.executable, "-c", configured + ERROR + failure]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "canary" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "asyncpg.exceptions.CheckViolationError users_email_check" in json.loads(line)["exception"]
