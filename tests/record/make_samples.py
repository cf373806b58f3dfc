"""Makes the sample of the current format version: a small record with its keys, and a bundle of it.

    python -m record.make_samples        (in tests/)

Run it when the format gets a new version, and commit what it makes beside the older samples: they must stay
readable. The sample of an existing version is never made again.
"""

import uuid
from datetime import UTC, datetime
from pathlib import Path

from pgwitness.record.bundle import session_frames, write_bundle
from pgwitness.record.events import add_event
from pgwitness.record.log_reader import LogReader
from pgwitness.review.evidence import derive
from support.records import RECORDER, Sealing

VERSION = 1
SAMPLES = Path(__file__).parent / "samples"


def main() -> None:
    directory = SAMPLES / f"v{VERSION}"
    directory.mkdir()
    sealing = Sealing(directory / "record", seed=VERSION, segment_bytes=2000)
    sealing.event("started", version="0.1.0", settings={})
    kept = sealing.session(3, 2)
    sealing.commit()
    _with_a_gap(sealing)
    erased = sealing.session(2, 2, identity="ann", connection="billing")
    payload = b'{"event":"recovered","open_sessions":["' + b'x","' * 12_000 + b'"]}'
    add_event(sealing.log, sealing.tape.frame(bytes(16), RECORDER, payload))
    sealing.event("session_erased", session=str(uuid.UUID(bytes=erased)), by="ann", reason="a request")
    still_open = sealing.tape.session()
    sealing.seal([sealing.tape.start(still_open), *sealing.tape.talk(still_open, 1)])
    sealing.commit()
    sealing.secrets.forget(erased)
    sealing.close()
    _bundle(sealing, kept, directory / f"{uuid.UUID(bytes=kept)}.pgwitness.zip")


def _with_a_gap(sealing: Sealing) -> None:
    session = sealing.tape.session()
    frames = [sealing.tape.start(session), *sealing.tape.talk(session, 4), sealing.tape.end(session)]
    sealing.seal(frames[:4])
    sealing.seal(frames[6:])


def _bundle(sealing: Sealing, session: bytes, path: Path) -> None:
    log, name = LogReader(sealing.layout), str(uuid.UUID(bytes=session))
    secret = sealing.secrets.find(session)
    assert secret is not None
    with path.open("wb") as file:
        write_bundle(
            file,
            log,
            name,
            secret=secret,
            derived=derive(session_frames(log, name, secret)),
            software=f"pgwitness sample {VERSION}",
            created=datetime(2026, 11, 22, tzinfo=UTC),
        )


if __name__ == "__main__":
    main()
