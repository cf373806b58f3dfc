"""The documents tell the truth: marked shell examples run, links lead somewhere, named files exist."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.gateway import Gateway
from support.servers import DEBIAN_15, PASSWORD, Server, require

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
RUNS = re.compile(r"<!-- runs in tests/test_documents.py -->\n```sh\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#:]+)(?:#[^)]*)?\)")
FILE = re.compile(r"`((?:src|tests|core|bench|docs)/[\w./-]+\.\w+)`")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_and_named_files_exist(document: Path) -> None:
    text = document.read_text()
    missing = [target for target in LINK.findall(text) if not (document.parent / target).exists()]
    missing += [name for name in FILE.findall(text) if not (ROOT / name).exists()]
    assert not missing


def run_blocks(gateway: Gateway, documents: tuple[str, ...], reality: dict[str, str], cwd: Path) -> str:
    """The marked blocks of the documents in one shell, as a reader would; only addresses differ. What they
    print.
    """
    blocks = [block for name in documents for block in RUNS.findall((ROOT / name).read_text())]
    assert len(blocks) >= 4
    script = "\n".join(blocks)
    for written, real in {**reality, "/var/lib/pgwitness": str(gateway.state)}.items():
        assert written in script
        script = script.replace(written, real)
    path = os.pathsep.join([str(Path(sys.executable).parent), str(DEBIAN_15), os.environ["PATH"]])
    background = "trap 'for job in $(jobs -p); do kill $job; done; wait' EXIT\n"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", background + script],
        cwd=cwd,
        env={**gateway.environment, "PATH": path, "DB_PASSWORD": PASSWORD},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shell_examples_run(gateway: Gateway, server15: Server, tmp_path: Path) -> None:
    """README first, then the guide."""
    require(15)
    server15.sql("GRANT CONNECT ON DATABASE shop TO app")
    reality = {
        "--host db.internal": f"--host 127.0.0.1 --port {server15.port}",
        "localhost:7432": f"127.0.0.1:{gateway.port}",
    }
    printed = run_blocks(gateway, ("README.md", "docs/guide.md"), reality, tmp_path)
    assert "hello from the agent" in printed


def test_a_deployment_by_the_document(gateway: Gateway, server15: Server, tmp_path: Path) -> None:
    """The five steps, through a connector."""
    require(15)
    reality = {
        "db.internal:5432": f"127.0.0.1:{server15.port}",
        "--host db.internal --port 5432": f"--host 127.0.0.1 --port {server15.port}",
        "gateway.internal:7433": gateway.tunnel,
        "/var/lib/pgwitness-connector": str(tmp_path / "connector"),
        "gateway.internal:7432": f"127.0.0.1:{gateway.port}",
    }
    printed = run_blocks(gateway, ("docs/deploy.md",), reality, tmp_path)
    assert "orders works" in printed and "east" in printed
    (statement,) = gateway.statements("--match", "hello from behind the connector", wait_for=1)
    assert (statement["identity"], statement["status"]) == ("billing-agent", "ok")
    assert PASSWORD not in printed and PASSWORD not in gateway.log


def test_the_api_by_its_document(gateway: Gateway, server15: Server, tmp_path: Path) -> None:
    gateway.add_connection("orders", server15)
    gateway.add_identity("billing-agent", "orders")
    with gateway.connect("billing-agent", "orders") as connection:
        connection.execute("SELECT 'hello from the agent'")
    gateway.sessions(wait_for=lambda found: any(each["ended_at"] for each in found))
    blocks = "\n".join(RUNS.findall((ROOT / "docs/api.md").read_text()))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", blocks.replace("http://127.0.0.1:7480", gateway.http)],
        cwd=tmp_path,
        env={**gateway.environment, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert '"result":"sound"' in done.stdout and "Sound: session" in done.stdout
    assert "hello from the agent" in (tmp_path / "statements.jsonl").read_text()
    assert "hello from the agent" in (tmp_path / "statements.csv").read_text()


def test_a_session_runs_again_by_the_document(gateway: Gateway, server15: Server, tmp_path: Path) -> None:
    """docs/reenact.md: to the statement, its rows, and all of it on a fresh copy."""
    require(15)
    made = "CREATE TABLE invoices AS SELECT n AS id, 'due' AS state FROM generate_series(1, 9) AS n;"
    (tmp_path / "shop.sql").write_text(made)
    server15.sql(made, "ALTER TABLE invoices OWNER TO app", database="shop")
    gateway.add_connection("shop", server15)
    gateway.add_identity("clerk", "shop")
    with gateway.connect("clerk", "shop") as connection, connection.transaction():
        connection.execute("UPDATE invoices SET state = 'paid' WHERE id = 1")
        connection.execute("UPDATE invoices SET state = %s WHERE id > %s", ("void", 1))
    (session,) = gateway.sessions(wait_for=lambda found: bool(found) and found[0]["ended_at"] is not None)
    reality = {
        "--host restore.internal": f"--host 127.0.0.1 --port {server15.port}",
        "@restore.internal": f"@127.0.0.1:{server15.port}",
        "8f3e21ab": session["session"],
    }
    try:
        printed = run_blocks(gateway, ("docs/reenact.md",), reality, tmp_path)
    finally:
        server15.sql("DROP TABLE invoices", database="shop")
        for name in ("shop_copy", "shop_again"):
            server15.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    assert "just before statement 3" in printed and "No divergence." in printed
    assert "state due → void" in printed and "8 rows, as on record" in printed
    assert '{"id": "2", "state": "due"}' in printed


def test_make_help_lists_the_targets() -> None:
    listed = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in ("demo", "test", "lint", "bench", "test-slow", "dev", "clean"):
        assert f"make {target}" in listed
