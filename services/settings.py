"""Settings from environment variables, loaded once in `__main__`; secrets are paths of files.

Settings are frozen dataclasses of `variable` fields and of other such dataclasses.
"""
# ruff: noqa: RUF009  `variable` declares a field, as `dataclasses.field` does

import os
import sys
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

# sysexits.h: EX_CONFIG is 78, but shells and supervisors know 2 as "called wrongly".
EXIT_BAD_SETTINGS = 2
# As long as the SHA-256 that they key; an empty file would let anyone sign.
_LEAST_SECRET_BYTES = 32
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
# What stands in a header of a mail.
_LONGEST_LINE = 200


class SettingsError(Exception):
    """Some settings are missing or malformed; `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def address(text: str) -> str:
    """Check a `host:port`."""
    host, colon, port = text.rpartition(":")
    if not (host and colon and port.isdigit() and 0 <= int(port) <= 65535):  # noqa: PLR2004  the port range
        raise ValueError("is not host:port")
    return text


def positive_int(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdigit() or int(text) == 0:
        raise ValueError("is not a whole number above 0")
    return int(text)


def seconds(text: str) -> float:
    """Read a duration in seconds, 0 or more."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise ValueError("is not a number of seconds")
    return value


def positive_number(text: str) -> float:
    """Read a number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise ValueError("is not a number above 0")
    return value


def _number(text: str) -> float:
    """Read a number; -1 of what is none."""
    try:
        return float(text)
    except ValueError:
        return -1.0


def flag(text: str) -> bool:
    """Read "1" or "0"."""
    if text not in {"0", "1"}:
        raise ValueError("is neither 1 nor 0")
    return text == "1"


def existing_file(text: str) -> Path:
    """Check that a file can be read now; it is read again at each use."""
    path = Path(text)
    if not os.access(path, os.R_OK) or not path.is_file():
        raise ValueError(f"names {text}, which is not a readable file")
    return path


def secret_lines(text: str) -> tuple[bytes, ...]:
    """Read the secrets in a file, one a line."""
    lines = tuple(existing_file(text).read_bytes().split())
    if not lines or min(map(len, lines)) < _LEAST_SECRET_BYTES:
        raise ValueError(f"names {text}, whose lines are not secrets of {_LEAST_SECRET_BYTES} bytes or more")
    return lines


def url_of(*schemes: str) -> Callable[[str], str]:
    """Return a reader that checks a URL's scheme."""

    def read(text: str) -> str:
        if text.partition("://")[0] not in schemes:
            raise ValueError(f"is not a URL of {' or '.join(schemes)}")
        return text

    return read


def public_url(text: str) -> str:
    """Check the URL of a whole mesh: no path, no query, no slash at its end (RFC 8414, section 2)."""
    parts = urlsplit(text)
    # Raises of its own where that is no port.
    _ = parts.port
    is_plain = not parts.path and not parts.query and not parts.fragment and "@" not in parts.netloc
    is_safe = parts.scheme == "https" or parts.hostname in _LOOPBACK
    if parts.scheme not in {"https", "http"} or not parts.hostname or not is_plain or not is_safe:
        raise ValueError("is not https://HOST, without a path, or http://HOST of this machine")
    return text


def one_line(text: str) -> str:
    """Check that a text can stand in a header."""
    if not text.isprintable() or len(text) > _LONGEST_LINE:
        raise ValueError("is not one line of printable characters")
    return text


def sender_address(text: str) -> str:
    """Check the address that mails come from."""
    local, _, domain = one_line(text).rpartition("@")
    if not (local and domain and text.isascii()) or set(text) & set(' <>"(),:;[\\]'):
        raise ValueError("is not an e-mail address")
    return text


def link_base(text: str) -> str:
    """Read the URL of web pages, without a slash at its end."""
    parts = urlsplit(url_of("https", "http")(one_line(text)))
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError("is not a URL without ? and #")
    return text.rstrip("/")


