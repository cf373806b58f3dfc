"""A session as a file: ``jsonl``, ``csv`` or ``sql``."""

from collections.abc import Iterator

from pgwitness.index.store import IndexReader

FORMATS = ("jsonl", "csv", "sql")


def export_session(index: IndexReader, session: str, format: str) -> Iterator[str]:
    """The file's text in pieces. Raises NotFoundError, ConflictError, InvalidError."""
    raise NotImplementedError
