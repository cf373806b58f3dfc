"""Where the chains of open sessions stand, kept so that a start need not read the whole log.

It is derived from the log: what is missing, older than the log or does not fit it is found again there.
Secrets are not in it, as a copy of one would outlive its session's erasure.
"""

from pathlib import Path

import msgspec

from pgwitness.errors import RecordBroken
from pgwitness.record.chain import Chain, follow
from pgwitness.record.entries import Event, decode, session_bytes
from pgwitness.record.files import Files, publish
from pgwitness.record.log_reader import LogReader
from pgwitness.record.merkle import leaf_hash
from pgwitness.record.secrets import Secrets

Chains = dict[bytes, Chain]
"""Those of open sessions, by session id."""


class _Saved(msgspec.Struct):
    size: int
    """Entries of the log that it knows of."""
    leaf: str
    """Leaf hash of the last of them."""
    segment: int
    instance: str
    """The segment of the tape where sealing went on, and the start of the recorder that wrote it."""
    chains: list[Chain]


class Journal:
    """One file."""

    def __init__(self, path: Path, files: Files) -> None:
        self._path = path
        self._files = files
        self._saved = self._read()

    def instance(self, segment: int) -> str:
        """Which start of the recorder wrote that segment of the tape; empty if that is not known."""
        return self._saved.instance if self._saved.segment == segment else ""

    def load(self, log: LogReader, secrets: Secrets) -> Chains:
        """The open chains of the log as it is now. Raises RecordBroken."""
        saved = self._saved if self._fits(log) else _Saved(0, "", 0, "", [])
        chains = {session_bytes(chain.session): chain for chain in saved.chains}
        for _, data in log.raw_entries(saved.size):
            entry = decode(data)
            if isinstance(entry, Event) or entry.session is None:
                continue
            session = session_bytes(entry.session)
            chains[session] = follow(chains.get(session), entry, leaf_hash(data))
            if chains[session].ended:
                del chains[session]
        for session, chain in chains.items():
            if chain.slot is not None:
                chain.secret = secrets.get(chain.slot, session) or b""
        return chains

    def save(self, log: LogReader, chains: Chains, segment: int, instance: str) -> None:
        """Raises OSError."""
        leaf = leaf_hash(log.raw_entry(log.size - 1)).hex() if log.size else ""
        open_chains = [msgspec.structs.replace(chain, secret=b"") for chain in chains.values()]
        self._saved = _Saved(log.size, leaf, segment, instance, open_chains)
        publish(self._files, {self._path: msgspec.json.encode(self._saved)})

    def _read(self) -> _Saved:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Saved)
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return _Saved(0, "", 0, "", [])

    def _fits(self, log: LogReader) -> bool:
        saved = self._saved
        if saved.size == 0 or saved.size > log.size:
            return False
        try:
            return leaf_hash(log.raw_entry(saved.size - 1)).hex() == saved.leaf
        except RecordBroken:
            return False
