from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgwitness.catalog.secrets import open_box
from pgwitness.catalog.store import Catalog
from pgwitness.errors import AuthenticationFailed, ClientError, PermissionDenied, UnknownDatabase
from pgwitness.identity import tokens
from pgwitness.identity.directory import Directory, Principal, Use


@pytest.fixture
def directory(catalog: Catalog) -> Iterator[Directory]:
    for name in ("orders", "crm"):
        catalog.connections.add(name, {"host": "h", "database": "shop", "user": "app"}, actor="test")
    catalog.identities.add("agent", connections=("orders",), actor="test")
    catalog.identities.add("root", kind="human", connections="any", actor="test")
    directory = Directory(catalog)
    yield directory
    directory.close()


@pytest.fixture
def elsewhere(directory: Directory, tmp_path: Path) -> Iterator[Catalog]:
    """The same catalog, opened as by another process."""
    catalog = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}", open_box(None, tmp_path / "secret.key"))
    yield catalog
    catalog.close()


def log_in(catalog: Catalog, directory: Directory, name: str, **options: object) -> Principal:
    token, _ = tokens.issue(catalog, name, actor="test", **options)  # type: ignore[arg-type]
    assert token.id in {verifier.token_id for verifier in directory.login_material(name).verifiers}
    return directory.principal(name, token.id)


def refusal(directory: Directory, principal: Principal, database: str) -> tuple[str, str]:
    with pytest.raises(ClientError) as raised:
        directory.authorize(principal, database)
    return raised.value.sqlstate, str(raised.value)


def test_several_live_tokens_share_one_salt(catalog: Catalog, directory: Directory) -> None:
    issued = [tokens.issue(catalog, "agent", actor="test") for _ in range(3)]
    tokens.issue(catalog, "agent", actor="test", role="admin")
    catalog.tokens.revoke(issued[0][0].id, actor="test")
    material = directory.login_material("agent")
    assert {verifier.token_id for verifier in material.verifiers} == {token.id for token, _ in issued[1:]}
    verifier = tokens.make_verifier(issued[1][1].reveal(), material.salt, material.iterations)
    assert verifier.stored_key in {each.stored_key for each in material.verifiers}


def test_a_salt_tells_nobody_whether_a_name_is_known(catalog: Catalog, directory: Directory) -> None:
    before = directory.login_material("later")
    assert before.verifiers == []
    assert before == directory.login_material("later")
    assert before.salt != directory.login_material("another").salt
    catalog.identities.add("later", actor="test")
    tokens.issue(catalog, "later", actor="test")
    known = directory.login_material("later")
    assert len(known.verifiers) == 1
    catalog.identities.set_disabled("later", True, actor="test")
    disabled = directory.login_material("later")
    assert disabled.verifiers == []
    assert {(each.salt, each.iterations) for each in (before, known, disabled)} == {(before.salt, 4096)}


def test_expired_and_revoked_tokens_do_not_log_in(catalog: Catalog, directory: Directory) -> None:
    token, _ = tokens.issue(catalog, "agent", actor="test", lifetime=timedelta(seconds=-1))
    assert directory.login_material("agent").verifiers == []
    with pytest.raises(AuthenticationFailed):
        directory.principal("agent", token.id)
    token, _ = tokens.issue(catalog, "agent", actor="test")
    catalog.tokens.revoke(token.id, actor="test")
    with pytest.raises(AuthenticationFailed):
        directory.principal("agent", token.id)


def test_principal_says_who_acts_for_whom(catalog: Catalog, directory: Directory) -> None:
    principal = log_in(catalog, directory, "agent", on_behalf_of="alice")
    assert (principal.identity, principal.kind, principal.on_behalf_of) == ("agent", "service", "alice")


def test_connection_and_database(catalog: Catalog, directory: Directory) -> None:
    principal = log_in(catalog, directory, "agent")
    connection, database = directory.authorize(principal, "orders")
    assert (connection.name, database) == ("orders", "shop")
    assert directory.authorize(principal, "orders/shop")[1] == "shop"
    assert refusal(directory, principal, "orders/crm")[0] == "3D000"
    catalog.connections.update("orders", {"also_databases": ("crm", "a/b")}, actor="test")
    assert directory.authorize(principal, "orders/crm")[1] == "crm"
    assert directory.authorize(principal, "orders/a/b")[1] == "a/b"
    assert refusal(directory, principal, "orders/other")[0] == "3D000"
    catalog.connections.update("orders", {"also_databases": "any"}, actor="test")
    assert directory.authorize(principal, "orders/other")[1] == "other"
    with pytest.raises(UnknownDatabase):
        directory.authorize(principal, "orders/")


def test_without_a_grant_nobody_learns_which_connections_exist(
    catalog: Catalog, directory: Directory
) -> None:
    principal = log_in(catalog, directory, "agent")
    state, text = refusal(directory, principal, "crm")
    assert state == "42501"
    assert refusal(directory, principal, "nothing") == (state, text.replace("crm", "nothing"))
    assert refusal(directory, principal, "crm/shop")[0] == refusal(directory, principal, "")[0] == "42501"


