"""What groups of statements add up to: rows written and read by table, and what the numbers leave out.

A pure function of the groups. A number counts where it is known whose it is: the count in a command's tag
belongs to the table that the command itself changes. What else a statement writes is counted as a
statement, and its rows stand as not known.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pgwitness.review.blast.groups import READING, Group
from pgwitness.statements.names import quote_name
from pgwitness.statements.sql import Relation
from pgwitness.statements.touches import UNKNOWN, Touches, touches

LARGEST = 5
"""Statements told of behind each number."""
CANDIDATES = 256
TEXTS_READ = 100_000
"""Different texts that the parser is asked about. Of further ones, the command tells what they write."""
SELECT_INTO = "SELECT INTO"

_CHANGING = ("INSERT", "UPDATE", "DELETE", "MERGE")
_FILLING = ("CREATE TABLE AS", "CREATE MATERIALIZED VIEW")
_ROLE = ("GRANT", "REVOKE", "ALTER DEFAULT PRIVILEGES", "REASSIGN OWNED", "DROP OWNED")
_SERVER = ("ALTER SYSTEM", "LOAD")
_OTHERS = ("COMMENT", "SECURITY LABEL", "IMPORT FOREIGN SCHEMA")

Key = tuple[str | None, str | None, str | None, str]
"""(connection, database, table, command)"""


@dataclass(slots=True)
class Entry:
    """One table, written by one command."""

    rows: int = 0
    uncounted: int = 0
    """Statements whose rows are not known."""
    statements: int = 0
    _behind: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    """By rows (-1: not known) and text: the number of an example, and how many there are of them."""

    @property
    def largest(self) -> list[tuple[int | None, int, int]]:
        """(rows, number of an example, statements like it), the largest first."""
        ordered = sorted(self._behind.items(), key=lambda item: (-item[0][0], item[1][0]))
        return [
            (None if rows < 0 else rows, example, like) for (rows, _), (example, like) in ordered[:LARGEST]
        ]

    def add(self, group: Group, rows: int | None) -> None:
        self.statements += group.statements
        if rows is None:
            self.uncounted += group.statements
        else:
            self.rows += rows
        key = (-1 if rows is None else rows // group.statements, group.text or -group.example)
        example, like = self._behind.get(key, (group.example, 0))
        self._behind[key] = min(example, group.example), like + group.statements
        if len(self._behind) > CANDIDATES:
            kept = sorted(self._behind, reverse=True)[:LARGEST]
            self._behind = {key: self._behind[key] for key in kept}


@dataclass(slots=True)
class Read:
    rows: int = 0
    statements: int = 0
    columns: dict[str, None] = field(default_factory=dict)
    columns_known: bool = True


@dataclass(slots=True)
class Tally:
    """Of the groups that were added."""

    writes: dict[Key, Entry] = field(default_factory=dict)
    not_committed: dict[tuple[Key, str], Entry] = field(default_factory=dict)
    """By outcome, too."""
    reads: dict[tuple[str | None, str | None, str], Read] = field(default_factory=dict)
    changes: Counter[str] = field(default_factory=Counter)
    """Commands that change the schema, roles or the server: how many statements of each."""
    statements: int = 0
    failed: int = 0
    first: str | None = None
    last: str | None = None
    marks: Counter[str] = field(default_factory=Counter)
    """By what the numbers leave out: how many statements."""
    functions: Counter[str] = field(default_factory=Counter)
    uncounted: Counter[str] = field(default_factory=Counter)
    fetched: int = 0
    """Rows out of cursors."""
    _texts: set[int] = field(default_factory=set)

    @property
    def reads_texts(self) -> bool:
        """Whether further texts are worth the time."""
        return len(self._texts) < TEXTS_READ

    def add(self, group: Group) -> str | None:
        """The command, if it changes the schema, roles or the server."""
        self.statements += group.statements
        self.first = min(self.first or group.first, group.first)
        self.last = max(self.last or group.last, group.last)
        self.marks["truncated"] += group.truncated
        if group.status in ("error", "cancelled", "skipped"):
            self.failed += group.statements
        if group.command == "FUNCTION" and group.status == "ok":
            self.marks["protocol"] += group.statements
            return None
        if group.status not in ("ok", "unfinished") and not group.tag and not group.rows:
            return None
        found = self._understood(group)
        self._read(group, found)
        if group.status in ("ok", "unfinished"):
            self._note(group, found)
            change = self._write(group, found)
            if change:
                self.changes[change] += group.statements
            return change
        if group.tag:
            # A text that the parser does not understand: what came before the error may be committed.
            self._by_tags(group)
        return None

    def _understood(self, group: Group) -> Touches:
        if not group.text:
            self.marks["unread"] += group.statements
            return UNKNOWN
        self._texts.add(group.text)
        found = touches(group.sql)
        if found.understood and group.sql:
            return found
        withheld = touches(group.sql.replace("?", "NULL")) if "?" in group.sql else found
        if withheld.understood and group.sql:
            return withheld
        if group.sql.strip("; \t\r\n"):
            self.marks["not understood"] += group.statements
        elif group.truncated:
            self.marks["no text"] += group.truncated
        return UNKNOWN

    def _note(self, group: Group, found: Touches) -> None:
        for mark in found.marks:
            self.marks[mark] += group.statements
        for name in found.functions:
            self.functions[name] += group.statements
        if "fetch" in found.marks:
            self.fetched += group.rows or 0

    def _write(self, group: Group, found: Touches) -> str | None:
        """What it changes beside rows: its command, or SELECT INTO."""
        change = group.command if change_kind(group.command or "") else None
        if "execute" in found.marks or not found.understood:
            self._by_tags(group)
            return change
        for write in found.writes:
            counted = write.counted and _ended(group) and group.status == "ok"
            if not counted:
                self.uncounted[_why(group, write.verb, own=write.counted)] += group.statements
            table = named(write.relation, group.tables, found)
            self._wrote(group, table, write.verb, group.rows if counted else None)
            if write.verb == "CREATE TABLE AS" and group.command == "SELECT":
                change = SELECT_INTO
        return change

    def _by_tags(self, group: Group) -> None:
        """Where the text does not tell, as with EXECUTE, the server's tags do, and the table named first."""
        tags = (group.tag or group.command or "").split("; ")
        first = group.tables[0] if group.tables and len(tags) == 1 else None
        for tag in tags:
            verb, _, count = tag.partition(" ")
            number = count.rpartition(" ")[2]
            rows = int(number) * group.statements if number.isdecimal() and group.tag else None
            if tag == "TRUNCATE TABLE":
                for table in group.tables or (None,):
                    self._unknown(group, table, "TRUNCATE", "TRUNCATE")
            elif tag == "REFRESH MATERIALIZED VIEW":
                self._unknown(group, first, tag, tag)
            elif verb in _CHANGING and rows is None:
                self._unknown(group, first, verb, _why(group, verb, own=True))
            elif verb in _CHANGING or (verb == "COPY" and group.copied == "in"):
                self._wrote(group, first, verb, rows)
            elif group.command in _FILLING and verb == "SELECT":
                self._wrote(group, first, "CREATE TABLE AS", rows)
            elif verb == "COPY" and group.copied is None:
                self.marks["copy unknown"] += group.statements
        if len(group.tables) > 1:
            self.marks["named first"] += group.statements

    def _unknown(self, group: Group, table: str | None, verb: str, why: str) -> None:
        self.uncounted[why] += group.statements
        self._wrote(group, table, verb, None)

    def _wrote(self, group: Group, table: str | None, verb: str, rows: int | None) -> None:
        key = (group.connection, group.database, table, verb)
        if group.outcome == "committed":
            entry = self.writes.setdefault(key, Entry())
        else:
            entry = self.not_committed.setdefault((key, group.outcome), Entry())
        entry.add(group, rows)

    def _read(self, group: Group, found: Touches) -> None:
        """Also of what was rolled back: what was read is known."""
        told = "execute" not in found.marks and found.understood
        selected = _verb(group) == "SELECT"
        came_back = (group.rows or 0) if found.gives_rows or (selected and not told) else 0
        if group.status not in ("ok", "unfinished") and not came_back:
            return
        columns = None if found.columns is None else dict(found.columns)
        for relation in found.reads:
            read = self._reading(group, named(relation, group.tables, found), came_back)
            if columns is None:
                read.columns_known = False
            else:
                read.columns.update(dict.fromkeys(columns.get(relation, ())))
        if not told:
            for table in _named_to_read(group):
                self._reading(group, table, came_back).columns_known = False

    def _reading(self, group: Group, table: str, came_back: int) -> Read:
        read = self.reads.setdefault((group.connection, group.database, table), Read())
        read.statements += group.statements
        read.rows += came_back
        return read


