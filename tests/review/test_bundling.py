"""Evidence bundles as they are exported: complete, provable, readable, and nothing in them loads anything."""

import io
import json
import subprocess
import sys
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pyrage
import pytest

from pgwitness.cli import run
from pgwitness.errors import ConflictError, NotFoundError, UnavailableError
from pgwitness.index.store import IndexReader
from pgwitness.record.layout import Layout
from pgwitness.record.recipients import Wrapper
from pgwitness.record.report import Report
from pgwitness.record.secrets import Secrets
from pgwitness.record.verify_bundle import verify_bundle
from pgwitness.review.bundling import SOFTWARE, bundle
from pgwitness.review.evidence import derive
from pgwitness.review.export import export_session
from pgwitness.sealing.sealer import Sealer
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import START, answers, error, extended, ready, sync
from support.records import flip
from support.sealing import drop_tape, seal, seal_on
from support.tape_files import RECORDER, ZERO, TapeWriter

SESSION = str(tapes.session_id(1))
NASTY = "</pre><script src=https://evil.example/x.js></script><img src=x onerror=alert(1)>\x1b[2J\u202e'\""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A sealed and indexed tape: the incident, with hostile texts, beside another session."""
    talk = tapes.dialogue(1, user="app", claims={"run": "<b>run</b>"}, kind="service")
    talk.client(extended("UPDATE orders SET status = $1", (NASTY.encode(),), (25,)), sync())
    talk.server(answers("UPDATE 40000")).run(f"SELECT '{NASTY}'", "SELECT 1")
    talk.run("ALTER ROLE app PASSWORD 'hunter2'", "ALTER ROLE")
    talk.client(query("SELECT 1/0")).server(error(), ready()).event(event="<script>").ended()
    other = tapes.dialogue(2).run("SELECT 'of somebody else'", "SELECT 1").ended()
    tapes.record(tmp_path, talk, other)
    tapes.index(tmp_path).close()
    seal(tmp_path)
    return tmp_path


def _export(state: Path, session: str = SESSION) -> Path:
    reader = tapes.index(state)
    file = state / "evidence.zip"
    try:
        file.write_bytes(b"".join(export_session(reader, state / "tape", session, "bundle")))
    finally:
        reader.close()
    return file


def _verify(file: Path) -> Report:
    return verify_bundle(file, derive=derive, software=SOFTWARE)


def _members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_is_sound_and_holds_what_the_format_says(state: Path) -> None:
    file = _export(state)
    report = _verify(file)
    assert report.result == "sound", report.problems
    assert [(step.name, step.outcome) for step in report.steps if step.outcome != "sound"] == [
        ("heads", "skipped")
    ]
    members = _members(file)
    names = {name.partition("/")[0] for name in members}
    expected = "bundle.json checkpoint verifier entries chunks frames session.json statements.jsonl"
    assert names == {*expected.split(), "statements.html", "README.txt"}
    session = json.loads(members["session.json"])
    assert session["header"]["identity"] == "billing-agent" and session["ended"]["reason"] == "terminated"
    statements = [json.loads(line) for line in members["statements.jsonl"].splitlines()]
    assert [each["tag"] for each in statements[:3]] == ["UPDATE 40000", "SELECT 1", "ALTER ROLE"]
    assert statements[0]["parameters"][0]["value"] == NASTY and statements[3]["sqlstate"] == "22012"
    assert b"somebody else" not in b"".join(members.values())


def test_readable_statements_are_the_same_as_the_index_has(state: Path) -> None:
    statements = _members(_export(state))["statements.jsonl"]
    reader = tapes.index(state)
    assert b"".join(export_session(reader, state / "tape", SESSION, "jsonl")) == statements
    reader.close()


def test_passwords_are_redacted_where_people_read_and_kept_where_it_is_evidence(state: Path) -> None:
    members = _members(_export(state))
    readable = b"".join(data for name, data in members.items() if "." in name)
    assert b"hunter2" not in readable and b"***" in readable
    assert any(b"hunter2" in data for name, data in members.items() if name.startswith("frames/"))


class _Page(HTMLParser):
    """Tags and attributes that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_loads_and_runs_nothing(state: Path) -> None:
    text = _members(_export(state))["statements.html"].decode()
    page = _Page(text)
    assert not page.tags & {"script", "img", "link", "iframe", "object", "a", "form", "base", "svg"}
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "class", "title"}
    assert "url(" not in text and "@import" not in text and "default-src 'none'" in text
    assert "UPDATE orders SET status = '</pre><script" in page.words, "shown, not run"
    assert "\x1b" not in text and "\u202e" not in text and r"\x1b[2J" in page.words
    assert "22012" in page.words and "UPDATE 40000" in page.words


