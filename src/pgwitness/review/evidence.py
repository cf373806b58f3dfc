"""The readable part of an evidence bundle, derived from the session's frames and from nothing else.

The same frames give the same bytes, so whoever verifies a bundle can derive the members again and compare.
What the frames hold is the wire; passwords in statements are redacted here as everywhere outside of it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from pgwitness.review.page import page
from pgwitness.statements.assembler import Frame, SessionAssembler
from pgwitness.statements.model import (
    SessionEnded,
    SessionEvent,
    SessionStarted,
    Statement,
    StatementRecorded,
    TransactionSettled,
)

SESSION: Final = "session.json"
STATEMENTS: Final = "statements.jsonl"
PAGE: Final = "statements.html"


def derive(frames: Iterable[Frame]) -> dict[str, bytes]:
    """``session.json``, ``statements.jsonl`` and ``statements.html`` of one session."""
    session, statements = _read(frames)
    lines = b"".join(msgspec.json.encode(statement) + b"\n" for statement in statements)
    return {
        SESSION: msgspec.json.format(msgspec.json.encode(session), indent=2) + b"\n",
        STATEMENTS: lines,
        PAGE: page(session, statements).encode(),
    }


def _read(frames: Iterable[Frame]) -> tuple[dict[str, Any], list[Statement]]:
    assembler = SessionAssembler()
    session: dict[str, Any] = {"session": None, "started_at": None, "header": {}, "ended": None, "events": []}
    statements: dict[int, Statement] = {}
    for event in (event for frame in frames for event in assembler.feed(frame)):
        if isinstance(event, StatementRecorded):
            statements[event.statement.seq] = event.statement
        elif isinstance(event, TransactionSettled):
            for statement in _of(statements, event):
                statement.transaction.outcome = event.outcome
                statement.transaction.reason = event.reason
        elif isinstance(event, SessionStarted):
            session |= {"session": event.session, "started_at": event.at, "header": event.header}
        elif isinstance(event, SessionEnded):
            session["ended"] = {"at": event.at, "reason": event.reason, "detail": event.detail}
        elif isinstance(event, SessionEvent):
            session["events"].append({"at": event.at, "position": event.position, **event.event})
    session["statements"] = len(statements)
    return session, [statements[seq] for seq in sorted(statements)]


def _of(statements: dict[int, Statement], event: TransactionSettled) -> Iterator[Statement]:
    """Those of the transaction whose outcome was open until now."""
    for seq in range(event.first_seq, event.last_seq + 1):
        statement = statements.get(seq)
        if statement is None or statement.transaction.number != event.number:
            continue
        if statement.transaction.outcome == "open":
            yield statement


README: Final = """\
Evidence of one database session, {session}
{what}

bundle.json        what is in here: the hash of every file, and for every entry its proof
checkpoint         the log's signed statement of its size and root, to which the proofs lead
verifier           the public key of that signature: compare it with one that you have from elsewhere
entries/           the log's entries about this session
chunks/            what was sealed, as it is stored
{contents}
To check it:

    pgwitness verify --bundle {file} --key VERIFIER

or, with Python and its package cryptography only, the script verify_bundle.py of pgwitness's documentation.
It proves that the session's entries are in the log that was signed, that none of its chunks was changed,
removed or reordered, and{claims}.
It cannot prove what was never recorded: docs/threat-model.md tells what each party could and could not do.
"""

_READABLE = """\
frames/            the same, opened: the wire as it was recorded
session.json       who, through which connection, from where, to where, and how it ended
statements.jsonl   the statements, one a line
statements.html    the statements, for people
"""
_WRAPPED = """\
secret.age         the session's secret, encrypted to the auditors: pgwitness bundle open reads it
"""


def readme(session: str, file: str, state: str) -> bytes:
    """``state``: ``open``, ``wrapped`` (auditors have the secret) or ``closed`` (nobody here has)."""
    what = {
        "open": "It holds the session's content and secret: hand it to nobody who may not read the session.",
        "wrapped": "Its content is encrypted: only who has one of the auditors' keys can read it.",
        "closed": "Its content was erased, or its secret is not here: it proves only what was recorded when.",
    }[state]
    contents = {"open": _READABLE, "wrapped": _WRAPPED, "closed": ""}[state]
    claims = (
        " that session.json and statements.* say what its frames say" if state == "open" else " nothing else"
    )
    text = README.format(session=session, file=file, what=what, contents=contents, claims=claims)
    return text.encode()
