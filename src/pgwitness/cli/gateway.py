"""``pgwitness gateway``: the server that agents connect to."""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer

from pgwitness.config import Settings, load

if TYPE_CHECKING:
    from pgwitness.api.services import Services
    from pgwitness.gateway.server import Gateway
    from pgwitness.watch.service import Watch

_EXAMPLE = """Serve PostgreSQL clients and record every statement they send.

Prints one line of JSON when it serves. SIGTERM or Ctrl-C lets statements that run come to their end, for 30
seconds at most (limits.drain_seconds); a transaction whose client is idle is rolled back. A second one stops
at once.

Example: pgwitness gateway --state /var/lib/pgwitness --host 0.0.0.0
"""


def register(app: typer.Typer) -> None:
    app.command("gateway", help=_EXAMPLE)(gateway)


def gateway(
    state: Annotated[Path | None, typer.Option(help="Directory of everything that pgwitness keeps.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Address for PostgreSQL clients and connectors. Default 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port for PostgreSQL clients; 0 picks a free one. Default 7432.")
    ] = None,
    tunnel_port: Annotated[
        int | None, typer.Option(help="Port for connectors; 0 picks a free one. Default 7433.")
    ] = None,
    http_host: Annotated[str | None, typer.Option(help="Address of the API. Default 127.0.0.1.")] = None,
    http_port: Annotated[
        int | None, typer.Option(help="Port of the API; 0 picks a free one. Default 7480.")
    ] = None,
) -> None:
    settings = load(
        config,
        state=state,
        host=host,
        port=port,
        tunnel_port=tunnel_port,
        http_host=http_host,
        http_port=http_port,
    )
    _check_recipients(settings)
    _check_sinks(settings)
    asyncio.run(_run(settings, config))


def _check_recipients(settings: Settings) -> None:
    """Now, and not when the sealer finds out. Raises InvalidError."""
    if settings.seal.recipients:
        from pgwitness.record.recipients import parse_recipient

        for recipient in settings.seal.recipients:
            parse_recipient(recipient)


def _check_sinks(settings: Settings) -> None:
    """Now, and not when their process finds out. Raises UnavailableError."""
    if settings.sinks:
        from pgwitness.sinks.places.opening import open_place

        for sink in settings.sinks.values():
            open_place(sink).close()


async def _run(settings: Settings, config: Path | None) -> None:
    from pgwitness.api.app import create_app
    from pgwitness.api.housekeeping import Housekeeping
    from pgwitness.api.services import Services, open_services
    from pgwitness.gateway import logs
    from pgwitness.gateway.server import Gateway
    from pgwitness.web.app import create_site

    logs.configure()
    services = await asyncio.to_thread(open_services, settings)
    _warn_of_a_lost_key(services)

    watches: list[Watch] = []
    chores: list[Housekeeping] = []

    def watching(running: Gateway) -> Watch:
        watches.append(_watch(settings, services, running))
        return watches[-1]

    def make_apps(running: Gateway) -> tuple[Any, Any]:
        shared = Services(
            settings,
            services.catalog,
            services.directory,
            services.index,
            live=running.registry,
            online=running.tunnel,
            watch=watching(running),
            record_event=running.recorder.record,
            postgres_address=(running.listener.host, running.listener.port),
        )
        chores.append(Housekeeping(shared))
        return create_site(shared), create_app(shared, local=True)

    running = Gateway(settings, services.directory, make_apps=make_apps, config=config)
    try:
        stop, at_once = _signals()
        await running.start()
        for watch in watches:
            watch.start()
        for chore in chores:
            chore.start()
        print(json.dumps(running.ready, separators=(",", ":")), flush=True)  # noqa: T201 the promised line
        await stop.wait()
        for watch in watches:
            await watch.stop()
        for chore in chores:
            await chore.stop()
        await running.stop(at_once)
    finally:
        services.close()


def _warn_of_a_lost_key(services: Services) -> None:
    if locked := services.catalog.connections.locked():
        structlog.get_logger("pgwitness.catalog").error(
            "passwords_unreadable",
            connections=locked,
            advice="they were encrypted under another secret key: put that one back, or set the passwords "
            "again with: pgwitness connection update NAME --password-stdin",
        )


def _watch(settings: Settings, services: Services, running: Gateway) -> Watch:
    """Ready to be started, on the gateway's own loop and by its own ways to servers."""
    from pgwitness.watch.place import Tools
    from pgwitness.watch.recorded import has_session
    from pgwitness.watch.service import Habits, Watch
    from pgwitness.watch.watcher import Means

    threads = itertools.cycle(range(running.engine.threads))
    recorder = running.recorder
    begun = recorder.tape.position
    tools = Tools(
        dialler=running.tunnel,
        openings=running.openings,
        record=recorder.record,
        recorded=lambda pid, began: asyncio.to_thread(has_session, services.index, pid, began, begun),
        worker=lambda: next(threads),
    )
    wanted = settings.watch
    watch = Watch(
        services.catalog,
        Means(
            tools=tools,
            findings=services.catalog.findings,
            state=settings.state,
            position=lambda: recorder.tape.position,
            note=recorder.note,
            flood=recorder.refused,
            connections=lambda user, boot: watch.siblings(user, boot),
        ),
        Habits(wanted.interval_seconds, wanted.rest_seconds, wanted.expected_roles, wanted.through),
    )
    return watch


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """(set by the first signal to stop, set by the second)"""
    first, second = asyncio.Event(), asyncio.Event()

    def received() -> None:
        (second if first.is_set() else first).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    return first, second