@pytest.mark.parametrize("name", ["session.json", "statements.jsonl", "statements.html", "frames/000001"])
def test_a_readable_part_that_says_something_else_is_found(state: Path, name: str) -> None:
    """Also by who writes the bundle's own list of hashes anew."""
    from hashlib import sha256

    file = _export(state)
    members = _members(file)
    members[name] = members[name].replace(b"UPDATE", b"DELETE") if "." in name else members[name][:-1] + b"x"
    if name == "session.json":
        members[name] = members[name].replace(b"billing-agent", b"shipping-agent")
    index = json.loads(members["bundle.json"])
    index["files"][name] = sha256(members[name]).hexdigest()
    members["bundle.json"] = json.dumps(index).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for each, data in members.items():
            archive.writestr(each, data)
    report = _verify(file)
    assert report.result == "broken" and name in {problem.file for problem in report.problems}


def test_a_session_that_goes_on_is_proved_as_far_as_it_is_sealed(tmp_path: Path) -> None:
    tapes.record(tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1"))
    tapes.index(tmp_path).close()
    seal(tmp_path)
    report = _verify(_export(tmp_path))
    assert report.result == "sound" and any("open" in remark.text for remark in report.remarks)


def test_without_its_secret_a_session_is_proved_but_not_read(state: Path) -> None:
    layout, session = Layout(state / "record"), tapes.session_id(1).bytes
    secrets = Secrets(layout)
    slot = next(slot for slot in range(4) if secrets.get(slot, session))
    secrets.destroy(slot, session)
    file = _export(state)
    assert _verify(file).result == "sound"
    names = set(_members(file))
    assert "README.txt" in names and not any(name.startswith(("frames/", "statements")) for name in names)


def test_an_auditor_opens_what_the_gateway_cannot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auditor = pyrage.x25519.Identity.generate()
    tapes.record(tmp_path, tapes.dialogue(1).run(f"SELECT '{NASTY}'", "SELECT 1").ended())
    tapes.index(tmp_path).close()
    seal(tmp_path, wrap=Wrapper(Layout(tmp_path / "record"), [str(auditor.to_public())]), readable=False)
    sealed, opened = _export(tmp_path), tmp_path / "opened.zip"
    assert _verify(sealed).result == "sound" and "secret.age" in _members(sealed)
    assert not any(name.startswith(("frames/", "statements")) for name in _members(sealed))
    keys = {name: tmp_path / name for name in ("right", "wrong")}
    keys["right"].write_text(f"# public key: {auditor.to_public()}\n{auditor}\n")
    keys["wrong"].write_text(f"{pyrage.x25519.Identity.generate()}\n")

    def open_it(key: str, file: Path = sealed) -> int:
        return run(["bundle", "open", str(file), "--identity", str(keys[key]), "-o", str(opened)])

    assert open_it("wrong") == 1 and not opened.exists()
    assert "not for this key" in capsys.readouterr().err
    assert open_it("right") == 0
    report = _verify(opened)
    assert report.result == "sound", report.problems
    assert {step.name: step.outcome for step in report.steps}["contents"] == "sound"
    assert NASTY.encode() in _members(opened)["frames/000001"]
    assert open_it("right", opened) == 2, "it is open already"

    drop_tape(tmp_path)
    reader = IndexReader(tmp_path)
    with pytest.raises(ConflictError, match="only auditors"):
        export_session(reader, tmp_path / "tape", SESSION, "pcapng")
    reader.close()


def test_what_is_not_sealed_is_said(state: Path, tmp_path: Path) -> None:
    reader = tapes.index(state)
    found = reader.session(SESSION)
    reader.close()
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UnavailableError, match="nothing is sealed yet"):
        bundle(empty, found, seconds=0)
    elsewhere = msgspec.structs.replace(found.session, session=str(tapes.session_id(9)))
    with pytest.raises(NotFoundError, match="not in the sealed record"):
        bundle(state, found._replace(session=elsewhere), seconds=0)


def test_a_bundle_is_one_zip_file(state: Path) -> None:
    assert zipfile.is_zipfile(io.BytesIO(_export(state).read_bytes()))


def test_of_an_erased_session_the_erasure_is_proved(state: Path) -> None:
    reader = tapes.index(state)
    found = reader.session(SESSION)
    reader.close()
    writer = TapeWriter(state / "tape")
    event = {"event": "session_erased", "session": SESSION, "by": "anna", "reason": "GDPR request 17"}
    event |= {"position": [found.first_position, found.last_position]}
    writer.append_json(ZERO, RECORDER, START, event)
    writer.close()
    sealer = Sealer(state)
    seal_on(sealer)
    sealer.erase()
    sealer.close()
    file = _export(state)
    report = _verify(file)
    assert report.result == "sound", report.problems
    assert any("GDPR request 17" in remark.text for remark in report.remarks)
    members = _members(file)
    assert not any(name.startswith(("chunks/", "frames/", "statements")) for name in members)
    assert NASTY.encode() not in b"".join(members.values())


def test_the_standalone_script_agrees(state: Path) -> None:
    script = Path(__file__).parents[2] / "docs" / "verify_bundle.py"
    file = _export(state)

    def check() -> int:
        return subprocess.run(
            [sys.executable, str(script), str(file)], capture_output=True, timeout=60
        ).returncode

    assert check() == 0
    flip(file, file.read_bytes().index(b"chunks/000001") + 80)
    assert check() == 1
