import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import scramp

from pgwitness.catalog.store import Catalog
from pgwitness.errors import ConflictError, InvalidError, NotFoundError
from pgwitness.identity import tokens


@pytest.fixture(autouse=True)
def agent(catalog: Catalog) -> None:
    for name in ("orders", "crm"):
        catalog.connections.add(name, {"host": "h", "database": "shop", "user": "app"}, actor="test")
    catalog.identities.add("agent", connections=("orders",), actor="test")


def test_a_token_is_shown_once_and_stored_as_verifier(catalog: Catalog) -> None:
    token, text = tokens.issue(catalog, "agent", actor="test", on_behalf_of="alice")
    assert tokens.public_id(text.reveal()) == token.id
    account = catalog.accounts.by_name("agent")
    assert account is not None
    assert tokens.check(text.reveal(), account, b"")
    assert not tokens.check(text.reveal()[:-1] + "!", account, b"")
    assert not tokens.check(f"pgw_{token.id}_{'A' * 43}", account, b"")
    assert not tokens.check(text.reveal(), None, bytes(16))
    (listed,) = catalog.tokens.list()
    assert listed == token and (listed.on_behalf_of, listed.role) == ("alice", "client")
    assert text.reveal() not in repr(catalog.audit()) + repr(token) + repr(account)


def test_tokens_expire_by_default(catalog: Catalog) -> None:
    token, _ = tokens.issue(catalog, "agent", actor="test")
    assert token.expires_at is not None
    assert abs(token.expires_at - datetime.now(UTC) - timedelta(hours=24)) < timedelta(minutes=1)
    assert token.live(datetime.now(UTC)) and not token.live(token.expires_at)
    for_ever, _ = tokens.issue(catalog, "agent", actor="test", lifetime=None)
    assert for_ever.expires_at is None


def test_verifier_is_that_of_an_independent_implementation() -> None:
    salt = b"0123456789abcdef"
    mechanism = scramp.ScramMechanism("SCRAM-SHA-256")
    _, stored_key, server_key, _ = mechanism.make_auth_info("pgw_abc", iteration_count=4096, salt=salt)
    verifier = tokens.make_verifier("pgw_abc", salt, 4096)
    assert (verifier.stored_key, verifier.server_key) == (stored_key, server_key)
    assert base64.b64encode(verifier.stored_key).decode() not in repr(verifier)


def test_scopes_and_removed_connections(catalog: Catalog) -> None:
    token, _ = tokens.issue(catalog, "agent", actor="test", connections=("orders",))
    assert token.connections == ("orders",)
    catalog.connections.remove("orders", actor="test")
    assert catalog.tokens.get(token.id).connections == ()
    assert tokens.issue(catalog, "agent", actor="test")[0].connections == "any"


def test_revoked_once(catalog: Catalog) -> None:
    token, _ = tokens.issue(catalog, "agent", actor="test")
    assert catalog.tokens.revoke(token.id, actor="test").revoked_at is not None
    with pytest.raises(ConflictError, match="was revoked at"):
        catalog.tokens.revoke(token.id, actor="test")
    with pytest.raises(NotFoundError):
        catalog.tokens.revoke("nothing", actor="test")
    assert [each.id for each in catalog.tokens.list("agent")] == [token.id]
    assert catalog.tokens.list("other") == []


def test_tokens_of_checks_are_listed_when_asked_for(catalog: Catalog) -> None:
    catalog.identities.internal("pgwitness-check", "orders", actor="test")
    options: dict[str, Any] = {"actor": "test", "lifetime": None, "connections": ("orders",)}
    token, _ = tokens.issue_internal(catalog, "pgwitness-check", **options)
    assert catalog.tokens.list() == []
    assert catalog.tokens.list("pgwitness-check") == [token]


def test_what_makes_no_sense_is_refused(catalog: Catalog) -> None:
    with pytest.raises(NotFoundError, match="no identity"):
        tokens.issue(catalog, "nobody", actor="test")
    with pytest.raises(NotFoundError, match="no connection"):
        tokens.issue(catalog, "agent", actor="test", connections=("nothing",))
    with pytest.raises(InvalidError, match="no connection"):
        tokens.issue(catalog, "agent", actor="test", connections=())
    with pytest.raises(InvalidError, match="itself"):
        tokens.issue(catalog, "pgwitness-check", actor="test")
    with pytest.raises(InvalidError, match="role"):
        tokens.issue(catalog, "agent", actor="test", role="root")  # type: ignore[arg-type]
    assert catalog.tokens.list() == []
