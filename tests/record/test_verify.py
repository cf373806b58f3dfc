"""A sound record is called sound, whatever happened to it lawfully; and the report says what there is to
know."""

import json
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pgwitness.record.chunks import Keys, load, split
from pgwitness.record.entries import Event, Session, session_bytes
from pgwitness.record.events import add_damage, add_event, event_payload
from pgwitness.record.keys import read_verifiers
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.notes import COSIGNATURE, Signer, Verifier, add_signatures, parse_note
from pgwitness.record.report import Report
from pgwitness.record.verify import Options, verify_record
from pgwitness.record.witness import cosigned_text
from support.records import RECORDER, Sealing, copy_record, flip, make_record


def outcomes(report: Report) -> dict[str, str]:
    return {step.name: step.outcome for step in report.steps}


def about(report: Report, what: str) -> list[str]:
    return [remark.text for remark in report.remarks if remark.about == what]


def sound(layout: Layout, **options: object) -> Report:
    report = verify_record(layout, Options(**options))  # type: ignore[arg-type]
    assert report.problems == []
    assert report.result == "sound"
    return report


def test_a_record_is_sound_step_by_step(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 25)
    report = sound(sealing.layout, verifiers=read_verifiers(sealing.layout.verifier))
    assert outcomes(report) == {
        "key": "sound",
        "checkpoint": "sound",
        "tree": "sound",
        "heads": "skipped",
        "chains": "sound",
        "chunks": "sound",
        "contents": "sound",
    }
    assert report.numbers["sessions"] == 25
    assert report.numbers["chunks"] == 75
    assert report.numbers["events"] == 6
    assert report.numbers["objects"] == 75
    assert report.numbers["chunk_bytes"] == sum(
        path.stat().st_size for path in sealing.layout.segments.iterdir()
    )
    assert report.remarks == []


def test_a_copy_without_keys_is_sound_as_far_as_hashes_go(tmp_path: Path) -> None:
    make_record(tmp_path / "record", 5)
    report = sound(copy_record(tmp_path / "record", tmp_path / "copy"))
    assert outcomes(report)["contents"] == "skipped"
    assert about(report, "key") and "not compared" in about(report, "key")[0]


