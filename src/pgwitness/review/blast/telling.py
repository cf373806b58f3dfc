"""A blast radius in words: the lines that a responder reads, the worst first.

Each line comes with its kind, so that a terminal can colour it: ``title``, ``heading``, ``entry``,
``behind``, ``note``. Nothing in them can steer a terminal.
"""

from collections.abc import Iterator
from typing import Any

from pgwitness.review.text import counted, one_line, short

Line = tuple[str, str]
"""(kind, text)"""

ENTRIES_SHOWN = 30
SQL_SHOWN = 160
_OUTCOMES = {"rolled_back": "rolled back", "open": "still open", "in_doubt": "IN DOUBT"}
_WIDTH = 14


def tell(document: dict[str, Any]) -> Iterator[Line]:
    yield from _head(document)
    yield from _writes("WRITTEN and committed", document["writes"])
    yield from _writes("WRITTEN, not committed", document["not_committed"])
    yield from _changes(document)
    yield from _reads(document["reads"])
    if document["unseen"]:
        yield "heading", "NOT SEEN in these numbers"
        for sentence in document["unseen"]:
            yield "note", f"  · {one_line(sentence)}"


def _head(document: dict[str, Any]) -> Iterator[Line]:
    scope = ", ".join(f"{name} {value}" for name, value in document["scope"].items())
    yield "title", f"Blast radius of {one_line(scope)}"
    if not document["statements"]:
        yield "note", "No statement of this scope is on record."
        return
    of = f"{counted(document['statements'], 'statement')} in {counted(document['sessions'], 'session')}"
    failed = f", {document['failed']:,} of them failed" if document["failed"] else ""
    yield "note", f"{_moment(document['first'])} to {_moment(document['last'])}: {of}{failed}"
    if not document["writes"] and not document["schema_changes_total"]:
        yield "entry", "Nothing is known to be written and committed."


def _writes(heading: str, entries: list[dict[str, Any]]) -> Iterator[Line]:
    if entries:
        yield "heading", heading
    several = len({(entry["connection"], entry["database"]) for entry in entries}) > 1
    for entry in entries[:ENTRIES_SHOWN]:
        outcome = f"  {_OUTCOMES[entry['outcome']]}" if "outcome" in entry else ""
        table = _table(entry, several)
        of = counted(entry["statements"], "statement")
        yield "entry", f"{_rows(entry):>{_WIDTH}} rows  {entry['command']} {table}{outcome}  ({of})"
        for each in entry["largest"]:
            yield "behind", _behind(each)
    yield from _more(entries)


def _rows(entry: dict[str, Any]) -> str:
    if entry["uncounted"]:
        return f"at least {entry['rows']:,}" if entry["rows"] else "? "
    return f"{entry['rows']:,}"


def _behind(statement: dict[str, Any]) -> str:
    rows = "?" if statement["rows"] is None else f"{statement['rows']:,}"
    like = f"  (and {statement['like_it']:,} like it)" if statement["like_it"] else ""
    sql = one_line(statement["sql"])
    sql = sql if len(sql) <= SQL_SHOWN else f"{sql[:SQL_SHOWN]}…"
    return f"{rows:>{_WIDTH}}  {short(statement['session'])} {statement['seq']}  {sql or '(no text)'}{like}"


def _changes(document: dict[str, Any]) -> Iterator[Line]:
    found = document["schema_changes"]
    if found:
        yield "heading", "CHANGED: schema, roles, server"
    for each in found[:ENTRIES_SHOWN]:
        outcome = "" if each["outcome"] == "committed" else f"  {_OUTCOMES[each['outcome']]}"
        where = f"{short(each['session'])} {each['seq']}"
        yield "entry", f"{each['kind']:>{_WIDTH}}  {each['command']}{outcome}  {where}"
        yield "behind", f"{'':>{_WIDTH}}  {one_line(each['sql'])[:SQL_SHOWN]}"
    hidden = document["schema_changes_total"] - len(found[:ENTRIES_SHOWN])
    if hidden > 0:
        yield "note", f"  and {hidden:,} more"


def _reads(entries: list[dict[str, Any]]) -> Iterator[Line]:
    own = [entry for entry in entries if not _system(entry["table"])]
    if entries:
        yield "heading", "READ (rows that came back to the client, rolled back or not)"
    several = len({(entry["connection"], entry["database"]) for entry in entries}) > 1
    for entry in own[:ENTRIES_SHOWN]:
        columns = entry["columns"]
        shown = f"  {one_line(', '.join(columns))}" if columns else ""
        of = counted(entry["statements"], "statement")
        table = _table(entry, several)
        yield (
            "entry",
            f"{entry['rows']:>{_WIDTH},} rows  {table}  ({of}){shown}",
        )
    yield from _more(own)
    catalog = sum(entry["statements"] for entry in entries if _system(entry["table"]))
    if catalog:
        yield "note", f"  {'':>{_WIDTH}}and PostgreSQL's own catalog, named {catalog:,} times"


def _system(table: str) -> bool:
    return table.startswith(("pg_catalog.", "information_schema."))


def _more(entries: list[dict[str, Any]]) -> Iterator[Line]:
    if len(entries) > ENTRIES_SHOWN:
        yield "note", f"  and {len(entries) - ENTRIES_SHOWN:,} more: --format json has all"


def _table(entry: dict[str, Any], several: bool) -> str:
    table = one_line(entry["table"]) if entry["table"] else "(table not known)"
    return f"{table} in {entry['connection']}/{entry['database']}" if several else table


def _moment(time: str) -> str:
    return f"{time[:10]} {time[11:23]} UTC"
