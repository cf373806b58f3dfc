"""The ways to the database that are compared, and how a client takes each of them."""

import contextlib
import dataclasses
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from pgwitness.config import WatchSettings
from pgwitness.embedded import Cluster, free_port, unprivileged, wheel_programs
from pgwitness.sealing.status import record_status
from support.connectors import Connector
from support.gateway import Gateway

PASSWORD = "bench-secret"
IDENTITY = "bench"

SERVER_SETTINGS = {
    "max_connections": "1200",
    "shared_buffers": "512MB",
    "max_wal_size": "8GB",
    # Waiting for this machine's disk at COMMIT would hide what the routes cost.
    "synchronous_commit": "off",
    "log_min_messages": "fatal",
}


@dataclass
class Route:
    """One way to the database: libpq's connection parameters, and the processes on the way."""

    name: str
    port: int
    user: str
    password: str
    database: str
    processes: list[psutil.Process] = field(default_factory=list)
    gateway: Gateway | None = None
    held: str = ""
    """Processes on the way whose command line has this text stand still while it is measured: what a part of
    the gateway takes from the rest shows by its absence."""

    @contextlib.contextmanager
    def as_said(self) -> Iterator[None]:
        """For the time of one measure."""
        still = [p for p in self.processes if self.held and self.held in " ".join(p.cmdline())]
        for process in still:
            process.suspend()
        try:
            yield
        finally:
            for process in still:
                process.resume()

    @property
    def environment(self) -> dict[str, str]:
        """For pgbench and psql."""
        return {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGDATABASE": self.database,
            "PGSSLMODE": "disable",
        }

    @property
    def dsn(self) -> str:
        return (
            f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}?sslmode=disable"
        )

    def settle(self) -> None:
        """Wait until the indexer and the sealer have caught up, so that a backlog of ours slows down nobody
        who is measured next."""
        if self.gateway is None:
            return
        sealed(self.gateway.state)
        for _ in range(600):
            status = self.gateway.run("index", "status", "--format", "json", check=False).stdout
            if json.loads(status)["lag_bytes"] == 0:
                return
            time.sleep(0.5)
        raise RuntimeError("the indexer has not caught up in five minutes")


def sealed(state: Path) -> None:
    """Wait until the record has all that is on the tape."""
    for _ in range(600):
        if record_status(state)["lag_bytes"] == 0:
            return
        time.sleep(0.5)
    raise RuntimeError("the sealer has not caught up in five minutes")


@contextlib.contextmanager
def database(scale: int) -> Iterator[Cluster]:
    """PostgreSQL 18 with pgbench's tables."""
    cluster = Cluster(wheel_programs(), password=PASSWORD, settings=SERVER_SETTINGS)
    try:
        cluster.start()
        cluster.sql(f"CREATE ROLE bench LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE bench OWNER bench")
        route = direct(cluster)
        program = str(wheel_programs() / "pgbench")
        subprocess.run(
            [program, "-i", "-s", str(scale), "-q"], env=route.environment, check=True, capture_output=True
        )
        yield cluster
    finally:
        cluster.remove()


def direct(cluster: Cluster) -> Route:
    return Route("direct", cluster.port, "bench", PASSWORD, "bench")


@contextlib.contextmanager
def pgbouncer(cluster: Cluster) -> Iterator[Route]:
    """Debian's PgBouncer in session mode, SCRAM on both sides."""
    account = unprivileged()
    with tempfile.TemporaryDirectory(prefix="pgw-bouncer-") as name:
        directory, port = Path(name), free_port()
        (directory / "users.txt").write_text(f'"bench" "{PASSWORD}"\n')
        (directory / "pgbouncer.ini").write_text(
            f"""[databases]
bench = host=127.0.0.1 port={cluster.port} dbname=bench
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {directory}/users.txt
pool_mode = session
default_pool_size = 1100
max_client_conn = 1100
ignore_startup_parameters = extra_float_digits,options
log_connections = 0
log_disconnections = 0
server_idle_timeout = 5
"""
        )
        if account:
            for path in (directory, *directory.iterdir()):
                os.chown(path, *account)
        user, group = account or (None, None)
        process = subprocess.Popen(
            ["/usr/sbin/pgbouncer", "-q", str(directory / "pgbouncer.ini")],
            user=user,
            group=group,
            extra_groups=[] if account else None,
            stderr=subprocess.DEVNULL,
        )
        route = Route("PgBouncer", port, "bench", PASSWORD, "bench", [psutil.Process(process.pid)])
        try:
            _wait(route)
            yield route
        finally:
            process.terminate()
            process.wait()


@contextlib.contextmanager
def pgwitness(cluster: Cluster, durability: str) -> Iterator[dict[str, Route]]:
    """A gateway with default settings, ``durability`` aside: its routes by what they record of results."""
    with tempfile.TemporaryDirectory(prefix="pgw-bench-") as state:
        # The test suite's gateways do not watch by themselves; one with default settings does.
        settings = {
            "PGWITNESS_TAPE__DURABILITY": durability,
            "PGWITNESS_WATCH__INTERVAL_SECONDS": str(WatchSettings().interval_seconds),
        }
        gateway = Gateway(Path(state), environment=settings)
        try:
            gateway.start()
            gateway.environment["PGW_BENCH_PASSWORD"] = PASSWORD
            routes = {}
            for results, flags in {"capped": [], "none": ["none"], "all": ["all"]}.items():
                arguments = [part for flag in flags for part in ("--results", flag)]
                gateway.run("connection", "add", f"bench-{results}", *_target(cluster), *arguments)
            gateway.run("identity", "add", IDENTITY, "--connections", "bench-capped,bench-none,bench-all")
            token = gateway.issue(IDENTITY)
            process = psutil.Process(gateway.pid)
            for results in ("capped", "none", "all"):
                name = "pgwitness" if durability == "process" else f"pgwitness ({durability})"
                route = Route(name, gateway.port, IDENTITY, token, f"bench-{results}", gateway=gateway)
                route.processes = [process, *process.children(recursive=True)]
                routes[results] = route
            yield routes
        finally:
            gateway.kill()


def _target(cluster: Cluster) -> list[str]:
    """The database, as options of ``connection add``."""
    options = {
        "host": "127.0.0.1",
        "port": str(cluster.port),
        "database": "bench",
        "user": "bench",
        "sslmode": "disable",
        "password-env": "PGW_BENCH_PASSWORD",
    }
    return [part for key, value in options.items() for part in (f"--{key}", value)]


@contextlib.contextmanager
def pgwitness_alone(cluster: Cluster) -> Iterator[Route]:
    """A gateway of its own, for one measure."""
    with pgwitness(cluster, "process") as ways:
        yield ways["capped"]


@contextlib.contextmanager
def through_connector(cluster: Cluster, ways: dict[str, Route]) -> Iterator[Route]:
    """The way of the gateway's default settings once more, through a connector: TLS on the tunnel."""
    direct = ways["capped"]
    gateway = direct.gateway
    assert gateway is not None
    connector = Connector(gateway).join()
    try:
        connector.start()
        gateway.run("connection", "add", "bench-far", *_target(cluster), "--connector", connector.name)
        gateway.run("identity", "grant", IDENTITY, "--connections", "bench-far")
        processes = [*direct.processes, psutil.Process(connector.pid)]
        yield dataclasses.replace(direct, database="bench-far", processes=processes)
    finally:
        connector.remove()


def _wait(route: Route) -> None:
    for _ in range(100):
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(route.dsn):
            return
        time.sleep(0.05)
    raise RuntimeError(f"{route.name} does not serve")
