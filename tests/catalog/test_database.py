import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from pgwitness.catalog import migrations
from pgwitness.catalog.database import Database
from pgwitness.catalog.store import Catalog
from pgwitness.catalog.tables import Base
from pgwitness.errors import InvalidError, UnavailableError


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_migrations_lead_to_the_tables(catalog: Catalog, tmp_path: Path) -> None:
    with create_engine(f"sqlite:///{tmp_path / 'catalog.sqlite'}").connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_every_change_counts_the_revision_on_and_nothing_else_does(catalog: Catalog) -> None:
    before = catalog.revision()
    catalog.identities.add("agent", actor="test")
    assert catalog.revision() == before + 1
    catalog.log("test", "looked", "nothing")
    catalog.identities.list()
    assert catalog.revision() == before + 1


def test_processes_that_open_at_once_make_one_catalog(tmp_path: Path) -> None:
    program = (
        "import sys; from pgwitness.catalog.database import Database; print(Database(sys.argv[1]).revision())"
    )
    url = f"sqlite:///{tmp_path / 'catalog.sqlite'}"
    running = [
        subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    for process in running:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, b"1\n"), err.decode()


def test_changes_of_threads_and_processes_wait_their_turn(catalog: Catalog, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from pgwitness.catalog.store import Catalog; from pgwitness.catalog.secrets import open_box;"
        "c = Catalog(sys.argv[1], open_box(None, Path(sys.argv[2])));"
        "[c.identities.add(sys.argv[3] + str(i), actor='t') for i in range(20)]"
    )
    arguments = [f"sqlite:///{tmp_path / 'catalog.sqlite'}", str(tmp_path / "secret.key")]
    running = [
        subprocess.Popen([sys.executable, "-c", program, *arguments, name], stderr=subprocess.PIPE)
        for name in ("a", "b", "c")
    ]
    for process in running:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err.decode()
    assert len(catalog.identities.list()) == 60
    assert len(catalog.audit(limit=1000)) == 60


def test_a_newer_catalog_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    Database(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    connection.close()
    with pytest.raises(UnavailableError, match="newer pgwitness"):
        Database(f"sqlite:///{path}")


def test_a_damaged_or_unreachable_catalog_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "catalog.sqlite"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(UnavailableError, match="the catalog cannot be used"):
        Database(f"sqlite:///{path}")
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="the catalog cannot be opened"):
        Database(f"sqlite:///{tmp_path / 'file' / 'catalog.sqlite'}")
    with pytest.raises(InvalidError, match="URL"):
        Database("nonsense")


def test_audit_pages_backwards(catalog: Catalog) -> None:
    for number in range(5):
        catalog.identities.add(f"agent{number}", actor="somebody")
    newest, second = catalog.audit(limit=2)
    assert (newest.subject, newest.actor, newest.action) == ("agent4", "somebody", "identity.add")
    assert [entry.subject for entry in catalog.audit(limit=2, before=second.id)] == ["agent2", "agent1"]
    assert newest.at.tzinfo is not None
