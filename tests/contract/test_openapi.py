"""A bounded Schemathesis run: the running edge gives no 5xx and no answer outside the OpenAPI document."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack, running_stack

DOCUMENT = Path(__file__).parents[2] / "generated" / "openapi.json"
VERBS = {"get", "put", "post", "patch", "delete"}
# Every answer keeps to the document. Whether bad input is refused is for other tests: the edge drops
# unknown JSON fields, which Schemathesis takes for bad input.
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Its phases, how many examples of each operation it makes up, and how long it may take. The coverage of every
# keyword of the document is most of the work.
QUICK = ("fuzzing", 6, 300)
WHOLE = ("coverage,fuzzing", 25, 1200)


@pytest.fixture(scope="module")
def own_stack() -> Iterator[Stack]:
    """A mesh that nobody else uses: Schemathesis deletes what it finds."""
    with running_stack("--rate-limit-scale", "1000", "--no-keep-answers") as stack:
        yield stack


@pytest.mark.stack
@pytest.mark.parametrize("run", [QUICK, pytest.param(WHOLE, marks=pytest.mark.long)], ids=["quick", "whole"])
def test_no_answer_is_outside_the_document(
    own_stack: Stack, tmp_path: Path, run: tuple[str, int, int]
) -> None:
    phases, examples, patience_seconds = run
    seed = os.environ.get("SCHEMATHESIS_SEED", "1")
    document = _without_default_answers()
    (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    program: list[str | Path] = [
        Path(sys.executable).with_name("schemathesis"),
        *("run", "openapi.json", "--url", own_stack.rest_url),
        *("--header", f"Authorization: Bearer {own_stack.token('admin')}"),
        *("--checks", ",".join(CHECKS), "--phases", phases, "--continue-on-failure"),
        # One worker: with threads, CPython 3.11's ast.parse fails now and then ("recursion depth mismatch").
        *("--max-examples", str(examples), "--seed", seed, "--workers", "1"),
        *("--request-timeout", "10", "--generation-database", "none"),
        *("--report", "junit", "--report-junit-path", "report.xml", "--no-color", "--warnings", "off"),
    ]
    done = _run(program, tmp_path, patience_seconds)
    assert done.returncode == 0, f"SCHEMATHESIS_SEED={seed}\n{done.stdout[-20_000:]}{done.stderr[-2_000:]}"
    report = (tmp_path / "report.xml").read_text(encoding="utf-8")
    assert set(re.findall(r'<testcase name="([^"]+)"', report)) == set(_operations(document))


def _run(program: list[str | Path], folder: Path, patience_seconds: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        program, capture_output=True, text=True, check=False, timeout=patience_seconds, cwd=folder
    )


def _without_default_answers() -> dict[str, Any]:
    """Read the document without its catch-all answers: nothing would be outside of them."""
    document: dict[str, Any] = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    for operation in _operations(document).values():
        operation["responses"].pop("default", None)
    return document


def _operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{verb.upper()} {path}": operation
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
        if verb in VERBS
    }
