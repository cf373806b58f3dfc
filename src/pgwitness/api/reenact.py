"""Routes of re-enactment, which runs elsewhere, where the copy is reached: the session's frames to run again,
and whether a place is one that must not be run against.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
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

    By host, port and database; and, of the session's own connection and of what looks alike, by asking the
    server behind it, through the gateway, which server it is.
    """
    found = services.index.session(reader.check_session(services.index, session))
    return judge(services, reader, place, found.session.connection)


def judge(services: Services, reader: Reader, place: Place, own: str | None) -> Judgement:
    registered: list[Known] = []
    same_server: list[str] = []
    if _is_gateway(services, place):
        registered.append(Known(connection=None, why=f"it is {_GATEWAY}"))
    for connection in services.catalog.connections.list():
        alike = _same_place(connection, place)
        if not alike and connection.name != own:
            continue
        which = _ask(services, connection, reader.actor) if place.system_identifier else None
        if which is not None:
            alike = which == (place.system_identifier, place.started)
        if not alike:
            continue
        name = connection.name if reader.reaches(connection.name) else None
        if _serves(connection, place.database):
            why = "it is the same server and database" if which else "host, port and database are the same"
            registered.append(Known(connection=name, why=why))
        elif name is not None:
            same_server.append(name)
    return Judgement(registered=registered, same_server=same_server)


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


def _ask(services: Services, connection: Connection, actor: str) -> tuple[Any, ...] | None:
    row = check.ask(services, connection.name, _WHICH, actor=actor)
    return None if row is None or row[0] is None else tuple(row)
