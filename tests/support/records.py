"""Sealed records made of invented sessions, without a gateway and without PostgreSQL."""

import json
import random
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pgwitness.record.chain import Chain, begin, extend
from pgwitness.record.chunks import Frame
from pgwitness.record.events import add_event
from pgwitness.record.files import Files
from pgwitness.record.keys import make_signer
from pgwitness.record.layout import SEGMENT_BYTES, Layout
from pgwitness.record.log_writer import LogWriter
from pgwitness.record.secrets import Secrets

STARTED, CLIENT, SERVER, ELIDED, EVENT, ENDED, RECORDER = range(1, 8)
BEGUN = datetime(2026, 11, 22, 6, 45, tzinfo=UTC)
_NS = int(BEGUN.timestamp()) * 10**9


class Invented:
    """A tape that never was: frames of sessions and of the recorder, in one order."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.position = 1 << 32 | 64
        self.time = _NS
        self.recorded = 0
        self.sequences: dict[bytes, int] = {}

    def session(self) -> bytes:
        return uuid.UUID(int=self.random.getrandbits(128)).bytes

    def frame(self, session: bytes, kind: int, payload: bytes) -> Frame:
        sequence = self.sequences.get(session, 0)
        self.sequences[session] = sequence + 1
        self.time += self.random.randrange(1, 50_000)
        self.position += 48 + -(-len(payload) // 8) * 8
        return session, sequence, kind, self.time, self.position, payload

    def event(self, name: str, **more: object) -> Frame:
        return self.frame(bytes(16), RECORDER, json.dumps({"event": name, **more}).encode())

    def start(self, session: bytes, identity: str = "billing-agent", connection: str = "orders") -> Frame:
        header = {
            "version": 1,
            "session": str(uuid.UUID(bytes=session)),
            "identity": identity,
            "kind": "service",
            "on_behalf_of": None,
            "connection": connection,
            "database": "shop",
            "user": "app",
            "claims": {},
            "client": {"address": "10.0.0.7:51123"},
            "upstream": {"address": "10.0.0.9:5432", "pid": 4711},
            "results": 65536,
        }
        return self.frame(session, STARTED, json.dumps(header).encode())

    def talk(self, session: bytes, statements: int) -> list[Frame]:
        """Simple queries and their answers, in wire format."""
        return [frame for _ in range(statements) for frame in self._statement(session)]

    def end(self, session: bytes, reason: str = "terminated") -> Frame:
        document = {"reason": reason, "detail": None, "client_bytes": 1, "server_bytes": 2}
        return self.frame(session, ENDED, json.dumps(document).encode())

    def _statement(self, session: bytes) -> Iterator[Frame]:
        sql = f"UPDATE orders SET status = 'void' WHERE id = {self.random.randrange(10**9)}"
        yield self.frame(session, CLIENT, _message(b"Q", sql.encode() + b"\0"))
        answer = _message(b"C", b"UPDATE 1\0") + _message(b"Z", b"I")
        yield self.frame(session, SERVER, answer)


class Sealing:
    """A record being written."""

    def __init__(
        self, directory: Path, seed: int = 0, files: Files | None = None, segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        self.layout = Layout(directory)
        self.signer = make_signer(self.layout, files)
        self.log = LogWriter(self.layout, self.signer, files, segment_bytes=segment_bytes)
        self.secrets = Secrets(self.layout, files)
        self.tape = Invented(seed)
        self.chains: dict[bytes, Chain] = {}
        self.moment = BEGUN

    def seal(self, frames: list[Frame]) -> None:
        """All of one session."""
        session = frames[0][0]
        chain = self.chains.get(session)
        if chain is None:
            chain = self.chains[session] = begin(self.log, self.secrets, frames[0])
        extend(self.log, chain, frames)
        if chain.ended:
            del self.chains[session]

    def event(self, name: str, **more: object) -> None:
        add_event(self.log, self.tape.event(name, **more))

    def session(self, chunks: int = 1, statements: int = 3, **header: str) -> bytes:
        """A whole session, in that many chunks."""
        session = self.tape.session()
        self.seal([self.tape.start(session, **header), *self.tape.talk(session, statements)])
        for _ in range(chunks - 2):
            self.seal(self.tape.talk(session, statements))
        self.seal([*self.tape.talk(session, statements), self.tape.end(session)])
        return session

    def commit(self) -> bytes:
        """The checkpoint as a note."""
        self.moment += timedelta(seconds=1)
        self.secrets.sync()
        self.log.commit(self.moment, self.tape.position)
        return self.log.note

    def close(self) -> None:
        self.log.close()


def make_record(
    directory: Path, sessions: int = 20, seed: int = 0, *, chunks: int = 3, segment_bytes: int = SEGMENT_BYTES
) -> Sealing:
    """A record of ended sessions, with events, under several checkpoints; the writer is still open."""
    sealing = Sealing(directory, seed, segment_bytes=segment_bytes)
    sealing.event("started", version="0.1.0", settings={})
    for number in range(sessions):
        sealing.session(chunks, identity=f"agent-{number % 7}")
        if number % 5 == 4:
            sealing.event("login_refused", address="10.0.0.66", user=f"nobody-{number}")
        if number % 10 == 9:
            sealing.commit()
    sealing.commit()
    return sealing


def copy_record(source: Path, target: Path, *, keys: bool = False) -> Layout:
    """As one hands a record to somebody: without its keys."""
    shutil.copytree(source, target, ignore=None if keys else shutil.ignore_patterns("keys"))
    return Layout(target)


def change(path: Path, make: Callable[[bytes], bytes]) -> None:
    path.write_bytes(make(path.read_bytes()))


def flip(path: Path, offset: int, bit: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def _message(kind: bytes, body: bytes) -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body
