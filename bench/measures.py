"""What is measured on a route: each measure takes a route and gives one number."""

import os
import re
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg

from bench.routes import Route, sealed
from pgwitness._core import KIND_CLIENT, KIND_SERVER, TapeReader
from pgwitness.embedded import wheel_programs
from pgwitness.record.checkpoint import Checkpoint
from pgwitness.record.layout import Layout
from pgwitness.record.log_reader import LogReader
from support.raw import RawClient, message, query

_A_HASH_AND_LENGTH = 34

Measure = Callable[[Route], float]
Fresh = Callable[[], AbstractContextManager[Route]]

PIPELINE = "\\startpipeline\n" + "SELECT 1;\n" * 20 + "\\endpipeline\n"
_TPS = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")
_TPS_WITH = re.compile(r"tps = ([\d.]+) \(including reconnection times\)")
_DONE = re.compile(r"number of transactions actually processed: (\d+)")


def transactions(*arguments: str, seconds: float, clients: int) -> Measure:
    """Transactions a second by pgbench."""

    def measure(route: Route) -> float:
        output = _pgbench(route, *arguments, "-T", str(int(seconds)), "-c", str(clients), "-j", "2")
        found = _TPS.search(output) or _TPS_WITH.search(output)
        assert found, output
        return float(found[1])

    return measure


def pipelined(*, seconds: float, clients: int) -> Measure:
    """Statements a second in batches of 20 in one pipeline."""

    def measure(route: Route) -> float:
        with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
            script.write(PIPELINE)
            script.flush()
            batches = transactions("-M", "extended", "-f", script.name, seconds=seconds, clients=clients)
            return batches(route) * 20

    return measure


HELPERS = {"indexer": "pgwitness.index.indexer", "sealer": "pgwitness.sealing"}
"""Processes of ours that work behind the relay, by their command lines."""


def cpu_a_statement(*, statements: int, clients: int = 8) -> dict[str, Measure]:
    """Microseconds of CPU of the processes between client and server, a statement; those of each helper
    apart."""

    def measure(route: Route, kind: str) -> float:
        chosen = [p for p in route.processes if _kind(" ".join(p.cmdline())) == kind]
        if not chosen:
            return float("nan")

        def used() -> float:
            return sum(p.cpu_times().user + p.cpu_times().system for p in chosen)

        before = used()
        each = statements // clients
        output = _pgbench(route, "-S", "-M", "prepared", "-c", str(clients), "-j", "2", "-t", str(each))
        found = _DONE.search(output)
        assert found, output
        if kind in HELPERS:
            _settle(used)
        return (used() - before) / int(found[1]) * 1e6

    return {kind: lambda route, kind=kind: measure(route, kind) for kind in ("relay", *HELPERS)}


def _kind(command: str) -> str:
    return next((kind for kind, text in HELPERS.items() if text in command), "relay")


def bulk_select(rows: int) -> Measure:
    """MB/s of a large result."""
    return lambda route: _drain(
        route, query(f"SELECT n, repeat('r', 200) FROM generate_series(1, {rows}) AS n")
    )


def copy_out(rows: int) -> Measure:
    """MB/s of COPY TO STDOUT."""
    copy = f"COPY (SELECT n, repeat('r', 200) FROM generate_series(1, {rows}) AS n) TO STDOUT"
    return lambda route: _drain(route, query(copy))


def copy_in(size: int) -> Measure:
    """MB/s of COPY FROM STDIN into an unlogged table."""
    rows = b"".join(b"%d\t%s\n" % (number, b"r" * 200) for number in range(300))
    chunk = message("d", rows)

    def measure(route: Route) -> float:
        with _client(route) as client:
            client.send(query("DROP TABLE IF EXISTS bulk; CREATE UNLOGGED TABLE bulk (n int, r text)"))
            client.until()
            client.send(query("COPY bulk FROM STDIN"))
            client.until("G")
            began = time.perf_counter()
            sent = 0
            while sent < size:
                client.send(chunk)
                sent += len(rows)
            client.send(message("c"))
            answer = client.until()
            seconds = time.perf_counter() - began
            assert answer[0][0] == "C", answer
            client.send(query("TRUNCATE bulk"))
            client.until()
        return sent / seconds / 1e6

    return measure


def set_up(*, sessions: int) -> Measure:
    """Milliseconds from connecting to being logged in, one after the other: the median."""

    def measure(route: Route) -> float:
        taken = []
        for _ in range(sessions):
            began = time.perf_counter()
            connection = psycopg.connect(route.dsn)
            taken.append(time.perf_counter() - began)
            connection.close()
        return statistics.median(taken) * 1000

    return measure


def idle_memory(sessions: int, fresh: dict[str, Fresh]) -> dict[str, Measure]:
    """KiB a session, over so many idle ones, of the processes between client and server. On processes just
    started, each time: what an earlier load left allocated would hide what sessions need."""
    found: dict[str, dict[str, float]] = {}

    def measure(name: str, kind: str) -> float:
        if kind == "rss":  # measured first; the other figure is of the same sessions
            with fresh[name]() as route:
                found[name] = _idle_memory(route, sessions)
        return found[name][kind]

    return {"rss": lambda route: measure(route.name, "rss"), "pss": lambda route: measure(route.name, "pss")}


