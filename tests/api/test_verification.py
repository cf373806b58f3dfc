"""Verification in the background: begun by the API, in a process of its own, its result kept."""

import os
import signal
from typing import Any

import httpx
import pytest

from api.conftest import http
from api.test_admin import problem
from pgwitness.api import verifying
from pgwitness.api.services import Services
from pgwitness.api.verifying import Verifications
from pgwitness.config import Settings
from support import tapes
from support.records import flip
from support.sealing import seal
from support.waiting import wait_until

SESSION = str(tapes.session_id(1))


@pytest.fixture
def sealed(settings: Settings, services: Services) -> Services:
    talks = [tapes.dialogue(number).run("SELECT 1", "SELECT 1").ended() for number in (1, 2)]
    tapes.record(settings.state, *talks)
    tapes.index(settings.state).close()
    seal(settings.state)
    return services


def verify(client: httpx.Client, session: str | None = None) -> dict[str, Any]:
    """Begin one; its result."""
    begun = client.post("/verify", json={"session": session})
    assert begun.status_code == 202, begun.text
    wait_until(lambda: client.get("/verify").json()["running"] is None, 60)
    last: dict[str, Any] = client.get("/verify", params={"session": session} if session else {}).json()[
        "last"
    ]
    assert last["started_at"] == begun.json()["started_at"] < last["ended_at"]
    assert last["asked_by"].startswith("local:")
    return last


def test_the_whole_record_and_one_session(sealed: Services, local: httpx.Client) -> None:
    assert local.get("/verify").json() == {"running": None, "last": None}
    whole = verify(local)
    report = whole["report"]
    assert (whole["session"], whole["failed"], report["result"]) == (None, None, "sound")
    assert report["size"] and report["root"] and report["signed"], "it names its checkpoint"
    assert [step["name"] for step in report["steps"]][-1] == "index"
    assert report["steps"][-1]["outcome"] == "sound"
    one = verify(local, SESSION[-6:])
    assert one["session"] == one["report"]["session"] == SESSION
    assert local.get("/verify").json()["last"] == whole, "each has a result of its own"
    actions = [(each.action, each.subject) for each in sealed.catalog.audit(action="verify")]
    assert actions == [("verify", SESSION), ("verify", "the whole record")]


def test_the_result_is_kept_for_the_next_gateway(sealed: Services, local: httpx.Client) -> None:
    whole = verify(local)
    assert Verifications(sealed.settings.state).last(None) == sealed.verifications.last(None)
    file = sealed.settings.state / "verification" / "record.json"
    assert file.stat().st_mode & 0o777 == 0o600 and file.parent.stat().st_mode & 0o777 == 0o700
    file.write_text("{")
    assert local.get("/verify").json()["last"] is None
    assert verify(local)["report"]["root"] == whole["report"]["root"]


def test_what_is_broken_is_in_the_report(sealed: Services, local: httpx.Client) -> None:
    (segment, *_) = sorted((sealed.settings.record_directory / "segments").iterdir())
    flip(segment, segment.stat().st_size // 2)
    report = verify(local)["report"]
    assert report["result"] == "broken" and report["problems"]


def test_without_a_record_it_says_so(services: Services, local: httpx.Client) -> None:
    last = verify(local)
    assert last["report"] is None and "no sealed record" in last["failed"]


def test_there_is_one_at_a_time_and_its_death_is_told(
    sealed: Services, local: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "command", lambda state, session: ["/bin/sleep", "600"])
    begun = local.post("/verify", json={}).json()
    assert problem(local.post("/verify", json={"session": SESSION}), 409)["hint"].startswith("wait for it")
    assert local.get("/verify").json()["running"] == begun
    process = sealed.verifications._process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: local.get("/verify").json()["running"] is None)
    assert local.get("/verify").json()["last"]["failed"] == "the verification was ended (-9)"
    local.post("/verify", json={})
    sealed.verifications.close()
    assert local.get("/verify").json()["running"] is None


def test_it_ends_with_who_began_it(sealed: Services) -> None:
    sealed.verifications.start(None, asked_by="test")
    process = sealed.verifications._process
    sealed.close()
    assert process is not None and process.returncode is not None


def test_of_single_sessions_the_latest_are_kept(
    sealed: Services, local: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verifying, "_KEPT", 1)
    for number in (1, 2):
        verify(local, str(tapes.session_id(number)))
    kept = {path.stem for path in (sealed.settings.state / "verification").iterdir()}
    assert kept == {str(tapes.session_id(2))}


def test_an_unknown_session_is_none(sealed: Services, local: httpx.Client) -> None:
    assert problem(local.post("/verify", json={"session": "ffffff"}), 404)
    assert problem(local.get("/verify", params={"session": "ffffff"}), 404)
    with http(sealed, local=False) as stranger:
        assert problem(stranger.post("/verify", json={}), 401)
