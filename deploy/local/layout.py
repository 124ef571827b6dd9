"""Where one running mesh lives: its data folder, its ports, and what it was asked to be."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.roster import SERVICES
from services.settings import TlsFiles

TOKEN_ISSUER = "https://commerce.local"  # noqa: S105  a claim, not a secret
TOKEN_AUDIENCE = "commerce"  # noqa: S105  a claim, not a secret

_PORTS = {
    "edge": 8080,
    "edge-tls": 8443,
    **{service.name: service.port for service in SERVICES},
    "app": 8090,
    "postgres": 15432,
    "postgres-replica": 15433,
    "valkey": 16379,
    "payment": 8092,
}
# The highest port is 65535.
MAX_PORT_OFFSET = 65535 - max(_PORTS.values())


@dataclass(frozen=True)
class Options:
    """What `mesh up` was asked for. The URLs may hold passwords: they are kept out of the state file."""

    data: Path
    port_offset: int = 0
    workers: int = 1
    replica: bool = False
    rate_limit_scale: float = 1.0
    # Calls of an address without a token in 15 minutes. 0: no limit; None: what suits who can reach the edge.
    anonymous_limit: int | None = None
    keep_answers: bool = True
    cors_origin: tuple[str, ...] = ()
    trusted_proxies: int = 0
    # HOST:PORT of the service that counts calls for several edges.
    shared_limits: str | None = None
    postgres_url: str | None = None
    redis_url: str | None = None
    payment_url: str | None = None
    payment_api_key_file: Path | None = None
    smtp_url: str | None = None
    mail_sender: str | None = None
    mail_product: str | None = None
    mail_link_base: str | None = None
    # Where people and clients reach the mesh; None: on this machine.
    public_url: str | None = None
    # Whether GraphQL tells its schema, and shows GraphiQL; and the only queries that it answers.
    graphql_schema: bool = True
    graphql_queries: Path | None = None
    # From the closing of an account to its erasure; None: as the service has it.
    erase_after_days: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Turn into what `from_json` reads."""
        return {key: _as_json(value) for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Options":
        """Read what `to_json` wrote."""
        names = ("data", "payment_api_key_file", "graphql_queries")
        paths = {name: Path(values[name]) if values[name] else None for name in names}
        return cls(**{**values, **paths, "cors_origin": tuple(values["cors_origin"])})


@dataclass(frozen=True)
class Layout:
    """The folders and ports of one mesh."""

    data: Path
    port_offset: int = 0

    @property
    def ports(self) -> dict[str, int]:
        """Every port that a part may use."""
        return {name: port + self.port_offset for name, port in _PORTS.items()}

    def address(self, name: str) -> str:
        """Name the host:port of a part."""
        return f"127.0.0.1:{self.ports[name]}"

    @property
    def public_url(self) -> str:
        """Where people and clients reach the mesh, as discovery and ID tokens name it."""
        return f"http://localhost:{self.ports['edge']}"

    @property
    def urls(self) -> dict[str, str]:
        """Where people reach the mesh."""
        return {
            "REST, gRPC and gRPC-Web": f"http://localhost:{self.ports['edge']}",
            "the same over TLS": f"https://localhost:{self.ports['edge-tls']}",
            "what it answers": f"http://localhost:{self.ports['edge']}/docs",
        }

    @property
    def secrets(self) -> Path:
        """Passwords and keys, one a file."""
        return self.data / "secrets"

    @property
    def certificates(self) -> Path:
        """The local authority and its leaves."""
        return self.data / "certificates"

    @property
    def logs(self) -> Path:
        """What the parts print, a file each."""
        return self.data / "logs"

    @property
    def state(self) -> Path:
        """What runs now."""
        return self.data / "state.json"

    @property
    def lock(self) -> Path:
        """Held by the supervisor for as long as it lives."""
        return self.data / "lock"

    @property
    def rotation_lock(self) -> Path:
        """Held by the one that rotates the keys of what is personal."""
        return self.data / "rotation.lock"

    @property
    def mail(self) -> Path:
        """The mails that were sent, a file each, unless a server of others sends them."""
        return self.data / "mail"

    @property
    def search_index(self) -> Path:
        """The index of searches: made anew from the database where it is not there."""
        return self.data / "search"

    @property
    def seeded(self) -> Path:
        """Which demo catalogue the shop was filled with."""
        return self.data / "seeded"

    def tls_files(self, identity: str) -> TlsFiles:
        """Name the files of an identity's certificate."""
        return tls_files(self.certificates, identity)

    @property
    def signing_keys(self) -> Path:
        """The keys that sign tokens."""
        return self.secret("signing_key.pem")

    def secret(self, name: str) -> Path:
        """Name the file of one secret."""
        return self.secrets / name


def _as_json(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def tls_files(certificates: Path, identity: str) -> TlsFiles:
    """Name the files of an identity in a folder of certificates."""
    return tls_files_in(certificates / identity)


def tls_files_in(folder: Path) -> TlsFiles:
    """Name the files of a certificate in a folder of its own."""
    return TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")
