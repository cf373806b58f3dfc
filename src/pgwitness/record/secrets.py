"""Secrets of sessions in slots of 64 bytes (docs/record-format.md, Secrets).

A secret is destroyed by overwriting it where it stands, so no copy of it may be made on disk. A slot lies
within one sector: it is there whole, or not at all.
"""

import os
from collections.abc import Callable
from pathlib import Path

from pgwitness.record.chunks import SECRET_BYTES
from pgwitness.record.files import Files, ensure_directory, opened
from pgwitness.record.layout import Layout

SLOT_BYTES = 64
SLOTS_A_FILE = 4096
_HELD = 16 + SECRET_BYTES


class Secrets:
    """The secrets of one record. One writer; readers at any time."""

    def __init__(
        self,
        layout: Layout,
        files: Files | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._layout = layout
        self._directory = layout.secrets
        self._files = files or Files()
        self._random = random
        self._next: int | None = None
        self._unsynced: set[Path] = set()
        self._slots: dict[bytes, int] = {}
        """Where sessions were found."""
        self._scanned: dict[str, int] = {}
        """How far files were looked through for them."""

    def add(self, session: bytes) -> tuple[int, bytes]:
        """A new secret and its slot. Nothing may rely on it before ``sync``. Raises OSError."""
        slot = self._count() if self._next is None else self._next
        secret = self.new()
        path, offset = slot_place(self._layout, slot)
        if offset == 0:
            ensure_directory(self._files, self._directory)
        with opened(self._files, path) as descriptor:
            self._files.write(descriptor, (session + secret).ljust(SLOT_BYTES, b"\0"), offset)
        self._unsynced.add(path)
        self._next = slot + 1
        self._slots[session] = slot
        return slot, secret

    def new(self) -> bytes:
        """One that is kept nowhere here."""
        return self._random(SECRET_BYTES)

    def sync(self) -> None:
        """Make all added ones durable. Raises OSError."""
        for path in sorted(self._unsynced):
            with opened(self._files, path) as descriptor:
                self._files.sync(descriptor)
        if self._unsynced:
            self._files.sync_directory(self._directory)
        self._unsynced.clear()

    def get(self, slot: int, session: bytes) -> bytes | None:
        """None if it was destroyed, or is not in this copy of the record."""
        path, offset = slot_place(self._layout, slot)
        try:
            with path.open("rb") as file:
                file.seek(offset)
                held = file.read(_HELD)
        except FileNotFoundError:
            return None
        return held[16:] if len(held) == _HELD and held[:16] == session else None

    def find(self, session: bytes) -> bytes | None:
        """As ``get``, where the slot is not known. The latest sessions are found first."""
        if session not in self._slots:
            for path in sorted(self._directory.glob("[0-9]*"), reverse=True):
                if self._scan(path) and session in self._slots:
                    break
        slot = self._slots.get(session)
        return None if slot is None else self.get(slot, session)

    def sessions(self) -> list[bytes]:
        """All whose secret is here."""
        for path in sorted(self._directory.glob("[0-9]*")):
            self._scan(path)
        return [session for session in self._slots if any(session)]

    def destroy(self, slot: int, session: bytes) -> bool:
        """Overwrite it, durably. False if it is not there (any more). Raises OSError."""
        if self.get(slot, session) is None:
            return False
        path, offset = slot_place(self._layout, slot)
        with opened(self._files, path) as descriptor:
            self._files.write(descriptor, bytes(_HELD), offset)
            self._files.sync(descriptor)
        return True

    def forget(self, session: bytes) -> bool:
        """As ``destroy``, where the slot is not known. Raises OSError."""
        if self.find(session) is None:
            return False
        return self.destroy(self._slots[session], session)

    def _scan(self, path: Path) -> bool:
        """Note the slots of a file; False if all that is in it was noted before."""
        done = self._scanned.get(path.name, 0)
        with path.open("rb") as file:
            file.seek(done)
            data = file.read()
        first = int(path.name) * SLOTS_A_FILE + done // SLOT_BYTES
        for number in range(len(data) // SLOT_BYTES):
            at = number * SLOT_BYTES
            session = data[at : at + 16]
            # A crash may have left an earlier one, which no entry names.
            self._slots[session] = max(first + number, self._slots.get(session, 0))
        self._scanned[path.name] = done + len(data) // SLOT_BYTES * SLOT_BYTES
        return bool(data)

    def _count(self) -> int:
        """Slots there are, a torn one included: it is never used."""
        names = sorted(path.name for path in self._directory.glob("[0-9]*"))
        if not names:
            return 0
        size = (self._directory / names[-1]).stat().st_size
        return int(names[-1]) * SLOTS_A_FILE + -(-size // SLOT_BYTES)


def slot_place(layout: Layout, slot: int) -> tuple[Path, int]:
    """The file of a slot, and the offset in it."""
    return layout.secrets / f"{slot // SLOTS_A_FILE:010}", slot % SLOTS_A_FILE * SLOT_BYTES
