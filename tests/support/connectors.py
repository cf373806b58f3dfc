"""A real ``pgwitness connector`` process, beside nothing in particular: on this machine."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from support.gateway import Gateway
from support.servers import PASSWORD, Server

READY_SECONDS = 30.0
LAST_LINES_SECONDS = 5.0
"""For what a process wrote before it ended to be read."""


class Connector:
    """``start`` waits until it is online; what it logs is kept. ``prefix`` is a program that runs it, such as
    ``ip netns exec``."""

    def __init__(
        self,
        gateway: Gateway,
        name: str = "beside",
        *arguments: str,
        address: str | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.gateway, self.name = gateway, name
        self.arguments = arguments
        self.address = address
        self.prefix = prefix
        self.environment = {**os.environ, "PGW_TEST_PASSWORD": PASSWORD}
        self._directory = tempfile.TemporaryDirectory(prefix="pgw-connector-", ignore_cleanup_errors=True)
        self.state = Path(self._directory.name)
        self._token: str | None = None
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []
        self._listener = threading.Thread()

    @property
    def pid(self) -> int:
        """Of the connector itself, also behind a prefix: that becomes it."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return "".join(self._log)

    def join(self) -> "Connector":
        """Have the gateway invite it; the first start then joins."""
        self._token = self.gateway.run("connector", "add", self.name).stdout.strip()
        return self

    def start(self, *, wait: bool = True) -> "Connector":
        command = [*self.prefix, sys.executable, "-m", "pgwitness", "connector", "--state", str(self.state)]
        command += ["--gateway", self.address or self.gateway.tunnel, *self.arguments]
        command += ["--join", self._token] if self._token else []
        self._process = subprocess.Popen(
            command,
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
        while wait and not ready.wait(0.02):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"the connector did not become ready:\n{self.log}")
        return self

    def terminate(self, timeout: float = 60.0) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def wait(self, timeout: float = 30.0) -> int:
        """Until it ends by itself; the exit code."""
        assert self._process is not None
        code = self._process.wait(timeout)
        self._listener.join(LAST_LINES_SECONDS)
        self._process = None
        return code

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            self._listener.join(LAST_LINES_SECONDS)

    def remove(self) -> None:
        self.kill()
        self._directory.cleanup()

    def _listen(self, process: "subprocess.Popen[str]", ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout as lines:
            for line in lines:
                self._log.append(line)
                if '"event":"ready"' in line and json.loads(line)["name"] == self.name:
                    ready.set()


def add_connection(gateway: Gateway, name: str, server: Server, connectors: str, **options: str) -> None:
    """As ``Gateway.add_connection``, dialled by these connectors."""
    gateway.add_connection(name, server, "--connector", connectors, **options)
