"""What the demo plays on: a PostgreSQL, a gateway and a connector, each started, made ready and stopped.

The database's password is given to the connector alone: the gateway never has it.
"""

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pgwitness.embedded import Cluster, wheel_programs
from pgwitness.errors import UnavailableError

IDENTITY, CONNECTION, CONNECTOR = "billing-agent", "shop", "beside-postgres"
VIEWER = "you"


@contextlib.contextmanager
def database(*schema: str) -> Iterator[Cluster]:
    """PostgreSQL with a database ``shop`` of this schema, and a role ``agent``."""
    cluster = Cluster(wheel_programs(), password=secrets.token_urlsafe(16), settings={"fsync": "off"})
    try:
        cluster.start()
        cluster.sql(f"CREATE ROLE agent LOGIN PASSWORD '{cluster.password}'", "CREATE DATABASE shop")
        cluster.sql(*schema, database="shop")
        yield cluster
    finally:
        cluster.remove()


@contextlib.contextmanager
def gateway(state: Path) -> Iterator[dict[str, str]]:
    """The gateway's ready line, while its process runs."""
    ports = ("--port", "0", "--tunnel-port", "0", "--http-port", "0")
    with _process(state, "gateway", *ports) as ready:
        yield ready


@contextlib.contextmanager
def connector(state: Path, tunnel: str, password: str) -> Iterator[dict[str, str]]:
    """The same of a connector, which is invited first. What it keeps is gone when it ends."""
    token = pgwitness(state, "connector", "add", CONNECTOR).strip()
    secret = {"PGWITNESS_JOIN": token, "DEMO_PASSWORD": password}
    with tempfile.TemporaryDirectory(prefix="pgwitness-demo-connector-") as own:
        options = ("--gateway", tunnel, "--state", own, "--password-env", "DEMO_PASSWORD", "--grace", "0")
        with _process(state, "connector", *options, **secret) as ready:
            yield ready


def register(state: Path, port: int) -> str:
    """Connection, identity and token, as an administrator does it; the token."""
    target = ("--host", "127.0.0.1", "--port", str(port), "--database", "shop", "--user", "agent")
    way = ("--connector", CONNECTOR, "--sslmode", "disable")
    pgwitness(state, "connection", "add", CONNECTION, *target, *way)
    pgwitness(state, "identity", "add", IDENTITY, "--connections", CONNECTION)
    return _token(pgwitness(state, "token", "issue", IDENTITY, "--ttl", "24h"))


def viewer(state: Path) -> str:
    """A token for the pages: of a person who may everything."""
    pgwitness(state, "identity", "add", VIEWER, "--kind", "human")
    return _token(pgwitness(state, "token", "issue", VIEWER, "--role", "admin", "--ttl", "24h"))


def _token(issued: str) -> str:
    return next(word for word in issued.split() if word.startswith("pgw_"))


def pgwitness(state: Path, *arguments: str) -> str:
    """What a command prints. Raises UnavailableError."""
    done = _run(state, *arguments)
    if done.returncode != 0:
        raise UnavailableError(f"pgwitness {' '.join(arguments[:2])} failed", hint=done.stderr.strip())
    return done.stdout


def answer(state: Path, *arguments: str) -> str:
    """The same of a command whose answer may be no. Raises UnavailableError."""
    done = _run(state, *arguments)
    if done.returncode not in (0, 1) or not done.stdout:
        raise UnavailableError(f"pgwitness {' '.join(arguments[:2])} failed", hint=done.stderr.strip())
    return done.stdout


def _run(state: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(_command(*arguments), env=_environment(state), capture_output=True, text=True)


@contextlib.contextmanager
def _process(state: Path, command: str, *arguments: str, **environment: str) -> Iterator[dict[str, str]]:
    """Its ready line, while it runs. Its log is ``STATE/COMMAND.log``."""
    log = state / f"{command}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(command, *arguments),
            env=_environment(state) | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,  # a Ctrl-C at the terminal is for us
        )
        try:
            yield _ready(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()


def _ready(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    assert process.stdout is not None
    for line in process.stdout:
        with contextlib.suppress(ValueError):
            said = json.loads(line)
            if said.get("event") == "ready":
                return {name: str(value) for name, value in said.items()}
    raise UnavailableError(f"the {log.stem} did not start", hint=log.read_text(errors="replace")[-2000:])


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "pgwitness", *arguments]


def _environment(state: Path) -> dict[str, str]:
    """Ours, without the settings that point at somebody's real gateway."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PGWITNESS_")}
    return kept | {"PGWITNESS_STATE": str(state)}
