"""``pgwitness session hold``, ``release`` and ``erase``: what is to stay, and what is to go for good."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pgwitness.api.client import path
from pgwitness.cli.options import Config, State, client
from pgwitness.cli.output import note
from pgwitness.errors import InvalidError

Id = Annotated[str, typer.Argument(metavar="ID", help="The session's id, or a unique head or tail of it.")]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why. It stays in the record.")]


def register(app: typer.Typer) -> None:
    """As commands of ``pgwitness session``."""
    for command in (hold, release, erase):
        app.command(command.__name__)(command)


def hold(session: Id, reason: Reason, state: State = None, config: Config = None) -> None:
    """Hold a session: until it is released, nobody can erase it, and retention passes it over.

    Example: pgwitness session hold 8f3e21ab --reason "incident 17, legal"
    """
    with client(state, config) as api:
        held = api.post(path("sessions", session, "hold"), {"reason": reason})
    note(f"session {held['session']} is held")


def release(session: Id, reason: Reason, state: State = None, config: Config = None) -> None:
    """Release a session that was held.

    Example: pgwitness session release 8f3e21ab --reason "incident 17 is closed"
    """
    with client(state, config) as api:
        released = api.post(path("sessions", session, "release"), {"reason": reason})
    note(f"session {released['session']} is not held any more")


def erase(
    session: Id,
    reason: Reason,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    state: State = None,
    config: Config = None,
) -> None:
    """Erase what an ended session did, for good: its key is destroyed, and its content leaves the index.

    That it was there, whose it was, who erased it and why stays in the record, and verification says so.

    Example: pgwitness session erase 8f3e21ab --reason "GDPR request 17" --yes
    """
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidError("erasing cannot be undone", hint="--yes says that you know")
        typer.confirm(f"Erase session {session}? This cannot be undone", abort=True, err=True)
    with client(state, config) as api:
        erased = api.post(path("sessions", session, "erase"), {"reason": reason})
    note(f"session {erased['session']} is being erased: pgwitness session show tells when it is done")
