"""What a connector dials, whatever it is asked."""

import pytest

from pgwitness.connector.allowed import Allowed
from pgwitness.errors import InvalidError


@pytest.mark.parametrize(
    ("entries", "host", "port", "permitted"),
    [
        ([], "localhost", 5432, True),
        ([], "127.0.0.1", 1, True),
        ([], "::1", 5432, True),
        ([], "/var/run/postgresql", 5432, True),
        ([], "127.0.0.2", 5432, False),
        ([], "db.internal", 5432, False),
        ([], "", 5432, False),
        (["db.internal"], "DB.Internal.", 5432, True),
        (["db.internal"], "db.internal", 1, True),
        (["db.internal"], "localhost", 5432, False),
        (["db.internal"], "/var/run/postgresql", 5432, False),
        (["db.internal"], "db.internal,evil", 5432, False),
        (["db.internal"], "evil.db.internal", 5432, False),
        (["db.internal:5432"], "db.internal", 5432, True),
        (["db.internal:5432"], "db.internal", 5433, False),
        (["10.0.0.9:5432", "10.0.0.10"], "10.0.0.10", 5433, True),
        (["[::1]:5432"], "0:0::1", 5432, True),
        (["[::1]:5432"], "::1", 5433, False),
        (["::1"], "::1", 5433, True),
        (["2001:db8::5"], "2001:db8::5", 5432, True),
        (["/var/run/postgresql/"], "/var/run/postgresql", 5432, True),
        (["/var/run/postgresql"], "/tmp", 5432, False),
        (["any"], "anything.example", 1, True),
        (["any"], "one,two", 1, False),
    ],
)
def test_permits(entries: list[str], host: str, port: int, permitted: bool) -> None:
    assert Allowed(entries).permits(host, port) is permitted


@pytest.mark.parametrize("entry", ["", ":5432", "db:", "db:0", "db:65536", "db:port"])
def test_what_is_no_host(entry: str) -> None:
    with pytest.raises(InvalidError, match="allowed"):
        Allowed([entry])


def test_what_is_told_to_the_gateway() -> None:
    assert Allowed([]).entries == ["localhost", "127.0.0.1", "::1", "unix"]
    assert Allowed(["db:5432"]).entries == ["db:5432"]
