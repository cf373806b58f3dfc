"""COPY … FROM stdin in a script for psql: the statement, its data, and the line that ends them.

The data are an agent's. psql takes what follows the statement as data only if the server began to copy; if
it did not, it would take lines of the data for commands, its own ``\\!`` among them. So a script that holds
data ends at its first error.
"""

import re
from typing import Final

from pgwitness.statements.model import Copy

STOP_AT_ERRORS: Final = "\\set ON_ERROR_STOP on\n"
_END: Final = "\\."
_QUOTED = re.compile(
    r"""(?<![\w$])(?:e'(?:[^'\\\n]|\\[^'\n]|'')*'|'(?:[^'\n]|'')*'|"(?:[^"\n]|"")*")""", re.IGNORECASE
)
_CLEAR = re.compile(r"""COPY\b[^\\'"$:;]*\bFROM\s+STDIN\b[^\\'"$:;]*""", re.IGNORECASE)
_COMMENT = re.compile(r"--|/\*")
_ENCODING = re.compile(r"\bENCODING\b", re.IGNORECASE)


def why_not(text: str, copy: Copy, truncated: bool) -> str | None:
    """Why this COPY stays a comment."""
    data = copy.data
    if copy.direction != "in":
        return "it changed nothing"
    if not isinstance(data, str) or truncated or not copy.complete:
        return "its data are not whole here; a packet capture of the session has what was recorded"
    if copy.encoding == "hex" or _ENCODING.search(text):
        return "its data are binary, or of an encoding of their own"
    plain = _QUOTED.sub("x", _bare(text))
    if not _CLEAR.fullmatch(plain) or _COMMENT.search(plain):
        return "psql could read its text otherwise than the server did"
    *inner, _ = _lines(data)
    if any(line.rstrip("\r") == _END for line in inner):
        return "its data hold a line that would end them for psql"
    if "\r" in data.replace("\r\n", "") or "\0" in data:
        return "psql cannot write its data as they are"
    return None


def block(text: str, copy: Copy) -> str:
    """Of a COPY for which ``why_not`` has nothing to say."""
    assert isinstance(copy.data, str)
    data = copy.data
    newline = "\r\n" if "\r\n" in data else "\n"  # the server gets the last line, too, and wants all alike
    if data and not data.endswith("\n"):
        data += newline
    ended = _lines(data)[-1].rstrip("\r") == _END
    return f"{STOP_AT_ERRORS}{_bare(text)};\n{data}{'' if ended else _END + newline}"


def _bare(text: str) -> str:
    return text.strip().rstrip(";")


def _lines(data: str) -> list[str]:
    return data.removesuffix("\n").split("\n")
