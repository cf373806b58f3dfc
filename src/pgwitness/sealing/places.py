"""Places out of the house that heads are sent to: a file, a webhook, a witness."""

from collections.abc import Callable
from pathlib import Path

import httpx

from pgwitness.errors import RecordBroken
from pgwitness.record.checkpoint import parse_checkpoint
from pgwitness.record.files import Files, publish
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.witness import SIZE_TYPE, add_checkpoint, parse_witness_key, read_answer, read_size
from pgwitness.sealing.messenger import Undeliverable

WITNESS_INTERVAL = 10.0
_SECONDS = 10.0
_LARGEST_ANSWER = 64 << 10

Cosigned = Callable[[bytes, list[str]], None]
"""Told (note, signature lines)."""


class FilePlace:
    """A file that always holds the latest head."""

    interval = 0.0

    def __init__(self, path: Path) -> None:
        self.name = f"file {path}"
        self._path = path

    def close(self) -> None:
        """Nothing is open."""

    def send(self, note: bytes) -> None:
        """Raises Undeliverable."""
        try:
            publish(Files(), {self._path: note})
        except OSError as error:
            raise Undeliverable(f"{error.strerror}: {error.filename}") from None


class WebhookPlace:
    """A URL that each head is posted to, as ``text/plain``."""

    interval = 0.0

    def __init__(self, url: str) -> None:
        # The path of a webhook is often its secret.
        self.name = f"webhook {httpx.URL(url).host}"
        self._url = url
        self._client = httpx.Client(timeout=_SECONDS)
        self.close = self._client.close

    def send(self, note: bytes) -> None:
        """Raises Undeliverable."""
        answer = _post(self._client, self._url, note, "text/plain; charset=utf-8")
        if not answer.is_success:
            raise Undeliverable(f"it answered {answer.status_code}")


class WitnessPlace:
    """A witness (c2sp.org/tlog-witness). It sees that each head extends the last, and cosigns it."""

    interval = WITNESS_INTERVAL

    def __init__(self, url: str, key: str, layout: Layout, cosigned: Cosigned) -> None:
        """``key`` is its verifier key. Raises RecordBroken if that is none."""
        self._key = parse_witness_key(key)
        self.name = f"witness {self._key.name}"
        self._url = url.rstrip("/") + "/add-checkpoint"
        self._layout = layout
        self._cosigned = cosigned
        self._client = httpx.Client(timeout=_SECONDS)
        self._size = 0
        """Of the head that it has, as far as is known."""
        self.close = self._client.close

    def send(self, note: bytes) -> None:
        """Raises Undeliverable."""
        answer = self._submit(note)
        if answer.status_code == httpx.codes.CONFLICT:
            self._size = self._conflict(answer, parse_checkpoint(note)[0].size)
            answer = self._submit(note)
        if answer.status_code != httpx.codes.OK:
            raise Undeliverable(_REFUSALS.get(answer.status_code, f"it answered {answer.status_code}"))
        try:
            lines = read_answer(answer.content, note, [self._key])
        except RecordBroken as error:
            raise Undeliverable(str(error)) from None
        self._size = parse_checkpoint(note)[0].size
        self._cosigned(note, lines)

    def _submit(self, note: bytes) -> httpx.Response:
        checkpoint, _ = parse_checkpoint(note)
        try:
            proof = LogReader(self._layout, checkpoint).consistency_proof(self._size) if self._size else []
        except (RecordBroken, OSError, ValueError) as error:
            raise Undeliverable(f"no proof from size {self._size}: {error}") from None
        body = add_checkpoint(self._size, proof, note)
        return _post(self._client, self._url, body, "text/plain; charset=utf-8")

    def _conflict(self, answer: httpx.Response, ours: int) -> int:
        """The size that it has. Raises Undeliverable, in words for a person, if that is beyond ours."""
        if answer.headers.get("content-type", "").partition(";")[0].strip() != SIZE_TYPE:
            raise Undeliverable("it has another head of the same size: the log was forked")
        try:
            theirs = read_size(answer.content)
        except RecordBroken as error:
            raise Undeliverable(str(error)) from None
        if theirs > ours:
            raise Undeliverable(f"it has seen {theirs} entries, and the log has {ours}: the log was cut off")
        return theirs


_REFUSALS = {
    403: "it does not know the record's key: register the verifier with it",
    404: "it does not know this log: register the verifier with it",
    409: "it has another head of the same size: the log was forked",
    422: "it does not accept the proof that the log extends what it has seen: the log was forked",
}


def _post(client: httpx.Client, url: str, body: bytes, kind: str) -> httpx.Response:
    """Raises Undeliverable. The text has no part of the URL."""
    try:
        with client.stream("POST", url, content=body, headers={"Content-Type": kind}) as answer:
            content = b""
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > _LARGEST_ANSWER:
                    raise Undeliverable("its answer is too long")
            kind = answer.headers.get("content-type", "")
            return httpx.Response(answer.status_code, headers={"content-type": kind}, content=content)
    except httpx.TimeoutException:
        raise Undeliverable("it did not answer in time") from None
    except httpx.HTTPError as error:
        raise Undeliverable(f"it cannot be reached: {type(error).__name__}") from None
