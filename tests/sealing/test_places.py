"""Heads leave the house: to a file, a webhook, a witness that knows what it saw."""

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from pgwitness.record.log_reader import LogReader
from pgwitness.record.notes import parse_note
from pgwitness.record.witness import cosignature_holds
from pgwitness.sealing.messenger import Messenger, Undeliverable, report
from pgwitness.sealing.places import FilePlace, WebhookPlace, WitnessPlace
from pgwitness.sealing.sealer import Sealer
from support.growing import Growing
from support.sealing import verified
from support.trees import Log, WitnessKey
from support.witness_peer import Witness


@pytest.fixture
def record(tmp_path: Path) -> Growing:
    return Growing(tmp_path)


@pytest.fixture
def witness() -> Iterator[Witness]:
    running = Witness()
    yield running
    running.close()


@pytest.fixture
def make_place(record: Growing, witness: Witness) -> Iterator[Callable[..., WitnessPlace]]:
    made = []

    def make(key: WitnessKey = witness.key) -> WitnessPlace:
        made.append(
            WitnessPlace(witness.url, str(key.verifier), record.layout, lambda *got: cosigned.append(got))
        )
        return made[-1]

    cosigned.clear()
    yield make
    for place in made:
        place.close()


@pytest.fixture
def place(record: Growing, witness: Witness, make_place: Callable[[], WitnessPlace]) -> WitnessPlace:
    """A witness that knows the log."""
    witness.register(record.verifier)
    return make_place()


cosigned: list[tuple[bytes, list[str]]] = []
"""What the witnesses of this test gave."""


def test_a_witness_cosigns_each_head(record: Growing, witness: Witness, place: WitnessPlace) -> None:
    for sessions in (0, 1, 90, 3):
        note = record.grow(sessions)
        place.send(note)
        assert cosigned[-1][0] == note
        signature = parse_note(note + f"{cosigned[-1][1][0]}\n".encode()).signatures[-1]
        assert cosignature_holds(witness.key.verifier, parse_note(note).text, signature)
    place.send(note)
    assert witness.answers == [200] * 5


def test_who_starts_anew_asks_the_witness_what_it_has(
    record: Growing, witness: Witness, place: WitnessPlace, make_place: Callable[[], WitnessPlace]
) -> None:
    place.send(record.grow())
    make_place().send(record.grow(100))
    assert witness.answers == [200, 409, 200]


def test_a_log_that_was_cut_off_is_not_cosigned(
    record: Growing, witness: Witness, place: WitnessPlace, make_place: Callable[[], WitnessPlace]
) -> None:
    before = record.grow()
    place.send(record.grow())
    with pytest.raises(Undeliverable, match="the log was cut off"):
        make_place().send(before)


def test_a_forked_log_is_not_cosigned(record: Growing, witness: Witness, place: WitnessPlace) -> None:
    place.send(record.grow())
    origin = parse_note(record.grow()).text.split("\n")[0]
    size, _ = witness.heads[origin]
    witness.heads[origin] = size, bytes(32)
    with pytest.raises(Undeliverable, match="the log was forked"):
        place.send(record.grow())
    witness.heads[origin] = LogReader(record.layout).size, bytes(32)
    with pytest.raises(Undeliverable, match="another head of the same size"):
        place.send(LogReader(record.layout).note)
    assert len(cosigned) == 1


def test_a_witness_that_does_not_know_us(
    record: Growing, witness: Witness, make_place: Callable[[], WitnessPlace]
) -> None:
    place = make_place()
    with pytest.raises(Undeliverable, match="register the verifier"):
        place.send(record.grow())
    witness.register(Log(name=parse_note(record.grow()).text.split("\n")[0]).verifier)
    with pytest.raises(Undeliverable, match="does not know the record's key"):
        place.send(record.grow())


def test_a_cosignature_of_another_key_is_not_taken(
    record: Growing, witness: Witness, make_place: Callable[[WitnessKey], WitnessPlace]
) -> None:
    witness.register(record.verifier)
    with pytest.raises(Undeliverable, match="no cosignature"):
        make_place(WitnessKey(seed=b"another")).send(record.grow())
    assert cosigned == []