def test_an_empty_record_is_sound(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    sealing.commit()
    report = sound(sealing.layout)
    assert (report.size, report.numbers["sessions"]) == (0, 0)


def test_every_earlier_checkpoint_is_a_head_that_this_log_extends(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    heads = []
    for number in range(300):
        sealing.event("tick", number=number)
        if number % 23 == 0 or number in (254, 255, 256):
            heads.append((f"head {number}", sealing.commit()))
    report = sound(sealing.layout, heads=heads)
    assert outcomes(report)["heads"] == "sound"


def test_open_sessions_are_sound_and_said_to_be_open(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 3)
    session = sealing.tape.session()
    sealing.seal([sealing.tape.start(session), *sealing.tape.talk(session, 3)])
    sealing.commit()
    report = sound(sealing.layout)
    assert report.numbers["sessions_open"] == 1
    assert about(report, "open")


def test_gaps_are_told_and_are_not_tampering(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 1)
    session = sealing.tape.session()
    frames = [sealing.tape.start(session), *sealing.tape.talk(session, 6), sealing.tape.end(session)]
    sealing.seal(frames[:3])
    add_damage(sealing.log, 4, 9, 10, "segment 1 offset 4: checksum")
    sealing.seal(frames[5:])
    lost_start = sealing.tape.session()
    sealing.tape.start(lost_start)
    sealing.seal([*sealing.tape.talk(lost_start, 2), sealing.tape.end(lost_start)])
    sealing.commit()
    report = sound(sealing.layout)
    assert "frames 3 to 4 were lost before they were sealed: frames are missing on the tape" in about(
        report, "gap"
    )
    assert "part of the tape were lost before they were sealed: segment 1 offset 4: checksum" in about(
        report, "gap"
    )
    assert report.numbers["gaps"] == 3


def test_a_session_interrupted_by_a_restart_with_an_earlier_clock_is_sound(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    session = sealing.tape.session()
    sealing.seal([sealing.tape.start(session), *sealing.tape.talk(session, 2)])
    sealing.tape.time -= 10**12
    sealing.seal([sealing.tape.end(session, "interrupted")])
    sealing.commit()
    sound(sealing.layout)


def erase(sealing: Sealing, session: bytes, by: str = "anna") -> None:
    """As retention and administrators do: say it, sign it, destroy the secret."""
    text = LogReader(sealing.layout)
    entry = next(
        entry
        for _, entry in text.entries()
        if isinstance(entry, Session) and session_bytes(entry.session) == session
    )
    sealing.event("session_erased", session=entry.session, by=by, reason="a request")
    sealing.commit()
    assert entry.slot is not None
    assert sealing.secrets.destroy(entry.slot, session)
    assert not sealing.secrets.destroy(entry.slot, session)


def punch(layout: Layout, erased: set[str]) -> None:
    """Zeros where chunks of erased sessions were."""
    for _, entry in LogReader(layout).entries():
        stored = getattr(entry, "stored", None)
        if stored is not None and getattr(entry, "session", None) in erased:
            with layout.segment(stored.segment).open("r+b") as file:
                file.seek(stored.offset)
                file.write(bytes(stored.length))


def test_an_erased_session_is_told_of_and_the_record_stays_sound(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 6, segment_bytes=4000)
    session = sealing.session(2)
    sealing.commit()
    erase(sealing, session)
    report = sound(sealing.layout)
    assert about(report, "erased") == ["erased by anna, reason: a request"]
    assert report.numbers["sessions_erased"] == 1
    erased = {str(remark.session) for remark in report.remarks if remark.session}
    punch(sealing.layout, erased)
    report = sound(sealing.layout)
    assert report.numbers["objects_erased"] == 2
    assert verify_record(sealing.layout, Options(session=erased.pop())).result == "sound"


def test_a_segment_of_erased_sessions_alone_may_be_gone(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record", segment_bytes=100)
    gone = sealing.session(2)
    sealing.session(2)
    sealing.commit()
    erase(sealing, gone)
    sealing.layout.segment(1).unlink()
    sealing.layout.segment(2).unlink()
    assert sound(sealing.layout).numbers["objects_erased"] == 2
    sealing.layout.segment(3).unlink()
    report = verify_record(sealing.layout)
    assert next(problem.text for problem in report.problems).endswith("the segment that holds it is missing")


def test_large_and_odd_events_are_whole(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    payloads = [
        json.dumps({"event": "recovered", "open_sessions": ["x" * 36] * 4000}).encode(),
        b'{"event":"' + b"\\u0000" * 5000 + b'"}',
        b"\xff\xfe",
        b'{"event":"small"}',
        b"[]",
    ]
    for payload in payloads:
        add_event(sealing.log, sealing.tape.frame(bytes(16), RECORDER, payload))
    sealing.commit()
    report = sound(sealing.layout)
    assert report.numbers["objects"] == 2
    reader = LogReader(sealing.layout)
    events = [entry for _, entry in reader.entries() if isinstance(entry, Event)]
    assert [event_payload(reader, event) for event in events] == payloads
    assert [event.event for event in events][3:] == ["small", "unnamed"]


def test_one_session_alone(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 8)
    session = sealing.session(4)
    sealing.commit()
    name = next(
        entry.session
        for _, entry in LogReader(sealing.layout).entries()
        if isinstance(entry, Session) and session_bytes(entry.session) == session
    )
    report = sound(sealing.layout, session=name)
    assert report.numbers["objects"] == 4
    report = verify_record(sealing.layout, Options(session="00000000-0000-0000-0000-000000000000"))
    assert report.problems[0].text == "the record has no entry of this session"


def test_frames_come_back_from_the_record(tmp_path: Path) -> None:
    sealing = Sealing(tmp_path / "record")
    session = sealing.tape.session()
    frames = [sealing.tape.start(session), *sealing.tape.talk(session, 9), sealing.tape.end(session)]
    sealing.seal(frames[:5])
    sealing.seal(frames[5:])
    sealing.commit()
    reader = LogReader(sealing.layout)
    keys, read = None, []
    for _, entry in reader.entries():
        if isinstance(entry, Session):
            assert entry.slot is not None
            secret = sealing.secrets.get(entry.slot, session)
            assert secret
            keys = Keys.of(secret)
            assert (entry.identity, entry.connection, entry.database) == ("billing-agent", "orders", "shop")
        elif hasattr(entry, "stored"):
            read += split(session, load(reader.object(entry.stored), keys))
    assert read == frames


def test_an_auditors_copy_while_the_record_grows_is_sound(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 10)
    early = (sealing.layout.log / "checkpoint").read_bytes()
    for _ in range(70):
        sealing.session()
    sealing.commit()
    # The copier took the checkpoint first, and the files when they had grown: partial tiles had gone.
    copy = copy_record(tmp_path / "record", tmp_path / "copy")
    copy.checkpoint.write_bytes(early)
    report = sound(copy)
    assert about(report, "beyond")


@pytest.mark.parametrize("when", ["before", "after"])
def test_partial_tiles_that_go_while_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The sealer fills a tile, and removes its partial ones, before or after verification has listed them."""
    sealing = make_record(tmp_path / "record", 30)
    list_directory = Path.iterdir
    grown = []

    def listed(directory: Path) -> Iterator[Path]:
        early = list(list_directory(directory)) if when == "after" else []
        if directory.suffix == ".p" and not grown:
            grown.append(directory)
            for _ in range(70):
                sealing.session()
            sealing.commit()
            assert not directory.exists()
        return iter(early) if when == "after" else list_directory(directory)

    monkeypatch.setattr(Path, "iterdir", listed)
    sound(sealing.layout)
    assert grown


@pytest.mark.parametrize("threads", [1, 4])
def test_threads_change_nothing(tmp_path: Path, threads: int) -> None:
    sealing = make_record(tmp_path / "record", 20, segment_bytes=2000)
    assert sound(sealing.layout, threads=threads).numbers["objects"] == 60


WITNESS = Signer("witness.example/w1", Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def cosign(note: bytes, time: int) -> bytes:
    """The note with a witness's line, as c2sp.org/tlog-cosignature has it."""
    text = parse_note(note).text
    key = Verifier(WITNESS.name, WITNESS.verifier.public, COSIGNATURE)
    signature = key.id + time.to_bytes(8, "big") + WITNESS.private.sign(cosigned_text(text, time))
    return add_signatures(note, [f"— {key.name} {b64encode(signature).decode()}"])


def test_what_witnesses_saw_is_told_and_a_wrong_cosignature_is_broken(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 5)
    layout = sealing.layout
    layout.witnessed.write_bytes(cosign(sealing.log.note, 1_795_000_000))
    sealing.session()
    sealing.commit()
    keys = [*read_verifiers(layout.verifier), Verifier(WITNESS.name, WITNESS.verifier.public, COSIGNATURE)]
    report = sound(layout, verifiers=keys)
    (seen,) = about(report, "witness")
    assert seen.startswith("witness.example/w1 saw the first ")
    assert seen.endswith(" entries at 2026-11-18T11:06:40+00:00 (log/witnessed)")
    assert about(sound(layout), "witness") == []
    head = ("mine", layout.witnessed.read_bytes())
    assert outcomes(sound(layout, heads=[head], verifiers=keys))["heads"] == "sound"
    flip(layout.witnessed, layout.witnessed.stat().st_size - 10)
    report = verify_record(layout, Options(keys))
    assert [(each.step, each.file) for each in report.problems] == [("heads", "log/witnessed")]


def test_the_head_that_the_record_keeps_of_itself_is_held_against_it(tmp_path: Path) -> None:
    sealing = make_record(tmp_path / "record", 5)
    layout = sealing.layout
    layout.witnessed.write_bytes(sealing.log.note)
    early = sealing.log.note
    sealing.session()
    late = sealing.commit()
    flip(layout.witnessed, 30)
    assert [each.file for each in verify_record(layout).problems] == ["log/witnessed"]
    # Copied while the sealer was at work: later than the checkpoint that was copied before it.
    layout.checkpoint.write_bytes(early)
    layout.witnessed.write_bytes(late)
    assert "log/witnessed is later" in about(sound(layout), "heads")[0]
    other = make_record(tmp_path / "other", 5)
    layout.witnessed.write_bytes(other.log.note)
    assert "it is of the log" in verify_record(layout).problems[0].text
