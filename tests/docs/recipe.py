"""Reads a page of docs/ that says how to change the tree, and changes a tree as it says.

A fenced block that names a file after its language is that new file, whole. In a `diff` block the lines that
begin with a space or `-` stand in the file, in part of a line too, and those with a space or `+` take their
place; `@@` begins the next change, and `@@ 2 times` one of a text that stands there twice. `$ cp -r A/. .`
copies what a folder of docs/ holds.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_COUNTS = re.compile(
    r"^\*\*By hand: (\d+) files, (\d+) of them new\. Generated: (\d+) files, (\d+) of them new\.\*\*$", re.M
)
_BLOCK = re.compile(r"^```(?P<language>\w+) (?P<path>\S+)\n(?P<text>.*?)^```$", re.M | re.S)
_COPY = re.compile(r"^\$ cp -r (?P<folder>docs/\S+)/\. \.$", re.M)
_TESTS = re.compile(r"^\$ \.venv/bin/pytest (.+)$", re.M)
_NEXT = re.compile(r"@@(?: (?P<times>\d+) times)?")


class PageError(Exception):
    """The page does not fit the tree; the text says where."""


@dataclass(frozen=True)
class Counts:
    """How many files a change touches, and how many of those are new."""

    by_hand: int
    new_by_hand: int
    generated: int
    new_generated: int


@dataclass(frozen=True)
class Change:
    """Text of a file that gives way to other text, wherever it stands."""

    path: str
    old: str
    new: str
    times: int


@dataclass(frozen=True)
class Recipe:
    """What a page says."""

    counts: Counts
    copied_folders: Sequence[str]
    # Texts by path.
    whole_files: Mapping[str, str]
    changes: Sequence[Change]
    # What pytest is called with, a sequence for each call.
    tests: Sequence[Sequence[str]]


def read_recipe(page: str) -> Recipe:
    """Read a page.

    Raises:
        PageError: it does not say how many files are touched.
    """
    counts = _COUNTS.search(page)
    if counts is None:
        raise PageError("no line says how many files are touched by hand and how many are generated")
    blocks = [(each["language"], each["path"], each["text"]) for each in _BLOCK.finditer(page)]
    return Recipe(
        counts=Counts(*map(int, counts.groups())),
        copied_folders=[each["folder"] for each in _COPY.finditer(page)],
        whole_files={path: text for language, path, text in blocks if language != "diff"},
        changes=[
            each for language, path, text in blocks if language == "diff" for each in _changes(path, text)
        ],
        tests=[each[1].split() for each in _TESTS.finditer(page)],
    )


def follow(recipe: Recipe, tree: Path) -> None:
    """Change a tree as a page says.

    Raises:
        PageError: a new file is there already, or a text does not stand where the page has it.
    """
    for name, text in new_files(recipe, tree).items():
        _add(tree / name, text)
    for change in recipe.changes:
        _make(tree, change)


def new_files(recipe: Recipe, tree: Path) -> dict[str, str]:
    """Return the files that a page adds to a tree, by their paths in it."""
    copied = {
        path.relative_to(tree / folder).as_posix(): path.read_text(encoding="utf-8")
        for folder in recipe.copied_folders
        for path in (tree / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return {**copied, **recipe.whole_files}


def _changes(path: str, block: str) -> Iterator[Change]:
    old: list[str] = []
    new: list[str] = []
    times = 1
    for line in [*block.splitlines(), "@@"]:
        following = _NEXT.fullmatch(line)
        if following is None:
            old += [line[1:]] if line[0] in " -" else []
            new += [line[1:]] if line[0] in " +" else []
            continue
        if new:
            yield Change(path, "\n".join(old), "\n".join(new), times)
        old, new, times = [], [], int(following["times"] or 1)


def _add(path: Path, text: str) -> None:
    if path.exists():
        raise PageError(f"{path} is there already")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _make(tree: Path, change: Change) -> None:
    path = tree / change.path
    before = path.read_text(encoding="utf-8")
    if before.count(change.old) != change.times:
        raise PageError(
            f"{change.path} has this {before.count(change.old)} times, not {change.times}:\n{change.old}"
        )
    path.write_text(before.replace(change.old, change.new), encoding="utf-8")