def variable(name: str, parse: Callable[[str], Any] = str, *, about: str, default: Any = MISSING) -> Any:
    """Declare a field read from an environment variable.

    Args:
        name: The variable.
        parse: Turns its text into the field's value; a ValueError's text says what is wrong with it.
        about: What it is, for who runs the process.
        default: The value when the variable is unset or empty; without one it is required.
    """
    return field(default=default, metadata={"variable": name, "parse": parse, "about": about})


@dataclass(frozen=True)
class TlsFiles:
    """PEM files of mutual TLS. They are replaced by rename when rotated and read again then."""

    cert: Path = variable("COMMERCE_TLS_CERT_FILE", existing_file, about="its certificate, with its name")
    key: Path = variable("COMMERCE_TLS_KEY_FILE", existing_file, about="the key of the certificate")
    ca: Path = variable("COMMERCE_TLS_CA_FILE", existing_file, about="who signs peers' certificates")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a gRPC server listens and stops."""

    tls: TlsFiles
    listen_address: str = variable("COMMERCE_LISTEN_ADDRESS", address, about="host:port where it listens")
    reuse_port: bool = variable(
        "COMMERCE_REUSE_PORT", flag, default=False, about="1: several processes of the service share the port"
    )
    # One interval of the clients' health checks.
    drain_seconds: float = variable(
        "COMMERCE_DRAIN_SECONDS", seconds, default=2.0, about="from NOT_SERVING until it takes no more calls"
    )
    grace_seconds: float = variable(
        "COMMERCE_GRACE_SECONDS", seconds, default=10.0, about="for calls that are running when it stops"
    )
    max_concurrent_rpcs: int = variable(
        "COMMERCE_MAX_CONCURRENT_RPCS", positive_int, default=200, about="calls of people at once"
    )


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings:
    """A service's own database, as its app role."""

    url: str = variable(
        "COMMERCE_DATABASE_URL", url_of("postgresql", "postgres"), about="its database, as its app role"
    )
    password_file: Path = variable(
        "COMMERCE_DATABASE_PASSWORD_FILE", existing_file, about="that role's password"
    )
    pool_size: int = variable(
        "COMMERCE_DATABASE_POOL_SIZE", positive_int, default=10, about="connections of one process"
    )


@dataclass(frozen=True, kw_only=True)
class ReplicaSettings:
    """A streaming replica of the service's database, read as the same app role with the same password."""

    replica_url: str | None = variable(
        "COMMERCE_REPLICA_DATABASE_URL",
        url_of("postgresql", "postgres"),
        default=None,
        about="a streaming replica of its database, for reads that may be some moments old; unset: none",
    )


@dataclass(frozen=True, kw_only=True)
class MigrationSettings:
    """The same database, as its owner role."""

    url: str = variable(
        "COMMERCE_MIGRATION_DATABASE_URL", url_of("postgresql", "postgres"), about="as its owner role"
    )
    password_file: Path = variable(
        "COMMERCE_MIGRATION_DATABASE_PASSWORD_FILE", existing_file, about="that role's password"
    )


@dataclass(frozen=True, kw_only=True)
class PageSettings:
    """Secrets of page tokens, alike in all processes of a service.

    The first line signs, all lines verify. To rotate: add the new one as the second line and restart all
    processes, then move it to the first and restart again; the old one may go when old tokens may.
    """

    token_keys: tuple[bytes, ...] = variable(
        "COMMERCE_PAGE_TOKEN_KEY_FILE",
        secret_lines,
        about="secrets of page tokens, one a line: the first signs",
    )


@dataclass(frozen=True, kw_only=True)
class RedisSettings:
    """Valkey or Redis; what it holds may be lost."""

    url: str = variable("COMMERCE_REDIS_URL", url_of("redis", "rediss"), about="Valkey or Redis")
    password_file: Path = variable("COMMERCE_REDIS_PASSWORD_FILE", existing_file, about="its password")


