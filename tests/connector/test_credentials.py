"""Passwords beside PostgreSQL: by variable or file, for one connection or all."""

from pathlib import Path

import pytest

from pgwitness.connector.credentials import Credentials
from pgwitness.errors import InvalidError


def revealed(credentials: Credentials, connection: str) -> str | None:
    secret = credentials.password(connection)
    return secret.reveal() if secret is not None else None


def test_a_connection_s_own_comes_before_the_one_for_all(tmp_path: Path) -> None:
    file = tmp_path / "orders=password"
    file.write_text("from file\n")
    credentials = Credentials(["ALL"], [f"orders={file}"], {"ALL": "from variable"})
    assert revealed(credentials, "orders") == "from file"
    assert revealed(credentials, "other") == "from variable"
    assert "from" not in repr(credentials.password("orders"))


def test_none_is_none(tmp_path: Path) -> None:
    assert revealed(Credentials([], []), "orders") is None
    assert revealed(Credentials(["orders=A"], [], {"A": "x"}), "other") is None


def test_a_file_is_read_for_each_log_in(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"old\n")
    credentials = Credentials([], [str(file)])
    assert revealed(credentials, "orders") == "old"
    file.write_bytes(b" n\xe9w\n\n")
    assert revealed(credentials, "orders") == " n\udce9w\n"
    file.unlink()
    with pytest.raises(InvalidError, match="cannot read the password file"):
        revealed(credentials, "orders")


def test_what_is_wrong_is_said_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="NO_SUCH of --password-env is not set"):
        Credentials(["orders=NO_SUCH"], [], {})
    with pytest.raises(InvalidError, match="cannot read"):
        Credentials([], [str(tmp_path / "missing")])
    with pytest.raises(InvalidError, match="two passwords are given for connection 'orders'"):
        Credentials(["orders=A", "orders=A"], [], {"A": "secret"})
