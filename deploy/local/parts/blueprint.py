"""What a mesh consists of here: every part and step, how each is started, and what it waits for."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg

from deploy.local.errors import MeshError, StartFailed
from deploy.local.files import ensure_secret, replace_file
from deploy.local.layout import TOKEN_AUDIENCE, TOKEN_ISSUER, Layout, Options
from deploy.local.parts import postgres, probes, valkey
from deploy.local.parts.app import app_part, issuer, make_app_secrets
from deploy.local.parts.certificates import Authority, ensure_signing_key
from deploy.local.parts.edge import edge_part
from deploy.local.parts.keys import PERSONAL_KEYS, ensure_key_file
from deploy.local.parts.mail import mail_settings, make_mail_secrets
from deploy.local.parts.outside import (
    OUTSIDE_SCHEMES,
    OutsideUrl,
    check_server_url,
    database_url,
    without_password,
)
from deploy.local.parts.part import Part, Step
from deploy.local.parts.payment import payment_part
from deploy.local.parts.privileges import python_module
from services.roster import NAMES, SERVICES, Service
from services.settings import read_secret
from services.storage.schema import MigrationError, migrate, migration_folders

_POOL_SIZE = 10
# Feeds and loops hold connections beside the pool.
_CONNECTIONS_OF_A_WORKER = _POOL_SIZE + 4
# Operators, tests and the replica want some too.
_SPARE_CONNECTIONS = 40
# While a rolling restart runs there is one worker more.
_SPARE_WORKERS = 1
# Files in the folder of secrets.
_SUPERUSER_SECRET = "postgres"  # noqa: S105  a name
_LOGIN_KEY = "login_key"
_OUTSIDE_REDIS = "outside_redis"


@dataclass(frozen=True)
class Blueprint:
    """Everything that parts are made from."""

    options: Options
    layout: Layout
    authority: Authority
    # Sockets live here: their paths must be short.
    runtime_folder: Path

    @property
    def is_postgres_ours(self) -> bool:
        """False when a server of others is used."""
        return self.options.postgres_url is None

    @property
    def cluster(self) -> postgres.Cluster:
        """Our PostgreSQL server."""
        workers = len(SERVICES) * (self.options.workers + _SPARE_WORKERS)
        connections = workers * _CONNECTIONS_OF_A_WORKER + _SPARE_CONNECTIONS
        return postgres.Cluster(self.layout.data / "postgres", self.layout.ports["postgres"], connections)

    @property
    def replica(self) -> postgres.Cluster:
        """Its follower."""
        folder = self.layout.data / "postgres-replica"
        return postgres.Cluster(folder, self.layout.ports["postgres-replica"], self.cluster.max_connections)

    @property
    def server_url(self) -> str:
        """Where the PostgreSQL server is; of ours without a login."""
        if self.options.postgres_url is not None:
            return check_server_url(
                self.options.postgres_url, OUTSIDE_SCHEMES["postgres_url"], "--postgres-url"
            )
        return f"postgresql://{self.layout.address('postgres')}"

    def secret(self, name: str) -> str:
        """Read one of the secrets that `make_secrets` made."""
        return read_secret(self.layout.secret(name))


def build(blueprint: Blueprint) -> list[Part | Step]:
    """List the parts and steps of a mesh. Makes nothing: a part's files are made by its `prepare`.

    Raises:
        MeshError: an option is wrong, or a wheel is missing.
    """
    return [
        *_postgres_parts(blueprint),
        _outside_cache(blueprint) if blueprint.options.redis_url else _valkey_part(blueprint),
        *([] if blueprint.options.payment_url else [payment_part(blueprint.layout)]),
        *(part for service in SERVICES for part in _service_parts(blueprint, service)),
        app_part(blueprint.layout, blueprint.authority, blueprint.options),
        _edge_part(blueprint),
    ]


def make_secrets(blueprint: Blueprint) -> None:
    """Make every secret that the parts read, unless it is there.

    Raises:
        MeshError: an option is wrong.
    """
    layout, options = blueprint.layout, blueprint.options
    names = [role for name in NAMES for role in postgres.roles(postgres.database_name(name))]
    names += [f"page_token_{name}" for name in NAMES]
    names += [_SUPERUSER_SECRET, postgres.REPLICATION_ROLE] if blueprint.is_postgres_ours else []
    names += ["valkey"] if options.redis_url is None else []
    names += ["payment_api_key"] if options.payment_url is None else []
    for name in names:
        ensure_secret(layout.secret(name))
    ensure_signing_key(layout.signing_keys)
    ensure_secret(layout.secret(_LOGIN_KEY))
    make_mail_secrets(layout, options)
    make_app_secrets(layout)
    ensure_key_file(layout.secret(PERSONAL_KEYS))
    if options.redis_url is not None:
        replace_file(layout.secret(_OUTSIDE_REDIS), _outside_redis(options.redis_url).password)


def used_ports(blueprint: Blueprint) -> list[str]:
    """Name the ports that our own parts will listen on."""
    unused = {
        "postgres": not blueprint.is_postgres_ours,
        "postgres-replica": not blueprint.options.replica,
        "valkey": blueprint.options.redis_url is not None,
        "payment": blueprint.options.payment_url is not None,
    }
    return [name for name in blueprint.layout.ports if not unused.get(name, False)]


def _postgres_parts(blueprint: Blueprint) -> list[Part | Step]:
    databases = partial(_make_databases, blueprint)
    if not blueprint.is_postgres_ours:
        if blueprint.options.replica:
            raise MeshError("--replica copies our own PostgreSQL.", "Leave it out beside --postgres-url.")
        return [Step("databases", databases)]
    parts: list[Part | Step] = [
        _server_part(
            blueprint, blueprint.cluster, "postgres", partial(_prepare_primary, blueprint), after=()
        ),
        Step("databases", databases, after=("postgres",)),
    ]
    if postgres.is_new(blueprint.cluster):
        # Beside the server's start: the mesh is ready when both are done.
        work = partial(asyncio.to_thread, postgres.sync, blueprint.cluster)
        parts.append(Step("postgres-sync", work, after=("postgres",)))
    if blueprint.options.replica:
        prepare = partial(_prepare_replica, blueprint)
        parts.append(
            _server_part(blueprint, blueprint.replica, "postgres-replica", prepare, after=("databases",))
        )
    return parts


def _server_part(
    blueprint: Blueprint,
    cluster: postgres.Cluster,
    name: str,
    prepare: Callable[[], Awaitable[None]],
    after: Sequence[str] = (),
) -> Part:
    return Part(
        name=name,
        address=blueprint.layout.address(name),
        command=postgres.server_command(cluster),
        after=after,
        prepare=prepare,
        probe=partial(_postgres_is_ready, blueprint, cluster),
        stop_signal=postgres.STOP_SIGNAL,
        # After a crash it first replays its log.
        start_patience_seconds=120,
        stop_patience_seconds=60,
    )


async def _postgres_is_ready(blueprint: Blueprint, cluster: postgres.Cluster) -> bool:
    return await postgres.is_ready(cluster, blueprint.secret(_SUPERUSER_SECRET))


async def _prepare_primary(blueprint: Blueprint) -> None:
    password = blueprint.secret(_SUPERUSER_SECRET)
    await asyncio.to_thread(postgres.prepare, blueprint.cluster, password)


async def _prepare_replica(blueprint: Blueprint) -> None:
    password = blueprint.secret(postgres.REPLICATION_ROLE)
    await asyncio.to_thread(postgres.copy_replica, blueprint.cluster, blueprint.replica, password)


async def _make_databases(blueprint: Blueprint) -> None:
    roles = [role for name in NAMES for role in postgres.roles(postgres.database_name(name))]
    passwords = {role: blueprint.secret(role) for role in roles}
    url = _administrator_url(blueprint)
    try:
        await postgres.ensure_databases(url, passwords)
        if blueprint.is_postgres_ours:
            await postgres.ensure_cluster_roles(url, blueprint.secret(postgres.REPLICATION_ROLE))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartFailed(
            f"The databases could not be made: {postgres.said(error)}",
            "With --postgres-url, name a role that may create roles and databases.",
        ) from error


def _administrator_url(blueprint: Blueprint) -> str:
    """Return the PostgreSQL server's URL for one who may make roles and databases."""
    if not blueprint.is_postgres_ours:
        return blueprint.server_url
    return blueprint.cluster.dsn(postgres.SUPERUSER, blueprint.secret(_SUPERUSER_SECRET), "postgres")


