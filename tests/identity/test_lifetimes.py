from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgwitness.errors import InvalidError
from pgwitness.identity.lifetimes import parse_lifetime


@pytest.mark.parametrize(
    ("text", "lifetime"),
    [
        ("24h", timedelta(hours=24)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(weeks=2)),
        ("30m", timedelta(minutes=30)),
        ("5s", timedelta(seconds=5)),
        ("never", None),
    ],
)
def test_lifetimes(text: str, lifetime: timedelta | None) -> None:
    assert parse_lifetime(text) == lifetime


@pytest.mark.parametrize(
    "text", ["", "0h", "-1h", "1", "h", "1.5h", "1 h", "٣h", "999999999w", "Never", "1h\n"]
)
def test_what_is_no_lifetime(text: str) -> None:
    with pytest.raises(InvalidError, match="not a lifetime"):
        parse_lifetime(text)


@given(st.text(max_size=12))
def test_any_text_is_a_lifetime_or_an_error(text: str) -> None:
    try:
        lifetime = parse_lifetime(text)
    except InvalidError:
        return
    assert lifetime is None or lifetime > timedelta(0)
