import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pgwitness.api.client import connect
from pgwitness.cli import run
from pgwitness.config import Settings

SERVER = ("--host", "db", "--database", "shop", "--user", "app")


class Done(NamedTuple):
    code: int
    out: str
    err: str


class Pgwitness:
    """The program, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        code = run(arguments)
        return Done(code, *self._capsys.readouterr())

    def json(self, *arguments: str) -> object:
        done = self(*arguments, "--format", "json")
        assert done.code == 0, done.err
        return json.loads(done.out)


@pytest.fixture
def pgwitness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Pgwitness:
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN", "PGWITNESS_CONFIG", "PGWITNESS_DEBUG"):
        monkeypatch.setenv(name, "")  # not deleted, so that what a command sets is undone after the test
    monkeypatch.setenv("PGWITNESS_STATE", str(tmp_path / "state"))
    return Pgwitness(capsys)


@pytest.fixture
def begun(pgwitness: Pgwitness, tmp_path: Path) -> Pgwitness:
    """On a state directory that holds a catalog, and nothing in it."""
    with connect(Settings(state=tmp_path / "state"), new=True):
        return pgwitness


def program(*arguments: str, stdin: str = "", **environment: str) -> Done:
    """The program, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "pgwitness", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        env=os.environ | environment,
        timeout=60,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_from_registration_to_a_token(pgwitness: Pgwitness) -> None:
    added = pgwitness("connection", "add", "orders", *SERVER, "--sslmode", "require", "--results", "none")
    assert added.code == 0 and "pgwitness connection check orders" in added.err
    assert pgwitness("identity", "add", "agent", "--connections", "orders").code == 0
    issued = pgwitness("token", "issue", "agent", "--ttl", "90d", "--on-behalf-of", "alice")
    token = issued.out.strip()
    assert token.startswith("pgw_") and "\n" not in token and token not in issued.err
    listed = pgwitness.json("token", "list", "--identity", "agent")
    assert isinstance(listed, list) and token.startswith(f"pgw_{listed[0]['id']}_")
    assert token not in pgwitness("token", "list", "--format", "csv").out
    revoked = pgwitness("token", "revoke", token)
    assert revoked.code == 0 and "revoked" in revoked.out and token not in revoked.out
    assert pgwitness("token", "revoke", token).code == 1
    assert [entry["action"] for entry in pgwitness.json("audit")] == [  # type: ignore[attr-defined]
        "token.revoke",
        "token.issue",
        "identity.add",
        "connection.add",
    ]


def test_an_admin_token_of_a_service_is_pointed_out(pgwitness: Pgwitness) -> None:
    pgwitness("identity", "add", "agent")
    pgwitness("identity", "add", "alice", "--kind", "human")
    assert "agent is a service" in pgwitness("token", "issue", "agent", "--role", "admin").err
    assert "service" not in pgwitness("token", "issue", "agent").err
    assert "service" not in pgwitness("token", "issue", "alice", "--role", "admin").err


