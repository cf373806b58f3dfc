"""Whether the fields of a connection make sense, each and together. Raises InvalidError with what to do."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, get_args

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from pgwitness.catalog.models import ANY, RESULTS_ALL, Secret, SslMode
from pgwitness.catalog.names import check_database
from pgwitness.errors import InvalidError

_MAX_TIMEOUT = 3600


def check_connection(values: Mapping[str, Any], new: Set[str]) -> dict[str, Any]:
    """All fields of a connection, as they are stored; ``new`` are those that have just been given.

    A secret that was stored before is not looked at: it was checked then, and its key may be lost now.
    """
    checked = dict(values)
    checked["host"], checked["port"] = _addresses(str(values["host"]), str(values["port"]))
    check_database(values["database"])
    if not values["user"] or "\0" in values["user"]:
        raise InvalidError("the user of a connection is empty", hint="give the PostgreSQL role with --user")
    if values["also_databases"] != ANY:
        checked["also_databases"] = tuple(check_database(name) for name in values["also_databases"])
    results = values["results"]
    if results is not None and results < RESULTS_ALL:
        raise InvalidError("results is a number of bytes, 0 for none or -1 for all")
    timeout = values["connect_timeout"]
    if timeout is not None and not 1 <= timeout <= _MAX_TIMEOUT:
        raise InvalidError(f"the connect timeout is 1 to {_MAX_TIMEOUT} seconds")
    if "password" in new and values["password"] is not None:
        _password(values["password"])
    _authorities(values)
    if "sslcert" in new or "sslkey" in new:
        _client_certificate(values)
    return checked


def _password(password: Secret) -> None:
    text = password.reveal()
    if not text or "\0" in text:
        raise InvalidError(
            "the password is empty or not text", hint="leave it out if the server asks for none"
        )


def _addresses(host: str, port: str) -> tuple[str, str]:
    hosts = [part.strip() for part in host.split(",")]
    ports = [part.strip() for part in port.split(",")]
    if not all(hosts) or any(char.isspace() for part in hosts for char in part):
        raise InvalidError(
            "the host of a connection is empty or has blanks in it",
            hint="give a name, an address or a socket directory such as /var/run/postgresql",
        )
    if any("://" in part or "@" in part for part in hosts):
        raise InvalidError("the host of a connection is a name or an address, not a connection string")
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 65535 for part in ports):
        raise InvalidError("a port is a number from 1 to 65535")
    if len(ports) not in (1, len(hosts)):
        raise InvalidError(
            f"{len(hosts)} hosts and {len(ports)} ports", hint="give one port, or one for each host"
        )
    return ",".join(hosts), ",".join(ports)


def _authorities(values: Mapping[str, Any]) -> None:
    sslmode, roots = values["sslmode"], values["sslrootcert"]
    if sslmode not in get_args(SslMode):
        raise InvalidError(f"sslmode is one of {', '.join(get_args(SslMode))}")
    if roots is not None:
        _certificates("sslrootcert", roots)
    elif sslmode.startswith("verify-"):
        raise InvalidError(
            f"sslmode {sslmode} needs an authority to verify the server by",
            hint="give its certificate in a PEM file with --sslrootcert",
        )


def _client_certificate(values: Mapping[str, Any]) -> None:
    certificate, key = values["sslcert"], values["sslkey"]
    if (certificate is None) != (key is None):
        raise InvalidError("a client certificate needs its key, and a key its certificate")
    if certificate is not None and _public_key(key) != _certificates("sslcert", certificate)[
        0
    ].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise InvalidError("sslkey is not the key of the certificate in sslcert")


def _certificates(field: str, pem: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise InvalidError(f"{field} holds no certificate in PEM form") from None


def _public_key(pem: Secret) -> bytes:
    try:
        key = load_pem_private_key(pem.reveal().encode(), password=None)
    except TypeError:
        raise InvalidError(
            "sslkey is encrypted with a passphrase",
            hint="give it without one (openssl pkey -in KEY); pgwitness encrypts it at rest",
        ) from None
    except ValueError:
        raise InvalidError("sslkey holds no private key in PEM form") from None
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
