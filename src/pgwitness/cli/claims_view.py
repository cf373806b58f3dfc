"""A claims check on a terminal: the verdict, then side by side what was claimed, what is on record, and what
differs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from pgwitness.cli import text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Document = dict[str, Any]

KINDS: Final = {
    "altered": ("altered", "other literals, values, conditions, columns or tables"),
    "unexecuted": ("claimed, never executed", "nothing like it is on record"),
    "unclaimed": ("executed, not claimed", "on record, and the testimony keeps silent about it"),
    "outcome": ("other outcome", "it did not end as the testimony says"),
    "rows": ("other row count", "the text is the same"),
    "reordered": ("other order", "the text is the same"),
    "unstated": ("values not claimed", "--without-values accepts that"),
    "matched": ("matched", ""),
}
VERDICTS: Final = {
    "matches": ("MATCHES: the testimony is what is on record.", "bold green"),
    "differs": ("DIFFERS: the testimony is not what is on record.", "bold red"),
    "incomplete": ("INCOMPLETE: nobody can say that they match.", "bold yellow"),
}
LONGEST: Final = 1500
SHOWN: Final = 1000


def show(out: Console, summary: Document, findings: Iterable[Document], everything: bool) -> None:
    """``everything``: also what matches, and what does not count."""
    _head(out, summary)
    shown = [each for each in findings if everything or each["counts"]]
    if shown:
        out.print(_table(shown[:SHOWN]))
    if len(shown) > SHOWN:
        out.print(f"and {len(shown) - SHOWN:,} more, in --format json", style="bold")
    for title, lines in (
        ("The record cannot tell all:", summary["incomplete"]),
        (
            "Not read of the testimony:",
            [f"{each['place']}: {each['problem']}" for each in summary["problems"]],
        ),
        ("To know:", summary["notes"]),
    ):
        _list(out, title, lines)
    words, style = VERDICTS[summary["verdict"]]
    out.print(f"\n{words}", style=style)


def _head(out: Console, summary: Document) -> None:
    what = " ".join(f"{name} {text.one_line(value)}" for name, value in summary["scope"].items())
    claims = text.counted(summary["claims"], "claim")
    statements = text.counted(summary["statements"], "statement")
    out.print(f"{what}: {claims} ({summary['format']}), {statements} on record", soft_wrap=True)
    for kind, number in summary["counts"].items():
        name, meaning = KINDS[kind]
        style = "green" if kind == "matched" else "red"
        out.print(f"  {number:>7,}  {name}{f': {meaning}' if meaning else ''}", style=style, soft_wrap=True)
    apart = sum(summary["apart"].values())
    if apart:
        out.print(f"  {apart:>7,}  apart: drivers' own, or nothing that ran (--all shows them)", style="dim")
    out.print()


def _list(out: Console, title: str, lines: list[str]) -> None:
    if lines:
        out.print(f"\n{title}", style="bold")
        for line in lines[:20]:
            out.print(f"  {text.one_line(line)}", style="yellow", soft_wrap=True)
        if len(lines) > 20:
            out.print(f"  and {len(lines) - 20:,} more")


def _table(findings: list[Document]) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", show_lines=True)
    table.add_column("claimed", ratio=4, overflow="fold")
    table.add_column("recorded", ratio=4, overflow="fold")
    table.add_column("what differs", ratio=3, overflow="fold")
    for finding in findings:
        table.add_row(_claimed(finding["claim"]), _recorded(finding["record"]), _differs(finding))
    return table


def _claimed(claim: Document | None) -> Text:
    from rich.text import Text

    if claim is None:
        return Text("—", "dim")
    said = [text.one_line(claim["place"])]
    said += [f"{claim['rows']:,} rows"] if claim["rows"] is not None else []
    said += [{"ok": "success", "error": "failure"}[claim["status"]]] if claim["status"] else []
    said += [claim["outcome"].replace("_", " ")] if claim["outcome"] else []
    return Text.assemble(
        (f"{claim['number']}  ", "bold"), _sql(claim["sql"]), "\n", (" · ".join(said), "dim")
    )


def _recorded(record: Document | None) -> Text:
    from rich.text import Text

    if record is None:
        return Text("—", "dim")
    became = [text.short(record["session"]), text.clock(record["at"])]
    became += [f"{record['rows']:,} rows"] if record["rows"] is not None else []
    became += [record["status"]] if record["status"] != "ok" else []
    became += [record["outcome"].replace("_", " ")]
    return Text.assemble(
        (f"{record['seq']}  ", "bold"), _sql(record["sql"]), "\n", (" · ".join(became), "dim")
    )


def _differs(finding: Document) -> Text:
    from rich.text import Text

    name = KINDS[finding["kind"]][0]
    style = "bold red" if finding["counts"] else "green" if finding["kind"] == "matched" else "dim"
    parts: list[Any] = [(name, style)]
    for each in finding["differences"]:
        parts += ["\n", (f"{text.one_line(each['what'])}: ", "bold")]
        parts += [f"claimed {_part(each['claimed'])}, recorded {_part(each['recorded'])}"]
    for line in [*(["a driver's own"] if finding["own"] else []), *finding["notes"]]:
        parts += ["\n", (text.one_line(line), "dim")]
    return Text.assemble(*parts)


def _part(words: str | None) -> str:
    return "nothing" if words is None else text.one_line(words)


def _sql(sql: str) -> str:
    shown = text.visible(sql).strip()
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "…"
