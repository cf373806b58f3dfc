import pytest

from pgwitness.catalog.store import Catalog
from pgwitness.errors import ConflictError, InvalidError, NotFoundError

SERVER = {"host": "db.example", "database": "shop", "user": "app"}


@pytest.fixture(autouse=True)
def connections(catalog: Catalog) -> None:
    for name in ("orders", "crm"):
        catalog.connections.add(name, SERVER, actor="test")


def test_grants_are_added_and_taken(catalog: Catalog) -> None:
    assert catalog.identities.add("agent", actor="test").connections == ()
    assert catalog.identities.grant("agent", ("orders", "crm"), actor="test").connections == ("crm", "orders")
    assert catalog.identities.grant("agent", ("orders",), actor="test").connections == ("crm", "orders")
    assert catalog.identities.revoke("agent", ("crm",), actor="test").connections == ("orders",)
    assert catalog.identities.revoke("agent", ("crm",), actor="test").connections == ("orders",)
    assert catalog.identities.grant("agent", "any", actor="test").connections == "any"
    assert catalog.identities.grant("agent", ("crm",), actor="test").connections == "any"
    with pytest.raises(InvalidError, match="may use any"):
        catalog.identities.revoke("agent", ("crm",), actor="test")
    assert catalog.identities.revoke("agent", "any", actor="test").connections == ()


def test_a_removed_connection_takes_its_grants_along(catalog: Catalog) -> None:
    catalog.identities.add("agent", connections=("orders", "crm"), actor="test")
    catalog.connections.remove("orders", actor="test")
    catalog.connections.add("orders", SERVER, actor="test")
    assert catalog.identities.get("agent").connections == ("crm",)


def test_disable_and_enable(catalog: Catalog) -> None:
    catalog.identities.add("alice", kind="human", actor="test")
    assert catalog.identities.set_disabled("alice", True, actor="test").disabled
    assert not catalog.identities.set_disabled("alice", False, actor="test").disabled
    (alice,) = catalog.identities.list()
    assert (alice.name, alice.kind, alice.disabled) == ("alice", "human", False)
    assert [entry.action for entry in catalog.audit(limit=3)] == [
        "identity.enable",
        "identity.disable",
        "identity.add",
    ]


def test_what_makes_no_sense_is_refused(catalog: Catalog) -> None:
    catalog.identities.add("agent", actor="test")
    with pytest.raises(ConflictError):
        catalog.identities.add("agent", actor="test")
    with pytest.raises(NotFoundError, match="no connection 'nothing'"):
        catalog.identities.add("other", connections=("orders", "nothing"), actor="test")
    with pytest.raises(NotFoundError):
        catalog.identities.get("other")
    with pytest.raises(NotFoundError, match="no identity"):
        catalog.identities.grant("other", ("orders",), actor="test")
    with pytest.raises(InvalidError, match="no connection is named"):
        catalog.identities.grant("agent", (), actor="test")
    with pytest.raises(InvalidError, match="kind"):
        catalog.identities.add("other", kind="robot", actor="test")  # type: ignore[arg-type]


def test_an_identity_of_pgwitness_itself_is_made_when_needed(catalog: Catalog) -> None:
    assert catalog.identities.internal("pgwitness-check", "orders", actor="test").connections == ("orders",)
    found = catalog.identities.internal("pgwitness-check", "crm", actor="test")
    assert found.connections == ("crm", "orders")
    before = catalog.revision()
    catalog.identities.internal("pgwitness-check", "crm", actor="test")
    assert catalog.revision() == before
