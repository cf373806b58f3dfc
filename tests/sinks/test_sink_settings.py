"""Settings of sinks: as the document shows them, from the environment, and mistakes in words."""

import re
from pathlib import Path

import pytest

from pgwitness.config import load
from pgwitness.config.sinks import FileSink, SyslogSink, WebhookSink
from pgwitness.errors import InvalidError

DOCUMENT = Path(__file__).parents[2] / "docs" / "sinks.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "gateway.toml"


def test_the_example_of_the_document(file: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    file.write_text(example)
    sinks = load(file).sinks
    assert list(sinks) == ["siem", "lake", "traces", "syslog"]
    siem, lake, _, syslog = sinks.values()
    assert isinstance(siem, WebhookSink) and siem.sql == "normalised" and not siem.parameters
    assert isinstance(lake, FileSink) and lake.sql == "whole" and lake.fsync
    assert isinstance(syslog, SyslogSink) and syslog.usual_port == 6514


def test_a_secret_from_the_environment_is_not_shown(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text('[sinks.siem]\nkind = "webhook"\nurl = "https://siem/secret-path"\n')
    monkeypatch.setenv("PGWITNESS_SINKS__SIEM__TOKEN", "hunter2")
    monkeypatch.setenv("PGWITNESS_SINKS__SIEM__SEND", '["refusals"]')
    settings = load(file)
    siem = settings.sinks["siem"]
    assert isinstance(siem, WebhookSink) and siem.token is not None
    assert siem.token.get_secret_value() == "hunter2" and siem.send == ("refusals",)
    for shown in (repr(settings), str(settings.model_dump(mode="json"))):
        assert "hunter2" not in shown and "secret-path" not in shown


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ("[sinks.Siem]\nkind = 'file'\npath = 'x'", "sinks.Siem.*string should match pattern"),
        ("[sinks.siem]\nurl = 'https://x'", "sinks.siem: unable to extract tag"),
        ("[sinks.siem]\nkind = 'kafka'", "tag 'kafka' found using 'kind' does not match"),
        ("[sinks.siem]\nkind = 'webhook'\nurl = 'ftp://x'", "begins with http:// or https://"),
        ("[sinks.siem]\nkind = 'webhook'\nurl = 'https://x'\ntokn = 'x'", "tokn: there is no such setting"),
        ("[sinks.siem]\nkind = 'otlp'\nurl = 'https://x'\ntoken = 'x'\ntoken_file = 'y'", "are both set"),
        ("[sinks.siem]\nkind = 'syslog'\nhost = 'x'\nlongest_message = 100", "greater than or equal to 2048"),
        ("[sinks.siem]\nkind = 'file'\npath = 'x'\nsend = ['everything']", "input should be 'statements'"),
    ],
)
def test_mistakes_are_one_clear_line(file: Path, contents: str, says: str) -> None:
    file.write_text(contents)
    with pytest.raises(InvalidError, match=says) as raised:
        load(file)
    assert "\n" not in str(raised.value)
