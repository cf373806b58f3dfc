"""Evidence bundles: one session with its proofs in one ZIP file (docs/record-format.md, Evidence bundle)."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import IO

import msgspec

from pgwitness.errors import NotFoundError, RecordBroken
from pgwitness.record.chunks import Frame, Keys, load, split
from pgwitness.record.entries import ERASED, Chunk, Event, Session, decode, session_bytes
from pgwitness.record.log_reader import LogReader

FORMAT, VERSION = "pgwitness-bundle", 1
SUFFIX = ".pgwitness.zip"
INDEX, CHECKPOINT, VERIFIER = "bundle.json", "checkpoint", "verifier"
LARGEST_MEMBER = 512 << 20

_MOMENT = (1980, 1, 1, 0, 0, 0)
"""Of all members: the bundle says itself when it was made."""


class Proven(msgspec.Struct, frozen=True):
    """Where an entry of ``entries/`` is in the log, and RFC 6962's audit path."""

    index: int
    proof: list[str]


class BundleIndex(msgspec.Struct, frozen=True, kw_only=True):
    """``bundle.json``."""

    format: str = FORMAT
    version: int = VERSION
    session: str
    created: str
    software: str
    secret: str | None
    entries: list[Proven]
    files: dict[str, str]


def session_entries(log: LogReader, session: str) -> list[tuple[int, bytes]]:
    """The session's entries in the order of its chain, then what erased it: (index, bytes). Reads the whole
    log. Raises NotFoundError, RecordBroken."""
    name = session.encode()
    chain, about = [], []
    for index, data in log.raw_entries():
        if name not in data:
            continue
        entry = decode(data)
        if not isinstance(entry, Event):
            if entry.session == session:
                chain.append((index, data))
        elif entry.event == ERASED and entry.document.get("session") == session:
            about.append((index, data))
    if not chain:
        raise NotFoundError(
            f"session {session} is not in the sealed record",
            hint="a session is sealed within seconds; pgwitness verify tells the state of the record",
        )
    return chain + about


def session_frames(log: LogReader, session: str, secret: bytes) -> Iterator[Frame]:
    """All frames of a session that are sealed. Raises NotFoundError, RecordBroken, OSError."""
    keys = Keys.of(secret)
    for _, data in session_entries(log, session):
        entry = decode(data)
        if isinstance(entry, Chunk):
            yield from split(session_bytes(session), load(log.object(entry.stored), keys))


def session_start(log: LogReader, session: str) -> Session:
    """The first entry of its chain. Raises NotFoundError, RecordBroken."""
    first = decode(session_entries(log, session)[0][1])
    if not isinstance(first, Session):
        raise RecordBroken(f"the chain of session {session} does not begin with its start")
    return first


def write_bundle(
    file: IO[bytes],
    log: LogReader,
    session: str,
    *,
    secret: bytes | None,
    derived: Mapping[str, bytes],
    software: str,
    created: datetime,
) -> None:
    """Write the bundle of a session to a seekable file.

    ``secret`` discloses the session's content, and that only; without it the bundle holds the encrypted
    chunks, and of an erased session no chunks at all. ``derived`` are the members that people read
    (``session.json``, ``statements.jsonl``, …). Raises NotFoundError, RecordBroken, OSError.
    """
    entries = session_entries(log, session)
    keys = Keys.of(secret) if secret else None
    erased = isinstance(decode(entries[-1][1]), Event)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        members = _Members(archive)
        members.add(CHECKPOINT, log.note)
        members.add(VERIFIER, log.layout.verifier.read_bytes())
        for number, (_, data) in enumerate(entries):
            members.add(f"entries/{number:06}", data)
            entry = decode(data)
            if isinstance(entry, Chunk) and not erased:
                stored = log.object(entry.stored)
                members.add(f"chunks/{entry.n:06}", stored, packed=True)
                if keys is not None:
                    members.add(f"frames/{entry.n:06}", load(stored, keys))
        for name, data in derived.items():
            members.add(name, data)
        about = BundleIndex(
            session=session,
            created=created.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            software=software,
            secret=secret.hex() if secret else None,
            entries=[
                Proven(index, [hashed.hex() for hashed in log.inclusion_proof(index)]) for index, _ in entries
            ],
            files=members.hashes,
        )
        _write(archive, INDEX, msgspec.json.format(msgspec.json.encode(about), indent=1), packed=False)


