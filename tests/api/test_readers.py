"""Who reads a session's content is in the audit and on the tape, before they have it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.conftest import http
from pgwitness._core import KIND_RECORDER, TapeReader
from pgwitness.api.services import Services, open_services
from pgwitness.config import Settings
from support import tapes
from support.gateway import Gateway
from support.servers import Server

SESSION = str(tapes.session_id(1))

READINGS = [
    (f"/sessions/{SESSION}", "read.session", SESSION, {}),
    (f"/sessions/{SESSION[-6:]}/replay?results=true", "read.replay", SESSION, {"results": True}),
    (f"/sessions/{SESSION}/export?format=pcapng", "read.export", SESSION, {"format": "pcapng"}),
    (f"/statements/{SESSION}/1", "read.statement", SESSION, {"seq": 1}),
    (f"/statements?session={SESSION}", "read.statements", SESSION, {}),
    ("/sessions?match=Miller", "read.sessions", "all sessions", {"match": True}),
    (
        "/sessions?table=orders&connection=orders",
        "read.sessions",
        "all sessions",
        {"table": "orders", "connection": "orders"},
    ),
    (
        "/statements/stream?identity=ann&match=Miller",
        "read.statements",
        "all sessions",
        {"identity": "ann", "match": True},
    ),
]


@pytest.fixture
def read(settings: Settings, services: Services) -> Services:
    tapes.record(settings.state, tapes.dialogue(1).run("SELECT 'content'", "SELECT 1").ended())
    return services


@pytest.mark.parametrize(("path", "action", "subject", "details"), READINGS)
def test_a_reading_is_noted(
    read: Services, path: str, action: str, subject: str, details: dict[str, Any]
) -> None:
    recorded: list[dict[str, Any]] = []
    with http(dataclasses.replace(read, record_event=recorded.append), local=True) as client:
        assert client.get(path).status_code == 200
    (event,) = recorded
    assert event.pop("actor").startswith("local:")
    assert event == {"event": "record_read", "action": action, "subject": subject, "details": details}
    (entry,) = read.catalog.audit(action="read.")
    assert (entry.action, entry.subject, entry.details) == (action, subject, details)


def test_a_listing_of_sessions_shows_no_content(read: Services, local: httpx.Client) -> None:
    assert local.get("/sessions").json()["items"][0]["session"] == SESSION
    assert read.catalog.audit() == []


@pytest.mark.parametrize("path", [reading[0] for reading in READINGS])
def test_who_cannot_be_recorded_reads_nothing(read: Services, path: str) -> None:
    def refuse(event: dict[str, Any]) -> None:
        raise OSError("no room")

    with http(dataclasses.replace(read, record_event=refuse), local=True) as client:
        answer = client.get(path)
    assert answer.status_code == 503 and "no room" in answer.json()["message"]
    assert "content" not in answer.text


def test_without_a_gateway_the_next_one_records_it(read: Services, settings: Settings) -> None:
    with http(read, local=True) as client:
        client.post("/identities", json={"name": "agent"})
        client.get(f"/sessions/{SESSION}")

    def refuse(event: dict[str, Any]) -> None:
        raise OSError("no room")

    dataclasses.replace(read, record_event=refuse)  # a tape that refuses loses nothing
    recorded: list[dict[str, Any]] = []
    dataclasses.replace(read, record_event=recorded.append)
    assert [(each["event"], each["action"]) for each in recorded] == [
        ("administered", "identity.add"),
        ("record_read", "read.session"),
    ]
    assert all(each["at"].endswith("Z") for each in recorded)
    dataclasses.replace(read, record_event=recorded.append)
    assert len(recorded) == 2, "delivered once"


def test_a_line_that_was_cut_short_is_delivered_as_it_is(services: Services, settings: Settings) -> None:
    (settings.state / "unrecorded.jsonl").write_text('{"event": "administered", "act')
    recorded: list[dict[str, Any]] = []
    dataclasses.replace(services, record_event=recorded.append)
    assert recorded == [{"event": "unreadable", "text": '{"event": "administered", "act'}]


def _on_tape(state: Path, event: str) -> list[dict[str, Any]]:
    reader, found = TapeReader(state / "tape"), []
    while frames := reader.read():
        said = [json.loads(frame[5]) for frame in frames if frame[2] == KIND_RECORDER]
        found += [document for document in said if document["event"] == event]
    return found


def test_readers_of_a_gateway_from_near_and_far(gateway: Gateway, server15: Server) -> None:
    gateway.add_connection("read", server15)
    gateway.add_identity("reader", "read")
    with gateway.connect("reader", "read") as connection:
        connection.execute("SELECT 'content'")
    (session,) = gateway.sessions(wait_for=1)
    gateway.run("identity", "add", "auditor", "--kind", "human")
    token = gateway.run("token", "issue", "auditor", "--role", "admin").stdout.strip()
    far = os.environ | {"PGWITNESS_URL": gateway.http, "PGWITNESS_TOKEN": token}
    command = [sys.executable, "-m", "pgwitness", "session", "export", session["session"], "--format", "sql"]
    subprocess.run(command, env=far, check=True, capture_output=True, timeout=60)
    event = _on_tape(gateway.state, "record_read")[-1]
    public_id = token.split("_")[1]
    assert event["actor"] == f"auditor (token {public_id}) from 127.0.0.1"
    assert (event["action"], event["subject"]) == ("read.export", session["session"])
    assert token not in json.dumps(event)

    gateway.terminate()
    gateway.run("session", "show", session["session"])
    assert _on_tape(gateway.state, "record_read")[-1] == event, "there was no gateway to record it"
    gateway.start()
    late = _on_tape(gateway.state, "record_read")[-1]
    assert (late["action"], late["subject"]) == ("read.session", session["session"]) and late["at"]
    listed = gateway.jsonl("audit", "--action", "read", "--subject", session["session"])
    assert [each["action"] for each in listed] == ["read.session", "read.export"]


def test_services_open_without_a_tape(settings: Settings) -> None:
    open_services(settings).close()
    assert not (settings.state / "unrecorded.jsonl").exists()
