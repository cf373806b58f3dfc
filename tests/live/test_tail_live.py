"""``pgwitness tail`` in front of a real gateway: how far behind it is, and what it does when either goes."""

import json
import queue
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from pgwitness.api.tail import MOST
from support.gateway import Gateway
from support.live import Live
from support.servers import Server
from support.waiting import wait_until

PROMISED_SECONDS = 1.0


class Onlooker:
    """The command, and the documents that it prints, each with when it came."""

    def __init__(self, gateway: Gateway, *arguments: str) -> None:
        command = gateway._command("tail", "--format", "jsonl", *arguments)
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=gateway.environment
        )
        self.lines: queue.Queue[tuple[float, dict[str, Any]]] = queue.Queue()
        self.seen: list[dict[str, Any]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put((time.time(), json.loads(line)))

    def until(
        self, wanted: Callable[[dict[str, Any]], bool], seconds: float = 30.0
    ) -> tuple[float, dict[str, Any]]:
        """The first document of that kind, and when it came."""
        deadline = time.monotonic() + seconds
        while True:
            at, document = self.lines.get(timeout=max(0.01, deadline - time.monotonic()))
            self.seen.append(document)
            if wanted(document):
                return at, document

    def end(self) -> tuple[int, str]:
        """Ctrl-C: its exit code, and what it said."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        self._reader.join(5)
        assert self.process.stderr is not None
        with self.process.stderr as said:
            text = said.read()
        if self.process.stdout:
            self.process.stdout.close()
        return code, text


def sql_is(text: str) -> Callable[[dict[str, Any]], bool]:
    return lambda document: document.get("sql") == text and document["status"] == "ok"


@contextmanager
def looking_on(gateway: Gateway, *arguments: str) -> Iterator[Onlooker]:
    """Once it is there: the reading is noted before it begins."""

    def noted() -> int:
        return len(gateway.jsonl("audit", "--action", "read.tail", "--limit", "1000"))

    before = noted()
    onlooker = Onlooker(gateway, *arguments)
    try:
        wait_until(lambda: noted() > before)
        yield onlooker
    finally:
        if onlooker.process.poll() is None:
            onlooker.end()


def test_a_statement_is_shown_within_a_second(live15: Live) -> None:
    """While the index keeps up, which it may not on a busy machine: the best of some attempts counts."""
    waits = []
    with looking_on(live15.gateway, "--run", live15.run) as onlooker, live15.connect() as connection:
        for number in range(20):
            connection.execute(f"SELECT {number} AS now")
            ended = time.time()
            at, document = onlooker.until(sql_is(f"SELECT {number} AS now"))
            assert document["transaction"]["outcome"] == "committed"
            waits.append(at - ended)
            if min(waits) < PROMISED_SECONDS:
                break
        code, said = onlooker.end()
    assert min(waits) < PROMISED_SECONDS, waits
    assert code == 130 and "Traceback" not in said


def test_filters_open_transactions_and_the_past(live15: Live) -> None:
    began = datetime.now(UTC)
    with live15.connect() as connection:
        connection.execute("SELECT 'before'")
        since = began.isoformat()
        with looking_on(live15.gateway, "--run", live15.run, "--since", since, "--match", "'") as onlooker:
            onlooker.until(sql_is("SELECT 'before'"))
            with connection.transaction():
                connection.execute("SELECT 'inside'")
                _, inside = onlooker.until(sql_is("SELECT 'inside'"))
            _, settled = onlooker.until(lambda document: document["kind"] == "settled")
            connection.execute("SELECT 1")
            connection.execute("SELECT 'last'")
            onlooker.until(sql_is("SELECT 'last'"))
            shown = [document["sql"] for document in onlooker.seen if document["kind"] == "statement"]
    assert inside["transaction"]["outcome"] == "open"
    assert (settled["transaction"], settled["outcome"]) == (inside["transaction"]["number"], "committed")
    assert shown == ["SELECT 'before'", "SELECT 'inside'", "SELECT 'last'"]


def test_it_goes_on_when_the_gateway_restarts_and_when_it_is_killed(
    gateway: Gateway, server15: Server
) -> None:
    gateway.add_connection("shop", server15)
    gateway.add_identity("agent", "shop")
    wanted = []
    with looking_on(gateway) as onlooker:
        for number, end in enumerate((None, gateway.terminate, gateway.kill, None)):
            with gateway.connect("agent", "shop") as connection:
                for part in range(20):
                    wanted.append(f"SELECT '{number} {part}'")
                    connection.execute(wanted[-1])
            onlooker.until(sql_is(wanted[-1]))
            if end is not None:
                with gateway.connect("agent", "shop") as connection:
                    wanted.append(f"SELECT 'at the end of {number}'")
                    connection.execute(wanted[-1])
                end()
                gateway.restart()
        code, said = onlooker.end()
    shown = [document["sql"] for document in onlooker.seen if document["kind"] == "statement"]
    assert sorted(shown) == sorted(wanted), "none is lost, none comes twice"
    assert code == 130 and said.count("waiting for it") == 2 and said.count("there again") == 2


def test_one_that_never_reads_holds_nothing_up(live15: Live) -> None:
    """It takes one of the places, and no memory: its stream waits until there is room for a line."""
    gateway = live15.gateway
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.connect(str(gateway.state / "admin.sock"))
        deaf.sendall(b"GET /api/v1/statements/tail?since=1h HTTP/1.1\r\nHost: pgwitness\r\n\r\n")
        text = "SELECT " + "'x'" * 20_000
        with looking_on(gateway, "--run", live15.run) as onlooker, live15.connect() as connection:
            for _ in range(200):
                connection.execute(text)
            connection.execute("SELECT 'still here'")
            onlooker.until(sql_is("SELECT 'still here'"))
            assert sum(document.get("sql") == text for document in onlooker.seen) == 200


def test_how_many_may_look_on_is_limited(shared_gateway: Gateway) -> None:
    transport = httpx.HTTPTransport(uds=str(shared_gateway.state / "admin.sock"))
    client = httpx.Client(transport=transport, base_url="http://pgwitness/api/v1", timeout=30)
    streams = []
    with client:
        while len(streams) < MOST + 1:
            answer = client.send(client.build_request("GET", "/statements/tail"), stream=True)
            if answer.status_code != 200:
                break
            lines = answer.iter_lines()
            assert json.loads(next(lines))["kind"] == "mark"
            streams.append((answer, lines))
        assert answer.status_code == 429 and answer.read() and 0 < len(streams) <= MOST
        for each, _ in streams:
            each.close()

        def admitted() -> bool:
            with client.stream("GET", "/statements/tail") as again:
                return again.status_code == 200

        wait_until(admitted)


def test_a_revoked_token_looks_on_no_longer(shared_gateway: Gateway) -> None:
    shared_gateway.run("identity", "add", "auditor-ann", "--kind", "human", check=False)
    token = shared_gateway.run("token", "issue", "auditor-ann", "--role", "auditor").stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.stream(
        "GET", f"{shared_gateway.http}/api/v1/statements/tail", headers=headers, timeout=30
    ) as answer:
        lines = answer.iter_lines()
        assert json.loads(next(lines))["kind"] == "mark"
        (listed,) = shared_gateway.jsonl("token", "list", "--identity", "auditor-ann")
        shared_gateway.run("token", "revoke", listed["id"])
        for line in lines:
            assert json.loads(line)["kind"] in ("mark", "statement", "settled")


@pytest.mark.parametrize(("option", "value"), [("--until", "1h"), ("--since", "tomorrow")])
def test_what_makes_no_sense_is_said_at_once(shared_gateway: Gateway, option: str, value: str) -> None:
    done = shared_gateway.run("tail", option, value, check=False)
    assert done.returncode == 2 and option[2:] in done.stderr
