"""`mesh psql`, `redis`, `env`, `open` and a second `up`, on a whole running mesh."""

import inspect
import io
import re
import subprocess
import urllib.request
import webbrowser
from dataclasses import fields, replace

import pytest
from rich.console import Console

from deploy.local.cli import main, tools
from deploy.local.cli.pages import open_page
from deploy.local.cli.up import up
from deploy.local.errors import MeshError
from deploy.local.layout import Options
from services.roster import NAMES
from tests.support.stack import Stack
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.stack

WHO = "SELECT current_user || ' ' || current_database() || ' ' || current_setting('transaction_read_only')"


@pytest.mark.parametrize(("options", "read_only"), [((), "on"), (("--write",), "off")])
def test_psql_is_the_app_role_and_reads_only_unless_asked(
    stack: Stack, options: tuple[str, ...], read_only: str
) -> None:
    said = stack.mesh("psql", "order", *options, "-Atc", WHO).stdout
    assert said == f"commerce_order_app commerce_order {read_only}\n"


def test_psql_of_an_unknown_service_names_those_there_are(stack: Stack) -> None:
    with pytest.raises(MeshError, match="no service basket") as refusal:
        tools.psql(stack.data_dir, "basket", [], write=False)
    assert "user, product, order" in refusal.value.remedy


def test_redis_prints_answers_and_stops_at_a_refusal(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.redis(stack.data_dir, ["ECHO", "two words"])
    assert capsys.readouterr().out == "two words\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("ECHO 'a b'\n\nTYPE none\nNOSUCH\nECHO late\n"))
    with pytest.raises(MeshError, match="NOSUCH"):
        tools.redis(stack.data_dir, [])
    assert capsys.readouterr().out == "a b\nnone\n"


def test_env_names_what_is_there_and_holds_no_secret(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    tools.env(stack.data_dir)
    said = capsys.readouterr().out
    shell = [
        "bash",
        "-euc",
        f'{said}\nls "$MESH_CA_FILE" "$MESH_CERT_FILE" "$MESH_KEY_FILE" "$MESH_PROTOSET"',
    ]
    assert subprocess.run(shell, capture_output=True, check=False).returncode == 0
    assert f"export MESH_URL=http://localhost:{stack.place.ports['edge']}\n" in said
    names = set(re.findall(r"^export MESH_(\w+)=localhost:\d+$", said, re.M))
    parts = {"APP", "EDGE", "EDGE_TLS", "POSTGRES", "VALKEY", "PAYMENT"}
    assert names == {*(name.upper() for name in NAMES), *parts}
    secrets = [path.read_text().strip() for path in stack.place.secrets.iterdir()]
    assert not [secret for secret in secrets if secret in said]


def test_the_address_of_the_docs_is_printed_and_opened_where_there_is_a_screen(
    stack: Stack, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    address = f"http://localhost:{stack.place.ports['edge']}/docs"
    open_page(stack.data_dir, "docs", {"DISPLAY": ""})
    assert (capsys.readouterr().out, opened) == (f"{address}\n", [])
    open_page(stack.data_dir, "docs", {"WAYLAND_DISPLAY": "wayland-0"})
    assert opened == [address]
    with urllib.request.urlopen(address, timeout=PATIENCE_SECONDS) as answer:
        assert answer.status == 200
    with pytest.raises(MeshError, match="There is no page of"):
        open_page(stack.data_dir, "of")


def test_each_option_of_up_is_one_that_a_mesh_remembers() -> None:
    options = inspect.signature(main.up).parameters.keys() - {"context", "detach"}
    assert options == {field.name for field in fields(Options)}


def test_a_second_up_says_what_it_was_asked_and_the_mesh_does_not_do(stack: Stack) -> None:
    told = io.StringIO()
    options = Options(
        stack.data_dir,
        workers=2,
        replica=True,
        redis_url="redis://:secret@elsewhere/0",
        cors_origin=("https://a.example", "https://b.example"),
        trusted_proxies=1,
    )
    asked = {"workers", "redis_url", "keep_answers", "cors_origin", "trusted_proxies"}
    up(options, Console(file=told, width=200), detach=True, asked=asked)
    assert "--workers 2 takes effect after `mesh down`: it runs with --workers 1." in told.getvalue()
    assert "--redis-url redis://elsewhere/0 takes effect" in told.getvalue()
    assert "it runs without --redis-url." in told.getvalue()
    assert "--keep-answers takes effect after `mesh down`: it runs with --no-keep-answers." in told.getvalue()
    both = "--cors-origin https://a.example --cors-origin https://b.example"
    assert f"{both} takes effect after `mesh down`: it runs without --cors-origin." in told.getvalue()
    assert "--trusted-proxies 1 takes effect" in told.getvalue()
    assert "--replica" not in told.getvalue(), "nobody asked"
    told.truncate(0)
    running = Options.from_json({**stack.state.options, "data": str(stack.data_dir)})
    up(replace(running, workers=1), Console(file=told, width=200), detach=True, asked={"workers"})
    assert "takes effect" not in told.getvalue()
    assert "already runs" in told.getvalue()