async def _migrate(blueprint: Blueprint, service: str) -> None:
    database = postgres.database_name(service)
    owner, _ = postgres.roles(database)
    url = database_url(blueprint.server_url, owner, database)
    try:
        await migrate(url, migration_folders(service), password=blueprint.secret(owner))
    except (OSError, MigrationError, asyncpg.PostgresError) as error:
        raise StartFailed(
            f"The migrations of {database} failed: {postgres.said(error)}",
            "Or start anew with another data folder: --data.",
        ) from error


def _valkey_part(blueprint: Blueprint) -> Part:
    return Part(
        name="valkey",
        address=blueprint.layout.address("valkey"),
        command=valkey.server_command(_valkey_folder(blueprint)),
        prepare=partial(_prepare_valkey, blueprint),
        probe=partial(_valkey_is_ready, blueprint),
    )


def _outside_cache(blueprint: Blueprint) -> Step:
    return Step("cache", partial(_find_cache, blueprint))


async def _find_cache(blueprint: Blueprint) -> None:
    """See that it is there: without it log-ins are not throttled, and the mesh would run all the same."""
    if not await probes.redis_answers(blueprint.options.redis_url or ""):
        raise StartFailed(
            "The cache that --redis-url names does not answer.",
            "Start it, or correct its address and password; without --redis-url the mesh runs its own.",
        )


