"""``pgwitness connection``: the PostgreSQL servers that agents may reach."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pgwitness.cli.options import Config, State, client, parse_list, spread
from pgwitness.cli.output import Column, Format, FormatOption, detail, listing, moment, names, note, yes
from pgwitness.errors import InvalidError

app = typer.Typer(help="PostgreSQL servers that agents may reach.", no_args_is_help=True)


class SslMode(StrEnum):
    disable = "disable"
    allow = "allow"
    prefer = "prefer"
    require = "require"
    verify_ca = "verify-ca"
    verify_full = "verify-full"


class Switch(StrEnum):
    on = "on"
    off = "off"


_TLS, _PASSWORD = "TLS to the server", "Password of the user, never as an argument"

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the connection: what clients give as the database.")
]
Host = typer.Option("--host", help="Name, address or socket directory; several with commas.")
Database = typer.Option("--database", help="Database that clients get.")
User = typer.Option("--user", help="PostgreSQL role to log in as.")


@dataclass(frozen=True)
class Details:
    """The options that ``add`` and ``update`` share."""

    port: Annotated[
        str | None, typer.Option("--port", help="Port; one for each host, or one for all. Default 5432.")
    ] = None
    connector: Annotated[
        str | None,
        typer.Option(
            "--connector",
            metavar="A,B|none",
            help="Connectors that dial it, sharing the load. none, the default: the gateway dials it itself.",
        ),
    ] = None
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read it from standard input.", rich_help_panel=_PASSWORD)
    ] = False
    password_env: Annotated[
        str | None,
        typer.Option(
            "--password-env", help="Read it from this environment variable.", rich_help_panel=_PASSWORD
        ),
    ] = None
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", help="Read it from the first line of a file.", rich_help_panel=_PASSWORD
        ),
    ] = None
    sslmode: Annotated[
        SslMode | None, typer.Option("--sslmode", help="As in libpq. Default prefer.", rich_help_panel=_TLS)
    ] = None
    sslrootcert: Annotated[
        Path | None,
        typer.Option(
            "--sslrootcert", help="PEM file of the authority that vouches for it.", rich_help_panel=_TLS
        ),
    ] = None
    sslcert: Annotated[
        Path | None,
        typer.Option("--sslcert", help="PEM file of a client certificate.", rich_help_panel=_TLS),
    ] = None
    sslkey: Annotated[
        Path | None,
        typer.Option("--sslkey", help="PEM file of its key, stored encrypted.", rich_help_panel=_TLS),
    ] = None
    also_databases: Annotated[
        str | None,
        typer.Option(
            "--also-databases", metavar="A,B|any", help="Further databases, reached as CONNECTION/DATABASE."
        ),
    ] = None
    results: Annotated[
        str | None,
        typer.Option("--results", metavar="none|BYTES|all", help="Result data to record for each statement."),
    ] = None
    connect_timeout: Annotated[
        int | None,
        typer.Option("--connect-timeout", metavar="SECONDS", help="Time to reach it and log in."),
    ] = None
    replication: Annotated[
        Switch | None,
        typer.Option("--replication", help="Whether clients may start replication. Default off."),
    ] = None

    def body(self, **more: str | None) -> dict[str, Any]:
        """The API's document of what was given. Raises InvalidError."""
        given = {
            "port": self.port,
            "connectors": _connectors(self.connector),
            "password": _password(self.password_stdin, self.password_env, self.password_file),
            "sslmode": self.sslmode,
            "sslrootcert": _read(self.sslrootcert),
            "sslcert": _read(self.sslcert),
            "sslkey": _read(self.sslkey),
            "also_databases": None if self.also_databases is None else parse_list(self.also_databases),
            "results": _results(self.results),
            "connect_timeout": self.connect_timeout,
            "replication": None if self.replication is None else self.replication is Switch.on,
        }
        return {name: value for name, value in {**more, **given}.items() if value is not None}


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="connection")


