"""``pgwitness gateway`` as a process: what it prints, how it ends, and who may reach its API."""

import json
import os
import signal
import stat
import subprocess
import time
from pathlib import Path

import httpx
import psycopg

from support.gateway import Gateway
from support.servers import PASSWORD, Server


def test_from_start_to_stop(gateway: Gateway, server18: Server) -> None:
    gateway.add_connection("shop", server18)
    gateway.add_identity("agent", "shop")
    with gateway.connect("agent", "shop") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
        second = subprocess.run(
            gateway._command("gateway", "--port", "0", "--http-port", "0"),
            capture_output=True,
            text=True,
            env=gateway.environment,
            timeout=60,
        )
        assert second.returncode == 3 and f"process {gateway.pid}" in second.stderr
        assert "Traceback" not in second.stderr
    assert stat.S_IMODE((gateway.state / "admin.sock").stat().st_mode) == 0o600
    assert gateway.terminate() == 0
    assert not (gateway.state / "admin.sock").exists()
    records = [json.loads(line) for line in gateway.log.splitlines() if line.startswith("{")]
    events = [record["event"] for record in records]
    for event in ("ready", "session_started", "session_ended", "stopping", "stopped"):
        assert event in events
    assert PASSWORD not in gateway.log and gateway.tokens["agent"] not in gateway.log
    assert "Traceback" not in gateway.log


def test_stop_during_a_statement_by_two_signals(gateway: Gateway, server18: Server) -> None:
    gateway.add_connection("shop", server18)
    gateway.add_identity("agent", "shop")
    connection = gateway.connect("agent", "shop")
    connection.pgconn.send_query(b"SELECT pg_sleep(20)")
    time.sleep(0.3)
    started = time.monotonic()
    os.kill(gateway.pid, signal.SIGINT)
    time.sleep(0.3)
    assert gateway.terminate(15) == 0
    assert time.monotonic() - started < 12
    connection.close()


def test_the_api_over_tcp_wants_a_token(gateway: Gateway) -> None:
    assert httpx.get(f"{gateway.http}/api/v1/connections").status_code == 401
    transport = httpx.HTTPTransport(uds=str(gateway.state / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://gateway") as local:
        assert local.get("/api/v1/connections").status_code == 200


def test_a_killed_gateway_leaves_an_interrupted_session(gateway: Gateway, server18: Server) -> None:
    gateway.add_connection("shop", server18)
    gateway.add_identity("agent", "shop")
    connection: psycopg.Connection = gateway.connect("agent", "shop")
    connection.execute("SELECT 'before the crash'")
    gateway.kill()
    connection.close()
    gateway.restart()
    (session,) = gateway.sessions(wait_for=lambda found: bool(found and found[0].get("ended_at")))
    assert "interrupted" in json.dumps(session)
    (statement,) = gateway.statements(wait_for=1)
    assert statement["sql"] == "SELECT 'before the crash'"


def test_an_unusable_state_directory_is_one_clear_line(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    running = Gateway(file / "state")
    done = running.run("gateway", "--port", "0", "--http-port", "0", check=False)
    assert done.returncode != 0 and "Traceback" not in done.stderr and done.stderr.strip()
