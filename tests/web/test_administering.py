"""Connections, connectors, identities and tokens at the pages: as the commands do it, and in the audit."""

from collections.abc import Callable

import psycopg
import pytest
from playwright.sync_api import expect

from support.browsing import Visit
from support.servers import PASSWORD, Server
from web.conftest import Site


def test_a_connection_from_the_form_to_the_record(
    site: Site, server18: Server, visit: Callable[..., Visit]
) -> None:
    with visit() as admin:
        page = admin.page
        admin.open("/connections")
        page.get_by_text("Add a connection").click()
        for name, value in {
            "name": "stock",
            "host": "127.0.0.1",
            "port": str(server18.port),
            "database": "shop",
            "user": "app",
            "password": PASSWORD,
        }.items():
            page.fill(f"#{name}", value)
        page.select_option("#sslmode", "disable")
        page.get_by_role("button", name="Add connection").click()
        page.wait_for_url("**/connections/stock?done=added")
        assert PASSWORD not in page.content()
        page.get_by_role("button", name="Check now").click()
        expect(page.locator("#check")).to_contain_text(
            "works, and what runs through it is recorded", timeout=20_000
        )
        page.get_by_text("Change it").click()
        page.fill("#host", "127.0.0.2")
        page.fill("#port", "1")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("127.0.0.2:1")).to_be_visible()
        page.get_by_role("button", name="Check now").click()
        expect(page.get_by_role("alert")).to_contain_text("does not work", timeout=20_000)
        page.get_by_text("Remove it").click()
        page.get_by_role("button", name="Remove connection").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        page.wait_for_url("**/connections")
        assert not page.get_by_role("link", name="stock").count()
        admin.open("/audit?action=connection.")
        for action in ("connection.add", "connection.update", "connection.remove"):
            expect(page.get_by_role("row").filter(has_text=action).first).to_contain_text("stock")


def test_what_is_wrong_with_a_form_is_said_and_the_rest_is_kept(visit: Callable[..., Visit]) -> None:
    with visit() as admin:
        admin.refused = {422}
        admin.open("/identities")
        admin.page.get_by_text("Add an identity").click()
        admin.page.fill("#name", "not a name")
        admin.page.fill("#connections", "shop")
        admin.page.get_by_role("button", name="Add identity").click()
        expect(admin.page.get_by_role("alert")).to_contain_text("cannot be the name")
        assert admin.page.input_value("#connections") == "shop"


def test_a_token_is_shown_once_and_works_until_it_is_revoked(site: Site, visit: Callable[..., Visit]) -> None:
    with visit() as admin:
        page = admin.page
        admin.open("/identities")
        page.get_by_text("Add an identity").click()
        page.fill("#name", "ledger-agent")
        page.fill("#connections", "shop")
        page.get_by_role("button", name="Add identity").click()
        page.wait_for_url("**/identities/ledger-agent?done=added")
        page.fill("#ttl", "1h")
        page.get_by_role("button", name="Issue token").click()
        token = page.locator("#secret-text").inner_text()
        assert not admin.barriers()
        assert token not in page.url
        dsn = site.gateway.dsn("ledger-agent", "shop", token=token)
        with psycopg.connect(dsn) as connection:
            connection.execute("SELECT 1")
        admin.open("/identities/ledger-agent")
        assert token not in page.content(), "it was shown once"
        page.get_by_role("button", name="Revoke").click()
        page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
        expect(page.get_by_text("The token is revoked")).to_be_visible()
        with pytest.raises(psycopg.OperationalError, match="authentication failed"):
            psycopg.connect(dsn)
        assert token not in site.gateway.log


def test_a_connector_is_invited_and_removed(visit: Callable[..., Visit]) -> None:
    with visit() as admin:
        page = admin.page
        admin.open("/connectors")
        page.fill("#name", "beside-shop")
        page.get_by_role("button", name="Invite").click()
        secret = page.locator("#secret-text").inner_text()
        expect(page.get_by_role("row").filter(has_text="beside-shop")).to_contain_text("invited")
        admin.open("/connectors")
        assert secret not in page.content()
        page.get_by_role("button", name="Remove beside-shop").click()
        page.get_by_role("dialog").get_by_role("button", name="Remove").click()
        expect(page.get_by_text("There is no connector")).to_be_visible()


def test_an_auditor_sees_and_changes_nothing(visit: Callable[..., Visit]) -> None:
    with visit("auditor") as auditor:
        for path in ("/connections", "/connections/shop", "/connectors", "/identities", "/identities/jane"):
            auditor.open(path)
            forms = auditor.page.locator("main form[method=post]").count()
            assert not forms, path


def test_a_look_around_the_gateway(visit: Callable[..., Visit]) -> None:
    with visit("operator") as operator:
        operator.open("/watch")
        operator.page.get_by_role("button", name="Look now at shop").click()
        expect(operator.page.get_by_text("shop was looked at.")).to_be_visible(timeout=30_000)
        assert not operator.barriers()
