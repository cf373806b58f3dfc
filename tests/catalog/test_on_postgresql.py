"""The catalog on PostgreSQL: one schema, the same answers, several processes at once."""

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Barrier

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from pgwitness.catalog.models import Issued, Secret
from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog
from pgwitness.catalog.tables import Base
from pgwitness.errors import (
    ConflictError,
    ConnectorRefused,
    NotFoundError,
    PermissionDenied,
    UnavailableError,
)
from pgwitness.identity import tokens
from pgwitness.identity.directory import Directory, Use
from support.servers import PASSWORD, Server

CONNECTION = {"host": "h", "database": "shop", "user": "app", "password": Secret("hunter2")}


@pytest.fixture
def url(server18: Server) -> Iterator[str]:
    server18.sql("CREATE DATABASE catalog OWNER app")
    yield f"postgresql+psycopg://app:{PASSWORD}@127.0.0.1:{server18.port}/catalog"
    server18.sql("DROP DATABASE catalog WITH (FORCE)")


@pytest.fixture
def on_postgresql(url: str, tmp_path: Path) -> Iterator[Catalog]:
    catalog = Catalog(url, open_box(None, tmp_path / "secret.key"))
    yield catalog
    catalog.close()


def test_migrations_lead_to_the_tables(on_postgresql: Catalog, url: str) -> None:
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()


def test_decisions_and_answers(on_postgresql: Catalog) -> None:
    catalog = on_postgresql
    added = catalog.connections.add("orders", CONNECTION, actor="test")
    assert catalog.connections.get("orders") == added and added.password == Secret("hunter2")
    with pytest.raises(ConflictError):
        catalog.connections.add("orders", CONNECTION, actor="test")
    catalog.identities.add("agent", connections=("orders",), actor="test")
    token, text = tokens.issue(catalog, "agent", actor="test")
    directory = Directory(catalog)
    assert [each.token_id for each in directory.login_material("agent").verifiers] == [token.id]
    principal = directory.principal("agent", token.id)
    assert directory.authorize(principal, "orders") == (added, "shop")
    with pytest.raises(PermissionDenied):
        directory.authorize(principal, "nothing")
    use = Use(token.id, added.id)
    assert directory.ended({use}) == {}
    catalog.tokens.revoke(token.id, actor="test")
    assert directory.ended({use}) == {use: "the token was revoked"}
    directory.close()
    assert catalog.tokens.get(token.id).last_used_at is not None
    catalog.connections.remove("orders", actor="test")
    assert catalog.identities.get("agent").connections == ()
    assert [entry.action for entry in catalog.audit(limit=2)] == ["connection.remove", "token.revoke"]
    assert text.reveal() not in repr(catalog.audit())


def test_of_many_that_join_by_one_token_one_does(on_postgresql: Catalog) -> None:
    connectors = on_postgresql.connectors
    lifetime = timedelta(hours=1)
    connectors.add("east", token_id="t1", secret_hash=b"h", lifetime=lifetime, actor="test")
    together = Barrier(8)

    def join(number: int) -> bool:
        issued = Issued(b"pem", f"a{number}", datetime.now(UTC) + lifetime)
        together.wait()
        try:
            connectors.join("t1", b"h", "", lambda name: issued)
        except ConnectorRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(join, range(8))) == 1
    assert sum(connectors.certificate(f"a{number}") is not None for number in range(8)) == 1


def test_no_certificate_survives_the_removal_of_its_connector(on_postgresql: Catalog) -> None:
    """Renewals come all the time while it is removed."""
    connectors = on_postgresql.connectors
    ends = datetime.now(UTC) + timedelta(hours=1)
    connectors.add("east", token_id="t1", secret_hash=b"h", lifetime=timedelta(hours=1), actor="test")
    held, _ = connectors.join("t1", b"h", "", lambda name: Issued(b"pem", "a", ends))
    serials: list[str] = []

    def renew(thread: int) -> None:
        with suppress(NotFoundError):
            for number in range(1000):
                issued = Issued(b"pem", f"{thread}f{number}", ends)
                connectors.renew(held.connector_id, lambda name, issued=issued: issued)  # type: ignore[misc]
                serials.append(issued.serial)

    with ThreadPoolExecutor(4) as threads:
        running = [threads.submit(renew, thread) for thread in range(4)]
        while len(serials) < 20 and not all(each.done() for each in running):
            time.sleep(0.001)
        connectors.remove("east", actor="test")
        for each in running:
            each.result()
    alive = [serial for serial in serials if connectors.certificate(serial).revoked_why is None]  # type: ignore[union-attr]
    assert len(serials) >= 20 and alive == []


def test_processes_that_open_at_once_make_one_catalog(url: str) -> None:
    program = (
        "import sys; from pgwitness.catalog.database import Database; print(Database(sys.argv[1]).revision())"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, b"1\n"), err.decode()


def test_a_server_that_is_away_is_explained_without_the_password(url: str, tmp_path: Path) -> None:
    with pytest.raises(UnavailableError) as raised:
        Catalog(url.replace("/catalog", "/nothing"), open_box(None, tmp_path / "secret.key"))
    assert PASSWORD not in str(raised.value)
    assert isinstance(raised.value.__cause__.orig, psycopg.OperationalError)  # type: ignore[union-attr]
