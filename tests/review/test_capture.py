"""The packet capture, read by Wireshark's own dissectors."""

from pathlib import Path

import pytest

from pgwitness.index.store import IndexReader
from pgwitness.review.export import export_session
from pgwitness.review.packets import SEGMENT
from pgwitness.wire.codec import query
from support import tapes
from support.dialogue import Dialogue, answers, complete, data_row, extended, ready, row_description, sync
from support.sharks import fields, require_tshark

ADDRESSES = [
    ("10.0.0.7:51123", "10.0.0.9:6000"),
    ("[2001:db8::7]:51123", "10.0.0.9:5432"),
    ("unix", "/var/run/postgresql/.s.PGSQL.5432"),
]


@pytest.fixture(autouse=True)
def _tshark() -> None:
    require_tshark()


def _capture(state: Path, talk: Dialogue) -> Path:
    tapes.record(state, talk)
    reader: IndexReader = tapes.index(state)
    file = state / "session.pcapng"
    pieces = export_session(reader, state / "tape", str(tapes.session_id(1)), "pcapng")
    file.write_bytes(b"".join(pieces))
    reader.close()
    return file


def _talk(client: str = "10.0.0.7:51123", server: str = "10.0.0.9:6000") -> Dialogue:
    upstream = {"address": server, "parameters": {"server_version": "18.0"}}
    return tapes.dialogue(1, client={"address": client, "parameters": {}}, upstream=upstream)


@pytest.mark.parametrize(("client", "server"), ADDRESSES)
def test_the_statements_of_every_protocol_are_shown(tmp_path: Path, client: str, server: str) -> None:
    talk = _talk(client, server).run("DELETE FROM a", "DELETE 3")
    talk.client(extended("UPDATE a SET b = $1", (b"void",)), sync()).server(answers("UPDATE 2"))
    file = _capture(tmp_path, talk.run("COMMIT", "COMMIT").ended())
    shown = fields(file, "pgsql.query", only="pgsql.query")
    assert [each for (row,) in shown for each in row] == ["DELETE FROM a", "UPDATE a SET b = $1", "COMMIT"]
    tags = fields(file, "pgsql.tag", only="pgsql.tag")
    assert [each for (row,) in tags for each in row] == ["DELETE 3", "UPDATE 2", "COMMIT"]


def test_times_sequence_numbers_and_checksums_are_right(tmp_path: Path) -> None:
    file = _capture(tmp_path, _talk().run("SELECT 1", "SELECT 1").ended())
    assert fields(file, "frame.number", only="tcp.analysis.flags || _ws.expert.severity >= 6291456") == []
    ((at,),) = fields(file, "frame.time_epoch", only='pgsql.query == "SELECT 1"')
    assert at == ["1795000000.002000000"]
    flags = [row[0][0] for row in fields(file, "tcp.flags.str")]
    assert "S" in flags[0] and "S" in flags[1] and "F" in flags[-2]
    good = "1"
    assert {row[0][0] for row in fields(file, "tcp.checksum.status")} == {good}
    assert {row[0][0] for row in fields(file, "ip.checksum.status")} == {good}


def test_a_message_longer_than_a_packet_is_put_together_again(tmp_path: Path) -> None:
    long = f"SELECT '{'x' * (5 * SEGMENT)}'"
    file = _capture(tmp_path, _talk().run(long, "SELECT 1").run("SELECT 2", "SELECT 1"))
    shown = [each for (row,) in fields(file, "pgsql.length", only="pgsql.query") for each in row]
    assert str(len(long) + 5) in shown
    assert fields(file, "tcp.analysis.flags", only="tcp.analysis.flags") == []
    assert max(int(row[0][0]) for row in fields(file, "tcp.len")) == SEGMENT


def test_what_was_not_kept_and_how_it_ended_are_comments(tmp_path: Path) -> None:
    talk = _talk().client(query("SELECT a FROM t"))
    talk.server(row_description(("a", 23)), data_row(b"1")).elided(39_999, 480_000)
    talk.server(complete("SELECT 40000"), ready()).event(event="cancel_requested").ended("killed")
    file = _capture(tmp_path, talk)
    comments = [row[0][0] for row in fields(file, "frame.comment", only="frame.comment")]
    assert [comment.partition(":")[0] for comment in comments[:2]] == ["not recorded"] * 2
    assert "39999 messages of 480000 bytes" in comments[2]
    assert "cancel_requested" in comments[3] and comments[4] == "session ended: killed"
    assert fields(file, "pgsql.tag", only="pgsql.tag") == [(["SELECT 40000"],)]


def test_the_log_in_names_the_identity_and_no_secret(tmp_path: Path) -> None:
    file = _capture(tmp_path, _talk().run("SELECT 1", "SELECT 1"))
    ((names, values),) = fields(
        file, "pgsql.parameter_name", "pgsql.parameter_value", only="frame.number == 4"
    )
    assert dict(zip(names, values, strict=True)) == {"user": "billing-agent", "database": "orders"}


def test_what_is_said_at_too_great_length_is_cut(tmp_path: Path) -> None:
    talk = _talk().event(event="notice", text="é" * 40_000).run("SELECT 1", "SELECT 1").ended()
    file = _capture(tmp_path, talk)
    assert fields(file, "pgsql.query", only="pgsql.query") == [(["SELECT 1"],)]
