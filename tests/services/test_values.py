"""Settings and money: what every service reads and counts with."""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from services.money import round_line
from services.settings import (
    DatabaseSettings,
    ServerSettings,
    SettingsError,
    TelemetrySettings,
    address,
    load,
    load_or_exit,
    read_secret,
    variable,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    server: ServerSettings
    database: DatabaseSettings
    telemetry: TelemetrySettings
    user_address: str = variable("COMMERCE_USER_ADDRESS", address, about="host:port of the user service")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    path = tmp_path / "file"
    path.write_text("secret\n")
    return {
        "COMMERCE_LISTEN_ADDRESS": "127.0.0.1:50051",
        "COMMERCE_TLS_CERT_FILE": str(path),
        "COMMERCE_TLS_KEY_FILE": str(path),
        "COMMERCE_TLS_CA_FILE": str(path),
        "COMMERCE_DATABASE_URL": "postgresql://commerce_user_app@127.0.0.1:54320/commerce_user",
        "COMMERCE_DATABASE_PASSWORD_FILE": str(path),
        "COMMERCE_USER_ADDRESS": "127.0.0.1:50051",
    }


def test_settings_are_read_with_their_defaults(environ: dict[str, str]) -> None:
    settings = load(Settings, environ | {"COMMERCE_REUSE_PORT": "1", "COMMERCE_DRAIN_SECONDS": "0"})
    assert (settings.server.reuse_port, settings.server.drain_seconds) == (True, 0.0)
    assert (settings.server.grace_seconds, settings.server.max_concurrent_rpcs) == (10.0, 200)
    assert settings.database.pool_size == 10
    assert (settings.telemetry.log_level, settings.telemetry.otlp_endpoint) == ("info", None)
    assert read_secret(settings.database.password_file) == "secret"


def test_every_missing_and_malformed_setting_is_named_at_once() -> None:
    wrong = {
        "COMMERCE_LISTEN_ADDRESS": "nowhere",
        "COMMERCE_REUSE_PORT": "yes",
        "COMMERCE_GRACE_SECONDS": "-1",
        "COMMERCE_DATABASE_URL": "mysql://x",
        "COMMERCE_DATABASE_POOL_SIZE": "0",
        "COMMERCE_TLS_KEY_FILE": "/nonexistent",
        "COMMERCE_LOG_LEVEL": "loud",
    }
    with pytest.raises(SettingsError) as caught:
        load(Settings, wrong)
    named = {problem.partition(" ")[0] for problem in caught.value.problems}
    assert named == set(wrong) | {
        "COMMERCE_TLS_CERT_FILE",
        "COMMERCE_TLS_CA_FILE",
        "COMMERCE_DATABASE_PASSWORD_FILE",
        "COMMERCE_USER_ADDRESS",
    }


def test_process_with_bad_settings_says_so_and_exits_with_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMMERCE_USER_ADDRESS", raising=False)
    with pytest.raises(SystemExit) as caught:
        load_or_exit(Settings)
    assert caught.value.code == 2
    assert "COMMERCE_USER_ADDRESS is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("2.345", "USD", "2.34"),
        ("2.355", "USD", "2.36"),
        ("2.3450001", "USD", "2.35"),
        ("-2.345", "USD", "-2.34"),
        ("10", "EUR", "10.00"),
        ("0.5", "JPY", "0"),
        ("1.5", "JPY", "2"),
        ("2.5", "JPY", "2"),
        ("1.2345", "KWD", "1.234"),
        ("1.2355", "BHD", "1.236"),
        ("1.00005", "CLF", "1.0000"),
        ("99.995", "GBP", "100.00"),
    ],
)
def test_line_is_rounded_half_even_to_the_minor_unit(amount: str, currency: str, rounded: str) -> None:
    assert str(round_line(Decimal(amount), currency)) == rounded
