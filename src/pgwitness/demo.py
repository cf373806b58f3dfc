"""The story in one command: an agent makes a 40,000-row mistake through a driver, and the record tells.

Everything is real: PostgreSQL 18 from a wheel, a gateway and a connector in processes of their own, psycopg
as the agent's driver. Only the agent is a script. What the screen shows is what ``pgwitness statements``
prints, not what the script knows.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pgwitness.demo_proof import Proof, prove
from pgwitness.demo_stage import (
    CONNECTION,
    IDENTITY,
    connector,
    database,
    gateway,
    pgwitness,
    register,
    viewer,
)
from pgwitness.errors import UnavailableError

RUN = "run-81"
INDEX_SECONDS = 15.0
MISTAKE = 40_000
WIDTH = 110  # where there is no terminal to ask

SCHEMA = (
    "CREATE TABLE orders (id int PRIMARY KEY, region text, status text, cents int)",
    # 40,000 orders in the west, 20,000 in the east; 4 and 3 of them are tests of less than 50 cents.
    """INSERT INTO orders
       SELECT n, CASE WHEN n % 3 = 0 THEN 'east' ELSE 'west' END, 'paid',
              CASE WHEN n <= 10 AND n <> 5 AND n <> 7 AND n <> 10 THEN 1 ELSE 100 + n % 4900 END
       FROM generate_series(1, 60000) AS n""",
    "CREATE TABLE refunds (order_id int REFERENCES orders, cents int, note text)",
    "GRANT SELECT, INSERT, UPDATE ON orders, refunds TO agent",
)
VOID = "UPDATE orders SET status = %s WHERE region = %s AND cents < %s"

Statement = dict[str, Any]


def run(keep: bool = False) -> None:
    """Play the story and print the record of it. ``keep`` leaves everything running until Ctrl-C."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    state = Path(tempfile.mkdtemp(prefix="pgwitness-demo-"))
    with contextlib.ExitStack() as stack:
        with console.status("PostgreSQL 18 starts, out of a wheel …"):
            cluster = stack.enter_context(database(*SCHEMA))
        with console.status("The gateway starts …"):
            ready = stack.enter_context(gateway(state))
        with console.status("A connector starts beside PostgreSQL, and dials out to the gateway …"):
            stack.enter_context(connector(state, ready["tunnel"], cluster.password))
            token = register(state, cluster.port)
        dsn = f"postgresql://{IDENTITY}:{token}@{ready['postgres']}/{CONNECTION}"
        with console.status("An agent is told: “Void the test orders below 50 cents.” It works …"):
            _agent(dsn)
        with console.status("The record is read …"):
            statements = _record(state)
        _show(console, statements, _way(state, statements[0]["session"]))
        _radius(console, _blast(state, statements[0]["session"]))
        with console.status("The record is verified, and a copy of it is changed …"):
            proof = prove(state, statements[0]["session"], statements[-1]["position"])
        _prove(console, proof)
        _next_steps(console, state, statements[0]["session"])
        if keep:
            _wait(console, ready["http"], Path(ready["state"]), dsn)


# the agent


def _agent(dsn: str) -> None:
    """What a model might do with a database tool. It knows nothing of pgwitness: this is plain psycopg."""
    with psycopg.connect(
        dsn, autocommit=True, application_name="agent", options=f"-c pgwitness.run={RUN}"
    ) as connection:
        execute = connection.execute
        execute("SELECT region, count(*), min(cents), max(cents) FROM orders GROUP BY region ORDER BY region")
        with contextlib.suppress(psycopg.errors.UndefinedColumn):
            execute("SELECT id, amount FROM orders WHERE region = %s LIMIT 5", ("east",))
        execute("SELECT id, cents FROM orders WHERE region = %s AND cents < %s", ("east", 50))
        with connection.transaction():
            execute(VOID, ("void", "east", 50), prepare=True)
            execute(
                sql.SQL("INSERT INTO refunds SELECT id, cents, %s FROM orders WHERE status = %s"),
                ("test order", "void"),
            )
        # The second run of the same prepared statement. Fifty euros in cents, where fifty cents were meant.
        with connection.transaction():
            execute(VOID, ("void", "west", 5000), prepare=True)
        execute("SELECT count(*) FROM refunds")


# the record


def _record(state: Path) -> list[Statement]:
    """The agent's statements, once the indexer has the last one."""
    deadline = time.monotonic() + INDEX_SECONDS
    while True:
        listed = pgwitness(state, "statements", "--identity", IDENTITY, "--limit", "200", "--format", "jsonl")
        statements = [json.loads(line) for line in listed.splitlines()]
        if statements and "FROM refunds" in statements[-1]["sql"] and statements[-1]["status"] == "ok":
            return statements
        if time.monotonic() > deadline:
            log = (state / "gateway.log").read_text(errors="replace")
            raise UnavailableError("the record does not show the agent's last statement", hint=log[-2000:])
        time.sleep(0.1)


def _way(state: Path, session: str) -> str:
    """Who dialled the database, as the session's header on the record tells."""
    shown = json.loads(pgwitness(state, "session", "show", session, "--format", "json"))
    return str(shown["header"]["upstream"]["connector"])


