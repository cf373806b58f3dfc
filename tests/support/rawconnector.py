"""A connector of a few lines, on Python's own TLS: it says what a test wants it to say, in any order."""

import asyncio
import contextlib
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pgwitness.connector.membership import Membership, new_request
from pgwitness.wire import tunnel


class RawConnector:
    """One connection to a gateway's tunnel port."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def dial(
        cls, port: int, member: Membership | None, *, alpn: str | None = tunnel.TUNNEL
    ) -> "RawConnector":
        """With the membership's certificate, or with none."""
        context = ssl.create_default_context(cadata=member.authority if member else None)
        context.check_hostname = False
        if member is None:
            context.verify_mode = ssl.CERT_NONE
        else:
            with tempfile.TemporaryDirectory() as directory:
                path = Path(directory) / "pair.pem"
                path.write_text(member.certificate + member.key)
                context.load_cert_chain(path)
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=tunnel.SERVER_NAME
        )
        return cls(reader, writer)

    async def send(self, message: tunnel.Message | bytes) -> None:
        self.writer.write(message if isinstance(message, bytes) else tunnel.encode(message))
        await self.writer.drain()

    async def receive(self, wanted: type[tunnel.M]) -> tunnel.M:
        """The next message that is neither a heartbeat nor a head of the record."""
        async with asyncio.timeout(10):
            while True:
                head = await self.reader.readexactly(tunnel.HEAD_BYTES)
                message = tunnel.decode(await self.reader.readexactly(tunnel.body_length(head)))
                passing = isinstance(message, tunnel.Heartbeat | tunnel.Head)
                if not passing or isinstance(message, wanted):
                    return tunnel.expect(message, wanted)

    async def hello(self, version: int = tunnel.VERSION) -> tunnel.Supply:
        """Come online; the first tickets."""
        await self.send(tunnel.Hello(version, "raw", ["any"]))
        await self.receive(tunnel.Welcome)
        return await self.receive(tunnel.Supply)

    async def ended(self, within: float = 10) -> bool:
        """Whether the gateway closes, in whatever way, before the time is over."""
        try:
            async with asyncio.timeout(within):
                while await self.reader.read(65536):
                    pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def close(self) -> None:
        self.writer.transport.abort()


def member_of(running: Any, name: str = "beside", **certificate: Any) -> Membership:
    """A connector of the in-process gateway, with a certificate of its authority. With ``authority``,
    ``not_after`` or ``known=False`` it is one that should not be let in."""
    enrolment = running.gateway.tunnel._enrolment
    authority = enrolment.authority
    if name not in {each.name for each in running.catalog.connectors.list()}:
        running.catalog.connectors.add(
            name, token_id=f"tok-{name}", secret_hash=b"h", lifetime=timedelta(hours=1), actor="test"
        )
    key, request = new_request()
    if certificate:
        pem = _sign(key, name, **{"authority": authority, **certificate})
    else:
        (row,) = [each for each in running.catalog.connectors.list() if each.name == name]
        _, pem = running.catalog.connectors.renew(row.id, enrolment._issuer(request))
    return Membership(
        name=name,
        gateway=f"127.0.0.1:{running.gateway.tunnel.listener.port}",
        token="none",
        authority=authority.pem.decode(),
        certificate=pem.decode(),
        key=key.decode(),
        renew_at=datetime.now(UTC) + timedelta(hours=12),
    )


def _sign(key: bytes, name: str, authority: Any, not_after: datetime | None = None) -> bytes:
    """A connector's certificate, by whichever authority, that no catalog knows."""
    signer = authority._key
    issuer = authority.certificate.subject
    now = datetime.now(UTC)
    public = serialization.load_pem_private_key(key, None).public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(not_after or now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


async def refused(connection: RawConnector) -> str | None:
    """What the gateway says for its no; None if TLS said it already."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        return (await connection.receive(tunnel.Refused)).text
    return None
