"""What commands print: every listing through ``listing``, every single thing through ``detail``, in
four formats.

Results go to standard output and remarks to standard error, so that a pipe gets results only. ``json``,
``jsonl`` and ``csv`` hold the documents as they are, but that csv has a ' before what a spreadsheet would
compute; a table is for people, and nothing in it can steer their terminal.
"""

from __future__ import annotations

import csv
import itertools
import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pgwitness.cli import text
from pgwitness.cli.fitting import GAP, Span, fit
from pgwitness.review.cells import harmless

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

Document = Mapping[str, Any]

PIPED_WIDTH = 200
"""Of a table into a pipe or a file: one long statement must not make every line as long."""
_NARROWEST_WRAPPED = 20


class Format(StrEnum):
    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"


FormatOption = Annotated[Format, typer.Option("--format", help="How to print it.", show_choices=True)]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, or a line of a single thing."""

    title: str
    cell: str | Callable[[Any], object]
    """A field's name, or what makes the cell of a document: text, or a Rich text that is safe already."""
    style: str = ""
    right: bool = False
    wrap: bool = False
    """On a narrow terminal it goes on in further lines."""
    least: int | None = None
    """On a narrow terminal it is cut, down to this width. Without: never, as ids and numbers must not be."""
    spare: int = 0
    """On a terminal that is too narrow all the same it is left out, 1 before 2. 0: never."""


def listing(
    documents: Iterable[Document], columns: Sequence[Column], format: Format, *, empty: str = "Nothing found."
) -> None:
    """Print documents. All formats but the table print each as it comes, and need memory for one."""
    match format:
        case Format.table:
            _table(list(documents), columns, empty)
        case Format.json:
            _json_array(documents)
        case Format.jsonl:
            for document in documents:
                _line(_compact(document))
        case Format.csv:
            _csv(documents)


def detail(document: Document, columns: Sequence[Column], format: Format) -> None:
    """Print one document; as a table, one line a column."""
    match format:
        case Format.table:
            width = max(len(column.title) for column in columns)
            out = console()
            for column in columns:
                label = f"{column.title:<{width}}  "
                out.print(_styled(label, "dim").append_text(_cell(document, column)), soft_wrap=True)
        case Format.json:
            _line(json.dumps(document, ensure_ascii=False, indent=2))
        case Format.jsonl:
            _line(_compact(document))
        case Format.csv:
            _csv([document])


def note(message: str) -> None:
    """A remark for who is watching, on standard error."""
    print(message, file=sys.stderr)  # noqa: T201


def console() -> Console:
    """Standard output for people. Into a pipe or a file, lines are as long as they are."""
    from rich.console import Console

    return Console(width=None if _sized() else 10_000, highlight=False, markup=False, emoji=False)


def room() -> int:
    """The width that a table may have."""
    return console().width if _sized() else PIPED_WIDTH


def _sized() -> bool:
    return sys.stdout.isatty() or "COLUMNS" in os.environ


def moment(value: object) -> str:
    """A time of the API as a person reads it: UTC, to the second."""
    return f"{str(value)[:19].replace('T', ' ')}Z" if value else ""


def names(value: object) -> str:
    """A list of names, or ``any``."""
    return ", ".join(str(name) for name in value) if isinstance(value, list) else str(value or "")


def yes(value: object) -> str:
    return "yes" if value else "no"


def _table(documents: list[Document], columns: Sequence[Column], empty: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    if not documents:
        note(empty)
        return
    rows = [[_cell(document, column) for column in columns] for document in documents]
    width = room()
    widths = fit([_span(column, [row[n] for row in rows]) for n, column in enumerate(columns)], width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for column, each in zip(columns, widths, strict=True):
        if each:
            table.add_column(
                "\n".join(textwrap.wrap(column.title, each)),
                style=column.style,
                justify="right" if column.right else "left",
                width=each,
                no_wrap=not column.wrap,
                overflow="fold" if column.wrap else "ellipsis",
            )
    for row in rows:
        table.add_row(*(cell for cell, each in zip(row, widths, strict=True) if each))
    whole = max(width, sum(widths) + GAP * len(widths))
    Console(width=whole, highlight=False, markup=False, emoji=False).print(table)
    left_out = [column.title for column, each in zip(columns, widths, strict=True) if not each]
    if left_out:
        note(f"On a wider terminal also: {', '.join(left_out)}.")


def _span(column: Column, cells: Sequence[Text]) -> Span:
    """A title of several words may stand on several lines, as high as it takes."""
    content = max(cell.cell_len for cell in cells)
    title = max(len(word) for word in column.title.split()) if column.title else 0
    natural = max(content, len(column.title))
    if column.wrap:
        least = max(title, _NARROWEST_WRAPPED)
    elif column.least is not None:
        least = max(title, column.least)
    else:
        least = max(content, title)
    return Span(natural, least, column.spare)


def _cell(document: Document, column: Column) -> Text:
    from rich.text import Text

    value = document.get(column.cell) if isinstance(column.cell, str) else column.cell(document)
    if isinstance(value, Text):
        return value
    return Text("" if value is None else text.one_line(str(value)))


def _styled(label: str, style: str) -> Text:
    from rich.text import Text

    return Text().append(label, style)


def _json_array(documents: Iterable[Document]) -> None:
    items = iter(documents)
    first = next(items, None)
    if first is None:
        _line("[]")
        return
    separator = "["
    for document in itertools.chain([first], items):
        body = json.dumps(document, ensure_ascii=False, indent=2).replace("\n", "\n  ")
        _write(f"{separator}\n  {body}")
        separator = ","
    _line("\n]")


def _csv(documents: Iterable[Document]) -> None:
    """The fields of the first document are the columns; a field that is a list or an object is JSON."""
    items = iter(documents)
    first = next(items, None)
    if first is None:
        return
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(first)
    writer.writerows(_csv_rows(itertools.chain([first], items), list(first)))


def _csv_rows(documents: Iterable[Document], fields: list[str]) -> Iterator[list[str]]:
    for document in documents:
        yield [_csv_cell(document.get(field)) for field in fields]


def private(path: str, flags: int) -> int:
    """``open``'s opener for what holds a session's content: a new file is its owner's alone."""
    return os.open(path, flags, 0o600)


def _csv_cell(value: object) -> str:
    if value is None:
        return ""
    return str(harmless(value)) if isinstance(value, str) else _compact(value)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _line(line: str) -> None:
    _write(line + "\n")


def _write(piece: str) -> None:
    sys.stdout.write(piece)
