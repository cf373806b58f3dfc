"""``pgwitness watch``: does anybody go around the gateway?"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import Column, Format, FormatOption, listing, moment, note
from pgwitness.errors import InvalidError, WitnessError

_HELP = """Look for routes and sessions around the gateway.

Looks at the server of a connection now: sessions that the gateway did not open, statements that the server
counted and the record does not have, other ways in, and features that work behind the wire. What was found
stays known: nothing is reported as new twice, and what is wanted can be accepted by its key.

Exit code 0: nothing; 1: somebody went around the gateway or can (notes and what is accepted do not count); 2:
wrong usage, or the server cannot be looked at.

Example: pgwitness watch orders
"""
_PARTS = {"sessions": "session", "statements": "statements", "routes": "route", "features": "feature"}
FOLLOW_SECONDS = 2.0


def register(app: typer.Typer) -> None:
    app.command("watch", help=_HELP)(watch)


def watch(
    connection: Annotated[str, typer.Argument(metavar="CONNECTION", help="A registered connection.")],
    through: Annotated[
        str | None,
        typer.Option(
            "--as", metavar="CONNECTION", help="Look with this connection, whose role may see more."
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(metavar="PARTS", help="Of sessions,statements,routes,features: only these."),
    ] = None,
    past: Annotated[
        bool, typer.Option("--all", help="Also what is gone, or was accepted; no look now.")
    ] = False,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then print what the background check finds, until Ctrl-C.")
    ] = False,
    accept: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Say that this finding is wanted. Repeatable.")
    ] = None,
    unaccept: Annotated[
        list[str] | None, typer.Option(metavar="KEY", help="Take that back. Repeatable.")
    ] = None,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    parts = _parts(only)
    with _no_answer_is_not_found(), client(state, config) as api:
        if accept or unaccept:
            for keys, undo in ((accept, False), (unaccept, True)):
                if keys:
                    api.post(_path(connection, "findings", "accept"), {"keys": keys, "undo": undo})
            note(f"{len(accept or ()) + len(unaccept or ())} findings changed.")
            return
        if past:
            found = [one for one in _stored(api, connection) if one["kind"] in parts]
            listing(found, _PAST, format, empty="Nothing was ever found.")
            return
        looked = api.post(_path(connection, "watch"), {"through": through, "parts": parts})
        counted = [one for one in looked["findings"] if one["counts"]]
        if format is Format.json:
            listing([looked], (), format)
        else:
            _tell(looked, format)
        if follow:
            _follow(lambda: _stored(api, connection), looked["findings"], format)
    raise typer.Exit(1 if counted else 0)


@contextmanager
def _no_answer_is_not_found() -> Iterator[None]:
    """Exit code 1 says that something was found; what keeps us from looking must not say that."""
    try:
        yield
    except WitnessError as error:
        raise InvalidError(str(error), hint=error.hint) from None


def _path(connection: str, *rest: str) -> str:
    from pgwitness.api.client import path

    return path("connections", connection, *rest)


def _stored(api: Any, connection: str) -> list[dict[str, Any]]:
    return list(api.items("/findings", connection=connection, past=True))


def _parts(only: str | None) -> list[str]:
    if only is None:
        return list(_PARTS.values())
    wanted = [part.strip() for part in only.split(",") if part.strip()]
    unknown = [part for part in wanted if part not in _PARTS]
    if unknown or not wanted:
        raise InvalidError(f"--only: {', '.join(unknown) or 'nothing'} is none of {', '.join(_PARTS)}")
    return [_PARTS[part] for part in wanted]


def _tell(looked: dict[str, Any], format: Format) -> None:
    shown = [one for one in looked["findings"] if one["accepted_at"] is None]
    empty = f"Nothing goes around the gateway to {looked['connection']}, as far as can be seen."
    listing(shown if format is Format.table else looked["findings"], _NOW, format, empty=empty)
    if format is not Format.table:
        return
    accepted = len(looked["findings"]) - len(shown)
    if accepted:
        note(f"{accepted} more are accepted: --all lists them.")
    counted = looked["statements"]
    if counted:
        note(
            f"Statements since {moment(counted['since'])}: {counted['server']} counted by the server, "
            f"{counted['record']} on record, {counted['unrecorded']} unrecorded."
        )
        for text in counted["explained"]:
            note(f"  {text}.")
    for text in looked["limits"]:
        note(f"Not seen: {text}")


def _follow(ask: Callable[[], list[dict[str, Any]]], known: list[dict[str, Any]], format: Format) -> None:
    """Each finding when it is new, comes again, grows or is gone."""
    seen = {one["key"]: _state(one) for one in known}
    while True:
        time.sleep(FOLLOW_SECONDS)
        changed = [one for one in ask() if seen.get(one["key"]) != _state(one)]
        fresh = [one for one in changed if one["gone_at"] is None or one["key"] in seen]
        seen |= {one["key"]: _state(one) for one in changed}
        if fresh:
            listing(fresh, _PAST, Format.jsonl if format is Format.json else format)


def _state(finding: dict[str, Any]) -> tuple[Any, ...]:
    return finding["gone_at"], finding["what"]


_NOW = (
    Column("LEVEL", "level", style="bold"),
    Column("KIND", "kind"),
    Column("FOUND", "what", wrap=True),
    Column("FIRST SEEN", lambda one: moment(one["first_seen"])),
    Column("LAST SEEN", lambda one: moment(one["last_seen"])),
    Column("KEY", "key"),
)
_PAST = (
    *_NOW[:5],
    Column("GONE", lambda one: moment(one["gone_at"])),
    Column("ACCEPTED", lambda one: one["accepted_by"] or ""),
    _NOW[5],
)
