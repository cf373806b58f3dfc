"""Logs with one record a statement: JSON Lines with a field for SQL, and CSV with a column for it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any, Final

from pgwitness.errors import InvalidError
from pgwitness.review.claims.arguments import SURE, looks_like_sql, parameters_of
from pgwitness.review.claims.documents import MAX_PROBLEMS, Documents
from pgwitness.review.claims.model import Problem, Said, Testimony
from pgwitness.review.claims.results import outcome_of, result_of

FIELDS: Final = (*SURE, "text", "command", "stmt", "query_text")
"""Where SQL is looked for, the first that there is. One that is named by the reader goes before all."""
CSV_FIELD_LIMIT: Final = 32 << 20


def read_records(documents: Documents, field: str | None) -> Testimony | None:
    """None if no record has such a field. Raises InvalidError if one was named and is in none."""
    testimony = Testimony("jsonl", problems=list(documents.problems))
    for document in documents.items:
        rows = document.value if isinstance(document.value, list) else [document.value]
        for at, record in enumerate(rows):
            place = (
                f"line {document.line}" if documents.lines else f"[{at}]" if len(rows) > 1 else "the document"
            )
            if not isinstance(record, dict):
                testimony.problems.append(Problem(place, "no JSON object"))
            elif not _take(testimony, place, record, field):
                testimony.problems.append(Problem(place, _missing(field)))
    if testimony.said:
        return testimony
    if field is not None:
        raise InvalidError(f"no record of the testimony has a field {field!r} with SQL")
    return None


def _take(testimony: Testimony, place: str, record: dict[str, Any], field: str | None) -> bool:
    sql = _sql(record, field)
    if sql is None:
        return False
    outcome = outcome_of(record)
    beside = {name: value for name, value in record.items() if name not in (*SURE, field)}
    inner = record.get("result")
    given = parameters_of(record)
    if isinstance(inner, dict) and "rows_recorded" in inner:
        beside.pop("result")  # of our own documents: what was kept, not what came back
    testimony.said.append(Said(place, sql, given, result_of(beside), outcome))
    return True


def _sql(record: Mapping[str, Any], field: str | None) -> str | None:
    if field is not None:
        value: Any = record
        for part in [field] if field in record else field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, str) and value.strip() else None
    for name in FIELDS:
        value = record.get(name)
        if isinstance(value, str) and value.strip() and (name in SURE or looks_like_sql(value)):
            return value
    return None


def _missing(field: str | None) -> str:
    return f"no field {field!r} with SQL" if field else "no field with SQL (--field names it)"


def read_csv(text: str, field: str | None) -> Testimony | None:
    """None if its first line is no header with a column for SQL. Raises InvalidError as ``read_records``."""
    lines = text.lstrip("\ufeff")
    head = next(csv.reader([lines.split("\n", 1)[0]]), [])
    column = field if field in head else next((name for name in FIELDS if name in head), None)
    if column is None or (field is not None and column != field):
        if field is not None and len(head) > 1:
            raise InvalidError(
                f"the testimony has no column {field!r}: its columns are {', '.join(head)[:200]}"
            )
        return None
    testimony = Testimony("csv")
    reader = csv.DictReader(io.StringIO(lines, newline=""), strict=True)
    try:
        for record in reader:
            _row(testimony, f"line {reader.line_num}", record, column)
    except csv.Error as error:
        testimony.problems.append(Problem(f"line {reader.line_num}", f"no CSV from here on: {error}"))
    if len(testimony.problems) > MAX_PROBLEMS:
        raise InvalidError(f"more than {MAX_PROBLEMS} lines of the testimony have no SQL")
    return testimony


def _row(testimony: Testimony, place: str, record: dict[str | Any, Any], column: str) -> None:
    sql = record.get(column)
    if None in record or None in record.values():
        testimony.problems.append(Problem(place, "not as many columns as the header has"))
    elif not sql or not sql.strip():
        testimony.problems.append(Problem(place, f"nothing in column {column}"))
    else:
        beside = {
            name: _number(value)
            for name, value in record.items()
            if name != column and value not in (None, "")
        }
        outcome = outcome_of(beside)
        testimony.said.append(Said(place, sql, parameters_of(beside), result_of(beside), outcome))


def _number(value: str) -> Any:
    return int(value) if value.isdecimal() else value