def _show(console: Console, statements: list[Statement], way: str) -> None:
    first = statements[0]
    table = Table(box=None, padding=(0, 1), expand=True, header_style="dim")
    table.add_column("#", justify="right", style="dim")
    table.add_column("what the agent ran, with its values", ratio=1)
    table.add_column("what came back", justify="right", no_wrap=True)
    table.add_column("outcome", no_wrap=True)
    for statement in statements:
        table.add_row(str(statement["seq"]), _ran(statement), _came_back(statement), _outcome(statement))
    who = Text.assemble(
        ("who ", "dim"), (first["identity"], "bold"), ("  claims run ", "dim"), str(first["run"]),
        ("  on ", "dim"), first["connection"], ("  dialled by connector ", "dim"), way,
        ("\nsession ", "dim"), first["session"],
    )  # fmt: skip
    story = Text.assemble(
        ("The agent reported: ", "dim"), ("“Done. I voided 7 test orders.”", "italic"),
        ("   The record, made outside its process:", "dim"),
    )  # fmt: skip
    console.print(
        Panel(
            Group(story, who, Text(), table, Text(), _verdict(statements)),
            title="pgwitness",
            border_style="cyan",
        )
    )


def _ran(statement: Statement) -> Text:
    text = Text(" ".join(statement["sql"].split()), style="bold red" if _damage(statement) else "")
    if statement["parameters"]:
        text.append(f"\n{_values(statement)}", style="red" if _damage(statement) else "cyan")
    return text


def _values(statement: Statement) -> str:
    return ", ".join(f"${n} = {_value(given)}" for n, given in enumerate(statement["parameters"], 1))


def _value(parameter: dict[str, Any]) -> str:
    value = parameter["value"]
    if value is None:
        return "NULL"
    return str(value) if str(parameter["type"]).startswith("int") else f"'{value}'"


def _came_back(statement: Statement) -> Text:
    if statement["status"] != "ok":
        return Text(f"{statement['status']} {statement['sqlstate']}", style="yellow")
    return Text(str(statement["tag"]), style="bold red" if _damage(statement) else "green")


def _outcome(statement: Statement) -> Text:
    outcome = statement["transaction"]["outcome"]
    return Text(outcome.replace("_", " "), style="bold red" if _damage(statement) else "dim")


def _damage(statement: Statement) -> bool:
    return statement["command"] != "SELECT" and (statement["rows"] or 0) >= MISTAKE


def _verdict(statements: list[Statement]) -> Text:
    """The mistake in one sentence, with the earlier run of the same statement beside it."""
    for late in filter(_damage, statements):
        for early in statements:
            if early["sql"] == late["sql"] and early["seq"] < late["seq"]:
                return Text(
                    f"Statement {late['seq']} is the mistake: the same text as statement {early['seq']}, "
                    f"but with {_values(late)}. It changed {late['rows']:,} rows, and is "
                    f"{late['transaction']['outcome']}; the agent spoke of 7, statement {early['seq']} "
                    f"changed {early['rows']:,}.",
                    style="red",
                )
    return Text()


def _blast(state: Path, session: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(pgwitness(state, "blast", session, "--format", "json"))
    return shown


def _radius(console: Console, blast: dict[str, Any]) -> None:
    """What was written and committed, with the statements behind each number, and what was read."""
    shown = Text()
    label = "wrote     "
    for entry in blast["writes"]:
        behind = ", ".join(f"{each['rows']:,} by statement {each['seq']}" for each in entry["largest"])
        style = "bold red" if entry["rows"] >= MISTAKE else ""
        shown.append(label, "dim").append(
            f"{entry['rows']:,} rows: {entry['command']} {entry['table']}", style
        )
        shown.append(f", committed ({behind})\n")
        label = " " * len(label)
    read = [f"{each['table']} ({', '.join(each['columns'] or ['no columns'])})" for each in blast["reads"]]
    console.print(Text.assemble(shown, ("read      ", "dim"), ", ".join(read)), soft_wrap=True)


def _prove(console: Console, proof: Proof) -> None:
    console.print(
        Text.assemble(
            ("verified  ", "dim"), ("Sound: ", "bold green"),
            f"{proof.entries:,} entries, {proof.statements:,} statements; a copy, by its public key alone.",
            ("\ntampered  ", "dim"), ("Caught: ", "bold red"), f"in the copy, {proof.changed}:\n          ",
            proof.caught,
        ),
        soft_wrap=True,
    )  # fmt: skip


def _next_steps(console: Console, state: Path, session: str) -> None:
    beside = os.path.relpath(Path(sys.executable).with_name("pgwitness"))
    program = "pgwitness" if shutil.which("pgwitness") else beside
    steps = (
        ("", f"export PGWITNESS_STATE={state}"),
        ("replay it in order, with its results", f"{program} session replay {session} --speed max --results"),
        ("all it wrote, read and changed, and what that leaves out", f"{program} blast {session}"),
        ("every large write of anybody", f"{program} statements --command UPDATE --min-rows 1000"),
        (
            "take it elsewhere, with its proofs",
            f"{program} session export {session} --format bundle -o session.zip",
        ),
    )
    console.print("Go on (the record is readable with the gateway running and without it):")
    for why, command in steps:
        if why:
            console.print(f"  # {why}", style="dim", highlight=False)
        console.print(f"  {command}", soft_wrap=True, highlight=False)


def _wait(console: Console, web: str, state: Path, dsn: str) -> None:
    """Until Ctrl-C or SIGTERM."""
    token = viewer(state)
    console.print(
        f"\nweb     {web}, sign in with {token}\nconnect psql '{dsn}'\n[dim]Ctrl-C ends it.[/dim]",
        soft_wrap=True,
    )
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: None)
    signal.pause()
