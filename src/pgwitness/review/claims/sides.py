"""Claims and recorded statements, each with its form, and as they are shown."""

from __future__ import annotations

import json
from typing import Any

from msgspec import Struct

from pgwitness.review.claims import placeholders
from pgwitness.review.claims.forms import Form, form
from pgwitness.review.claims.model import UNSAID, Claim, ClaimedOutcome, ClaimView, RecordView
from pgwitness.review.claims.values import Value, is_plain, of_json
from pgwitness.review.values import inline, quote
from pgwitness.statements.model import Parameter, Statement

_MISSING = Value(UNSAID, None, True)


class Claimed(Struct):
    claim: Claim
    form: Form
    outcome: ClaimedOutcome | None
    """By its own words, or by the end of the transaction in which it stands."""

    @property
    def sql(self) -> str:
        """With its values in place."""
        return placeholders.fill(self.claim.sql, [shown(value) for value in self.claim.values])

    def view(self) -> ClaimView:
        claim, result = self.claim, self.claim.result
        return ClaimView(claim.number, claim.place, self.sql, result.rows, result.status, self.outcome)


class Recorded(Struct):
    statement: Statement
    form: Form

    @property
    def sql(self) -> str:
        return inline(self.statement)

    def view(self) -> RecordView:
        one = self.statement
        outcome = one.transaction.outcome
        return RecordView(one.session, one.seq, one.started_at, self.sql, one.rows, one.status, outcome)


def claimed(claim: Claim, outcome: ClaimedOutcome | None) -> Claimed:
    values = claim.values

    def value(number: int) -> Value:
        if not 1 <= number <= len(values) or values[number - 1] is UNSAID:
            return _MISSING
        return of_json(values[number - 1])

    return Claimed(claim, form(claim.sql, value), outcome)


def recorded(statement: Statement) -> Recorded:
    given = statement.parameters

    def value(number: int) -> Value:
        return _bound(given[number - 1]) if 1 <= number <= len(given) else _MISSING

    sql = statement.sql
    if statement.truncated and "?" in sql:  # what the index keeps no literals of
        sql = placeholders.bind(sql, None)[0]
    return Recorded(statement, form(sql, value))


def _bound(parameter: Parameter) -> Value:
    if parameter.encoding == "withheld":
        return _MISSING
    if parameter.encoding == "hex" and parameter.value is not None:
        return Value(f"\\x{parameter.value}", parameter.type, True)
    return Value(parameter.value, parameter.type, True)


def shown(value: Any) -> str:
    """A claimed value as SQL."""
    if value is UNSAID:
        return ""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, list) and value and not any(isinstance(each, dict) for each in value):
        return f"ARRAY[{', '.join(shown(each) for each in value)}]"
    return quote(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def told(value: Value) -> str:
    """A value of either side, for who reads what differs."""
    held = value.value
    if held is UNSAID:
        return "(not said)"
    if isinstance(held, list):
        inner = ", ".join(told(each) for each in held)
        text = f"ARRAY[{inner}]"
    elif isinstance(held, dict):
        text = quote(json.dumps(held, ensure_ascii=False))
    elif held is None:
        text = "NULL"
    else:
        text = held if is_plain(value) else quote(str(held))
    return f"{text}::{value.cast}" if value.cast else text
