"""An agent that logs its own transcript while it works through a gateway: truth passes, a lie is named."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from support.live import Live


class Agent:
    """A scripted agent with one tool, and the transcript of its conversation that its framework keeps."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.messages: list[dict[str, Any]] = [{"role": "user", "content": "void what is small in the west"}]

    def run_sql(self, sql: str, *params: object) -> None:
        identity = f"call_{len(self.messages)}"
        arguments = {"sql": sql, **({"params": list(params)} if params else {})}
        function = {"name": "run_sql", "arguments": json.dumps(arguments)}
        call = {"id": identity, "type": "function", "function": function}
        self.messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        content = json.dumps(self._call(sql, params))
        self.messages.append({"role": "tool", "tool_call_id": identity, "content": content})

    def _call(self, sql: str, params: tuple[object, ...]) -> dict[str, Any]:
        try:
            with self.connection.transaction(), self.connection.cursor() as cursor:
                cursor.execute(sql, params or None)
                return (
                    {"rows": len(cursor.fetchall())} if cursor.description else {"rowcount": cursor.rowcount}
                )
        except psycopg.Error as error:
            return {"error": str(error)}


@pytest.fixture
def transcript(live15: Live, tmp_path: Path) -> Path:
    with live15.connect() as connection:
        agent = Agent(connection)
        agent.run_sql("CREATE TEMP TABLE parcels (id int, region text, cents numeric, at timestamptz)")
        agent.run_sql(
            "INSERT INTO parcels SELECT n, CASE WHEN n %% 2 = 0 THEN 'west' ELSE 'east' END, n, %s "
            "FROM generate_series(1, 100) n",
            "2026-11-22T06:45:31+00:00",
        )
        agent.run_sql("SELECT id FROM parcels WHERE region = %s AND cents < %s ORDER BY id", "west", 20.5)
        agent.run_sql("UPDATE parcels SET region = %s WHERE id = ANY(%s)", "void", [2, 4, 6])
        agent.run_sql("SELECT nothing FROM parcels")
        agent.run_sql("DELETE FROM parcels WHERE region = 'void' AND cents < 5; SELECT count(*) FROM parcels")
    path = tmp_path / "transcript.json"
    path.write_text(json.dumps({"messages": agent.messages}))
    closed = lambda found: len(found) == 1 and found[0]["ended_at"] is not None  # noqa: E731
    live15.gateway.sessions("--run", live15.run, wait_for=closed)
    return path


def test_an_honest_agent_and_one_that_lies(live15: Live, transcript: Path) -> None:
    honest = live15.gateway.run("claims", "--run", live15.run, str(transcript), check=False)
    assert honest.returncode == 0, honest.stdout + honest.stderr
    assert "MATCHES" in honest.stdout

    said = transcript.read_text()
    assert said.count("[2, 4, 6]") == 1
    transcript.write_text(said.replace("[2, 4, 6]", "[2, 4, 8]"))
    lying = live15.gateway.run(
        "claims", "--run", live15.run, str(transcript), "--format", "jsonl", check=False
    )
    assert lying.returncode == 1, lying.stderr
    summary, *findings = [json.loads(line) for line in lying.stdout.splitlines()]
    (wrong,) = [each for each in findings if each["counts"]]
    assert summary["verdict"] == "differs"
    assert wrong["kind"] == "altered"
    assert wrong["record"]["sql"].startswith("UPDATE parcels")
    (difference,) = wrong["differences"]
    assert difference["what"] == "value of id in WHERE"
    assert (difference["claimed"], difference["recorded"]) == ("ARRAY[2, 4, 8]", "'{2,4,6}'")
