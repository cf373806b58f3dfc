"""How pages write times, sizes and an agent's text."""

import html
import re
from datetime import UTC, datetime, timedelta

import pytest
from markupsafe import Markup

from pgwitness.web import formats
from pgwitness.web.going import within
from pgwitness.web.highlight import highlight, highlight_pieces
from pgwitness.web.rendering import environment

NOW = datetime(2026, 11, 22, 6, 45, 31, 123, UTC)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [(0, "now"), (0.9, "now"), (4.24, "4.2 s ago"), (59, "59 s ago"), (3600, "1 h ago"), (-90000, "in 1 d")],
)
def test_how_long_ago(seconds: float, wanted: str) -> None:
    shown = formats.ago(NOW - timedelta(seconds=seconds), NOW)
    assert Markup(shown).striptags() == wanted
    assert 'datetime="2026-11-2' in shown


def test_times_are_utc_whatever_they_come_as() -> None:
    elsewhere = NOW.astimezone(datetime.now().astimezone().tzinfo)
    wanted = "2026-11-22 06:45:31"
    assert formats.time(elsewhere).striptags() == wanted
    assert formats.time("2026-11-22T06:45:31.000123Z").striptags() == wanted
    assert formats.clock("2026-11-22T06:45:31.000123Z").striptags() == "06:45:31.000"
    assert formats.day("2026-11-22T06:45:31.000123Z").striptags() == "11-22 06:45:31"
    assert formats.time(None) == ""


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (0, "0 bytes"),
        (1023, "1,023 bytes"),
        (1024, "1.0 KiB"),
        (64 << 20, "64.0 MiB"),
        (3 << 50, "3072.0 TiB"),
    ],
)
def test_sizes(number: int, wanted: str) -> None:
    assert formats.size(number) == wanted


def test_details_of_the_audit_in_plain_words() -> None:
    assert formats.plain("2026-11-23T06:37:47.804375+00:00") == "2026-11-23 06:37:47"
    assert formats.plain(["a", "b"]) == "a, b"
    assert formats.plain(True) == "true"
    assert formats.is_session("01a2049b-a347-7670-92df-64230855e69b") and not formats.is_session(
        "all sessions"
    )


@pytest.mark.parametrize(
    ("actor", "wanted"),
    [
        ("jane (token k3v9) from 10.0.0.7", "jane|token k3v9, 10.0.0.7"),
        ("jane (token k3v9)", "jane|token k3v9"),
        ("local:root", "local:root"),
        ("<b> (token x) from <i>", "<b>|token x, <i>"),
    ],
)
def test_who_did_it(actor: str, wanted: str) -> None:
    assert plain(Markup(formats.who(actor).replace("<br>", "|"))) == wanted


def test_all_that_a_template_puts_out_is_escaped_and_harmless() -> None:
    page = environment().from_string("<p>{{ given }}</p>{{ nothing }}")
    shown = page.render(given="<b>\u202epay\x1b[2J", nothing=None)
    assert shown == "<p>&lt;b&gt;\\u202epay\\x1b[2J</p>"


@pytest.mark.parametrize("path", ["//evil", "/\\evil", "http://evil", "evil", "", "/a\nb"])
def test_a_page_leads_to_this_site_only(path: str) -> None:
    assert within(path, "/here") == "/here"
    assert within("/sessions?run=a%20b", "/here") == "/sessions?run=a%20b"


def plain(markup: Markup) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", markup))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT '<i>', \"a&b\" FROM t -- end",
        "UPDATE t SET a = $1 /* not closed",
        "DO $x$ BEGIN NULL; END $x$",
        "\\crosstabview ; select 'it''s'",
        "",
        "é 漢 \U0001f600 'x",
    ],
)
def test_colours_change_no_text(sql: str) -> None:
    assert plain(highlight(sql)) == sql
    assert plain(highlight_pieces([(sql[:7], False), (sql[7:9], True), (sql[9:], False)])) == sql


def test_what_hides_in_sql_is_seen() -> None:
    assert "\\u202e" in highlight("SELECT 1 -- \u202e") and "\u202e" not in highlight("SELECT 1 -- \u202e")


def test_on_one_line_a_comment_does_not_swallow_what_follows_it() -> None:
    shown = highlight("SELECT 1 -- x\nDELETE FROM t", one_line=True)
    assert '<span class="c">-- x ⏎ </span><span class="k">DELETE</span>' in shown


def test_bound_values_stand_in_place_and_are_marked() -> None:
    parts = [("SELECT ", False), ("'a\n<b>'", True), (" -- c", False)]
    shown = highlight_pieces(parts, one_line=True)
    assert '<mark class="bound"' in shown and "&lt;b&gt;" in shown and "\n" not in shown
