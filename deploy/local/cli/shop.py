"""Using a running mesh: `mesh token`, `import`, `seed` and `smoke`."""

import csv
import hashlib
import sys
from pathlib import Path

import grpc
from commerce.product.v1.product_pb2 import ImportIssue
from commerce.user.v1.auth_pb2 import IssueOperatorTokenRequest
from commerce.user.v1.auth_pb2_grpc import AuthServiceStub
from commerce.user.v1.role_pb2 import Role
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.cli.terminal import harmless
from deploy.local.errors import MeshError
from deploy.local.files import replace_file
from deploy.local.shop import clients, smoke
from deploy.local.shop.catalogue import Catalogue, Defaults, open_catalogue
from deploy.local.shop.importer import ImportReport, import_items

_DEMO_CATALOGUE = Path(__file__).parents[1] / "shop" / "demo" / "catalogue.json"
_SHOWN_ISSUES = 50
_CALL_TIMEOUT_SECONDS = 10.0


def token(data: Path, role: str) -> None:
    """Print an access token and nothing else."""
    sys.stdout.write(issue_token(running_mesh(data), role) + "\n")


def issue_token(mesh: RunningMesh, role: str) -> str:
    """Ask the user service for an access token, as the operator.

    Raises:
        MeshError: there is no such role, or the service refuses.
    """
    names = [name.removeprefix("ROLE_").lower() for name, value in Role.items() if value]
    if role not in names:
        raise MeshError(f"There is no role {role}.", f"The roles are {', '.join(names)}.")
    request = IssueOperatorTokenRequest(role=f"ROLE_{role.upper()}")
    try:
        with clients.service_channel(mesh.layout, "user", mesh.operator) as channel:
            answer = AuthServiceStub(channel).IssueOperatorToken(request, timeout=_CALL_TIMEOUT_SECONDS)
    except grpc.RpcError as error:
        raise MeshError(
            f"No token was issued: {error.code().name}: {error.details()}.",
            "See `mesh status` and `mesh logs user`.",
        ) from error
    return str(answer.access_token)


def import_file(data: Path, path: Path, console: Console, *, defaults: Defaults, report: Path | None) -> None:
    """Import a catalogue with a progress bar, and say what became of each row that failed."""
    mesh = running_mesh(data)
    catalogue = open_catalogue(path, defaults)
    result = _import(mesh, catalogue, console)
    _print_issues(result.issues, console)
    if report is not None:
        _write_report(report, result.issues)
    console.print(_summary(path.name, result))
    if result.failed:
        raise SystemExit(1)


def seed(data: Path, console: Console, *, again: bool) -> None:
    """Import the demo catalogue, unless it was imported before and has not changed since.

    A second import would set back each demo product that somebody has edited, and bring back the deleted.
    """
    seeded = running_mesh(data).layout.seeded
    digest = hashlib.sha256(_DEMO_CATALOGUE.read_bytes()).hexdigest()
    if not again and seeded.exists() and seeded.read_text(encoding="utf-8") == digest:
        console.print("Filled before; nothing changed. `mesh seed --again` imports the demo catalogue anew.")
        return
    import_file(data, _DEMO_CATALOGUE, console, defaults=Defaults(), report=None)
    replace_file(seeded, digest)


def smoke_test(data: Path, console: Console) -> None:
    """Layout a first order and say what was done and where."""
    mesh = running_mesh(data)
    console.print("A first order, end to end:")
    smoke.run(mesh.layout, lambda what, result, seconds: _print_step(console, what, result, seconds))
    for what, url in mesh.layout.urls.items():
        console.print(f"  {what:<24} {url}")


def _print_step(console: Console, what: str, result: str, seconds: float) -> None:
    console.print(f"  [green]✓[/] {what:<26} {seconds * 1000:6.0f} ms  {result}", soft_wrap=True)


def _import(mesh: RunningMesh, catalogue: Catalogue, console: Console) -> ImportReport:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress, clients.edge_channel(mesh.layout) as channel:
        task = progress.add_task(f"Importing {catalogue.path.name}", total=catalogue.row_count)
        return import_items(
            channel,
            lambda: issue_token(mesh, "merchant"),
            catalogue.items,
            lambda so_far: progress.update(task, completed=so_far.rows),
        )


def _summary(name: str, result: ImportReport) -> str:
    counts = (
        f"{result.created:,} created, {result.updated:,} updated, "
        f"{result.unchanged:,} unchanged, {result.failed:,} failed"
    )
    if result.rows and result.unchanged == result.rows:
        return f"{name}: nothing changed; all {result.rows:,} rows are in the shop already ({counts})."
    return f"{name}: {result.rows:,} rows: {counts}."


def _print_issues(issues: list[ImportIssue], console: Console) -> None:
    for issue in issues[:_SHOWN_ISSUES]:
        sku = f" {issue.sku}" if issue.sku else ""
        line = harmless(f"  row {issue.row_number}{sku}: {issue.reason}: {issue.message}")
        console.print(line, markup=False)
    if len(issues) > _SHOWN_ISSUES:
        console.print(f"  … and {len(issues) - _SHOWN_ISSUES:,} more; --report FILE writes them all.")


def _write_report(path: Path, issues: list[ImportIssue]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row_number", "sku", "reason", "message"])
        writer.writerows([issue.row_number, issue.sku, issue.reason, issue.message] for issue in issues)
