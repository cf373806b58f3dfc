"""Verification, steps 6 and 7: the bytes of every object, and, where the session's secret is at hand, what
they say.

Bytes are read in large pieces, in the order of the segments, and hashed by threads: hashing, decryption and
unpacking hold no lock of Python's.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec

from pgwitness.errors import RecordBroken
from pgwitness.record.chunks import NOBODY, STARTED, Keys, load, outline, parse_header, split
from pgwitness.record.entries import Chunk, End, Entry, Event, Session, Stored, session_bytes
from pgwitness.record.layout import Layout
from pgwitness.record.report import Progress, Report
from pgwitness.record.secrets import slot_place

PIECE = 8 << 20
"""Bytes read at a time; an object is at most some 64 MiB."""

SecretOf = Callable[[str, int | None], bytes | None]
"""(session, slot) to its secret, if it is here."""


@dataclass(slots=True)
class _Open:
    """A session under way."""

    keys: Keys | None
    header: Session | None
    """Until its first chunk has come."""


@dataclass(slots=True)
class _Task:
    """An object to be checked."""

    index: int
    entry: Chunk | Event
    stored: Stored
    keys: Keys | None
    header: Session | None
    """The session's first entry, if this is its first chunk."""
    erased: bool

    @property
    def session(self) -> str | None:
        return self.entry.session if isinstance(self.entry, Chunk) else None


@dataclass(slots=True)
class _Batch:
    """Objects that lie behind each other in one segment."""

    number: int
    offset: int
    tasks: list[_Task] = field(default_factory=list)
    length: int = 0


@dataclass(slots=True)
class _Result:
    objects: int = 0
    bytes: int = 0
    plain: int = 0
    opened: int = 0
    closed: int = 0
    erased: int = 0
    stored: list[tuple[_Task, str]] = field(default_factory=list)
    """Objects that are not what was sealed."""
    content: list[tuple[_Task, str]] = field(default_factory=list)
    """Objects that do not say what their entries say."""