def disclose(
    file: IO[bytes],
    bundle: "BundleReader",
    secret: bytes,
    derive: Callable[[Iterator[Frame]], Mapping[str, bytes]],
    *,
    software: str,
    created: datetime,
) -> None:
    """Write a bundle again with its content open: its proofs are the same. Raises RecordBroken if the secret
    is not the session's."""
    session = bundle.index.session
    keys = Keys.of(secret)
    frames: list[Frame] = []
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        members = _Members(archive)
        for name in bundle.index.files:
            if not name.startswith(_PROVING):
                continue
            data = bundle.read(name)
            members.add(name, data, packed=name.startswith("chunks/"))
            if name.startswith("chunks/"):
                plain = load(data, keys)
                members.add(name.replace("chunks/", "frames/"), plain)
                frames += split(session_bytes(session), plain)
        for name, data in derive(iter(frames)).items():
            members.add(name, data)
        about = msgspec.structs.replace(
            bundle.index,
            created=created.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            software=software,
            secret=secret.hex(),
            files=members.hashes,
        )
        _write(archive, INDEX, msgspec.json.format(msgspec.json.encode(about), indent=1), packed=False)


_PROVING = (CHECKPOINT, VERIFIER, "entries/", "chunks/")
"""Heads of the names of members that prove; all others are derived."""


class BundleReader:
    """The members of a bundle. Reading proves nothing; that is ``verify_bundle``'s."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        """Raises RecordBroken."""
        self._archive = archive
        self.names = archive.namelist()
        if len(set(self.names)) != len(self.names):
            raise RecordBroken("two of its members have one name")
        self.index = self._index()

    def read(self, name: str) -> bytes:
        """Raises RecordBroken."""
        try:
            if self._archive.getinfo(name).file_size > LARGEST_MEMBER:
                raise RecordBroken(f"{name} is larger than any member may be")
            if self._archive.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise RecordBroken(f"{name} is packed in a way that bundles are not")
            return self._archive.read(name)
        except KeyError:
            raise RecordBroken(f"{name} is missing") from None
        except _UNREADABLE as error:
            raise RecordBroken(f"{name} cannot be read: {error}") from None

    def _index(self) -> BundleIndex:
        data = self.read(INDEX)
        try:
            index = msgspec.json.decode(data, type=BundleIndex)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecordBroken(f"{INDEX} is malformed: {error}") from None
        if (index.format, index.version) != (FORMAT, VERSION):
            raise RecordBroken(
                f"it is of format {index.format} version {index.version}, and not {FORMAT} {VERSION}"
            )
        return index


@contextmanager
def open_bundle(path: Path) -> Iterator[BundleReader]:
    """Raises RecordBroken, OSError."""
    data = io.BytesIO(path.read_bytes())
    try:
        archive = zipfile.ZipFile(data)
    except _UNREADABLE as error:
        raise RecordBroken(f"{path} is no bundle: {error}") from None
    with archive:
        yield BundleReader(archive)


class _Members:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.hashes: dict[str, str] = {}

    def add(self, name: str, data: bytes, *, packed: bool = False) -> None:
        self.hashes[name] = sha256(data).hexdigest()
        _write(self._archive, name, data, packed=packed)


def _write(archive: zipfile.ZipFile, name: str, data: bytes, *, packed: bool) -> None:
    info = zipfile.ZipInfo(name, _MOMENT)
    info.external_attr = 0o600 << 16
    info.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
    archive.writestr(info, data)


_UNREADABLE = (
    zipfile.BadZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    OverflowError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What zipfile raises for damage. The file is in memory, so an OSError is a decompressor's."""