def change_kind(command: str) -> str | None:
    """``schema``, ``role`` or ``server``: what a command changes beside rows. None: nothing of these."""
    verb, _, what = command.partition(" ")
    if command.startswith(_ROLE) or (verb in ("CREATE", "ALTER", "DROP") and what in ("ROLE", "POLICY")):
        return "role"
    if command in _SERVER or (verb in ("CREATE", "ALTER", "DROP") and what in ("DATABASE", "TABLESPACE")):
        return "server"
    if verb in ("CREATE", "ALTER", "DROP") or command in (*_OTHERS, SELECT_INTO):
        return "schema"
    return None


def named(relation: Relation, tables: Sequence[str], found: Touches) -> str:
    """The relation as the record names it: with the schema that an unqualified name had there."""
    schema, name = relation
    if schema:
        return f"{quote_name(schema)}.{quote_name(name)}"
    candidates = [table for table in tables if table.endswith(f".{quote_name(name)}")]
    if len(candidates) == 1:
        return candidates[0]
    explicit = {f"{quote_name(one)}.{quote_name(other)}" for one, other in _all(found) if one}
    return next(
        (each for each in candidates if each not in explicit), next(iter(candidates), quote_name(name))
    )


def _all(found: Touches) -> Iterator[Relation]:
    yield from found.reads
    yield from (write.relation for write in found.writes)


def _verb(group: Group) -> str:
    """By the tag: what an EXECUTE ran."""
    return (group.tag or group.command or "").partition(" ")[0]


def _named_to_read(group: Group) -> Sequence[str]:
    """Where the text does not tell: all that a SELECT names, and what a change names after its target."""
    if group.command in _FILLING or _verb(group) in _CHANGING:
        return group.tables[1:]
    return group.tables if _verb(group) == "SELECT" else ()


def _ended(group: Group) -> bool:
    """The server gave a tag."""
    return group.tag is not None or group.command in READING


def _why(group: Group, verb: str, *, own: bool) -> str:
    """Why the rows of a write are not known."""
    if group.status == "unfinished":
        return "unfinished"
    if own:
        return "left"
    return "part" if verb in _CHANGING else verb
