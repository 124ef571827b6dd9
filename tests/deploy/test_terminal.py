"""What data may not do to the terminal that shows it."""

import io
import json

import pytest
from typer.main import get_group
from typer.testing import CliRunner

from deploy.local.cli import call, main
from deploy.local.errors import MeshError
from deploy.local.terminal import harmless


def test_what_a_terminal_acts_on_is_written_as_json_escapes_it(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b]0;t\x07 \x9b31m \u202egpj.exe \u2067"
    call.print_line(json.dumps({"name": name}, ensure_ascii=False))
    printed = capsys.readouterr().out
    assert printed.isprintable() or printed.rstrip("\n").isprintable()
    assert json.loads(printed) == {"name": name}


def test_names_of_people_stay_as_they_are() -> None:
    text = 'Zoë Łukasz 山田 עברית "a\tb"\n  [x]'
    assert harmless(text) == text


def test_help_names_each_option_whole_on_a_narrow_terminal() -> None:
    command = get_group(main.app).commands["up"]
    told = CliRunner().invoke(main.app, ["up", "--help"], terminal_width=80, env={"COLUMNS": "80"}).output
    names = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    assert {"--trusted-proxies", "--no-keep-answers"} < names
    assert not {name for name in names if name not in told}


def test_an_error_that_quotes_markup_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told = io.StringIO()

    def fail() -> None:
        raise MeshError("There is no X\\[/foo] \x1b[2J.", "Name [bold]another[/].")

    monkeypatch.setattr(main, "app", fail)
    monkeypatch.setattr(main.errors, "_file", told)
    with pytest.raises(SystemExit):
        main.main()
    assert told.getvalue() == "There is no X\\[/foo] \\u001b[2J.\nName [bold]another[/].\n"
