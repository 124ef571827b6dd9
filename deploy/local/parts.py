"""What a mesh consists of here: every part and step, how each is started, and what it waits for."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg

import services
from deploy.local import postgres, probes, valkey
from deploy.local.certificates import Authority
from deploy.local.edge import edge_part
from deploy.local.errors import MeshError, StartFailed
from deploy.local.files import ensure_secret, make_private_folder, replace_file
from deploy.local.outside import check_server_url, database_url, without_password
from deploy.local.part import Part, Step
from deploy.local.place import SERVICES, TOKEN_AUDIENCE, TOKEN_ISSUER, Options, Place
from deploy.local.privileges import command, this_user
from services.schema import MigrationError, migrate

_POOL_SIZE = 10
# Feeds and loops hold connections beside the pool.
_CONNECTIONS_OF_A_WORKER = _POOL_SIZE + 4
# Operators, tests and the replica want some too.
_SPARE_CONNECTIONS = 40
# While a rolling restart runs there is one worker more.
_SPARE_WORKERS = 1
_POSTGRES_SCHEMES = ("postgresql", "postgres")


@dataclass(frozen=True)
class Blueprint:
    """Everything that parts are made from."""

    options: Options
    place: Place
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
        return postgres.Cluster(self.place.data / "postgres", self.place.ports["postgres"], connections)

    @property
    def replica(self) -> postgres.Cluster:
        """Its follower."""
        folder = self.place.data / "postgres-replica"
        return postgres.Cluster(folder, self.place.ports["postgres-replica"], self.cluster.max_connections)

    @property
    def server_url(self) -> str:
        """The PostgreSQL server, as one who may make roles and databases."""
        if self.options.postgres_url is not None:
            return check_server_url(self.options.postgres_url, _POSTGRES_SCHEMES, "--postgres-url")
        password = ensure_secret(self.place.secret("postgres"))
        return self.cluster.dsn(postgres.SUPERUSER, password, "postgres")


def build(blueprint: Blueprint) -> list[Part | Step]:
    """List the parts and steps of a mesh.

    Raises:
        MeshError: an option is wrong, or a wheel is missing.
    """
    return [
        *_postgres_parts(blueprint),
        *([] if blueprint.options.redis_url else [_valkey_part(blueprint)]),
        *([] if blueprint.options.payment_url else [_payment_part(blueprint)]),
        *(part for service in SERVICES for part in _service_parts(blueprint, service)),
        _edge_part(blueprint),
    ]


def used_ports(blueprint: Blueprint) -> list[str]:
    """Name the ports that our own parts will listen on."""
    unused = {
        "postgres": not blueprint.is_postgres_ours,
        "postgres-replica": not blueprint.options.replica,
        "valkey": blueprint.options.redis_url is not None,
        "payment": blueprint.options.payment_url is not None,
    }
    return [name for name in blueprint.place.ports if not unused.get(name, False)]


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
    password = ensure_secret(blueprint.place.secret("postgres"))
    return Part(
        name=name,
        address=blueprint.place.address(name),
        command=postgres.server_command(cluster),
        after=after,
        prepare=prepare,
        probe=partial(postgres.is_ready, cluster, password),
        stop_signal=postgres.STOP_SIGNAL,
        # After a crash it first replays its log.
        start_patience_seconds=120,
        stop_patience_seconds=60,
    )


async def _prepare_primary(blueprint: Blueprint) -> None:
    password = ensure_secret(blueprint.place.secret("postgres"))
    await asyncio.to_thread(postgres.prepare, blueprint.cluster, password)


async def _prepare_replica(blueprint: Blueprint) -> None:
    password = ensure_secret(blueprint.place.secret(postgres.REPLICATION_ROLE))
    await asyncio.to_thread(postgres.copy_replica, blueprint.cluster, blueprint.replica, password)


async def _make_databases(blueprint: Blueprint) -> None:
    roles = [role for service in SERVICES for role in postgres.roles(postgres.database_name(service))]
    passwords = {role: ensure_secret(blueprint.place.secret(role)) for role in roles}
    try:
        await postgres.ensure_databases(blueprint.server_url, passwords)
        if blueprint.is_postgres_ours:
            password = ensure_secret(blueprint.place.secret(postgres.REPLICATION_ROLE))
            await postgres.ensure_cluster_roles(blueprint.server_url, password)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise StartFailed(
            f"The databases could not be made: {error}",
            "With --postgres-url, name a role that may create roles and databases.",
        ) from error


async def _migrate(blueprint: Blueprint, service: str) -> None:
    database = postgres.database_name(service)
    owner, _ = postgres.roles(database)
    url = database_url(blueprint.server_url, owner, database)
    room = Path(services.__file__).parent
    try:
        await migrate(
            url,
            [room / "migrations", room / service / "migrations"],
            password=ensure_secret(blueprint.place.secret(owner)),
        )
    except (OSError, MigrationError, asyncpg.PostgresError) as error:
        raise StartFailed(
            f"The migrations of {database} failed: {error}",
            "Or start anew with another data folder: --data.",
        ) from error


def _valkey_part(blueprint: Blueprint) -> Part:
    place = blueprint.place
    password = ensure_secret(place.secret("valkey"))
    configuration = valkey.write_configuration(place.data / "valkey", place.ports["valkey"], password)
    return Part(
        name="valkey",
        address=place.address("valkey"),
        command=valkey.server_command(configuration),
        probe=partial(probes.valkey_is_ready, place.address("valkey"), password),
    )


def _payment_part(blueprint: Blueprint) -> Part:
    place = blueprint.place
    database = make_private_folder(place.data / "payment") / "payments.sqlite3"
    ensure_secret(place.secret("payment_api_key"))
    return Part(
        name="payment",
        address=place.address("payment"),
        command=_python("deploy.local.payment_sandbox"),
        environment={
            "SANDBOX_LISTEN_ADDRESS": place.address("payment"),
            "SANDBOX_DATABASE_FILE": str(database),
            "SANDBOX_API_KEY_FILE": str(place.secret("payment_api_key")),
        },
    )


def _service_parts(blueprint: Blueprint, service: str) -> list[Part | Step]:
    migrations = Step(f"{service}-migrations", partial(_migrate, blueprint, service), after=("databases",))
    workers = blueprint.options.workers
    names = [service] if workers == 1 else [f"{service}-{number}" for number in range(1, workers + 1)]
    return [migrations, *(_worker_part(blueprint, service, name) for name in names)]


def _worker_part(blueprint: Blueprint, service: str, name: str) -> Part:
    own_settings = {"user": _user_settings, "order": _order_settings}
    own = own_settings[service](blueprint) if service in own_settings else {}
    uses = {"user": "valkey", "order": "payment"}
    return Part(
        name=name,
        address=blueprint.place.address(service),
        command=_python(f"services.{service}", "serve"),
        environment={**_service_settings(blueprint, service), **own},
        after=(f"{service}-migrations",),
        uses=[uses[service]] if service in uses else [],
        shares_port=True,
    )


def _service_settings(blueprint: Blueprint, service: str) -> dict[str, str]:
    place = blueprint.place
    database = postgres.database_name(service)
    _, app = postgres.roles(database)
    tls = blueprint.authority.files(service)
    return {
        "COMMERCE_LISTEN_ADDRESS": place.address(service),
        # Several workers, or in a rolling restart the old and the new one, share the port. Health is
        # asked of the port, so none may say NOT_SERVING for the others: it closes its connections instead.
        "COMMERCE_REUSE_PORT": "1",
        "COMMERCE_DRAIN_SECONDS": "0",
        "COMMERCE_DATABASE_URL": database_url(blueprint.server_url, app, database),
        "COMMERCE_DATABASE_PASSWORD_FILE": str(place.secret(app)),
        "COMMERCE_DATABASE_POOL_SIZE": str(_POOL_SIZE),
        "COMMERCE_TLS_CERT_FILE": str(tls.cert),
        "COMMERCE_TLS_KEY_FILE": str(tls.key),
        "COMMERCE_TLS_CA_FILE": str(tls.ca),
        "COMMERCE_TOKEN_ISSUER": TOKEN_ISSUER,
        "COMMERCE_TOKEN_AUDIENCE": TOKEN_AUDIENCE,
        "COMMERCE_USER_ADDRESS": place.address("user"),
        "COMMERCE_PRODUCT_ADDRESS": place.address("product"),
    }


def _user_settings(blueprint: Blueprint) -> dict[str, str]:
    place, redis_url = blueprint.place, blueprint.options.redis_url
    settings = {
        "COMMERCE_SIGNING_KEY_FILE": str(place.secret("signing_key.pem")),
        "COMMERCE_REDIS_URL": f"redis://{place.address('valkey')}/0",
        "COMMERCE_REDIS_PASSWORD_FILE": str(place.secret("valkey")),
    }
    if redis_url is not None:
        outside = without_password(redis_url, ("redis", "rediss"), "--redis-url")
        file = replace_file(place.secret("outside_redis"), outside.password)
        settings |= {"COMMERCE_REDIS_URL": outside.url, "COMMERCE_REDIS_PASSWORD_FILE": str(file)}
    return settings


def _order_settings(blueprint: Blueprint) -> dict[str, str]:
    options, place = blueprint.options, blueprint.place
    if options.payment_url is None:
        url, key_file = f"http://{place.address('payment')}", place.secret("payment_api_key")
    else:
        url = check_server_url(options.payment_url, ("https", "http"), "--payment-url")
        if options.payment_api_key_file is None:
            raise MeshError(
                "--payment-url needs the key that the provider knows us by.",
                "Put it into a file and name that with --payment-api-key-file.",
            )
        key_file = options.payment_api_key_file
    return {"COMMERCE_PAYMENT_URL": url, "COMMERCE_PAYMENT_API_KEY_FILE": str(key_file)}


def _edge_part(blueprint: Blueprint) -> Part:
    scale = blueprint.options.rate_limit_scale
    return edge_part(blueprint.place, blueprint.authority, blueprint.runtime_folder, scale)


def _python(module: str, *arguments: str) -> list[str]:
    # -P: names in the working folder never shadow modules.
    return command([sys.executable, "-P", "-m", module, *arguments], this_user(), signal.SIGTERM)