@app.command("add")
@spread
def add(
    name: Name,
    host: Annotated[str, Host],
    database: Annotated[str, Database],
    user: Annotated[str, User],
    details: Details,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Register a PostgreSQL server.

    Example: pgwitness connection add orders --host db --database shop --user app --password-stdin
    """
    body = details.body(name=name, host=host, database=database, user=user)
    with client(state, config, new=True) as api:
        added = api.post("/connections", body)
    detail(added, _DETAIL, format)
    if format is Format.table:
        note(
            f"\nNext: pgwitness connection check {name}\n"
            f"      pgwitness identity add my-agent --connections {name}\n"
            f"      pgwitness token issue my-agent"
        )


@app.command("update")
@spread
def update(
    name: Name,
    *,
    host: Annotated[str | None, Host] = None,
    database: Annotated[str | None, Database] = None,
    user: Annotated[str | None, User] = None,
    details: Details,
    no_password: Annotated[
        bool, typer.Option("--no-password", help="Forget the stored one.", rich_help_panel=_PASSWORD)
    ] = False,
    format: FormatOption = Format.table,
    state: State = None,
    config: Config = None,
) -> None:
    """Change what is given; the rest stays. Sessions that are open keep what they have.

    Example: pgwitness connection update orders --password-stdin < new-password
    """
    body = details.body(host=host, database=database, user=user)
    if no_password and "password" in body:
        raise InvalidError("--no-password together with a password")
    if no_password:
        body["password"] = None
    with client(state, config) as api:
        detail(api.request("PATCH", _path(name), body=body), _DETAIL, format)


@app.command("list")
def list_all(format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """List registered connections.

    Example: pgwitness connection list --format jsonl
    """
    with client(state, config) as api:
        listing(
            api.get("/connections"),
            _COLUMNS,
            format,
            empty="No connection is registered. Add one with: pgwitness connection add NAME --host …",
        )


@app.command("show")
def show(name: Name, format: FormatOption = Format.table, state: State = None, config: Config = None) -> None:
    """Show one connection, without its password.

    Example: pgwitness connection show orders
    """
    with client(state, config) as api:
        detail(api.get(_path(name)), _DETAIL, format)
        if format is Format.table:
            for finding in api.items("/findings", connection=name):
                if finding["counts"]:
                    note(f"{finding['level']}: {finding['what']} (last seen {moment(finding['last_seen'])})")


@app.command("check")
def check(
    name: Name, format: FormatOption = Format.table, state: State = None, config: Config = None
) -> None:
    """Log in through the gateway as a client would, run a test query, and show how it was recorded.

    Exit code 0: it works and is on record; 1: it does not; 3: no gateway is running.

    Example: pgwitness connection check orders
    """
    with client(state, config) as api:
        result = api.post(f"{_path(name)}/check")
    detail(result, _CHECK, format)


@app.command("remove")
def remove(name: Name, state: State = None, config: Config = None) -> None:
    """Forget a connection and its grants, and end its sessions. What was recorded stays.

    Example: pgwitness connection remove orders
    """
    with client(state, config) as api:
        api.request("DELETE", _path(name))
    note(f"Connection {name} is removed.")


def _path(name: str) -> str:
    from pgwitness.api.client import path

    return path("connections", name)


def _connectors(text: str | None) -> list[str] | None:
    """Their names; an empty list for ``none``. Raises InvalidError."""
    if text is None or text == "none":
        return None if text is None else []
    named = parse_list(text)
    if not named or isinstance(named, str):
        raise InvalidError(f"--connector {text!r} names no connector", hint="--connector A,B or none")
    return named


def _results(text: str | None) -> int | None:
    if text in (None, "none", "all"):
        return {"none": 0, "all": -1}.get(str(text))
    if not (text.isascii() and text.isdigit()):
        raise InvalidError(f"--results {text!r} is neither none, nor all, nor a number of bytes")
    return int(text)


def _password(stdin: bool, variable: str | None, file: Path | None) -> str | None:
    """From where it was said to be; None if nothing was said. Raises InvalidError."""
    if sum((stdin, variable is not None, file is not None)) > 1:
        raise InvalidError("give one of --password-stdin, --password-env and --password-file")
    if variable is not None:
        if variable not in os.environ:
            raise InvalidError(f"the environment has no variable {variable!r}", hint="export it first")
        return os.environ[variable]
    if file is not None:
        return (_read(file) or "").split("\n", 1)[0].removesuffix("\r")
    if not stdin:
        return None
    if sys.stdin.isatty():
        from getpass import getpass

        return getpass("Password: ", stream=sys.stderr)
    return sys.stdin.readline().rstrip("\r\n")


def _read(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.expanduser().read_text()
    except OSError as error:
        raise InvalidError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidError(f"{path} is not a text file") from None


def _server(connection: dict[str, Any]) -> str:
    hosts, ports = connection["host"].split(","), connection["port"].split(",")
    return ", ".join(f"{host}:{ports[i if len(ports) > 1 else 0]}" for i, host in enumerate(hosts))


def _recorded_results(connection: dict[str, Any]) -> str:
    results = connection["results"]
    return {None: "default", -1: "all", 0: "none"}.get(results) or f"{results} bytes"


def _around(connection: dict[str, Any]) -> str:
    """Who goes around the gateway."""
    watch = connection["watch"]
    if watch is None:
        return "not looked at"
    if watch["problem"]:
        return f"cannot look: {watch['problem']}"
    counted = [_count(watch["alarm"], "alarm", "alarms"), _count(watch["weakness"], "weakness", "weaknesses")]
    return ", ".join(filter(None, counted)) or "nothing"


def _count(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}" if number else ""


_COLUMNS = (
    Column("NAME", "name", style="bold"),
    Column("SERVER", _server, least=12),
    Column("THROUGH", lambda each: names(each["connectors"]) or "gateway", least=8),
    Column("DATABASE", "database", least=8),
    Column("USER", "user", least=6, spare=6),
    Column("SSLMODE", "sslmode", spare=5),
    Column("PASSWORD", lambda each: yes(each["password"]), spare=3),
    Column("ALSO", lambda each: names(each["also_databases"]), wrap=True, spare=4),
    Column("RESULTS", _recorded_results, spare=2),
    Column("AROUND", _around, wrap=True),
    Column("CREATED", lambda each: moment(each["created_at"]), spare=1),
)
_DETAIL = (
    *_COLUMNS[:7],
    Column("AUTHORITY", lambda each: yes(each["sslrootcert"])),
    Column("CERTIFICATE", lambda each: yes(each["sslcert"])),
    Column("ALSO DATABASES", lambda each: names(each["also_databases"])),
    Column("RESULTS", _recorded_results),
    Column(
        "CONNECT TIMEOUT",
        lambda each: f"{each['connect_timeout']} s" if each["connect_timeout"] else "default",
    ),
    Column("REPLICATION", lambda each: yes(each["replication"])),
    *_COLUMNS[-2:],
)
_CHECK = (
    Column("CONNECTION", lambda each: f"{each['connection']} works"),
    Column("SERVER", lambda each: f"PostgreSQL {each['server_version']}"),
    Column("LOG-IN", lambda each: f"{each['connect_ms']} ms"),
    Column("QUERY", lambda each: f"{each['query_ms']} ms"),
    Column("RECORDED", lambda each: f"found in the record after {each['recorded_ms']} ms"),
    Column("IDENTITY", "identity"),
    Column("SESSION", "session"),
    Column("STATEMENT", lambda each: each["statement"]["sql"]),
    Column("RESULT", lambda each: f"{each['statement']['tag']}, {each['statement']['status']}"),
)
