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
)

SCHEMA = 7

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
    Column("place", _Number, primary_key=True),
    Column("number", BigInteger, nullable=False, unique=True),
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
    Column("written", BigInteger),
    Column("sqlstate", Text),
    Column("text", _Number, nullable=False),
    Column("rest", LargeBinary, nullable=False),
    UniqueConstraint("session", "seq"),
)
"""``place``: block and slot (``blocks.py``), nearly the order in which statements reached the server.
``number``: the order in which the index came to know them, never given twice. ``rest`` holds what is neither
asked for nor changes later (``rows.Rest``); ``written`` are rows that it wrote, as its tag says.
"""

blocks = Table(
    "blocks",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("first_position", BigInteger, nullable=False),
    Column("first_seq", BigInteger, nullable=False),
    Column("slots", Integer, nullable=False),
    Column("statements", Integer, nullable=False),
    Column("began", Text, nullable=False),
    Column("ended", Text, nullable=False),
    Index("blocks_first", "first_position", "first_seq"),
)
"""Each holds the statements from its ``first`` (position, seq) on, up to that of the next. ``slots`` were
given out, ``statements`` are left; they started at ``began`` to ``ended``.
"""

marks = Table(
    "marks",
    metadata,
    Column("block", _Number, primary_key=True),
    Column("kind", Integer, primary_key=True),
    Column("value", BigInteger, primary_key=True),
    Column("bits", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""Which statements of a block have a property (``blocks.Kind``), a bit a slot. All filters together are these
numbers and-ed, so that no combination of them is slow."""

passages = Table(
    "passages",
    metadata,
    Column("place", _Number, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)
"""The words of a block, to be searched (``passages.py``): SQL texts and bound values in lower case. The place
is that of a part of the block."""

grams = Table(
    "grams",
    metadata,
    Column("block", _Number, primary_key=True),
    Column("bits", LargeBinary, nullable=False),
)
"""What a block may contain of words that have no marks, so that most blocks need not be searched."""

words = Table(
    "words",
    metadata,
    Column("value", BigInteger, primary_key=True),
    Column("word", LargeBinary, nullable=False),
    Column("blocks", BigInteger, nullable=False),
)
"""Words that have marks, and in how many blocks: a piece of a word is looked up here."""

activity = Table(
    "activity",
    metadata,
    Column("minute", _Number, primary_key=True),
    Column("identity", Text, primary_key=True),
    Column("connection", Text, primary_key=True),
    Column("statements", BigInteger, nullable=False),
    Column("errors", BigInteger, nullable=False),
    Column("rows_written", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Statements that started in each minute since the epoch; '' where nobody knows whose."""

texts = Table(
    "texts",
    metadata,
    Column("number", _Number, primary_key=True),
    Column("length", Integer, nullable=False),
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
"""Tables that statements name: ``orders`` is looked up here, in any schema."""

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

snapshots = Table(
    "snapshots",
    metadata,
    Column("session", _Number, primary_key=True),
    Column("id", LargeBinary, nullable=False),
    Column("state", LargeBinary, nullable=False),
)
"""What the indexer knew of each open session at ``resume``."""
