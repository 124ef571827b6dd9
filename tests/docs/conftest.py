"""Copies of the tree that were changed as the pages say."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from tests.docs.copies import ROOT, Copy, copy_tree
from tests.docs.recipe import Counts, Recipe, read_recipe

PAGES = ("add-a-field", "add-an-rpc", "add-a-service")


@dataclass(frozen=True)
class Changed:
    """A copy that was changed."""

    copy: Copy
    # How many files each page touched.
    counts: Mapping[str, Counts]


def recipe_of(page: str) -> Recipe:
    return read_recipe((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Changed:
    """A copy that all pages have changed, one after the other."""
    copy = copy_tree(tmp_path_factory.mktemp("pages") / "tree")
    return Changed(copy, {page: copy.change(recipe_of(page)) for page in PAGES})


@pytest.fixture(scope="session", params=PAGES)
def alone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Changed:
    """A copy that one page alone has changed."""
    page: str = request.param
    copy = copy_tree(tmp_path_factory.mktemp(page) / "tree")
    return Changed(copy, {page: copy.change(recipe_of(page))})
