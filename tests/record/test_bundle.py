"""Evidence bundles: sound ones are, others are named; by pgwitness and by the script in docs/ that knows
nothing of it."""

import io
import json
import random
import subprocess
import sys
import uuid
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from pgwitness.errors import NotFoundError
from pgwitness.record.bundle import open_bundle, session_frames, write_bundle
from pgwitness.record.chunks import Frame, join, split
from pgwitness.record.keys import read_verifiers
from pgwitness.record.log_reader import LogReader
from pgwitness.record.notes import Verifier
from pgwitness.record.report import Report
from pgwitness.record.verify_bundle import verify_bundle
from support.records import Sealing, change, make_record

SCRIPT = Path(__file__).parents[2] / "docs" / "verify_bundle.py"
SOFTWARE = "pgwitness test"


def derive(frames: Iterator[Frame]) -> dict[str, bytes]:
    return {"statements.jsonl": b"".join(b'{"sql":"%d"}\n' % frame[1] for frame in frames)}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sealing, bytes]:
    sealing = make_record(tmp_path_factory.mktemp("bundles") / "record", 30)
    session = sealing.session(4)
    sealing.session()
    sealing.commit()
    return sealing, session


def export(sealing: Sealing, session: bytes, path: Path, *, secret: bool = True) -> Path:
    log = LogReader(sealing.layout)
    name = str(uuid.UUID(bytes=session))
    found = sealing.secrets.find(session) if secret else None
    frames = [] if found is None else list(session_frames(log, name, found))
    with path.open("wb") as file:
        write_bundle(
            file,
            log,
            name,
            secret=found,
            derived={**(derive(iter(frames)) if found else {}), "README.txt": b"what this is\n"},
            software=SOFTWARE,
            created=datetime(2026, 11, 22, tzinfo=UTC),
        )
    return path


@pytest.fixture
def bundle(record: tuple[Sealing, bytes], tmp_path: Path) -> Path:
    return export(*record, tmp_path / "one.pgwitness.zip")


@pytest.fixture
def keys(record: tuple[Sealing, bytes]) -> list[Verifier]:
    return read_verifiers(record[0].layout.verifier)


def check(path: Path, keys: list[Verifier], **more: object) -> Report:
    return verify_bundle(path, verifiers=keys, derive=derive, software=SOFTWARE, **more)  # type: ignore[arg-type]


