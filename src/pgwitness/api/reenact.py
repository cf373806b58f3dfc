"""Routes of re-enactment, which runs elsewhere, where the copy is reached: the session's frames to run again,
and whether a place is one that must not be run against.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from pgwitness.api import check
from pgwitness.api.access import May, Reader, ReaderHere
from pgwitness.api.review import Current
from pgwitness.api.services import Services
from pgwitness.catalog.models import ANY, Connection
from pgwitness.review.frames import packed_frames

_WHICH: Final = """
    SELECT system_identifier::text, extract(epoch FROM pg_postmaster_start_time())::text
    FROM pg_control_system()
"""
_GATEWAY: Final = "the gateway itself"
_HERE: Final = "here"
_AT_ONCE: Final = 8
_ASK_SECONDS: Final = 15.0
"""For all of them together."""

router = APIRouter()


class Place(BaseModel):
    """A server and a database there, as who wants to use it sees them."""

    model_config = ConfigDict(extra="forbid")

    addresses: list[str] = Field(max_length=8, description="IP addresses of the server, or its name")
    ports: list[int] = Field(max_length=8)
    database: str
    system_identifier: str | None = None
    started: str | None = Field(None, description="when the server started, seconds of the epoch")
    mark: str | None = Field(None, description="application_name of a connection that is open there now")


class Known(BaseModel):
    connection: str | None = Field(description="the registered connection; null: it is not yours to know")
    why: str


class Judgement(BaseModel):
    registered: list[Known] = Field(description="that place is this registered connection's")
    same_server: list[str] = Field(description="registered connections to other databases of that server")
    not_checked: list[str] = Field(
        [], description="connections whose server did not tell which it is: compared by address only"
    )


@router.get("/sessions/{session}/frames", dependencies=[May.read])
def session_frames(session: str, services: Current, reader: ReaderHere) -> Response:
    """The session's wire as it was recorded, for `pgwitness reenact` and `undo`."""
    id = reader.check_session(services.index, session)
    services.note_reading(reader.actor, "frames", id)
    found = services.index.session(id)
    pieces = packed_frames(services.settings.tape_directory, found)
    return StreamingResponse(pieces, media_type="application/octet-stream")


@router.post("/sessions/{session}/place", dependencies=[May.review])
def session_place(session: str, place: Place, services: Current, reader: ReaderHere) -> Judgement:
    """Is that a registered connection's, so that nothing of the session may be run again there?

    By host, port and database; and by asking the server behind every connection, through the gateway, which
    server it is. Either is enough.
    """
    reader.check_session(services.index, session)
    return judge(services, reader, place)


def judge(services: Services, reader: Reader, place: Place) -> Judgement:
    registered: list[Known] = []
    same_server: list[str] = []
    if _is_gateway(services, place):
        registered.append(Known(connection=None, why=f"it is {_GATEWAY}"))
    connections = services.catalog.connections.list()
    told = _ask_all(services, connections, reader.actor) if place.system_identifier else {}
    unchecked: list[str] = []
    for connection in connections:
        here, which = _same_place(connection, place), told.get(connection.name)
        name = connection.name if reader.reaches(connection.name) else None
        if which is None and not here:
            unchecked.append(name or "one that is not yours to know")
        if not here and (which is None or which != (place.system_identifier, place.started)):
            continue
        if _serves(connection, place.database):
            why = "host, port and database are the same" if here else "it is the same server and database"
            registered.append(Known(connection=name, why=why))
        elif name is not None:
            same_server.append(name)
    return Judgement(registered=registered, same_server=same_server, not_checked=sorted(set(unchecked)))


def _is_gateway(services: Services, place: Place) -> bool:
    live = services.live.list() if services.live is not None else []
    if place.mark and any(each.get("application_name") == place.mark for each in live):
        return True
    address = services.postgres_address
    return address is not None and address[1] in place.ports and any(map(_is_here, place.addresses))


def _same_place(connection: Connection, place: Place) -> bool:
    wanted = _with_here(set(place.addresses))
    return any(
        port in place.ports and not wanted.isdisjoint(_resolved(host)) for host, port in connection.addresses
    )


def _serves(connection: Connection, database: str) -> bool:
    also = connection.also_databases
    return database == connection.database or also == ANY or database in also


def _resolved(host: str) -> set[str]:
    """A registered host's name and what it stands for."""
    if host.startswith(("/", "@")):
        return {host, _HERE}
    found = {host}
    with contextlib.suppress(OSError, UnicodeError):
        found |= {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    return _with_here(found)


def _with_here(addresses: set[str]) -> set[str]:
    """All that is this machine is one."""
    return addresses | ({_HERE} if any(map(_is_here, addresses)) else set())


def _is_here(address: str) -> bool:
    """An address of this machine: nobody can bind another."""
    try:
        version = ipaddress.ip_address(address).version
        with socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except (ValueError, OSError):
        return False
    return True


def _ask_all(services: Services, connections: Sequence[Connection], actor: str) -> dict[str, tuple[Any, ...]]:
    """Which server is behind each. One that does not answer in time is missing."""
    if services.postgres_address is None:
        return {}
    pool = ThreadPoolExecutor(_AT_ONCE, "place")
    asked = {pool.submit(_ask, services, each, actor): each.name for each in connections}
    done, _ = wait(asked, _ASK_SECONDS)
    pool.shutdown(wait=False, cancel_futures=True)
    answers = {asked[each]: each.result() for each in done if each.exception() is None}
    return {name: answer for name, answer in answers.items() if answer is not None}


def _ask(services: Services, connection: Connection, actor: str) -> tuple[Any, ...] | None:
    row = check.ask(services, connection.name, _WHICH, actor=actor)
    return None if row is None or row[0] is None else tuple(row)
