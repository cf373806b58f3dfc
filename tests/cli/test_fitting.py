"""Tables on terminals of any width."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.cli import run
from pgwitness.cli.fitting import GAP, Span, fit
from support import tapes
from support.dialogue import answers, extended, sync

ONE = str(tapes.session_id(1))
ROWS = 1_234_567
LONG = "x" * 200_000


@pytest.fixture
def at_width(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """A command's table at that width, or into a pipe."""
    one = tapes.dialogue(
        1, identity="an-agent-with-a-very-long-name", connection="orders-of-the-eu-west-region"
    )
    one.client(extended("UPDATE orders SET status = $1 WHERE region = $2", (b"void", b"7"), (25, 23)), sync())
    one.server(answers(f"UPDATE {ROWS}"))
    one.run("BEGIN", "BEGIN", b"T").run(f"INSERT INTO notes VALUES ('{LONG}')", "INSERT 0 40000", b"T")
    one.run("ROLLBACK", "ROLLBACK").ended()
    tapes.record(tmp_path, one)
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN", "PGWITNESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGWITNESS_STATE", str(tmp_path))

    def table(width: int | None, *arguments: str) -> str:
        if width is None:
            monkeypatch.delenv("COLUMNS", raising=False)
        else:
            monkeypatch.setenv("COLUMNS", str(width))
        assert run(arguments) == 0
        return capsys.readouterr().out

    return table


def widest(table: str) -> int:
    return max(len(line.rstrip()) for line in table.splitlines())


@pytest.mark.parametrize("width", [80, 100, 160, None])
def test_the_statement_gives_way_and_what_counts_stays(
    at_width: Callable[..., str], width: int | None
) -> None:
    table = at_width(width, "statements")
    assert widest(table) <= (width or 200)
    update, insert = (
        next(line for line in table.splitlines() if verb in line) for verb in ("UPDATE", "INSERT")
    )
    for line, rows, outcome in ((update, "1,234,567", "committed"), (insert, "40,000", "rolled back")):
        assert ONE[-8:] in line and rows in line and outcome in line
    assert ("UPDATE orders SET status = 'void' WHERE region = 7" in table) == (width is None or width >= 160)


@pytest.mark.parametrize("width", [80, 100, None])
def test_ids_are_whole(at_width: Callable[..., str], width: int | None) -> None:
    sessions = at_width(width, "session", "list")
    assert ONE[-8:] in sessions and "1,234,567" in sessions and widest(sessions) <= (width or 200)
    at_width(width, "identity", "add", "an-agent-with-a-very-long-name")
    at_width(
        width, "token", "issue", "an-agent-with-a-very-long-name", "--on-behalf-of", "somebody@example.org"
    )
    token = json.loads(at_width(width, "token", "list", "--format", "jsonl"))["id"]
    tokens = at_width(width, "token", "list")
    assert token in tokens and widest(tokens) <= (width or 200)


def test_what_is_left_out_is_said(at_width: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    at_width(80, "session", "list")
    run(["session", "list"])
    assert "On a wider terminal also: run, " in capsys.readouterr().err


spans = st.lists(
    st.builds(Span, st.integers(1, 60), st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=9
)


@given(spans, st.integers(1, 300))
def test_nothing_is_cut_that_must_not_be(wanted: list[Span], room: int) -> None:
    widths = fit(wanted, room)
    shown = [(span, width) for span, width in zip(wanted, widths, strict=True) if width]
    assert all(min(span.least, span.natural) <= width <= span.natural for span, width in shown)
    assert all(span.spare for span, width in zip(wanted, widths, strict=True) if not width)
    whole = sum(widths) + GAP * (len(shown) - 1)
    uncut = sum(span.natural for span in wanted) + GAP * (len(wanted) - 1)
    assert whole == uncut if uncut <= room else whole <= max(room, sum(width for _, width in shown) + whole)
    if whole > room:
        assert all(width <= span.least and not span.spare for span, width in shown)
    elif whole < room and len(shown) == len(wanted):
        assert whole == uncut