def script(path: Path, *arguments: object) -> tuple[int, str]:
    """Isolated: nothing of pgwitness can be imported."""
    command = [sys.executable, "-I", str(SCRIPT), str(path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_a_bundle_is_sound(bundle: Path, keys: list[Verifier], record: tuple[Sealing, bytes]) -> None:
    report = check(bundle, keys)
    assert (report.problems, report.result) == ([], "sound")
    assert {step.name: step.outcome for step in report.steps} == {
        "bundle": "sound",
        "key": "sound",
        "checkpoint": "sound",
        "inclusion": "sound",
        "heads": "skipped",
        "chains": "sound",
        "chunks": "sound",
        "contents": "sound",
        "statements": "sound",
    }
    code, said = script(bundle, record[0].layout.verifier)
    assert (code, said.splitlines()[-1]) == (0, "Sound."), said
    assert "key: given" in said
    assert script(bundle)[0] == 0


def test_the_script_imports_nothing_of_pgwitness() -> None:
    imported = [line for line in SCRIPT.read_text().splitlines() if line.startswith(("import ", "from "))]
    modules = {line.split()[1].split(".")[0] for line in imported}
    assert modules - set(sys.stdlib_module_names) == {"cryptography"}


def test_without_the_secret_the_chunks_are_proven_and_closed(
    record: tuple[Sealing, bytes], keys: list[Verifier], tmp_path: Path
) -> None:
    path = export(*record, tmp_path / "closed.zip", secret=False)
    with open_bundle(path) as bundle:
        assert not [name for name in bundle.names if name.startswith("frames/")]
    report = check(path, keys)
    assert report.result == "sound"
    assert {step.name for step in report.steps if step.outcome == "skipped"} == {
        "heads",
        "contents",
        "statements",
    }
    assert script(path)[0] == 0


def test_an_open_session_is_proven_as_far_as_it_is(tmp_path: Path, keys: list[Verifier]) -> None:
    sealing = make_record(tmp_path / "record", 3)
    session = sealing.tape.session()
    sealing.seal([sealing.tape.start(session), *sealing.tape.talk(session, 2)])
    sealing.commit()
    path = export(sealing, session, tmp_path / "open.zip")
    report = check(path, read_verifiers(sealing.layout.verifier))
    assert report.result == "sound"
    assert [remark.about for remark in report.remarks] == ["open"]
    assert "still open" in script(path)[1]


def test_an_erased_session_has_its_entries_and_who_erased_it(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 3)
    session = sealing.session(3)
    sealing.event("session_erased", session=str(uuid.UUID(bytes=session)), by="anna", reason="a request")
    sealing.commit()
    path = export(sealing, session, tmp_path / "erased.zip", secret=False)
    report = check(path, read_verifiers(sealing.layout.verifier))
    assert (report.problems, report.result) == ([], "sound")
    assert [remark.text for remark in report.remarks] == ["erased by anna, reason: a request"]
    assert "(erased since)" in script(path)[1]


def test_a_session_that_was_never_sealed_has_no_bundle(record: tuple[Sealing, bytes], tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="not in the sealed record"):
        export(record[0], bytes(16), tmp_path / "none.zip")


Members = dict[str, bytes]


def repack(path: Path, make: Callable[[Members], None], *, honest: bool = False) -> None:
    """Change members. ``honest``: with the hashes in bundle.json made right again."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    make(members)
    if honest:
        about = json.loads(members["bundle.json"])
        about["files"] = {
            name: sha256(data).hexdigest() for name, data in members.items() if name != "bundle.json"
        }
        members["bundle.json"] = json.dumps(about).encode()
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    path.write_bytes(made.getvalue())


def _flip(name: str) -> Callable[[Members], None]:
    def make(members: Members) -> None:
        data = bytearray(members[name])
        data[len(data) // 2] ^= 4
        members[name] = bytes(data)

    return make


def _about(**values: object) -> Callable[[Members], None]:
    def make(members: Members) -> None:
        members["bundle.json"] = json.dumps({**json.loads(members["bundle.json"]), **values}).encode()

    return make


def _swap(one: str, other: str) -> Callable[[Members], None]:
    def make(members: Members) -> None:
        members[one], members[other] = members[other], members[one]

    return make


def _drop_last_entry(members: Members) -> None:
    about = json.loads(members["bundle.json"])
    del members[f"entries/{len(about['entries']) - 2:06}"]
    del about["entries"][-2]
    last = len(about["entries"])
    members[f"entries/{last - 1:06}"] = members.pop(f"entries/{last:06}")
    members["bundle.json"] = json.dumps(about).encode()


TAMPERED = {
    "a chunk": (_flip("chunks/000002"), "chunks/000002"),
    "frames": (_flip("frames/000002"), "frames/000002"),
    "an entry": (_flip("entries/000001"), "entries/000001"),
    "the checkpoint": (_flip("checkpoint"), "checkpoint"),
    "two entries swapped": (_swap("entries/000001", "entries/000002"), "entries/000001"),
    "two chunks swapped": (_swap("chunks/000001", "chunks/000002"), "chunks/000001"),
    "frames swapped": (_swap("frames/000001", "frames/000002"), "frames/000001"),
    "the session's name": (_about(session=str(uuid.UUID(int=1))), "the one session"),
    "a secret of zeros": (_about(secret="00" * 32), "frames/000001"),
    "a chunk left out": (_drop_last_entry, "chain"),
    "a proof left out": (_about(entries=[]), "the one session"),
}


@pytest.mark.parametrize("name", TAMPERED)
@pytest.mark.parametrize("honest", [False, True], ids=["careless", "careful"])
def test_a_tampered_bundle_is_found_and_named(
    bundle: Path, keys: list[Verifier], record: tuple[Sealing, bytes], name: str, honest: bool
) -> None:
    make, word = TAMPERED[name]
    repack(bundle, make, honest=honest)
    report = check(bundle, keys)
    assert report.result == "broken"
    said = [f"{each.step} {each.file} {each.entry} {each.text}" for each in report.problems]
    assert any(word in line for line in said), said
    code, told = script(bundle, record[0].layout.verifier)
    assert (code, told.startswith("BROKEN: ")) == (1, True), told


def test_statements_that_the_frames_do_not_say(bundle: Path, keys: list[Verifier]) -> None:
    def make(members: Members) -> None:
        members["statements.jsonl"] = members["statements.jsonl"].replace(b'"3"', b'"DROP TABLE orders"')

    repack(bundle, make, honest=True)
    report = check(bundle, keys)
    assert [(problem.step, problem.file) for problem in report.problems] == [
        ("statements", "statements.jsonl")
    ]
    # Another version may have written them otherwise: that is said, and is not tampering.
    other = verify_bundle(bundle, verifiers=keys, derive=derive, software="pgwitness 99")
    assert other.result == "sound"
    assert "is not as pgwitness 99 writes it" in other.remarks[-1].text
    last = other.steps[-1]
    assert (last.name, last.outcome, last.detail) == (
        "statements",
        "skipped",
        "not proven: statements.jsonl",
    )


def _forged(members: Members) -> None:
    """Other frames, and statements that follow from them."""
    frames: list[Frame] = []
    for name in sorted(name for name in members if name.startswith("frames/")):
        other = [(*frame[:5], b"FORGED") for frame in split(bytes(16), members[name])]
        members[name] = join(other)
        frames += other
    members.update(derive(iter(frames)))


def _told(members: Members) -> None:
    """No frames at all, and statements that follow from nothing."""
    for name in [name for name in members if name.startswith("frames/")]:
        del members[name]
    members["statements.jsonl"] = b'{"sql":"FORGED"}\n'


def _added(members: Members) -> None:
    members["summary.html"] = b"FORGED"


@pytest.mark.parametrize(
    "secret, make, file",
    [
        ("", _forged, "bundle.json"),
        ("zz", _forged, "bundle.json"),
        ("00", _forged, "bundle.json"),
        (None, _forged, "frames/000001"),
        (None, _told, "statements.jsonl"),
        (..., _added, "summary.html"),
    ],
)
def test_a_story_that_nothing_proves_is_not_sound(
    bundle: Path, keys: list[Verifier], secret: object, make: Callable[[Members], None], file: str
) -> None:
    """Whoever passes a bundle on can write hashes into it; only what follows from the chunks is proven."""

    def forge(members: Members) -> None:
        make(members)
        if secret is not ...:
            _about(secret=secret)(members)

    repack(bundle, forge, honest=True)
    assert check(bundle, keys).problems[0].file == file
    code, said = script(bundle)
    assert (code, said.startswith("BROKEN: ")) == (1, True), said


def test_the_erasure_of_another_session_opens_no_door(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 3)
    session, other = sealing.session(3), sealing.session(3)
    sealing.event("session_erased", session=str(uuid.UUID(bytes=other)), by="anna", reason="a request")
    sealing.commit()
    path = export(sealing, session, tmp_path / "bundle.zip")
    log = LogReader(sealing.layout)
    foreign = export(sealing, other, tmp_path / "foreign.zip", secret=False)
    with zipfile.ZipFile(foreign) as archive:
        proven = json.loads(archive.read("bundle.json"))["entries"][-1]
        event = archive.read(sorted(name for name in archive.namelist() if name.startswith("entries/"))[-1])
    assert log.size > proven["index"]

    def forge(members: Members) -> None:
        about = json.loads(members["bundle.json"])
        members[f"entries/{len(about['entries']):06}"] = event
        members["chunks/000001"] = members["frames/000001"] = b"FORGED"
        _about(entries=[*about["entries"], proven])(members)

    repack(path, forge, honest=True)
    assert check(path, read_verifiers(sealing.layout.verifier)).result == "broken"
    code, said = script(path)
    assert (code, said.startswith("BROKEN: ")) == (1, True), said


def test_what_does_not_belong_and_what_is_no_bundle(
    bundle: Path, keys: list[Verifier], tmp_path: Path
) -> None:
    repack(bundle, lambda members: members.update({"statements.exe": b"MZ"}))
    assert check(bundle, keys).problems[0].file == "statements.exe"
    assert script(bundle)[0] == 1
    for data in (b"", b"PK", bundle.read_bytes()[:1000]):
        (tmp_path / "bad.zip").write_bytes(data)
        assert check(tmp_path / "bad.zip", keys).result == "broken"
        assert script(tmp_path / "bad.zip")[0] == 1
    repack(bundle, _about(version=2))
    assert "version 2" in check(bundle, keys).problems[0].text
    assert script(tmp_path / "missing.zip")[0] == 2


def test_another_key_and_another_head(bundle: Path, keys: list[Verifier], tmp_path: Path) -> None:
    other = make_record(tmp_path / "other", 2)
    foreign = read_verifiers(other.layout.verifier)
    assert check(bundle, foreign).problems[0].step == "checkpoint"
    code, said = script(bundle, other.layout.verifier)
    assert (code, said) == (1, f"BROKEN: the checkpoint is not signed by {foreign[0].name}\n")
    report = check(bundle, keys, heads=[("head", other.log.note)])
    assert [problem.step for problem in report.problems] == ["heads"]


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_change_nothing_that_counts(
    bundle: Path, keys: list[Verifier], tmp_path: Path, seed: int
) -> None:
    """A flip in the ZIP's own tables may be harmless; then every member still reads as it was."""
    choose = random.Random(seed)
    whole = bundle.read_bytes()
    with open_bundle(bundle) as opened:
        members = {name: opened.read(name) for name in opened.names}
    found = 0
    for _ in range(100):
        offset, bit = choose.randrange(len(whole)), choose.randrange(8)
        bent = bytearray(whole)
        bent[offset] ^= 1 << bit
        bundle.write_bytes(bent)
        if check(bundle, keys).result == "broken":
            found += 1
            continue
        with open_bundle(bundle) as opened:
            assert {name: opened.read(name) for name in opened.names} == members, (offset, bit)
    assert found > 50
    change(bundle, lambda _: whole)
    assert check(bundle, keys).result == "sound"
