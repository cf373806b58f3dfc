"""Erasure of one session, and secrets that only auditors have: what goes, what stays, what is proved."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pyrage
import pytest

from pgwitness.errors import ConflictError, InvalidError, RecordBroken
from pgwitness.index.agreement import check_index
from pgwitness.index.catchup import rebuild
from pgwitness.index.filters import Filters
from pgwitness.record.entries import Chunk
from pgwitness.record.files import Files
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.recipients import Wrapper, parse_recipient, read_identities, unwrap
from pgwitness.record.report import Report
from pgwitness.record.secrets import SLOTS_A_FILE, Secrets
from pgwitness.record.verify import verify_record
from pgwitness.review.export import FORMATS, export_session
from pgwitness.sealing.release import release
from pgwitness.sealing.sealer import Sealer
from support import tapes
from support.dialogue import START
from support.faulty_files import CountingFiles, copy_of, fail, kill
from support.sealing import seal_on, verified
from support.tape_files import RECORDER, ZERO, TapeWriter

ONE, TWO = tapes.session_id(1), tapes.session_id(2)


class Made:
    """A tape of two sessions, sealed, and what is asked of it."""

    def __init__(self, state: Path) -> None:
        self.state = state
        talks = [
            tapes.dialogue(number).run(f"SELECT 'content of {number}'", "SELECT 1").ended()
            for number in (1, 2)
        ]
        self.recording = tapes.Recording(state, talks, segment_bytes=4096).put_all()
        self.layout = Layout(state / "record")

    @property
    def writer(self) -> TapeWriter:
        return self.recording.writer

    def ask(self, session: object = ONE, last: int = 0) -> None:
        event = {
            "event": "session_erased",
            "session": str(session),
            "by": "anna",
            "reason": "GDPR request 17",
            "position": [1 << 32, last or self.writer.number << 32 | self.writer.offset],
        }
        self.writer.append_json(ZERO, RECORDER, START, event)

    def seal(self, **options: object) -> int:
        sealer = Sealer(self.state, **options)  # type: ignore[arg-type]
        try:
            seal_on(sealer)
            return sealer.erase()
        finally:
            sealer.close()

    def secret(self, session: object = ONE) -> bytes | None:
        return Secrets(self.layout).find(session.bytes)  # type: ignore[attr-defined]

    def chunks(self, session: object = ONE) -> bytes:
        log = LogReader(self.layout)
        entries = [entry for _, entry in log.entries()]
        mine = [each for each in entries if isinstance(each, Chunk) and each.session == str(session)]
        return b"".join(log.object(each.stored) for each in mine)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Made]:
    """Not sealed yet."""
    made = Made(tmp_path / "state")
    yield made
    made.writer.crash()


@pytest.fixture
def made(fresh: Made) -> Made:
    fresh.seal()
    return fresh


def _erased(report: Report) -> list[tuple[str | None, str]]:
    return [(remark.session, remark.text) for remark in report.remarks if remark.text.startswith("erased by")]


def test_what_is_erased_is_gone_and_verification_says_by_whom_and_why(made: Made) -> None:
    before, other = made.chunks(), made.chunks(TWO)
    made.ask()
    made.seal()
    assert made.secret() is None and made.secret(TWO) is not None
    after = made.chunks()
    assert before != after == bytes(len(before)) and made.chunks(TWO) == other
    report = verified(made.state)
    assert _erased(report) == [(str(ONE), "erased by anna, reason: GDPR request 17")]
    assert report.numbers["sessions"] == 2


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_of_it_is_exported_while_the_tape_still_has_it(made: Made, format: str) -> None:
    made.ask()
    made.seal()
    index = tapes.index(made.state)
    tape = made.state / "tape"
    assert b"content of 1" in b"".join(path.read_bytes() for path in tape.iterdir())
    with contextlib.suppress(ConflictError):
        assert b"content of 1" not in b"".join(export_session(index, tape, str(ONE), format))
    if format != "bundle":
        assert b"content of 2" in b"".join(export_session(index, tape, str(TWO), format))
    index.close()


def test_the_same_without_an_event_is_found(made: Made) -> None:
    Secrets(made.layout).forget(ONE.bytes)
    report = verify_record(made.layout)
    assert report.result == "broken" and str(ONE) in {problem.session for problem in report.problems}


def test_a_hole_gives_the_room_back(made: Made) -> None:
    talk = tapes.dialogue(3).run(f"SELECT '{os.urandom(200_000).hex()}'", "SELECT 1").ended()
    made.writer.crash()
    made.recording = tapes.Recording(made.state, [talk]).put_all()
    made.seal()
    segment = made.layout.segment(1)
    before = segment.stat()
    made.ask(tapes.session_id(3))
    made.seal()
    after = segment.stat()
    assert after.st_size == before.st_size and after.st_blocks < before.st_blocks / 2
    verified(made.state)


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
def test_a_failure_at_any_call_is_made_good(made: Made, tmp_path: Path, code: int) -> None:
    """And what fails is never half of an erasure that looks like tampering once it is done again."""
    made.ask()
    counting = CountingFiles()
    Made.seal(_at(copy_of(made.state, tmp_path / "count")), files=counting)
    assert {"punch", "write", "rename"} <= set(counting.log)
    for at in range(1, counting.calls + 1):
        again = _at(copy_of(made.state, tmp_path / f"{at}"))
        with contextlib.suppress(OSError):  # but for a file that fails to close at the end
            again.seal(files=CountingFiles(at, fail(code)))
        again.seal()
        assert again.secret() is None and not any(again.chunks())
        assert _erased(verified(again.state)), at


def test_a_kill_at_any_call_is_made_good(made: Made, tmp_path: Path) -> None:
    made.ask()
    counting = CountingFiles()
    Made.seal(_at(copy_of(made.state, tmp_path / "count")), files=counting)
    for at in range(1, counting.calls + 1):
        again = _at(copy_of(made.state, tmp_path / f"{at}"))
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                again.seal(files=CountingFiles(at, kill))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), f"call {at} of {counting.calls} was never made"
        again.seal()
        assert again.secret() is None and not any(again.chunks())
        assert _erased(verified(again.state)), at


def _at(state: Path) -> Made:
    made = Made.__new__(Made)
    made.state, made.layout = state, Layout(state / "record")
    return made


def test_an_erasure_that_is_not_sealed_yet_is_not_carried_out(made: Made) -> None:
    """Its line is in the file of erasures, but the checkpoint that was to cover it was never signed."""
    made.ask()
    sealer = Sealer(made.state)
    span = sealer._spans.next()
    sealer._erasures.note(span.events)
    sealer.erase()
    sealer.close()
    assert made.secret() is not None
    made.seal()
    assert made.secret() is None


def test_the_tape_of_an_erased_session_goes_as_soon_as_it_can(made: Made) -> None:
    tapes.index(made.state).close()
    made.ask()
    for number in range(4, 40):  # other sessions fill the segments behind it
        talk = tapes.dialogue(number).run("SELECT 'filling'", "SELECT 1").ended()
        for _, _, kind, at, _, payload in talk.frames:
            made.writer.append(tapes.session_id(number).bytes, kind, at, payload)
    erased = made.seal()
    tapes.index(made.state).close()
    sealer = Sealer(made.state)
    sealed = sealer.sealed
    sealer.close()
    present = sorted((made.state / "tape").glob("*.tape"))
    assert erased and len(present) > 3
    assert release(made.state, sealed, -1, Files()) == [], "for ever"
    gone = release(made.state, sealed, -1, Files(), erased=erased)
    assert gone == list(range(1, erased + 1))
    left = b"".join(path.read_bytes() for path in (made.state / "tape").glob("*.tape"))
    assert b"content of 1" not in left
    made.seal()
    assert made.seal() == 0, "nothing of it is on the tape any more"


# --- auditors ---


@pytest.fixture
def auditor() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


def test_an_auditor_reads_what_the_gateway_cannot(fresh: Made, auditor: pyrage.x25519.Identity) -> None:
    made = fresh
    wrap = Wrapper(made.layout, [str(auditor.to_public())])
    made.seal(wrap=wrap, readable=False)
    assert made.secret() is None and made.secret(TWO) is None
    steps = {step.name: step for step in verified(made.state).steps}
    assert steps["contents"].outcome == "skipped" and steps["chunks"].outcome == "sound"
    wrapped = made.layout.wrapped_secret(str(ONE))
    secret = unwrap(str(ONE), wrapped.read_bytes(), [auditor])
    assert len(secret) == 32
    with pytest.raises(RecordBroken, match="not for this key"):
        unwrap(str(ONE), wrapped.read_bytes(), [pyrage.x25519.Identity.generate()])
    with pytest.raises(RecordBroken, match="is not the secret of session"):
        unwrap(str(TWO), wrapped.read_bytes(), [auditor])
    wrapped.unlink()
    assert verify_record(made.layout).result == "broken", "then nobody can read it, and no erasure says so"


def test_an_open_session_goes_on_after_a_restart(tmp_path: Path, auditor: pyrage.x25519.Identity) -> None:
    talk = tapes.dialogue(1).run("SELECT 1", "SELECT 1").run("SELECT 2", "SELECT 1").ended()
    recording = tapes.Recording(tmp_path, [talk])
    made = _at(tmp_path)
    wrap = Wrapper(made.layout, [str(auditor.to_public())])
    recording.put(0, 3)
    made.seal(wrap=wrap, readable=False)
    assert made.secret() is not None, "it is still written"
    recording.put_all()
    made.seal(wrap=wrap, readable=False)
    assert made.secret() is None
    verified(tmp_path)
    recording.writer.crash()


def test_a_stricter_setting_holds_for_what_auditors_can_read(
    fresh: Made, auditor: pyrage.x25519.Identity
) -> None:
    made = fresh
    wrap = Wrapper(made.layout, [str(auditor.to_public())])
    made.seal(wrap=wrap)
    made.layout.wrapped_secret(str(TWO)).unlink()  # as if it was begun without recipients
    assert made.secret() and made.secret(TWO)
    made.seal(wrap=wrap, readable=False)
    assert made.secret() is None
    assert made.secret(TWO), "nobody else could read it"


def test_erasure_takes_the_auditors_copy_too(fresh: Made, auditor: pyrage.x25519.Identity) -> None:
    made = fresh
    made.seal(wrap=Wrapper(made.layout, [str(auditor.to_public())]))
    made.ask()
    made.seal()
    assert not made.layout.wrapped_secret(str(ONE)).exists() and made.layout.wrapped_secret(str(TWO)).exists()
    verified(made.state)


def test_keys_of_auditors_come_from_files(tmp_path: Path, auditor: pyrage.x25519.Identity) -> None:
    file = tmp_path / "key.txt"
    file.write_text(f"# created: today\n# public key: {auditor.to_public()}\n{auditor}\n")
    assert [str(each) for each in read_identities(file)] == [str(auditor)]
    file.write_text("# nothing\n")
    for path in (file, tmp_path / "missing"):
        with pytest.raises(InvalidError):
            read_identities(path)
    with pytest.raises(InvalidError, match="no age recipient"):
        parse_recipient("age1nonsense")


def test_the_event_is_in_the_log_as_it_was_recorded(made: Made) -> None:
    made.ask()
    made.seal()
    events = [entry for _, entry in LogReader(made.layout).entries() if entry.__class__.__name__ == "Event"]
    assert json.loads(events[-1].payload)["reason"] == "GDPR request 17"  # type: ignore[union-attr]


def _listed(made: Made) -> list[tuple[str, str | None, str | None]]:
    index = tapes.index(made.state)
    try:
        return sorted(
            (each.session, each.identity, each.end_reason) for each in index.sessions(Filters()).items
        )
    finally:
        index.close()


def _agrees(made: Made) -> Report:
    report = verified(made.state)
    check_index(report, LogReader(made.layout), made.state, lambda step, done, total: None)
    return report


@pytest.mark.parametrize("anew", [False, True], ids=["reopened", "rebuilt"])
def test_what_only_auditors_read_stays_listed_when_the_tape_is_gone(fresh: Made, anew: bool) -> None:
    auditor = pyrage.x25519.Identity.generate()
    fresh.seal(wrap=Wrapper(fresh.layout, [str(auditor.to_public())]), readable=False)
    assert fresh.secret() is None
    before = _listed(fresh)
    assert [identity for _, identity, _ in before] == ["billing-agent"] * 2
    for segment in (fresh.state / "tape").iterdir():
        segment.unlink()
    if anew:
        rebuild(fresh.state)
    assert _listed(fresh) == before
    assert _agrees(fresh).problems == []
    index = tapes.index(fresh.state)
    with pytest.raises(ConflictError, match="only auditors have its key"):
        export_session(index, fresh.state / "tape", str(ONE), "pcapng")
    index.close()


def test_a_secret_that_a_crash_left_does_not_hide_the_one_in_use(
    fresh: Made, auditor: pyrage.x25519.Identity
) -> None:
    """The secrets were durable, and no checkpoint was: the sessions begin again, with others."""
    wrap = Wrapper(fresh.layout, [str(auditor.to_public())])
    fresh.seal(wrap=wrap)
    first = fresh.secret()
    for place in (fresh.layout.log, fresh.layout.segments):
        shutil.rmtree(place)
    fresh.seal(wrap=wrap, readable=False)
    secrets = Secrets(fresh.layout)
    assert first is not None
    assert [secrets.get(slot, session.bytes) for slot in range(4) for session in (ONE, TWO)] == [None] * 8
    verified(fresh.state)


def test_the_latest_secret_of_a_session_counts(tmp_path: Path) -> None:
    """Also where the one before it, which a crash left, is in another file."""
    layout = Layout(tmp_path / "record")
    secrets = Secrets(layout)
    for number in range(SLOTS_A_FILE - 1):
        secrets.add(number.to_bytes(16, "big"))
    secrets.add(ONE.bytes)
    slot, latest = secrets.add(ONE.bytes)
    assert slot == SLOTS_A_FILE
    again = Secrets(layout)
    assert again.find(bytes(range(16))) is None  # looks through all
    assert again.find(ONE.bytes) == latest
    assert again.forget(ONE.bytes) and again.get(slot, ONE.bytes) is None


def test_erased_while_the_index_is_compared(made: Made) -> None:
    """The event is not sealed yet when the session's content has left the index."""
    tapes.index(made.state).close()
    report = verified(made.state)
    asked = []

    def meanwhile(step: str, done: int, total: int) -> None:
        if not asked:
            asked.append(step)
            made.ask()
            tapes.index(made.state).close()

    check_index(report, LogReader(made.layout), made.state, meanwhile)
    assert (asked, report.problems) == (["index"], [])
