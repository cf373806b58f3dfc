"""In the place of a statement that something from outside stopped: an error of the same SQLSTATE.

It leaves behind what that one left behind, whatever the protocol and wherever in a transaction it stood; the
statement itself, run again with nobody to stop it, would not. A COMMIT that was refused becomes a ROLLBACK.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack
from typing import Final

from pgwitness.statements import sql
from pgwitness.statements.state import EXECUTE, QUERY
from pgwitness.wire import codec
from pgwitness.wire.messages import text

_NAME: Final = b"pgwitness stands in\0"
_ENDS: Final = frozenset({"COMMIT", "END"})


def of(kind: int, payload: bytes, stopped: Sequence[tuple[int, str, str]], encoding: str) -> bytes:
    """The message to send. ``stopped``: which of the message's statements, its SQLSTATE, its command.
    Without SQLSTATE, the command is what stands in."""
    if kind == QUERY:
        parts = sql.split(text(payload, encoding))
        for at, sqlstate, command in stopped:
            parts[at : at + 1] = [_instead(sqlstate, command)]
            if sqlstate:
                del parts[at + 1 :]
                break
        return codec.message(b"Q", ";".join(parts).encode(encoding) + b"\0")
    instead = _instead(*stopped[0][1:])
    if kind == EXECUTE:
        return (
            codec.message(b"C", b"S" + _NAME)
            + codec.message(b"P", _NAME + instead.encode() + b"\0" + pack("!H", 0))
            + codec.message(b"B", _NAME + _NAME + pack("!HHH", 0, 0, 0))
            + codec.message(b"E", _NAME + pack("!I", 0))
        )
    return codec.query(instead)


def _instead(sqlstate: str, command: str) -> str:
    if not sqlstate:
        return command
    return "ROLLBACK" if command in _ENDS else _raise(sqlstate)


def _raise(sqlstate: str) -> str:
    return (
        "DO $pgwitness$ BEGIN RAISE EXCEPTION USING "
        f"ERRCODE = '{sqlstate}', MESSAGE = 'stopped from outside in the recorded session'; END $pgwitness$"
    )
