"""Real receivers: what they get, what they answer, what happens when they are not there."""

import base64
import hashlib
import hmac
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from pgwitness.config.sinks import FileSink, OtlpSink, SyslogSink, WebhookSink
from pgwitness.errors import UnavailableError
from pgwitness.sinks.forms import form
from pgwitness.sinks.items import Item
from pgwitness.sinks.places import Place, Undeliverable
from pgwitness.sinks.places.opening import open_place
from pgwitness.sinks.places.syslog import SyslogPlace
from support.certificates import Authority
from support.receivers import Answer, HttpReceiver, TcpReceiver, UdpReceiver
from support.sink_items import PATIENT, settled_item
from support.sink_items import items as any_items
from support.waiting import wait_until

ITEM = settled_item("UPDATE orders SET status = 'void'", "UPDATE 40000")
ITEMS = [replace(ITEM, id=f"s/{number}") for number in range(3)]


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    made = HttpReceiver().start()
    yield made
    made.stop()


@pytest.fixture
def opened() -> Iterator[Any]:
    """Opens a place, and closes it at the end."""
    places: list[Place] = []

    def open_it(settings: Any) -> Place:
        places.append(open_place(settings))
        return places[-1]

    yield open_it
    for place in places:
        place.close()


def webhook(url: str, **more: Any) -> WebhookSink:
    return WebhookSink(kind="webhook", url=SecretStr(url), timeout_seconds=2, **more)


# file


