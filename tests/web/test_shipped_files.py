"""What the package ships for pages: whole, licensed, served so that a browser may keep it."""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from pgwitness.api.inprocess import InProcessTransport
from pgwitness.api.services import open_services
from pgwitness.config import Settings
from pgwitness.errors import NotFoundError
from pgwitness.web.app import create_site
from pgwitness.web.assets import DIRECTORY, asset, assets
from pgwitness.web.headers import HEADERS
from pgwitness.web.rendering import TEMPLATES, environment
from support.browsing import AXE

OF_OTHERS = {
    # htmx.org 2.0.11 of the npm registry, dist/htmx.min.js
    DIRECTORY / "htmx.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    # axe-core 4.14.1 of the npm registry, axe.min.js: for tests only
    AXE: "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c",
}


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """For a stranger."""
    services = open_services(Settings(state=tmp_path_factory.mktemp("web") / "state"))

    def fail() -> None:
        raise RuntimeError("on purpose")

    def miss() -> None:
        raise NotFoundError("on purpose")

    made = create_site(services)
    made.add_api_route("/fails", fail)
    made.add_api_route("/misses", miss)
    with httpx.Client(transport=InProcessTransport(made), base_url="http://pgwitness") as client:
        yield client
    services.close()


@pytest.mark.parametrize("file", OF_OTHERS, ids=lambda file: file.name)
def test_what_others_wrote_is_as_they_published_it(file: Path) -> None:
    assert hashlib.sha256(file.read_bytes()).hexdigest() == OF_OTHERS[file]


def test_what_others_wrote_has_its_licence_beside_it() -> None:
    assert "Zero-Clause BSD" in (DIRECTORY / "htmx.LICENSE.txt").read_text()
    assert "Mozilla Public License, version 2.0" in (AXE.parent / "LICENSE").read_text()


def test_a_file_is_kept_for_ever_under_the_address_of_its_content(site: httpx.Client) -> None:
    for name in assets():
        kept = site.get(asset(name))
        assert kept.content == (DIRECTORY / name).read_bytes()
        assert "immutable" in kept.headers["cache-control"]
        assert site.get(f"/static/{name}").headers["cache-control"] == "no-cache"
        assert site.get(f"/static/{name}?v=0").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "name", ["nothing.css", "..%2fapp.py", "%2e%2e%2fapp.py", ".hidden", "htmx.min.js%00"]
)
def test_nothing_else_is_served(site: httpx.Client, name: str) -> None:
    assert site.get(f"/static/{name}").status_code == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sign-in", 200),
        ("/", 303),
        ("/nowhere", 404),
        ("/misses", 404),
        ("/static/style.css", 200),
        ("/static/none.css", 404),
        ("/health", 200),
        ("/api/v1/sessions", 401),
    ],
)
def test_every_answer_has_the_strict_headers(site: httpx.Client, path: str, status: int) -> None:
    answer = site.get(path)
    assert answer.status_code == status
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    kept = path.startswith("/static/style")
    assert answer.headers["cache-control"] == ("no-cache" if kept else "no-store")


def test_an_unexpected_error_is_a_page_that_tells_nothing(site: httpx.Client) -> None:
    """Who serves the application gets the error too, and logs it."""
    body = b""
    with site.stream("GET", "/fails") as answer, pytest.raises(RuntimeError, match="on purpose"):
        assert answer.status_code == 500
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        for piece in answer.iter_bytes():
            body += piece
    assert b"It went wrong" in body and b"purpose" not in body and b"Traceback" not in body


def test_no_template_has_a_script_or_a_style_of_its_own() -> None:
    """The Content-Security-Policy would stop it, and the page would be broken."""
    wrong = re.compile(
        r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:|https?://", re.IGNORECASE
    )
    for file in TEMPLATES.rglob("*.html"):
        assert not wrong.search(file.read_text()), file.name
        environment().get_template(str(file.relative_to(TEMPLATES)))


def test_who_guesses_tokens_is_told_to_wait(site: httpx.Client) -> None:
    answers = [site.post("/sign-in", data={"token": f"pgw_{n}_guess"}) for n in range(12)]
    assert {each.status_code for each in answers[:10]} == {401}
    assert answers[-1].status_code == 429 and int(answers[-1].headers["retry-after"]) > 0
    assert "too many requests" in answers[-1].text and "guess" not in answers[-1].text
