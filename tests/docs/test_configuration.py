"""docs/configuration.md names each variable that a service reads, and each option of `mesh up`."""

import importlib
from typing import Any

import pytest
import typer.main

from deploy.local.cli.main import app
from gateway.app.__main__ import AppSettings
from gateway.contract.protoc import ROOT
from services.rpc.main import MigrateSettings
from services.roster import NAMES
from services.settings import reference

PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def as_printed(name: str, default: str, about: str) -> str:
    return " ".join(f"{name} {default} {about}".split())


@pytest.mark.parametrize("service", NAMES)
def test_each_variable_of_a_service_stands_there_with_its_default(service: str) -> None:
    block = PAGE.split(f"services.{service} settings\n", 1)[1].split("```", 1)[0]
    settings = importlib.import_module(f"services.{service}.__main__").ServeSettings
    expected = ["serve", *(as_printed(*each) for each in reference(settings))]
    expected += ["migrate", *(as_printed(*each) for each in reference(MigrateSettings))]
    assert [" ".join(line.split()) for line in block.splitlines() if line] == expected


def test_each_variable_of_the_app_stands_there_with_its_default() -> None:
    table = PAGE.split("`python -m gateway.app`", 1)[1].split("\n\n", 2)[1]
    rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert [tuple(row) for row in rows] == reference(AppSettings)


def test_each_option_of_mesh_up_stands_there() -> None:
    mesh: Any = typer.main.get_command(app)
    up = mesh.commands["up"]
    options = {name for parameter in up.params for name in (*parameter.opts, *parameter.secondary_opts)}
    missing = {name for name in options if name.startswith("--") and f"`{name}" not in PAGE}
    assert missing <= {"--keep-answers"}