def tape_bytes(*, statements: int) -> Measure:
    """Bytes on the tape a statement of pgbench -S -M prepared."""

    def measure(route: Route) -> float:
        if route.gateway is None:
            return float("nan")
        before = _tape_length(route.gateway.state / "tape")
        _pgbench(route, "-S", "-M", "prepared", "-c", "1", "-t", str(statements))
        return (_tape_length(route.gateway.state / "tape") - before) / statements

    return measure


def record_bytes(*, statements: int, clients: int = 8) -> dict[str, Measure]:
    """Bytes of the sealed record a statement of pgbench -S -M prepared, and how many for each byte of
    the wire."""

    def measure(route: Route) -> tuple[float, float]:
        assert route.gateway is not None
        state = route.gateway.state
        sealed(state)
        before = LogReader(Layout(state / "record")).checkpoint
        each = statements // clients
        _pgbench(route, "-S", "-M", "prepared", "-c", str(clients), "-j", "2", "-t", str(each))
        sealed(state)
        return _record_length(state, before), _wire_length(state / "tape", before.tape)

    def a_statement(route: Route) -> float:
        return measure(route)[0] / statements

    def a_byte(route: Route) -> float:
        stored, wire = measure(route)
        return stored / wire

    return {"bytes": a_statement, "ratio": a_byte}


def _record_length(state: Path, before: Checkpoint) -> int:
    """What came since: objects, and entries with their hash and length. Partial tiles do not stay."""
    layout = Layout(state / "record")
    entries = sum(len(entry) + _A_HASH_AND_LENGTH for _, entry in LogReader(layout).raw_entries(before.size))
    objects = sum(
        layout.segment(number).stat().st_size
        for number in layout.segment_numbers()
        if number >= before.segment
    )
    return entries + objects - before.offset


def _wire_length(tape: Path, position: int) -> int:
    reader = TapeReader(tape, position)
    total = 0
    while frames := reader.read():
        total += sum(len(frame[5]) for frame in frames if frame[2] in (KIND_CLIENT, KIND_SERVER))
    return total


def _pgbench(route: Route, *arguments: str) -> str:
    done = subprocess.run(
        [str(wheel_programs() / "pgbench"), "-n", *arguments],
        env=route.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{route.name}: {done.stderr}"
    return done.stdout


def _client(route: Route) -> RawClient:
    client = RawClient(route.port, timeout=600)
    return client.login(route.user, route.password, route.database)


def _drain(route: Route, request: bytes) -> float:
    """Read and drop: a client that costs next to nothing."""
    with _client(route) as client:
        began = time.perf_counter()
        client.send(request)
        total, tail, buffer = 0, b"", bytearray(1 << 20)
        while not tail.endswith(b"Z\0\0\0\5I"):
            count = client.socket.recv_into(buffer)
            if not count:
                raise ConnectionError(f"{route.name} closed after {total} bytes")
            total += count
            tail = (tail + bytes(buffer[max(0, count - 8) : count]))[-8:]
        return total / (time.perf_counter() - began) / 1e6


def _idle_memory(route: Route, sessions: int) -> dict[str, float]:
    def now() -> dict[str, int]:
        infos = [process.memory_full_info() for process in route.processes]
        return {"rss": sum(i.rss for i in infos), "pss": sum(i.pss for i in infos)}

    with psycopg.connect(route.dsn):
        pass  # what the first session of all makes is not an idle session's
    before = now()
    connections = [psycopg.connect(route.dsn, autocommit=True) for _ in range(sessions)]
    time.sleep(2)
    after = now()
    for connection in connections:
        connection.close()
    time.sleep(1)
    return {kind: (after[kind] - before[kind]) / sessions / 1024 for kind in before}


def _settle(used: Callable[[], float]) -> None:
    """Wait until a process has done its work."""
    last = -1.0
    while (now := used()) - last > 0.02:
        last = now
        time.sleep(1.0)


def _tape_length(tape: Path) -> int:
    """Bytes of frames on the tape: whole segments, and the last one as far as it is written."""
    segments = sorted(tape.glob("*.tape"))
    total = sum(path.stat().st_size for path in segments[:-1])
    with segments[-1].open("rb") as last:
        content = last.read()
    at = 64
    while at + 8 <= len(content):
        (length,) = struct.unpack_from("<I", content, at)
        if length == 0xFFFFFFFF or content[at : at + 8] == b"\0" * 8:
            break
        at += (48 + length + 7) & ~7
    return total + at


def raise_file_limit() -> None:
    """A thousand sessions are two thousand files."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def machine() -> dict[str, str]:
    """What the numbers were made on."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "unknown",
    )
    bouncer = subprocess.run(["/usr/sbin/pgbouncer", "--version"], capture_output=True, text=True).stdout
    server = subprocess.run([str(wheel_programs() / "postgres"), "--version"], capture_output=True, text=True)
    return {
        "machine": f"{cpu}, {os.cpu_count()} cores, Linux {os.uname().release}",
        "server": server.stdout.strip(),
        "pooler": bouncer.splitlines()[0] if bouncer else "none",
        "network": f"loopback of {socket.gethostname() and 'one machine'}; TLS in the tunnel only",
    }