def _valkey_folder(blueprint: Blueprint) -> Path:
    return blueprint.layout.data / "valkey"


async def _prepare_valkey(blueprint: Blueprint) -> None:
    port = blueprint.layout.ports["valkey"]
    valkey.write_configuration(_valkey_folder(blueprint), port, blueprint.secret("valkey"))


async def _valkey_is_ready(blueprint: Blueprint) -> bool:
    return await probes.valkey_is_ready(blueprint.layout.address("valkey"), blueprint.secret("valkey"))


def _service_parts(blueprint: Blueprint, service: Service) -> list[Part | Step]:
    migrations = Step(
        f"{service.name}-migrations", partial(_migrate, blueprint, service.name), after=("databases",)
    )
    numbers = range(1, blueprint.options.workers + 1)
    names = [service.name] if len(numbers) == 1 else [f"{service.name}-{number}" for number in numbers]
    return [migrations, *(_worker_part(blueprint, service, name) for name in names)]


def _worker_part(blueprint: Blueprint, service: Service, name: str) -> Part:
    return Part(
        name=name,
        address=blueprint.layout.address(service.name),
        command=python_module(f"services.{service.name}", "serve"),
        environment=_service_settings(blueprint, service),
        after=(f"{service.name}-migrations",),
        uses=[*(["valkey"] if service.uses_cache else []), *(["payment"] if service.uses_payment else [])],
        shares_port=True,
    )


def _service_settings(blueprint: Blueprint, service: Service) -> dict[str, str]:
    layout = blueprint.layout
    settings = _common_settings(blueprint, service.name)
    settings |= {f"COMMERCE_{peer.upper()}_ADDRESS": layout.address(peer) for peer in service.calls}
    if service.signs_tokens:
        settings["COMMERCE_SIGNING_KEY_FILE"] = str(layout.signing_keys)
        settings["COMMERCE_LOGIN_KEY_FILE"] = str(layout.secret(_LOGIN_KEY))
        settings["COMMERCE_PUBLIC_URL"] = issuer(layout, blueprint.options)
    if service.keeps_people:
        settings |= _people_settings(blueprint)
    if service.uses_cache:
        settings |= _cache_settings(blueprint)
    if service.reads_replica and blueprint.options.replica:
        settings |= _replica_settings(blueprint, service.name)
    if service.sends_mail:
        settings |= mail_settings(layout, blueprint.options)
    if service.uses_payment:
        settings |= _payment_settings(blueprint)
    if service.keeps_index:
        settings["COMMERCE_SEARCH_INDEX_FOLDER"] = str(layout.search_index)
    return settings


