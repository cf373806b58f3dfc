"""The commands of review, on a state directory without a gateway."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pgwitness.cli import run
from pgwitness.cli.replaying import Replay
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import (
    answers,
    complete,
    copy_data,
    copy_done,
    copy_in,
    copy_out,
    data_row,
    error,
    extended,
    ready,
    row_description,
    sync,
)

Command = Callable[..., str]
ONE, TWO = str(tapes.session_id(1)), str(tapes.session_id(2))


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The incident, and somebody else's session."""
    one = tapes.dialogue(1, client={"address": "10.0.0.7:5", "parameters": {}}, user="app")
    rows = row_description(("region", 25), ("count", 20))
    one.client(query("SELECT region, count(*) FROM orders")).server(
        rows, data_row(b"7", b"40000"), data_row(None, b"1")
    )
    one.server(complete("SELECT 2"), ready())
    one.client(query("BEGIN")).server(complete("BEGIN"), ready(b"T"))
    one.client(
        extended("UPDATE orders SET status = $1\nWHERE region = $2", (b"void", b"7"), (25, 23)), sync()
    )
    one.server(answers("UPDATE 40000", b"T")).run("COMMIT", "COMMIT")
    one.client(query("SELECT '\x1b[2J'/0")).server(error(), ready()).ended()
    two = tapes.dialogue(2, identity="ann", kind="human", claims={}).run("SELECT 1", "SELECT 1")
    tapes.record(tmp_path, one, two)
    return tmp_path


