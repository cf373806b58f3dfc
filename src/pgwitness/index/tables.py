"""The index's tables. All of it is derived from the tape, so a change here only needs a new ``SCHEMA``: an
index of another schema is rebuilt, never migrated.

A session has a short number here, in the order of the tape, because every statement and every index entry
carries it. ``(position, seq)`` is the order in which statements reached the server, across sessions: a
position is one frame of one session. Times are RFC 3339 in UTC with six digits, as in a statement's document,
so they sort as text.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

SCHEMA = 4

metadata = MetaData()

# SQLite numbers rows by itself only in a column that is exactly INTEGER.
_Number = BigInteger().with_variant(Integer(), "sqlite")

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""``schema``; ``text``: how much of statements' texts is kept; ``position``: read up to here; ``resume``:
where a restart reads on, in the segment of the recorder ``instance``.
"""

sessions = Table(
    "sessions",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("id", Text, nullable=False, unique=True),
    Column("identity", Text),
    Column("kind", Text),
    Column("on_behalf_of", Text),
    Column("run", Text),
    Column("connection", Text),
    Column("database", Text),
    Column("user", Text),
    Column("client", Text),
    Column("header", Text, nullable=False),
    Column("started", Text, nullable=False),
    Column("ended", Text),
    Column("end_reason", Text),
    Column("end_detail", Text),
    Column("erased", Text),
    Column("statements", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("rows_written", BigInteger, nullable=False),
    Column("last_activity", Text, nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Index("sessions_identity", "identity"),
    Index("sessions_run", "run"),
    Index("sessions_connection", "connection"),
    Index("sessions_last_activity", "last_activity"),
)

statements = Table(
    "statements",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("session", _Number, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("started", Text, nullable=False),
    Column("duration", BigInteger),
    Column("command", Text),
    Column("status", Text, nullable=False),
    Column("rows", BigInteger),
    Column("transaction", BigInteger, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("reason", Text),
    Column("text", _Number, nullable=False),
    Column("rest", LargeBinary, nullable=False),
    UniqueConstraint("session", "seq"),
    Index("statements_order", "position", "seq"),
    Index("statements_command", "command", "position", "seq"),
)
"""Columns are what is filtered on or changes later (``outcome``, ``reason``); ``rest`` holds the other fields
(``rows.Rest``)."""

FAILED = text("statements.status <> 'ok'")
LARGE_ROWS = 1000
LARGE = text(f"statements.rows >= {LARGE_ROWS}")
"""What is rare, and looked for in trouble: an index of few entries each. A query has to say the condition
literally."""

Index(
    "statements_failed",
    statements.c.position,
    statements.c.seq,
    sqlite_where=text("status <> 'ok'"),
)
Index(
    "statements_large",
    statements.c.position,
    statements.c.seq,
    sqlite_where=text(f"rows >= {LARGE_ROWS}"),
)

texts = Table(
    "texts",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("sql", Text, nullable=False),
)
"""SQL texts. A prepared statement of megabytes that is executed a million times is here once, or a few
times: an equal text may come again, as nothing looks for it but the writer's memory.
"""

table_names = Table(
    "table_names",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

statement_tables = Table(
    "statement_tables",
    metadata,
    Column("table", _Number, primary_key=True),
    Column("session", _Number, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    sqlite_with_rowid=False,
)
"""Which statements name which tables."""

session_events = Table(
    "session_events",
    metadata,
    Column("session", _Number, primary_key=True),
    Column("position", BigInteger, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("at", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("document", Text, nullable=False),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("position", BigInteger, primary_key=True),
    Column("at", Text, nullable=False),
    Column("event", Text, nullable=False),
    Column("document", Text, nullable=False),
)
"""What the recorder said: started, stopped, recovered, login_refused."""

problems = Table(
    "problems",
    metadata,
    Column("position", BigInteger, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("at", Text, nullable=False),
    Column("problem", Text, primary_key=True),
)
"""Where the tape could not be read or made no sense. Never empty in silence: health and ``index status``
show it."""

timeline = Table(
    "timeline",
    metadata,
    Column("time", Text, primary_key=True),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
)
"""For each ten seconds (a time without its last digits), the first and the last position of statements
that started then. It turns a span of time into a span of positions, so that ``--since`` needs no index
of its own over all statements and a listing in order reads only the part it needs. A later statement of
one message starts after its position.
"""

snapshots = Table(
    "snapshots",
    metadata,
    Column("session", _Number, primary_key=True),
    Column("id", LargeBinary, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
"""What the indexer knew of each open session at ``resume``."""