class ObjectCheck:
    """Checks the objects of all entries, or of one session's."""

    def __init__(
        self,
        layout: Layout,
        report: Report,
        erased: dict[str, int],
        secret_of: SecretOf,
        progress: Progress,
        *,
        threads: int | None = None,
    ) -> None:
        self._layout = layout
        self._report = report
        self._erased = erased
        self._secret_of = secret_of
        self._progress = progress
        self._threads = threads or min(8, os.cpu_count() or 1)
        self._stored = report.step("chunks")
        self._content = report.step("contents")
        # A copy to be handed on has no keys at all; where the signing key is, secrets must be.
        self._have_secrets = layout.secrets.is_dir() or layout.signing_key.exists()
        self._sessions: dict[str, _Open] = {}
        self._end = (0, 0)
        """Where the objects so far end."""
        self._covered: dict[int, int] = {}
        self._opened = self._closed = 0

    def run(self, entries: Iterable[tuple[int, Entry]], *, whole: bool, total: int) -> None:
        """``whole``: these are all entries, so the segments must hold their objects and nothing else."""
        done = 0
        with ThreadPoolExecutor(self._threads) as pool:
            waiting: deque[Future[_Result]] = deque()
            for batch in self._batches(entries, whole):
                waiting.append(pool.submit(self._check, batch))
                while len(waiting) > 2 * self._threads or (waiting and waiting[0].done()):
                    done += self._settle(waiting.popleft().result())
                    self._progress("chunks", done, max(done, total))
            while waiting:
                done += self._settle(waiting.popleft().result())
                self._progress("chunks", done, max(done, total))

    def finish(self, end: tuple[int, int], *, whole: bool) -> bool:
        """``end``: where the checkpoint says that the objects end."""
        if whole:
            self._check_segments(end)
        numbers = self._report.numbers
        size = numbers.get("chunk_bytes", 0)
        sound = self._stored.end(f"{numbers.get('objects', 0):,} objects, {size:,} bytes")
        if not self._opened and not self._content.problems:
            self._content.skip(
                "no session's secret is here: hashes prove the bytes, and only a secret shows what they say"
            )
            return sound
        closed = (
            f"; {self._closed:,} could not be opened, as their secrets are not here" if self._closed else ""
        )
        return self._content.end(f"{self._opened:,} objects opened{closed}") and sound

    def _batches(self, entries: Iterable[tuple[int, Entry]], whole: bool) -> Iterator[_Batch]:
        batch: _Batch | None = None
        for index, entry in entries:
            if isinstance(entry, Session):
                self._sessions[entry.session] = _Open(self._keys(index, entry), entry)
            elif isinstance(entry, End):
                self._sessions.pop(entry.session, None)
            if not isinstance(entry, Chunk | Event) or entry.stored is None:
                continue
            task = self._task(index, entry, entry.stored)
            if whole:
                self._place(task)
            stored = task.stored
            follows = batch and (batch.number, batch.offset + batch.length) == (stored.segment, stored.offset)
            if batch and (not follows or batch.length + stored.length > PIECE):
                yield batch
                batch = None
            if batch is None:
                batch = _Batch(stored.segment, stored.offset)
            batch.tasks.append(task)
            batch.length += stored.length
        if batch:
            yield batch

    def _task(self, index: int, entry: Chunk | Event, stored: Stored) -> _Task:
        if isinstance(entry, Event):
            return _Task(index, entry, stored, None, None, False)
        session = self._sessions.get(entry.session) or _Open(None, None)
        erased = self._erased.get(entry.session, -1) > index
        task = _Task(index, entry, stored, session.keys, session.header, erased)
        session.header = None
        return task

    def _keys(self, index: int, entry: Session) -> Keys | None:
        secret = self._secret_of(entry.session, entry.slot)
        if (
            secret is None
            and entry.slot is not None
            and self._have_secrets
            and entry.session not in self._erased
            and not (entry.wrapped and self._layout.wrapped_secret(entry.session).exists())
        ):
            text = "its secret is gone, and no erasure was recorded: its content is destroyed"
            self._content.broken(text, file=self._secrets(entry.slot), entry=index, session=entry.session)
        return Keys.of(secret) if secret else None

    def _place(self, task: _Task) -> None:
        stored = task.stored
        at = (stored.segment, stored.offset)
        if at not in (self._end, (self._end[0] + 1, 0)):
            text = f"its object is said to be at {_at(*at)}, and the one before ends at {_at(*self._end)}"
            self._stored.broken(text, file=self._file(stored.segment), entry=task.index, session=task.session)
        self._end = (stored.segment, stored.offset + stored.length)
        self._covered[stored.segment] = self._end[1]

    def _check(self, batch: _Batch) -> _Result:
        """In a thread."""
        data = _read(self._layout.segment(batch.number), batch.offset, batch.length)
        result = _Result(len(batch.tasks))
        for task in batch.tasks:
            start = task.stored.offset - batch.offset
            held = data[start : start + task.stored.length] if data is not None else None
            self._check_one(task, held, result)
        return result

    def _check_one(self, task: _Task, held: memoryview | None, result: _Result) -> None:
        stored = task.stored
        if held is not None:
            result.bytes += len(held)
            if sha256(held).hexdigest() == stored.sha256:
                _check_content(task, held, result)
                return
        if task.erased and (held is None or not any(held)):
            result.erased += 1
        elif held is None:
            result.stored.append((task, "the segment that holds it is missing"))
        elif len(held) < stored.length:
            result.stored.append(
                (task, f"{stored.length - len(held)} of its {stored.length} bytes are missing")
            )
        else:
            result.stored.append((task, "its bytes are not those that were sealed: their hash differs"))

    def _settle(self, result: _Result) -> int:
        self._opened += result.opened
        self._closed += result.closed
        count = self._report.count
        count("objects", result.objects)
        count("chunk_bytes", result.bytes)
        count("plain_bytes", result.plain)
        count("objects_erased", result.erased)
        for findings, problems in ((self._stored, result.stored), (self._content, result.content)):
            for task, text in problems:
                stored = task.stored
                where = f"the object at offset {stored.offset}, {stored.length} bytes"
                what = f"{where} ({_role(task.entry)}): {text}"
                findings.broken(what, file=self._file(stored.segment), entry=task.index, session=task.session)
        return result.bytes

    def _check_segments(self, end: tuple[int, int]) -> None:
        if self._end != end:
            text = f"the objects end at {_at(*self._end)}, and the checkpoint says at {_at(*end)}"
            self._stored.broken(text)
        beyond = 0
        for number in self._layout.segment_numbers():
            size = self._layout.segment(number).stat().st_size
            covered = self._covered.get(number, 0)
            if size > covered and number < end[0]:
                text = f"{size - covered} bytes that no entry names"
                self._stored.broken(text, file=self._file(number))
            elif size > covered:
                beyond += size - covered
        if beyond:
            text = f"{beyond:,} bytes of segments lie beyond the checkpoint; no one signed for them yet"
            self._report.remark("beyond", text)

    def _secrets(self, slot: int) -> str:
        return str(slot_place(self._layout, slot)[0].relative_to(self._layout.directory))

    def _file(self, number: int) -> str:
        return str(self._layout.segment(number).relative_to(self._layout.directory))


