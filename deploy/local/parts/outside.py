"""Connection URLs: those of our own parts, and those of outside parts that replace them."""

from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urlsplit

from deploy.local.errors import MeshError

# The options of `mesh up` that name a part of others, and what its URL may begin with.
OUTSIDE_SCHEMES = {
    "postgres_url": ("postgresql", "postgres"),
    "redis_url": ("redis", "rediss"),
    "payment_url": ("https", "http"),
    "smtp_url": ("smtp", "smtps"),
}


@dataclass(frozen=True)
class OutsideUrl:
    """A URL without its password, and the password."""

    url: str
    password: str


def without_password(url: str, schemes: tuple[str, ...], option: str) -> OutsideUrl:
    """Take the password out of a URL, so that it can be kept in a file.

    Raises:
        MeshError: it is no URL of these schemes.
    """
    parts = _parse(url, schemes, option)
    user = parts.username or ""
    return OutsideUrl(_with_login(parts, user), unquote(parts.password or ""))


def without_secrets(url: str, schemes: tuple[str, ...], option: str) -> str:
    """Take every password out of a URL, also those among its parameters, so that it can be shown.

    Raises:
        MeshError: it is no URL of these schemes.
    """
    parts = urlsplit(without_password(url, schemes, option).url)
    kept = [pair for pair in parts.query.split("&") if "password" not in pair.partition("=")[0].lower()]
    return parts._replace(query="&".join(kept)).geturl()


def database_url(server_url: str, role: str, database: str) -> str:
    """Turn the URL of a PostgreSQL server into that of one role and database, with no password in it."""
    return _with_login(urlsplit(server_url), role, f"/{database}")


def check_server_url(url: str, schemes: tuple[str, ...], option: str) -> str:
    """Answer the URL when it has one of these schemes and names a host.

    Raises:
        MeshError: it does not.
    """
    _parse(url, schemes, option)
    return url


def _parse(url: str, schemes: tuple[str, ...], option: str) -> SplitResult:
    parts = urlsplit(url)
    if parts.scheme not in schemes or not parts.hostname:
        raise MeshError(
            f"{option} is not a URL of {' or '.join(schemes)} with a host.",
            f"Write it like {schemes[0]}://user:password@host:port/…",
        )
    return parts


def _with_login(parts: SplitResult, user: str, path: str | None = None) -> str:
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    login = f"{quote(user, safe='')}@" if user else ""
    return parts._replace(netloc=f"{login}{host}{port}", path=path or parts.path).geturl()
