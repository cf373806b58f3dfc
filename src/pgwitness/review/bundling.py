"""A session as an evidence bundle: its sealed chunks with their proofs, and what they say, in one file."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

import pgwitness
from pgwitness.errors import UnavailableError
from pgwitness.index.store import SessionDetail
from pgwitness.record.bundle import SUFFIX, session_frames, write_bundle
from pgwitness.record.entries import session_bytes
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from pgwitness.record.secrets import Secrets
from pgwitness.review.evidence import derive, readme

SOFTWARE: Final = f"pgwitness {pgwitness.__version__}"
WRAPPED: Final = "secret.age"
SEALING_SECONDS: Final = 10.0
_PIECE = 1 << 16


def bundle(state: Path, found: SessionDetail, *, seconds: float = SEALING_SECONDS) -> Iterator[bytes]:
    """The file in pieces. What the session did until now is waited for, as it is sealed within ``seconds``
    where a sealer runs. Raises NotFoundError, UnavailableError, RecordBroken, OSError before the first of
    them.
    """
    layout = Layout(state / "record")
    session = found.session.session
    log = _sealed(layout, found.last_position, seconds)
    secret = Secrets(layout).find(session_bytes(session))
    name = f"{session}{SUFFIX}"
    if secret:
        derived = derive(session_frames(log, session, secret)) | {"README.txt": readme(session, name, "open")}
    elif (wrapped := layout.wrapped_secret(session)).exists():
        derived = {WRAPPED: wrapped.read_bytes(), "README.txt": readme(session, name, "wrapped")}
    else:
        derived = {"README.txt": readme(session, name, "closed")}
    pieces = _pieces(state, log, session, secret, derived)
    return chain([next(pieces)], pieces)


def _sealed(layout: Layout, position: int, seconds: float) -> LogReader:
    deadline = time.monotonic() + seconds
    if not layout.checkpoint.exists():
        raise UnavailableError(
            "nothing is sealed yet, so there is nothing that would prove it",
            hint="a gateway seals what it records, unless seal.enabled is false",
        )
    log = LogReader(layout)
    while log.checkpoint.tape <= position and time.monotonic() < deadline:
        time.sleep(0.1)
        log = LogReader(layout)
    return log


def _pieces(
    state: Path, log: LogReader, session: str, secret: bytes | None, derived: dict[str, bytes]
) -> Iterator[bytes]:
    with TemporaryFile(dir=state) as file:
        write_bundle(
            file, log, session, secret=secret, derived=derived, software=SOFTWARE, created=datetime.now(UTC)
        )
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece
