"""A gateway with sinks: what real sessions on a real server become at real receivers, and what people see of
it."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from support.gateway import Gateway
from support.ocsf import schema
from support.receivers import HttpReceiver, accept
from support.servers import Server
from support.waiting import wait_until


@dataclass
class Site:
    gateway: Gateway
    receiver: HttpReceiver
    collector: HttpReceiver
    lake: Path

    def agent(self, run: str) -> psycopg.Connection:
        return self.gateway.connect("agent", "shop", options=f"-c pgwitness.run={run}")

    def got(self, kind: str, run: str | None) -> list[dict[str, Any]]:
        """What the webhook took."""
        return [each for each in self.receiver.documents if each["type"] == kind and each.get("run") == run]

    def status(self) -> dict[str, dict[str, Any]]:
        transport = httpx.HTTPTransport(uds=str(self.gateway.state / "admin.sock"))
        with httpx.Client(transport=transport, base_url="http://pgwitness/api/v1") as client:
            return {sink["sink"]: sink for sink in client.get("/sinks").json()}


@pytest.fixture(scope="module")
def site(server18: Server) -> Iterator[Site]:
    receiver, collector = HttpReceiver().start(), HttpReceiver().start()
    with tempfile.TemporaryDirectory(prefix="pgw-state-", ignore_cleanup_errors=True) as directory:
        lake = Path(directory) / "lake.jsonl"
        config = Path(directory) / "gateway.toml"
        config.write_text(
            f"""
[sinks.siem]
kind = "webhook"
url = "{receiver.url}/secret-path"
sql = "whole"
parameters = true

[sinks.lake]
kind = "file"
path = "{lake}"
format = "ocsf"

[sinks.traces]
kind = "otlp"
url = "{collector.url}"
"""
        )
        environment = {"PGWITNESS_CONFIG": str(config), "PGWITNESS_SINKS__SIEM__TOKEN": "t0ken"}
        running = Gateway(Path(directory) / "state", environment=environment)
        try:
            running.start()
            running.add_connection("shop", server18)
            running.add_identity("agent", "shop")
            yield Site(running, receiver, collector, lake)
        finally:
            running.stop()
            receiver.stop()
            collector.stop()


def test_from_a_client_to_the_siem(site: Site) -> None:
    with site.agent("first") as agent:
        agent.execute("CREATE TEMP TABLE t (a int)")
        agent.execute("BEGIN")
        agent.execute("INSERT INTO t VALUES (%s)", [7])
        wait_until(lambda: len(site.got("statement", "first")) == 1)
        agent.execute("ROLLBACK")
        with pytest.raises(psycopg.Error):
            agent.execute("ALTER ROLE nobody PASSWORD 'hunter2'")
    (ended,) = wait_until(lambda: site.got("session_ended", "first"))
    _, _, insert, _, alter = site.got("statement", "first")
    assert insert["sql"] == "INSERT INTO t VALUES ($1)" and insert["parameters"][0]["value"] == "7"
    assert insert["transaction"]["outcome"] == "rolled_back" and insert["final"] is True
    assert (insert["identity"], insert["rows"]) == ("agent", 1)
    assert alter["status"] == "error" and "'***'" in alter["sql"]
    assert ended["statements"] == 5 and ended["end_reason"] == "terminated"
    assert site.receiver.taken[0].headers["authorization"] == "Bearer t0ken"
    wait_until(lambda: '"Logoff"' in site.lake.read_text())
    events = [json.loads(line) for line in site.lake.read_text().splitlines()]
    assert [problem for event in events for problem in schema("1.7.0").problems(event)] == []
    assert "INSERT INTO t VALUES ($1)" in site.lake.read_text() and '"withheld"' in site.lake.read_text()
    wait_until(lambda: any(b'"session shop"' in posted.body for posted in site.collector.taken))
    everything = [posted.body for posted in [*site.receiver.taken, *site.collector.taken]]
    assert b"hunter2" not in b"".join(everything) + site.lake.read_bytes()


def test_refusals_and_kills(site: Site) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(site.gateway.dsn("agent", "shop", token="pgw_wrong"))
    (refusal,) = wait_until(lambda: site.got("refusal", None))
    assert refusal["identity"] == "agent" and "pgw_wrong" not in json.dumps(site.receiver.documents)
    with site.agent("killed") as agent:
        agent.execute("SELECT 1")
        (started,) = wait_until(lambda: site.got("session_started", "killed"))
        site.gateway.run("session", "kill", started["session"])
        (event,) = wait_until(lambda: site.got("session_event", "killed"))
        assert event["event"] == "kill_requested" and event["session"] == started["session"]
        (ended,) = wait_until(lambda: site.got("session_ended", "killed"))
        assert ended["end_reason"] == "killed"


def test_what_people_see(site: Site) -> None:
    wait_until(lambda: not any(sink["error"] for sink in site.status().values()))
    before = site.status()
    with site.agent("seen") as agent:
        agent.execute("SELECT 1")
    wait_until(
        lambda: all(
            sink["delivered"] >= before[name]["delivered"] + 3 for name, sink in site.status().items()
        )
    )
    out = site.gateway.run("sink", "list").stdout
    assert "webhook 127.0.0.1" in out and "arrives" in out and "secret-path" not in out and "t0ken" not in out
    assert "took the document test/" in site.gateway.run("sink", "test", "siem").stderr
    assert site.got("test", None)
    unknown = site.gateway.run("sink", "test", "nobody", check=False)
    assert unknown.returncode == 1 and "there is no sink 'nobody'" in unknown.stderr
    site.collector.behaviour = lambda _: (503, {}, b"")
    with site.agent("unseen") as agent:
        agent.execute("SELECT 2")
    wait_until(lambda: site.status()["traces"]["error"])
    failing = site.gateway.run("sink", "list", check=False)
    assert failing.returncode == 1 and "it answered 503" in failing.stdout
    refused = site.gateway.run("sink", "test", "traces", check=False)
    assert refused.returncode == 3 and "it answered 503" in refused.stderr
    transport = httpx.HTTPTransport(uds=str(site.gateway.state / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://pgwitness") as client:
        health = client.get("/health").json()
        assert health["status"] == "degraded" and health["sinks"] == {"failing": 1}
        metrics = client.get("/metrics").text
    assert 'pgwitness_sink_failing{sink="traces"} 1.0' in metrics
    assert 'pgwitness_sink_failing{sink="siem"} 0.0' in metrics
    site.collector.behaviour = accept


def test_killed_and_away_and_restarted_nothing_is_lost(site: Site) -> None:
    gateway, receiver = site.gateway, site.receiver
    receiver.stop()
    with site.agent("lost") as agent:
        for number in range(20):
            agent.execute(f"SELECT {number}")
        os.kill(int((gateway.state / "sinks" / "lock").read_text()), signal.SIGKILL)
        for number in range(20, 40):
            agent.execute(f"SELECT {number}")
    gateway.statements("--run", "lost", wait_for=40)
    assert gateway.terminate() == 0
    gateway.restart()
    with site.agent("lost") as agent:
        agent.execute("SELECT 40")
    receiver.start()
    wait_until(lambda: len({each["id"] for each in site.got("statement", "lost")}) == 41)
    wait_until(lambda: len({each["id"] for each in site.got("session_ended", "lost")}) == 2)
    first = list(dict.fromkeys(each["id"] for each in site.got("statement", "lost")))
    texts = {each["id"]: each["sql"] for each in site.got("statement", "lost")}
    assert [texts[id] for id in first] == [f"SELECT {number}" for number in range(41)]
