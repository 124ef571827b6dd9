"""Console blocks of the README and of docs/ that are marked as tested print what stands there."""

from pathlib import Path

import pytest

from tests.conftest import Stack
from tests.end_to_end.readme import (
    Command,
    Rewriting,
    missing_line,
    read_commands,
    rewriting_for,
    run_session,
)

ROOT = Path(__file__).parents[2]

MARK = "<!-- tested"
# Needs a client that is installed: tests/clients follows it.
ELSEWHERE = "join-from-outside.md"
PAGES = [
    "README.md",
    *sorted(
        f"docs/{page.name}"
        for page in (ROOT / "docs").glob("*.md")
        if MARK in page.read_text(encoding="utf-8") and page.name != ELSEWHERE
    ),
]

EXAMPLE = """
<!-- tested -->

```console
$ NAME=world
$ echo "hello \\
>   $NAME" localhost:8080
hello …
$ cat .mesh/note
```

```console
$ exit 1
```

<!-- tested: fails -->
```console
$ false
```
"""


@pytest.mark.stack
@pytest.mark.parametrize("page", PAGES)
def test_every_tested_block_prints_what_it_says(stack: Stack, page: str) -> None:
    commands = read_commands((ROOT / page).read_text(encoding="utf-8"))
    rewriting = rewriting_for(stack.place)
    texts = [rewriting.command(each.text) for each in commands]
    results = run_session(texts, ROOT, {"MESH_DATA": str(stack.data_dir)})
    for command, result in zip(commands, results, strict=True):
        told = f"$ {command.text}\n{result.output}\n(exit code {result.exit_code})"
        assert (result.exit_code != 0) == command.fails, told
        missing = missing_line([rewriting.output(line) for line in command.output], result.output)
        assert missing is None, f"{page} has {missing!r}, which is not in:\n{told}"


def test_readme_shows_grpcurl_at_services_and_at_the_edge() -> None:
    commands = read_commands((ROOT / "README.md").read_text(encoding="utf-8"))
    good = [each.text for each in commands if "grpcurl" in each.text and not each.fails]
    refused = [each.text for each in commands if "grpcurl" in each.text and each.fails]
    at_services = [text for text in good if "$MESH_GRPCURL" in text]
    assert any(text.endswith(" list") for text in at_services), good
    assert any(" describe" in text for text in at_services), good
    assert any("/" in text.split()[-1] for text in at_services), good
    assert any("Bearer" in text for text in good), good
    assert any("$MESH_GRPCURL" not in text and "$MESH_ORDER" in text for text in refused), refused
    assert any("Bearer" not in text and "$MESH_EDGE" in text for text in refused), refused


def test_commands_of_marked_blocks_are_read_with_their_output() -> None:
    assert read_commands(EXAMPLE) == [
        Command("NAME=world", [], fails=False),
        Command('echo "hello \\\n  $NAME" localhost:8080', ["hello …"], fails=False),
        Command("cat .mesh/note", [], fails=False),
        Command("false", [], fails=True),
    ]


def test_commands_share_one_session_and_keep_their_exit_codes(tmp_path: Path) -> None:
    rewriting = Rewriting({8080: 9999}, tmp_path, tmp_path)
    (tmp_path / "note").write_text("kept\n")
    texts = [rewriting.command(each.text) for each in read_commands(EXAMPLE)]
    results = run_session(texts, tmp_path, {})
    assert [result.exit_code for result in results] == [0, 0, 0, 1]
    assert "world localhost:9999" in results[1].output
    assert results[2].output.strip() == "kept"


@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        (["one", "…", "three"], None),
        (["t…o"], None),
        (["  one  "], None),
        (["four"], "four"),
        (["three", "one"], "one"),
        (["on"], "on"),
    ],
)
def test_output_is_compared_line_by_line_and_in_order(expected: list[str], missing: str | None) -> None:
    assert missing_line(expected, "one\ntwo\nthree\n") == missing