def test_passwords_come_from_where_nobody_sees_them(pgwitness: Pgwitness, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("hunter2\r\nnot this\n")
    add = ("connection", "add")
    assert pgwitness(*add, "a", *SERVER, "--password-file", str(file)).code == 0
    assert program(*add, "b", *SERVER, "--password-stdin", stdin="hunter2\n").code == 0
    assert program(*add, "c", *SERVER, "--password-env", "PW", PW="hunter2").code == 0
    assert pgwitness(*add, "d", *SERVER).code == 0
    listed = pgwitness.json("connection", "list")
    assert [each["password"] for each in listed] == [True, True, True, False]  # type: ignore[attr-defined]
    shown = pgwitness("connection", "show", "a")
    assert "hunter2" not in shown.out and "hunter2" not in json.dumps(listed)
    both = pgwitness(*add, "e", *SERVER, "--password-stdin", "--password-env", "PW")
    assert (both.code, both.err.count("\n")) == (2, 1)
    assert pgwitness(*add, "e", *SERVER, "--password", "hunter2").code == 2
    assert pgwitness(*add, "e", *SERVER, "--password-env", "NO_SUCH").code == 2
    assert pgwitness("connection", "update", "a", "--no-password").code == 0
    assert pgwitness.json("connection", "show", "a")["password"] is False  # type: ignore[index]
    assert stored_passwords(tmp_path / "state") == [None, "hunter2", "hunter2", None]


def test_a_connector_from_invitation_to_removal(pgwitness: Pgwitness) -> None:
    added = pgwitness("connector", "add", "east", "--ttl", "15m")
    token = added.out.strip()
    assert token.startswith("pgwj_") and "\n" not in token and token not in added.err
    assert "--join TOKEN" in added.err
    again = pgwitness("connector", "add", "east")
    assert (again.code, again.err.splitlines()[1]) == (
        1,
        "hint: if it has to join anew: pgwitness connector rejoin east",
    )
    assert pgwitness("connector", "rejoin", "east").out.strip() not in ("", token)
    (listed,) = pgwitness.json("connector", "list")  # type: ignore[misc]
    assert (listed["state"], listed["sessions"], listed["software"]) == ("invited", 0, None)
    assert token not in pgwitness("connector", "list", "--format", "csv").out
    through = pgwitness("connection", "add", "orders", *SERVER, "--connector", "east")
    assert "THROUGH" in through.out and "east" in through.out
    assert "orders" in pgwitness("connector", "show", "east").out
    assert pgwitness("connection", "update", "orders", "--connector", "west").code == 1
    removed = pgwitness("connector", "remove", "east")
    assert removed.code == 0 and "Connection orders still names it" in removed.err
    assert pgwitness.json("connection", "show", "orders")["connectors"] == ["east"]  # type: ignore[index]
    assert pgwitness("connection", "update", "orders", "--connector", "none").code == 0
    assert pgwitness.json("connection", "show", "orders")["connectors"] == []  # type: ignore[index]


def stored_passwords(state: Path) -> list[str | None]:
    from pgwitness.api.services import open_catalog
    from pgwitness.config import Settings

    catalog = open_catalog(Settings(state=state))
    passwords = [each.password and each.password.reveal() for each in catalog.connections.list()]
    catalog.close()
    return passwords


def test_updates_keep_what_is_not_named(pgwitness: Pgwitness) -> None:
    pgwitness("connection", "add", "orders", *SERVER, "--results", "1000", "--replication", "on")
    changed = pgwitness("connection", "update", "orders", "--also-databases", "crm, x", "--results", "all")
    assert changed.code == 0, changed.err
    shown = pgwitness.json("connection", "show", "orders")
    assert isinstance(shown, dict)
    assert (shown["also_databases"], shown["results"], shown["replication"]) == (["crm", "x"], -1, True)
    assert pgwitness("connection", "update", "orders").code == 2
    assert pgwitness("connection", "remove", "orders").code == 0
    gone = pgwitness("connection", "show", "orders")
    assert (gone.code, gone.err.splitlines()[0]) == (1, "error: there is no connection 'orders'")


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv"])
def test_every_listing_has_every_format(begun: Pgwitness, format: str) -> None:
    for listing in (
        ("connection", "list"),
        ("connector", "list"),
        ("identity", "list"),
        ("token", "list"),
        ("audit",),
    ):
        done = begun(*listing, "--format", format)
        assert done.code == 0, done.err
        assert done.out == ("[]\n" if format == "json" else "")
        assert bool(done.err) == (format == "table")


def test_formats_hold_the_same(pgwitness: Pgwitness) -> None:
    pgwitness("connection", "add", "b", *SERVER, "--also-databases", "x,y")
    pgwitness("connection", "add", "a", *SERVER)
    documents = pgwitness.json("connection", "list")
    lines = pgwitness("connection", "list", "--format", "jsonl").out.splitlines()
    assert [json.loads(line) for line in lines] == documents
    rows = list(csv.DictReader(io.StringIO(pgwitness("connection", "list", "--format", "csv").out)))
    assert [row["name"] for row in rows] == ["a", "b"]
    assert json.loads(rows[1]["also_databases"]) == ["x", "y"]
    table = pgwitness("connection", "list").out
    assert "NAME" in table and "x, y" in table


def test_a_table_cannot_steer_the_terminal(pgwitness: Pgwitness) -> None:
    pgwitness("identity", "add", "agent")
    pgwitness("token", "issue", "agent", "--on-behalf-of", "al\x1b[2Jice\u202e")
    out = pgwitness("token", "list").out
    assert "\x1b" not in out and "\u202e" not in out and "\\x1b[2J" in out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("connection", "show", "none"), 1, "there is no connection 'none'"),
        (("connection", "check", "none"), 1, "there is no connection 'none'"),
        (("connection", "add", "a/b", *SERVER), 2, "'a/b' cannot be the name of a connection"),
        (("connection", "add", "x", *SERVER, "--sslmode", "no"), 2, "'no' is not one of"),
        (("connection", "add", "x", *SERVER, "--results", "some"), 2, "neither none, nor all"),
        (("connection", "add", "x", *SERVER, "--sslrootcert", "/none"), 2, "cannot read /none"),
        (("connection", "add", "x"), 2, "Missing"),
        (("connection", "nonsense"), 2, "No such command"),
        (("nonsense",), 2, "No such command"),
        (("gateway", "--port", "abc"), 2, "--port: 'abc' is not a whole number"),
        (("gateway", "--http-port=1.5"), 2, "--http-port: '1.5' is not a whole number"),
        (("gateway", "--host", "no.such.host.invalid"), 3, "cannot listen on no.such.host.invalid"),
        (("connection", "add", "x", *SERVER, "--connector", "no"), 1, "there is no connector 'no'"),
        (("connection", "add", "x", *SERVER, "--connector", ","), 2, "names no connector"),
        (("connector", "add", "a/b"), 2, "'a/b' cannot be the name of a connector"),
        (("connector", "add", "x", "--ttl", "never"), 2, "a join token expires"),
        (("connector", "rejoin", "x"), 1, "there is no connector 'x'"),
        (("connector", "remove", "x"), 1, "there is no connector 'x'"),
        (("token", "issue", "nobody"), 1, "there is no identity 'nobody'"),
        (("token", "issue", "nobody", "--ttl", "soon"), 2, "'soon' is not a lifetime"),
        (("identity", "add", "x", "--connections", "none"), 1, "there is no connection 'none'"),
        (("identity", "add", "pgwitness-x"), 2, "belong to pgwitness itself"),
        (("--config", "/none.toml", "identity", "list"), 2, "cannot read the configuration"),
        *(
            ((*command, empty), 2, "is not a name or an id")
            for command in (
                ("connection", "remove"),
                ("connection", "show"),
                ("connector", "remove"),
                ("identity", "show"),
                ("identity", "disable"),
                ("token", "revoke"),
                ("session", "kill"),
            )
            for empty in ("", "..")
        ),
        (("token", "list", "--identity", ""), 2, "identity is empty"),
        (("audit", "--action", ""), 2, "action is empty"),
        (("identity", "add", "x", "--state", "/dev/null/x"), 3, "cannot use the state directory"),
    ],
)
def test_an_error_is_a_line_a_hint_and_a_number(
    begun: Pgwitness, arguments: tuple[str, ...], code: int, says: str
) -> None:
    done = begun(*arguments)
    assert done.code == code and says in done.err, done.err
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ") and len(lines) <= 2
    assert all(line.startswith("hint: ") for line in lines[1:])