def test_cosignatures_are_kept_with_the_checkpoint(record: Growing, place: WitnessPlace) -> None:
    note = record.grow()
    place.send(note)
    sealer = Sealer(record.state)
    sealer.cosign(*cosigned[0])
    layout = record.layout
    assert layout.checkpoint.read_bytes() == layout.witnessed.read_bytes() == sealer.note
    assert len(parse_note(sealer.note).signatures) == 2
    sealer.cosign(*cosigned[0])
    assert len(parse_note(sealer.note).signatures) == 2
    verified(record.state)
    # A checkpoint that has been replaced keeps its cosignature beside the log.
    sealer.close()
    record.grow()
    sealer = Sealer(record.state)
    sealer.cosign(*cosigned[0])
    assert layout.witnessed.read_bytes().startswith(note)
    assert len(parse_note(layout.checkpoint.read_bytes()).signatures) == 1
    sealer.close()


def test_a_file_always_holds_the_latest_head(record: Growing, tmp_path: Path) -> None:
    place = FilePlace(tmp_path / "elsewhere" / "head")
    place.send(b"one")
    place.send(b"two")
    assert (tmp_path / "elsewhere" / "head").read_bytes() == b"two"
    (tmp_path / "file").write_text("")
    with pytest.raises(Undeliverable, match="File exists"):
        FilePlace(tmp_path / "file" / "head").send(b"one")


@pytest.fixture
def hook() -> Iterator[Callable[[int], tuple[str, list[tuple[str, bytes]]]]]:
    """Serves a webhook that gives that answer: its URL, and what it was sent."""
    servers = []

    def serve(code: int) -> tuple[str, list[tuple[str, bytes]]]:
        got: list[tuple[str, bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((self.headers["Content-Type"], body))
                self.send_response(code)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/secret", got

    yield serve
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_webhook(hook: Callable[[int], tuple[str, list[tuple[str, bytes]]]]) -> None:
    url, got = hook(204)
    place = WebhookPlace(url)
    place.send(b"head")
    assert got == [("text/plain; charset=utf-8", b"head")]
    assert "secret" not in place.name
    place.close()
    refusing = WebhookPlace(hook(500)[0])
    with pytest.raises(Undeliverable, match="it answered 500"):
        refusing.send(b"head")
    refusing.close()
    nobody = WebhookPlace("http://127.0.0.1:1/secret")
    with pytest.raises(Undeliverable) as raised:
        nobody.send(b"head")
    assert "secret" not in str(raised.value)
    nobody.close()


class Scripted:
    """A place that fails as often as it is told, and waits for ``open`` before it takes anything."""

    name, interval = "scripted", 0.0

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.took: list[bytes] = []
        self.open = threading.Event()
        self.idle = threading.Event()

    def send(self, note: bytes) -> None:
        self.open.wait(10)
        if self.failures:
            self.failures -= 1
            raise Undeliverable("not now")
        self.took.append(note)
        if note.endswith(b"last"):
            self.idle.set()

    def close(self) -> None:
        pass


def test_what_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgwitness.sealing.messenger.FIRST_PAUSE", 0.01)
    place = Scripted(failures=3)
    place.open.set()
    changes: list[str | None] = []
    messenger = Messenger(place, lambda: changes.append(messenger.delivery.error))
    messenger.carry(b"log\n7\nlast")
    assert place.idle.wait(10)
    messenger.close(10)
    assert place.took == [b"log\n7\nlast"] and changes == ["not now", None]
    (told,) = report([messenger])
    assert told["size"] == 7 and told["error"] is None and told["delivered_at"] > 0


def test_a_slow_place_gets_the_latest_and_holds_nobody_up() -> None:
    place = Scripted()
    messenger = Messenger(place)
    for number in range(1000):
        messenger.carry(f"log\n{number}\n".encode())
    messenger.carry(b"log\n1000\nlast")
    place.open.set()
    assert place.idle.wait(10)
    messenger.close(10)
    assert len(place.took) <= 2 and place.took[-1] == b"log\n1000\nlast"
