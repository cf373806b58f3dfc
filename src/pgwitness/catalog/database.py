"""Opening the catalog's database: engine, migrations, transactions.

What differs between SQLite and PostgreSQL is in this file and nowhere else in the package.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError
from sqlalchemy.orm import Session

from pgwitness.catalog.migrations import HEAD
from pgwitness.catalog.tables import AuditRow, RevisionRow
from pgwitness.errors import InvalidError, UnavailableError

BUSY_SECONDS = 10
_MIGRATION_LOCK = 7_432_001  # PostgreSQL advisory lock: any number that nobody else takes


class Change:
    """One administrative change: a transaction, and who makes it."""

    def __init__(self, session: Session, actor: str) -> None:
        self.session = session
        self.at = datetime.now(UTC)
        self.entries: list[dict[str, Any]] = []
        self._actor = actor

    def log(self, action: str, subject: str, **details: Any) -> None:
        """Write the change to the audit, in the same transaction. Never give a secret."""
        entry = {"actor": self._actor, "action": action, "subject": subject, "details": details}
        self.session.add(AuditRow(at=self.at, **entry))
        self.entries.append(entry)


class Database:
    """A migrated database. Safe to use from several threads and processes at once."""

    def __init__(self, url: str) -> None:
        """Open it, made if need be and brought up to date. Raises InvalidError, UnavailableError."""
        self.observer: Callable[[dict[str, Any]], None] | None = None
        try:
            address = make_url(url)
        except ArgumentError:
            raise InvalidError(
                "the catalog's URL is not one", hint="for example sqlite:////var/lib/pgwitness/catalog.sqlite"
            ) from None
        with _explained():
            self._engine = _engine(address)
            _migrate(self._engine)

    @contextmanager
    def read(self) -> Iterator[Session]:
        with _explained(), Session(self._engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that counts as no change: what was used when."""
        engine = self._engine.execution_options(pgwitness_write=True)
        with _explained(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def change(self, actor: str) -> Iterator[Change]:
        """A transaction that others notice: it counts the revision on."""
        with self.write() as session:
            change = Change(session, actor)
            yield change
            session.flush()
            session.execute(update(RevisionRow).values(number=RevisionRow.number + 1))
        if self.observer is not None:
            for entry in change.entries:
                self.observer(entry)

    def revision(self) -> int:
        """Changes when anything was decided anew. Asked several times a log-in, so it goes straight to the
        driver.
        """
        with _explained(), closing(self._engine.raw_connection()) as connection:
            try:
                cursor = connection.cursor()
                cursor.execute("SELECT number FROM revision")
                row = cursor.fetchone()
                cursor.close()
            except self._engine.dialect.loaded_dbapi.Error as error:
                raise UnavailableError(f"the catalog cannot be used: {error}") from error
        return int(row[0]) if row else 0

    def close(self) -> None:
        self._engine.dispose()


@contextmanager
def _explained() -> Iterator[None]:
    """A database that is locked, full, damaged or away is no bug of ours: say so in a line."""
    try:
        yield
    except IntegrityError:
        raise
    except DatabaseError as error:
        raise UnavailableError(f"the catalog cannot be used: {error.orig}") from error
    except OSError as error:
        raise UnavailableError(f"the catalog cannot be opened: {error.strerror}: {error.filename}") from error


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
    if url.database and url.database != ":memory:":
        _create_private(Path(url.database))
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _create_private(path: Path) -> None:
    """SQLite gives its journal files the mode of the database file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # Transactions begin where _begin_sqlite says, not where the driver guesses.
    connection.isolation_level = None
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on"):
        connection.execute(f"pragma {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    """A transaction that will write takes the lock first: it waits its turn instead of failing half way."""
    writes = connection.get_execution_options().get("pgwitness_write")
    connection.exec_driver_sql("begin immediate" if writes else "begin")


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        if _version(connection) == HEAD:
            return
    with engine.execution_options(pgwitness_write=True).begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if _version(connection) != HEAD:  # another process may have done it while this one waited
            _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("select version_num from alembic_version"))
    return version


def _upgrade(connection: Connection) -> None:
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its plug-ins announce themselves when they load

    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        if "Can't locate revision" not in str(error):
            raise
        raise UnavailableError(
            "the catalog was made by a newer pgwitness", hint="use that version, or a backup of the catalog"
        ) from None
