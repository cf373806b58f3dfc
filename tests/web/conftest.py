"""A gateway with recorded sessions and its site, and a browser to look at it."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright

from support.browsing import CHROMIUM, Visit, require_chromium
from support.gateway import Gateway
from support.servers import PASSWORD, Server

ROWS = 40_000


class Site:
    """``gateway`` serves it. ``tokens`` by who holds them: admin, operator, auditor, own. ``mistake`` is the
    id of the session of ``billing-agent`` in which ``MISTAKE`` ran as statement ``seq``; ``live`` that of
    one that stays open."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.tokens: dict[str, str] = {}
        self.mistake = ""
        self.seq = 0
        self.live = ""
        self.signed_in: dict[str, list[Any]] = {}
        """Cookies by role: so that a test need not sign in again."""

    @property
    def url(self) -> str:
        return self.gateway.http


MISTAKE = "UPDATE shipments SET status = %s WHERE region = %s AND cents < %s"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS shipments (id int PRIMARY KEY, region text, status text, cents int)",
    f"""INSERT INTO shipments SELECT n, CASE WHEN n <= {ROWS} THEN 'west' ELSE 'east' END, 'paid', n % 4900
        FROM generate_series(1, 60000) AS n ON CONFLICT DO NOTHING""",
    "GRANT SELECT, INSERT, UPDATE ON shipments TO app",
)


@pytest.fixture(scope="package")
def site(server18: Server) -> Iterator[Site]:
    server18.sql(*SCHEMA, database="shop")
    with tempfile.TemporaryDirectory(prefix="pgw-state-", ignore_cleanup_errors=True) as directory:
        gateway = Gateway(Path(directory)).start()
        try:
            site = Site(gateway)
            _register(site, server18)
            with _recorded(site):
                yield site
        finally:
            gateway.stop()


def _register(site: Site, server: Server) -> None:
    """By the API that the commands use, as starting a command takes a second."""
    transport = httpx.HTTPTransport(uds=str(site.gateway.state / "admin.sock"))
    with httpx.Client(transport=transport, base_url="http://pgwitness/api/v1", timeout=60) as api:

        def post(path: str, **body: Any) -> Any:
            return api.post(path, json=body).raise_for_status().json()

        address = {"host": "127.0.0.1", "port": str(server.port), "database": "shop", "user": "app"}
        post("/connections", name="shop", sslmode="disable", password=PASSWORD, **address)
        for name in ("billing-agent", "reporting-agent"):
            post("/identities", name=name, connections=["shop"])
            site.gateway.tokens[name] = post("/tokens", identity=name)["token"]
        post("/identities", name="jane", kind="human")
        for role in ("admin", "operator", "auditor"):
            site.tokens[role] = post("/tokens", identity="jane", role=role)["token"]
        site.tokens["own"] = post("/tokens", identity="billing-agent", role="own")["token"]


@contextlib.contextmanager
def _recorded(site: Site) -> Iterator[None]:
    """The agent's session with its mistake, which has ended, and another's that goes on."""
    gateway = site.gateway
    with gateway.connect(
        "billing-agent", "shop", application_name="agent", options="-c pgwitness.run=run-81"
    ) as agent:
        agent.execute("SELECT region, count(*) FROM shipments GROUP BY region")
        with contextlib.suppress(psycopg.errors.UndefinedColumn):
            agent.execute("SELECT amount FROM shipments WHERE region = %s", ("east",))
        with agent.transaction():
            agent.execute(MISTAKE, ("void", "east", 50))
        with agent.transaction():
            agent.execute(MISTAKE, ("void", "west", 5000))
        with contextlib.suppress(psycopg.Rollback), agent.transaction():
            agent.execute("UPDATE shipments SET status = 'lost' WHERE id <= %s", (10,))
            raise psycopg.Rollback
        agent.execute("SELECT '<script>alert(1)</script>' AS \"<b>\", '\u202eevil'")
    found = gateway.statements("--identity", "billing-agent", "--min-rows", str(ROWS), wait_for=1)
    site.mistake, site.seq = found[0]["session"], found[0]["seq"]
    gateway.sessions("--session", site.mistake, wait_for=lambda found: found[0]["ended_at"] is not None)
    with gateway.connect("reporting-agent", "shop", application_name="reports") as open_one:
        open_one.execute("SELECT count(*) FROM shipments")
        found = gateway.statements("--identity", "reporting-agent", wait_for=1)
        site.live = found[0]["session"]
        yield


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One process for all tests here; each has contexts of its own."""
    require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(site: Site, browser: Browser) -> Callable[..., Visit]:
    """``visit(role)``: signed in with that role's token, once for all tests; None: as a stranger."""

    def make(role: str | None = "admin", **options: Any) -> Visit:
        made = Visit(browser, site.url, **options)
        if role is None:
            return made
        if role not in site.signed_in:
            with Visit(browser, site.url) as first:
                first.sign_in(site.tokens[role])
                site.signed_in[role] = first.cookies()
        return made.use(site.signed_in[role])

    return make
