"""tsvector and tsquery from their binary to their text form. Source: PostgreSQL's tsvector.c and
tsquery.c."""

from collections.abc import Iterator
from struct import Struct

from pgwitness.statements.types.scalars import Decoder
from pgwitness.wire.messages import UNDECODABLE

_COUNT = Struct("!I")
_SHORT = Struct("!H")
_NOT, _AND, _OR, _PHRASE = 1, 2, 3, 4
_PRIORITY = {_OR: 1, _AND: 2, _PHRASE: 3, _NOT: 4}


class _Reader:
    """Takes fields from the front of a value."""

    def __init__(self, value: bytes, encoding: str) -> None:
        self._value, self._at, self._encoding = value, 0, encoding

    def number(self, packer: Struct) -> int:
        (number,) = packer.unpack_from(self._value, self._at)
        self._at += packer.size
        return int(number)

    def octet(self) -> int:
        self._at += 1
        return self._value[self._at - 1]

    def lexeme(self) -> str:
        end = self._value.index(b"\0", self._at)
        word = self._value[self._at : end].decode(self._encoding, UNDECODABLE)
        self._at = end + 1
        return "'" + word.replace("\\", "\\\\").replace("'", "''") + "'"


def tsvector(value: bytes, encoding: str) -> str:
    reader = _Reader(value, encoding)
    return " ".join(_lexemes(reader))


def _lexemes(reader: _Reader) -> Iterator[str]:
    for _ in range(reader.number(_COUNT)):
        word = reader.lexeme()
        places = [reader.number(_SHORT) for _ in range(reader.number(_SHORT))]
        shown = ",".join(f"{place & 0x3FFF}{('', 'C', 'B', 'A')[place >> 14]}" for place in places)
        yield f"{word}:{shown}" if shown else word


def tsquery(value: bytes, encoding: str) -> str:
    reader = _Reader(value, encoding)
    return _operand(reader, 0, False) if reader.number(_COUNT) else ""


def _operand(reader: _Reader, outer: int, right_of_phrase: bool) -> str:
    """Operators stand before their operands, and the right operand before the left one."""
    if reader.octet() == 1:
        weights, prefix = reader.octet(), reader.octet()
        word = reader.lexeme()
        marks = ("*" if prefix else "") + "".join(
            letter for bit, letter in ((8, "A"), (4, "B"), (2, "C"), (1, "D")) if weights & bit
        )
        return f"{word}:{marks}" if marks else word
    operator = reader.octet()
    priority = _PRIORITY[operator]
    if operator == _NOT:
        shown = "!" + _operand(reader, priority, False)
        return f"( {shown} )" if priority < outer else shown
    distance = reader.number(_SHORT) if operator == _PHRASE else 0
    right = _operand(reader, priority, operator == _PHRASE)
    left = _operand(reader, priority, False)
    sign = {_AND: "&", _OR: "|"}.get(operator) or ("<->" if distance == 1 else f"<{distance}>")
    shown = f"{left} {sign} {right}"
    wrapped = priority < outer or (operator == _PHRASE and right_of_phrase)
    return f"( {shown} )" if wrapped else shown


DECODERS: dict[int, Decoder] = {3614: tsvector, 3615: tsquery}
"""By type OID."""
