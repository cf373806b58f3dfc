"""A gateway that writes what it cannot read back: only the auditor's key opens its record."""

import json
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from pgwitness.record.entries import session_bytes
from pgwitness.record.layout import Layout
from pgwitness.record.secrets import Secrets
from support.gateway import Gateway
from support.servers import Server

PRIVATE = "Miller, 4711"


@pytest.fixture
def auditor() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def house(auditor: pyrage.x25519.Identity, server15: Server) -> Iterator[Gateway]:
    settings = {
        "PGWITNESS_SEAL__RECIPIENTS": json.dumps([str(auditor.to_public())]),
        "PGWITNESS_SEAL__READABLE": "false",
        "PGWITNESS_INDEX__TEXT": "none",
    }
    gateway = Gateway(Path(tempfile.mkdtemp(prefix="pgw-state-")), environment=settings).start()
    try:
        gateway.add_connection("private", server15)
        gateway.add_identity("agent", "private")
        yield gateway
    finally:
        gateway.remove()


def test_only_the_auditor_reads_it(house: Gateway, auditor: pyrage.x25519.Identity, tmp_path: Path) -> None:
    with house.connect("agent", "private") as connection:
        connection.execute("SELECT %s::text", (PRIVATE,))
    (listed,) = house.sessions(wait_for=lambda found: bool(found and found[0]["ended_at"]))
    session = listed["session"]
    layout = Layout(house.state / "record")
    deadline = time.monotonic() + 20
    while not layout.wrapped_secret(session).exists() or Secrets(layout).find(session_bytes(session)):
        assert time.monotonic() < deadline, "the gateway still has the session's secret"
        time.sleep(0.1)

    (statement,) = house.statements("--session", session)
    assert (statement["sql"], statement["command"], statement["parameters"]) == ("", "SELECT", [])
    kept = [file for file in house.state.rglob("*") if file.is_file() and "tape" not in file.parts]
    assert not [file for file in kept if PRIVATE.encode() in file.read_bytes()]
    assert json.loads(house.run("verify", "--format", "json").stdout)["result"] == "sound"

    sealed, opened, key = tmp_path / "sealed.zip", tmp_path / "opened.zip", tmp_path / "key.txt"
    key.write_text(f"{auditor}\n")
    house.run("session", "export", session, "--format", "bundle", "-o", str(sealed))
    house.run("bundle", "open", str(sealed), "--identity", str(key), "-o", str(opened))
    assert opened.stat().st_mode & 0o777 == 0o600
    report = json.loads(house.run("verify", "--bundle", str(opened), "--format", "json").stdout)
    assert report["result"] == "sound"
    with zipfile.ZipFile(opened) as archive:
        (line,) = archive.read("statements.jsonl").splitlines()
    assert json.loads(line)["parameters"][0]["value"] == PRIVATE


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"PGWITNESS_SEAL__READABLE": "false"}, "needs recipients"),
        ({"PGWITNESS_SEAL__RECIPIENTS": '["age1nonsense"]'}, "is no age recipient"),
    ],
)
def test_a_record_that_nobody_could_ever_read_is_refused(
    state: Path, settings: dict[str, str], why: str
) -> None:
    with pytest.raises(AssertionError, match=why):
        Gateway(state, environment=settings).start()
