"""A client in front of a gateway: how it connects, what the record and the server's log say of it."""

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from pgwitness.embedded import wheel_programs
from support.compare import Record, assert_same, upstream_pids
from support.gateway import Gateway
from support.oracle import Logged
from support.servers import DEBIAN_15, Server

SETTLE_SECONDS = 5.0


@dataclass
class Live:
    """A client's view: where to connect, under a name (``run``) by which record and log are found again."""

    gateway: Gateway
    server: Server
    connection: str
    run: str
    identity: str = "agent"

    @property
    def options(self) -> str:
        return f"-c pgwitness.run={self.run}"

    @property
    def token(self) -> str:
        return self.gateway.tokens[self.identity]

    @property
    def ca(self) -> Path:
        """The gateway's own authority, made on first start."""
        return self.gateway.state / "tls" / "ca.crt"

    def dsn(self, **parameters: str) -> str:
        given = {"application_name": self.run, "options": self.options, **parameters}
        return self.gateway.dsn(self.identity, self.connection, **given)

    def connect(self, **parameters: str) -> psycopg.Connection[Any]:
        """psycopg, in autocommit mode."""
        return psycopg.connect(self.dsn(**parameters), autocommit=True)

    def program(
        self, name: str, *arguments: str, stdin: str | None = None, check: bool = True, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """A program of Debian's PostgreSQL 15, or ``psql18``: the wheel's; connected by environment alone."""
        path = wheel_programs() / "psql" if name == "psql18" else DEBIAN_15 / name
        environment = {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.gateway.port),
            "PGUSER": self.identity,
            "PGPASSWORD": self.token,
            "PGDATABASE": self.connection,
            "PGSSLMODE": "disable",
            "PGAPPNAME": self.run,
            "PGOPTIONS": self.options,
            "PSQLRC": "/dev/null",
            **variables,
        }
        done = subprocess.run(
            [str(path), *arguments], input=stdin, capture_output=True, text=True, env=environment, timeout=120
        )
        if check:
            assert done.returncode == 0, f"{name} {arguments}: {done.stderr}"
        return done

    def psql(self, script: str, *arguments: str, **variables: str) -> str:
        """Unaligned rows of a script that psql reads from standard input."""
        flags = ("-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1")
        return self.program("psql", *flags, *arguments, stdin=script, **variables).stdout

    def record(self, wait_for: int | Callable[[list[Record]], bool] = 1) -> list[Record]:
        """This client's statements, once so many have come to their end."""
        if isinstance(wait_for, int):
            count = wait_for
            wait_for = lambda found: sum(s["status"] != "unfinished" for s in found) >= count  # noqa: E731
        return self.gateway.statements("--run", self.run, wait_for=wait_for)

    def logged(self) -> list[Logged]:
        """What the server says that this client ran."""
        return self.server.log_statements(self.run)

    def check(self, wait_for: int | Callable[[list[Record]], bool] = 1) -> list[Record]:
        """The record, once it says what the server's log does. Both trail the client by a moment, so a
        difference counts when it is still there after ``SETTLE_SECONDS``."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            record = self.record(wait_for)
            try:
                assert_same(record, self.logged(), upstream_pids(self.gateway.state))
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return record


def shape(record: list[Record]) -> list[tuple[Any, ...]]:
    """(sql, tag, status, outcome) of each: what most tests expect. Clients differ in the last semicolon."""
    return [(s["sql"].rstrip(";"), s["tag"], s["status"], s["transaction"]["outcome"]) for s in record]


def values(statement: Record) -> list[str | None]:
    """The bound values in text form."""
    return [parameter["value"] for parameter in statement["parameters"]]
