"""Holds, erasure and retention of real sessions, through the commands of a real gateway."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pgwitness.record.entries import End
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from support.gateway import Gateway, Record
from support.servers import Server

SECRET = "the content of a session"


@pytest.fixture(scope="module")
def house(server15: Server) -> Iterator[Gateway]:
    """One for all tests here; the last of them stops it."""
    state = Path(tempfile.mkdtemp(prefix="pgw-state-"))
    gateway = Gateway(state, environment={"PGWITNESS_RETENTION__CHECK_SECONDS": "0.2"}).start()
    try:
        gateway.add_connection("kept", server15)
        gateway.add_connection("brief", server15)
        gateway.add_identity("agent", "kept", "brief")
        yield gateway
    finally:
        gateway.remove()


def _session(house: Gateway, connection: str = "kept") -> str:
    """An ended one, sealed and indexed."""
    with house.connect("agent", connection) as open_now:
        open_now.execute(f"SELECT '{SECRET}'")
        found = house.sessions("--connection", connection, wait_for=lambda listed: any(map(_is_open, listed)))
    (id,) = [str(each["session"]) for each in found if _is_open(each)]
    _wait(lambda: _row(house, id)["ended_at"] and id in _sealed(house))
    return id


def _is_open(session: Record) -> bool:
    return session["ended_at"] is None


def _sealed(house: Gateway) -> set[str]:
    """Sessions whose end is under the checkpoint."""
    entries = LogReader(Layout(house.state / "record")).entries()
    return {entry.session for _, entry in entries if isinstance(entry, End)}


def _row(house: Gateway, session: str) -> Record:
    (row,) = house.sessions("--session", session)
    return row


def _show(house: Gateway, session: str) -> Record:
    shown: Record = json.loads(house.run("session", "show", session, "--format", "json").stdout)
    return shown


def _wait(holds: Callable[[], Any], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _verify(house: Gateway) -> Record:
    done = house.run("verify", "--format", "json", check=False)
    report: Record = json.loads(done.stdout)
    assert report["result"] == "sound", report
    return report


def test_a_held_session_stays_and_a_released_one_can_be_erased(house: Gateway) -> None:
    session, other = _session(house), _session(house)
    house.run("session", "hold", session, "--reason", "incident 17")
    assert _show(house, session)["hold"]["reason"] == "incident 17"
    refused = house.run("session", "erase", session, "--reason", "no more room", "--yes", check=False)
    assert refused.returncode == 1 and "incident 17" in refused.stderr
    house.run("session", "release", session, "--reason", "closed")
    unsure = house.run("session", "erase", session, "--reason", "GDPR request 17", check=False)
    assert unsure.returncode == 2 and "--yes" in unsure.stderr
    house.run("session", "erase", session, "--reason", "GDPR request 17", "--yes")
    _wait(lambda: _row(house, session)["erased_at"])

    assert house.statements("--session", session) == []
    assert [each["sql"] for each in house.statements("--session", other)] == [f"SELECT '{SECRET}'"]
    again = house.run("session", "erase", session, "--reason", "once more", "--yes", check=False)
    assert again.returncode == 1 and "erased already" in again.stderr
    _wait(lambda: any("GDPR request 17" in remark["text"] for remark in _verify(house)["remarks"]))
    done = [(each["action"], each["details"]) for each in house.jsonl("audit", "--subject", session)]
    assert ("session.erase", {"reason": "GDPR request 17"}) in done
    assert ("session.hold", {"reason": "incident 17"}) in done
    assert ("session.release", {"reason": "closed"}) in done

    # Nothing but the tape's last segments, which go with the next ones, still has it.
    house.run("index", "rebuild")
    assert _row(house, session)["erased_at"] and house.statements("--session", session) == []


def test_an_open_session_cannot_be_erased(house: Gateway) -> None:
    with house.connect("agent", "kept") as connection:
        connection.execute("SELECT 1")
        found = house.sessions(wait_for=lambda listed: any(map(_is_open, listed)))
        (id,) = [each["session"] for each in found if _is_open(each)]
        refused = house.run("session", "erase", id, "--reason", "now", "--yes", check=False)
        assert refused.returncode == 1 and "is open" in refused.stderr


def test_retention_by_connection_passes_over_what_is_held(house: Gateway) -> None:
    brief, held, kept = _session(house, "brief"), _session(house, "brief"), _session(house)
    house.run("session", "hold", held, "--reason", "incident 17")
    house.run("retention", "set", "brief", "1s")
    _wait(lambda: _row(house, brief)["erased_at"])
    _wait(lambda: any(remark["session"] == brief for remark in _verify(house)["remarks"]))
    assert _row(house, held)["erased_at"] is None and _row(house, kept)["erased_at"] is None
    listed = {each["connection"]: each["keep"] for each in house.jsonl("retention", "list")}
    assert listed == {"brief": "1s", None: "forever"}
    due = house.run("retention", "run", "--dry-run")
    assert due.stdout == "" and "Nothing is due" in due.stderr
    wrong = house.run("retention", "set", "brief", "soon", check=False)
    assert wrong.returncode == 2


def test_without_a_gateway_nothing_is_erased(house: Gateway) -> None:
    session = _session(house)
    house.terminate()
    refused = house.run("session", "erase", session, "--reason", "now", "--yes", check=False)
    assert refused.returncode == 3 and "no gateway" in refused.stderr
    assert _show(house, session)["erased_at"] is None
