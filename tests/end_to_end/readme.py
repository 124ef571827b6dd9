"""Reads the README's tested blocks and runs them as one shell session would.

A block is tested if `<!-- tested -->` (every command succeeds) or `<!-- tested: fails -->` (every command
fails) stands right before its ```console fence. `$ ` starts a command, which goes on over lines that end
with a backslash; every other line is output. `…` in output stands for any text, alone for any lines.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.local.layout import Layout

ROOT = Path(__file__).parents[2]
PATIENCE_SECONDS = 240
_BLOCK = re.compile(r"<!-- tested(?P<fails>: fails)? -->\s*\n+```console\n(?P<text>.*?)^```", re.M | re.S)
_PROMPT = "$ "
_ANY = "…"
# Printed by the session after each command; no command of a README prints it.
_END = "--- end of command, exit code "


@dataclass(frozen=True)
class Command:
    """One command of a block, with what the README says it prints."""

    text: str
    output: Sequence[str]
    fails: bool


def read_commands(readme: str) -> list[Command]:
    """Return the commands of all tested blocks, in order."""
    return [
        command
        for block in _BLOCK.finditer(readme)
        for command in _commands(block["text"], fails=bool(block["fails"]))
    ]


def _commands(block: str, *, fails: bool) -> Iterator[Command]:
    command: list[str] = []
    output: list[str] = []
    for line in block.splitlines():
        if line.startswith(_PROMPT):
            if command:
                yield Command("\n".join(command), output, fails)
            command, output = [line.removeprefix(_PROMPT)], []
        elif command and command[-1].endswith("\\") and not output:
            command.append(line.removeprefix("> "))
        else:
            output.append(line)
    if command:
        yield Command("\n".join(command), output, fails)


@dataclass(frozen=True)
class Rewriting:
    """What stands in a README for one mesh, and what it is for another."""

    ports: Mapping[int, int]
    data: Path
    programs: Path

    def command(self, text: str) -> str:
        """Let a command reach the other mesh."""
        return self.output(text).replace(".venv/bin/", f"{self.programs}/")

    def output(self, text: str) -> str:
        """Let output speak of the other mesh."""
        text = re.sub(r"(?<![\w/.-])\.mesh(?=[/\s]|$)", str(self.data), text)
        return re.sub(
            r"\b(localhost|127\.0\.0\.1):(\d+)\b",
            lambda found: f"{found[1]}:{self.ports.get(int(found[2]), found[2])}",
            text,
        )


def rewriting_for(place: Layout) -> Rewriting:
    """Let what is written for a mesh of the usual ports, in the tree, speak of another one."""
    default, real = Layout(place.data).ports, place.ports
    ports = {default[name]: real[name] for name in default}
    return Rewriting(ports, place.data, ROOT / ".venv" / "bin")


@dataclass(frozen=True)
class Result:
    """What a command really did."""

    exit_code: int
    output: str


def run_session(commands: Sequence[str], folder: Path, environment: Mapping[str, str]) -> list[Result]:
    """Run commands one after the other in one shell, so that later ones see the variables of earlier ones."""
    script = ["set -o pipefail"]
    for command in commands:
        script += [command, f'printf "\\n{_END}%s\\n" "$?"']
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    parts = re.split(rf"\n{re.escape(_END)}(\d+)\n", done.stdout)
    assert len(parts) == 2 * len(commands) + 1, f"the session ended early:\n{done.stdout}"
    return [Result(int(code), output) for output, code in zip(parts[::2], parts[1::2], strict=False)]


def missing_line(expected: Sequence[str], output: str) -> str | None:
    """Return the first printed line that does not come, in its order, in the real output."""
    lines = iter(_plain(line) for line in output.splitlines())
    for wanted in map(_plain, expected):
        if wanted in {"", _ANY}:
            continue
        pattern = re.compile(".*".join(map(re.escape, wanted.split(_ANY))))
        if not any(pattern.fullmatch(line) for line in lines):
            return wanted
    return None


def _plain(line: str) -> str:
    return " ".join(line.split())
