"""A real session as a packet capture: Wireshark reads the same statements from it as the record has."""

from pathlib import Path

from support.live import Live
from support.sharks import fields, require_tshark


def test_wireshark_reads_the_statements_of_the_record(live: Live, table: str, tmp_path: Path) -> None:
    require_tshark()
    with live.connect() as connection:
        connection.execute(f"INSERT INTO {table} VALUES (%s, %s)", (1, "x" * 100_000))
        with connection.transaction():
            connection.execute(f"UPDATE {table} SET name = %s WHERE id = %s", ("void", 1))
        connection.execute("SELECT repeat('y', 50000) FROM generate_series(1, 20)")
        with connection.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for number in range(2000):
                copy.write_row((number, "copied"))
        connection.execute(f"SELECT count(*) FROM {table}")
    record = live.record(wait_for=lambda found: found != [] and found[-1]["tag"] == "SELECT 1")
    file = tmp_path / "session.pcapng"
    live.gateway.run("session", "export", record[0]["session"], "--format", "pcapng", "-o", str(file))

    shown = [text for (row,) in fields(file, "pgsql.query", only="pgsql.query") for text in row]
    assert shown == [statement["sql"] for statement in record]
    tags = [text for (row,) in fields(file, "pgsql.tag", only="pgsql.tag") for text in row]
    assert tags == [statement["tag"] for statement in record]
    broken = "tcp.analysis.lost_segment || tcp.analysis.retransmission || tcp.analysis.out_of_order"
    assert fields(file, "frame.number", only=broken) == []
    (comment,) = [row[0][0] for row in fields(file, "frame.comment", only='frame.comment contains "kept"')]
    assert "were not kept" in comment
    log_in = fields(file, "pgsql.parameter_value", only="frame.number == 4")[0][0]
    assert live.identity in log_in and live.token not in file.read_bytes().decode("latin-1")
