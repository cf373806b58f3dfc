"""The entries of one session, made from its frames: session, chunks and gaps, end.

``Chain`` is all that has to be known of an open session to go on with it. It can be kept as JSON, or found
again in the log (``follow``).
"""

from collections.abc import Callable, Iterator, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from pgwitness.record.chunks import ENDED, STARTED, Frame, Keys, join, outline, store
from pgwitness.record.entries import Chunk, End, Gap, InChain, Session, encode, session_text
from pgwitness.record.log_writer import LogWriter
from pgwitness.record.merkle import leaf_hash
from pgwitness.record.secrets import Secrets

LARGEST_CHUNK = 8 << 20
"""Payload bytes that a chunk is made of, at most, and one frame."""
LONGEST_TEXT = 1000

_payload = itemgetter(5)

Wrap = Callable[[str, bytes], None]
"""Told (session, secret) before any entry of the session: keeps it for auditors, durably."""


class Chain(msgspec.Struct):
    """Where an open session's chain stands."""

    session: str
    secret: bytes = b""
    """Empty when it is only wrapped and the sealer was started anew: then the session cannot go on."""
    slot: int | None = None
    n: int = 0
    """Place of the next entry."""
    previous: str = ""
    sequence: int = 0
    """Of the next frame."""
    chunks: int = 0
    frames: int = 0
    ended: bool = False


def begin(
    log: LogWriter, secrets: Secrets, first: Frame, *, keep: bool = True, wrap: Wrap | None = None
) -> Chain:
    """A new session, whose first frame this is. Without ``keep`` its secret is only given to ``wrap``.

    ``secrets.sync()`` comes before the next ``log.commit``. Raises OSError.
    """
    session = session_text(first[0])
    slot, secret = secrets.add(first[0]) if keep else (None, secrets.new())
    if wrap is not None:
        wrap(session, secret)
    chain = Chain(session, secret, slot)
    header = _header(first)
    entry = Session(
        session=session,
        position=first[4],
        time=first[3],
        slot=slot,
        wrapped=wrap is not None,
        identity=header.get("identity"),
        kind=header.get("kind"),
        connection=header.get("connection"),
        database=header.get("database"),
    )
    _add(log, chain, entry)
    return chain


def extend(log: LogWriter, chain: Chain, frames: Sequence[Frame]) -> None:
    """Seal the session's next frames; a missing sequence becomes a gap. Raises OSError."""
    keys = Keys.of(chain.secret)
    for run in _runs(frames):
        first = run[0]
        if first[1] != chain.sequence:
            add_gap(log, chain, first, "frames are missing on the tape")
        for piece in _pieces(run):
            plain = join(piece)
            about = outline(plain)
            stored = log.store(store(piece[0][0], chain.n, plain, keys))
            entry = Chunk(
                session=chain.session,
                n=chain.n,
                previous=chain.previous,
                sequence=about.sequence,
                position=about.position,
                time=about.time,
                frames=about.frames,
                length=len(plain),
                commitment=keys.commit(plain),
                stored=stored,
            )
            _add(log, chain, entry)
    if frames[-1][2] == ENDED:
        _end(log, chain, frames[-1])


def add_gap(log: LogWriter, chain: Chain, after: Frame, text: str) -> None:
    """The sequences between the chain's last and ``after`` are lost."""
    entry = Gap(
        session=chain.session,
        n=chain.n,
        previous=chain.previous,
        sequence=(chain.sequence, after[1] - 1),
        position=(after[4], after[4]),
        time=after[3],
        text=text[:LONGEST_TEXT],
    )
    _add(log, chain, entry)


def follow(chain: Chain | None, entry: InChain, leaf: bytes) -> Chain:
    """The chain with one more of its entries, read from the log. The secret is not in there."""
    if isinstance(entry, Session) or chain is None:
        chain = Chain(entry.session or "", slot=getattr(entry, "slot", None))
    _advance(chain, entry, leaf)
    return chain


def _end(log: LogWriter, chain: Chain, last: Frame) -> None:
    document = _json(last[5])
    detail = document.get("detail")
    entry = End(
        session=chain.session,
        n=chain.n,
        previous=chain.previous,
        sequence=last[1],
        position=last[4],
        time=last[3],
        reason=str(document.get("reason", "unnamed"))[:LONGEST_TEXT],
        detail=None if detail is None else str(detail)[:LONGEST_TEXT],
        chunks=chain.chunks,
        frames=chain.frames,
    )
    _add(log, chain, entry)


def _add(log: LogWriter, chain: Chain, entry: InChain) -> None:
    data = encode(entry)
    log.add(data)
    _advance(chain, entry, leaf_hash(data))


def _advance(chain: Chain, entry: InChain, leaf: bytes) -> None:
    chain.n = (entry.n or 0) + 1
    chain.previous = leaf.hex()
    match entry:
        case Chunk():
            chain.chunks += 1
            chain.frames += entry.frames
            chain.sequence = entry.sequence[1] + 1
        case Gap(sequence=(_, last)):
            chain.sequence = last + 1
        case End():
            chain.ended = True


def _runs(frames: Sequence[Frame]) -> Iterator[Sequence[Frame]]:
    """Stretches without a gap."""
    if frames[-1][1] - frames[0][1] == len(frames) - 1:
        yield frames
        return
    start = 0
    for at in range(1, len(frames)):
        if frames[at][1] != frames[at - 1][1] + 1:
            yield frames[start:at]
            start = at
    yield frames[start:]


def _pieces(frames: Sequence[Frame]) -> Iterator[Sequence[Frame]]:
    if sum(map(len, map(_payload, frames))) <= LARGEST_CHUNK:
        yield frames
        return
    start = size = 0
    for at, frame in enumerate(frames):
        size += len(frame[5])
        if size > LARGEST_CHUNK:
            yield frames[start : at + 1]
            start, size = at + 1, 0
    if start < len(frames):
        yield frames[start:]


def _header(first: Frame) -> dict[str, str]:
    """Of a session whose start was lost: nothing."""
    document = _json(first[5]) if first[2] == STARTED else {}
    return {name: value for name, value in document.items() if isinstance(value, str)}


def _json(payload: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(payload, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
