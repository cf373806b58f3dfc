"""The copy is found as libpq finds it, and what it is called never has its password in it."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from pgwitness.errors import ConflictError
from pgwitness.reenact.run import parameters_of, reenact
from pgwitness.reenact.target import open_target
from reenact.conftest import Pair
from support.servers import PASSWORD, Server


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    return monkeypatch


def _reaches(pair: Pair, dsn: str) -> None:
    """Both ways: psycopg's and ours."""
    with pair.connect() as connection:
        connection.execute("SELECT 1")
    target = open_target(dsn)
    assert PASSWORD not in target.words and PASSWORD not in repr(target.connection)
    assert target.place.database == f"{pair.name}_copy"
    target.close()
    pair_copy = Pair(pair.gateway, pair.server, pair.name, pair.dsn, dsn)
    report = pair_copy.reenact()
    assert (report.ended, report.run, report.into) == ("end", 1, target.words)


def test_by_environment(pair: Pair, bare: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(pair.server.port),
        "PGUSER": "app",
        "PGPASSWORD": PASSWORD,
    }.items():
        bare.setenv(name, value)
    _reaches(pair, f"dbname={pair.name}_copy")


def test_by_password_file_and_service(pair: Pair, bare: pytest.MonkeyPatch, tmp_path: Path) -> None:
    passwords, services = tmp_path / "pgpass", tmp_path / "services"
    passwords.write_text(f"127.0.0.1:{pair.server.port}:*:app:{PASSWORD}\n")
    passwords.chmod(0o600)
    services.write_text(
        f"[copy]\nhost=127.0.0.1\nport={pair.server.port}\nuser=app\ndbname={pair.name}_copy\n"
    )
    bare.setenv("PGPASSFILE", str(passwords))
    bare.setenv("PGSERVICEFILE", str(services))
    _reaches(pair, "service=copy")


def test_by_unix_socket(pair: Pair, bare: pytest.MonkeyPatch) -> None:
    socket = f"host={pair.server.directory} port={pair.server.port} user=postgres"
    _reaches(pair, f"{socket} dbname={pair.name}_copy")


def test_the_session_goes_where_was_looked(pair: Pair, bare: pytest.MonkeyPatch) -> None:
    """``hostaddr`` is dialled, for both; the host's name is for certificates only."""
    _reaches(pair, pair.copy.replace("127.0.0.1", "no-such-host.invalid") + "?hostaddr=127.0.0.1")


def test_another_server_behind_the_same_name_gets_nothing(pair: Pair, server15: Server) -> None:
    with pair.connect() as connection:
        connection.execute("DELETE FROM orders")
    for other in ({"database": pair.name}, {"port": str(server15.port), "database": "postgres"}):
        target = open_target(pair.copy)
        target.connection = replace(target.connection, **other)
        with pair.spool() as spool, pytest.raises(ConflictError, match="another server or database"):
            reenact(spool, target)
        target.close()
    assert pair.rows("SELECT count(*) FROM orders") == ([(0,)], [(300,)])


def test_with_tls(server15: Server, tmp_path: Path) -> None:
    authority = tmp_path / "ca.crt"
    authority.write_bytes(server15.authority.certificate)
    dsn = f"{server15.dsn('shop', user='app_tls')}?sslmode=verify-full&sslrootcert={authority}"
    target = open_target(dsn.replace("127.0.0.1", "localhost"))
    assert (target.connection.sslmode, target.connection.sslrootcert) == (
        "verify-full",
        server15.authority.certificate,
    )
    target.close()


def test_a_session_begins_as_it_did() -> None:
    header = {
        "client": {"parameters": {"application_name": "psql", "timezone": "Asia/Tokyo", "_pq_.x": "1"}},
        "upstream": {
            "parameters": {"TimeZone": "Asia/Tokyo", "DateStyle": "ISO, DMY", "is_superuser": "off"}
        },
    }
    assert parameters_of(header) == {
        "application_name": "psql",
        "timezone": "Asia/Tokyo",
        "DateStyle": "ISO, DMY",
    }
