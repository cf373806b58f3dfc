import stat
from pathlib import Path

import pytest

from pgwitness.config import Settings, load
from pgwitness.errors import InvalidError, UnavailableError


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGWITNESS_STATE", "PGWITNESS_CONFIG", "PGWITNESS_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_the_first_source_that_says_something_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.toml"
    file.write_text('port = 1\nhttp_port = 1\nhost = "file"\n[limits]\nsessions = 1\nidle_seconds = 1\n')
    monkeypatch.setenv("PGWITNESS_HTTP_PORT", "2")
    monkeypatch.setenv("PGWITNESS_PORT", "2")
    monkeypatch.setenv("PGWITNESS_LIMITS__SESSIONS", "2")
    monkeypatch.setenv("PGWITNESS_HOST", "")
    settings = load(file, port=3, host=None)
    assert (settings.port, settings.http_port, settings.host, settings.tunnel_port) == (3, 2, "file", 7433)
    assert (settings.limits.sessions, settings.limits.idle_seconds) == (2, 1)
    monkeypatch.setenv("PGWITNESS_CONFIG", str(file))
    assert load().host == "file"


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    settings = load()
    assert settings.state == Path.home() / ".pgwitness"
    assert (settings.port, settings.tunnel_port, settings.http_port) == (7432, 7433, 7480)
    assert settings.catalog_location == f"sqlite:///{settings.state}/catalog.sqlite"
    assert settings.tls.plaintext == "loopback" and settings.tape.durability == "process"


def test_made_directly_nothing_outside_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGWITNESS_PORT", "1")
    assert Settings().port == 7432


@pytest.mark.parametrize(
    ("contents", "says"),
    [
        ("prot = 1", "prot: there is no such setting"),
        ("[tls]\nplain = 1", "tls.plain: there is no such setting"),
        ('port = "abc"', "port: not a whole number"),
        ('[heads]\ntell_clients = "perhaps"', "heads.tell_clients: neither true nor false"),
        ("port = 70000", "port: input should be less than or equal to 65535"),
        ('[tape]\ndurability = "none"', "tape.durability: input should be 'process' or 'disk'"),
        ("port = ", "is not valid TOML"),
        (
            '[[heads.witnesses]]\nurl = "https://w.example"\nkey = "w+1+x"',
            "heads.witnesses.0.key: value error, a verifier key has the form",
        ),
        ("\xff\xfe", "is not valid TOML"),
    ],
)
def test_mistakes_in_the_file_are_one_clear_line(tmp_path: Path, contents: str, says: str) -> None:
    file = tmp_path / "config.toml"
    file.write_bytes(contents.encode("latin-1"))
    with pytest.raises(InvalidError, match=says) as raised:
        load(file)
    assert "\n" not in str(raised.value).strip()


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="cannot read the configuration"):
        load(tmp_path / "none.toml")


def test_mistakes_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGWITNESS_TLS__PLAINTXT", "never")
    with pytest.raises(InvalidError, match=r"tls.plaintxt: there is no such setting"):
        load()


def test_secrets_are_neither_shown_nor_quoted_in_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGWITNESS_SECRET_KEY", "hunter2")
    monkeypatch.setenv("PGWITNESS_CATALOG_URL", "postgresql://u:hunter2@h/d")
    assert "hunter2" not in repr(load())
    monkeypatch.setenv("PGWITNESS_PORT", "hunter2")
    with pytest.raises(InvalidError) as raised:
        load()
    assert "hunter2" not in str(raised.value)


def test_state_directory_is_private(tmp_path: Path) -> None:
    state = tmp_path / "a" / "state"
    Settings(state=state).prepare_state()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    state.chmod(0o755)
    Settings(state=state).prepare_state()
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


def test_a_directory_of_somebody_elses_things_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "thing").touch()
    tmp_path.chmod(0o755)
    Settings(state=tmp_path).prepare_state()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_state_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UnavailableError, match="cannot use the state directory"):
        Settings(state=tmp_path / "file" / "state").prepare_state()


def test_state_is_absolute_and_knows_home() -> None:
    assert Settings(state="~/x").state == Path.home() / "x"  # type: ignore[arg-type]
    assert Settings(state="x").state.is_absolute()  # type: ignore[arg-type]
