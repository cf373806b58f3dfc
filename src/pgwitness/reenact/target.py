"""The restored copy: reached as libpq reaches it, looked at, and opened for the wire.

Two connections go there. One is psycopg's: it resolves the connection string with everything that libpq knows
(environment, password file, service file, several hosts), and asks the copy's catalogs; it only reads. The
other carries the session: the project's own log-in with what the first one found, at the very address that it
dialled; and before anything of the session is sent, it must be the same server and database.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pgwitness.catalog.models import Connection, Secret
from pgwitness.errors import InvalidError, UnavailableError
from pgwitness.reenact import nature

CONNECT_SECONDS: Final = 30
_ASIDE: Final = (
    "-c lock_timeout=1s -c statement_timeout=10s -c default_transaction_read_only=on "
    "-c search_path=pg_catalog,public"
)
"""Whatever the copy's database and role are set to: a session may have set them."""
_PLACE: Final = """
    SELECT current_database(), session_user, host(inet_server_addr()), current_setting('port')::int,
           pg_is_in_recovery(), extract(epoch FROM pg_postmaster_start_time())::text,
           current_setting('server_version')
"""
IDENTITY: Final = """
    SELECT pg_catalog.concat_ws(
        '/', d.oid, extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.numeric
    ) FROM pg_catalog.pg_database AS d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
"""
"""Which start of which server, and which database there. Asked on both connections, of which the session's
may have a search_path of its own."""
IDENTIFIER: Final = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()"
_POWERS: Final = """
    SELECT CASE WHEN r.rolsuper THEN 'a superuser' ELSE r.rolname::text END FROM pg_catalog.pg_roles AS r
    WHERE (r.rolsuper OR r.rolname IN ('pg_execute_server_program', 'pg_write_server_files',
                                       'pg_read_server_files'))
      AND pg_has_role(session_user, r.oid, 'MEMBER') ORDER BY r.rolsuper DESC, 1
"""
_AWAY: Final = """
    SELECT 'foreign server ' || srvname FROM pg_foreign_server
    UNION ALL
    SELECT 'subscription ' || subname FROM pg_subscription
    WHERE subenabled AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_FILLS: Final = """
    SELECT coalesce(pg_get_expr(d.adbin, d.adrelid), ''), a.attidentity <> ''
    FROM pg_attribute AS a LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = %s AND a.attnum = %s
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Which server and database that is: what a registered connection is compared with. No secrets."""

    addresses: tuple[str, ...]
    """As they were dialled, and as the server sees itself; a Unix socket counts as 127.0.0.1."""
    ports: tuple[int, ...]
    host: str
    """As it was named."""
    asked: str
    """The database that was asked for."""
    database: str
    system_identifier: str | None
    started: str
    """When the server started, seconds of the epoch: a physical copy has its original's identifier."""
    mark: str
    """This connection's application_name, a word that nobody else could have sent."""


@dataclass(slots=True)
class Target:
    """Close it."""

    connection: Connection
    """For the log-in of the session."""
    place: Place
    words: str
    """For people: where it is, without a password."""
    user: str
    version: str
    aside: psycopg.Connection[Any]
    """Reads, and never for long."""
    address: str | None = None
    """That was dialled; None: a Unix socket."""
    powers: tuple[str, ...] = ()
    """What its role is that may do more than databases do: run programs, read and write files."""
    away: tuple[str, ...] = ()
    """What leads from the copy to other servers."""
    identity: str = ""
    """What ``IDENTITY`` gave."""
    _fills: dict[tuple[int, int], str | None] = field(default_factory=dict)

    def fills(self, table: int, attribute: int) -> str | None:
        """Why a column of the copy fills itself with another value each time; None if it does not, or if that
        cannot be told."""
        if not table:
            return None
        key = (table, attribute)
        if key not in self._fills:
            if len(self._fills) > 10_000:
                self._fills.clear()
            self._fills[key] = self._ask_fills(table, attribute)
        return self._fills[key]

    def _ask_fills(self, table: int, attribute: int) -> str | None:
        try:
            row = self.aside.execute(_FILLS, (table, attribute)).fetchone()
        except psycopg.Error:
            return None
        if row is None:
            return None
        return nature.SEQUENCE if row[1] else nature.of_default(row[0])

    def close(self) -> None:
        self.aside.close()


