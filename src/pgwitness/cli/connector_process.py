"""``pgwitness connector --gateway … [--join …]``: the process beside PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pgwitness.errors import InvalidError

if TYPE_CHECKING:
    from pgwitness.connector.membership import Membership, MembershipFile
    from pgwitness.connector.process import Plan
    from pgwitness.wire.join_token import JoinToken

DEFAULT_STATE = Path("~/.pgwitness-connector")


def connector(
    context: typer.Context,
    gateway: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", envvar="PGWITNESS_GATEWAY", help="Where the gateway takes connectors."
        ),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN", envvar="PGWITNESS_JOIN", show_envvar=True, help="Join token; needed once."
        ),
    ] = None,
    state: Annotated[
        Path, typer.Option(envvar="PGWITNESS_CONNECTOR_STATE", help="Directory of its key and certificate.")
    ] = DEFAULT_STATE,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST[:PORT]",
            help="What it may dial, whatever the gateway asks; repeatable. `any` lifts the limit. "
            "Default: this machine.",
        ),
    ] = None,
    password_env: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CONNECTION=]VAR",
            help="Variable with the password for connections registered without one; repeatable.",
        ),
    ] = None,
    password_file: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[CONNECTION=]PATH", help="As --password-env, from a file; read for each log-in."
        ),
    ] = None,
    grace: Annotated[
        float, typer.Option(min=0, help="After SIGTERM, seconds that open sessions have to finish.")
    ] = 30,
    relay_threads: Annotated[
        int, typer.Option(min=0, max=256, help="Threads that carry bytes. 0: by the number of cores.")
    ] = 0,
) -> None:
    """Serve as a connector, or administer connectors.

    Beside PostgreSQL, this dials out to the gateway and carries sessions to the databases that --allow names.
    It joins once, with a token of `pgwitness connector add`, then runs with its state directory alone, and
    prints one line of JSON when it is online. SIGTERM or Ctrl-C lets open sessions finish; a second one stops
    at once.

    Example: pgwitness connector --gateway gw.example:7433 --join pgwj_… --allow db.internal:5432
    """
    if context.invoked_subcommand is not None:
        return
    from pgwitness.connector.allowed import Allowed
    from pgwitness.connector.credentials import Credentials
    from pgwitness.connector.membership import MembershipFile
    from pgwitness.connector.process import Plan
    from pgwitness.gateway import logs

    logs.configure()
    file = MembershipFile(state.expanduser().absolute())
    try:
        token = _token(join)
        membership = _membership(file, token, state)
        plan = Plan(
            gateway=_gateway(gateway, membership),
            token=token,
            allowed=Allowed(allow or []),
            credentials=Credentials(password_env or [], password_file or []),
            grace=grace,
            threads=relay_threads,
        )
        asyncio.run(_run(plan, file, membership))
    finally:
        file.release()


async def _run(plan: Plan, file: MembershipFile, membership: Membership | None) -> None:
    from pgwitness.connector.process import run

    def announce(name: str) -> None:
        ready = {"event": "ready", "name": name, "gateway": plan.gateway}
        print(json.dumps(ready, separators=(",", ":")), flush=True)  # noqa: T201 the promised line

    stop, at_once = asyncio.Event(), asyncio.Event()

    def received() -> None:
        (at_once if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    await run(plan, file, membership, announce, stop, at_once)


def _token(text: str | None) -> JoinToken | None:
    from pgwitness.wire.join_token import parse_join_token

    if text is None:
        return None
    token = parse_join_token(text)
    if token is None:
        raise InvalidError(
            "that is not a join token, or only a part of one",
            hint="at the gateway: pgwitness connector add NAME prints one",
        )
    return token


def _membership(file: MembershipFile, token: JoinToken | None, state: Path) -> Membership | None:
    """What was kept; None if it is to join, also anew by another token than the one that it joined by."""
    kept = file.load()
    if kept is not None and (token is None or token.id == kept.token):
        return kept
    if token is None:
        raise InvalidError(
            f"this connector has not joined a gateway: there is no membership in {state}",
            hint="--join TOKEN, with a token that pgwitness connector add NAME prints at the gateway",
        )
    return None


def _gateway(given: str | None, membership: Membership | None) -> str:
    if given is not None:
        return given
    if membership is None:
        raise InvalidError("--gateway HOST:PORT is needed to join", hint="pgwitness connector --help")
    return membership.gateway