@dataclass(frozen=True, kw_only=True)
class TokenSettings:
    """Whose access tokens are accepted."""

    issuer: str = variable("COMMERCE_TOKEN_ISSUER", about="who issues access tokens (iss)")
    audience: str = variable("COMMERCE_TOKEN_AUDIENCE", about="whom they are for (aud)")


def log_level(text: str) -> str:
    """Read the name of a log level."""
    if text.lower() not in {"debug", "info", "warning", "error"}:
        raise ValueError("is not debug, info, warning or error")
    return text.lower()


@dataclass(frozen=True, kw_only=True)
class TelemetrySettings:
    """Logs go to stderr; spans go to the collector, if there is one."""

    log_level: str = variable(
        "COMMERCE_LOG_LEVEL", log_level, default="info", about="debug, info, warning or error"
    )
    otlp_endpoint: str | None = variable(
        "OTEL_EXPORTER_OTLP_ENDPOINT", default=None, about="where spans go (OTLP over gRPC); unset: nowhere"
    )


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """What every service is started with."""

    server: ServerSettings
    database: DatabaseSettings
    tokens: TokenSettings
    pages: PageSettings
    telemetry: TelemetrySettings


def read_secret(path: Path) -> str:
    """Read a secret at its use, so that a rotated one is seen. A closing newline is not part of it."""
    return path.read_text(encoding="utf-8").rstrip("\r\n")


Settings = typing.TypeVar("Settings")


def load(settings_class: type[Settings], environ: Mapping[str, str]) -> Settings:
    """Build `settings_class` from environment variables.

    Raises:
        SettingsError: names every variable that is missing or malformed.
    """
    problems: list[str] = []
    settings = _load(settings_class, environ, problems)
    if problems:
        raise SettingsError(problems)
    return settings


def reference(settings_class: type[Any]) -> list[tuple[str, str, str]]:
    """Return each variable with its default, "required" without one, and what it is."""
    types = typing.get_type_hints(settings_class)
    found = []
    for item in _init_fields(settings_class):
        if is_dataclass(types[item.name]):
            found += reference(types[item.name])
        else:
            found.append((item.metadata["variable"], _default_of(item), item.metadata["about"]))
    return sorted(found)


def _default_of(item: Field[Any]) -> str:
    if item.default is MISSING:
        return "required"
    # As it is written: a flag is 1 or 0, and nothing is no text.
    return (
        ""
        if item.default is None
        else f"{item.default:g}"
        if type(item.default) in (bool, float)
        else str(item.default)
    )


def load_or_exit(settings_class: type[Settings]) -> Settings:
    """Load from the process's environment; print what is wrong and exit with status 2."""
    try:
        return load(settings_class, os.environ)
    except SettingsError as error:
        exit_with("The settings are not complete:", error.problems)


def exit_with(headline: str, lines: list[str]) -> NoReturn:
    """Print a message for the person who starts the process and exit."""
    sys.stderr.write("\n  ".join([headline, *lines]) + "\n")
    raise SystemExit(EXIT_BAD_SETTINGS)


def _load(settings_class: type[Settings], environ: Mapping[str, str], problems: list[str]) -> Settings:
    types = typing.get_type_hints(settings_class)
    values: dict[str, Any] = {}
    for item in _init_fields(settings_class):
        if is_dataclass(types[item.name]):
            values[item.name] = _load(types[item.name], environ, problems)
        else:
            values[item.name] = _read(item, environ, problems)
    return settings_class(**values)


def _init_fields(settings_class: type[Any]) -> Iterator[Field[Any]]:
    return (item for item in fields(settings_class) if item.init)


def _read(item: Field[Any], environ: Mapping[str, str], problems: list[str]) -> Any:
    name: str = item.metadata["variable"]
    text = environ.get(name, "")
    if not text:
        if item.default is MISSING:
            problems.append(f"{name} is missing")
            return None
        return item.default
    try:
        return item.metadata["parse"](text)
    except ValueError as error:
        problems.append(f"{name} {error}")
        return None
