"""The story: 40,000 rows are wrong. From the sign-in to a bundle that proves itself, in a browser."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from support.browsing import Visit
from web.conftest import MISTAKE, ROWS, Site

VALUES = ("void", "west", "5000")
EAST = 200
"""Rows that the agent updated before, and meant to."""


def test_from_rows_that_are_wrong_to_the_proof(
    site: Site, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    with visit(None) as responder:
        page = responder.page
        responder.sign_in(site.tokens["operator"])

        # whose sessions were there?
        page.get_by_role("link", name="Sessions", exact=True).click()
        page.get_by_label("Identity").fill("billing-agent")
        page.get_by_role("button", name="Filter").click()
        page.locator(f'a[href="/sessions/{site.mistake}"]').first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("Session")
        expect(page.locator("#transport")).to_be_visible()
        assert page.locator(".ledger").inner_text().count("billing-agent") == 1

        # scrub to the UPDATE: the longest bar of the time line
        box = page.locator("#strip").bounding_box()
        statements = int(page.locator("#strip").get_attribute("data-statements") or 0)
        assert box is not None
        page.mouse.move(box["x"] + 2, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * (site.seq - 0.5) / statements, box["y"] + 40, steps=9)
        page.mouse.up()
        expect(page.locator("#strip")).to_have_attribute("aria-valuenow", str(site.seq))
        assert f"{ROWS:,} rows written" in page.locator("#told").inner_text()

        # its values, row count, outcome
        panel = page.locator("#panel")
        expect(panel.locator("h2")).to_contain_text(f"#{site.seq} UPDATE")
        bound = panel.locator(".code mark")
        assert bound.all_inner_texts() == ["'void'", "'west'", "5000"]
        assert [mark.get_attribute("title") for mark in bound.all()] == ["$1", "$2", "$3"]
        listed = panel.locator(".values tbody tr")
        assert [row.locator(".value").inner_text() for row in listed.all()] == list(VALUES)
        assert f"UPDATE {ROWS}" in panel.inner_text()
        expect(panel.locator(".panel-head")).to_contain_text("committed")
        row = page.locator(f"#s{site.seq}")
        expect(row.locator(".line")).to_have_attribute("aria-current", "true")

        # its neighbours
        panel.get_by_role("link", name="What stood around it").click()
        around = panel.locator(".around")
        expect(around).to_contain_text("BEGIN")
        expect(around).to_contain_text("COMMIT")

        # the blast radius
        page.get_by_role("link", name="Blast radius").last.click()
        expect(page.locator(".stats")).to_contain_text(f"{ROWS + EAST:,}")
        expect(page.locator(".behind").first).to_contain_text(f"{ROWS:,} rows")
        bars = page.locator(".bars li")
        expect(bars.first).to_contain_text("public.shipments UPDATE")
        expect(bars.nth(1)).to_contain_text("rolled back")
        page.get_by_text("As text").click()
        expect(page.locator("#as-text")).to_contain_text(f"{ROWS + EAST:,} rows  UPDATE public.shipments")
        bars.first.get_by_role("link").click()
        expect(page.locator(".statements tbody")).to_contain_text(f"UPDATE {ROWS}")

        # is the record whole?
        responder.open(f"/record?session={site.mistake}")
        page.get_by_role("button", name="Verify").first.click()
        expect(page.locator("main")).to_contain_text("sound", timeout=30_000)

        # take it along
        responder.open(f"/sessions/{site.mistake}")
        page.get_by_text("Download", exact=True).click()
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Evidence bundle").click()
        bundle = tmp_path / downloading.value.suggested_filename
        downloading.value.save_as(bundle)
    key = next(site.gateway.state.glob("record/**/verifier"), None) or tmp_path / "none"
    done = subprocess.run(
        [sys.executable, "-m", "pgwitness", "verify", "--bundle", str(bundle), "--key", str(key)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_search_is_an_address(site: Site, visit: Callable[..., Visit], tmp_path: Path) -> None:
    with visit("auditor") as auditor:
        page = auditor.page
        auditor.open("/search?since=1h")
        page.get_by_label("Text").fill("shipments SET")
        page.get_by_text("More filters").click()
        page.get_by_label("Command").fill("update")
        page.get_by_label("Outcome").select_option("committed")
        page.get_by_role("button", name="Search").click()
        expect(page.locator("#found")).to_have_text("2 statements")
        assert "command=update" in auditor.path and "outcome=committed" in auditor.path
        assert MISTAKE.partition("%")[0].strip() in page.locator(".statements").inner_text()
        with page.expect_download() as downloading:
            page.get_by_text("Download", exact=True).click()
            page.get_by_role("link", name="CSV").click()
        file = tmp_path / "found.csv"
        downloading.value.save_as(file)
        assert len(file.read_text().splitlines()) == 3
        auditor.open(str(page.get_by_role("link", name="Link to this search").get_attribute("href")))
        assert "since=20" in auditor.path, "a time, not a span before now"
        expect(page.locator("#found")).to_have_text("2 statements")


def test_a_search_that_makes_no_sense_says_so(visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        auditor.refused |= {422}
        assert auditor.open("/search?min_rows=many") == 422
        expect(auditor.page.get_by_role("alert")).to_contain_text("is not a number of rows")


def test_one_statement_has_an_address(site: Site, visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        page = auditor.page
        assert auditor.open(f"/sessions/{site.mistake[-8:]}/statements/{site.seq}") == 200
        assert auditor.path == f"/sessions/{site.mistake}/statements/{site.seq}"
        expect(page.locator("#citation")).to_contain_text(f"statement {site.seq}")
        expect(page.locator(".around [aria-current]")).to_have_count(
            2 if page.locator(".shared").count() else 1
        )
        document = page.evaluate(
            "fetch(document.querySelector('a[href$=\".json\"]').href).then(answer => answer.json())"
        )
        assert (document["seq"], document["rows"]) == (site.seq, ROWS)
        page.get_by_role("link", name="See it in the replay").click()
        expect(page.locator(f"#s{site.seq} .line")).to_have_attribute("aria-current", "true")
