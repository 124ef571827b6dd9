"""The command line of every service: `serve`, `migrate` for its database, and `settings` of both."""

import argparse
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from services.process import fail, run
from services.settings import (
    MigrationSettings,
    TelemetrySettings,
    load_or_exit,
    read_secret,
    reference,
)
from services.storage.schema import MigrationError, migrate, migration_folders
from services.telemetry import logs

Command: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, kw_only=True)
class MigrateSettings:
    """What `migrate` is started with."""

    database: MigrationSettings
    telemetry: TelemetrySettings


def service_main(name: str, settings_class: type[Any], serve: Command) -> None:
    """Run the command that is named on the command line.

    Args:
        name: The service: "order".
        settings_class: What it is started with.
        serve: Wires the service and serves until it is asked to stop.
    """
    commands: dict[str, Command] = {"serve": serve, "migrate": partial(_migrate, name)}
    parser = argparse.ArgumentParser(
        prog=f"python -m services.{name}", description=f"The {name} service, and the schema of its database."
    )
    parser.add_argument("command", choices=[*commands, "settings"])
    command = parser.parse_args().command
    if command == "settings":
        sys.stdout.write(f"{_told('serve', settings_class)}\n{_told('migrate', MigrateSettings)}")
        return
    run(commands[command])


def _told(command: str, settings_class: type[Any]) -> str:
    """Return what a command reads of its environment."""
    lines = (f"  {name:<41} {default:<9} {about}\n" for name, default, about in reference(settings_class))
    return f"{command}\n{''.join(lines)}"


async def _migrate(name: str) -> None:
    settings = load_or_exit(MigrateSettings)
    logs.configure(name, settings.telemetry)
    password = read_secret(settings.database.password_file)
    try:
        await migrate(settings.database.url, migration_folders(name), password=password)
    except MigrationError as error:
        fail(str(error))
