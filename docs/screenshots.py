"""The pictures of ``docs/images``: each page, light and dark, of a record that the demo's agent and others
make.

``make screenshots`` runs it. Everything in the pictures is real: a gateway, a connector, a PostgreSQL,
drivers, and Debian's Chromium. ``--keep`` leaves all of it running and prints where to sign in, instead of
taking pictures.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from pgwitness import demo
from pgwitness.demo_stage import CONNECTION, IDENTITY, connector, database, gateway, pgwitness, register

IMAGES = Path(__file__).parent / "images"
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1280, 860
MOST_BYTES = 3 << 20
"""Of all pictures: a repository is not a gallery."""

Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", action="store_true")
    keep = parser.parse_args().keep
    with stage() as (url, token, sessions):
        if keep:
            print(f"{url}\ntoken {token}\n{sessions}", flush=True)
            signal.pause()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            take_all(browser, url, token, sessions)
            browser.close()
    size = sum(picture.stat().st_size for picture in IMAGES.glob("*.png"))
    if size > MOST_BYTES:
        raise SystemExit(f"the pictures have {size:,} bytes, {MOST_BYTES:,} at most are wanted")


@contextlib.contextmanager
def stage() -> Iterator[tuple[str, str, Found]]:
    """The site's address, an administrator's token, and the ids of sessions by who ran them."""
    state = Path(tempfile.mkdtemp(prefix="pgwitness-screenshots-"))
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(database(*demo.SCHEMA))
        ready = stack.enter_context(gateway(state))
        stack.enter_context(connector(state, ready["tunnel"], cluster.password))
        tokens = {IDENTITY: register(state, cluster.port)}
        for name in ("reporting-agent", "migration-bot"):
            pgwitness(state, "identity", "add", name, "--connections", CONNECTION)
            tokens[name] = _word(pgwitness(state, "token", "issue", name))
        pgwitness(state, "identity", "add", "jane", "--kind", "human")
        token = _word(pgwitness(state, "token", "issue", "jane", "--role", "admin"))
        dsns = {
            name: f"postgresql://{name}:{secret}@{ready['postgres']}/{CONNECTION}"
            for name, secret in tokens.items()
        }
        stop = threading.Event()
        threads = [
            threading.Thread(target=_report, args=(dsns["reporting-agent"], stop), daemon=True),
            threading.Thread(target=_migrate, args=(dsns["migration-bot"], stop), daemon=True),
        ]
        for thread in threads:
            thread.start()
        try:
            demo._agent(dsns[IDENTITY])
            yield ready["http"], token, _sessions(ready["http"], token)
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def take_all(browser: Browser, url: str, token: str, sessions: Found) -> None:
    """Each page in both themes; the overview last, when there is most to see."""
    IMAGES.mkdir(exist_ok=True)
    mistake = sessions[IDENTITY]
    pages = {
        "sessions": "/sessions",
        "search": "/search?command=UPDATE&min_rows=1000",
        "session": f"/sessions/{mistake}?at={sessions['mistake']}",
        "statement": f"/sessions/{mistake}/statements/{sessions['mistake']}",
        "blast-radius": f"/blast?session={mistake}",
        "verification": "/record",
        "watch": "/watch",
        "audit": "/audit",
        "connections": "/connections",
        "connection": f"/connections/{CONNECTION}",
        "connectors": "/connectors",
        "identities": "/identities",
        "identity": f"/identities/{IDENTITY}",
        "overview": "/",
    }
    for theme in ("light", "dark"):
        context = browser.new_context(
            viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=theme, reduced_motion="reduce"
        )
        page = context.new_page()
        page.goto(f"{url}/sign-in")
        _shoot(page, f"sign-in-{theme}")
        page.fill("#token", token)
        page.click("main button.primary")
        page.wait_for_url(f"{url}/")
        _verify(page, url)
        for name, path in pages.items():
            page.goto(url + path)
            _shoot(page, f"{name}-{theme}")
        context.close()


def _verify(page: Page, url: str) -> None:
    page.goto(f"{url}/record")
    page.click("#verify-now")
    page.wait_for_selector(".badge:has-text('sound')")


def _shoot(page: Page, name: str) -> None:
    page.wait_for_load_state("networkidle")
    path = IMAGES / f"{name}.png"
    page.screenshot(path=path, full_page=False)
    _shrink(path)


def _shrink(path: Path) -> None:
    """To 256 colours: half the size, and no difference to the eye."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


# what others run meanwhile


def _report(dsn: str, stop: threading.Event) -> None:
    """One session that stays open: it reads, and now and then asks for what is not there."""
    with psycopg.connect(
        dsn, autocommit=True, application_name="reports", options="-c pgwitness.run=nightly-7"
    ) as connection:
        for number in itertools.count():
            connection.execute(
                "SELECT status, count(*), sum(cents) FROM orders WHERE mod(id, %s) = 0 GROUP BY status", (7,)
            )
            if number % 9 == 4:
                with contextlib.suppress(psycopg.Error):
                    connection.execute("SELECT total FROM invoices WHERE month = %s", ("2026-10",))
            if stop.wait(0.7):
                return


def _migrate(dsn: str, stop: threading.Event) -> None:
    """Session after session, some of which change their mind."""
    for number in itertools.count():
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(dsn, application_name="migrate") as connection,
        ):
            connection.execute(
                "UPDATE orders SET status = 'archived' WHERE id BETWEEN %s AND %s",
                (number * 50, number * 50 + 49),
            )
            if number % 3 == 2:
                connection.execute("INSERT INTO refunds VALUES (%s, %s, %s)", (-1, 0, "no such order"))
        if stop.wait(4):
            return


def _word(said: str) -> str:
    return next(word for word in said.split() if word.startswith("pgw_"))


def _sessions(url: str, token: str) -> Found:
    """Once all of the agent's statements are in the index."""
    with httpx.Client(base_url=f"{url}/api/v1", headers={"Authorization": f"Bearer {token}"}) as api:
        while True:
            found = api.get("/statements", params={"identity": IDENTITY, "min_rows": "40000"}).json()["items"]
            if found:
                mistake = found[-1]
                return {IDENTITY: mistake["session"], "mistake": mistake["seq"]}
            threading.Event().wait(0.2)


if __name__ == "__main__":
    main()