@pytest.mark.parametrize("arguments", [(), ("session",), ("connection",)])
def test_help_where_nothing_was_asked_is_no_error(pgwitness: Pgwitness, arguments: tuple[str, ...]) -> None:
    done = pgwitness(*arguments)
    assert done.code == 2 and "Usage" in done.out + done.err and "error:" not in done.err


def test_a_check_needs_a_gateway(pgwitness: Pgwitness) -> None:
    pgwitness("connection", "add", "orders", *SERVER)
    done = pgwitness("connection", "check", "orders")
    assert (done.code, done.err.splitlines()[-1]) == (3, "hint: start it with: pgwitness gateway")


def test_debug_shows_where(pgwitness: Pgwitness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGWITNESS_DEBUG", "1")
    assert "Traceback" in pgwitness("connection", "show", "none").err


def test_what_nobody_foresaw_is_still_one_line(pgwitness: Pgwitness, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ZeroDivisionError("surprise")

    monkeypatch.setattr("pgwitness.api.client.connect", fail)
    done = pgwitness("connection", "list")
    assert (done.code, done.err) == (
        1,
        "error: internal error: ZeroDivisionError: surprise\nhint: PGWITNESS_DEBUG=1 shows where\n",
    )


def test_version_and_global_options(pgwitness: Pgwitness, tmp_path: Path) -> None:
    assert program("--version").out.startswith("pgwitness ")
    other = tmp_path / "other"
    assert program("--state", str(other), "identity", "add", "agent").code == 0
    assert program("identity", "list", "--state", str(other), "--format", "jsonl").out.count("\n") == 1
    assert pgwitness("identity", "list", "--format", "jsonl").out == ""
    assert pgwitness().code == 2


def test_a_reader_that_leaves_is_no_error(pgwitness: Pgwitness) -> None:
    for number in range(3):
        pgwitness("identity", "add", f"agent{number}")
    shell = f"{sys.executable} -m pgwitness identity list --format jsonl | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_start_up_is_quick_and_loads_only_what_is_asked_for() -> None:
    heavy = (
        "fastapi",
        "sqlalchemy",
        "httpx",
        "pydantic_settings",
        "pglast",
        "psycopg",
        "cryptography",
        "alembic",
    )
    probe = (
        "import sys; from pgwitness.cli import run; code = run(['connection', '--help']);"
        f"print([each for each in {heavy} if each in sys.modules], file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, timeout=60)
    assert done.stderr == "[]\n"