def _replica_settings(blueprint: Blueprint, service: str) -> dict[str, str]:
    database = postgres.database_name(service)
    _, app = postgres.roles(database)
    url = database_url(f"postgresql://{blueprint.layout.address('postgres-replica')}", app, database)
    return {"COMMERCE_REPLICA_DATABASE_URL": url}


def _people_settings(blueprint: Blueprint) -> dict[str, str]:
    settings = {"COMMERCE_PERSONAL_KEY_FILE": str(blueprint.layout.secret(PERSONAL_KEYS))}
    if (days := blueprint.options.erase_after_days) is not None:
        settings["COMMERCE_ERASE_AFTER_DAYS"] = f"{days:g}"
    return settings


def _common_settings(blueprint: Blueprint, service: str) -> dict[str, str]:
    layout = blueprint.layout
    database = postgres.database_name(service)
    _, app = postgres.roles(database)
    tls = blueprint.authority.files(service)
    return {
        "COMMERCE_LISTEN_ADDRESS": layout.address(service),
        # Several workers, or in a rolling restart the old and the new one, share the port. Health is
        # asked of the port, so none may say NOT_SERVING for the others: it closes its connections instead.
        "COMMERCE_REUSE_PORT": "1",
        "COMMERCE_DRAIN_SECONDS": "0",
        "COMMERCE_DATABASE_URL": database_url(blueprint.server_url, app, database),
        "COMMERCE_DATABASE_PASSWORD_FILE": str(layout.secret(app)),
        "COMMERCE_DATABASE_POOL_SIZE": str(_POOL_SIZE),
        "COMMERCE_TLS_CERT_FILE": str(tls.cert),
        "COMMERCE_TLS_KEY_FILE": str(tls.key),
        "COMMERCE_TLS_CA_FILE": str(tls.ca),
        "COMMERCE_PAGE_TOKEN_KEY_FILE": str(layout.secret(f"page_token_{service}")),
        "COMMERCE_TOKEN_ISSUER": TOKEN_ISSUER,
        "COMMERCE_TOKEN_AUDIENCE": TOKEN_AUDIENCE,
    }


def _cache_settings(blueprint: Blueprint) -> dict[str, str]:
    layout, redis_url = blueprint.layout, blueprint.options.redis_url
    settings = {
        "COMMERCE_REDIS_URL": f"redis://{layout.address('valkey')}/0",
        "COMMERCE_REDIS_PASSWORD_FILE": str(layout.secret("valkey")),
    }
    if redis_url is not None:
        settings["COMMERCE_REDIS_URL"] = _outside_redis(redis_url).url
        settings["COMMERCE_REDIS_PASSWORD_FILE"] = str(layout.secret(_OUTSIDE_REDIS))
    return settings


def _outside_redis(url: str) -> OutsideUrl:
    return without_password(url, OUTSIDE_SCHEMES["redis_url"], "--redis-url")


def _payment_settings(blueprint: Blueprint) -> dict[str, str]:
    options, layout = blueprint.options, blueprint.layout
    if options.payment_url is None:
        url, key_file = f"http://{layout.address('payment')}", layout.secret("payment_api_key")
    else:
        url = check_server_url(options.payment_url, OUTSIDE_SCHEMES["payment_url"], "--payment-url")
        if options.payment_api_key_file is None:
            raise MeshError(
                "--payment-url needs the key that the provider knows us by.",
                "Put it into a file and name that with --payment-api-key-file.",
            )
        key_file = options.payment_api_key_file
    return {"COMMERCE_PAYMENT_URL": url, "COMMERCE_PAYMENT_API_KEY_FILE": str(key_file)}


def _edge_part(blueprint: Blueprint) -> Part:
    return edge_part(blueprint.layout, blueprint.authority, blueprint.runtime_folder, blueprint.options)
