"""The connector's side of joining (docs/tunnel.md): a join token becomes a membership, once.

The token's secret is said only over a TLS connection whose certificate was issued, as the gateway's, by the
authority that the token pins. Until then nothing is believed.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from pgwitness._core import Stream, StreamError, TlsClient
from pgwitness.connector.membership import Membership, check_certificate, half_of_life, new_request
from pgwitness.errors import ConnectorRefused, UnavailableError
from pgwitness.tunnel.streams import receive, send
from pgwitness.wire.join_token import JoinToken, pin_of
from pgwitness.wire.tls_names import check_host_name
from pgwitness.wire.tunnel import (
    ENROL,
    SERVER_NAME,
    Authority,
    Join,
    Joined,
    MalformedTunnelMessageError,
    Refused,
    expect,
)

JOIN_SECONDS: Final = 20.0


async def join(stream: Stream, gateway: str, token: JoinToken, software: str, name: str = "") -> Membership:
    """Over a TCP stream to ``gateway`` that is fresh, and closed afterwards. With a name, the token must be
    for a connector of that name. Raises ConnectorRefused, UnavailableError, InvalidError.
    """
    try:
        async with asyncio.timeout(JOIN_SECONDS):
            return await _join(stream, gateway, token, software, name)
    except TimeoutError:
        raise UnavailableError(f"the gateway at {gateway} does not answer") from None
    except StreamError as error:
        raise UnavailableError(f"the connection to the gateway at {gateway} failed: {error}") from None
    except MalformedTunnelMessageError as error:
        raise UnavailableError(f"what answers at {gateway} is no gateway of this version: {error}") from None
    finally:
        stream.abort()


async def _join(stream: Stream, gateway: str, token: JoinToken, software: str, name: str) -> Membership:
    await stream.start_tls_client(TlsClient(roots=None, alpn=[ENROL]), SERVER_NAME)
    offered = expect(await receive(stream), Authority)
    _check_gateway(offered.certificate, _shown(stream), token)
    key, request = new_request()
    await send(stream, Join(token.id, token.secret, request.decode(), software, name))
    answer = await receive(stream)
    if isinstance(answer, Refused):
        raise ConnectorRefused(
            f"the gateway refused to let us join: {answer.text}",
            hint="at the gateway, this gives a new join token: pgwitness connector rejoin NAME",
        )
    joined = expect(answer, Joined)
    certificate = check_certificate(joined.certificate, key, offered.certificate)
    return Membership(
        name=joined.name,
        gateway=gateway,
        token=token.id,
        authority=offered.certificate,
        certificate=joined.certificate,
        key=key.decode(),
        renew_at=half_of_life(certificate, datetime.now(UTC)),
    )


def _shown(stream: Stream) -> bytes:
    """The certificate of the other side, whose key TLS has proved."""
    tls = stream.tls
    if tls is None or tls.peer_certificate is None or tls.alpn != ENROL:
        raise MalformedTunnelMessageError("it does not speak of joining")
    return tls.peer_certificate


def _check_gateway(authority: str, shown: bytes, token: JoinToken) -> None:
    """Raises ConnectorRefused unless who is there may be told the secret of the token."""
    wrong = ConnectorRefused(
        "what answers is not the gateway that the join token is from",
        hint="check the address in --gateway; if it is right, somebody may be in between",
    )
    try:
        root, leaf = x509.load_pem_x509_certificate(authority.encode()), x509.load_der_x509_certificate(shown)
        if pin_of(root.public_bytes(Encoding.DER)) != token.pin:
            raise wrong
        leaf.verify_directly_issued_by(root)
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        check_host_name(shown, SERVER_NAME)
    except Exception:  # certificates that cannot be read, or that belong to somebody else
        raise wrong from None
    now = datetime.now(UTC)
    if ExtendedKeyUsageOID.SERVER_AUTH not in purposes:
        raise wrong
    if not leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc:
        raise ConnectorRefused("the gateway's certificate is not in time", hint="compare the clocks of both")
