"""Verification at the pages, and the bundle that an auditor takes away."""

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from support.browsing import Visit
from web.conftest import Site

MOST = 60_000


def test_the_record_is_verified_now(visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        auditor.open("/record")
        auditor.page.get_by_role("button", name="Verify now").click()
        heading = auditor.page.get_by_role("heading", name="whole and unchanged")
        expect(heading).to_contain_text("sound", timeout=MOST)
        steps = auditor.page.get_by_role("table").get_by_role("row")
        assert steps.count() > 3
        assert not auditor.barriers()
        auditor.open("/audit?action=verify")
        expect(auditor.page.get_by_role("row").filter(has_text="the whole record").first).to_contain_text(
            "jane"
        )


def test_a_session_is_verified_and_its_bundle_proves_it_elsewhere(
    site: Site, visit: Callable[..., Visit], tmp_path: Path
) -> None:
    with visit("auditor") as auditor:
        auditor.open(f"/record?session={site.mistake}")
        auditor.page.get_by_role("button", name="Verify now").click()
        expect(auditor.page.get_by_role("heading", name="whole and unchanged")).to_be_visible(timeout=MOST)
        with auditor.page.expect_download() as began:
            auditor.page.get_by_role("link", name="Download bundle").click()
        download = began.value
        assert download.suggested_filename == f"{site.mistake}.pgwitness.zip"
        file = tmp_path / download.suggested_filename
        download.save_as(file)
        auditor.open(f"/audit?subject={site.mistake}")
        expect(auditor.page.get_by_role("row").filter(has_text="read.export").first).to_contain_text("jane")
    said = site.gateway.run("verify", "--bundle", str(file), "--format", "json").stdout
    assert json.loads(said)["result"] == "sound"
