"""Text of an agent on a person's terminal."""

import pytest

from pgwitness.review.text import count, duration, one_line, short, visible


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("plain ☃ é", "plain ☃ é"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\rb\r\nc\td", "a\\rb\nc\td"),
        ("\x9b31m", r"\x9b31m"),
        ("pay\u202eload\u2066\u200b\ufeff", r"pay\u202eload\u2066\u200b\ufeff"),
    ],
)
def test_what_would_steer_or_hide_is_visible(text: str, wanted: str) -> None:
    assert visible(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("  SELECT 1\n  FROM t  ", "SELECT 1 FROM t"),
        ("SELECT 1 -- harmless\nDROP TABLE t", "SELECT 1 -- harmless ⏎ DROP TABLE t"),
    ],
)
def test_one_line_never_turns_a_statement_into_a_comment(text: str, wanted: str) -> None:
    assert one_line(text) == wanted


@pytest.mark.parametrize(
    ("us", "wanted"),
    [
        (None, ""),
        (0, "0.0 ms"),
        (250, "0.2 ms"),
        (41_000, "41 ms"),
        (2_500_000, "2.5 s"),
        (200_000_000, "3 min 20 s"),
    ],
)
def test_durations(us: int | None, wanted: str) -> None:
    assert duration(us) == wanted


def test_counts_and_ids() -> None:
    assert (count(None), count(0), count(40000)) == ("", "0", "40,000")
    assert short("01a20334-61f0-798c-a51f-b93708460404") == "08460404"