@pytest.fixture
def pgwitness(state: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    for name in ("PGWITNESS_URL", "PGWITNESS_TOKEN", "PGWITNESS_CONFIG", "PGWITNESS_DEBUG"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PGWITNESS_STATE", str(state))

    def command(*arguments: str, code: int = 0, err: bool = False) -> str:
        done = run(arguments)
        out, said = capsys.readouterr()
        assert done == code, said
        return said if err else out

    return command


def test_statements_in_all_formats(pgwitness: Command) -> None:
    table = pgwitness("statements")
    assert "UPDATE orders SET status = 'void' WHERE region = 7" in table
    assert "40,000" in table
    assert ONE[-8:] in table
    lines = [json.loads(line) for line in pgwitness("statements", "--format", "jsonl").splitlines()]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, 1]
    assert json.loads(pgwitness("statements", "--format", "json")) == lines
    in_csv = pgwitness("statements", "--session", ONE, "--format", "csv")
    assert in_csv == pgwitness("session", "export", ONE, "--format", "csv")
    assert [row["sql"] for row in csv.DictReader(io.StringIO(in_csv))] == [line["sql"] for line in lines[:5]]


def test_an_agent_has_no_hand_on_the_terminal(pgwitness: Command) -> None:
    for command in (("statements",), ("session", "replay", ONE), ("session", "show", ONE)):
        assert "\x1b" not in pgwitness(*command)
    assert r"\x1b[2J" in pgwitness("statements")


def test_limits_are_the_newest_unless_the_first_are_asked_for(pgwitness: Command) -> None:
    def seqs(*arguments: str) -> list[int]:
        lines = pgwitness("statements", "--session", ONE, "--format", "jsonl", *arguments).splitlines()
        return [json.loads(line)["seq"] for line in lines]

    assert seqs("--limit", "2") == [4, 5]
    assert seqs("--limit", "2", "--first") == [1, 2]
    assert seqs("--status", "error") == [5]


def test_match_finds_what_the_table_shows(pgwitness: Command) -> None:
    assert "status = 'void'" in pgwitness("statements", "--match", "VOID")
    assert ONE[-8:] in pgwitness("session", "list", "--match", "void")


@pytest.mark.parametrize("command", [("statements",), ("session", "list")])
def test_an_empty_filter_is_not_no_filter(pgwitness: Command, command: tuple[str, ...]) -> None:
    for option in ("session", "table", "match", "since", "min-rows"):
        assert f"{option} is empty" in pgwitness(*command, f"--{option}", "", code=2, err=True)


def test_a_table_says_when_there_is_more(pgwitness: Command) -> None:
    assert "the last 2" in pgwitness("statements", "--limit", "2", err=True)
    assert "the newest one" in pgwitness("session", "list", "--limit", "1", err=True)
    assert pgwitness("statements", "--limit", "6", err=True) == ""


def test_a_name_that_is_not_on_record_is_named(pgwitness: Command) -> None:
    for command in (("statements",), ("session", "list")):
        for option in ("identity", "run", "connection"):
            said = pgwitness(*command, f"--{option}", "nope", err=True)
            assert f"no session of {option} 'nope' is on record" in said
        assert "on record" not in pgwitness(*command, "--identity", "ann", "--command", "MERGE", err=True)


def test_an_export_says_what_it_replaces(pgwitness: Command, tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    lines = [pgwitness("session", "export", ONE, "-o", str(file), err=True).splitlines() for _ in range(2)]
    assert [len(each) for each in lines] == [1, 1]
    assert "in the place" not in lines[0][0] and "in the place" in lines[1][0]


def test_nothing_found_is_no_error(pgwitness: Command) -> None:
    assert pgwitness("statements", "--command", "TRUNCATE", err=True) == "No such statement.\n"
    assert pgwitness("statements", "--command", "TRUNCATE", "--format", "jsonl") == ""
    assert json.loads(pgwitness("statements", "--command", "TRUNCATE", "--format", "json")) == []


def test_sessions(pgwitness: Command) -> None:
    documents = [json.loads(line) for line in pgwitness("session", "list", "--format", "jsonl").splitlines()]
    assert [document["session"] for document in documents] == [TWO, ONE]
    assert documents[1]["rows_written"] == 40000
    table = pgwitness("session", "list", "--command", "UPDATE")
    assert ONE[-8:] in table
    assert TWO[-8:] not in table


def test_what_a_dead_gateway_left_open_is_not_called_open(pgwitness: Command) -> None:
    table = pgwitness("session", "list")
    assert "cut off" in table and "closed by client" in table
    assert "no gateway is running" in pgwitness("session", "list", err=True)
    assert "cut off: no gateway is running" in pgwitness("session", "show", TWO)
    (two, one) = (json.loads(line) for line in pgwitness("session", "list", "--format", "jsonl").splitlines())
    assert (two["end_reason"], one["end_reason"]) == (None, "terminated") and "live" not in two


def test_one_session(pgwitness: Command) -> None:
    shown = pgwitness("session", "show", ONE[-6:])
    assert "billing-agent" in shown
    assert "40,000 in committed transactions" in shown
    assert json.loads(pgwitness("session", "show", ONE, "--format", "json"))["header"]["user"] == "app"


def test_replay_shows_transactions_as_brackets(pgwitness: Command) -> None:
    lines = [line[14:] for line in pgwitness("session", "replay", ONE[-6:], "--results").splitlines()]
    assert lines[lines.index("┌ transaction 2") :][:8] == [
        "┌ transaction 2",
        "│    2  BEGIN",
        "│    3  UPDATE orders SET status = 'void'",
        "│       WHERE region = 7",
        "│       → UPDATE 40000 · 1.0 ms",
        "│    4  COMMIT",
        "│       → COMMIT · 1.0 ms",
        "└ committed",
    ]
    text = "\n".join(lines)
    assert "40000" in text and "NULL" in text
    assert "session ended: closed by client" in text


def test_what_copy_wrote_is_seen_in_a_replay(
    pgwitness: Command, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state = tmp_path_factory.mktemp("copies")
    one = tapes.dialogue(1).client(query("COPY orders FROM stdin")).server(copy_in())
    one.client(copy_data(b"9001\ta EVIL\t1\n9002\t\x1b[2J\t2\n"), copy_done()).server(
        complete("COPY 2"), ready()
    )
    one.client(query("COPY orders TO stdout")).server(copy_out(), copy_data(b"9001\tout\n"))
    one.elided(5, 50).server(copy_done(), complete("COPY 6"), ready()).ended()
    tapes.record(state, one)
    shown = pgwitness("session", "replay", ONE, "--results", "--state", str(state))
    assert "a EVIL" in shown
    assert "9002" in shown and "\x1b" not in shown
    assert shown.count("this much is on record") == 1 and "out" in shown
    assert "EVIL" not in pgwitness("session", "replay", ONE, "--state", str(state))


def test_replay_for_programs(pgwitness: Command) -> None:
    lines = pgwitness("session", "replay", ONE, "--results", "--format", "jsonl").splitlines()
    documents = [json.loads(line) for line in lines]
    assert documents[0]["kind"] == "session"
    assert documents[1]["result"]["data"] == [["7", "40000"], [None, "1"]]
    assert documents[-1]["kind"] == "end"


@pytest.mark.parametrize(("speed", "wanted"), [(None, []), (1.0, [0.0, 5.0, 30.0]), (10.0, [0.0, 0.5, 6.0])])
def test_a_replay_keeps_time(speed: float | None, wanted: list[float]) -> None:
    from rich.console import Console

    slept: list[float] = []
    talk = tapes.dialogue(1).run("SELECT 1", "SELECT 1").run("SELECT 2", "SELECT 1")
    first, second = (json.loads(_document(each)) for each in talk.statements())
    documents = [
        {"kind": "session", **_SESSION},
        {"kind": "statement", **first, "started_at": "2026-11-22T06:00:00.000000Z"},
        {"kind": "event", "event": "cancel_requested", "at": "2026-11-22T06:00:05.000000Z", "position": 1},
        {"kind": "statement", **second, "started_at": "2026-11-22T06:01:05.000000Z"},
    ]
    console = Console(file=io.StringIO(), width=100)
    longest = 30.0 if speed == 1.0 else 1000.0
    Replay(console, speed=speed, longest_pause=longest, sleep=slept.append).play(documents)
    assert slept == wanted
    assert ("60.0 s later" in console.file.getvalue()) == (speed == 1.0)  # type: ignore[attr-defined]


def _document(statement: object) -> bytes:
    import msgspec

    return msgspec.json.encode(statement)


_SESSION = {
    "session": ONE,
    "identity": "billing-agent",
    "on_behalf_of": None,
    "run": None,
    "connection": "orders",
    "database": "shop",
    "statements": 2,
    "rows_written": 0,
    "started_at": "2026-11-22T06:00:00.000000Z",
    "client": "10.0.0.7:5",
}


def test_export_writes_a_file_or_to_the_pipe(pgwitness: Command, tmp_path: Path) -> None:
    output = tmp_path / "incident.sql"
    assert "bytes" in pgwitness("session", "export", ONE[-6:], "--format", "sql", "-o", str(output), err=True)
    assert "WHERE region = 7::int4;" in output.read_text()
    assert not output.with_name("incident.sql.part").exists()
    assert output.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("session", "show", "ffff"), 1, "there is no session 'ffff'"),
        (("session", "show", "0199"), 1, "several sessions"),
        (("session", "replay", ONE, "--speed", "0"), 2, "speed"),
        (("session", "replay", "ffff", "--format", "jsonl"), 1, "no session"),
        (("session", "export", ONE, "--format", "xml"), 2, "xml"),
        (("session", "export", ONE, "-o", "/nowhere/at/all"), 1, "/nowhere/at/all"),
        (("session", "kill", ONE), 3, "no gateway"),
        (("statements", "--since", "yesterday"), 2, "since"),
        (("statements", "--status", "fine"), 2, "fine"),
        (("statements", "--limit", "0"), 2, "limit"),
        (("session", "show", ""), 2, "not a name or an id"),
        (("session", "replay", ".."), 2, "not a name or an id"),
        (("session", "list", "--outcome", "maybe"), 2, "maybe"),
    ],
)
def test_errors_are_one_line_and_a_hint(
    pgwitness: Command, arguments: tuple[str, ...], code: int, said: str
) -> None:
    text = pgwitness(*arguments, code=code, err=True)
    assert text.startswith("error: ")
    assert said in text
    assert len(text.splitlines()) <= 2