def lines(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_a_file_is_private_and_grows_by_lines(tmp_path: Path, opened: Any) -> None:
    path = tmp_path / "out.jsonl"
    place = opened(FileSink(kind="file", path=path))
    place.deliver(ITEMS[:1])
    place.deliver(ITEMS[1:])
    assert lines(path) == ["s/0", "s/1", "s/2"]
    assert path.stat().st_mode & 0o777 == 0o600
    document = json.loads(path.read_text().splitlines()[0])
    assert document["type"] == "statement" and document["rows"] == 40000 and document["final"] is True


def test_a_file_that_is_moved_away_is_made_anew(tmp_path: Path, opened: Any) -> None:
    path = tmp_path / "out.jsonl"
    place = opened(FileSink(kind="file", path=path))
    place.deliver(ITEMS[:1])
    path.rename(tmp_path / "out.jsonl.1")
    place.deliver(ITEMS[1:2])
    path.unlink()
    place.deliver(ITEMS[2:])
    assert lines(tmp_path / "out.jsonl.1") == ["s/0"] and lines(path) == ["s/2"]


def test_a_broken_line_is_cut_off(tmp_path: Path, opened: Any) -> None:
    path = tmp_path / "out.jsonl"
    path.write_text('{"id": "s/0"}\n{"id": "s/' + "x" * 200_000)
    opened(FileSink(kind="file", path=path)).deliver(ITEMS[1:2])
    assert lines(path) == ["s/0", "s/1"]
    path.write_text("x" * 70_000)
    opened(FileSink(kind="file", path=path)).deliver(ITEMS[1:2])
    assert lines(path) == ["s/1"]


def test_a_file_that_cannot_be(tmp_path: Path, opened: Any) -> None:
    with pytest.raises(Undeliverable, match="No such file or directory"):
        opened(FileSink(kind="file", path=tmp_path / "none" / "out")).deliver(ITEMS)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(Undeliverable, match="no regular file"):
        opened(FileSink(kind="file", path=tmp_path / "fifo")).deliver(ITEMS)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_disk_that_is_full_leaves_no_half_line(
    tmp_path: Path, opened: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    place = opened(FileSink(kind="file", path=path))
    place.deliver(ITEMS[:1])
    true_write, calls = os.write, iter([True, False])

    def short(descriptor: int, data: Any) -> int:
        if next(calls, False):
            return true_write(descriptor, bytes(data)[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pgwitness.sinks.places.file.os.write", short)
        with pytest.raises(Undeliverable, match="No space left"):
            place.deliver(ITEMS[1:])
    place.deliver(ITEMS[1:])
    assert lines(path) == ["s/0", "s/1", "s/2"]


# webhook


def test_a_batch_as_lines_compressed_and_signed(receiver: HttpReceiver, opened: Any) -> None:
    key = base64.b64encode(b"k" * 24).decode()
    settings_ = webhook(receiver.url + "/in", token=SecretStr("t0ken"), secret=SecretStr("whsec_" + key))
    opened(settings_).deliver(ITEMS)
    (posted,) = receiver.taken
    assert posted.path == "/in" and posted.headers["authorization"] == "Bearer t0ken"
    assert posted.headers["content-type"] == "application/x-ndjson"
    assert [each["id"] for each in posted.lines] == ["s/0", "s/1", "s/2"]
    signed = f"{posted.headers['webhook-id']}.{posted.headers['webhook-timestamp']}.".encode() + posted.raw
    expected = base64.b64encode(hmac.new(b"k" * 24, signed, hashlib.sha256).digest()).decode()
    assert posted.headers["webhook-signature"] == f"v1,{expected}"


def test_the_signature_of_the_specification() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks, its libraries' tests."""
    from pgwitness.sinks.places.http import signature, signing_key

    key = signing_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_batch_as_an_array_with_a_token_from_a_file(
    receiver: HttpReceiver, opened: Any, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    place = opened(webhook(receiver.url, token_file=token, body="array", gzip=False, format="ocsf"))
    place.deliver(ITEMS)
    token.write_text("second\n")
    place.deliver(ITEMS[:1])
    first, second = receiver.taken
    assert first.headers["authorization"] == "Bearer first"
    assert second.headers["authorization"] == "Bearer second"
    assert "content-encoding" not in first.headers
    assert [each["class_uid"] for each in json.loads(first.raw)] == [6005] * 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ((500, {}, b""), "it answered 500"),
        ((401, {}, b""), "it answered 401: is the token right"),
        ((302, {"Location": "http://127.0.0.1:1/"}, b""), "it answered 302: it redirects"),
        ((200, {}, b"x" * 100_000), "too long"),
    ],
)
def test_what_is_not_taken_did_not_arrive(
    receiver: HttpReceiver, opened: Any, answer: Answer, says: str
) -> None:
    receiver.behaviour = lambda _: answer
    with pytest.raises(Undeliverable, match=says) as raised:
        opened(webhook(receiver.url + "/secret-path", token=SecretStr("t0ken"))).deliver(ITEMS)
    assert "secret-path" not in str(raised.value) and "t0ken" not in str(raised.value)


@pytest.mark.parametrize(
    ("header", "pause"), [("7", 7.0), ("0.5", 0.5), ("-1", 0.0), ("nan", 0.0), ("1e9", 300.0), ("Sun", 0.0)]
)
def test_a_receiver_that_asks_for_time_gets_it(
    receiver: HttpReceiver, opened: Any, header: str, pause: float
) -> None:
    receiver.behaviour = lambda _: (429, {"Retry-After": header}, b"")
    with pytest.raises(Undeliverable) as raised:
        opened(webhook(receiver.url)).deliver(ITEMS)
    assert raised.value.pause == pause and not raised.value.too_large


def test_a_receiver_that_is_not_there(receiver: HttpReceiver, opened: Any) -> None:
    receiver.stop()
    with pytest.raises(Undeliverable, match="cannot be reached: ConnectError"):
        opened(webhook(receiver.url)).deliver(ITEMS)
    receiver.start()


def test_an_authority_that_cannot_be_read(opened: Any, tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("nothing")
    with pytest.raises(Undeliverable, match="cannot be read as PEM"):
        opened(webhook("https://127.0.0.1:1", ca_file=tmp_path / "ca")).deliver(ITEMS)


# OTLP


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
def test_spans_and_logs(receiver: HttpReceiver, opened: Any, encoding: str) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    place = opened(OtlpSink(kind="otlp", url=SecretStr(receiver.url + "/"), encoding=encoding))
    place.deliver([ITEM, replace(ITEM, final=False), Item("test/1", "test", ITEM.at)])
    traces, logs = receiver.taken
    assert (traces.path, logs.path) == ("/v1/traces", "/v1/logs")
    if encoding == "protobuf":
        assert traces.headers["content-type"] == "application/x-protobuf"
        spans = ExportTraceServiceRequest.FromString(traces.body).resource_spans[0].scope_spans[0].spans
        assert spans[0].name == "UPDATE public.orders" and len(spans[0].trace_id) == 16
        assert (
            len(ExportLogsServiceRequest.FromString(logs.body).resource_logs[0].scope_logs[0].log_records)
            == 2
        )
    else:
        (span,) = json.loads(traces.body)["resourceSpans"][0]["scopeSpans"][0]["spans"]
        assert span["name"] == "UPDATE public.orders" and re.fullmatch("[0-9a-f]{32}", span["traceId"])


def test_what_a_collector_threw_away_is_counted(receiver: HttpReceiver, opened: Any) -> None:
    said = {"partialSuccess": {"rejectedSpans": "2", "errorMessage": "no"}}
    receiver.behaviour = lambda _: (200, {}, json.dumps(said).encode())
    place = opened(OtlpSink(kind="otlp", url=SecretStr(receiver.url), signals=("traces",)))
    place.deliver(ITEMS)
    assert place.rejected == 2


def test_what_a_collector_threw_away_is_counted_in_protobuf(receiver: HttpReceiver, opened: Any) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    said = ExportLogsServiceResponse()
    said.partial_success.rejected_log_records = 3
    receiver.behaviour = lambda _: (200, {}, said.SerializeToString())
    place = opened(OtlpSink(kind="otlp", url=SecretStr(receiver.url), signals=("logs",), encoding="protobuf"))
    place.deliver(ITEMS)
    assert place.rejected == 3
    receiver.behaviour = lambda _: (200, {}, b"\xff\xff")
    place.deliver(ITEMS)
    assert place.rejected == 3


def test_a_failure_of_the_second_signal_brings_both_again(receiver: HttpReceiver, opened: Any) -> None:
    receiver.behaviour = lambda posted: (500 if posted.path == "/v1/logs" else 200, {}, b"{}")
    place = opened(OtlpSink(kind="otlp", url=SecretStr(receiver.url)))
    batch = [ITEM, Item("test/1", "test", ITEM.at)]
    with pytest.raises(Undeliverable):
        place.deliver(batch)
    receiver.behaviour = lambda _: (200, {}, b"{}")
    place.deliver(batch)
    first, second, _ = receiver.taken
    assert first.path == second.path == "/v1/traces" and first.body == second.body


def test_protobuf_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.proto", None)
    with pytest.raises(UnavailableError, match="not installed") as raised:
        open_place(OtlpSink(kind="otlp", url=SecretStr("http://127.0.0.1:1"), encoding="protobuf"))
    assert raised.value.hint is not None and "pgwitness[otlp]" in raised.value.hint
    open_place(OtlpSink(kind="otlp", url=SecretStr("http://127.0.0.1:1"))).close()


# syslog

RFC5424 = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<time>\S+) (?P<host>\S{1,255}) pgwitness - (?P<kind>\S{1,32}) "
    rb'\[origin software="pgwitness" swVersion="[!-~]+"\] (?P<document>\{.*\})',
    re.DOTALL,
)


def syslog(port: int, transport: str, **more: Any) -> SyslogSink:
    return SyslogSink(
        kind="syslog", host="localhost", port=port, transport=transport, timeout_seconds=3, **more
    )


def read(message: bytes) -> tuple[int, dict[str, Any]]:
    """Priority and document."""
    found = RFC5424.fullmatch(message)
    assert found, message[:300]
    return int(found["priority"]), json.loads(found["document"])


def test_over_udp(opened: Any) -> None:
    receiver = UdpReceiver()
    try:
        opened(syslog(receiver.port, "udp").model_copy(update={"host": "127.0.0.1"})).deliver(ITEMS)
        priority, document = read(receiver.receive())
        assert priority == 13 * 8 + 6 and document["id"] == "s/0"
        assert read(receiver.receive())[1]["id"] == "s/1"
    finally:
        receiver.stop()


def test_over_udp_where_nobody_listens(opened: Any) -> None:
    receiver = UdpReceiver()
    receiver.stop()
    place = opened(syslog(receiver.port, "udp").model_copy(update={"host": "127.0.0.1"}))
    with pytest.raises(Undeliverable, match="refused"):
        for _ in range(20):
            place.deliver(ITEMS)


@pytest.mark.parametrize("transport", ["tcp", "tls"])
def test_over_tcp_and_tls(opened: Any, authority: Authority, tmp_path: Path, transport: str) -> None:
    pair = authority.issue("localhost", hosts=("localhost",))
    for name, data in (("cert", pair.certificate), ("key", pair.private_key), ("ca", authority.certificate)):
        (tmp_path / name).write_bytes(data)
    certificate = (tmp_path / "cert", tmp_path / "key") if transport == "tls" else None
    receiver = TcpReceiver(certificate)
    try:
        place = opened(syslog(receiver.port, transport, ca_file=tmp_path / "ca", format="ocsf"))
        place.deliver(ITEMS)
        place.deliver(ITEMS)
        wait_until(lambda: len(receiver.messages) == 6)
        assert [read(each)[1]["metadata"]["uid"] for each in receiver.messages] == ["s/0", "s/1", "s/2"] * 2
        assert len(receiver.connections) == 1
        receiver.hang_up()
        place.deliver(ITEMS)
        wait_until(lambda: len(receiver.messages) == 9)
    finally:
        receiver.stop()
    with pytest.raises(Undeliverable):
        place.deliver(ITEMS)
        place.deliver(ITEMS)


def test_a_certificate_that_nobody_knows(opened: Any, authority: Authority, tmp_path: Path) -> None:
    pair = authority.issue("localhost", hosts=("localhost",))
    (tmp_path / "cert").write_bytes(pair.certificate)
    (tmp_path / "key").write_bytes(pair.private_key)
    (tmp_path / "ca").write_bytes(Authority("another").certificate)
    receiver = TcpReceiver((tmp_path / "cert", tmp_path / "key"))
    try:
        with pytest.raises(Undeliverable, match="not trusted"):
            opened(syslog(receiver.port, "tls", ca_file=tmp_path / "ca")).deliver(ITEMS)
    finally:
        receiver.stop()


@PATIENT
@given(any_items(), st.sampled_from(["json", "ocsf"]), st.integers(2048, 4000))
def test_every_item_is_a_message_that_fits(item: Item, name: Any, longest: int) -> None:
    place = SyslogPlace(syslog(514, "udp", longest_message=longest), form(name))
    message = place.message(item)
    assert len(message) <= longest
    _, document = read(message)
    assert (document["id"] if name == "json" else document["metadata"]["uid"]) == item.id


def test_a_long_text_is_cut_and_says_so() -> None:
    long = settled_item("UPDATE orders SET status = '" + "\u00e4" * 50_000 + "'", "UPDATE 1")
    place = SyslogPlace(syslog(514, "udp"), form("json"))
    message = place.message(long)
    _, document = read(message)
    assert 2000 < len(message) <= 8192 and document["truncated"] is True
    assert document["sql"].startswith("UPDATE orders SET status = '\u00e4")


def test_severities() -> None:
    place = SyslogPlace(syslog(514, "udp", facility=16), form("json"))
    failed = settled_item("SELECT 1", "SELECT 1", status="error", sqlstate="22012")
    alarm = Item("a", "finding", ITEM.at, details={"level": "alarm", "what": "a way in"})
    assert [read(place.message(each))[0] for each in (ITEM, failed, alarm)] == [134, 132, 129]
