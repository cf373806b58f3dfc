"""Which column of which table a result's columns come from, as RowDescription tells."""

from __future__ import annotations

from typing import Final

from pgwitness.statements.model import Result
from pgwitness.wire.messages import parse_columns
from pgwitness.wire.splitter import MessageSplitter

_ROW_DESCRIPTION: Final = 0x54
_DATA: Final = b"dD"
_LIMIT: Final = 1 << 20
_HELD: Final = 10_000

Origin = tuple[int, int]
"""(OID of the table, number of its column), zeros for what is computed."""


class Origins:
    """Of one session, by the names of a result's columns."""

    def __init__(self) -> None:
        self._splitter = MessageSplitter(_LIMIT, _DATA)
        self._known: dict[tuple[str, ...], list[Origin]] = {}

    def feed(self, data: bytes) -> None:
        """What the server sent. Raises MalformedMessageError."""
        for kind, payload, _ in self._splitter.feed(data):
            if kind == _ROW_DESCRIPTION:
                columns = parse_columns(payload)
                if len(self._known) >= _HELD:
                    self._known.clear()
                named = tuple(column.name for column in columns)
                self._known[named] = [(column.table, column.attribute) for column in columns]

    def of(self, result: Result | None) -> list[Origin]:
        """[] where the server did not tell."""
        return [] if result is None else self._known.get(tuple(one.name for one in result.columns), [])