def test_the_index(pgwitness: Command, state: Path) -> None:
    pgwitness("statements")
    assert "nothing" in pgwitness("index", "status")
    assert json.loads(pgwitness("index", "status", "--format", "json"))["statements"] == 6
    assert "The index is new" in pgwitness("index", "rebuild", err=True)
    assert (state / "index.sqlite").readlink().name == "index-2.sqlite"
    assert len(pgwitness("statements", "--format", "jsonl").splitlines()) == 6


def test_damage_shows_in_the_exit_code(pgwitness: Command, state: Path) -> None:
    path = state / "tape" / "0000000001.tape"
    data = bytearray(path.read_bytes())
    data[data.index(b"COMMIT\0")] ^= 1
    path.write_bytes(data)
    remark = "Part of the tape is unreadable"
    for command in (
        ("statements",),
        ("session", "list"),
        ("session", "show", ONE),
        ("session", "replay", ONE),
    ):
        assert remark in pgwitness(*command, err=True)
        assert remark not in pgwitness(*command)
    nothing = pgwitness("session", "replay", TWO, code=1, err=True)
    assert remark in nothing and "there is no session" in nothing
    assert "checksum" in pgwitness("index", "status", code=1)
    assert remark in pgwitness("index", "rebuild", code=1, err=True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("statements",),
        ("session", "list"),
        ("session", "show", "8f3e21ab"),
        ("index", "status"),
        ("audit",),
        ("token", "list"),
        ("connection", "remove", "orders"),
    ],
)
def test_a_wrong_state_directory_is_no_all_clear(
    pgwitness: Command, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    wrong = tmp_path / "typo"
    said = pgwitness(*arguments, "--state", str(wrong), code=3, err=True)
    assert f"{wrong} holds no record" in said and "PGWITNESS_STATE" in said
    assert not wrong.exists()


def test_without_a_gateway_there_is_no_record(pgwitness: Command, tmp_path: Path) -> None:
    fresh = str(tmp_path / "fresh")
    pgwitness("identity", "add", "agent", "--state", fresh)
    assert "holds no record" in pgwitness("statements", "--state", fresh, code=3, err=True)
    assert "agent" in pgwitness("identity", "list", "--state", fresh)


def test_an_export_never_takes_the_place_of_a_device_or_a_pipe(pgwitness: Command, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        pgwitness("session", "export", ONE, "-o", str(pipe))
        received = os.read(reading, 1 << 20)
    finally:
        os.close(reading)
    assert pipe.is_fifo() and not pipe.with_name("pipe.part").exists()
    assert received.decode() == pgwitness("session", "export", ONE)
