import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.catalog.names import NAME_PATTERN, check_database, check_name, parse_names
from pgwitness.errors import InvalidError


@given(st.from_regex(NAME_PATTERN, fullmatch=True))
def test_plain_names_pass_unchanged(name: str) -> None:
    if name.lower() != "any" and not name.startswith("pgwitness-"):
        assert check_name("identity", name) == name


@given(st.text(max_size=70))
def test_all_that_passes_is_plain(name: str) -> None:
    try:
        check_name("connection", name)
    except InvalidError as error:
        assert "\n" not in str(error)
    else:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,63}", name) and name[0] not in "._-"


@pytest.mark.parametrize(
    "name", ["", "a/b", "a b", "-x", ".", "..", "ä", "a" * 64, "any", "ANY", "a\n", "*", "a,b"]
)
def test_names_that_would_need_quoting_are_refused(name: str) -> None:
    with pytest.raises(InvalidError, match="cannot be the name of a connection"):
        check_name("connection", name)


def test_names_of_pgwitness_itself_are_its_own() -> None:
    with pytest.raises(InvalidError, match="belong to pgwitness"):
        check_name("identity", "pgwitness-check")


@pytest.mark.parametrize("name", ["shop", "Shop 2", "a/b", "дом", "x" * 63])
def test_databases_may_be_called_what_postgresql_allows(name: str) -> None:
    assert check_database(name) == name


@pytest.mark.parametrize("name", ["", "x" * 64, "ж" * 32, "a\0b", "a\nb"])
def test_databases_that_cannot_be(name: str) -> None:
    with pytest.raises(InvalidError):
        check_database(name)


def test_lists_of_names() -> None:
    assert parse_names("any") == "any"
    assert parse_names(" a, b,,a") == ("a", "b")
    assert parse_names("") == ()