def open_target(dsn: str) -> Target:
    """Raises InvalidError for what is no connection string, UnavailableError where nobody lets us in."""
    mark = f"pgwitness reenact {secrets.token_hex(8)}"
    aside = connect(dsn, application_name=mark, options=_ASIDE)
    try:
        return _described(aside, mark, conninfo_to_dict(dsn).get("dbname"))
    except BaseException:
        aside.close()
        raise


def connect(dsn: str, *, options: str = "", **given: str) -> psycopg.Connection[Any]:
    """psycopg in autocommit mode. No error repeats the connection string: there may be a password in it."""
    try:
        asked = conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:
        raise InvalidError(
            "--into is not a connection string",
            hint="for example postgresql://USER@HOST:5432/COPY, with the password in PGPASSWORD or "
            "~/.pgpass; or service=NAME",
        ) from None
    asked.setdefault("connect_timeout", CONNECT_SECONDS)
    settings: dict[str, Any] = {
        **asked,
        **given,
        "options": f"{asked.get('options') or ''} {options}".strip(),
    }
    try:
        return psycopg.connect(make_conninfo("", **settings), autocommit=True)
    except psycopg.Error as error:
        first = str(error).strip().partition("\n")[0]
        raise UnavailableError(
            f"the copy cannot be reached: {without(first, asked.get('password'))}"
        ) from None


def without(text: str, password: object) -> str:
    """``text`` without that password, should a library ever repeat it."""
    return text.replace(str(password), "***") if password else text


def _described(aside: psycopg.Connection[Any], mark: str, asked: object) -> Target:
    try:
        row = aside.execute(_PLACE).fetchone()
        identity = aside.execute(IDENTITY).fetchone()
        powers = tuple(dict.fromkeys(str(name) for (name,) in aside.execute(_POWERS)))
        away = tuple(str(name) for (name,) in aside.execute(_AWAY))
    except psycopg.Error as error:
        raise UnavailableError(f"the copy does not tell what it is: {error.diag.message_primary}") from None
    assert row is not None and identity is not None
    database, user, address, port, standby, started, version = row
    try:
        found = aside.execute(IDENTIFIER).fetchone()
        identifier = found[0] if found else None
    except psycopg.Error:
        identifier = None
    info = aside.info
    host = info.host
    if standby:
        raise UnavailableError(
            f"{database} on {host}:{info.port} is a standby, which takes no writes",
            hint="promote the copy first: SELECT pg_promote()",
        )
    dialled = "127.0.0.1" if host.startswith(("/", "@")) else info.hostaddr or host
    place = Place(
        addresses=tuple(dict.fromkeys(each for each in (dialled, address) if each)),
        ports=tuple(dict.fromkeys((info.port, port))),
        host=host,
        asked=str(asked or database),
        database=database,
        system_identifier=identifier,
        started=started,
        mark=mark,
    )
    words = f"{database} on {host}:{info.port} as {user}"
    address = None if host.startswith(("/", "@")) else info.hostaddr or None
    return Target(
        _connection(aside), place, words, user, version, aside, address, powers, away, str(identity[0])
    )


def _connection(aside: psycopg.Connection[Any]) -> Connection:
    """What libpq found, for the log-in of ours."""
    options: dict[str, str] = {
        option.keyword.decode(): option.val.decode() for option in aside.pgconn.info if option.val is not None
    }
    info = aside.info
    key = _file(options, "sslkey", "postgresql.key")
    return Connection(
        id="copy",
        name="the copy",
        host=info.host,
        port=str(info.port),
        database=info.dbname,
        user=info.user,
        password=Secret(info.password) if info.password else None,
        sslmode=options.get("sslmode", "prefer"),  # type: ignore[arg-type]  # libpq checked it
        sslrootcert=_root(options),
        sslcert=_file(options, "sslcert", "postgresql.crt") if key is not None else None,
        sslkey=Secret(key.decode()) if key is not None else None,
        connect_timeout=CONNECT_SECONDS,
        created_at=datetime.now(UTC),
    )


def _root(options: Mapping[str, str]) -> bytes | None:
    if options.get("sslrootcert") == "system":
        return b"system"
    return _file(options, "sslrootcert", "root.crt")


def _file(options: Mapping[str, str], name: str, default: str) -> bytes | None:
    """Named, or where libpq looks for it."""
    path = Path(options.get(name) or Path.home() / ".postgresql" / default)
    try:
        return path.read_bytes()
    except OSError:
        return None
