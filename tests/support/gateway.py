"""A real ``pgwitness gateway`` process on a state directory of its own, and an administrator's commands."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import psycopg

from support.servers import PASSWORD, Server

READY_SECONDS = 30.0
LAST_LINES_SECONDS = 5.0
"""For what a process wrote before it ended to be read."""

Record = dict[str, Any]


class Gateway:
    """``start`` waits for the ready line. ``port``, ``http`` and ``tunnel`` are what it said there."""

    def __init__(self, state: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
        self.state = state
        self.arguments = arguments
        self.environment = {**os.environ, **(environment or {})}
        self.environment.pop("PGWITNESS_URL", None)
        self.environment |= {"PGWITNESS_STATE": str(state), "PGW_TEST_PASSWORD": PASSWORD}
        # Tests count backends and read the server's log, so the watch looks on demand there.
        self.environment.setdefault("PGWITNESS_WATCH__INTERVAL_SECONDS", "0")
        self.host = "127.0.0.1"
        self.port = 0
        self.http = ""
        self.tunnel = ""
        self.tokens: dict[str, str] = {}
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []
        self._listener = threading.Thread()

    # the process

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that the gateway wrote to standard output and standard error."""
        return "".join(self._log)

    def start(self) -> "Gateway":
        tunnel_port = self.tunnel.rpartition(":")[2] or "0"
        ports = ["--port", str(self.port), "--tunnel-port", tunnel_port, "--http-port", "0"]
        self._process = subprocess.Popen(
            self._command("gateway", *ports, *self.arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
            start_new_session=True,
        )
        ready = threading.Event()
        self._listener = threading.Thread(target=self._listen, args=(self._process, ready), daemon=True)
        self._listener.start()
        deadline = time.monotonic() + READY_SECONDS
        while not ready.wait(0.05):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the gateway did not become ready:\n{self.log}")
        return self

    def terminate(self, timeout: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        process = self._process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout)
        self._listener.join(LAST_LINES_SECONDS)
        self._process = None
        return code

    def kill(self) -> None:
        """SIGKILL to the gateway and its children: what a power cut is to a process."""
        process, self._process = self._process, None
        if process is None:
            return
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            process.kill()
        process.wait()
        self._listener.join(LAST_LINES_SECONDS)

    def restart(self) -> "Gateway":
        """Start again on the same ports."""
        return self.start()

    def stop(self) -> None:
        """For the end of a test: in order if it can, else at once. The state directory stays."""
        if self._process is not None:
            try:
                self.terminate(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.state, ignore_errors=True)

    def _listen(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log.append(line)
                if '"event":"ready"' in line.replace(" ", ""):
                    said = json.loads(line)
                    self.host, _, port = said["postgres"].rpartition(":")
                    self.port, self.http, self.tunnel = int(port), said["http"], said["tunnel"]
                    ready.set()

    # the commands

    def run(self, *arguments: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """``pgwitness ARGUMENTS``, as the administrator on the same machine."""
        done = subprocess.run(
            self._command(*arguments), capture_output=True, text=True, env=self.environment, timeout=60
        )
        if check and done.returncode != 0:
            raise AssertionError(f"pgwitness {' '.join(arguments)}: exit {done.returncode}\n{done.stderr}")
        return done

    def jsonl(self, *arguments: str) -> list[Record]:
        """The objects that a listing prints."""
        out = self.run(*arguments, "--format", "jsonl").stdout
        return [json.loads(line) for line in out.split("\n") if line.strip()]

    def add_connection(self, name: str, server: Server, *arguments: str, **options: str) -> None:
        """Register the server's database ``shop`` as role ``app``, or what ``options`` say."""
        given = {
            "host": "127.0.0.1",
            "port": str(server.port),
            "database": "shop",
            "user": "app",
            "sslmode": "disable",
            **options,
        }
        flags = [part for key, value in given.items() for part in (f"--{key}", value)]
        self.run("connection", "add", name, *flags, "--password-env", "PGW_TEST_PASSWORD", *arguments)

    def add_identity(self, name: str, *connections: str, kind: str = "service") -> str:
        """A new identity with a grant for these connections; its token."""
        self.run("identity", "add", name, "--kind", kind, "--connections", ",".join(connections))
        return self.issue(name)

    def issue(self, identity: str, *arguments: str) -> str:
        """One more token of the identity, from now on the one that ``dsn`` uses."""
        out = self.run("token", "issue", identity, *arguments).stdout
        token = next(word for word in out.split() if word.startswith("pgw_"))
        self.tokens[identity] = token
        return token

    # the client

    def dsn(self, identity: str, connection: str, *, token: str | None = None, **parameters: str) -> str:
        """An ordinary connection string; ``parameters`` are libpq's."""
        secret = self.tokens[identity] if token is None else token
        query = "&".join(
            f"{name}={quote(value)}" for name, value in {"sslmode": "disable", **parameters}.items()
        )
        database = quote(connection, safe="")
        return f"postgresql://{identity}:{secret}@{self.host}:{self.port}/{database}?{query}"

    def connect(self, identity: str, connection: str, **parameters: str) -> psycopg.Connection:
        """A psycopg connection in autocommit mode."""
        return psycopg.connect(self.dsn(identity, connection, **parameters), autocommit=True)

    # the record

    def statements(
        self,
        *filters: str,
        wait_for: int | Callable[[list[Record]], bool] | None = None,
        timeout: float = 15.0,
    ) -> list[Record]:
        """``pgwitness statements FILTERS``; with ``wait_for``, once there are so many or it holds."""
        return self._poll("/statements/stream", filters, wait_for, timeout)

    def sessions(
        self,
        *filters: str,
        wait_for: int | Callable[[list[Record]], bool] | None = None,
        timeout: float = 15.0,
    ) -> list[Record]:
        """``pgwitness session list FILTERS``, in the same way; the newest first."""
        return self._poll("/sessions", (*filters, "--limit", "10000"), wait_for, timeout)

    def connectors(self) -> list[Record]:
        """``pgwitness connector list``."""
        return self._ask("/connectors", {})

    def _poll(
        self,
        path: str,
        filters: Iterable[str],
        wait_for: int | Callable[[list[Record]], bool] | None,
        timeout: float,
    ) -> list[Record]:
        """By the API that the commands use, as starting a command takes a second."""
        deadline = time.monotonic() + timeout
        names = iter(filters)
        parameters = {name.removeprefix("--").replace("-", "_"): next(names) for name in names}
        while True:
            found = self._ask(path, parameters)
            enough = wait_for(found) if callable(wait_for) else len(found) >= (wait_for or 0)
            if enough:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"waited {timeout} s for {wait_for}, found {len(found)}:\n"
                    + "\n".join(json.dumps(one)[:500] for one in found[-10:])
                    + f"\ngateway:\n{self.log[-1500:]}"
                )
            time.sleep(0.1)

    def _ask(self, path: str, parameters: Mapping[str, str]) -> list[Record]:
        transport = httpx.HTTPTransport(uds=str(self.state / "admin.sock"))
        with httpx.Client(transport=transport, base_url="http://pgwitness/api/v1", timeout=60) as client:
            answer = client.get(path, params=parameters)
        assert answer.is_success, answer.text
        if "jsonl" in answer.headers["content-type"]:
            return [json.loads(line) for line in answer.text.split("\n") if line]
        listed = answer.json()
        page: list[Record] = listed if isinstance(listed, list) else listed["items"]
        return page

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "pgwitness", *arguments]
