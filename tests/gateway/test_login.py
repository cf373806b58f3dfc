"""Who gets in, and what the others learn and leave behind."""

import asyncio
import hashlib
from typing import Any

import psycopg
import pytest
from rawclient import insecure_tls

from pgwitness.wire import codec


async def refusal(dial: Any, running: Any, user: str, password: str, database: str = "shop") -> Any:
    """The ErrorResponse that ends a log-in."""
    client = await dial(running)
    await client.send(codec.startup_message(3 << 16, {"user": user, "database": database}))
    kind, payload = await client.log_in(user, password)
    assert kind == b"E"
    return codec.parse_error(payload)


async def test_every_failure_looks_the_same(dial: Any, running: Any) -> None:
    good = running.tokens["agent"]
    token_id = running.issue("agent")
    revoked = running.tokens["agent"]
    running.catalog.tokens.revoke(token_id, actor="test")
    running.catalog.identities.add("sleeper", actor="test", connections=("shop",))
    running.issue("sleeper")
    running.catalog.identities.set_disabled("sleeper", True, actor="test")
    for user, password in [
        ("agent", "wrong"),
        ("agent", good + "x"),
        ("agent", revoked),
        ("nobody", good),
        ("sleeper", running.tokens["sleeper"]),
        ("b\udce4r", "x"),
    ]:
        error = await refusal(dial, running, user, password)
        shown = user.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        assert (error.sqlstate, error.severity) == ("28P01", "FATAL")
        assert error.message == f'password authentication failed for user "{shown}"'
        assert error.detail is None and error.hint is None
    events = running.events("login_refused")
    assert [event["reason"] for event in events] == [
        "wrong_token",
        "wrong_token",
        "revoked_token",
        "unknown_identity",
        "identity_disabled",
        "unknown_identity",
    ]
    assert [event["token"] for event in events] == [None, None, token_id, None, None, None]
    assert events[0]["identity"] == "agent" and events[0]["address"].startswith("127.0.0.1:")


async def test_the_salt_of_an_unknown_identity_stays(dial: Any, running: Any) -> None:
    salts = []
    for user in ("agent", "nobody", "nobody"):
        client = await dial(running)
        await client.send(codec.startup_message(3 << 16, {"user": user}))
        await client.message()
        await client.send(codec.sasl_initial_response("SCRAM-SHA-256", b"n,,n=,r=abc"))
        _, payload = await client.message()
        salts.append(payload.partition(b",s=")[2])
    assert salts[1] == salts[2] != salts[0]


async def test_two_live_tokens_for_rotation(running: Any) -> None:
    first = running.tokens["agent"]
    running.issue("agent")
    for token in (first, running.tokens["agent"]):
        running.tokens["agent"] = token
        await (await running.connect("agent", "shop")).close()
    assert len({header["token"] for header in running.headers()}) == 2


async def test_a_man_in_the_middle_who_takes_plus_away(dial: Any, running: Any) -> None:
    client = await dial(running)
    await client.send(codec.ssl_request())
    await client.read(1)
    await client.start_tls(insecure_tls())
    await client.send(codec.startup_message(3 << 16, {"user": "agent", "database": "shop"}))
    _, payload = await client.message()
    assert codec.parse_sasl_mechanisms(payload[4:]) == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]
    await client.send(codec.sasl_initial_response("SCRAM-SHA-256", b"y,,n=,r=abc"))
    kind, payload = await client.message()
    assert kind == b"E" and codec.parse_error(payload).sqlstate == "28P01"
    (event,) = running.events("login_refused")
    assert event["reason"] == "downgrade"


async def test_channel_binding_to_another_certificate(dial: Any, running: Any) -> None:
    client = await dial(running)
    await client.send(codec.ssl_request())
    await client.read(1)
    await client.start_tls(insecure_tls())
    await client.send(codec.startup_message(3 << 16, {"user": "agent", "database": "shop"}))
    binding = hashlib.sha256(b"another certificate").digest()
    kind, payload = await client.log_in("agent", running.tokens["agent"], binding=binding)
    assert kind == b"E" and codec.parse_error(payload).sqlstate == "28P01"


@pytest.mark.parametrize(
    ("granted", "database", "sqlstate"),
    [("shop", "other", "42501"), ("shop", "unknown", "42501"), ("any", "unknown", "3D000")],
)
async def test_without_a_grant_nobody_learns_what_exists(
    dial: Any, running: Any, granted: str, database: str, sqlstate: str
) -> None:
    running.add_connection("other")
    running.catalog.identities.add(
        "guest", actor="test", connections="any" if granted == "any" else (granted,)
    )
    running.issue("guest")
    with pytest.raises(psycopg.OperationalError):
        await running.connect("guest", database)
    error = await refusal(dial, running, "guest", running.tokens["guest"], database)
    assert error.sqlstate == sqlstate
    assert (error.severity, "127.0.0.1" in error.message) == ("FATAL", False)
    reasons = {event["reason"] for event in running.events("session_refused")}
    assert reasons == {"no_grant" if sqlstate == "42501" else "unknown_connection"}


async def test_no_secret_is_on_the_tape(dial: Any, running: Any) -> None:
    async with await running.connect("agent", "shop") as connection:
        await connection.execute("SELECT 1")
    await refusal(dial, running, "agent", running.tokens["agent"] + "x")
    await asyncio.sleep(0.1)
    tape = running.everything()
    secret = running.tokens["agent"].split("_", 2)[2].encode()
    assert secret not in tape
    assert b"upstream-secret" not in tape
    assert b"biws" not in tape and b"SCRAM-SHA-256" in tape
