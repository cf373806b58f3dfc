"""``POST /claims``: whose session may be compared, how much may be sent, and what nonsense gets."""

import json
from collections.abc import Iterator

import httpx
import pytest

from pgwitness.api import claims as module
from pgwitness.api.app import create_app
from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import Services
from pgwitness.identity import tokens
from pgwitness.review.claims.reading import MAX_BYTES
from support import tapes

MINE, OTHER = str(tapes.session_id(1)), str(tapes.session_id(2))
SAID = json.dumps({"sql": "DELETE FROM a WHERE id = 7"}).encode()


@pytest.fixture
def ann(services: Services) -> Iterator[httpx.Client]:
    """With a token for sessions of her own; there is one of bob's in the same run."""
    for name in ("ann", "bob"):
        services.catalog.identities.add(name, actor="test", connections="any")
    talks = [
        tapes.dialogue(number, identity=name, claims={"run": "run-1"}).run(
            "DELETE FROM a WHERE id = 7", "DELETE 1"
        )
        for number, name in ((1, "ann"), (2, "bob"))
    ]
    tapes.record(services.settings.state, *(talk.ended() for talk in talks))
    _, token = tokens.issue(services.catalog, "ann", actor="test", role="own")
    headers = {"Authorization": f"Bearer {token.reveal()}"}
    transport = InProcessTransport(create_app(services, local=False))
    with httpx.Client(transport=transport, base_url="http://pgwitness/api/v1", headers=headers) as client:
        yield client


def test_only_what_the_reader_may_see_is_compared(ann: httpx.Client) -> None:
    answer = ann.post("/claims", params={"session": MINE[-8:]}, content=SAID)
    summary, finding = [json.loads(line) for line in answer.text.splitlines()]
    assert (summary["verdict"], finding["kind"]) == ("matches", "matched")
    refused = ann.post("/claims", params={"session": OTHER}, content=SAID)
    unknown = ann.post("/claims", params={"session": "ffff"}, content=SAID)
    assert refused.status_code == unknown.status_code == 404
    assert refused.json()["message"].replace(OTHER, "X") == unknown.json()["message"].replace("ffff", "X")
    of_run = ann.post("/claims", params={"run": "run-1"}, content=SAID)
    assert json.loads(of_run.text.splitlines()[0])["sessions"] == [MINE]


def test_what_is_asked_wrongly(ann: httpx.Client) -> None:
    for params, content, why in (
        ({}, SAID, "a session or a run"),
        ({"session": MINE, "run": "run-1"}, SAID, "a session or a run"),
        ({"session": MINE, "format": "xml"}, SAID, "no format"),
        ({"session": MINE}, b"", "empty"),
        ({"session": MINE}, b"\xff", "UTF-8"),
    ):
        answer = ann.post("/claims", params=params, content=content)
        assert (answer.status_code, why in answer.json()["message"]) == (422, True), answer.text
    answer = ann.post("/claims", params={"session": MINE}, content=bytes(MAX_BYTES + 1))
    assert answer.status_code == 413
    answer = ann.post("/claims", params={"session": MINE}, content=SAID + b"\n" * (2 << 20))
    assert answer.status_code == 200  # more than other routes take


def test_nobody_without_a_token(services: Services) -> None:
    transport = InProcessTransport(create_app(services, local=False))
    with httpx.Client(transport=transport, base_url="http://pgwitness/api/v1") as client:
        assert client.post("/claims", params={"session": MINE}, content=SAID).status_code == 401


def test_one_comparison_at_a_time(ann: httpx.Client) -> None:
    with module._one:
        answer = ann.post("/claims", params={"session": MINE}, content=SAID)
    assert (answer.status_code, "one at a time" in answer.json()["message"]) == (429, True)
    assert ann.post("/claims", params={"session": MINE}, content=SAID).status_code == 200


def test_a_testimony_of_very_many_objects(ann: httpx.Client) -> None:
    answer = ann.post("/claims", params={"session": MINE}, content=b"[" + b"{}," * 1_000_000 + b"{}]")
    assert (answer.status_code, "objects and arrays" in answer.json()["message"]) == (422, True)
