"""Verification, step 5: every session's chain of entries, and what the events say was erased."""

from dataclasses import dataclass
from typing import Any

from pgwitness.errors import RecordBroken
from pgwitness.record.chain import Chain, follow
from pgwitness.record.entries import ERASED, Chunk, End, Entry, Event, Gap, InChain, Session, decode
from pgwitness.record.report import Findings, Report


@dataclass(slots=True)
class _Held:
    """A session under way."""

    chain: Chain
    position: int


class ChainCheck:
    """Takes the entries in order. ``finish`` tells; ``erased`` and ``ended`` are for the later steps."""

    def __init__(self, report: Report, session: str | None = None) -> None:
        self._found: Findings = report.step("chains")
        self._report = report
        self._only = session
        self._open: dict[str, _Held] = {}
        self._ended: dict[str, int] = {}
        """Session to the index of its end."""
        self.erased: dict[str, int] = {}
        """Session to the index of the event that erased it."""
        self._erasures: dict[str, dict[str, Any]] = {}
        self.sessions = 0
        self.indices: list[int] = []
        """Of the entries of the one session that is asked for."""

    def take(self, index: int, data: bytes, leaf: bytes) -> None:
        try:
            entry = decode(data)
        except RecordBroken as error:
            self._found.broken(str(error), entry=index)
            return
        if isinstance(entry, Event):
            self._event(index, entry)
        elif entry.session is None:
            if isinstance(entry, Gap):
                self._gap(entry)
        else:
            if entry.session == self._only:
                self.indices.append(index)
            self._link(index, entry, leaf)

    def broken(self, text: str) -> None:
        """What the caller found wrong with the chains as a whole."""
        self._found.broken(text, session=self._only)

    def finish(self) -> bool:
        still = len(self._open)
        if still:
            self._report.remark(
                "open", f"{still:,} sessions were open at the checkpoint: more of them may follow"
            )
        for session, event in self._erasures.items():
            by, reason = event.get("by") or "unknown", event.get("reason") or "not given"
            self._report.remark("erased", f"erased by {by}, reason: {reason}", session)
        numbers = self._report.numbers
        numbers["sessions"] = self.sessions
        numbers["sessions_open"] = still
        numbers["sessions_erased"] = len(self.erased)
        return self._found.end(
            f"{self.sessions:,} sessions, {still:,} of them open, {len(self.erased):,} erased"
        )

    def _link(self, index: int, entry: InChain, leaf: bytes) -> None:
        session = str(entry.session)
        held = self._open.get(session)
        for text in self._wrong(session, entry, held):
            self._found.broken(text, entry=index, session=session)
        self._report.count(_COUNTED[type(entry)])
        if isinstance(entry, Session):
            self.sessions += 1
        if isinstance(entry, Gap):
            self._gap(entry)
        if isinstance(entry, End):
            self._open.pop(session, None)
            self._ended[session] = index
            return
        # From here on the entry is what counts, so that one break in a chain is one problem.
        chain = follow(held.chain if held else None, entry, leaf)
        last = entry.position if isinstance(entry, Session) else entry.position[1]
        self._open[session] = _Held(chain, last)

    def _wrong(self, session: str, entry: InChain, held: _Held | None) -> list[str]:
        if session in self._ended:
            return [f"the session goes on behind its end, which is entry {self._ended[session]}"]
        if isinstance(entry, Session):
            return (
                ["the session begins twice"] if held else ["its chain does not begin at 0"] if entry.n else []
            )
        if held is None:
            return [f"the session's chain begins with place {entry.n}: its start is missing"]
        chain = held.chain
        wrong = []
        if entry.n != chain.n:
            wrong.append(
                f"place {chain.n} of the session's chain is missing: {entry.n} follows {chain.n - 1}"
            )
        if entry.previous != chain.previous:
            wrong.append("it does not follow the session's previous entry: their hashes differ")
        return wrong + [text for text in _content(entry, chain, held.position) if text]

    def _gap(self, entry: Gap) -> None:
        self._report.count("gaps")
        lost = f"frames {entry.sequence[0]} to {entry.sequence[1]}" if entry.sequence else "part of the tape"
        self._report.remark("gap", f"{lost} were lost before they were sealed: {entry.text}", entry.session)

    def _event(self, index: int, entry: Event) -> None:
        self._report.count("events")
        if entry.event != ERASED:
            return
        document = entry.document
        session = str(document.get("session"))
        if session in self._open:
            text = "the session is erased before its end: what follows cannot be read"
            self._found.broken(text, entry=index, session=session)
        if session in self._ended:
            self.erased.setdefault(session, index)
            self._erasures.setdefault(session, document)


_COUNTED: dict[type[Entry], str] = {Session: "starts", Chunk: "chunks", Gap: "session_gaps", End: "ends"}


def _content(entry: Chunk | End | Gap, chain: Chain, position: int) -> list[str]:
    match entry:
        case Chunk(sequence=(first, last)):
            return [
                _follows(first, chain.sequence),
                "" if last - first + 1 == entry.frames else "it does not have as many frames as sequences",
                ""
                if position <= entry.position[0] <= entry.position[1]
                else "it lies before what it follows",
            ]
        case Gap(sequence=(first, last)):
            return [_follows(first, chain.sequence), "" if last >= first else "the gap is empty"]
        case End():
            same = entry.chunks == chain.chunks and entry.frames == chain.frames
            return [
                _follows(entry.sequence + 1, chain.sequence),
                ""
                if same
                else f"the end counts {entry.chunks} chunks with {entry.frames} frames, and there are "
                f"{chain.chunks} with {chain.frames}",
            ]
    return ["the gap names no sequences"]


def _follows(first: int, expected: int) -> str:
    return (
        "" if first == expected else f"sequence {first} follows {expected - 1}: frames are missing or doubled"
    )
