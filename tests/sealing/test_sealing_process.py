"""Rounds, signs of life, the end of a round's work, and what happens when something is in the way."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from pgwitness.config import HeadSettings, WitnessSettings
from pgwitness.errors import ConflictError
from pgwitness.index.tape import segments
from pgwitness.record.checkpoint import Checkpoint, parse_checkpoint
from pgwitness.record.layout import Layout
from pgwitness.record.notes import parse_note
from pgwitness.record.witness import cosignature_holds
from pgwitness.sealing.offer import Heads, short
from pgwitness.sealing.process import Plan, SealingProcess
from pgwitness.sealing.status import record_status
from support import tapes
from support.faulty_files import EIO, CountingFiles
from support.sealing import drop_tape, on_tape, read_back, seal, verified
from support.tape_files import CLIENT, ENDED, RECORDER, STARTED, ZERO, TapeWriter
from support.waiting import wait_until
from support.witness_peer import Witness

QUICK = Plan(round_seconds=0.02, heartbeat_seconds=0.2)


@contextmanager
def sealing(state: Path, plan: Plan = QUICK, files: CountingFiles | None = None) -> Iterator[SealingProcess]:
    process = SealingProcess(state, plan, files or CountingFiles())
    thread = threading.Thread(target=process.run)
    thread.start()
    try:
        yield process
    finally:
        process.stop()
        thread.join(20)
        assert not thread.is_alive()


def checkpoint(state: Path) -> Checkpoint | None:
    path = Layout(state / "record").checkpoint
    return parse_checkpoint(path.read_bytes())[0] if path.exists() else None


def size(state: Path) -> int:
    found = checkpoint(state)
    return found.size if found else -1


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[TapeWriter]:
    made = TapeWriter(tmp_path / "tape", segment_bytes=4096)
    yield made
    made.file.close()


def _session(writer: TapeWriter, number: int) -> None:
    session = tapes.session_id(number).bytes
    writer.append_json(session, STARTED, number, {"identity": "agent"})
    writer.append(session, CLIENT, number, bytes(100))
    writer.append_json(session, ENDED, number, {"reason": "terminated"})


def test_what_is_recorded_is_soon_under_a_checkpoint(tmp_path: Path, writer: TapeWriter) -> None:
    with sealing(tmp_path):
        for number in range(1, 6):
            _session(writer, number)
            wait_until(lambda: size(tmp_path) == 3 * number)  # noqa: B023 - called at once
    verified(tmp_path)
    assert record_status(tmp_path)["lag_bytes"] == 0


def test_a_sign_of_life_without_traffic(tmp_path: Path, writer: TapeWriter) -> None:
    with sealing(tmp_path):
        wait_until(lambda: size(tmp_path) == 0)
        first = checkpoint(tmp_path)
        wait_until(lambda: checkpoint(tmp_path) != first)
        second = checkpoint(tmp_path)
        wait_until(lambda: checkpoint(tmp_path) != second)
        third = checkpoint(tmp_path)
    assert second and second.time and third and third.time
    assert third.root == second.root and third.time - second.time >= timedelta(seconds=0.15)


def test_stopped_it_seals_to_the_end(tmp_path: Path, writer: TapeWriter) -> None:
    with sealing(tmp_path, Plan(round_seconds=3600)):
        wait_until(lambda: size(tmp_path) == 0)
        for number in range(1, 40):
            _session(writer, number)
        writer.append_json(ZERO, RECORDER, 99, {"event": "stopped"})
        writer.close()
    assert size(tmp_path) >= 3 * 39 + 1
    wanted = on_tape(tmp_path)
    drop_tape(tmp_path)
    assert read_back(tmp_path) == wanted
    verified(tmp_path)


def test_abandoned_it_leaves_the_rest_to_the_next(tmp_path: Path, writer: TapeWriter) -> None:
    with sealing(tmp_path, Plan(round_seconds=3600)) as process:
        wait_until(lambda: size(tmp_path) == 0)
        _session(writer, 1)
        process.abandon()
    assert size(tmp_path) == 0
    with sealing(tmp_path):
        wait_until(lambda: size(tmp_path) == 3)
    verified(tmp_path)


def test_one_at_a_time(tmp_path: Path, writer: TapeWriter) -> None:
    with sealing(tmp_path):
        wait_until(lambda: record_status(tmp_path)["pid"])
        with pytest.raises(ConflictError, match="already seals this record"):
            SealingProcess(tmp_path, QUICK).run()


def test_what_fails_is_said_and_tried_again(
    tmp_path: Path, writer: TapeWriter, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgwitness.sealing.process.FIRST_PAUSE", 0.1)
    with sealing(tmp_path):
        wait_until(lambda: size(tmp_path) == 0)
    _session(writer, 1)
    with sealing(tmp_path, files=CountingFiles(2, EIO)):
        wait_until(lambda: "Input/output" in (record_status(tmp_path)["problem"] or ""))
        wait_until(lambda: size(tmp_path) == 3 and record_status(tmp_path)["problem"] is None)
    said = capfd.readouterr().err
    assert said.count("sealing_failed") == said.count("sealing_goes_on") == 1
    verified(tmp_path)


def test_a_tape_that_is_not_the_sealed_one(tmp_path: Path, writer: TapeWriter) -> None:
    while writer.number < 4:
        _session(writer, writer.offset)
    seal(tmp_path)
    drop_tape(tmp_path)
    TapeWriter(tmp_path / "tape").close()
    before = checkpoint(tmp_path)
    with sealing(tmp_path):
        wait_until(lambda: "is not the one that" in (record_status(tmp_path)["problem"] or ""))
    assert checkpoint(tmp_path) == before


def test_another_recorder_s_tape_under_the_same_number(tmp_path: Path, writer: TapeWriter) -> None:
    for number in range(1, 6):
        _session(writer, number)
    seal(tmp_path)
    drop_tape(tmp_path)
    other = TapeWriter(tmp_path / "tape", instance=b"\x08" * 16)
    for number in range(11, 30):
        _session(other, number)
    other.close()
    with sealing(tmp_path):
        wait_until(lambda: "is not the one that" in (record_status(tmp_path)["problem"] or ""))


def test_damage_on_the_tape_is_a_gap_in_the_record(tmp_path: Path, writer: TapeWriter) -> None:
    while writer.number < 4:
        _session(writer, writer.number << 16 | writer.offset)
    writer.close()
    victim = tmp_path / "tape" / "0000000002.tape"
    data = bytearray(victim.read_bytes())
    data[2000] ^= 1
    victim.write_bytes(data)
    with sealing(tmp_path):
        wait_until(lambda: (found := checkpoint(tmp_path)) and found.tape >> 32 >= 4)
    report = verified(tmp_path)
    assert any(remark.about == "gap" for remark in report.remarks), report.remarks


def test_the_tape_is_released_on_the_way(tmp_path: Path, writer: TapeWriter) -> None:
    with sealing(tmp_path):
        while writer.number < 6:
            _session(writer, writer.number << 16 | writer.offset)
        tapes.index(tmp_path).close()
        wait_until(lambda: segments(tmp_path / "tape") == [5, 6])
    verified(tmp_path)


def test_heads_for_others(tmp_path: Path, writer: TapeWriter) -> None:
    heads = Heads(tmp_path)
    assert heads.latest() == b""
    with sealing(tmp_path):
        _session(writer, 1)
        wait_until(lambda: size(tmp_path) == 3)
        wait_until(
            lambda: parse_checkpoint(heads.latest() or Layout(tmp_path).checkpoint.read_bytes())[0].size == 3
        )
        _session(writer, 2)
        wait_until(lambda: parse_checkpoint(heads.latest())[0].size == 6)
    note = heads.latest()
    assert short(note).split()[1] == "6" and heads.verifier().startswith("pgwitness/")
    assert len(heads.proof(3, note)) > 0


def test_a_start_needs_no_more_than_the_last_entries(tmp_path: Path, writer: TapeWriter) -> None:
    """The journal is only a help: without it, or with an old one, the chains are the same."""
    for number in range(1, 30):
        session = tapes.session_id(number).bytes
        writer.append_json(session, STARTED, number, {"identity": "agent"})
    seal(tmp_path)
    journal = tmp_path / "sealing" / "chains"
    old = journal.read_bytes()
    for number in range(1, 30):
        writer.append(tapes.session_id(number).bytes, CLIENT, number, b"more")
    seal(tmp_path)
    for number, contents in enumerate((old, None, b"nonsense")):
        if contents is None:
            journal.unlink()
        else:
            journal.write_bytes(contents)
        for session in range(1, 30):
            writer.append(tapes.session_id(session).bytes, CLIENT, number, b"and more")
        seal(tmp_path)
    verified(tmp_path)
    wanted = on_tape(tmp_path)
    drop_tape(tmp_path)
    assert read_back(tmp_path) == wanted and len(wanted) == 29 * 5


def test_heads_go_where_they_are_set_to_go(tmp_path: Path, writer: TapeWriter) -> None:
    witness = Witness()
    try:
        heads = HeadSettings(
            file=tmp_path / "elsewhere" / "head",
            webhook=SecretStr("http://127.0.0.1:1/secret"),
            witnesses=(WitnessSettings(url=witness.url, key=str(witness.key.verifier)),),
        )
        seal(tmp_path)
        layout = Layout(tmp_path / "record")
        witness.register(layout.verifier.read_text().strip())
        with sealing(tmp_path, Plan(round_seconds=0.02, heads=heads)):
            _session(writer, 1)
            wait_until(lambda: layout.witnessed.exists())
            wait_until(lambda: (tmp_path / "elsewhere" / "head").exists())
            wait_until(lambda: any(each["error"] for each in record_status(tmp_path)["heads"]))
            wait_until(lambda: record_status(tmp_path)["heads"][2]["size"])
    finally:
        witness.close()
    note = parse_note(layout.witnessed.read_bytes())
    assert cosignature_holds(witness.key.verifier, note.text, note.signatures[-1])
    assert (tmp_path / "elsewhere" / "head").read_bytes() == Heads(tmp_path).latest()
    file, webhook, seen = record_status(tmp_path)["heads"]
    assert file["size"] == 3 and file["error"] is None
    assert "cannot be reached" in webhook["error"] and "secret" not in str(webhook)
    assert seen["error"] is None
    verified(tmp_path)


def test_a_segment_that_has_nothing_yet_is_no_lag(tmp_path: Path, writer: TapeWriter) -> None:
    _session(writer, 1)
    with sealing(tmp_path):
        wait_until(lambda: size(tmp_path) == 3)
        writer._finish_segment()
        writer._start_segment(7)
        wait_until(lambda: (found := checkpoint(tmp_path)) and found.tape >> 32 == 2)
        wait_until(lambda: record_status(tmp_path)["lag_bytes"] == 0)
        assert record_status(tmp_path)["lag_seconds"] == 0
