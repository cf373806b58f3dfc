"""One recorded session that testimonies are compared with: an agent that made more than its mistake."""

from pgwitness.index.filters import Filters
from pgwitness.index.store import IndexReader
from pgwitness.review.claims.check import Rules, compare
from pgwitness.review.claims.model import Finding, Summary
from pgwitness.review.claims.reading import read_testimony
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import Dialogue, answers, complete, error, extended, ready, sync
from support.testimonies import Told

SESSION = str(tapes.session_id(1))
_OIDS = {str: 25, int: 23}

UPDATE = "UPDATE orders SET status = $1 WHERE region = $2 AND cents < $3"
TOUCH = "UPDATE orders SET touched = $1 WHERE id = $2"

STORY = [
    Told("SELECT id, cents FROM orders WHERE region = $1 ORDER BY id LIMIT 2", ["west"], 2),
    Told(UPDATE, ["void", "west", 5000], 40000),
    Told(TOUCH, ["agent", 11], 1),
    Told(TOUCH, ["agent", 12], 1),
    Told(TOUCH, ["agent", 13], 0),
    Told("SELECT note FROM nowhere WHERE id = 9", [], None, '42P01 relation "nowhere" does not exist'),
    Told("DELETE FROM audit WHERE at < '2026-01-01' AND kind IN (1, 2)", [], 7),
    Told("INSERT INTO notes (author, body) VALUES ($1, $2)", ["agent", "it's done; 100%"], 1),
    Told("WITH gone AS (DELETE FROM carts WHERE age > $1 RETURNING id) SELECT count(*) FROM gone", [90], 1),
    Told("ALTER TABLE orders ADD COLUMN checked boolean DEFAULT false"),
    Told("SELECT status, count(*) FROM orders GROUP BY status", [], 3),
]
"""What was run beside what the driver sends by itself, as an honest agent tells it."""


def talk_of(story: list[Told], number: int = 1, **header: object) -> Dialogue:
    """The session: each statement in a transaction of its own, as a driver makes it."""
    talk = tapes.dialogue(number, **header).run("SET application_name TO 'agent'", "SET")
    talk.run("SELECT t.oid FROM pg_catalog.pg_type t WHERE t.typname = 'hstore'", "SELECT 0")
    for told in story:
        talk.client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
        oids = tuple(_OIDS[type(value)] for value in told.values)
        bound = tuple(str(value).encode() for value in told.values)
        if told.error:
            talk.client(query(told.sql)).server(error("42P01"), ready(b"E")).run("ROLLBACK", "ROLLBACK")
            continue
        if told.values:
            talk.client(extended(told.sql, bound, oids), sync()).server(answers(tag(told), b"T"))
        else:
            talk.client(query(told.sql)).server(complete(tag(told)), ready(b"T"))
        talk.run("COMMIT", "COMMIT")
    return talk


def tag(told: Told) -> str:
    word = told.sql.split()[0]
    if word in ("ALTER", "TRUNCATE"):
        return "ALTER TABLE"
    name = "SELECT" if word == "WITH" else "INSERT 0" if word == "INSERT" else word
    return f"{name} {told.rows}"


def check(
    record: IndexReader,
    content: bytes,
    *,
    rules: Rules | None = None,
    format: str = "auto",
    session: str = SESSION,
) -> tuple[Summary, list[Finding]]:
    testimony = read_testimony(content, format)
    return compare(record, Filters(session=session), testimony, rules or Rules())


def line(finding: Finding) -> str:
    """What a finding is about, in one line."""
    seq = (
        f"statement {finding.record.seq}"
        if finding.record
        else f"claim {finding.claim and finding.claim.number}"
    )
    return f"{finding.kind} {seq}: " + "; ".join(
        f"{each.what}: {each.claimed} / {each.recorded}" for each in finding.differences
    )


def counting(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.counts]
