"""A session from log-in to its end, by real clients against a real server."""

import asyncio
from typing import Any


async def test_a_query_and_its_record(running: Any) -> None:
    async with await running.connect("agent", "shop", options="-c pgwitness.run=run-81") as connection:
        cursor = await connection.execute("SELECT current_user, current_setting('pgwitness.run')")
        assert await cursor.fetchall() == [("app", "run-81")]
    (header,) = running.headers()
    assert header["identity"] == "agent" and header["connection"] == "shop"
    assert header["claims"]["run"] == "run-81"
    assert header["client"]["authentication"] == "SCRAM-SHA-256"
    await asyncio.sleep(0.1)
    assert running.ends()[header["session"]]["reason"] == "terminated"
