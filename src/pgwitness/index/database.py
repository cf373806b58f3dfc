"""Opening the index: SQLite in WAL mode, so that readers never wait for the indexer nor it for them."""

from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Engine, create_engine, event


def connect(path: Path, *, writer: bool) -> Engine:
    """An engine on an index file; a writer's creates the file, a reader's fails if it is gone."""
    mode = "rwc" if writer else "rw"
    engine = create_engine(
        f"sqlite:///file:{quote(str(path))}?mode={mode}&uri=true", connect_args={"timeout": 30}
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The driver's own way of opening transactions leaves SELECT outside of them.
        connection.isolation_level = None
        for pragma in _WRITER if writer else _READER:
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


_WRITER = (
    "page_size = 16384",
    "journal_mode = WAL",
    # Losing the last transactions in a power failure is no loss: the indexer reads the tape on from where
    # they ended.
    "synchronous = NORMAL",
    "wal_autocheckpoint = 2000",
    "cache_size = -65536",
    "temp_store = MEMORY",
    # What is deleted is overwritten: erasure, and the setting of what the index keeps, hold for its bytes.
    "secure_delete = ON",
)
MAPPED = 256 << 20
"""Bytes of the index that each connection of a reader maps: memory that the kernel may take back."""
_READER = ("query_only = ON", "cache_size = -16384", f"mmap_size = {MAPPED}")
