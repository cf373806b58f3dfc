"""A session as one HTML page: no script, no style sheet, no image and no request to anywhere.

Everything in it is an agent's text, so all of it is escaped, and the page forbids itself to load or run
anything.
"""

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any

from pgwitness.review.values import pieces
from pgwitness.statements.model import Statement

_CONTROLS = {
    code: f"\\x{code:02x}" for code in [*range(0x20), 0x7F, *range(0x80, 0xA0)] if code not in (9, 10)
}
_CONTROLS |= {code: f"\\u{code:04x}" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
"""Control characters and those that turn the direction of text, shown for what they are."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem }
body { color: #1a2330 }
h1 { font-size: 1.4rem; margin-bottom: 0 } p { margin: .3rem 0 }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.2rem; margin: 1rem 0 }
dt { color: #5b6675 } dd { margin: 0 }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.2rem }
caption { text-align: left; color: #5b6675; padding: .4rem 0 }
td, th { vertical-align: top; text-align: left; padding: .35rem .6rem; border-top: 1px solid #dde3ea }
th { color: #5b6675; font-weight: normal }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: 13px/1.45 ui-monospace, monospace }
.n { text-align: right; color: #5b6675 } b { color: #0b6b8a; font-weight: 600 }
.error, .cancelled, .rolled_back { color: #a3231f } .committed { color: #1c6b3c }
.skipped, .unfinished, .open, .in_doubt { color: #8a5a00 }
@media print { body { margin: 0 } }
"""


_HEAD = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width">
<title>Session {name}</title>
<style>{style}</style>
</head>
<body>
<h1>Session {name}</h1>
<p>Derived from the recorded frames; <code>pgwitness verify --bundle</code> derives it again.</p>
"""
_ROW = """\
<tr><td class="n">{seq}</td><td>{time}</td><td><pre>{sql}</pre></td>
<td class="{status}">{answer}</td><td class="{outcome}" title="{reason}">{words}</td></tr>
"""
_TITLES = ("#", "time (UTC)", "statement, with its values", "answer", "outcome")


def page(session: dict[str, Any], statements: Sequence[Statement]) -> str:
    """``session`` as in ``session.json``."""
    return "".join(_page(session, statements))


def _page(session: dict[str, Any], statements: Sequence[Statement]) -> Iterator[str]:
    yield _HEAD.format(name=_shown(session["session"]), style=_STYLE)
    yield "<dl>\n"
    for term, value in _facts(session):
        if value:
            yield f"<dt>{escape(term)}</dt><dd>{_shown(value)}</dd>\n"
    yield "</dl>\n"
    for number, group in groupby(statements, key=lambda each: each.transaction.number):
        yield from _transaction(number, list(group))
    yield "</body>\n</html>\n"


def _facts(session: dict[str, Any]) -> Iterator[tuple[str, str]]:
    header, ended = session["header"], session["ended"]
    client, upstream = header.get("client") or {}, header.get("upstream") or {}
    yield "identity", _joined(header.get("identity"), _bracketed(header.get("kind")))
    yield "on behalf of", _joined(header.get("on_behalf_of"))
    yield "token", _joined(header.get("token"))
    yield (
        "claims of the client",
        ", ".join(f"{name}: {value}" for name, value in (header.get("claims") or {}).items()),
    )
    yield "connection", _joined(header.get("connection"), _bracketed(f"database {header.get('database')}"))
    yield "client", _joined(client.get("address"), client.get("authentication"))
    yield "server", _joined(upstream.get("address"), _bracketed(f"as {header.get('user')}"))
    yield "connector", _joined(upstream.get("connector"))
    yield "started", _joined(session["started_at"])
    yield (
        "ended",
        _joined(ended["at"], ended["reason"], ended["detail"]) if ended else "not when this was made",
    )
    yield "statements", str(session["statements"])
    for event in session["events"]:
        rest = {name: value for name, value in event.items() if name not in ("at", "position", "event")}
        yield f"event {event['at']}", _joined(event.get("event"), *(f"{name}: {rest[name]}" for name in rest))


def _transaction(number: int, statements: list[Statement]) -> Iterator[str]:
    yield f"<table>\n<caption>transaction {number}</caption>\n"
    yield f"<tr>{''.join(f'<th>{title}</th>' for title in _TITLES)}</tr>\n"
    for each in statements:
        transaction = each.transaction
        yield _ROW.format(
            seq=each.seq,
            time=_shown(each.started_at[11:26]),
            sql=_sql(each),
            status=each.status,
            answer=_answer(each),
            outcome=transaction.outcome,
            reason=_shown(transaction.reason),
            words=transaction.outcome.replace("_", " "),
        )
    yield "</table>\n"


def _sql(statement: Statement) -> str:
    shown = pieces(statement.sql, statement.parameters)
    text = "".join(f"<b>{_shown(piece)}</b>" if bound else _shown(piece) for piece, bound in shown)
    return text + (" …<br>not whole here: the frames have it" if statement.truncated else "")


def _answer(statement: Statement) -> str:
    if statement.status in ("error", "cancelled"):
        return _shown(_joined(statement.sqlstate, statement.error, statement.error_detail))
    lines = [statement.tag or statement.status]
    if statement.result:
        kept = "" if statement.result.complete else f", {statement.result.rows_recorded} of them recorded"
        lines.append(f"{statement.rows} rows{kept}")
    if statement.copy:
        lines.append(f"COPY {statement.copy.direction}, {statement.copy.bytes} bytes")
    if statement.duration_us is not None:
        lines.append(f"{statement.duration_us / 1000:.3f} ms")
    return "<br>".join(_shown(line) for line in lines)


def _joined(*parts: Any) -> str:
    return " ".join(str(part) for part in parts if part)


def _bracketed(text: Any) -> str:
    return f"({text})" if text else ""


def _shown(text: Any) -> str:
    return escape(str(text or "").translate(_CONTROLS))
