"""`mesh import` and `mesh export`, as a person types them."""
# ruff: noqa: PLC0415  each command loads what it needs and no more: `mesh --help` stays quick

from pathlib import Path
from typing import Annotated

import typer

from deploy.local.cli.options import DATA, Data

Stock = Annotated[
    int | None,
    typer.Option(min=0, max=1_000_000_000, help="Units of new products whose row says nothing."),
]
Report = Annotated[Path | None, typer.Option(help="Write what became of each row to this CSV.")]
RetireMissing = Annotated[
    bool,
    typer.Option(
        "--retire-missing", help="Take out of sale what the supplier has no more, after a question."
    ),
]
Yes = Annotated[
    bool,
    typer.Option("--yes", help="With --retire-missing: ask nothing for up to 10 products, or a tenth."),
]
YesUpTo = Annotated[int | None, typer.Option(min=0, help="As --yes, for up to so many products.")]


def import_(
    file: Annotated[Path, typer.Argument(help="JSON, JSON lines, CSV or TSV; plain, gzip or zstd.")],
    data: Data = DATA,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Propose a mapping, say what it would do, import nothing.")
    ] = False,
    mapping: Annotated[
        Path | None, typer.Option(help="What becomes of each column: a file of --plan.")
    ] = None,
    supplier: Annotated[str, typer.Option(help="With --plan: who numbers the rows.")] = "",
    currency: Annotated[str, typer.Option(help="Of prices that say none.")] = "",
    encoding: Annotated[
        str, typer.Option(help="Of a file that is neither UTF-8 nor UTF-16: windows-1252, windows-1255, …")
    ] = "",
    stock: Stock = None,
    report: Report = None,
    retire_missing: RetireMissing = False,
    yes: Yes = False,
    yes_up_to: YesUpTo = None,
) -> None:
    """Import products: created or updated by sku. Importing a file again changes nothing.

    A row is a JSON object, or a line of CSV or TSV under a line of names. The shop's own fields are:

    \b
    sku           needed; the shop's own code
    name          needed; also title, product_name, product_title
    price         needed: 12.50, 9.99 GBP, €9.99,
                  or {"currencyCode", "units", "nanos"} as the API; also unit_price
    currency      of the price; also currency_code
    description   also short_description
    brand         also manufacturer, supplier
    category_path ["Home", "Kitchen"] or "Home > Kitchen"; also categories, category
    image_urls    a list, or URLs and blanks; also image_url, image, images
    stock         units of a new product; also initial_quantity, quantity
    active        true or false, which hides it
    attributes    an object of texts, in JSON alone

    Blanks, marks and capitals of names do not count. Files of Best Buy, Icecat and JLCPCB are
    known by their columns; of any other, --plan proposes what becomes of each column.
    """  # noqa: D301  typer wants the character: it keeps the lines of a paragraph apart
    from rich.console import Console

    from deploy.local.cli import importing

    if supplier and not plan:
        raise typer.BadParameter(
            "It goes with --plan; else the mapping names the supplier.", param_hint="--supplier"
        )
    if retire_missing and plan:
        raise typer.BadParameter("--plan changes nothing.", param_hint="--retire-missing")
    wishes = importing.Wishes(
        mapping, supplier, currency, encoding, stock, report, retire_missing, yes, yes_up_to
    )
    command = importing.plan_file if plan else importing.import_file
    command(data.absolute(), file, Console(highlight=False, soft_wrap=True), wishes)


def export(
    file: Annotated[Path, typer.Argument(help="Written as JSON lines; what is there is replaced.")],
    data: Data = DATA,
    *,
    supplier: Annotated[str, typer.Option(help="Only products that its rows made.")] = "",
) -> None:
    """Write all products, as they are at one moment, to a file that `mesh import` reads back."""
    from rich.console import Console

    from deploy.local.cli import exporting

    exporting.export_file(data.absolute(), file, Console(highlight=False, soft_wrap=True), supplier)
