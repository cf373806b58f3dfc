"""The replay of sessions that no client makes: hostile, long, erased, withheld, interrupted, damaged."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pgwitness.index.catchup import catch_up
from pgwitness.wire.codec import query
from support import tapes
from support.browsing import PHONE, Visit
from support.dialogue import (
    START,
    Dialogue,
    answers,
    complete,
    data_row,
    error,
    extended,
    ready,
    row_description,
    sync,
)
from support.serving import served
from support.tape_files import RECORDER, ZERO
from support.waiting import wait_until

SESSION = str(tapes.session_id(1))
PATH = f"/sessions/{SESSION}"
LONG = 5_000
SCRIPT = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


def ordinary() -> Dialogue:
    """11 statements; 4 is a large write, 8 fails, 7 to 10 are rolled back."""
    talk = tapes.dialogue(1)
    rows = row_description(("id", 23), ("name", 25))
    talk.client(query("SELECT id, name FROM orders")).server(
        rows, data_row(b"1", b"Ann"), data_row(b"2", None), complete("SELECT 2"), ready()
    )
    talk.run("SET search_path = public", "SET")
    talk.run("BEGIN", "BEGIN", b"T")
    talk.client(
        extended("UPDATE orders SET status = $1 WHERE region = $2", (b"void", b"7"), (25, 23)), sync()
    ).server(answers("UPDATE 40000", b"T"))
    talk.run("COMMIT", "COMMIT")
    talk.event(event="cancel_requested", address="10.0.0.7:5")
    talk.run("SELECT 6", "SELECT 1")
    talk.run("BEGIN", "BEGIN", b"T")
    talk.client(query("SELECT 1/0")).server(error("22012"), ready(b"E"))
    talk.client(query("DELETE FROM orders")).server(error("25P02"), ready(b"E"))
    talk.run("ROLLBACK", "ROLLBACK").run("SELECT 11", "SELECT 1")
    return talk.ended()


@contextmanager
def looking(browser: Browser, state: Path, *talks: Dialogue, **options: object) -> Iterator[Visit]:
    if talks:
        tapes.record(state, *talks)
        tapes.index(state).close()
    settings = options.pop("settings", {})
    with served(state, **settings) as url, Visit(browser, url, **options) as visit:  # type: ignore[arg-type]
        yield visit


def chosen(page: Page) -> int:
    return int(page.locator("#strip").get_attribute("aria-valuenow") or 0)


def wait_for(page: Page, seq: int) -> None:
    expect(page.locator("#strip")).to_have_attribute("aria-valuenow", str(seq))


def test_by_keyboard_alone(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, ordinary()) as visit:
        visit.open(PATH)
        page, press = visit.page, visit.page.keyboard.press
        wait_for(page, 1)
        for keys, seq in (
            ("j", 2),
            ("ArrowDown", 3),
            ("ArrowRight", 4),
            ("k", 3),
            ("End", 11),
            ("Home", 1),
            ("w", 4),
            ("e", 8),
            ("E", 8),
            ("T", 7),
            ("t", 11),
            ("W", 4),
            ("PageDown", 11),
            ("PageUp", 1),
        ):
            press(keys)
            wait_for(page, seq)
        press("w")
        wait_for(page, 4)
        assert "UPDATE orders" in visit.focused(), "the chosen line has the keyboard, so it is read out"
        expect(page.locator("#panel h2")).to_contain_text("#4 UPDATE")
        press("Home")
        press("r")
        expect(page.locator("#panel .results")).to_contain_text("Ann")
        assert page.locator("#panel .results .null").count() == 1
        press("a")
        expect(page.locator("#panel .around")).to_contain_text("SET search_path")
        press("?")
        expect(page.locator(".keys dl")).to_be_visible()
        press("?")
        press("Enter")
        page.wait_for_url(f"**{PATH}/statements/1")


def test_the_time_line_is_a_slider_for_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, ordinary()) as visit:
        visit.open(PATH)
        page = visit.page
        strip = page.get_by_role("slider", name="Statement")
        strip.focus()
        page.keyboard.press("ArrowRight")
        wait_for(page, 2)
        assert page.evaluate("document.activeElement.id") == "strip"
        page.keyboard.press("End")
        wait_for(page, 11)
        assert strip.get_attribute("aria-valuemax") == "11"
        assert "SELECT 11" in (strip.get_attribute("aria-valuetext") or "")


def test_playing_goes_through_it_and_stops_at_the_end(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, ordinary()) as visit:
        visit.open(f"{PATH}?at=3")
        page = visit.page
        page.get_by_label("Speed").select_option("max")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Play").click()
        wait_for(page, 11)
        expect(page.locator("#play")).to_have_text("Play")
        expect(page.locator("#panel h2")).to_contain_text("#11")
        page.locator("body").click(position={"x": 5, "y": 5})
        page.keyboard.press("-")
        assert page.get_by_label("Speed").input_value() == "64"


def test_it_shows_what_became_of_each(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, ordinary()) as visit:
        visit.open(f"{PATH}?at=8")
        page = visit.page
        places = [page.locator(f"#s{n}").get_attribute("class") or "" for n in range(1, 12)]
        brackets = [re.findall(r"tx-(\w+)", each)[0] for each in places]
        assert brackets == [
            *("alone", "alone", "first", "inside", "last", "alone"),
            *("first", "inside", "inside", "last", "alone"),
        ]
        assert all("rolled_back" in each for each in places[6:10])
        event = page.locator(".event")
        assert "cancel requested" in event.inner_text() and "10.0.0.7:5" in event.inner_text()
        order = page.evaluate("[...document.querySelectorAll('.st, .event')].map(e => e.id || 'event')")
        assert order.index("event") == order.index("s6") - 1, "an event stands where it happened"
        expect(page.locator("#panel")).to_contain_text("22012")
        assert page.locator(".standouts").inner_text().split("rows")[0].endswith("#4 UPDATE 40,000 ")
        page.locator(".standouts a", has_text="first not ok").click()
        wait_for(page, 8)


def test_without_scripts_it_is_pages_with_links(browser: Browser, tmp_path: Path) -> None:
    tapes.record(tmp_path, _many(250))
    with served(tmp_path) as url:
        context = browser.new_context(java_script_enabled=False)
        page = context.new_page()
        page.goto(f"{url}{PATH}?at=120")
        assert page.locator(".st").count() == 100
        page.get_by_role("link", name="Later statements").click()
        assert page.locator(".st").first.get_attribute("id") == "s201"
        page.locator("#s210 a").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Statement 210")
        page.goto(f"{url}{PATH}/statements/1/result")
        expect(page.locator("main")).to_contain_text("It had no result.")
        context.close()


HOSTILE = [
    f"SELECT '{SCRIPT}'",
    "SELECT '\u202egnp.exe\u202c\u2066\u200b\ufeff', '\x1b[31m\x07'",
    "SELECT '\U0001f984\U0001f468\u200d\U0001f469 ünïcödé' -- </textarea></style></title>",
    "SELECT '" + "x" * 3_000_000 + "'",
    "SELECT 1 /* ]]> --> </script> */; {{ 7 * 7 }} {% raw %}",
]


def _send(talk: Dialogue, *messages: bytes) -> Dialogue:
    """In frames as a tape takes them."""
    data = b"".join(messages)
    for at in range(0, len(data), 1 << 18):
        talk.client(data[at : at + (1 << 18)])
    return talk


def _hostile() -> Dialogue:
    talk = tapes.dialogue(1, identity="<b>mallory</b>", claims={"run": SCRIPT}, client={"address": SCRIPT})
    for sql in HOSTILE:
        _send(talk, query(sql)).server(complete("SELECT 1"), ready())
    values = (SCRIPT.encode(), "\u202eevil".encode(), b"y" * 2_000_000, b"\x01\x7f", None, b"")
    insert = extended("INSERT INTO t VALUES ($1,$2,$3,$4,$5,$6)", values, (25,) * 6)
    _send(talk, insert, sync()).server(answers("INSERT 0 1"))
    names = row_description((SCRIPT, 25), ("\u202eb", 17))
    talk.client(query("SELECT * FROM t")).server(
        names,
        data_row(SCRIPT.encode(), b"\\x00ff"),
        data_row(b"z" * 100_000, None),
        complete("SELECT 2"),
        ready(),
    )
    talk.event(event="notice", message=SCRIPT)
    return talk.run("SELECT 8", "SELECT 1").ended()


def test_hostile_texts_are_shown_and_never_obeyed(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, _hostile()) as visit:
        page = visit.page
        for seq in range(1, len(HOSTILE) + 3):
            for path in (f"{PATH}?at={seq}", f"{PATH}/statements/{seq}", f"{PATH}/statements/{seq}/result"):
                assert visit.open(path) == 200
                assert page.locator("main script, main img, main b b, main iframe").count() == 0
                assert "owned" not in page.title()
                turned = page.evaluate(
                    "/[\\u202a-\\u202e\\u2066-\\u2069\\u200b\\x1b]/.test(document.body.innerText)"
                )
                assert not turned, path
                assert len(page.content()) < 600_000, "what is of megabytes is cut"
        visit.open(f"{PATH}?at=1")
        expect(page.locator("#panel .code")).to_contain_text("<script>document.title")
        visit.open(f"{PATH}?at=2")
        expect(page.locator("#panel .code")).to_contain_text("\\u202egnp.exe")
        visit.open(f"{PATH}?at=4")
        expect(page.locator("#panel .cut")).to_contain_text("first 20,000 of 3,000,009 characters")
        visit.open(f"{PATH}?at=6")
        values = page.locator("#panel .values tbody tr")
        assert [values.nth(n).locator(".value").inner_text() for n in (3, 4, 5)] == [
            "\\x01\\x7f",
            "NULL",
            "empty string",
        ]
        assert "2,000,000 characters in all" in values.nth(2).inner_text()
        assert not visit.too_wide()


def test_hostile_texts_fit_a_phone(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, _hostile(), width=PHONE) as visit:
        for path in (PATH, f"{PATH}?at=6", f"{PATH}/statements/4", "/search", f"/blast?session={SESSION}"):
            visit.open(path)
            assert not visit.too_wide(), path


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_everybody_can_use_it(browser: Browser, tmp_path: Path, theme: str) -> None:
    with looking(browser, tmp_path, ordinary(), theme=theme) as visit:
        found = {}
        pages = (PATH, f"{PATH}?scale=time", f"{PATH}/statements/4", f"{PATH}/statements/1/result")
        for path in (
            *pages,
            "/search?min_rows=1",
            "/search?command=NONE",
            f"/blast?session={SESSION}",
            "/blast",
        ):
            visit.open(path)
            if path == PATH:
                visit.page.keyboard.press("a")
                expect(visit.page.locator("#panel .around")).to_be_visible()
            if barriers := visit.barriers():
                found[path] = barriers
        assert not found, "\n".join(f"{path}: {each}" for path, some in found.items() for each in some)


def _many(number: int) -> Dialogue:
    talk = tapes.dialogue(1)
    for n in range(number):
        talk.run(
            f"SELECT {n}" if n % 7 else f"DELETE FROM a WHERE id = {n}",
            "DELETE 1" if n % 7 == 0 else "SELECT 1",
        )
    return talk.ended()


def _first_paint(page: Page) -> float:
    """In seconds, from the address to something to see."""
    paints = "performance.getEntriesByName('first-contentful-paint').map(each => each.startTime)"
    found: list[float] = wait_until(lambda: page.evaluate(paints))
    return found[0] / 1000


def _long_session(visit: Visit, statements: int, seconds: float) -> None:
    """``seconds`` leave a busy machine its time: on an idle one it is below one."""
    page = visit.page
    visit.open(PATH)
    painted = _first_paint(page)
    print(f"first paint of {statements:,} statements: {painted:.3f} s")
    assert painted < seconds
    assert int(page.locator("#strip").get_attribute("data-statements") or 0) == statements
    page.keyboard.press("End")
    expect(page.locator(f"#s{statements}")).to_be_visible()
    box = page.locator("#strip").bounding_box()
    assert box is not None
    for share in range(1, 20):
        page.mouse.click(box["x"] + box["width"] * share / 20, box["y"] + 40)
        expect(page.locator("#panel h2")).to_contain_text(f"#{chosen(page):,} ")
        expect(page.locator(f"#s{chosen(page)}")).to_be_visible()
    assert page.locator(".st").count() <= 1_500, "what is out of sight is not kept"
    assert page.evaluate("document.querySelectorAll('*').length") < 20_000 + statements / 50


def test_a_long_session(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, _many(LONG)) as visit:
        visit.open("/")
        _long_session(visit, LONG, 5)


@pytest.mark.slow
def test_a_very_long_session(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, _many(100_000)) as visit:
        visit.open("/")
        _long_session(visit, 100_000, 2)


def _remark(visit: Visit) -> str:
    visit.open(PATH)
    return visit.page.locator("#deck .notice").inner_text()


def test_an_erased_session_says_so(browser: Browser, tmp_path: Path) -> None:
    talk = ordinary()
    erased = {"event": "session_erased", "session": SESSION, "by": "anna", "reason": "asked for by Ann"}
    with tapes.Recording(tmp_path, [talk]) as recording:
        recording.put_all()
        recording.writer.append_json(ZERO, RECORDER, START + 10**11, erased)
        recording.writer.close()
    with looking(browser, tmp_path) as visit:
        said = _remark(visit)
        assert "was erased at" in said and "By anna: asked for by Ann." in said
        assert visit.page.locator(".st, #replay").count() == 0


@pytest.mark.parametrize("text", ["normalised", "none"])
def test_what_is_kept_out_of_the_index_is_said(browser: Browser, tmp_path: Path, text: str) -> None:
    tapes.record(tmp_path, ordinary())
    catch_up(tmp_path, text=text)  # type: ignore[arg-type]
    with looking(browser, tmp_path, settings={"index": {"text": text}}) as visit:
        assert "setting index.text" in _remark(visit)
        visit.open(f"{PATH}?at=4")
        panel = visit.page.locator("#panel")
        expect(panel).to_contain_text("kept out of the index")
        assert "void" not in panel.inner_text()
        assert "UPDATE 40000" in panel.inner_text()


def test_an_interrupted_session_says_so(browser: Browser, tmp_path: Path) -> None:
    talk = tapes.dialogue(1).run("BEGIN", "BEGIN", b"T").run("DELETE FROM a", "DELETE 3", b"T")
    with looking(browser, tmp_path, talk.ended("interrupted")) as visit:
        assert "ends where the gateway was stopped" in _remark(visit)
        expect(visit.page.locator("#state-badge")).to_have_text("interrupted")


def test_a_session_without_an_end_says_so(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, tapes.dialogue(1).run("SELECT 1", "SELECT 1")) as visit:
        assert "has no end" in _remark(visit)


def test_a_session_without_statements_says_so(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, tapes.dialogue(1).ended()) as visit:
        visit.open(PATH)
        expect(visit.page.locator("#replay")).to_contain_text("No statement yet")


def test_damage_says_so(browser: Browser, tmp_path: Path) -> None:
    talk = tapes.dialogue(1)
    for n in range(60):
        talk.run(f"SELECT {n}", "SELECT 1")
    with tapes.Recording(tmp_path, [talk], segment_bytes=4096) as recording:
        recording.put_all()
        recording.writer.close()
    first = tmp_path / "tape" / "0000000001.tape"
    data = bytearray(first.read_bytes())
    data[data.index(b"SELECT 5\0")] ^= 1
    first.write_bytes(data)
    with looking(browser, tmp_path) as visit:
        visit.open(PATH)
        said = " ".join(visit.page.locator("#deck .notice").all_inner_texts())
        assert "A part of this session's record cannot be read" in said
        assert visit.page.locator(".event", has_text="sequence gap").count() == 1


def test_a_reading_is_noted_once_for_one_reading(browser: Browser, tmp_path: Path) -> None:
    with looking(browser, tmp_path, ordinary()) as visit:
        visit.open(PATH)
        for key in ("j", "j", "w", "e", "a", "r"):
            visit.page.keyboard.press(key)
            visit.page.wait_for_load_state("networkidle")
        expect(visit.page.locator("#panel .around")).to_be_visible()
        visit.open("/audit?action=read.")
        noted = visit.page.locator("tbody tr").all_inner_texts()
        assert sum("replay" in each for each in noted) == 1, noted
