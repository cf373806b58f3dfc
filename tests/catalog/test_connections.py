import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pgwitness.catalog.models import Secret
from pgwitness.catalog.secrets import SecretBox
from pgwitness.catalog.store import Catalog
from pgwitness.errors import ConflictError, InvalidError, NotFoundError, UnavailableError

SERVER = {"host": "db.example", "database": "shop", "user": "app"}


def key_and_certificate() -> tuple[str, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "client")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return pem.decode(), certificate.public_bytes(serialization.Encoding.PEM)


def test_a_connection_comes_back_as_it_was_registered(catalog: Catalog) -> None:
    key, certificate = key_and_certificate()
    added = catalog.connections.add(
        "orders",
        SERVER
        | {
            "host": "a.example, /run/postgresql",
            "port": "5432,5433",
            "password": Secret("hunter2"),
            "sslmode": "verify-full",
            "sslrootcert": certificate,
            "sslcert": certificate,
            "sslkey": Secret(key),
            "also_databases": ["crm", "a/b"],
            "results": -1,
            "connect_timeout": 3,
            "replication": True,
        },
        actor="test",
    )
    found = catalog.connections.get("orders")
    assert found == added
    assert found.addresses == [("a.example", 5432), ("/run/postgresql", 5433)]
    assert found.password == Secret("hunter2") and found.sslkey == Secret(key)
    assert found.also_databases == ("crm", "a/b")
    assert found.created_at.tzinfo is not None


def test_defaults(catalog: Catalog) -> None:
    added = catalog.connections.add("orders", SERVER, actor="test")
    assert (added.port, added.sslmode, added.also_databases, added.results) == ("5432", "prefer", (), None)
    assert catalog.connections.find("other") is None


def test_secrets_are_nowhere_in_the_files(catalog: Catalog, tmp_path: Path) -> None:
    key, certificate = key_and_certificate()
    secrets = {"password": Secret("hunter2hunter2"), "sslkey": Secret(key)}
    catalog.connections.add("orders", SERVER | secrets | {"sslcert": certificate}, actor="test")
    assert "hunter2" not in repr(catalog.connections.get("orders"))
    assert "hunter2" not in repr(catalog.audit())
    catalog.close()
    for path in tmp_path.iterdir():
        assert b"hunter2hunter2" not in path.read_bytes()
        assert b"PRIVATE KEY" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0, path


def test_update_changes_what_is_named_only(catalog: Catalog) -> None:
    before = catalog.connections.add("orders", SERVER | {"password": Secret("a")}, actor="test")
    after = catalog.connections.update("orders", {"host": "other", "also_databases": "any"}, actor="test")
    assert (after.host, after.also_databases, after.password) == ("other", "any", Secret("a"))
    assert after.id == before.id
    assert catalog.connections.update("orders", {"password": None}, actor="test").password is None


def test_a_lost_key_leaves_the_list_and_the_mending(catalog: Catalog, tmp_path: Path) -> None:
    catalog.connections.add("orders", SERVER | {"password": Secret("a")}, actor="test")
    other = Catalog(f"sqlite:///{tmp_path / 'catalog.sqlite'}", SecretBox(Secret("A" * 43 + "=")))
    (listed,) = other.connections.list()
    assert listed.password is not None
    with pytest.raises(UnavailableError, match="another secret key"):
        listed.password.reveal()
    assert (other.connections.locked(), catalog.connections.locked()) == (["orders"], [])
    other.connections.update("orders", {"host": "b"}, actor="test")
    assert other.connections.update("orders", {"password": Secret("b")}, actor="test").password == Secret("b")
    other.close()


def test_names_are_unique_and_errors_say_what_to_do(catalog: Catalog) -> None:
    catalog.connections.add("orders", SERVER, actor="test")
    with pytest.raises(ConflictError, match="already") as raised:
        catalog.connections.add("orders", SERVER, actor="test")
    assert raised.value.hint == "change it with: pgwitness connection update orders"
    with pytest.raises(NotFoundError):
        catalog.connections.get("Orders")
    with pytest.raises(NotFoundError):
        catalog.connections.remove("nothing", actor="test")
    assert [entry.action for entry in catalog.audit()] == ["connection.add"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"host": ""}, "host"),
        ({"host": "a b"}, "host"),
        ({"host": "postgresql://x@y"}, "not a connection string"),
        ({"port": "0"}, "port"),
        ({"port": "١"}, "port"),
        ({"port": "x"}, "port"),
        ({"host": "a,b,c", "port": "1,2"}, "3 hosts and 2 ports"),
        ({"database": ""}, "database"),
        ({"user": ""}, "user"),
        ({"sslmode": "yes"}, "sslmode is one of"),
        ({"sslmode": "verify-full"}, "needs an authority"),
        ({"sslrootcert": b"junk"}, "sslrootcert"),
        ({"sslcert": key_and_certificate()[1]}, "needs its key"),
        ({"sslcert": key_and_certificate()[1], "sslkey": Secret("junk")}, "sslkey holds no"),
        ({"sslcert": key_and_certificate()[1], "sslkey": Secret(key_and_certificate()[0])}, "not the key of"),
        ({"results": -2}, "results"),
        ({"connect_timeout": 0}, "timeout"),
        ({"password": Secret("")}, "password"),
        ({"password": Secret("a\0b")}, "password"),
        ({"also_databases": ["a", ""]}, "database"),
        ({"colour": "red"}, "no colour"),
    ],
)
def test_what_makes_no_sense_is_refused(catalog: Catalog, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidError, match=says):
        catalog.connections.add("orders", SERVER | wrong, actor="test")
    assert catalog.connections.list() == [] and catalog.audit() == []


def test_an_encrypted_key_is_explained(catalog: Catalog) -> None:
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"x"),
    )
    fields = {"sslcert": key_and_certificate()[1], "sslkey": Secret(key.decode())}
    with pytest.raises(InvalidError, match="passphrase"):
        catalog.connections.add("orders", SERVER | fields, actor="test")
