"""A newcomer's tasks: each page of docs/ that says how to change the tree is followed on a copy of it."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import asyncpg
import pytest

from gateway.contract.buf import breaking, lint, unformatted
from services.storage.schema import migrate
from tests.conftest import DatabaseHandle
from tests.docs.conftest import PAGES, Changed, recipe_of
from tests.docs.copies import PROGRAMS, ROOT, Copy
from tests.docs.recipe import PageError, follow, read_recipe

IMAGE = "generated/commerce.binpb"
HEAD = "**By hand: 1 files, 0 of them new. Generated: 0 files, 0 of them new.**\n"
# They start a mesh of their own.
MESH_TESTS = "tests/contract/"


@pytest.mark.parametrize("page", PAGES)
def test_page_says_how_many_files_it_touches(changed: Changed, page: str) -> None:
    assert changed.counts[page] == recipe_of(page).counts


def test_contract_of_the_pages_is_in_order_and_breaks_no_caller(changed: Changed) -> None:
    check_contract(changed.copy)


def test_code_of_the_pages_passes_the_linters(changed: Changed) -> None:
    check_code(changed.copy)


# It is a pytest of its own, in the copy, with a mesh of its own.
@pytest.mark.alone
def test_what_the_pages_add_passes_their_tests(changed: Changed) -> None:
    named = [each for page in PAGES for call in recipe_of(page).tests for each in call]
    run_tests(changed.copy, [each for each in named if not each.startswith(MESH_TESTS)])


async def test_field_comes_into_a_database_of_before_whose_service_still_writes(
    database: Callable[[str], DatabaseHandle], tmp_path: Path
) -> None:
    handle, folder = database("product"), tmp_path / "product" / "migrations"
    conn = await asyncpg.connect(handle.owner_dsn)
    await insert_as_before(conn, "OLD")
    file = await conn.fetchval("SELECT pg_relation_filenode('products')")
    shutil.copytree(ROOT / "services/product/migrations", folder)
    for name, text in recipe_of("add-a-field").whole_files.items():
        (folder / Path(name).name).write_text(text, encoding="utf-8")
    applied = await migrate(handle.owner_dsn, [ROOT / "services/storage/migrations", folder])
    await insert_as_before(conn, "NEW")
    weights = await conn.fetch("SELECT weight_grams FROM products")
    assert (len(applied), [row["weight_grams"] for row in weights]) == (2, [0, 0])
    # No row was written anew while the table was locked.
    assert await conn.fetchval("SELECT pg_relation_filenode('products')") == file
    await conn.close()


@pytest.mark.long
def test_page_alone_leaves_the_tree_in_order(alone: Changed) -> None:
    assert alone.counts == {page: recipe_of(page).counts for page in alone.counts}
    check_contract(alone.copy)
    check_code(alone.copy)


@pytest.mark.long
def test_what_the_pages_add_is_typed(changed: Changed) -> None:
    changed.copy.run(PROGRAMS / "mypy")


@pytest.mark.long
def test_everyone_may_call_what_the_pages_say_and_nothing_else(changed: Changed) -> None:
    named = {each for page in PAGES for call in recipe_of(page).tests for each in call}
    run_tests(changed.copy, sorted(each for each in named if each.startswith(MESH_TESTS)))


@pytest.mark.long
def test_pages_do_what_they_say_through_the_edge(changed: Changed) -> None:
    changed.copy.python("tests.docs.trial")


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("```diff kept.txt\n-three\n+four\n```\n", "has this 0 times"),
        ("```diff kept.txt\n-one\n+four\n```\n", "has this 2 times, not 1"),
        ("```text kept.txt\nfour\n```\n", "is there already"),
        ("```console\n$ cp -r docs/more/. .\n```\n", "is there already"),
    ],
)
def test_page_that_does_not_fit_the_tree_is_refused(tmp_path: Path, block: str, told: str) -> None:
    (tmp_path / "docs/more").mkdir(parents=True)
    for folder in (tmp_path, tmp_path / "docs/more"):
        (folder / "kept.txt").write_text("one\ntwo\none\n", encoding="utf-8")
    with pytest.raises(PageError, match=told):
        follow(read_recipe(HEAD + block), tmp_path)
    assert (tmp_path / "kept.txt").read_text(encoding="utf-8") == "one\ntwo\none\n"


def test_page_changes_text_in_its_order_and_everywhere_that_it_says(tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("one\ntwo\none\n", encoding="utf-8")
    block = "```diff kept.txt\n two\n+three\n@@ 2 times\n-ne\n+nes\n```\n\n```text new/file.txt\nfour\n```\n"
    follow(read_recipe(HEAD + block), tmp_path)
    assert (tmp_path / "kept.txt").read_text(encoding="utf-8") == "ones\ntwo\nthree\nones\n"
    assert (tmp_path / "new/file.txt").read_text(encoding="utf-8") == "four\n"


def test_page_without_its_numbers_is_refused() -> None:
    with pytest.raises(PageError, match="how many files"):
        read_recipe("# Add a field\n")


def check_contract(copy: Copy) -> None:
    """Judge the contract as `make lint` does, and against the tree's own as it is now."""
    image = copy.tree / IMAGE
    assert lint(image) == ""
    assert unformatted(copy.tree / "protos") == ""
    assert breaking(image, ROOT / IMAGE) == ""


def check_code(copy: Copy) -> None:
    """Judge the code as `make lint` does, types aside."""
    copy.run(PROGRAMS / "ruff", "check", "--no-cache", ".")
    copy.run(PROGRAMS / "ruff", "format", "--no-cache", "--check", ".")
    copy.run(PROGRAMS / "lint-imports", "--no-cache")
    migrations = sorted(copy.tree.glob("services/*/migrations/*.sql"))
    copy.run(PROGRAMS / "squawk", "--config", ROOT / ".squawk.toml", *migrations)


def run_tests(copy: Copy, names: Sequence[str]) -> None:
    copy.python("pytest", "-p", "no:cacheprovider", *names)


async def insert_as_before(conn: "asyncpg.Connection[asyncpg.Record]", sku: str) -> None:
    """Add a product as the version before the field did."""
    await conn.execute(
        """
        INSERT INTO products (sku, name, description, brand, price, currency, attributes, image_urls, active)
        VALUES ($1, 'A lamp', '', '', 12.50, 'EUR', '{}', '{}', TRUE)
        """,
        sku,
    )
