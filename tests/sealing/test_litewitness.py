"""A witness that shares no code with ours, torchwood's litewitness in Go, cosigns the heads of a record of
ours, and refuses one that does not extend what it has seen.
"""

import base64
import hashlib
import os
import re
import shutil
import socket
import sqlite3
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pgwitness.record.notes import parse_note
from pgwitness.record.witness import cosignature_holds, parse_witness_key
from pgwitness.sealing.messenger import Undeliverable
from pgwitness.sealing.places import WitnessPlace
from support.growing import Growing
from support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SOURCE = Path(__file__).parent / "litewitness"
REQUEST_IDENTITIES, IDENTITIES, SIGN_REQUEST, SIGNED = 11, 12, 13, 14


_KEY = re.compile(r'vkey="?([^"\s]+)')


def _answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


def strings(*parts: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


class SshAgent:
    """An ssh-agent (draft-ietf-sshm-ssh-agent) with one Ed25519 key: where litewitness has its own."""

    def __init__(self, path: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._blob = strings(b"ssh-ed25519", public)
        digest = base64.b64encode(hashlib.sha256(self._blob).digest()).decode().rstrip("=")
        self.fingerprint = f"SHA256:{digest}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, connection.makefile("rwb") as stream:
            while head := stream.read(4):
                request = stream.read(struct.unpack(">I", head)[0])
                stream.write(strings(self._answer(request)))
                stream.flush()

    def _answer(self, request: bytes) -> bytes:
        if request[0] == REQUEST_IDENTITIES:
            return bytes([IDENTITIES]) + struct.pack(">I", 1) + strings(self._blob, b"witness")
        assert request[0] == SIGN_REQUEST
        at = 1 + 4 + len(self._blob)
        (length,) = struct.unpack_from(">I", request, at)
        signature = self._key.sign(request[at + 4 : at + 4 + length])
        return bytes([SIGNED]) + strings(strings(b"ssh-ed25519", signature))


class LiteWitness:
    """The process, and its database of logs that it knows."""

    def __init__(self, program: Path, directory: Path) -> None:
        self._database = directory / "witness.sqlite"
        self._agent = SshAgent(directory / "agent")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        self.url = f"http://{address}"
        options = {
            "-db": self._database,
            "-ssh-agent": directory / "agent",
            "-key": self._agent.fingerprint,
            "-name": "witness.example/lite",
            "-listen": address,
        }
        command = [str(part) for option in options.items() for part in option]
        log = directory / "log"
        with log.open("wb") as errors:
            self._process = subprocess.Popen([str(program), *command], stderr=errors)
        self.key = wait_until(lambda: _KEY.search(log.read_text()))[1]
        wait_until(lambda: _answers(self.url))

    def register(self, verifier: str) -> None:
        """As its operator would; witnessctl does no more."""
        origin = verifier.split("+", 1)[0]
        empty = base64.b64encode(hashlib.sha256(b"").digest()).decode()
        with closing(sqlite3.connect(self._database)) as database, database:
            database.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, empty))
            database.execute("INSERT INTO key VALUES (?, ?)", (origin, verifier))

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()
        self._agent.close()


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        pytest.skip("there is no Go here")
    built = tmp_path_factory.mktemp("litewitness") / "litewitness"
    environment = {**os.environ, "GOFLAGS": "-mod=readonly"}
    command = [go, "build", "-o", str(built), "filippo.io/torchwood/cmd/litewitness"]
    subprocess.run(command, cwd=SOURCE, check=True, env=environment)
    return built


@pytest.fixture
def witness(program: Path, tmp_path: Path) -> Iterator[LiteWitness]:
    running = LiteWitness(program, tmp_path)
    yield running
    running.close()


def test_it_cosigns_each_head_and_no_fork(witness: LiteWitness, tmp_path: Path) -> None:
    record = Growing(tmp_path / "state")
    cosigned: list[tuple[bytes, list[str]]] = []
    key = parse_witness_key(witness.key)

    def place() -> WitnessPlace:
        return WitnessPlace(witness.url, witness.key, record.layout, lambda *got: cosigned.append(got))

    with closing(place()) as told:
        with pytest.raises(Undeliverable, match="does not know this log"):
            told.send(record.grow())
        witness.register(record.verifier)
        for sessions in (0, 1, 90, 300):
            note = record.grow(sessions)
            told.send(note)
            assert cosigned[-1][0] == note
            signature = parse_note(note + f"{cosigned[-1][1][0]}\n".encode()).signatures[-1]
            assert cosignature_holds(key, parse_note(note).text, signature)
    older = note
    with closing(place()) as anew:
        anew.send(record.grow(5))
        assert len(cosigned) == 5
    with closing(place()) as rolled_back, pytest.raises(Undeliverable, match="the log was cut off"):
        rolled_back.send(older)