def test_who_may_use_any_connection_learns_what_is_unknown(catalog: Catalog, directory: Directory) -> None:
    principal = log_in(catalog, directory, "root")
    assert directory.authorize(principal, "crm")[0].name == "crm"
    with pytest.raises(UnknownDatabase):
        directory.authorize(principal, "nothing")
    catalog.connections.add("new", {"host": "h", "database": "d", "user": "u"}, actor="test")
    assert directory.authorize(principal, "new")[0].name == "new"


def test_a_token_narrows_what_its_identity_may_use(catalog: Catalog, directory: Directory) -> None:
    principal = log_in(catalog, directory, "root", connections=("crm",))
    assert directory.authorize(principal, "crm")[0].name == "crm"
    for name in ("orders", "nothing"):
        with pytest.raises(PermissionDenied):
            directory.authorize(principal, name)
    widened = log_in(catalog, directory, "agent", connections=("crm", "orders"))
    with pytest.raises(PermissionDenied):
        directory.authorize(widened, "crm")


def test_ended_says_which_sessions_are_over_and_why(
    catalog: Catalog, directory: Directory, elsewhere: Catalog
) -> None:
    principals = [log_in(catalog, directory, "agent") for _ in range(3)]
    root = log_in(catalog, directory, "root")
    connection = {name: catalog.connections.get(name).id for name in ("orders", "crm")}
    agents = [Use(principal.token_id, connection["orders"]) for principal in principals]
    uses = {*agents, Use(root.token_id, connection["crm"]), Use(root.token_id, connection["orders"])}
    assert directory.ended(uses) == {}
    elsewhere.tokens.revoke(principals[0].token_id, actor="test")
    assert directory.ended(uses) == {agents[0]: "the token was revoked"}
    elsewhere.identities.revoke("agent", ("orders",), actor="test")
    assert set(directory.ended(uses)) == set(agents)
    elsewhere.identities.set_disabled("agent", True, actor="test")
    assert directory.ended(uses)[agents[1]] == "identity agent was disabled"
    elsewhere.connections.remove("crm", actor="test")
    assert directory.ended(uses)[Use(root.token_id, connection["crm"])] == "the connection was removed"
    assert Use(root.token_id, connection["orders"]) not in directory.ended(uses)


def test_ended_sees_a_session_that_came_after_the_change(
    catalog: Catalog, directory: Directory, elsewhere: Catalog
) -> None:
    principal = log_in(catalog, directory, "agent")
    elsewhere.tokens.revoke(principal.token_id, actor="test")
    assert directory.ended(set()) == {}
    use = Use(principal.token_id, catalog.connections.get("orders").id)
    assert directory.ended({use}) == {use: "the token was revoked"}
    assert directory.ended({use}) == {use: "the token was revoked"}


def test_expiry_ends_no_session(catalog: Catalog, directory: Directory) -> None:
    token, _ = tokens.issue(catalog, "agent", actor="test", lifetime=timedelta(seconds=-1))
    assert directory.ended({Use(token.id, catalog.connections.get("orders").id)}) == {}


def test_bearer_takes_admin_tokens_only(catalog: Catalog, directory: Directory) -> None:
    _, text = tokens.issue(catalog, "root", actor="test", role="admin")
    assert directory.bearer(text.reveal()).identity == "root"
    _, client = tokens.issue(catalog, "root", actor="test")
    with pytest.raises(PermissionDenied):
        directory.bearer(client.reveal())
    for wrong in ("", "x", text.reveal()[:-2] + "xx", f"pgw_{'a' * 10}_{'A' * 43}"):
        with pytest.raises(AuthenticationFailed):
            directory.bearer(wrong)
    catalog.identities.set_disabled("root", True, actor="test")
    with pytest.raises(AuthenticationFailed):
        directory.bearer(text.reveal())


def test_last_use_is_written(catalog: Catalog, directory: Directory) -> None:
    principal = log_in(catalog, directory, "agent")
    assert catalog.tokens.get(principal.token_id).last_used_at is None
    directory.close()
    assert catalog.tokens.get(principal.token_id).last_used_at is not None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200)
@given(st.text(st.characters(), max_size=80), st.text(st.characters(), max_size=80))
def test_whatever_a_stranger_sends_is_an_answer(
    catalog: Catalog, directory: Directory, name: str, database: str
) -> None:
    assert directory.login_material(name).verifiers == []
    with pytest.raises(AuthenticationFailed):
        directory.principal(name, database)
    stranger = Principal("root", "", "human", "x", None)
    with pytest.raises(ClientError):
        directory.authorize(stranger, database)
    with pytest.raises(AuthenticationFailed):
        directory.bearer(name.encode("utf-8", "replace").decode("latin-1"))


@pytest.mark.parametrize("name", ["\udcff", "a\0b", "x" * 1_000_000, ""])
def test_names_that_no_database_takes(directory: Directory, catalog: Catalog, name: str) -> None:
    assert directory.login_material(name) == directory.login_material(name)
    principal = log_in(catalog, directory, "root")
    with pytest.raises(UnknownDatabase):
        directory.authorize(principal, name)


def test_verifiers_do_not_show_their_keys(catalog: Catalog, directory: Directory) -> None:
    tokens.issue(catalog, "agent", actor="test")
    material = directory.login_material("agent")
    assert repr(material.verifiers[0].stored_key) not in repr(material)
