"""Looking at a running mesh: `mesh status`."""

import asyncio
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
from commerce.user.v1.recovery_pb2 import GetMailQueueRequest, MailQueue
from commerce.user.v1.recovery_pb2_grpc import RecoveryServiceStub
from rich.console import Console
from rich.table import Table

from deploy.local.cli.running import RunningMesh, running_mesh
from deploy.local.shop import clients
from deploy.local.supervision import health

_TIMEOUT_SECONDS = 2.0


def status(data: Path, console: Console, *, as_json: bool) -> None:
    """Show every part, each asked just now whether it answers."""
    mesh = running_mesh(data)
    healthy = asyncio.run(health.ask_all(mesh.layout, mesh.state))
    mails = _mail_queue(mesh)
    if as_json:
        console.print(json.dumps(_as_json(mesh, healthy, mails), indent=1), markup=False, soft_wrap=True)
    else:
        _print_table(mesh, healthy, console)
        console.print(f"  {'mails that wait':<24} {_told(mails)}")
    if not mesh.state.ready or not all(healthy.values()):
        raise SystemExit(1)


def _mail_queue(mesh: RunningMesh) -> MailQueue | None:
    """Ask the user service; None while it does not answer."""
    with clients.service_channel(mesh.layout, "user", mesh.operator) as channel:
        try:
            queue: MailQueue = RecoveryServiceStub(channel).GetMailQueue(
                GetMailQueueRequest(), timeout=_TIMEOUT_SECONDS
            )
        except grpc.RpcError:
            return None
    return queue


def _told(mails: MailQueue | None) -> str:
    if mails is None:
        return "unknown: the user service does not answer"
    if mails.waiting_count == 0:
        return "none"
    return f"{mails.waiting_count}, the oldest for {_age(mails.oldest_create_time.ToJsonString())}"


def _as_json(mesh: RunningMesh, healthy: dict[str, bool], mails: MailQueue | None) -> dict[str, Any]:
    parts = [{**asdict(part), "healthy": healthy[part.name]} for part in mesh.state.parts]
    waiting = None if mails is None else mails.waiting_count
    return {**asdict(mesh.state), "urls": mesh.layout.urls, "parts": parts, "mails_waiting": waiting}


def _print_table(mesh: RunningMesh, healthy: dict[str, bool], console: Console) -> None:
    table = Table("part", "pid", "address", "since", "restarts", "state", "healthy", box=None)
    for part in mesh.state.parts:
        answer = "[green]yes[/]" if healthy[part.name] else "[red]no[/]"
        since = _age(part.since) if part.since else ""
        table.add_row(
            part.name, str(part.pid or ""), part.address, since, str(part.restarts), part.state, answer
        )
    console.print(table)
    for what, url in mesh.layout.urls.items():
        console.print(f"  {what:<24} {url}")


def _age(since: str) -> str:
    seconds = int((datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds())
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
