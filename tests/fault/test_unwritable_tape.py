"""The tape cannot take a frame: nothing runs unrecorded, the client is told, and later it serves again."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from support.compare import missing, upstream_pids
from support.gateway import Gateway
from support.raw import RawClient, ServerError, error_fields, query
from support.servers import Server

SEGMENT = 4 << 20
"""The smallest segment there is, so that a small file system is full soon."""


def fill(gateway: Gateway, application: str, size: int = 200_000) -> dict[str, str]:
    """Run statements until one is refused; the refusal's fields."""
    with RawClient(gateway.port) as client:
        client.login("agent", gateway.tokens["agent"], "shop", application_name=application)
        for number in range(400):
            try:
                client.send(query(f"SELECT {number}, length('{'z' * size}')"))
                while (answer := client.receive())[0] != "Z":
                    if answer[0] == "E":
                        return error_fields(answer[1])
            except (ConnectionError, BrokenPipeError):
                return {}
    raise AssertionError("the tape took everything")


def assert_all_recorded(gateway: Gateway, server: Server, application: str) -> None:
    """Every statement that the server ran is on the record."""
    logged = server.log_statements(application)
    assert logged

    def complete(record: list[dict[str, object]]) -> bool:
        return not missing(record, logged, upstream_pids(gateway.state))

    gateway.statements(wait_for=complete, timeout=20)


@pytest.fixture
def small_disk(state: Path) -> Iterator[Path]:
    """The tape directory on a file system of 14 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    tape = state / "tape"
    tape.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=14m", "tmpfs", str(tape)], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let us mount: {mounted.stderr.decode().strip()}")
    yield tape
    subprocess.run(["umount", "-l", str(tape)], check=True)


@pytest.fixture
def small_front(small_disk: Path, state: Path, server18: Server) -> Iterator[Gateway]:
    gateway = Gateway(state, environment={"PGWITNESS_TAPE__SEGMENT_BYTES": str(SEGMENT)})
    try:
        gateway.start()
        gateway.add_connection("shop", server18)
        gateway.add_identity("agent", "shop")
        yield gateway
    finally:
        gateway.stop()


def test_full_disk(small_front: Gateway, small_disk: Path, server18: Server) -> None:
    refused = fill(small_front, "fill-1")
    assert (refused["S"], refused["C"]) == ("FATAL", "58030")
    # Also a new session is refused, before it can run anything.
    with RawClient(small_front.port) as client, pytest.raises((ServerError, ConnectionError)):
        client.login("agent", small_front.tokens["agent"], "shop", application_name="fill-2")
        client.send(query(f"SELECT length('{'z' * SEGMENT}')"))
        kind, payload = client.receive()
        while kind != "E":
            kind, payload = client.receive()
        raise ServerError(error_fields(payload))
    assert not any("zzzzzzzz" in entry.sql for entry in server18.log_statements("fill-2"))
    assert_all_recorded(small_front, server18, "fill-1")

    # Somebody makes room: it serves again by itself, and records.
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    with psycopg.connect(
        small_front.dsn("agent", "shop", application_name="fill-3"), autocommit=True
    ) as connection:
        connection.execute("SELECT 'room again'")
    small_front.statements("--match", "room again", wait_for=1)
    assert_all_recorded(small_front, server18, "fill-3")


def test_removed_tape_directory(front: Gateway, server18: Server) -> None:
    with RawClient(front.port) as client:
        client.login("agent", front.tokens["agent"], "shop", application_name="removed")
        client.send(query("SELECT 'before'"))
        client.until()
        front.statements("--match", "before", wait_for=1)
        shutil.rmtree(front.state / "tape")
        client.send(query("SELECT 'after'"))
        kind, payload = client.receive()
        assert kind == "E" and error_fields(payload)["C"] == "58030"
        assert client.closed()
    assert [entry.sql for entry in server18.log_statements("removed")] == ["SELECT 'before'"]


@pytest.mark.parametrize("what", ["removed", "renamed"])
def test_a_record_taken_away_does_not_pass_for_a_record(front: Gateway, server18: Server, what: str) -> None:
    """The current segment unlinked, or its directory moved: the gateway notices before the next statement."""
    tape = front.state / "tape"
    with RawClient(front.port) as client:
        client.login("agent", front.tokens["agent"], "shop", application_name=f"away-{what}")
        client.send(query("SELECT 'before'"))
        client.until()
        if what == "removed":
            for segment in tape.glob("*.tape"):
                segment.unlink()
        else:
            shutil.move(tape, front.state / "elsewhere")
            shutil.rmtree(front.state / "elsewhere")
        client.send(query("SELECT 'after'"))
        kind, payload = client.receive()
        assert kind == "E" and error_fields(payload)["C"] == "58030"
    assert [entry.sql for entry in server18.log_statements(f"away-{what}")] == ["SELECT 'before'"]


def test_read_only_tape_directory(small_front: Gateway, small_disk: Path, server18: Server) -> None:
    """The directory turns read-only: the current segment is filled, and there is no next one."""
    subprocess.run(["mount", "--bind", str(small_disk), str(small_disk)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", str(small_disk)], check=True)
    try:
        refused = fill(small_front, "read-only")
    finally:
        subprocess.run(["umount", "-l", str(small_disk)], check=True)
    assert refused.get("C") == "58030"
    assert_all_recorded(small_front, server18, "read-only")
    with small_front.connect("agent", "shop") as connection:
        connection.execute("SELECT 'writable again'")
    small_front.statements("--match", "writable again", wait_for=1)


def test_a_gateway_that_cannot_open_its_tape_does_not_start(state: Path) -> None:
    (state / "tape").write_text("not a directory")
    gateway = Gateway(state)
    with pytest.raises(AssertionError, match="did not become ready"):
        gateway.start()
    assert "Traceback" not in gateway.log and "tape" in gateway.log


def test_two_gateways_do_not_share_a_tape(front: Gateway) -> None:
    second = Gateway(front.state)
    with pytest.raises(AssertionError, match="did not become ready"):
        second.start()
    assert "Traceback" not in second.log
    time.sleep(0.1)
    with front.connect("agent", "shop") as connection:
        connection.execute("SELECT 1")