def _check_content(task: _Task, held: memoryview, result: _Result) -> None:
    """What the bytes say. They are the sealed ones."""
    try:
        header = parse_header(held)
        if task.keys is None and isinstance(task.entry, Chunk):
            if (header.session, header.n) != (session_bytes(task.entry.session), task.entry.n):
                raise RecordBroken("it is of another session or place")
            result.closed += not task.erased
            return
        plain = load(held, task.keys)
        result.plain += len(plain)
        result.opened += 1
        if isinstance(task.entry, Event):
            _agrees(header.session == NOBODY, "it is not an event")
        else:
            _check_frames(task, task.entry, header.session, header.n, plain)
    except RecordBroken as error:
        result.content.append((task, str(error)))


def _check_frames(task: _Task, entry: Chunk, session: bytes, n: int, plain: bytes) -> None:
    assert task.keys is not None
    _agrees((session, n) == (session_bytes(entry.session), entry.n), "it is of another session or place")
    _agrees(len(plain) == entry.length, "its plain form has another length")
    _agrees(task.keys.commit(plain) == entry.commitment, "its content is not the one committed to")
    about = outline(plain)
    said = (entry.sequence, entry.position, entry.time, entry.frames)
    _agrees((about.sequence, about.position, about.time, about.frames) == said, "its frames are others")
    if task.header is not None and entry.sequence[0] == 0:
        first = split(session, plain)[0]
        _agrees(
            _names(task.header) == _said(first[2], first[5]), "its start names another identity or connection"
        )


def _names(header: Session) -> tuple[str | None, ...]:
    return header.identity, header.kind, header.connection, header.database


def _said(kind: int, payload: bytes) -> tuple[str | None, ...]:
    """Identity, kind, connection and database as the session's first frame has them."""
    if kind != STARTED:
        return None, None, None, None
    try:
        document = msgspec.json.decode(payload, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = {}
    values = (document.get(name) for name in ("identity", "kind", "connection", "database"))
    return tuple(value if isinstance(value, str) else None for value in values)


def _agrees(true: bool, otherwise: str) -> None:
    if not true:
        raise RecordBroken(otherwise)


def _read(path: Path, offset: int, length: int) -> memoryview | None:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            data = bytearray(length)
            view = memoryview(data)
            have = 0
            while have < length and (count := file.readinto(view[have:])):
                have += count
            return view[:have]
    except OSError:
        return None


def _role(entry: Chunk | Event) -> str:
    return f"place {entry.n} of the session" if isinstance(entry, Chunk) else f"event {entry.event}"


def _at(segment: int, offset: int) -> str:
    return f"segment {segment} offset {offset}"
