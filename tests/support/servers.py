"""Real PostgreSQL servers for the tests: 15 from Debian (with TLS) and 18 from the wheel (built without TLS).

Each has SCRAM for everybody, roles for the other ways to log in, a database ``shop`` and a log that says what
it ran.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pgwitness.embedded import Cluster, wheel_programs
from support import oracle
from support.certificates import Authority

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
PASSWORD = "upstream-secret"
"""Of every role of every test server. Tests look for it where it must not be."""

HBA = (
    "local all postgres trust",
    "local all all scram-sha-256",
    "host all app_md5 127.0.0.1/32 md5",
    "host all app_clear 127.0.0.1/32 password",
    "host all app_trust 127.0.0.1/32 trust",
    "host replication all 127.0.0.1/32 scram-sha-256",
)
HBA_TLS = (
    "hostssl all app_cert 127.0.0.1/32 cert",
    "hostssl all app_tls 127.0.0.1/32 scram-sha-256",
    "hostnossl all app_tls 127.0.0.1/32 reject",
)
ROLES = (
    "SET password_encryption = 'scram-sha-256'",
    f"CREATE ROLE app LOGIN PASSWORD '{PASSWORD}' REPLICATION",
    f"CREATE ROLE app_tls LOGIN PASSWORD '{PASSWORD}' IN ROLE app",
    f"CREATE ROLE app_clear LOGIN PASSWORD '{PASSWORD}' IN ROLE app",
    "CREATE ROLE app_trust LOGIN IN ROLE app",
    "CREATE ROLE app_cert LOGIN IN ROLE app",
    "SET password_encryption = 'md5'",
    f"CREATE ROLE app_md5 LOGIN PASSWORD '{PASSWORD}' IN ROLE app",
    "CREATE DATABASE shop OWNER app",
)


class Server(Cluster):
    """A test server. ``version`` is its major version; ``tls`` says whether it can speak TLS."""

    def __init__(self, version: int, authority: Authority, settings: dict[str, str] | None = None) -> None:
        self.version = version
        self.tls = version == 15
        self.authority = authority
        programs = DEBIAN_15 if version == 15 else wheel_programs()
        ours = {"fsync": "off", "max_connections": "200", "wal_level": "logical", **oracle.SETTINGS}
        super().__init__(
            programs,
            password=PASSWORD,
            settings={**ours, **(settings or {})},
            hba=(*HBA, *(HBA_TLS if self.tls else ()), "host all all 127.0.0.1/32 scram-sha-256"),
        )
        if self.tls:
            self._use_tls()

    def prepare(self) -> "Server":
        """Start for the first time, with roles and the database."""
        self.start()
        self.sql(*ROLES)
        return self

    def log_statements(
        self, application: str | None = None, *, pid: int | None = None, user: str | None = None
    ) -> list[oracle.Logged]:
        """What the server says that it ran, in order, of one application name, backend or role."""
        self._flush_log()
        return [
            entry
            for entry in oracle.read(self.data / "log" / "server.json")
            if application in (None, entry.application)
            and pid in (None, entry.pid)
            and user in (None, entry.user)
            and not entry.sql.startswith("SELECT 'oracle flush ")
        ]

    def backends(self, user: str = "app") -> list[int]:
        """Process ids of the role's sessions on the server now."""
        rows = self.sql(f"SELECT pid FROM pg_stat_activity WHERE usename = '{user}'")
        return [int(str(pid)) for (pid,) in rows]

    def _flush_log(self) -> None:
        """The collector is a process of its own: wait until it has written a statement of now."""
        marker = f"SELECT 'oracle flush {time.monotonic_ns()}'"
        self.sql(marker)
        path = self.data / "log" / "server.json"
        deadline = time.monotonic() + 10
        needle = marker.encode()
        while needle not in _tail(path):
            assert time.monotonic() < deadline, "the server's log does not move"
            time.sleep(0.01)

    def _use_tls(self) -> None:
        pair = self.authority.issue("localhost", hosts=("localhost",), addresses=("127.0.0.1",))
        self._settings |= {
            "ssl": "on",
            "ssl_cert_file": str(self.own("server.crt", pair.certificate)),
            "ssl_key_file": str(self.own("server.key", pair.private_key)),
            "ssl_ca_file": str(self.own("ca.crt", self.authority.certificate)),
        }


ServerFactory = Callable[..., Server]
"""``make_server(version=18, **settings) -> Server``: a private server that a test may restart and crash."""


def require(version: int) -> None:
    """Skip, with the reason, where this machine has no such server. CI installs it, so it skips nothing."""
    if version == 15 and not DEBIAN_15.is_dir():
        pytest.skip("PostgreSQL 15 is not installed: apt-get install postgresql-15")


def _tail(path: Path, size: int = 65536) -> bytes:
    try:
        with path.open("rb") as log:
            log.seek(max(0, path.stat().st_size - size))
            return log.read()
    except FileNotFoundError:
        return b""
